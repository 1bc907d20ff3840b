"""Numbers that no member can have come to: a message with one of them does nothing."""

from __future__ import annotations

import math
import random

import pytest

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.messages.shard_bounds import KEYS_MAX, LEAD_MAX, NUMBERS_PER_AGE, is_sound
from casty.protocol.messages.shard_rows import NUMBER_MAX, VERSION_MAX, Moving, Opening, Owned, Row, Term, stamp
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    HeldShard,
    KnownTable,
    Marker,
    PlacementMessage,
    Retired,
    TableDigest,
    TablePlaces,
    TableSlice,
    TermRefused,
)
from casty.protocol.sharding import shard_region
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import (
    CloseShard,
    MembersSeen,
    PlacementCame,
    RegionStarted,
    ServesUntil,
)
from casty.protocol.sharding.shard_rows_writer import ShardRowsWriter
from casty.testing.samples import gossip_of, member, run_of

A, B, C = map(run_of, "abc")
THREE = gossip_of(*(member(name, up_number=number) for number, name in enumerate("abc", 1)))
GIVEN = 5_000
"""Highest number of a term given."""
MOST = GIVEN + LEAD_MAX
TERM = Term(300, A.incarnation)
LATER = Term(301, A.incarnation)


def placement(run: UniqueAddress = C) -> ShardPlacement:
    made = ShardPlacement(run, random.Random(1))
    made.handle(MembersSeen(THREE.with_term(A, GIVEN)), 0.0)
    return made


def table(number: int, *, version: int = 1, num_shards: int = 4) -> KnownTable:
    return KnownTable("carts", num_shards, Term(number, 1), version)


@pytest.mark.parametrize("beyond", [MOST + 1, NUMBER_MAX - 1, NUMBER_MAX, 2**62, -1])
def test_a_number_out_of_reach_raises_and_changes_nothing(beyond: int) -> None:
    far = Term(beyond, 9)
    said: list[PlacementMessage] = [
        Enlist(far),
        Retired(far),
        TermRefused(TERM, far),
        TermRefused(far, TERM),
        TableDigest(beyond, b""),
        TableSlice("carts", 4, far, 0, 1, ()),
        TablePlaces((table(beyond),)),
        Enlisted(far, (), (), ()),
        Enlisted(TERM, (), (table(beyond),), ()),
    ]
    made = placement()
    before = made.region.highest, made.region.promise
    for message in said:
        with pytest.raises(DecodeError, match="number of a term"):
            made.handle(PlacementCame(A, message), 1.0)
    assert (made.region.highest, made.region.promise) == before
    assert not made.region.tables


def test_a_number_told_again_and_again_comes_no_nearer_to_the_end() -> None:
    made = placement()
    for lead in range(1, 50):
        highest = GIVEN + lead * LEAD_MAX
        if highest <= MOST:
            made.handle(PlacementCame(A, TableDigest(highest, b"")), 1.0)
            continue
        with pytest.raises(DecodeError):
            made.handle(PlacementCame(A, TableDigest(highest, b"")), 1.0)
    assert made.region.highest == MOST


def test_the_number_of_a_member_as_young_as_any_is_within_reach() -> None:
    young = gossip_of(*(member(name, up_number=number) for name, number in (("a", 1), ("b", 40_000), ("c", 2))))
    made = ShardPlacement(C, random.Random(1))
    made.handle(MembersSeen(young), 0.0)
    made.handle(PlacementCame(B, TableDigest(NUMBERS_PER_AGE * 40_000 + 7, b"")), 1.0)
    assert made.region.highest == NUMBERS_PER_AGE * 40_000 + 7


@pytest.mark.parametrize(
    "place",
    [
        table(300, num_shards=2**40),
        table(300, num_shards=0),
        table(300, num_shards=-1),
        table(300, version=VERSION_MAX + 1),
        table(300, version=-1),
    ],
)
def test_a_place_of_a_table_that_cannot_be_raises(place: KnownTable) -> None:
    for message in (TablePlaces((place,)), Enlisted(Term(400, 1), (), (place,), ())):
        with pytest.raises(DecodeError, match="expected a table of 1 to"):
            placement().handle(PlacementCame(A, message), 1.0)


