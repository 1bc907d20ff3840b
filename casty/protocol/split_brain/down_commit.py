"""Commit of a downing: from then on a down member counts no more.

Owns the set of down members still counted as voters of another side. It does not know who downed them (`resolver`), or
who counts (`strategies`, `serving_lease`).

How it works: a node that downs members can be cut off before anybody else has heard of it, while those members find new
friends. Were they out of the count at once, both could be most of the members they count. So a verdict stands once
those known to know of it are a side by the strategy, with the member itself counted against them: every other side has
one of them, and it tells the member that it is down. So is a commit of Raft known, Ongaro 2014, sec. 3.6.2; deviation:
by the strategy, not necessarily a majority.
"""

from __future__ import annotations

from dataclasses import replace

from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.strategies import LeaseMajority, Partition, Strategy
from casty.protocol.state.member import GOING, Member, MemberStatus
from casty.protocol.state.membership_state import Gossip


def still_counting(state: Gossip, strategy: Strategy | None, seen_tracker: SeenTracker) -> tuple[Member, ...]:
    """Return the down members still in the count, as they were before: up, or joining."""
    if not state.down or strategy is None or isinstance(strategy, LeaseMajority):  # the lease remembers who lost
        return ()
    down = [member for member in state.ordered if member.status is MemberStatus.down]
    before = {member.unique: before_down(member) for member in down}
    standing = [member for member in state.ordered if member.status not in GOING]

    def is_agreed(member: Member) -> bool:
        knowing = seen_tracker.know_down(member.unique)
        mine = tuple(one for one in standing if one.unique in knowing)
        theirs = (*(one for one in standing if one.unique not in knowing), *before.values())
        return strategy.rules_out_others(Partition(mine, theirs))

    return tuple(before[member.unique] for member in down if not is_agreed(member))


def before_down(member: Member) -> Member:
    """Return a down member as it was before: up, or joining."""
    return replace(member, status=MemberStatus.up if member.up_number else MemberStatus.joining)
