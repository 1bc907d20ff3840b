"""What real nodes may tell of members, and in which order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.protocol.state.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.testing.samples import member
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.nodes.told import EventHistory, MembershipEvent

A, B = member("a", up_number=1), member("b", up_number=2)
AGAIN = member("b", incarnation=99, up_number=3)
ONCE = "each change is told once"


def telling(*events: MembershipEvent) -> EventHistory:
    told = EventHistory("a")
    for event in events:
        told.take(event, 1.0)
    return told


def test_a_member_comes_and_goes_and_comes_again_as_another_run() -> None:
    lost, back = UnreachableMember(B), ReachableMember(B)
    telling(MemberUp(A), MemberUp(B), lost, back, lost, MemberLeft(B), MemberUp(AGAIN), UnreachableMember(AGAIN))


def test_two_that_two_leaders_gave_one_number_are_told_of_and_a_number_may_rise() -> None:
    telling(MemberUp(A), MemberUp(replace(B, up_number=1)), UnreachableMember(B))


def test_whoever_listens_late_has_missed_the_beginning() -> None:
    telling(ReachableMember(B), MemberLeft(B))


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        ([MemberUp(B), MemberUp(B)], ONCE),
        ([MemberUp(B), MemberLeft(B), MemberLeft(B)], ONCE),
        ([MemberUp(B), MemberLeft(B), MemberUp(B)], ONCE),
        ([MemberUp(B), MemberLeft(B), UnreachableMember(B)], ONCE),
        ([UnreachableMember(B), UnreachableMember(B)], ONCE),
        ([UnreachableMember(B), ReachableMember(B), ReachableMember(B)], ONCE),
        ([MemberUp(B), MemberUp(AGAIN)], "no two members are up with one address"),
        ([MemberUp(A), MemberUp(replace(B, id="a"))], "no two members are up with one node_id"),
        ([MemberUp(B), UnreachableMember(replace(B, up_number=1))], "a told number never falls"),
    ],
)
def test_what_cannot_follow_is_named(events: list[MembershipEvent], rule: str) -> None:
    with pytest.raises(InvariantBroken) as broken:
        telling(*events)
    assert broken.value.rule == rule


def test_who_has_removed_whom() -> None:
    one, other = telling(MemberLeft(B)), telling(MemberLeft(A))
    assert not one.has_removed(other), "nobody knows which run it is"
    one.node, other.node = A.unique, B.unique
    assert one.has_removed(other)
    assert other.has_removed(one)
    assert not one.has_removed(one)
