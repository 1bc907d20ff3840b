"""Who is taken for a node: nothing follows from a host, from a run that is known, or from being first."""

from __future__ import annotations

from contextlib import suppress
from random import Random

import pytest
import trio

from casty.address import UniqueAddress
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.interface import Connection, ConnectionLost
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, decode_hello, encode_hello

LINK_LANES = [Lane.control, Lane.ordinary, Lane.large]


async def thief_of(world, nursery, node, *, host: str | None = None, port: int = 99):
    """Start a node that says it is that run, by default on the same host."""
    host = host or node.me.address.host
    transport = RemoteTransport(world.network.host(host), rng=Random(99))
    await transport.bind(host, port)
    thief = type(node)(node.me, transport)
    await nursery.start(thief.run, "shop")
    return thief


async def first_answer(connection: Connection) -> FrameKind:
    [(kind, _)] = FrameDecoder(4096).feed(await connection.receive(4096))
    return kind


@pytest.mark.parametrize("lane", LINK_LANES)
@pytest.mark.parametrize("linked", LINK_LANES)
@pytest.mark.parametrize("are_members", [True, False])
async def test_a_stranger_on_the_host_of_a_linked_node_gets_none_of_its_lanes(
    autojump_clock, world, nursery, lane: Lane, linked: Lane, are_members: bool
) -> None:
    a, b = await world.node("a"), await world.node("b")
    if are_members:
        a.transport.keep([a.me, b.me])
    b.transport.dial(a.me.address, linked)
    await a.told.wait("link_up")
    thief = await thief_of(world, nursery, b)
    thief.transport.dial(a.me.address, lane)
    await thief.told.wait("dial_refused")
    if linked is not Lane.large:
        a.say(b, b"for b alone", lane=linked)
        await b.told.wait("frame")
    assert thief.told.bodies == []
    assert a.told.all("link_up") == [(b.me, linked)]
    assert a.told.all("link_lost") == []


@pytest.mark.parametrize("lane", LINK_LANES)
async def test_a_stranger_is_not_taken_for_a_node_that_is_being_dialled(autojump_clock, world, nursery, lane) -> None:
    a, b = await world.node("a"), await world.node("b")
    world.network.cut("a", "b")
    a.transport.send(UniqueAddress(b.me.address, 0), Lane.ordinary, frame(FrameKind.ENVELOPE, b"for b alone"))
    a.transport.send(UniqueAddress(b.me.address, 0), Lane.control, frame(FrameKind.CONTROL, b"for b alone"))
    thief = await thief_of(world, nursery, b, host="elsewhere")
    thief.transport.dial(a.me.address, lane)
    await trio.sleep(4)
    assert thief.told.bodies == thief.told.all("link_up") == []
    world.network.heal("a", "b")
    await b.told.wait("frame", 2)


async def test_a_stranger_that_comes_before_a_node_is_not_there_when_that_becomes_a_member(
    autojump_clock, world, nursery
) -> None:
    a, b = await world.node("a"), await world.node("b")
    thief = await thief_of(world, nursery, b)
    thief.transport.dial(a.me.address, Lane.ordinary)
    await trio.sleep(1)
    b.transport.dial(a.me.address, Lane.control)
    await b.told.wait("link_up")
    a.transport.keep([a.me, b.me])
    a.say(b, b"for b alone")
    await b.told.wait("frame")
    assert thief.told.bodies == []
    assert a.told.all("link_up") == [(b.me, Lane.control), (b.me, Lane.ordinary)]


@pytest.mark.parametrize("lane", LINK_LANES)
async def test_who_was_dialled_cannot_pass_the_hello_on_as_its_own(autojump_clock, world, nursery, lane: Lane) -> None:
    """A message can hold a ref to any address, so anybody can have a node dial it."""
    a, b = await world.node("a"), await world.node("b")
    a.transport.keep([a.me, b.me])
    answers, answered = list[FrameKind](), trio.Event()

    async def pass_on(connection: Connection) -> None:
        [(_, body)] = FrameDecoder(4096).feed(await connection.receive(4096))
        overheard = decode_hello(body)
        assert isinstance(overheard, Hello)
        onward = await world.network.host("evil").connect(a.me.address)
        await onward.send(encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", b.me, lane, overheard.nonce)))
        answers.append(await first_answer(onward))
        answered.set()
        with suppress(ConnectionLost):
            await connection.receive(1)

    evil = await world.network.host("evil").listen("evil", 666)
    nursery.start_soon(evil.serve, pass_on)
    b.transport.send(UniqueAddress(evil.address, 66), Lane.ordinary, frame(FrameKind.ENVELOPE, b"a reply"))
    with trio.fail_after(60):
        await answered.wait()
    assert answers == [FrameKind.REFUSED]
    assert a.told.all("link_up") == []


@pytest.mark.parametrize("lane", LINK_LANES)
async def test_further_lanes_need_no_dial_back(autojump_clock, world, lane: Lane) -> None:
    """Behind a device that lets `b` out and nobody in, but for the first lane."""
    a, b = await world.node("a"), await world.node("b")
    a.transport.keep([a.me, b.me])
    first = Lane.control if lane is not Lane.control else Lane.ordinary
    b.transport.dial(a.me.address, first)
    await b.told.wait("link_up")
    b.transport._listener.close()
    b.transport.dial(a.me.address, lane)
    assert await b.told.wait("link_up", 2) == (a.me, lane)


async def test_a_lane_whose_connection_was_lost_comes_back_without_a_dial_back(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.keep([a.me, b.me])
    for lane in (Lane.control, Lane.ordinary):
        b.transport.dial(a.me.address, lane)
    await b.told.wait("link_up", 2)
    b.transport._listener.close()
    [session] = [one for one in b.transport.link_manager.sessions if one.link.lane is Lane.ordinary]
    session.end("a test has closed it", graceful=False)
    b.say(a, b"over the next connection")
    await a.told.wait("frame")


@pytest.mark.parametrize("lane", LINK_LANES)
async def test_without_a_link_that_is_up_at_both_ends_the_dial_back_decides(autojump_clock, world, lane) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.keep([a.me, b.me])
    for one in LINK_LANES:
        b.transport.dial(a.me.address, one)
    await b.told.wait("link_up", 3)
    for session in list(a.transport.link_manager.sessions):
        session.end("a test has closed it", graceful=False)
    await b.told.wait("link_lost", 3)
    b.transport.dial(a.me.address, lane)
    assert await b.told.wait("link_up", 4) == (a.me, lane)


async def test_a_run_that_has_restarted_on_the_address_gets_lanes_of_its_own(autojump_clock, world) -> None:
    a, old = await world.node("a"), await world.node("b", 7)
    a.transport.keep([a.me, old.me])
    for lane in LINK_LANES:
        old.transport.dial(a.me.address, lane)
    await a.told.wait("link_up", 3)
    world.network.freeze("b")  # a hears of no end
    world.crash(old)
    new = await world.node("b", 8)
    world.network.thaw("b")
    for lane in LINK_LANES:
        new.transport.dial(a.me.address, lane)
    await new.told.wait("link_up", 3)
    assert {peer for peer, _ in a.told.all("link_up")[3:]} == {new.me}
    assert {peer for peer, *_ in a.told.all("link_lost")} == {old.me}
