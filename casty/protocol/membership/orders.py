"""Orders of operators for members, kept where they were given.

Owns the waiting orders: others go by members that are up, so a joining node passes its orders on once it is up itself.
It does not know the consequences of a status (`Topology`), or who asked.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.effects import Note, Severity
from casty.protocol.gossip.hearsay import has_word
from casty.protocol.membership.inputs import DownMember, LeaveMember
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip


@dataclass(slots=True)
class Orders:
    """Orders given to one node."""

    self_node: UniqueAddress
    _waiting: dict[UniqueAddress, MemberStatus] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, MemberStatus]()
    )

    def give(self, state: Gossip, order: LeaveMember | DownMember) -> tuple[Gossip, tuple[Note, ...]]:
        """Return this node's word now: of itself at once, of others if they go by its word."""
        address, status = order.address, MemberStatus.down if isinstance(order, DownMember) else MemberStatus.leaving
        runs = state.runs_at(address)
        if not runs:
            return state, (Note(Severity.warning, f"no member is at {address}: nobody is {status.name} there"),)
        said = runs if has_word(state, self.self_node) else runs & {self.self_node}
        if not runs > said:
            return state.with_moved(self.self_node, said, status), ()
        for run in runs - said:
            self._waiting[run] = max(status, self._waiting.get(run, status), key=lambda each: each.rank)
        text = f"{address} is {status.name} once this node is up: it is joining, and others go by members that are up"
        return state.with_moved(self.self_node, said, status), (Note(Severity.warning, text, about=address),)

    def carried_out(self, state: Gossip) -> Gossip:
        """Return the state with the waiting orders, if this node is up by now; orders said already are forgotten."""
        if not self._waiting or not has_word(state, self.self_node):
            return state
        told = state
        for run, status in self._waiting.items():
            told = told.with_moved(self.self_node, {run}, status)
        if told is state:
            self._waiting = {}
        return told
