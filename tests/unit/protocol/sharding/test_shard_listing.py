"""Shards of one key, for people: what a listing says, and that it comes out of a report as it went in."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.protocol.messages.shard_bounds import NUM_SHARDS_MAX
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Term
from casty.protocol.sharding.observability.shard_listing import (
    ROW_BYTES,
    ShardListing,
    ShardRow,
    listing_of,
    report_shards,
)
from casty.protocol.sharding.shard_hash import shard_of
from casty.protocol.sharding.shard_table import ShardTable
from casty.testing.samples import address, run_of

A, B, C = (run_of(name) for name in "abc")
ROWS = {0: Owned(A, 2**62), 1: Opening(B, 7), 2: Moving(A, 5, 6, C), 3: Moving(B, 5, 6), 5: None}
TABLE = ShardTable("carts", 8).begun(Term(256, A.incarnation), 3, ROWS)
HOSTS = (address("c"), address("a"), address("b"))
REPORT = report_shards(TABLE, HOSTS, address("a"))


def test_a_listing_has_the_rows_of_the_table() -> None:
    listing = listing_of(REPORT)
    assert listing.rows == (
        ShardRow(0, "owned", address("a"), 2**62),
        ShardRow(1, "opening", address("b"), 7),
        ShardRow(2, "moving", address("a"), 5, address("c")),
        ShardRow(3, "moving", address("b"), 5),
    )
    assert (listing.key, listing.num_shards, listing.coordinator) == ("carts", 8, address("a"))
    assert listing.hosts == tuple(sorted(HOSTS))
    assert listing.epoch == TABLE.epoch


def test_a_listing_counts_by_node_and_state() -> None:
    listing = listing_of(REPORT)
    assert listing.loads == {address("a"): 2, address("b"): 1, address("c"): 0}
    assert [row.shard for row in listing.moves] == [2, 3]
    assert (listing.opening, listing.free) == (1, 4)
    assert repr(listing) == (
        "<ShardListing 'carts' 8 shards: a:2551 2, b:2551 1, c:2551 0; 2 moving, 1 opening, 4 free; term 256 version 3>"
    )


def test_the_node_of_an_entity_is_that_of_its_shard_once_it_is_open() -> None:
    by_shard = {shard_of(f"cart-{number}", 8): f"cart-{number}" for number in range(100)}
    listing = listing_of(REPORT)
    assert listing.node_of(by_shard[0]) == address("a")
    assert [listing.node_of(by_shard[shard]) for shard in (1, 2, 4)] == [None, None, None]
    assert ShardListing("carts", 0, (), None, 0, 0, ()).node_of("cart-1") is None
    with pytest.raises(ValueError, match="an entity id must have 1 to 255 characters"):
        listing.node_of("")


def test_a_kind_without_a_table_is_listed_too() -> None:
    listing = listing_of(report_shards(ShardTable("carts", 8), [address("a")], None))
    assert (listing.rows, listing.free, listing.loads, listing.epoch) == ((), 8, {address("a"): 0}, 0)
    assert repr(ShardListing("carts", 0, (), None, 0, 0, ())) == (
        "<ShardListing 'carts' 0 shards: no node; 0 moving, 0 opening, 0 free; term 0 version 0>"
    )


@pytest.mark.parametrize(
    "wrong",
    [
        replace(REPORT, num_shards=-1),
        replace(REPORT, num_shards=NUM_SHARDS_MAX + 1),
        replace(REPORT, num_shards=2),
        replace(REPORT, rows=REPORT.rows[:-1]),
        replace(REPORT, nodes=REPORT.nodes[:1]),
        replace(REPORT, rows=b"\xff" * ROW_BYTES),
    ],
)
def test_a_report_that_cannot_be_is_refused(wrong) -> None:
    with pytest.raises(ValueError):
        listing_of(wrong)
