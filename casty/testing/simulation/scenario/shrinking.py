"""The smallest scenario that fails as a given one does.

Owns the choice and the order of smaller scenarios: with the default settings, without some of the faults, without a
node, with narrower cuts, with rounder times, until none of these fails any more. It does not know what failing is
(`checking`). The form follows Zeller's delta debugging; deviation: halves are only left out, never tried alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from casty.config import ClusterSettings
from casty.errors import ConfigError
from casty.testing.simulation.scenario.faults import Cut, Fault, nodes_of
from casty.testing.simulation.scenario.scenario import Scenario, Timed

PLAYS_MAX = 300
"""Plays of a scenario to make it smaller: about half a minute for nine nodes."""


def shrunk(scenario: Scenario, fails: Callable[[Scenario], bool], *, plays_max: int = PLAYS_MAX) -> Scenario:
    """Return the smallest scenario found that ``fails``, after at most ``plays_max`` calls of it; the given one fails.

    >>> from casty.testing.simulation import Crash, Heal, Scenario
    >>> scenario = Scenario(1, ("a", "b", "c"), ((0.25, Heal()), (1.75, Crash("b")), (2.5, Crash("a"))))
    >>> shrunk(scenario, lambda one: any(fault == Crash("b") for _, fault in one.faults)).on_one_line()
    'Scenario(seed=1, nodes=("b",), faults=((2.0, Crash("b")),))'
    """
    search = _Search(scenario, fails, plays_max)
    while search.is_open:
        before = search.best
        search.drop_settings()
        search.drop_faults()
        search.drop_nodes()
        search.narrow_cuts()
        search.round_times()
        if search.best == before:
            break
    return search.best


@dataclass(slots=True)
class _Search:
    best: Scenario
    fails: Callable[[Scenario], bool]
    plays_max: int
    tried: set[str] = field(default_factory=lambda: set[str]())

    @property
    def is_open(self) -> bool:
        return len(self.tried) < self.plays_max

    def attempt(self, candidate: Scenario | None) -> bool:
        """Take a candidate if it was not tried before and fails too."""
        if candidate is None or not self.is_open or candidate == self.best:
            return False
        line = candidate.on_one_line()
        if line in self.tried:
            return False
        self.tried.add(line)
        if not self.fails(candidate):
            return False
        self.best = candidate
        return True

    def with_faults(self, faults: Sequence[Timed]) -> bool:
        return self.attempt(_valid(self.best, self.best.nodes, faults))

    def drop_faults(self) -> None:
        size = len(self.best.faults)
        while size:
            at = 0
            while at < len(self.best.faults):
                faults = self.best.faults
                if not self.with_faults(faults[:at] + faults[at + size :]):
                    at += size
            size //= 2

    def drop_settings(self) -> None:
        self.attempt(replace(self.best, settings=ClusterSettings(), roles={}))
        self.attempt(replace(self.best, roles={}))

    def drop_nodes(self) -> None:
        for name in reversed(self.best.nodes):
            nodes = tuple(node for node in self.best.nodes if node != name)
            faults = [(at, kept) for at, fault in self.best.faults if (kept := _without(fault, name)) is not None]
            self.attempt(_valid(self.best, nodes, faults))

    def narrow_cuts(self) -> None:
        for place in range(len(self.best.faults)):
            for name in nodes_of(self.best.faults[place][1]):
                faults = list(self.best.faults)
                at, fault = faults[place]
                kept = _without(fault, name)
                if kept is not None:
                    faults[place] = (at, kept)
                    self.with_faults(faults)

    def round_times(self) -> None:
        for digits in (0, 1, 2):
            if self.with_faults([(round(at, digits), fault) for at, fault in self.best.faults]):
                return
        for place in range(len(self.best.faults)):
            faults = list(self.best.faults)
            at, fault = faults[place]
            faults[place] = (float(round(at)), fault)
            self.with_faults(faults)


def _valid(scenario: Scenario, nodes: tuple[str, ...], faults: Sequence[Timed]) -> Scenario | None:
    try:
        return replace(scenario, nodes=nodes, faults=tuple(faults))
    except ConfigError:
        return None


def _without(fault: Fault, name: str) -> Fault | None:
    """Return the fault without a node; None when nothing of it is left."""
    if name not in nodes_of(fault):
        return fault
    if not isinstance(fault, Cut):
        return None
    one = tuple(node for node in fault.one if node != name)
    other = tuple(node for node in fault.other if node != name)
    return replace(fault, one=one, other=other) if one and other else None
