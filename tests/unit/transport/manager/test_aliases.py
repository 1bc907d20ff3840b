"""Addresses that lead to a node of another one: what is brought there, and what is not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import trio

from casty.address import NodeAddress, UniqueAddress
from casty.testing.samples import run_of
from casty.transport.network.interface import Connection
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, HelloAck, decode_hello, encode_hello_ack

LATENCY = 0.001
LANES = [Lane.control, Lane.ordinary, Lane.large]


def packed(lane: Lane, body: bytes) -> bytes:
    return frame({Lane.control: FrameKind.CONTROL, Lane.large: FrameKind.SLICE}.get(lane, FrameKind.ENVELOPE), body)


@pytest.fixture
def lead(world, nursery: trio.Nursery) -> Callable[[str, UniqueAddress], object]:
    """Whoever dials a host is told that it is that node; the lanes on which it was dialled."""

    async def start(host: str, to: UniqueAddress) -> list[Lane]:
        dialled: list[Lane] = []

        async def answer(connection: Connection) -> None:
            decoder = FrameDecoder(8_192)
            while not (frames := list(decoder.feed(await connection.receive(8_192)))):
                pass
            hello = decode_hello(frames[0][1])
            dialled.append(hello.lane)
            await trio.sleep(LATENCY)
            await connection.send(encode_hello_ack(HelloAck(PROTOCOL_MAX, to)))
            await connection.receive(8_192)
            await connection.aclose()

        listener = await world.network.host(host).listen(host, to.address.port)
        nursery.start_soon(listener.serve, answer)
        return dialled

    return start


@pytest.mark.parametrize("lane", LANES)
async def test_what_is_for_whoever_is_at_an_address_goes_where_it_leads(autojump_clock, world, lead, lane) -> None:
    a, b = await world.node("a"), await world.node("b", 4)
    b.transport.keep([a.me])  # slices are of members alone
    dialled = await lead("alias", b.me)
    alias = UniqueAddress(NodeAddress("alias", b.me.address.port), 0)
    for body in (b"1", b"2"):
        assert a.transport.send(alias, lane, packed(lane, body))
    await b.told.wait("frame", 2)
    assert a.transport.send(alias, lane, packed(lane, b"3"))
    await b.told.wait("frame", 3)
    assert b.told.bodies == [b"1", b"2", b"3"]
    assert dialled == [lane]


@pytest.mark.parametrize("is_linked", [True, False])
@pytest.mark.parametrize("incarnation", [4, 5])
async def test_what_is_for_a_run_at_an_address_goes_nowhere_else(
    autojump_clock, world, lead, incarnation, is_linked
) -> None:
    """Its number may be that of the other run: whoever asks for it is told."""
    a, b = await world.node("a"), await world.node("b", 4)
    await lead("evil", b.me)
    evil = NodeAddress("evil", b.me.address.port)
    if is_linked:  # and the address is known for another name of it
        a.transport.send(UniqueAddress(evil, 0), Lane.ordinary, packed(Lane.ordinary, b"mine"))
        await b.told.wait("frame")
    to, body = UniqueAddress(evil, incarnation), packed(Lane.ordinary, b"not mine")
    for number in range(2):
        assert a.transport.send(to, Lane.ordinary, body)
        assert await a.told.wait("undelivered", number + 1) == (to, [body], f"another node answers at {evil}: {b.me}")
    await trio.sleep(60)
    assert b.told.bodies == [b"mine"] * is_linked


async def test_only_what_is_for_whoever_is_there_is_redirected(autojump_clock, world, lead) -> None:
    a, b = await world.node("a"), await world.node("b", 4)
    await lead("alias", b.me)
    address = NodeAddress("alias", b.me.address.port)
    for incarnation, body in ((4, b"x"), (0, b"y"), (5, b"z")):
        a.transport.send(UniqueAddress(address, incarnation), Lane.ordinary, packed(Lane.ordinary, body))
    await b.told.wait("frame")
    await trio.sleep(1)
    assert b.told.bodies == [b"y"]
    assert sorted(to.incarnation for to, _, _ in a.told.all("undelivered")) == [4, 5]


@pytest.mark.parametrize("lane", LANES)
async def test_who_is_dialled_as_a_run_does_not_choose_whom_to_dial_next(autojump_clock, world, lead, lane) -> None:
    a = await world.node("a")
    printer = run_of("printer", 9)
    await lead("evil", printer)
    dialled = await lead("printer", printer)
    evil = UniqueAddress(NodeAddress("evil", printer.address.port), 7)
    a.transport.send(evil, lane, packed(lane, b"x"))
    await a.told.wait("undelivered")
    a.transport.dial(evil.address, lane)
    _, _, refused, _ = await a.told.wait("dial_failed", 2)
    assert not refused
    await trio.sleep(60)
    assert dialled == []


@pytest.mark.parametrize("is_requested", [True, False])
async def test_an_address_that_another_one_has_named_leads_no_further(
    autojump_clock, world, lead, is_requested
) -> None:
    """Two that name each other were dialled in turn for ever, as fast as they answered."""
    a = await world.node("a")
    one, other = run_of("one", 7), run_of("other", 7)
    dialled = [await lead("one", other), await lead("other", one)]
    for run in (one, other):
        to = UniqueAddress(run.address, 0)
        a.transport.send(to, Lane.ordinary, packed(Lane.ordinary, b"x"))
        if is_requested:
            a.transport.dial(run.address, Lane.ordinary)
    await trio.sleep(1)
    assert sum(map(len, dialled)) <= 6
    assert len(a.told.all("undelivered")) == 2
    assert a.transport.statistics().dials == 0


async def test_an_address_that_leads_to_nobody_is_not_dialled_without_pause(autojump_clock, world, lead) -> None:
    a = await world.node("a")
    dialled = await lead("alias", run_of("nobody", 7))
    alias = UniqueAddress(NodeAddress("alias", run_of("nobody").address.port), 0)
    for _ in range(10_000):
        a.transport.send(alias, Lane.ordinary, packed(Lane.ordinary, b"x"))
        await trio.sleep(0.001)
    assert 1 < len(dialled) <= 20  # later and later


async def test_an_address_that_led_to_nobody_is_dialled_at_once_when_its_node_is_there(
    autojump_clock, world, lead
) -> None:
    a = await world.node("a")
    b = run_of("b", 4)
    dialled = await lead("alias", b)
    alias = UniqueAddress(NodeAddress("alias", b.address.port), 0)
    for _ in range(1_000):
        a.transport.send(alias, Lane.ordinary, packed(Lane.ordinary, b"x"))
        await trio.sleep(0.001)
    before, node = len(dialled), await world.node("b", 4)
    node.say(a, b"hello")
    await a.told.wait("frame")
    a.transport.send(alias, Lane.ordinary, packed(Lane.ordinary, b"y"))
    while b"y" not in node.told.bodies:
        await node.told.wait("frame", len(node.told.bodies) + 1)
    assert len(dialled) <= before + 1


async def test_the_address_of_a_member_is_no_other_name_of_another(autojump_clock, world, lead) -> None:
    a, b = await world.node("a"), await world.node("b", 4)
    await lead("c", b.me)
    gone = UniqueAddress(NodeAddress("c", b.me.address.port), 6)
    to = UniqueAddress(gone.address, 0)
    a.transport.send(to, Lane.ordinary, packed(Lane.ordinary, b"before"))
    await b.told.wait("frame")
    a.transport.keep([b.me, gone])
    a.transport.send(to, Lane.ordinary, packed(Lane.ordinary, b"after"))
    await a.told.wait("undelivered")
    a.transport.dial(gone.address, Lane.ordinary)
    await a.told.wait("dial_failed", 2)
    assert b.told.bodies == [b"before"]


async def test_an_address_is_its_own_once_a_node_has_come_there(autojump_clock, world, lead) -> None:
    a, b = await world.node("a"), await world.node("b", 4)
    await lead("c", b.me)
    to = UniqueAddress(NodeAddress("c", b.me.address.port), 0)
    a.transport.send(to, Lane.ordinary, packed(Lane.ordinary, b"before"))
    await b.told.wait("frame")
    world.network.crash("c")
    c = await world.node("c", 6)
    c.say(a, b"x")
    await a.told.wait("frame")
    a.transport.send(to, Lane.ordinary, packed(Lane.ordinary, b"after"))
    await c.told.wait("frame")
    assert (b.told.bodies, c.told.bodies) == ([b"before"], [b"after"])
