"""Peers that do not keep to the protocol lose their connection, and nobody else does."""

from __future__ import annotations

import random
from contextlib import suppress
from dataclasses import replace

import msgpack
import pytest
import trio
import trio.testing
from helpers.tasks import in_background

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.limits.handshake_slots import SILENCE_GRANTED
from casty.transport.network.interface import Connection, ConnectionLost
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from casty.wire.handshake import (
    MAGIC,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    Hello,
    HelloAck,
    Refused,
    decode_refused,
    encode_hello,
    encode_hello_ack,
    encode_refused,
)

STRANGER = UniqueAddress(NodeAddress("evil", 666), 66)


CLAIM = Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", STRANGER, Lane.ordinary)


def hello(lane: Lane = Lane.ordinary, node: UniqueAddress = STRANGER) -> bytes:
    return encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", node, lane))


async def ends(connection: Connection) -> float:
    """Return when the other end has closed."""
    with suppress(ConnectionLost):
        while await connection.receive(65_536):
            pass
    return trio.current_time()


GARBAGE = {
    "http": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    "zero length": b"\x00\x00\x00\x00",
    "oversized length": b"\xff\xff\xff\xff\x01",
    "oversized for a hello": b"\x00\x10\x00\x00\x01",
    "unknown kind": b"\x00\x00\x00\x02\x63x",
    "goodbye first": frame(FrameKind.GOODBYE, b""),
    "envelope first": frame(FrameKind.ENVELOPE, b"x"),
    "ack first": encode_hello_ack(HelloAck(PROTOCOL_MAX, STRANGER)),
    "empty hello": frame(FrameKind.HELLO, b""),
    "garbage in a hello": frame(FrameKind.HELLO, b"\x93\x01\x02\x03"),
    "a deep hello": frame(FrameKind.HELLO, b"\x91" * 4000),
    "no lane": hello()[:-6] + b"\x7f" + hello()[-5:],
    "no nonce": hello()[:-5] + b"\xff" + hello()[-4:],
    "no address dialled": hello()[:-4] + b"\x01\x01" + hello()[-2:],
    "half a proof": hello()[:-2] + b"\xc4\x01x",
}


async def test_a_node_of_another_version_is_told_so_whatever_else_it_says(autojump_clock, world) -> None:
    b = await world.node("b")
    for versions, rest in (((1, 1), ["shop", "evil", 666, 66, 0, 7, None, None, b""]), ((3, 7), [{"all": "new"}])):
        evil = await world.network.host("evil").connect(b.me.address)
        await evil.send(frame(FrameKind.HELLO, msgpack.packb([MAGIC, *versions, *rest])))
        [(kind, body)] = FrameDecoder(4096).feed(await evil.receive(4096))
        told = Refused(f"protocol versions {versions[0]} to {versions[1]} do not meet 2 to 2 of this node", final=True)
        assert kind is FrameKind.REFUSED and decode_refused(body) == told
        assert await ends(evil) == 0
    assert [refusal.final for _, _, refusal in b.told.all("peer_refused")] == [True, True]


async def test_a_client_makes_no_link(autojump_clock, world) -> None:
    b = await world.node("b")
    evil = await world.network.host("evil").connect(b.me.address)
    await evil.send(encode_hello(replace(CLAIM, role="client")))
    [(kind, body)] = FrameDecoder(4096).feed(await evil.receive(4096))
    assert kind is FrameKind.REFUSED and "role 'client' has no place at b:2551" in decode_refused(body).reason


@pytest.mark.parametrize("what", GARBAGE)
async def test_garbage_instead_of_a_hello_closes_the_connection_at_once(autojump_clock, world, what: str) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"before")
    await b.told.wait("frame")
    evil = await world.network.host("evil").connect(b.me.address)
    await evil.send(GARBAGE[what])
    assert await ends(evil) == 0
    host, said, refusal = await b.told.wait("peer_refused")
    assert host == "evil" and said is None
    assert refusal.reason.isprintable() and len(refusal.reason) <= 200
    a.say(b, b"after")
    await b.told.wait("frame", 2)
    assert b.told.all("link_lost") == []
    assert b.transport.statistics().unauthenticated == 0


@pytest.mark.parametrize("first", [b"", b"\x00", hello()[:-1]])
async def test_silence_is_closed_after_the_hello_timeout(autojump_clock, world, first: bytes) -> None:
    b = await world.node("b")
    evil = await world.network.host("evil").connect(b.me.address)
    if first:
        await evil.send(first)
    assert await ends(evil) == pytest.approx(5.0)
    assert "5 s" in (await b.told.wait("peer_refused"))[2].reason


