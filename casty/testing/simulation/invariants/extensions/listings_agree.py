"""Subscribers of a service know its instances as the topology shows them.

Owns a second, plain way from a snapshot to a listing. The subscribers are those of
`casty.testing.simulation.model.listing`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import cast

from casty.address import UniqueAddress
from casty.protocol.membership.view import SnapshotChanged
from casty.protocol.receptionist.listings import Entries, Notify
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.member import MemberStatus
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.listing import KEYS, SUBSCRIBERS, Subscriber, listing_node
from casty.testing.simulation.model.run import Run


@dataclass(slots=True)
class ListingsAgree(Rule):
    """The rule of listings.

    A subscriber is told each change of its listing once. After each snapshot taken, its listing has the fitting
    instances on members reachable and not down. When all is quiet, all nodes list the services of the living.
    """

    kinds = (SnapshotChanged, Notify)
    settle_within = 5.0
    _shown: dict[UniqueAddress, TopologySnapshot] = field(
        init=False, default_factory=dict[UniqueAddress, TopologySnapshot]
    )
    """Snapshots shown since the last look, or not taken by then."""

    def performed(self, run: Run, effect: object) -> None:
        if isinstance(effect, SnapshotChanged):
            self._shown[run.node] = effect.snapshot
            return
        notify = cast("Notify[Subscriber]", effect)
        if listing_node(run).told.get(notify.subscriber) == notify.entries:
            self._fail(run, "a change of a listing is told once", f"{notify.subscriber} is told what it knows")

    def look(self) -> None:
        for node, snapshot in list(self._shown.items()):
            run = self.cluster.every[node]
            here = listing_node(run)
            if here.snapshot is snapshot or not run.alive:
                del self._shown[node]
            if here.snapshot is not snapshot:
                continue
            for subscriber in SUBSCRIBERS:
                if here.told[subscriber] != expected_in(snapshot, subscriber):
                    self._fail(run, "a subscriber knows what the topology shows", f"{subscriber} knows {here.told}")

    def is_settled(self) -> bool:
        return not self._shown

    def at_rest(self) -> None:
        offered = {key: [run.node for run in self.cluster.living if key in run.offered] for key in KEYS}
        for run in self.cluster.living:
            here = listing_node(run)
            if here.snapshot is not run.topology.view.snapshot:
                self._fail(run, "the receptionist has the last snapshot", "it has one before")
            for key in KEYS:
                found = here.listings.find(key, (f"{key}.Do",)).entries
                if [UniqueAddress(one.node, one.incarnation) for one in found] != sorted(offered[key]):
                    self._fail(run, "all list what the living offer", f"{key} is listed as {found}")

    def _fail(self, run: Run, rule: str, text: str) -> None:
        raise InvariantBroken(rule, f"{text}, at {self.cluster.now:.4f} on {run.name}")


def expected_in(snapshot: TopologySnapshot, subscriber: Subscriber) -> Entries:
    """Return the listing for a subscriber by a snapshot."""
    there = {one.address for one in snapshot.members if one.status is not MemberStatus.down} - snapshot.unreachable
    fits = [
        entry
        for entry in snapshot.registry
        if entry.key == subscriber.key and entry.node in there and {*subscriber.names} <= {*entry.accepts}
    ]
    return tuple(sorted(fits, key=lambda entry: (entry.node, entry.path, entry.incarnation, entry.uid)))
