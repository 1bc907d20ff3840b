"""How this node's own membership ends.

Owns the judgement whether this node stays, waits for the others to let it go, or is done. It does
not know who asked it to leave (`topology`) or what its actors still have to finish.
"""

from __future__ import annotations

from enum import Enum

from casty.address import UniqueAddress
from casty.protocol.effects import Send
from casty.protocol.gossip import Gossip
from casty.protocol.membership import VOTING, Member, MemberStatus
from casty.protocol.messages import ExitingConfirmed
from casty.protocol.state_on_wire import to_wire

CONFIRMED_LEADERS = 2


class OwnEnd(Enum):
    """Where this node stands at the end of its membership."""

    stays = "stays"
    leaving = "leaving"
    """It has announced its leave and waits for the leader."""
    finished = "finished"
    """It is exiting, or nobody stays who could let it go."""
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


def last_words(state: Gossip, self_node: UniqueAddress, now: float) -> list[Send]:
    """Return the last words of a leaving node, to those who may lead when they arrive.

    The whole state is among them: nobody can ask this node any more for what a difference was made to.
    """
    others, lost = state.others(self_node), state.lost_to(self_node)
    leaders = [m.unique for m in others if m.status in VOTING and m.unique not in lost]
    words = (to_wire(state, now), ExitingConfirmed())
    return [Send(node, word) for node in leaders[:CONFIRMED_LEADERS] for word in words]


def _lets_go(member: Member, lost: frozenset[UniqueAddress]) -> bool:
    staying = member.status in (MemberStatus.joining, MemberStatus.up)
    return staying and member.unique not in lost
