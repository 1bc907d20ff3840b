"""Membership events told by real nodes, held to rules as they are told.

Owns the memory of the events told by each run of a node. It does not know how a play goes (`tasks`), or the rules for
the protocol alone, where every state can be seen (`invariants`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.state.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.state.member import Member
from casty.testing.simulation.invariants.invariants import InvariantBroken

MembershipEvent = MemberUp | MemberLeft | UnreachableMember | ReachableMember


@dataclass(slots=True)
class EventHistory:
    """Events told by one run, from the beginning of somebody's listening."""

    name: str
    node: UniqueAddress | None = None
    """The run, once it is known."""
    _last: dict[UniqueAddress, str] = field(init=False, default_factory=lambda: dict[UniqueAddress, str]())
    """Of each member the last edge of its reachability."""
    _up: dict[UniqueAddress, Member] = field(init=False, default_factory=lambda: dict[UniqueAddress, Member]())
    _numbers: dict[UniqueAddress, int] = field(init=False, default_factory=lambda: dict[UniqueAddress, int]())
    _left: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())

    def take(self, event: MembershipEvent, at: float) -> None:
        """Take one event. InvariantBroken when it is inconsistent with the events before."""
        kind, member = type(event).__name__, event.member
        node = member.unique
        if node in self._left or (kind == self._last.get(node)) or (kind == "MemberUp" and node in self._up):
            raise InvariantBroken("each change is told once", f"{self.name} told {kind} of {node}, at {at:.4f}")
        if member.up_number < self._numbers.get(node, 0):
            raise InvariantBroken("a told number never falls", f"{self.name} told {kind} of {node}, at {at:.4f}")
        self._numbers[node] = member.up_number
        match event:
            case MemberUp():
                self._alone(member, at)
                self._up[node] = member
            case MemberLeft():
                self._up.pop(node, None)
                self._left.add(node)
            case UnreachableMember() | ReachableMember():
                self._last[node] = kind

    def has_removed(self, other: EventHistory) -> bool:
        """Return whether this run has told the removal of the other one."""
        return other.node in self._left

    def _alone(self, member: Member, at: float) -> None:
        for other in self._up.values():
            for what in ("address", "id"):
                if getattr(member, what) == getattr(other, what):
                    rule = f"no two members are up with one {'node_id' if what == 'id' else what}"
                    raise InvariantBroken(rule, f"{member.unique} and {other.unique} for {self.name}, at {at:.4f}")