@pytest.mark.parametrize(("epoch", "move"), [(stamp(LATER, 0), None), (-1, None), (2**63, None), (7, stamp(LATER, 3))])
def test_a_report_of_a_shard_under_a_later_term_raises(epoch: int, move: int | None) -> None:
    with pytest.raises(DecodeError, match="a shard is held under"):
        placement().handle(PlacementCame(A, Enlisted(TERM, (HeldShard("carts", 0, epoch, move),), (), ())), 1.0)


@pytest.mark.parametrize(
    ("row", "sound"),
    [
        (Owned(A, stamp(TERM, 7)), True),
        (Owned(A, stamp(TERM, 8)), False),
        (Opening(A, 2**63 - 1), False),
        (Moving(A, 5, stamp(TERM, 7)), True),
        (Moving(A, 5, stamp(TERM, 8)), False),
        (Moving(A, -5, 1), False),
        (None, True),
    ],
)
def test_a_row_has_no_number_above_that_of_its_slice(row: Row | None, sound: bool) -> None:
    assert is_sound(TableSlice("carts", 4, TERM, 0, 7, ((2, row),))) is sound


def drafted(*answers: Enlisted) -> ShardRowsWriter:
    writer = ShardRowsWriter(PlacementView(A, lambda _: True))
    writer.begin(TERM, dict(zip((A, B, C), answers, strict=False)))
    return writer


def test_a_term_begins_anew_at_its_first_version_where_the_last_one_came_near_the_end() -> None:
    first = drafted(Enlisted(TERM, (), (table(200, version=VERSION_MAX),), ())).tables["carts"]
    assert first.order == (TERM, 1)
    assert first.mark == stamp(TERM, 2)
    further = drafted(Enlisted(TERM, (), (table(200, version=70),), ())).tables["carts"]
    assert further.order == (TERM, 71)


def test_a_report_of_a_shard_that_the_table_has_not_makes_no_row() -> None:
    held = (
        HeldShard("carts", 4, 9, None),
        HeldShard("carts", 3, 9, None),
        HeldShard("carts", 2, stamp(TERM, 0), None),
        HeldShard("carts", -1, 9, None),
    )
    assert drafted(Enlisted(TERM, held, (table(200),), ())).tables["carts"].rows == {3: Owned(A, 9)}


def test_of_more_tables_than_a_node_takes_those_with_shards_held_are_written_on() -> None:
    many = tuple(KnownTable(f"k{number:05}", 1, Term(200, 1), 1) for number in range(KEYS_MAX + 50))
    made = drafted(
        Enlisted(TERM, (), many[:KEYS_MAX], ()),
        Enlisted(TERM, (HeldShard(many[-1].key, 0, 9, None),), many[KEYS_MAX:], ()),
    )
    assert len(made.tables) == KEYS_MAX
    assert many[-1].key in made.tables


def test_markers_of_no_table_take_no_room_of_true_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_region, "EARLY_MARKERS_MAX", 50)
    made, at = placement(), stamp(TERM, 1)
    for event in (RegionStarted("carts"), ServesUntil(math.inf)):
        made.handle(event, 0.5)
    made.handle(PlacementCame(A, TableSlice("carts", 4, TERM, 0, 1, ((0, Opening(C, at)),))), 1.0)
    for number in range(50):
        made.handle(PlacementCame(A, Marker(f"invented-{number}", 0, number)), 1.0)
        made.handle(PlacementCame(A, Marker("carts", 4 + number, number)), 1.0)
    move = stamp(TERM, 2)
    made.handle(PlacementCame(A, TableSlice("carts", 4, TERM, 1, 2, ((0, Moving(C, at, move)),))), 1.1)
    made.handle(PlacementCame(A, Marker("carts", 0, move)), 1.1)
    assert CloseShard("carts", 0, at) in made.handle(PlacementCame(B, Marker("carts", 0, move)), 1.2)
