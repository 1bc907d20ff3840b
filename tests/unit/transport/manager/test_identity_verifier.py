"""What a transport believes of a stranger's hello, and when it stops dialling."""

from __future__ import annotations

from random import Random

import pytest
import trio

from casty.address import NodeAddress, UniqueAddress
from casty.transport.links.succession import REPLACED, SILENCE_MAX
from casty.transport.manager.identity_verifier import CHECK_PARTS, CHECKS_PER_ADDRESS_MAX
from casty.transport.manager.peers import RemoteTransport
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, encode_hello


def packed(body: bytes, lane: Lane) -> bytes:
    return frame(FrameKind.CONTROL if lane is Lane.control else FrameKind.ENVELOPE, body)


async def claimant(world, nursery, node_type, address: NodeAddress, incarnation: int = 9):
    """Start a node on a host of its own that says it is that run at ``address``."""
    transport = RemoteTransport(world.network.host("elsewhere"), rng=Random(9))
    await transport.bind("elsewhere", 2551)
    node = node_type(UniqueAddress(address, incarnation), transport)
    await nursery.start(node.run, "shop")
    return node


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
async def test_who_claims_the_address_of_a_linked_peer_is_refused_and_the_link_stays(
    autojump_clock, world, nursery, lane
) -> None:
    a, b = await world.node("a"), await world.node("b")
    b.transport.dial(a.me.address, Lane.control)
    await a.told.wait("link_up")
    thief = await claimant(world, nursery, type(b), b.me.address)
    thief.transport.dial(a.me.address, lane)
    _, refusal = await thief.told.wait("dial_refused")
    assert refusal.final
    assert refusal.reason == "another node is alive at b:2551: choose another host or port"
    assert a.told.all("link_lost") == []
    assert a.told.all("incarnation_seen") == [(b.me,)]


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
@pytest.mark.parametrize("who_dialled", ["a", "b"])
async def test_who_names_the_very_run_of_a_linked_peer_gets_neither_its_link_nor_another_lane(
    autojump_clock, world, nursery, lane, who_dialled
) -> None:
    a, b = await world.node("a"), await world.node("b")
    first, second = (a, b) if who_dialled == "a" else (b, a)
    first.transport.dial(second.me.address, Lane.control)
    await a.told.wait("link_up")
    await trio.sleep(10)
    thief = await claimant(world, nursery, type(b), b.me.address, b.me.incarnation)
    thief.transport.dial(a.me.address, lane)
    _, refusal = await thief.told.wait("dial_refused")
    assert "knows nothing of this hello" in refusal.reason and not refusal.final
    b.say(a, b"from the true b", lane=Lane.control)
    await a.told.wait("frame")
    assert a.told.all("link_lost") == b.told.all("link_lost") == []
    assert a.told.all("link_up") == [(b.me, Lane.control)]


async def test_a_peer_that_was_dialled_and_names_another_node_gets_no_link_in_its_name(
    autojump_clock, world, nursery
) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.dial(b.me.address, Lane.control)
    await a.told.wait("link_up")
    thief = await claimant(world, nursery, type(b), b.me.address, b.me.incarnation)
    there = NodeAddress("elsewhere", 2551)
    for lane in (Lane.control, Lane.ordinary):
        assert a.transport.send(UniqueAddress(there, 0), lane, packed(b"for whoever is there", lane))
    await b.told.wait("frame", 2)
    await trio.sleep(10)
    assert thief.told.bodies == []
    assert a.told.all("link_lost") == []
    assert a.told.all("link_up") == [(b.me, Lane.control), (b.me, Lane.ordinary)]


