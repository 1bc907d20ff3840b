"""The workloads on Erlang/OTP, for whoever has ``erl`` and ``erlc`` on the path; see peer_erlang.erl.

The two nodes of the remote ones find each other without Erlang's port mapper, whose daemon would
outlive the benchmark. Their processor time is the client's alone. With ``--plain`` the asks are plain messages.
"""

from __future__ import annotations

import argparse
import json
import socket
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from workload import SIZES, size

LOCAL = ("L1", "L1burst", "L2", "L3", "L4-10k", "L4-100k", "L5")
REMOTE = ("R1", "R2", "R3", "R4")
ASKS = ("L2", "R2", "R3", "R4")
COOKIE = "bench"


def free_port() -> int:
    """Return a port that was free a moment ago."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def erl(folder: str, arguments: Sequence[str], options: Sequence[str] = ()) -> list[str]:
    """Return the command line of one Erlang node that calls ``peer_erlang:main``."""
    words = ", ".join(json.dumps(argument) for argument in arguments)
    evaluate = f"peer_erlang:main([{words}])"
    return ["erl", "-noshell", "-pa", folder, *options, "-eval", evaluate]


def distributed(name: str, port: int, *more: str) -> list[str]:
    """Return the options of a node that listens on, or dials, a known port."""
    fixed = ["-start_epmd", "false", "-erl_epmd_port", str(port), "-setcookie", COOKIE]
    return ["-name", f"{name}@127.0.0.1", *fixed, *more]


def main() -> None:
    """Compile, then run the local and the remote workloads."""
    parser = argparse.ArgumentParser()
    parser.add_argument("workloads", nargs="+", choices=[*SIZES, "list"], metavar="WORKLOAD")
    parser.add_argument("--scale", type=float, default=1.0, help="factor of the number of operations")
    parser.add_argument("--plain", action="store_true", help="ask by plain messages instead of gen_server:call")
    arguments = parser.parse_args()
    if arguments.workloads == ["list"]:
        print(json.dumps(ASKS if arguments.plain else [*LOCAL, *REMOTE]))
        return
    style = "plain" if arguments.plain else "call"
    counted = [(name, f"{name}:{size(name, arguments.scale)}") for name in arguments.workloads]
    local = [text for name, text in counted if name in LOCAL]
    remote = [text for name, text in counted if name in REMOTE]
    with tempfile.TemporaryDirectory() as folder:
        source = Path(__file__).with_name("peer_erlang.erl")
        subprocess.run(["erlc", "-o", folder, str(source)], check=True)
        if local:
            subprocess.run(erl(folder, ["none", style, *local]), check=True, stdin=subprocess.DEVNULL)
        if remote:
            run_remote(folder, style, remote)


def run_remote(folder: str, style: str, workloads: Sequence[str]) -> None:
    """Start the server's node, run the workloads on another, and end the server by closing its input."""
    port = free_port()
    command = erl(folder, ["serve"], distributed("server", port))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin is not None and server.stdout is not None
        hello = json.loads(server.stdout.readline())
        options = distributed("client", port, "-dist_listen", "false")
        subprocess.run(erl(folder, [hello["node"], style, *workloads], options), check=True, stdin=subprocess.DEVNULL)
        server.stdin.close()


if __name__ == "__main__":
    main()
