"""Tables too large for one page: cut into parts, and put together again."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.messages.shard_bounds import KEYS_MAX, UNFINISHED_ROWS_MAX
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Row, Term
from casty.protocol.messages.sharding import Enlisted, HeldShard, TablePlaces, TableSlice
from casty.protocol.sharding import slice_parts
from casty.protocol.sharding.shard_table import ShardTable, row_weight
from casty.protocol.sharding.slice_parts import SliceParts, cut_answer, places_of, whole_answer
from casty.protocol.state.paging import PAGE_BYTES_MAX, PAGE_ELEMENTS_MAX

RUNS = [UniqueAddress(NodeAddress("n" * 250 + str(number), 2_551), number) for number in range(5)]
SHARDS = 3_000


def table(version: int = 3, seed: int = 1) -> ShardTable:
    chance = random.Random(seed)
    rows: dict[int, Row | None] = {}
    for shard in range(SHARDS):
        run, to = chance.choice(RUNS), chance.choice(RUNS)
        rows[shard] = chance.choice([Opening(run, 5), Owned(run, 5), Moving(run, 5, 6, to), Moving(run, 5, 6), None])
    return ShardTable("carts", SHARDS).begun(Term(2, 7), version, rows)


def test_the_parts_of_a_table_keep_within_a_page_and_make_it_whole_in_any_order() -> None:
    whole = table()
    parts = whole.slices_after(None)
    assert len(parts) > 3
    for part in parts:
        assert sum(row_weight(row).bytes for _, row in part.rows) < PAGE_BYTES_MAX
        assert sum(row_weight(row).elements for _, row in part.rows) < PAGE_ELEMENTS_MAX
    random.Random(2).shuffle(parts)
    came, taken = SliceParts(), ShardTable("carts", SHARDS)
    for part in parts:
        found = came.take(part)
        if found is not None:
            assert taken.take(found) is not None
    assert (taken.order, taken.rows) == (whole.order, whole.rows)
    assert not came.unfinished


def test_a_part_that_comes_twice_counts_once_and_a_lost_one_can_come_later() -> None:
    first, second, *others = table().slices_after(None)
    came = SliceParts()
    assert came.take(first) is None
    assert came.take(first) is None
    assert not [found for part in others if (found := came.take(part)) is not None]
    assert came.take(second) is not None


def test_a_newer_slice_takes_the_place_of_an_unfinished_one_and_an_older_one_does_not() -> None:
    old, new = table(3).slices_after(None), table(4, seed=2).slices_after(None)
    came = SliceParts()
    came.take(old[0])
    came.take(new[0])
    assert not [found for part in old[1:] if (found := came.take(part)) is not None]
    [found] = [found for part in new[1:] if (found := came.take(part)) is not None]
    taken = ShardTable("carts", SHARDS)
    assert taken.take(found) is not None
    assert taken.rows == table(4, seed=2).rows


def test_a_table_that_overtakes_an_unfinished_slice_lets_it_be_forgotten() -> None:
    came = SliceParts()
    came.take(table(3).slices_after(None)[0])
    came.forget("carts", (Term(2, 7), 2))
    assert came.unfinished
    came.forget("carts", (Term(2, 7), 3))
    assert not came.unfinished


def test_unfinished_slices_are_bounded() -> None:
    came, part = SliceParts(), table().slices_after(None)[0]
    small = replace(part, rows=part.rows[:3])
    for number in range(KEYS_MAX + 10):
        came.take(replace(small, key=f"k{number}"))
    assert len(came.unfinished) == KEYS_MAX
    for number in range(KEYS_MAX):
        came.take(replace(part, key=f"k{number}", upto=part.upto + 1))
    assert sum(one.count for one in came.unfinished.values()) <= UNFINISHED_ROWS_MAX
    assert f"k{KEYS_MAX - 1}" in came.unfinished


def test_parts_with_more_rows_than_there_are_shards_make_no_slice() -> None:
    came, part = SliceParts(), table().slices_after(None)[0]
    twice = replace(part, parts=3, rows=part.rows * (1 + SHARDS // len(part.rows)))
    assert came.take(twice) is None
    assert not came.unfinished


def test_an_answer_with_more_shards_than_a_node_holds_never_becomes_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slice_parts, "HELD_MAX", 100)
    held = tuple(HeldShard("carts", shard, 1, None) for shard in range(60))
    parts = [Enlisted(Term(2, 7), held, (), (), number, 2) for number in range(2)]
    came: dict[int, Enlisted] = {}
    assert [whole_answer(came, part) for part in [*parts, *parts]] == [None] * 4
    assert list(came) == [0]


def test_the_parts_of_an_answer_fit_into_frames_and_make_it_whole_in_any_order() -> None:
    held = tuple(HeldShard("k" * 255, shard, 2**62, shard or None) for shard in range(16_384))
    answer = Enlisted(Term(2, 7), held, (ShardTable("carts", 4).known,), (RUNS[0],))
    parts = list(cut_answer(answer))
    assert [part.part for part in parts] == list(range(len(parts))) and len(parts) > 10
    random.Random(3).shuffle(parts)
    came: dict[int, Enlisted] = {}
    found = [whole_answer(came, part) for part in [*parts[:3], *parts]]
    assert found[:-1] == [None] * (len(parts) + 2) and found[-1] == answer
    assert whole_answer({}, answer) == answer
    for wrong in ({"part": 1}, {"part": -1}, {"parts": 0}, {"parts": 5_000}):
        assert whole_answer({}, replace(answer, **wrong)) is None  # type: ignore[arg-type]  # by name


@pytest.mark.parametrize(
    "wrong",
    [
        {"part": 2, "parts": 2},
        {"part": -1},
        {"parts": 0},
        {"parts": 11},
        {"num_shards": 0},
        {"num_shards": 16_385},
        {"after": 5},
        {"after": -1},
        {"upto": 2**32},
        {"term": Term(2**31, 1)},
        {"term": Term(-1, 1)},
        {"rows": ((10, None),)},
        {"rows": ((-1, None),)},
    ],
)
def test_a_slice_beyond_the_bounds_of_a_table_is_ignored(wrong: dict[str, object]) -> None:
    sound = TableSlice("carts", 10, Term(1, 1), 0, 5, ((9, None),))
    assert SliceParts().take(sound) == sound
    assert SliceParts().take(replace(sound, **wrong)) is None  # type: ignore[arg-type]  # by name


def test_places_of_many_tables_come_in_pages_that_cover_every_key() -> None:
    known = [ShardTable(f"k{number:03}", 4).known for number in range(100)]
    pages = places_of(known)
    assert [len(page.tables) for page in pages] == [32, 32, 32, 4]
    assert [(page.after, page.upto) for page in pages] == [
        ("", "k031"),
        ("k031", "k063"),
        ("k063", "k095"),
        ("k095", None),
    ]
    assert places_of([]) == [TablePlaces((), "", None)]
