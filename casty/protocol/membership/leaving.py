"""End of this node's own membership.

Owns the judgement whether this node stays, has work to finish, waits for the others to let it go, or is done. It does
not know who asked it to leave (`Topology`) or the work its actors have to finish.

How it works: a node may be asked to leave by others, and then may already be exiting when its actors are still at work.
It remains a member, and reachable, until it is told that they have finished; only then does it say its last words.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from casty.address import LastMembership, UniqueAddress
from casty.protocol.effects import Rng, Send, StartTimer
from casty.protocol.gossip.anti_entropy import PUSH_ALL_MAX
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.messages.membership import ExitingConfirmed
from casty.protocol.state.member import VOTING, Member, MemberStatus
from casty.protocol.state.membership_state import Gossip

LEAVE = "leave"
CONFIRMED_LEADERS = 2


@dataclass(frozen=True, slots=True)
class AskedToLeave:
    """Effect: somebody has this node leave. It is to finish its work, and to say `WorkFinished` then."""


class OwnEnd(Enum):
    """Standing of this node at the end of its membership."""

    stays = "stays"
    leaving = "leaving"
    """It has announced its leave and waits for the leader."""
    finished = "finished"
    """It is exiting, or nobody stays to let it go."""
    downed = "downed"


def own_end(state: Gossip, self_node: UniqueAddress) -> OwnEnd:
    """Return where ``self_node`` stands."""
    own = state.members.get(self_node)
    if own is None or own.status is MemberStatus.down:
        return OwnEnd.downed
    if own.status is MemberStatus.exiting:
        return OwnEnd.finished
    if own.status is not MemberStatus.leaving:
        return OwnEnd.stays
    others, lost = state.others(self_node), state.lost_to(self_node)
    return OwnEnd.leaving if any(_lets_go(member, lost) for member in others) else OwnEnd.finished


@dataclass(slots=True)
class OwnLeave:
    """Leave of this node: the orders to it, and whether its work is finished."""

    self_node: UniqueAddress
    timeout: float
    is_finished: bool = False
    _was_asked: bool = False
    _waits: bool = False

    def begin(self, *, is_finished: bool) -> None:
        """Take note of a leave by the node's own will, which nobody has to ask for, or of its finished work."""
        self._was_asked = True
        self.is_finished |= is_finished

    def settle(self, state: Gossip) -> tuple[OwnEnd, list[AskedToLeave | StartTimer]]:
        """Return the node's standing after a step, and the effects due first."""
        end = own_end(state, self.self_node)
        if end is OwnEnd.stays or end is OwnEnd.downed:
            return end, []
        if not self.is_finished:
            effects = [] if self._was_asked else [AskedToLeave()]
            self._was_asked = True
            return OwnEnd.leaving, [*effects]
        if end is OwnEnd.finished or self._waits:
            return end, []
        self._waits = True
        return end, [StartTimer(LEAVE, self.timeout)]


def last_words(state: Gossip, self_node: UniqueAddress, now: float) -> list[Send]:
    """Return the last words of a leaving node, to the possible leaders at their arrival.

    The whole state is among them: nobody can ask this node any more for the base of a difference.
    """
    others, lost = state.others(self_node), state.lost_to(self_node)
    leaders = [m.unique for m in others if m.status in VOTING and m.unique not in lost]
    words = (to_wire(state, now), ExitingConfirmed())
    return [Send(node, word) for node in leaders[:CONFIRMED_LEADERS] for word in words]


def own_sentence(state: Gossip, self_node: UniqueAddress, now: float, rng: Rng) -> list[Send]:
    """Return the last words of a node after giving itself up: its state, to all others of a small cluster.

    In a large one some get it, and pass it on. Gossip would tell them too, but ends with this node, and may be behind.
    """
    others = [member.unique for member in state.others(self_node) if member.unique not in state.seen]
    told = others if len(others) < PUSH_ALL_MAX else sorted(rng.sample(others, PUSH_ALL_MAX))
    word = to_wire(state, now)
    return [Send(node, word) for node in told]


def last_membership(state: Gossip, own: Member) -> LastMembership:
    """Return the memory for the next run of this node, ``own`` until now, of the cluster it ends in.

    Down members count: whether the others agree on that may be unknown here. Exiting ones have finished.
    """
    members = {**state.members, own.unique: own}.values()
    staying = [member for member in members if member.status is not MemberStatus.exiting]
    voters = frozenset(m.unique for m in staying if m.up_number or m.status in VOTING)
    return LastMembership(state.cluster_id, own.unique, voters, frozenset(m.unique for m in staying))


def _lets_go(member: Member, lost: frozenset[UniqueAddress]) -> bool:
    staying = member.status in (MemberStatus.joining, MemberStatus.up)
    return staying and member.unique not in lost