async def test_a_dripped_hello_gets_no_more_time(autojump_clock, world) -> None:
    b = await world.node("b")
    evil = await world.network.host("evil").connect(b.me.address)
    with pytest.raises(ConnectionLost):
        for byte in hello():
            await trio.sleep(1)
            await evil.send(bytes([byte]))
    assert trio.current_time() < 7


async def test_strangers_are_bounded_per_host_and_in_all(autojump_clock, world) -> None:
    limits = TransportLimits(unauthenticated_max=5, unauthenticated_per_host_max=3)
    a, b = await world.node("a"), await world.node("b", limits=limits)
    a.say(b, b"x")
    await b.told.wait("frame")
    held = [await world.network.host("evil").connect(b.me.address) for _ in range(3)]
    await trio.testing.wait_all_tasks_blocked()
    assert await ends(await world.network.host("evil").connect(b.me.address)) == 0
    held += [await world.network.host("evil2").connect(b.me.address) for _ in range(2)]
    await trio.testing.wait_all_tasks_blocked()
    assert await ends(await world.network.host("evil3").connect(b.me.address)) == 0
    assert b.transport.statistics().unauthenticated == 5
    refusals = b.told.all("peer_refused")
    assert [(host, said) for host, said, _ in refusals] == [("evil", None), ("evil3", None)]
    a.say(b, b"y")
    await b.told.wait("frame", 2)
    for connection in held:
        assert await ends(connection) == pytest.approx(5.0)
    c = await world.node("c")
    c.say(b, b"z")
    await b.told.wait("frame", 3)
    assert b.transport.statistics().unauthenticated == 0


async def test_who_says_nothing_keeps_nobody_out(autojump_clock, world) -> None:
    limits = TransportLimits(unauthenticated_max=5, unauthenticated_per_host_max=3)
    a, b = await world.node("evil"), await world.node("b", limits=limits)
    held: list[Connection] = []
    for host in ("evil", "evil", "evil", "evil2", "evil2"):
        held.append(await world.network.host(host).connect(b.me.address))
        await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(SILENCE_GRANTED)
    a.say(b, b"let me in")
    assert await a.told.wait("link_up") == (b.me, Lane.ordinary)
    assert await ends(held[0]) == pytest.approx(SILENCE_GRANTED)  # the first of its host
    held += [await world.network.host("evil").connect(b.me.address)]
    await trio.sleep(SILENCE_GRANTED)
    c = await world.node("c")
    c.say(b, b"me too")
    assert await c.told.wait("link_up") == (b.me, Lane.ordinary)
    assert await ends(held[1]) == pytest.approx(2 * SILENCE_GRANTED)  # the first of the host with the most
    assert b.transport.statistics().unauthenticated == 4
    assert [(host, refusal.reason) for host, _, refusal in b.told.all("peer_refused")] == [
        ("evil", "too many connections have not said hello")
    ] * 2


async def established(world, victim, lane: Lane = Lane.ordinary) -> Connection:
    evil = await world.stranger(victim, STRANGER, lane)
    answer = await evil.receive(4096)
    assert answer[4] == FrameKind.HELLO_ACK
    return evil


AFTERWARDS = {
    "hello twice": hello(),
    "an ack": encode_hello_ack(HelloAck(PROTOCOL_MAX, STRANGER)),
    "a refusal": encode_refused(Refused("go away", final=True)),
    "zero length": b"\x00\x00\x00\x00",
    "unknown kind": b"\x00\x00\x00\x01\x00",
    "oversized": b"\x7f\xff\xff\xff\x05",
    "goodbye with a body": frame(FrameKind.GOODBYE, b"x"),
}


@pytest.mark.parametrize("what", AFTERWARDS)
async def test_a_broken_frame_closes_that_link_only(autojump_clock, world, caplog, what: str) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"before")
    await b.told.wait("frame")
    evil = await established(world, b)
    await evil.send(frame(FrameKind.ENVELOPE, b"fine") + AFTERWARDS[what] + frame(FrameKind.ENVELOPE, b"too late"))
    assert await ends(evil) == 0
    a.say(b, b"after")
    await b.told.wait("link_lost")
    [(peer, lane, reason, graceful)] = b.told.all("link_lost")
    assert (peer, lane, graceful) == (STRANGER, Lane.ordinary, False)
    assert "Error: " in reason
    assert b"too late" not in b.told.bodies
    assert len(caplog.records) == 1
    await trio.sleep(60)
    assert b.told.bodies[-1] == b"after"
    assert len(b.told.all("link_lost")) == 1
    assert b.transport.statistics().dials == 0, "nobody redials a link without a queue"


async def test_a_peer_that_breaks_its_links_without_end_writes_few_lines(autojump_clock, world, caplog) -> None:
    b = await world.node("b")
    for _ in range(200):
        evil = await established(world, b)
        await evil.send(frame(FrameKind.ENVELOPE, b"fine") + AFTERWARDS["zero length"])
        assert await ends(evil) == 0
    assert len(caplog.records) == 1
    await trio.sleep(2)
    assert caplog.messages[-1] == "evil:666: ... 199 more lines like this"
    assert len(caplog.records) == 2