async def test_a_peer_that_lost_its_end_of_the_link_is_let_in_at_once(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    b.transport.dial(a.me.address, Lane.control)
    await b.told.wait("link_up")
    [session] = b.transport.link_manager.sessions
    world.network.delay("b", "a", 60, one_way=True)
    session.end("a test has closed it", graceful=False)
    await trio.sleep(1)
    world.network.delay("b", "a", 0, one_way=True)  # a hears of the end a minute later
    lost = trio.current_time()
    b.transport.dial(a.me.address, Lane.control)
    assert await b.told.wait("link_up", 2) == (a.me, Lane.control)
    assert trio.current_time() - lost < 0.1
    assert await a.told.wait("link_lost") == (b.me, Lane.control, REPLACED, False)
    assert trio.current_time() - lost < SILENCE_MAX + 0.1
    assert a.told.names()[-2:] == ["link_lost", "link_up"]


async def test_checks_of_hellos_in_one_name_are_bounded(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    b.transport.dial(a.me.address, Lane.control)
    await a.told.wait("link_up")
    world.network.freeze("b")
    hello = encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", b.me, Lane.control, 77))
    connections = world.network.connection_count
    for _ in range(CHECKS_PER_ADDRESS_MAX + 3):
        await (await world.network.host("elsewhere").connect(a.me.address)).send(hello)
    await trio.sleep(1)
    assert world.network.connection_count - connections <= 2 * CHECKS_PER_ADDRESS_MAX + 3
    await a.told.wait("peer_refused", CHECKS_PER_ADDRESS_MAX)
    assert trio.current_time() == pytest.approx(CHECK_PARTS * 5.0)
    _, _, refusal = await a.told.wait("peer_refused", CHECKS_PER_ADDRESS_MAX + 3)
    assert refusal.reason == "no decision about the hello within 5 s"
    assert trio.current_time() == pytest.approx(5.0)
    assert a.told.all("link_lost") == []
    assert not a.transport._identity_verifier._checking


async def test_a_claim_that_nobody_confirms_is_refused_as_long_as_the_old_link_is_up(
    autojump_clock, world, nursery
) -> None:
    a, b = await world.node("a"), await world.node("b")
    b.transport.dial(a.me.address, Lane.control)
    await a.told.wait("link_up")
    world.network.freeze("b")
    thief = await claimant(world, nursery, type(b), b.me.address)
    thief.transport.dial(a.me.address, Lane.control)
    _, _, refusal = await a.told.wait("peer_refused")
    assert not refusal.final
    assert a.told.all("link_lost") == []


async def test_a_new_run_at_the_address_of_a_linked_peer_takes_the_link_over(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    b.transport.dial(a.me.address, Lane.control)
    await a.told.wait("link_up")
    world.network.freeze("b")  # a does not hear of the end
    world.crash(b)
    again = await world.node("b", 2)
    world.network.thaw("b")
    again.transport.dial(a.me.address, Lane.control)
    assert await a.told.wait("link_up", 2) == (again.me, Lane.control)


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
@pytest.mark.parametrize("incarnation", [1, 9])
async def test_nobody_speaks_for_a_member_that_has_no_link(
    autojump_clock, world, nursery, lane: Lane, incarnation: int
) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.keep([b.me])
    thief = await claimant(world, nursery, type(b), b.me.address, incarnation)
    thief.transport.dial(a.me.address, lane)
    await thief.told.wait("dial_refused")
    assert a.told.names() == ["peer_refused"]
    b.transport.dial(a.me.address, lane)
    assert await a.told.wait("link_up") == (b.me, lane)


async def test_a_member_that_does_not_answer_is_not_replaced_by_who_names_it(autojump_clock, world, nursery) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.keep([b.me])
    world.crash(b)
    thief = await claimant(world, nursery, type(b), b.me.address, b.me.incarnation)
    thief.transport.dial(a.me.address, Lane.control)
    _, refusal = await thief.told.wait("dial_refused")
    assert refusal.reason.startswith("nobody answers at b:2551: ") and not refusal.final
    again = await world.node("b", 2)
    again.transport.dial(a.me.address, Lane.control)
    assert await a.told.wait("link_up") == (again.me, Lane.control)


async def test_giving_an_address_up_gives_back_what_waits_and_dials_no_more(autojump_clock, world) -> None:
    a, nobody = await world.node("a"), UniqueAddress(NodeAddress("nowhere", 2551), 7)
    frame = b"\x00\x00\x00\x02\x05x"
    assert a.transport.send(nobody, Lane.ordinary, frame)
    await a.told.wait("dial_failed", 2)
    a.transport.give_up(nobody.address, "no member is there")
    assert a.told.all("undelivered") == [(nobody, [frame], "no member is there")]
    assert a.transport.statistics().dials == 0
    assert a.transport.statistics().links == ()
    a.transport.give_up(nobody.address, "again changes nothing")
    assert len(a.told.all("undelivered")) == 1


async def test_hellos_that_others_say_in_its_name_delay_a_node_and_keep_it_from_nothing(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    world.network.delay("a", "b", 0.1)
    hello = encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", b.me, Lane.control, 77))
    for _ in range(2 * CHECKS_PER_ADDRESS_MAX):
        await (await world.network.host("elsewhere").connect(a.me.address)).send(hello)
    b.transport.dial(a.me.address, Lane.control)
    assert await b.told.wait("link_up") == (a.me, Lane.control)
    assert b.told.all("dial_refused") == []
    assert trio.current_time() < 2
    assert not a.transport._identity_verifier._checking
