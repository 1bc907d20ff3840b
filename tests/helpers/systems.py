"""Systems, their failures, and the seeds at which clusters once failed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Never

from casty import ActorLifecycleListener, ActorRef, ActorSystem, ServiceKey
from casty.runtime.messaging.ref import LocalRef
from casty.testing.inspect import kernel_of
from casty.testing.simulation import ModelCluster, check_events

REGRESSIONS = Path(__file__).parents[1] / "simulation" / "regressions.txt"


class Boom(Exception):
    """What an actor of a test fails with."""


class Downed(Exception):
    """Stands for NodeDowned."""


class Offers(ActorLifecycleListener):
    """Service keys offered, with the paths of their actors."""

    def __init__(self) -> None:
        self.seen: list[tuple[ServiceKey[Any], str]] = []

    def offered(self, ref: ActorRef[Never], key: ServiceKey[Never]) -> None:
        self.seen.append((key, ref.path))


def shop() -> ActorSystem:
    return ActorSystem("shop")


def fail(system: ActorSystem, path: str) -> None:
    """Have an actor of the library fail as it would by a bug."""
    ref = kernel_of(system).targets[path]
    assert isinstance(ref, LocalRef)
    ref.cell.fail_from_outside(LookupError("as a bug would"))


def regressions(kind: str) -> list[int]:
    """Return the seeds of one kind that once failed."""
    words = [line.partition("#")[0].split() for line in REGRESSIONS.read_text(encoding="utf-8").splitlines()]
    return [int(parts[1]) for parts in words if parts and parts[0] == kind]


def check_all(cluster: ModelCluster) -> None:
    """Check the events of all runs that there were."""
    for run in [*cluster.past, *cluster.runs.values()]:
        check_events(run)
