"""Promises of the documentation, written a second time on purpose.

A rule that took these from the protocol would move with them: a lease of four times its length would be as long as the
protocol says. Owns the figures, and which side of a partition goes on by which strategy; it imports no rule of the
protocol, only its values.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from casty.address import UniqueAddress
from casty.protocol.split_brain.strategies import DownAll, KeepMajority, KeepOldest, StaticQuorum, Strategy
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip

LEASE = 4.0
"""Seconds of a grant, from the sending of its request."""
TAKEOVER = 4.4
CLOCKS_APART = 0.1
"""Share by which clocks may differ where leases count on them."""
CRASH_SEEN_WITHIN = 2.0
VOTERS = (MemberStatus.up, MemberStatus.leaving)
GOING = (MemberStatus.exiting, MemberStatus.down)
SERVING = (MemberStatus.up, MemberStatus.leaving, MemberStatus.exiting)
"""Statuses allowed to do exclusive work, until it is handed over."""

_PATIENCE = ((1, 7.0), (5, 7.0), (10, 10.0), (20, 13.0), (50, 17.0), (100, 20.0), (1_000, 30.0))


def patience(members: int) -> float:
    """Return how long a view of so many members must be stable before somebody is downed.

    >>> patience(3), patience(9), patience(100)
    (7.0, 9.4, 20.0)
    """
    for (less, low), (more, high) in zip(_PATIENCE, _PATIENCE[1:], strict=False):
        if members <= more:
            return round(low + (high - low) * (members - less) / (more - less), 6)
    return _PATIENCE[-1][1]


def lost_in(state: Gossip, node: UniqueAddress) -> frozenset[UniqueAddress]:
    """Return the members unreachable for ``node``: accused by it, or by one in its hearing whose word counts."""
    own = state.rows[node].accused if node in state.rows else frozenset[UniqueAddress]()
    lost: set[UniqueAddress] = set()
    for observer, row in state.rows.items():
        if observer not in own and (observer == node or counts_in(state, observer)):
            lost |= row.accused
    return frozenset(one for one in lost if one in state.members and one != node)


def accused_in(state: Gossip) -> frozenset[UniqueAddress]:
    """Return the members accused by somebody whose word counts for others."""
    accused = (row.accused for observer, row in state.rows.items() if row.accused and counts_in(state, observer))
    return frozenset[UniqueAddress]().union(*accused) & state.members.keys()


def counts_in(state: Gossip, observer: UniqueAddress) -> bool:
    """Return whether others go by the accusations of an observer: it is not down, nor was it never up, once one is."""
    member = state.members.get(observer)
    if member is None or member.status is MemberStatus.down:
        return False
    return member.up_number > 0 or not any(one.status is MemberStatus.up for one in state.members.values())


def voters_in(state: Gossip) -> frozenset[UniqueAddress]:
    """Return the voting members: up, or leaving and up before."""
    return frozenset(n for n, member in state.members.items() if member.status in VOTERS and member.up_number > 0)


def age_of(member: Member) -> tuple[bool, int, UniqueAddress]:
    """Return the key for sorting members, the oldest first: the number of coming up, then address and incarnation."""
    return not member.up_number, member.up_number, member.unique


def sides_in(state: Gossip, node: UniqueAddress) -> tuple[list[Member], list[Member]]:
    """Return the members heard and not heard by ``node``, without those that go anyway."""
    lost = lost_in(state, node)
    counted = [member for member in state.members.values() if member.status not in GOING]
    return [m for m in counted if m.unique not in lost], [m for m in counted if m.unique in lost]


def goes_on(strategy: Strategy, mine: Sequence[Member], theirs: Sequence[Member]) -> bool | None:
    """Return whether the side ``mine`` goes on; None where this does not say.

    A side must be one twice: as it knows the members, and with its leaving members gone and the joining ones of a side
    with voters up.
    """
    role = getattr(strategy, "role", None)
    here = _having(mine, VOTERS, role), _having(mine, (MemberStatus.up,), role)
    there = _having(theirs, VOTERS, role)
    there_at_worst = _having(theirs, (*VOTERS, MemberStatus.joining), role) if there else there
    both = [_is_side(strategy, here[0], there), _is_side(strategy, here[1], there_at_worst)]
    return None if None in both else all(both)


def _having(members: Sequence[Member], statuses: Collection[MemberStatus], role: str | None) -> list[Member]:
    return [m for m in members if m.status in statuses and (role is None or role in m.roles)]


def _is_side(strategy: Strategy, mine: list[Member], theirs: list[Member]) -> bool | None:
    if isinstance(strategy, DownAll):
        return False
    if isinstance(strategy, StaticQuorum):
        return strategy.size <= len(mine) and len(mine) + len(theirs) < 2 * strategy.size
    if isinstance(strategy, KeepMajority):
        if len(mine) != len(theirs):
            return len(mine) > len(theirs)
        both = [*mine, *theirs]
        return bool(both) and min(both, key=lambda member: (member.address, member.incarnation)) in mine
    if isinstance(strategy, KeepOldest):
        aged = [member for member in (*mine, *theirs) if member.up_number]
        if not aged:
            return False
        oldest = min(aged, key=age_of)
        with_it, without = (mine, theirs) if oldest in mine else (theirs, mine)
        is_left = strategy.down_if_alone and len(with_it) == 1 and len(without) > 1
        return (oldest in mine) is not is_left
    return None
