"""Copies of a table: the draft of its writer, and those of the nodes that take its slices."""

from __future__ import annotations

import random
from collections.abc import Mapping

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Row, Term
from casty.protocol.messages.sharding import KnownTable, TableSlice
from casty.protocol.sharding.allocation import LeastShards
from casty.protocol.sharding.shard_table import ShardTable, ShardTableDraft

RUNS = [UniqueAddress(NodeAddress(name, 2_551), number) for number, name in enumerate("abcde", 1)]
SHARDS = 40
TERM = Term(300, 1)


def drawn(chance: random.Random) -> Row | None:
    run, epoch = chance.choice(RUNS), chance.randrange(3)
    return chance.choice([None, Opening(run, epoch), Owned(run, epoch), Moving(run, epoch, 5, chance.choice(RUNS))])


def shards_of(rows: Mapping[int, Row], kind: type) -> set[int]:
    return {shard for shard, row in rows.items() if isinstance(row, kind)}


def check_indices(draft: ShardTableDraft) -> None:
    rows = draft.rows
    assert {*draft.moving} == shards_of(rows, Moving)
    assert {*draft.opening} == shards_of(rows, Opening)
    assert {*draft.free} == {*range(SHARDS)} - rows.keys()
    owners = {row.owner for row in rows.values()}
    held = {run: {shard for shard, row in rows.items() if row.owner == run} for run in owners}
    assert {run: {*shards} for run, shards in draft.holders.items()} == held


def fresh(draft: ShardTableDraft) -> ShardTable:
    """Return the copy of a node that has got the whole table."""
    table = ShardTable(draft.key, draft.num_shards)
    [whole] = draft.whole()
    assert table.take(whole) is not None
    return table


@pytest.mark.parametrize("seed", range(20))
def test_copies_that_take_every_slice_or_some_and_then_the_rest_are_equal_to_the_draft(seed: int) -> None:
    chance = random.Random(seed)
    draft = ShardTableDraft("carts", SHARDS, TERM, 7, {shard: Owned(RUNS[shard % 5], 1) for shard in range(30)})
    always, seldom = fresh(draft), fresh(draft)
    for _ in range(60):
        for _ in range(chance.randrange(5)):
            draft.put(chance.randrange(SHARDS), drawn(chance))
        check_indices(draft)
        for news in draft.commit():
            was = dict(always.rows)
            before = always.take(news)
            assert before is not None
            changed = {shard for shard in range(SHARDS) if was.get(shard) != always.row(shard)}
            assert {shard: was.get(shard) for shard in changed} == before
        if chance.random() < 0.2:
            for part in always.slices_after(seldom.known):
                seldom.take(part)
            assert (seldom.order, seldom.rows) == (always.order, always.rows)
        assert (always.order, always.rows) == (draft.order, draft.rows)
        assert {*always.moving} == shards_of(always.rows, Moving)
        assert always.named == frozenset(row.owner for row in always.rows.values())
    other = ShardTable("carts", SHARDS)
    for part in seldom.slices_after(KnownTable("carts", SHARDS, Term(1, 1), 50)):
        other.take(part)
    assert (other.order, other.rows) == (seldom.order, seldom.rows)


def test_a_change_back_is_no_version() -> None:
    draft = ShardTableDraft("carts", SHARDS, TERM, 1, {0: Owned(RUNS[0], 1)})
    draft.put(0, None)
    draft.put(0, Owned(RUNS[0], 1))
    assert draft.commit() == []
    assert draft.version == 1


def test_an_old_slice_one_with_a_gap_and_one_of_another_number_of_shards_change_nothing() -> None:
    table = fresh(ShardTableDraft("carts", SHARDS, TERM, 5, {0: Owned(RUNS[0], 1)}))
    row = ((1, Owned(RUNS[1], 2)),)
    for after, upto, shards, term in (
        (4, 5, SHARDS, TERM),
        (6, 7, SHARDS, TERM),
        (5, 6, 9, TERM),
        (5, 6, SHARDS, Term(301, 1)),
    ):
        assert table.take(TableSlice("carts", shards, term, after, upto, row)) is None
    assert table.order == (TERM, 5) and table.row(1) is None


def test_a_whole_slice_frees_what_it_does_not_name() -> None:
    table = fresh(ShardTableDraft("carts", SHARDS, TERM, 5, {0: Owned(RUNS[0], 1), 1: Owned(RUNS[0], 1)}))
    before = table.take(TableSlice("carts", SHARDS, Term(301, 2), 0, 6, ((1, Owned(RUNS[0], 1)),)))
    assert before == {0: Owned(RUNS[0], 1)}
    assert table.rows == {1: Owned(RUNS[0], 1)}


def test_equal_rows_and_owners_of_a_slice_are_one_object() -> None:
    table = ShardTable("carts", SHARDS)
    runs = [UniqueAddress(NodeAddress("a", 2_551), 1) for _ in range(SHARDS)]
    table.take(TableSlice("carts", SHARDS, TERM, 0, 1, tuple((shard, Owned(runs[shard], 7)) for shard in range(20))))
    table.take(TableSlice("carts", SHARDS, TERM, 1, 2, ((20, Owned(runs[20], 8)),)))
    assert len({id(row) for row in table.rows.values()}) == 2
    assert len({id(row.owner) for row in table.rows.values()}) == 1


@pytest.mark.parametrize("seed", range(20))
def test_each_shard_goes_to_the_node_with_the_fewest_at_that_moment(seed: int) -> None:
    chance = random.Random(seed)
    loads = {run: chance.randrange(10) for run in RUNS[: chance.randint(1, 5)]}
    shards = chance.sample(range(100), chance.randrange(30))
    counts, expected = dict(loads), {}
    for shard in sorted(shards):
        expected[shard] = min(counts, key=lambda run: (counts[run], run))
        counts[expected[shard]] += 1
    assert LeastShards().place(shards, loads) == expected
    assert LeastShards().place(shards, {}) == {}


def test_a_copy_begun_with_the_whole_table_frees_shards_in_older_copies() -> None:
    draft = ShardTableDraft("carts", SHARDS, TERM)
    late, begun = ShardTable("carts", SHARDS), ShardTable("carts", SHARDS)
    draft.put(1, Owned(RUNS[0], 1))
    for part in draft.commit():
        late.take(part)
    draft.put(2, Owned(RUNS[0], 2))
    draft.put(1, None)
    draft.commit()
    for part in draft.whole():
        begun.take(part)
    for part in begun.slices_after(late.known):
        late.take(part)
    assert (late.order, late.rows) == (begun.order, begun.rows) == (draft.order, draft.rows)
