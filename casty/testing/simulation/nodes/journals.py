"""The journals of simulated nodes: handles on one store, with the faults of each node.

Owns the handle of each run of a node and its faults. It does not know what a fault does to a call
(`casty.testing.SimulatedJournal`).
"""

from __future__ import annotations

from typing import cast

from casty.errors import ConfigError
from casty.testing.simulated_journal import JournalFaultName, SimulatedJournal
from casty.testing.simulation.scenario.faults import JournalFault
from casty.testing.simulation.scenario.scenario import Scenario


class NodeJournals:
    """Journals of the nodes of one play.

    Parameters:
        store: Journal of the user, on the store of all nodes; None where they have none.
    """

    def __init__(self, store: SimulatedJournal | None) -> None:
        self._store = store
        self._handles: dict[str, SimulatedJournal] = {}
        self._rates: dict[str, dict[JournalFaultName, float]] = {}

    def start(self, node: str) -> SimulatedJournal | None:
        """Return a journal for a new run of a node, with the present faults of the node."""
        if self._store is None:
            return None
        handle = self._handles[node] = self._store.handle()
        for name, rate in self._rates.get(node, {}).items():
            handle.fault(name, rate)
        return handle

    def crash(self, node: str) -> None:
        """Cut the power of the store with that of a node."""
        if node in self._handles:
            self._handles[node].crash()

    def apply(self, fault: JournalFault) -> None:
        """Begin a fault, or end it by the rate 0; a node without a run has it from its next start."""
        self._rates.setdefault(fault.node, {})[fault.name] = fault.rate
        if fault.node in self._handles:
            self._handles[fault.node].fault(fault.name, fault.rate)

    def end_faults(self) -> None:
        """End all faults of all nodes."""
        for node, rates in self._rates.items():
            for name in rates:
                self.apply(JournalFault(node, name, 0.0))


def check_journal_of(scenario: Scenario, store: SimulatedJournal | None) -> None:
    """Raise an error unless a store fits a scenario: one there for its faults, and a new one for its play."""
    if store is None:
        for _, fault in scenario.faults:
            if isinstance(fault, JournalFault):
                raise ConfigError(f"{fault!r}: there is no journal; write simulate(..., journal=SimulatedJournal())")
    elif not isinstance(cast("object", store), SimulatedJournal):
        raise TypeError(f"simulate: expected a SimulatedJournal as journal, got {store!r}")
    elif store.is_used:
        raise ValueError(f"{store!r} was used before, and a play begins with an empty one: make one for each play")
