"""A leaving node waits for the others, or ends at once when nobody stays."""

from __future__ import annotations

import pytest

from casty.protocol.effects import Send
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.membership.leaving import OwnEnd, last_words, own_end
from casty.protocol.messages.membership import ExitingConfirmed
from casty.protocol.state.member import Member
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

A, B, C, D = (run_of(name) for name in "abcd")


@pytest.mark.parametrize(
    ("status", "end"),
    [
        ("joining", OwnEnd.stays),
        ("up", OwnEnd.stays),
        ("leaving", OwnEnd.leaving),
        ("exiting", OwnEnd.finished),
        ("down", OwnEnd.downed),
    ],
)
def test_end_follows_from_the_own_status(status: str, end: OwnEnd) -> None:
    assert own_end(gossip_of(member("a", status), member("b")), A) is end


def test_node_that_was_removed_is_downed() -> None:
    assert own_end(gossip_of(member("b")), A) is OwnEnd.downed


@pytest.mark.parametrize("others", [[], [member("b", "leaving")], [member("b", "exiting"), member("c", "down")]])
def test_leaving_node_is_finished_when_nobody_stays(others: list[Member]) -> None:
    assert own_end(gossip_of(member("a", "leaving"), *others), A) is OwnEnd.finished


def test_unreachable_member_cannot_let_a_node_go() -> None:
    state = gossip_of(member("a", "leaving"), member("b")).with_row(A, ObserverRow().accusing(B))
    assert own_end(state, A) is OwnEnd.finished


def test_last_words_go_to_the_next_two_leaders() -> None:
    state = gossip_of(member("a", "exiting"), member("b", "joining"), member("c"), member("d"), member("e"))
    whole = to_wire(state, 1.0)
    assert last_words(state, A, 1.0) == [
        Send(C, whole),
        Send(C, ExitingConfirmed()),
        Send(D, whole),
        Send(D, ExitingConfirmed()),
    ]
    assert last_words(state.with_row(A, ObserverRow().accusing(C)), A, 1.0)[0].to == D
