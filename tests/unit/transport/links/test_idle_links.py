"""Links that nothing crosses are closed by agreement, so that nothing is lost when something crosses after all."""

from __future__ import annotations

import random

import pytest
import trio
from helpers.transport import QuietConnection, quiet_owner

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.links.link import STAY_FRAME, Link
from casty.transport.links.send_queue import ByteQuota
from casty.transport.links.session import Session
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame

IDLE = TransportLimits().idle_timeout


@pytest.mark.parametrize("seed", range(30))
async def test_nothing_is_lost_or_unknown_when_idle_links_are_used_at_the_last_moment(
    autojump_clock, world, seed
) -> None:
    rng = random.Random(seed)
    a, b = await world.node("a"), await world.node("b")
    world.network.delay("a", "b", 0.05)
    a.transport.keep([b.me])
    b.transport.keep([a.me])
    sent: dict[str, list[bytes]] = {"a": [], "b": []}

    async def say(name: str, number: int) -> None:
        sender, receiver = (a, b) if name == "a" else (b, a)
        await trio.sleep(rng.uniform(0.0, 0.2))
        body = f"{name}{number}".encode()
        assert sender.say(receiver, body) == [True]
        sent[name].append(body)

    for number in range(30):
        async with trio.open_nursery() as nursery:
            for name in rng.choice(("a", "b", "ab")):
                nursery.start_soon(say, name, number)
        # Housekeeping looks once a second, and what it finds is acknowledged: this ends just before, while or after it
        # ends the link.
        await trio.sleep(IDLE + rng.uniform(0.3, 2.3))
    await trio.sleep(3)
    assert (b.told.bodies, a.told.bodies) == (sent["a"], sent["b"])
    for node in (a, b):
        statistics = node.transport.statistics()
        assert (statistics.frames_unknown, statistics.frames_undelivered) == (0, 0)
    assert len(a.told.all("link_up")) > 5


async def test_a_peer_with_something_to_send_keeps_the_link(autojump_clock, world) -> None:
    b = await world.node("b")
    connection = await world.stranger(b, UniqueAddress(NodeAddress("x", 1), 5), Lane.ordinary)
    decoder = FrameDecoder(4096)
    seen: list[FrameKind] = []

    async def heard() -> FrameKind:
        while not seen:
            seen.extend(kind for kind, _ in decoder.feed(await connection.receive(4096)))
        return seen.pop(0)

    assert await heard() is FrameKind.HELLO_ACK
    assert await heard() is FrameKind.IDLE
    b.transport.send(UniqueAddress(NodeAddress("x", 1), 5), Lane.ordinary, frame(FrameKind.ENVELOPE, b"held"))
    with trio.move_on_after(2) as silence:
        await heard()
    assert silence.cancelled_caught  # whoever asks writes nothing until it has an answer
    await connection.send(frame(FrameKind.STAY, b""))
    assert await heard() is FrameKind.ENVELOPE
    await connection.send(frame(FrameKind.IDLE, b""))
    assert await heard() is FrameKind.GOODBYE


async def test_two_nodes_that_ask_at_once_agree(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    world.network.delay("a", "b", 0.05)
    a.say(b, b"x")
    b.say(a, b"x")
    for node in (a, b):
        await node.told.wait("frame")
    with trio.fail_after(IDLE + 3):
        for node in (a, b):
            assert (await node.told.wait("link_lost"))[3]


class Ending(QuietConnection):
    """A connection to a peer that asks to end the link, over which a session ends while it answers."""

    def __init__(self) -> None:
        self.session: Session | None = None
        self.written: list[bytes] = []

    async def send(self, data: bytes | memoryview) -> None:
        self.written.append(bytes(data))
        assert self.session is not None
        self.session.end("it ends", graceful=False)


async def test_a_session_that_ends_while_it_asks_the_peer_to_stay_leaves_the_queue_to_the_next() -> None:
    link = Link(UniqueAddress(NodeAddress("b", 1), 1), Lane.ordinary, TransportLimits(), (), ByteQuota())
    connection = Ending()
    session = connection.session = Session(
        link, connection, FrameDecoder(1000), limits=TransportLimits(), owner=quiet_owner(TransportLimits())
    )
    link.send_queue.put_nowait(b"queued")
    session._asked_to_rest()
    await session.run()
    assert connection.written == [STAY_FRAME]
    assert link.send_queue.drain() == [b"queued"]
