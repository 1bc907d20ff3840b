"""Strangers who only ask for a status: answered, bounded, and never linked or dialled."""

from __future__ import annotations

from contextlib import suppress

import pytest
import trio

from casty.address import NodeAddress, UniqueAddress
from casty.errors import AskTimeoutError
from casty.transport.limits.handshake_slots import SILENCE_GRANTED
from casty.transport.limits.token_bucket import STRANGER_BYTES_BURST
from casty.transport.manager.peers import DEFAULT_LIMITS
from casty.transport.manager.status_responder import REPORT_AGE_MAX, REPORT_COST_BYTES_MIN
from casty.transport.network.interface import ConnectionLost
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, Refused, decode_refused, encode_hello

AT_ONCE = STRANGER_BYTES_BURST // REPORT_COST_BYTES_MIN
"""Reports that one host gets without waiting."""


async def asked(world, node, *, host: str = "console", system: str = "", lane: Lane = Lane.status):
    """Ask once; return the frames of the answer, up to the end of the connection."""
    connection = await world.network.host(host).connect(node.me.address)
    asker = UniqueAddress(NodeAddress(host, 1), 9)
    await connection.send(encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, system, asker, lane)))
    decoder, frames = FrameDecoder(65_536), []
    with suppress(ConnectionLost):
        while data := await connection.receive(65_536):
            frames += decoder.feed(data)
    await connection.aclose()
    return frames


def kinds(frames) -> list[FrameKind]:
    return [kind for kind, _ in frames]


@pytest.mark.parametrize("system", ["", "shop"])
async def test_who_asks_gets_a_report_and_leaves_no_trace(autojump_clock, world, system) -> None:
    a = await world.node("a")
    assert kinds(await asked(world, a, system=system)) == [FrameKind.HELLO_ACK, FrameKind.CONTROL]
    await trio.sleep(120)
    assert a.told.events == [("report",)]
    statistics = a.transport.statistics()
    assert (statistics.links, statistics.dials, statistics.unauthenticated) == ((), 0, 0)


async def test_a_node_of_another_system_tells_nothing(autojump_clock, world) -> None:
    a = await world.node("a")
    [(kind, body)] = await asked(world, a, system="till")
    assert kind is FrameKind.REFUSED
    assert decode_refused(body).reason == "system name 'till' does not match 'shop' of a:2551"
    assert not a.told.all("report")


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary, Lane.probe])
async def test_on_every_other_lane_a_hello_needs_the_name_of_the_system(autojump_clock, world, lane) -> None:
    a = await world.node("a")
    assert await asked(world, a, lane=lane) == []
    [(_, _, refusal)] = a.told.all("peer_refused")
    assert refusal == Refused("hello: text of 0 characters is not within 1 and 256", final=False)


async def test_who_asks_in_the_name_of_a_member_takes_nothing_of_it(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b", 2)
    a.say(b, b"before")
    await b.told.wait("frame")
    connection = await world.network.host("evil").connect(b.me.address)
    await connection.send(encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", a.me, Lane.status)))
    assert kinds(FrameDecoder(65_536).feed(await connection.receive(65_536)))[0] is FrameKind.HELLO_ACK
    await connection.aclose()
    a.say(b, b"after")
    await b.told.wait("frame", 2)
    assert not b.told.all("link_lost")


async def test_all_who_ask_within_a_moment_get_one_report(autojump_clock, world, nursery) -> None:
    a = await world.node("a")
    answers = []

    async def ask(host: str) -> None:
        answers.append(await asked(world, a, host=host))

    async with trio.open_nursery() as askers:
        for number in range(5):
            askers.start_soon(ask, f"console-{number}")
    assert len(answers) == 5
    assert len(a.told.all("report")) == 1
    await trio.sleep(REPORT_AGE_MAX)
    await asked(world, a)
    assert len(a.told.all("report")) == 2


async def test_a_host_that_asks_without_end_waits_and_others_do_not(autojump_clock, world) -> None:
    a = await world.node("a")
    began = trio.current_time()
    for _ in range(AT_ONCE):
        await asked(world, a, host="greedy")
    assert trio.current_time() - began < 0.1
    for _ in range(AT_ONCE):
        await asked(world, a, host="greedy")
    assert trio.current_time() - began == pytest.approx(1.0, abs=0.1)
    began = trio.current_time()
    await asked(world, a, host="modest")
    assert trio.current_time() - began < 0.01


async def test_a_long_report_costs_its_length(autojump_clock, world) -> None:
    a = await world.node("a")

    async def long() -> bytes:
        return b"".join(frame(FrameKind.CONTROL, bytes(60_000)) for _ in range(STRANGER_BYTES_BURST // 60_000))

    a.told.make_report = long
    for _ in range(3):
        began = trio.current_time()
        await asked(world, a)
    assert trio.current_time() - began == pytest.approx(1.0, abs=0.2)


async def test_a_node_that_cannot_tell_now_says_so(autojump_clock, world) -> None:
    a = await world.node("a")

    async def stuck() -> bytes:
        raise AskTimeoutError("no reply within 2 s")

    a.told.make_report = stuck
    [(_, body)] = await asked(world, a)
    assert decode_refused(body) == Refused("this node cannot tell its status now: no reply within 2 s", final=False)


async def test_a_node_that_takes_too_long_closes_the_connection(autojump_clock, world) -> None:
    a = await world.node("a")
    a.told.make_report = trio.sleep_forever
    began = trio.current_time()
    assert await asked(world, a) == []
    assert trio.current_time() - began == pytest.approx(5.0, abs=0.1)
    assert a.transport.statistics().unauthenticated == 0


async def test_who_waits_for_an_answer_keeps_no_node_of_its_host_out(autojump_clock, world) -> None:
    a = await world.node("a")
    a.told.make_report = trio.sleep_forever
    for _ in range(DEFAULT_LIMITS.unauthenticated_per_host_max):
        connection = await world.network.host("evil").connect(a.me.address)
        await connection.send(
            encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "", UniqueAddress(NodeAddress("evil", 1), 9), Lane.status))
        )
    await trio.sleep(SILENCE_GRANTED)
    node = await world.node("evil")
    node.transport.dial(a.me.address, Lane.control)
    await node.told.wait("link_up")
    assert trio.current_time() == pytest.approx(SILENCE_GRANTED, abs=0.01)