async def test_an_envelope_on_the_control_lane_closes_it(autojump_clock, world) -> None:
    b = await world.node("b")
    evil = await established(world, b, Lane.control)
    await evil.send(frame(FrameKind.ENVELOPE, b"x"))
    assert await ends(evil) == 0
    assert b.told.bodies == []


async def test_links_are_bounded(autojump_clock, world) -> None:
    b = await world.node("b", limits=TransportLimits(links_max=3))
    held = []
    for port in range(1, 5):
        evil = await world.stranger(b, UniqueAddress(NodeAddress("evil", port), 1), Lane.ordinary)
        held.append(await evil.receive(4096))
    assert [answer[4] for answer in held] == [FrameKind.HELLO_ACK] * 3 + [FrameKind.REFUSED]
    assert len(b.transport.statistics().links) == 3


async def test_a_peer_that_accepts_and_never_answers_delays_nobody(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")

    async def mute(connection: Connection) -> None:
        await ends(connection)

    tarpit = await world.network.host("evil").listen("evil", 666)
    async with in_background(tarpit.serve, mute):
        a.transport.send(STRANGER, Lane.ordinary, frame(FrameKind.ENVELOPE, b"x"))
        a.transport.send(STRANGER, Lane.control, frame(FrameKind.CONTROL, b"x"))
        a.say(b, b"y")
        await b.told.wait("frame")
        assert trio.current_time() == 0
        await a.told.wait("dial_failed", 2)
        assert trio.current_time() == pytest.approx(5.0)
        assert all("did not answer the hello" in reason for *_, reason in a.told.all("dial_failed"))


ANSWERS = {
    "garbage": b"HTTP/1.1 400 Bad Request\r\n\r\n",
    "hello": hello(),
    "envelope": frame(FrameKind.ENVELOPE, b"x"),
    "a version nobody offered": encode_hello_ack(HelloAck(99, STRANGER)),
    "an end": b"",
}


@pytest.mark.parametrize("what", ANSWERS)
async def test_a_wrong_answer_to_a_hello_is_a_failed_dial(autojump_clock, world, what: str) -> None:
    a = await world.node("a")

    async def answer(connection: Connection) -> None:
        await connection.receive(4096)
        if ANSWERS[what]:
            await connection.send(ANSWERS[what])
            await ends(connection)

    liar = await world.network.host("evil").listen("evil", 666)
    async with in_background(liar.serve, answer):
        a.transport.send(STRANGER, Lane.control, frame(FrameKind.CONTROL, b"x"))
        _, _, refused, _ = await a.told.wait("dial_failed")
        assert not refused
        await a.told.wait("undelivered")
        assert trio.current_time() == 0


async def test_frames_right_behind_the_acknowledgement_belong_to_the_link(autojump_clock, world) -> None:
    a = await world.node("a")
    large = frame(FrameKind.ENVELOPE, b"L" * 500_000)

    async def answer(connection: Connection) -> None:
        await connection.receive(4096)
        await connection.send(
            encode_hello_ack(HelloAck(PROTOCOL_MAX, STRANGER)) + frame(FrameKind.ENVELOPE, b"x") + large
        )
        await ends(connection)

    eager = await world.network.host("evil").listen("evil", 666)
    async with in_background(eager.serve, answer):
        a.transport.dial(STRANGER.address, Lane.ordinary)
        await a.told.wait("frame", 2)
        assert a.told.names() == ["incarnation_seen", "link_up", "frame", "frame"]
        assert len(a.told.bodies[1]) == 500_000


async def test_random_bytes_never_hurt_a_node(autojump_clock, world) -> None:
    rng = random.Random(20)
    a, b = await world.node("a"), await world.node("b")
    evil = world.network.host("evil")
    for round_number in range(150):
        connection = await evil.connect(b.me.address)
        data = rng.randbytes(rng.randrange(1, 300))
        if round_number % 3 == 0:
            data = hello() + data
        elif round_number % 3 == 1:
            damaged = bytearray(hello())
            damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
            data = bytes(damaged)
        with suppress(ConnectionLost):
            await connection.send(data)
        await connection.aclose()
        await trio.testing.wait_all_tasks_blocked()
        a.say(b, b"honest")
    await b.told.wait("frame", 150)
    await trio.sleep(30)
    assert b.told.bodies.count(b"honest") == 150
    statistics = b.transport.statistics()
    assert statistics.unauthenticated == statistics.dials == 0
    assert [link.peer for link in statistics.links] == [a.me]
    assert world.network.connection_count == 1
