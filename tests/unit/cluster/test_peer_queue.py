"""Peers are heard in turn: whoever talks without end waits for itself only."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from casty.cluster.peer_queue import LETTER_BYTES_MAX, LETTERS_MAX, PeerQueue, PeerReady
from casty.testing.samples import run_of

A, B = run_of("a"), run_of("b")


def box() -> tuple[PeerQueue[str], list[PeerReady]]:
    mails: list[PeerReady] = []
    return PeerQueue[str](mails.append), mails


def read(letters: PeerQueue[str], mails: list[PeerReady]) -> list[str]:
    found: list[str] = []
    while mails:
        letter = letters.take(mails.pop(0))
        found += [] if letter is None else [letter]
    return found


def test_peers_are_heard_in_turn_and_each_in_its_order() -> None:
    letters, mails = box()
    for text in ("a1", "a2", "a3"):
        letters.put(A, text, 1)
    letters.put(B, "b1", 1)
    assert mails == [PeerReady(A), PeerReady(B)]
    assert read(letters, mails) == ["a1", "b1", "a2", "a3"]


def test_peer_that_is_not_read_loses_its_own_letters_only() -> None:
    letters, mails = box()
    for number in range(LETTERS_MAX + 5):
        letters.put(A, f"a{number}", 1)
    letters.put(B, "b", 1)
    assert letters.lost == 5
    assert len(read(letters, mails)) == LETTERS_MAX + 1


def test_letters_are_bounded_by_their_size_but_the_first_is_always_taken() -> None:
    letters, mails = box()
    letters.put(A, "huge", 2 * LETTER_BYTES_MAX)
    letters.put(A, "more", 1)
    assert letters.lost == 1
    assert read(letters, mails) == ["huge"]
    letters.put(A, "again", 1)
    assert read(letters, mails) == ["again"]


def test_all_that_waits_can_be_taken_at_once_and_the_mails_under_way_find_what_came_since() -> None:
    letters, mails = box()
    for peer, text in ((A, "a1"), (B, "b1"), (A, "a2")):
        letters.put(peer, text, 1)
    assert letters.take_all() == ["a1", "a2", "b1"]
    letters.put(B, "b2", LETTER_BYTES_MAX)
    assert mails == [PeerReady(A), PeerReady(B)]
    assert read(letters, mails) == ["b2"]
    letters.put(A, "a3", 1)
    assert mails == [PeerReady(A)]


@given(st.lists(st.sampled_from(["put a", "put b", "take", "take all"]), max_size=40))
def test_there_is_one_mail_for_each_peer_with_letters(steps: list[str]) -> None:
    letters, mails = box()
    given_out: list[str] = []
    for number, step in enumerate(steps):
        if step == "take":
            if mails:
                given_out += read(letters, [mails.pop(0)])
        elif step == "take all":
            given_out += letters.take_all()
        else:
            letters.put(A if step == "put a" else B, f"{step[-1]}{number}", 1)
        assert len({mail.peer for mail in mails}) == len(mails)
    given_out += read(letters, mails)
    sent = [f"{step[-1]}{number}" for number, step in enumerate(steps) if step.startswith("put")]
    for peer in "ab":
        assert [text for text in given_out if text[0] == peer] == [text for text in sent if text[0] == peer]
