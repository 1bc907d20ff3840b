"""Which ends of bad links are enough to go."""

from __future__ import annotations

import pytest

from casty.protocol.split_brain.bad_links import bad_links, ends_to_go, without_links
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

A = run_of("a")


def accusing(*pairs: str) -> Gossip:
    """Return five members, of which a is the oldest and e is joining, with an accusation for each pair."""
    state = gossip_of(*(member(name, up_number=place) for place, name in enumerate("abcd", 1)), member("e", "joining"))
    for observer, subject in pairs:
        row = state.rows.get(run_of(observer), ObserverRow())
        state = state.with_row(run_of(observer), row.accusing(run_of(subject)))
    return state


def going(*links: str) -> str:
    state = accusing(*links, *(link[::-1] for link in links))
    found = bad_links(state.rows, state.present)
    return "".join(sorted(node.address.host for node in ends_to_go(found, state.members)))


@pytest.mark.parametrize(
    ("links", "ends"),
    [
        (("ab",), "b"),  # the younger one
        (("de",), "e"),  # who is not up yet is the youngest
        (("ab", "cd"), "bd"),
        (("ab", "ac", "ad"), "a"),  # one for three
        (("ab", "bc", "cd"), "bc"),
        (("ad", "ae", "bd", "be"), "de"),
        (("ab", "bc", "ac"), "bc"),
    ],
)
def test_no_link_is_bad_without_them(links: tuple[str, ...], ends: str) -> None:
    assert going(*links) == ends


def test_a_link_is_bad_when_both_ends_say_so_and_are_looked_at() -> None:
    state = accusing("ab", "ba", "ac", "de", "ed")
    a, b = run_of("a"), run_of("b")
    assert bad_links(state.rows, {run_of(name) for name in "abcd"}) == {a: {b}, b: {a}, run_of("d"): frozenset()}


def test_other_accusations_stay_when_the_bad_links_are_taken_for_good() -> None:
    state = accusing("ab", "ba", "ac")
    assert state.unreachable == {run_of(name) for name in "abc"}
    assert without_links(state, bad_links(state.rows, state.present)).unreachable == {run_of("c")}
