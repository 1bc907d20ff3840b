"""What a node knows of the frames that it has written, and what it may not be told."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio
from helpers.tasks import in_background

from casty.address import UniqueAddress
from casty.transport.limits.token_bucket import CONTROL_BYTES_BURST, CONTROL_BYTES_PER_SECOND
from casty.transport.links.acknowledging import ACK_EVERY
from casty.transport.links.succession import REPLACED
from casty.transport.network.interface import ConnectionLost
from casty.wire.control.acknowledgements import ack_frame, decode_ack
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from tests.unit.transport.manager.test_untrusted_peers import answer, packed, run_at, stranger


async def test_a_peer_is_told_after_so_many_frames_and_of_fewer_within_a_second(autojump_clock, world) -> None:
    b = await world.node("b")
    peer, decoder = await stranger(world, b), FrameDecoder(4096)
    assert await answer(peer) is FrameKind.HELLO_ACK
    told: list[int] = []

    async def hear() -> None:
        while True:
            for kind, body in decoder.feed(await peer.receive(4096)):
                assert kind is FrameKind.ACK
                told.append(decode_ack(body))

    async with in_background(hear):
        await peer.send(packed(b"") * 3)
        await trio.sleep(1.1)
        assert told == [3]
        await peer.send(packed(b"") * ACK_EVERY)
        await trio.sleep(30)
        assert told[-1] == ACK_EVERY + 3 and len(told) <= 3, "an idle link is silent"


@pytest.mark.parametrize("counts", [(4,), (2, 1), (2**64 - 1,)])
async def test_an_acknowledgement_that_cannot_be_ends_the_link(autojump_clock, world, counts) -> None:
    b = await world.node("b")
    evil = await stranger(world, b)
    assert await answer(evil) is FrameKind.HELLO_ACK
    for _ in range(3):
        assert b.transport.send(run_at(666), Lane.ordinary, packed(b"x"))
    await trio.sleep(0.1)
    with suppress(ConnectionLost):
        for count in counts:
            await evil.send(ack_frame(count))
    _, _, reason, graceful = await b.told.wait("link_lost")
    assert "acknowledged frames must be from" in reason and not graceful


async def test_what_was_acknowledged_is_not_unknown(autojump_clock, world) -> None:
    b = await world.node("b")
    peer = await stranger(world, b)
    assert await answer(peer) is FrameKind.HELLO_ACK
    for _ in range(5):
        assert b.transport.send(run_at(666), Lane.ordinary, packed(b"x"))
    await trio.sleep(0.1)
    await peer.send(ack_frame(2))
    await trio.sleep(0.1)
    world.network.reset("evil", "b")
    await b.told.wait("link_lost")
    found = b.transport.statistics()
    assert (found.frames_sent, found.frames_broken, found.frames_unknown) == (5, 0, 3)


async def test_what_came_on_a_replaced_connection_is_not_told_on_the_next(autojump_clock, world) -> None:
    b = await world.node("b")
    first, decoder = await stranger(world, b), FrameDecoder(4096)
    assert await answer(first) is FrameKind.HELLO_ACK
    await first.send(packed(b"") * 3)
    await trio.sleep(0.1)
    world.network.delay("evil", "b", 0.3, one_way=True)
    await first.send(packed(b"") * 4)
    world.network.delay("evil", "b", 0, one_way=True)
    second = await stranger(world, b)
    assert await answer(second) is FrameKind.HELLO_ACK
    await trio.sleep(3)
    assert len(b.told.all("frame")) == 7
    await second.send(packed(b"") * 2)
    await trio.sleep(1.1)
    [(kind, body)] = decoder.feed(await second.receive(4096))
    assert (kind, decode_ack(body)) == (FrameKind.ACK, 2)
    assert [reason for *_, reason, _ in b.told.all("link_lost")] == [REPLACED]


async def test_a_replaced_connection_that_may_not_read_on_yet_is_not_taken_for_silent(autojump_clock, world) -> None:
    b = await world.node("b")
    b.transport.keep([run_at(666)])
    sizes: list[int] = []
    b.told.on_frame = lambda _, body: sizes.append(len(body))
    first = await stranger(world, b, lane=Lane.control)
    assert await answer(first) is FrameKind.HELLO_ACK
    large = frame(FrameKind.CONTROL, bytes(CONTROL_BYTES_PER_SECOND))
    burst = CONTROL_BYTES_BURST // CONTROL_BYTES_PER_SECOND
    for _ in range(burst + 2):  # which takes two seconds to pay for
        await first.send(large)
    await first.send(frame(FrameKind.CONTROL, b"last"))
    second = await stranger(world, b, lane=Lane.control)
    assert await answer(second) is FrameKind.HELLO_ACK
    await trio.sleep(10)
    assert sizes == [CONTROL_BYTES_PER_SECOND] * (burst + 2) + [len(b"last")]
    assert [reason for *_, reason, _ in b.told.all("link_lost")] == [REPLACED]


async def test_what_a_peer_had_in_hand_when_it_dropped_a_leaver_is_unknown(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    for one, other in ((a, b), (b, a)):
        one.transport.keep([other.me])
    a.transport.dial(b.me.address, Lane.ordinary)
    await b.told.wait("link_up")
    await trio.sleep(3)
    handled = 0

    def handle(peer: UniqueAddress, body: bytes) -> None:
        nonlocal handled
        handled += 1
        if handled == 30:
            b.transport.forget(a.me)  # its removal is told on another lane

    b.told.on_frame = handle
    for _ in range(200):
        a.say(b, b"x")
    await a.transport.goodbye(5)
    found = a.transport.statistics()
    assert handled + found.frames_undelivered + found.frames_unknown >= 200
