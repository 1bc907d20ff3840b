"""Vector clocks tell which of two versions has seen the other."""

from __future__ import annotations

from casty.protocol.state.vector_clock import VectorClock

EMPTY = VectorClock[str]()


def test_absent_node_counts_zero() -> None:
    assert EMPTY.version_of("a") == 0


def test_increment_counts_one_change_and_leaves_the_old_version_alone() -> None:
    once = EMPTY.increment("a")
    twice = once.increment("a")
    assert (once.version_of("a"), twice.version_of("a")) == (1, 2)


def test_a_version_is_before_what_follows_from_it() -> None:
    first = EMPTY.increment("a")
    second = first.increment("b")
    assert first.is_before(second)
    assert not second.is_before(first)
    assert not first.is_concurrent_with(second)


def test_a_version_is_neither_before_nor_concurrent_with_itself() -> None:
    clock = EMPTY.increment("a")
    assert not clock.is_before(clock)
    assert not clock.is_concurrent_with(clock)


def test_changes_that_did_not_know_each_other_are_concurrent() -> None:
    one, other = EMPTY.increment("a"), EMPTY.increment("b")
    assert one.is_concurrent_with(other)
    assert other.is_concurrent_with(one)


def test_merge_has_seen_both() -> None:
    one, other = EMPTY.increment("a").increment("a"), EMPTY.increment("a").increment("b")
    merged = one.merge(other)
    assert dict(merged.versions) == {"a": 2, "b": 1}
    assert merged.covers(one)
    assert merged.covers(other)


def test_entry_that_is_taken_out_counts_zero_again() -> None:
    assert EMPTY.increment("a").increment("b").without("a") == EMPTY.increment("b")


def test_equal_clocks_have_equal_hashes() -> None:
    assert hash(EMPTY.increment("a").increment("b")) == hash(EMPTY.increment("b").increment("a"))
