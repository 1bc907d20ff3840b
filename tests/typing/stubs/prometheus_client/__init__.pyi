"""What casty and its documents use of prometheus-client, so that they are checked where it is not installed."""

from threading import Thread
from wsgiref.simple_server import WSGIServer

from prometheus_client.registry import CollectorRegistry as CollectorRegistry

def generate_latest(registry: CollectorRegistry) -> bytes: ...
def start_http_server(port: int, addr: str = ..., registry: CollectorRegistry = ...) -> tuple[WSGIServer, Thread]: ...
