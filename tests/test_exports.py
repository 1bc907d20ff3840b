"""The flat namespace is what the documents say, no more and no less."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import casty
from casty import testing
from casty.testing import inspect as looking
from casty.testing import simulation

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
OPTIONAL = ("typer", "rich", "pytest", "hypothesis", "sqlite3", "prometheus_client", "psycopg")


def documented() -> list[str]:
    """Return the objects that the reference pages show, in order of pages and place."""
    pages = sorted(REFERENCE.glob("*.md"))
    return [name for page in pages for name in shown_on(page)]


def shown_on(page: Path) -> list[str]:
    return re.findall(r"^::: casty\.(\w+)$", page.read_text(encoding="utf-8"), re.MULTILINE)


def test_public_names_are_sorted_and_listed_once() -> None:
    assert list(casty.__all__) == sorted(set(casty.__all__))


@pytest.mark.parametrize("name", casty.__all__)
def test_public_name_exists_and_says_what_it_is(name: str) -> None:
    value = getattr(casty, name)
    if inspect.isclass(value) or inspect.isfunction(value):
        assert value.__doc__, f"casty.{name} has no docstring"
        assert not value.__doc__.startswith(f"{name}("), f"casty.{name} has the generated docstring of a dataclass"


def test_every_public_name_is_in_the_reference_once() -> None:
    assert sorted(documented()) == sorted(casty.__all__)


@pytest.mark.parametrize(
    ("package", "file"), [(testing, "testing.md"), (looking, "testing.md"), (simulation, "simulation.md")]
)
def test_every_name_of_the_test_kit_is_in_the_reference_once_and_says_what_it_is(
    package: ModuleType, file: str
) -> None:
    page = (REFERENCE / file).read_text(encoding="utf-8")
    shown = re.findall(rf"^::: {re.escape(package.__name__)}\.(\w+)$", page, re.MULTILINE)
    assert sorted(shown) == package.__all__
    for name in package.__all__:
        value = getattr(package, name)
        assert not callable(value) or (value.__doc__ and not value.__doc__.startswith(f"{name}(")), name


def test_nothing_but_the_public_names_and_the_packages_is_visible() -> None:
    visible = {name for name, value in vars(casty).items() if not isinstance(value, ModuleType)}
    leaked = {name for name in visible if not name.startswith("_")} - set(casty.__all__) - {"annotations"}
    assert leaked == set()


def test_no_private_name_is_public() -> None:
    assert [name for name in casty.__all__ if name.startswith("_") and name != "__version__"] == []


def test_importing_casty_leaves_optional_packages_alone() -> None:
    program = f"import sys, casty; print([name for name in {OPTIONAL} if name in sys.modules])"
    run = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("[]\n", "")


def test_cluster_page_shows_the_heart_of_the_product_in_order() -> None:
    page = (REFERENCE / "cluster.md").read_text(encoding="utf-8")
    assert re.findall(r"^## (\w+)$", page, re.MULTILINE)[:6] == [
        "Cluster",
        "ClusterConfig",
        "ResolveNode",
        "TopologySnapshot",
        "SubscribeTopology",
        "UnsubscribeTopology",
    ]


PROMISED = {
    "Cluster": (
        "(system, config, *, remote_transport=None, local_transport=None, system_name='', gossip_interval=1.0, "
        "gossip_fanout=3, heartbeat_interval=0.5, availability_interval=2.0, failure_detector_config=None, "
        "event_stream=None)"
    ),
    "Cluster.start": "()",
    "Cluster.get_state": "(*, timeout=5.0)",
    "Cluster.get_receptionist": "(*, timeout=5.0)",
    "Cluster.shutdown": "()",
    "Cluster.leave": "(address)",
    "Cluster.down": "(address)",
    "ClusterConfig": "(host, port, node_id, seed_nodes=(), roles=frozenset())",
    "ResolveNode": "(node_id, reply_to)",
    "TopologySnapshot": (
        "(members, leader, shard_allocations, allocation_epoch, unreachable=frozenset(), registry=frozenset())"
    ),
    "SubscribeTopology": "(reply_to)",
    "UnsubscribeTopology": "(subscriber)",
    "FailureDetectorConfig": (
        "(threshold=8.0, max_sample_size=200, min_std_deviation_ms=100.0, "
        "acceptable_heartbeat_pause_ms=3000.0, first_heartbeat_estimate_ms=1000.0)"
    ),
    "PhiAccrualFailureDetector.heartbeat": "(node, now)",
    "PhiAccrualFailureDetector.phi": "(node, now)",
    "PhiAccrualFailureDetector.is_available": "(node, now)",
    "PhiAccrualFailureDetector.remove": "(node)",
    "NodeAddress": "(host, port)",
    "ShardAllocation": "(primary, replicas=())",
    "ServiceEntry": "(key, node, path, *, incarnation=0, uid=0, accepts=(), extra=())",
    "ClusteredActorSystem.get_cluster_state": "(timeout=5.0)",
    "ClusteredActorSystem.wait_for": "(n, timeout=60.0)",
    "ClusteredActorSystem.remote": "(path, node)",
    "ActorSystem": "(name='casty-system', *, config=None, wire_types=())",
    "ActorSystem.spawn": "(behavior, name, *, mailbox=None)",
    "ActorSystem.lookup": "(path)",
    "ActorSystem.ask": "(ref, factory, *, timeout=5.0)",
    "ActorSystem.ask_or_none": "(ref, factory, *, timeout=5.0)",
    "ActorSystem.stop": "(ref)",
    "ActorSystem.shutdown": "()",
    "ActorSystem.tell_threadsafe": "(ref, message)",
    "ActorRef.tell": "(message)",
    "ActorRef.send": "(message)",
    "Behaviors.receive": "(handler)",
    "Behaviors.setup": "(factory)",
    "Behaviors.task": "(main)",
    "Behaviors.same": "()",
    "Behaviors.stopped": "()",
    "Behaviors.unhandled": "()",
    "Behaviors.restart": "()",
    "Behaviors.ignore": "()",
    "Behaviors.with_lifecycle": "(behavior, *, pre_start=None, post_stop=None, pre_restart=None, post_restart=None)",
    "Behaviors.supervise": "(behavior, strategy)",
    "Behaviors.discoverable": "(behavior, *, key)",
    "ActorContext.spawn": "(behavior, name, *, mailbox=None)",
    "ActorContext.stop": "(ref)",
    "ActorContext.watch": "(ref)",
    "ActorContext.unwatch": "(ref)",
    "ActorContext.watching": "(ref)",
    "ActorContext.ask": "(ref, factory, *, timeout=5.0)",
    "ActorContext.pipe_to_self": "(async_fn, *args, mapper=None, on_failure=None)",
    "ActorContext.start_soon": "(async_fn, *args)",
    "OneForOneStrategy": "(max_restarts=3, within=60.0, decider=None)",
    "Terminated": "(ref, cause=None)",
    "EventStreamSubscribe": "(event_type, handler)",
    "EventStreamUnsubscribe": "(event_type, handler)",
    "Publish": "(event)",
}
"""What programs are written against: names, order and defaults of parameters do not change."""


@pytest.mark.parametrize("name", PROMISED)
def test_what_is_promised_can_be_called_as_promised(name: str) -> None:
    owner, _, method = name.partition(".")
    found: Any = getattr(casty, owner)
    signature = inspect.signature(getattr(found, method) if method else found)
    plain = [each.replace(annotation=each.empty) for each in signature.parameters.values() if each.name != "self"]
    assert str(signature.replace(parameters=plain, return_annotation=signature.empty)) == PROMISED[name]
