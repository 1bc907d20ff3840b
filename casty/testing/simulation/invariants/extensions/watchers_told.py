"""Watchers are told the end of an actor of another node once, and of none that lives.

Owns the memory of the told watchers. The actors are those of `casty.testing.simulation.model.watching`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

from casty.address import UniqueAddress
from casty.protocol.death_watch.machine import Target, TellEnd
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run
from casty.testing.simulation.model.watching import WatchingNode, watching_node


@dataclass(slots=True)
class WatchersTold(Rule):
    """The rule of death watch over nodes.

    A watcher is told once, of an actor that has ended, or whose run is no member in the eyes of the watcher's node.
    When all is quiet, every watcher of such an actor has been told, and both nodes of a watch know of it.
    """

    kinds = (TellEnd,)
    settle_within = 15.0
    """An unknown run is given up after 10 s; an unanswered message is repeated each second."""
    _told: set[tuple[UniqueAddress, int]] = field(init=False, default_factory=set[tuple[UniqueAddress, int]])

    def performed(self, run: Run, effect: object) -> None:
        told = cast("TellEnd[int]", effect)
        watcher = told.watcher
        target = watching_node(run).watched.get(watcher)
        if target is None or (run.node, watcher) in self._told:
            text = f"watcher {watcher} of {run.name} is told the end of an actor not watched by it any more"
            raise InvariantBroken("a watcher is told once", f"{text}, at {self.cluster.now:.4f}")
        self._told.add((run.node, watcher))
        host = self._host(target)
        if host is not None and self._is_member(run, host):
            text = f"{run.name} tells the end of actor {target.uid} of {host.name}, which lives: {told.reason}"
            raise InvariantBroken("the end of an actor that lives is told to nobody", f"{text}, {self.cluster.now:.4f}")

    def is_settled(self) -> bool:
        return not any(self._faults())

    def at_rest(self) -> None:
        for rule, text in self._faults():
            raise InvariantBroken(rule, f"{text}, at {self.cluster.now:.4f}")

    def _faults(self) -> Iterator[tuple[str, str]]:
        """Yield the broken rules of a quiet cluster, each with a text."""
        expected: dict[UniqueAddress, set[tuple[UniqueAddress, int]]] = {}
        for run in self.cluster.living:
            for watcher, target in watching_node(run).watched.items():
                host = self._host(target)
                if host is None or not self._is_member(run, host):
                    text = f"watcher {watcher} of {run.name} waits for actor {target.uid} of {target.node.address.host}"
                    yield "each watcher of an ended actor is told", text
                else:
                    expected.setdefault(host.node, set()).add((run.node, target.uid))
        for run in self.cluster.living:
            here: WatchingNode = watching_node(run)
            watched = {(peer, uid) for (peer, _), uid in here.attached.items()}
            if watched != expected.get(run.node, set()):
                text = f"{run.name} has {len(watched)} watches of its actors, others {len(expected.get(run.node, ()))}"
                yield "both nodes of a watch know of it", text
            if here.death_watch.pending:
                yield "death watch comes to rest", f"{run.name} repeats {here.death_watch.pending} messages"

    def _host(self, target: Target) -> Run | None:
        """Return the living run of an actor that lives."""
        run = self.cluster.runs.get(target.node.address.host)
        return run if run is not None and run.alive and target.uid in watching_node(run).actors else None

    def _is_member(self, run: Run, other: Run) -> bool:
        state = run.topology.state
        return state is not None and other.node in state.members
