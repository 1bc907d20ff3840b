"""Large messages under a known head: the quick way, under the same limits, and refused like any other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
import trio

import casty
from casty import ActorRef, Behaviors, DeadLetter
from casty.testing.inspect import node_of
from casty.wire.codec.codec import Codec
from casty.wire.envelope import Envelope, encode_head
from casty.wire.frame import FrameKind, Lane, frame

BYTES, VIEW = 70_000, 900_000
"""Sizes of messages that come as bytes, and as a view."""


@casty.message("tests.large_arrivals.Sheet")
@dataclass(frozen=True)
class Sheet:
    number: int
    text: str
    items: tuple[int, ...] = ()
    reply_to: ActorRef[int] | None = None


def recorder(seen: list[Any]):
    async def handle(ctx, sheet: Sheet):
        seen.append(sheet)
        if sheet.reply_to is not None:
            sheet.reply_to.tell(sheet.number)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def pair(nodes, seen: list[Any]):
    """Return the system of the actor, another one, and a ref of that to the actor."""
    first, second = await nodes.systems("a", "b")
    first.spawn(recorder(seen), "sink")
    return first, second, second.remote("/sink", "a").of(Sheet)


def nested(depth: int) -> list[Any]:
    return [] if depth == 1 else [nested(depth - 1)]


@pytest.mark.parametrize("size", [BYTES, VIEW])
async def test_they_go_the_quick_way(autojump_clock, nodes, monkeypatch, size):
    seen: list[Sheet] = []
    long_way: list[object] = []
    decode = Codec.decode_envelope

    def decode_envelope(codec: Codec, body: bytes | memoryview) -> Envelope:
        envelope = decode(codec, body)
        long_way.append(envelope.message)
        return envelope

    _, second, ref = await pair(nodes, seen)
    monkeypatch.setattr(Codec, "decode_envelope", decode_envelope)
    for number in range(1, 5):
        ref.tell(Sheet(number, "x" * size))
        await trio.sleep(1)
        answer = await second.ask(ref, lambda reply_to: Sheet(number, "x" * size, (), reply_to))  # noqa: B023  # it is called within its turn
        assert answer == number
    assert seen[::2] == [Sheet(number, "x" * size) for number in range(1, 5)]
    assert [one.number for one in long_way if isinstance(one, Sheet)] == [1, 1], "before their heads were known"


@pytest.mark.parametrize("size", [BYTES, VIEW])
@pytest.mark.parametrize(
    "more",
    [{"items": [0] * 66_000}, {"items": [nested(40)]}, {"items": 1}, {"text": 1, "items": "x" * VIEW}],
    ids=["too many values", "too deep", "no items", "no text"],
)
async def test_what_is_over_a_limit_or_ill_typed_is_refused_and_the_link_lives(autojump_clock, nodes, size, more):
    seen: list[Sheet] = []
    first, second, ref = await pair(nodes, seen)
    ref.tell(Sheet(1, "x" * size))
    await trio.sleep(1)
    head = encode_head("/sink", 0, "tests.large_arrivals.Sheet", has_tail=False, pack=msgpack.packb)
    payload = {"number": 2, "text": "x" * size, "items": [], "reply_to": None, **more}
    async with second.events(DeadLetter) as letters:
        data = frame(FrameKind.ENVELOPE, head + msgpack.packb(payload))
        assert node_of(second).transport.send(node_of(first).self_node, Lane.ordinary, data)
        ref.tell(Sheet(3, ""))
        letter = await anext(aiter(letters))
    await trio.sleep(1)
    assert letter.reason == "not delivered: ill_typed"
    assert [sheet.number for sheet in seen] == [1, 3]
