"""Messages of the placement, as they travel."""

from __future__ import annotations

from typing import Never, get_args

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.cluster.sharding.sharding import CONTROL, MARKER
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Term
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    EvenOut,
    HeldShard,
    KnownTable,
    Marker,
    Opened,
    PlacementMessage,
    Retired,
    TableDigest,
    TablePlaces,
    TableSlice,
    TermRefused,
    Yielded,
)
from casty.protocol.sharding.slice_parts import cut_answer
from casty.wire.codec.codec import Codec

HEAD = 5
"""Bytes of a frame before its body: length and kind."""

A, B = (UniqueAddress(NodeAddress(name, 2_551), number) for number, name in enumerate("ab", 1))
TERM = Term(300, 2**63 + 1)
ROWS = ((0, Opening(A, 7)), (1, Owned(B, 2**62)), (2, Moving(A, 7, 9, B)), (3, Moving(A, 7, 9)), (4, None))
SAMPLES: tuple[PlacementMessage, ...] = (
    Enlist(TERM),
    Enlisted(TERM, (HeldShard("carts", 3, 7, None),), (KnownTable("carts", 9, TERM, 4),), (A, B)),
    TermRefused(TERM, TERM),
    TableSlice("carts", 9, TERM, 3, 4, ROWS, 1, 2),
    TableDigest(300, bytes(16)),
    TablePlaces((KnownTable("carts", 9, TERM, 4),), "a", None, asks=False),
    Opened("carts", ((3, 7),)),
    Yielded("carts", ((3, 7), (4, 9))),
    Retired(TERM),
    Marker("carts", 3, 9),
    EvenOut("carts"),
)


def test_every_message_of_the_placement_has_a_name_on_the_wire() -> None:
    assert CONTROL.keys() | {Marker} == {*get_args(PlacementMessage)} == {*map(type, SAMPLES)}


@pytest.mark.parametrize("message", SAMPLES, ids=lambda message: type(message).__name__)
def test_a_message_of_the_placement_comes_as_it_was_sent(message: PlacementMessage) -> None:
    codec = Codec(export_ref=no_ref, import_ref=no_ref)  # type: ignore[arg-type]  # never called
    for kind, name in {**CONTROL, Marker: MARKER}.items():
        codec.register(kind, name=name)
    assert codec.decode_control(codec.frame_control(message)[HEAD:]) == message


def no_ref(ref: object, form: object) -> Never:
    raise AssertionError("a control message holds no ref")


def test_a_node_with_every_shard_of_a_key_can_say_so() -> None:
    codec = Codec(export_ref=no_ref, import_ref=no_ref)  # type: ignore[arg-type]  # never called
    for kind, name in CONTROL.items():
        codec.register(kind, name=name)
    epochs = tuple((shard, 2**62) for shard in range(16_384))
    held = tuple(HeldShard("k" * 255, shard, epoch, epoch) for shard, epoch in epochs)
    for message in (
        *cut_answer(Enlisted(TERM, held, (), (A, B))),
        Opened("k" * 255, epochs),
        Yielded("k" * 255, epochs),
    ):
        assert codec.decode_control(codec.frame_control(message)[HEAD:]) == message
