"""What a transport believes of a stranger's hello, and when it stops dialling."""

from __future__ import annotations

from random import Random

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.transport.peers import RemoteTransport
from casty.wire.frame import Lane


async def claimant(world, nursery, node_type, address: NodeAddress):
    """Start a node on a host of its own that says it is at ``address``."""
    transport = RemoteTransport(world.network.host("elsewhere"), rng=Random(9))
    await transport.bind("elsewhere", 2551)
    node = node_type(UniqueAddress(address, 9), transport)
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
