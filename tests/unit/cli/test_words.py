"""Texts are cut into chunks whose words are the words of the text."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casty.cli.demo import words
from casty.cli.demo.words import CHUNK_CHARACTERS_MAX, count_alone, count_words, cut
from casty.config import TransportLimits


def pieces(text: str, size: int) -> list[str]:
    return [text[start:end] for start, end in cut(text, size)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("one", ["one"]),
        ("one two three", ["one two ", "three"]),
        ("one two. three", ["one two.", " three"]),
        ("onetwo12 three", ["onetwo12", " three"]),
        ("x " * 6, ["x x x x ", "x x "]),
        ("--------------", ["--------", "------"]),
    ],
)
def test_a_chunk_ends_where_no_word_is_cut(text: str, expected: list[str]) -> None:
    assert pieces(text, 8) == expected


def test_a_run_that_is_longer_than_a_chunk_is_in_none() -> None:
    assert pieces("a 123456789 b", 8) == ["a ", " b"]
    assert pieces("12345678 b", 8) == ["12345678", " b"]


@given(text=st.text(st.sampled_from("ab_9 \n.é漢"), max_size=80), size=st.integers(1, 12))
def test_chunks_are_bounded_and_hold_every_word_that_fits_once(text: str, size: int) -> None:
    chunks = pieces(text, size)
    assert all(0 < len(chunk) <= size for chunk in chunks)
    whole = Counter(word for word in words.WORD.findall(text) if len(word) <= size)
    assert Counter(word for chunk in chunks for word in words.WORD.findall(chunk)) == whole


def test_the_count_alone_leaves_out_what_no_chunk_can_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(words, "CHUNK_CHARACTERS_MAX", 5)
    assert count_alone(["to be or", "not to be forgotten"]) == {"to": 2, "be": 2, "or": 1, "not": 1}


def test_the_answer_of_a_chunk_of_all_different_words_stays_below_the_limits_of_a_message() -> None:
    every_other = "".join(chr(0x4E00 + number) + " " for number in range(CHUNK_CHARACTERS_MAX // 2))
    counts = count_words(every_other)
    limits = TransportLimits()
    assert 2 * len(counts) < limits.elements_max - 100
    assert len(every_other.encode()) + 10 * len(counts) < limits.frame_bytes_max
