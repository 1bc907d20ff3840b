"""How links come up, carry frames, break, and end."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from helpers.tasks import in_background

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.errors import BindError, DecodeError
from casty.transport.links.hello import SIMULTANEOUS_DIAL
from casty.transport.links.link import LinkState
from casty.transport.manager.peers import SENDS_BEFORE_YIELD, RemoteTransport
from casty.transport.network.interface import Connection
from casty.transport.network.memory import MemoryNetwork
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.handshake import encode_refused


async def test_the_first_send_dials_and_both_sides_learn_of_the_link(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    assert a.say(b, b"one", b"two") == [True, True]
    await b.told.wait("frame", 2)
    assert b.told.bodies == [b"one", b"two"]
    assert b.told.names() == ["incarnation_seen", "link_up", "frame", "frame"]
    assert b.told.all("frame")[0] == (a.me, Lane.ordinary, FrameKind.ENVELOPE, b"one")
    assert a.told.events == [("incarnation_seen", b.me), ("link_up", b.me, Lane.ordinary)]


async def test_an_established_link_carries_both_directions(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"ping")
    await b.told.wait("frame")
    b.say(a, b"pong")
    await a.told.wait("frame")
    assert a.told.bodies == [b"pong"]
    assert len(a.told.all("link_up")) == len(b.told.all("link_up")) == 1
    assert world.network.connection_count == 1


async def test_lanes_are_separate_connections(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"user", lane=Lane.ordinary)
    a.say(b, b"beat", lane=Lane.control)
    await b.told.wait("frame", 2)
    assert {(event[1], event[3]) for event in b.told.all("frame")} == {
        (Lane.ordinary, b"user"),
        (Lane.control, b"beat"),
    }
    assert world.network.connection_count == 2


async def test_a_send_to_any_run_reaches_the_one_that_is_there(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b", 7)
    anyone = UniqueAddress(b.me.address, 0)
    a.transport.send(anyone, Lane.ordinary, b"\x00\x00\x00\x02\x05x")
    await b.told.wait("frame")
    a.transport.send(anyone, Lane.ordinary, b"\x00\x00\x00\x02\x05y")
    a.say(b, b"z")
    await b.told.wait("frame", 3)
    assert b.told.bodies == [b"x", b"y", b"z"]
    assert [link.peer for link in a.transport.statistics().links] == [b.me]


async def test_frames_for_another_run_are_never_written(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b", 8)
    older = UniqueAddress(b.me.address, 7)
    assert a.transport.send(older, Lane.ordinary, b"for the dead")
    to, frames, reason = await a.told.wait("undelivered")
    assert (to, frames) == (older, [b"for the dead"])
    assert "another run" in reason
    assert a.told.all("incarnation_seen") == [(b.me,)]
    assert a.told.all("link_up") == [(b.me, Lane.ordinary)]
    assert not a.transport.send(older, Lane.ordinary, b"again"), "another run is known to be there"
    assert a.transport.statistics().frames_rejected == 1
    assert b.told.bodies == []


async def test_a_restart_closes_the_links_of_the_older_run(autojump_clock, world) -> None:
    a, old = await world.node("a"), await world.node("b", 7)
    a.say(old, b"x")
    a.say(old, b"x", lane=Lane.control)
    await old.told.wait("frame", 2)
    world.network.freeze("b")  # the old run goes silent, nobody sees its end
    await trio.sleep(1)
    assert a.say(old, b"lost in silence") == [True]
    world.network.crash("b")
    new = await world.node("b", 8)
    new.say(a, b"hello again")
    await a.told.wait("frame")
    lost = a.told.all("link_lost")
    assert {(peer, lane) for peer, lane, _, graceful in lost} == {(old.me, Lane.ordinary), (old.me, Lane.control)}
    assert not any(graceful for *_, graceful in lost)
    assert (new.me,) in a.told.all("incarnation_seen")


async def test_control_frames_are_undelivered_when_the_one_attempt_fails(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    world.crash(b)
    a.say(b, b"x", b"y", lane=Lane.control)
    address, lane, refused, reason = await a.told.wait("dial_failed")
    assert (address, lane, refused) == (b.me.address, Lane.control, True)
    assert "b:2551" in reason
    [(to, frames, _)] = a.told.all("undelivered")
    assert (to, len(frames)) == (b.me, 2)
    await trio.sleep(60)
    assert len(a.told.all("dial_failed")) == 1
    assert a.transport.statistics().links == ()


async def test_ordinary_frames_are_redialled_until_they_arrive(autojump_clock, world) -> None:
    a = await world.node("a")
    there = UniqueAddress(NodeAddress("b", 2551), 9)
    start = trio.current_time()
    a.transport.send(there, Lane.ordinary, b"\x00\x00\x00\x02\x05x")
    await a.told.wait("dial_failed", 12)
    elapsed = trio.current_time() - start
    assert 5.0 < elapsed < 8.0, "50 ms doubling to 1 s: eleven pauses"
    b = await world.node("b", 9)
    await b.told.wait("frame")
    assert b.told.bodies == [b"x"]
    assert trio.current_time() - start - elapsed <= 1.0


async def test_forget_stops_redialling_and_gives_the_frames_back(autojump_clock, world) -> None:
    a = await world.node("a")
    there = UniqueAddress(NodeAddress("b", 2551), 9)
    a.transport.send(there, Lane.ordinary, b"x")
    await a.told.wait("dial_failed", 3)
    a.transport.forget(there)
    assert a.told.all("undelivered") == [(there, [b"x"], "the node was removed")]
    failed = len(a.told.all("dial_failed"))
    await trio.sleep(60)
    assert len(a.told.all("dial_failed")) == failed
    assert a.transport.statistics().dials == 0
    assert a.transport.statistics().links == ()


async def test_forget_closes_the_links(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"x")
    await b.told.wait("frame")
    a.transport.forget(b.me)
    assert a.told.all("link_lost") == [(b.me, Lane.ordinary, "the node was removed", True)]
    assert await b.told.wait("link_lost") == (a.me, Lane.ordinary, "the connection was closed by the peer", False)
    await trio.sleep(1)
    assert world.network.connection_count == 0


async def test_an_ordinary_link_that_breaks_is_redialled_with_its_queue(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    world.network.delay("a", "b", 0.1)
    bodies = [number.to_bytes(2, "big") * 1000 for number in range(1000)]
    a.say(b, *bodies)
    await b.told.wait("frame", 100)
    world.network.reset("a", "b")
    await a.told.wait("link_up", 2)
    await trio.sleep(10)
    stats = a.transport.statistics()
    assert stats.frames_sent + stats.frames_broken == 1000
    got = [bodies.index(body) for body in b.told.bodies]
    assert got == sorted(set(got)), "in order, and none twice"
    assert got[-1] == 999
    assert 1 <= 1000 - len(got) <= 600, "only what was under way is missing"
    assert "undelivered" not in a.told.names()


async def test_a_control_link_that_breaks_gives_its_queue_back(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    world.network.delay("a", "b", 0.1)
    frames = 1000
    a.say(b, *[b"x" * 2000] * frames, lane=Lane.control)
    await b.told.wait("frame", 100)
    world.network.reset("a", "b")
    await a.told.wait("link_lost")
    await trio.sleep(10)
    stats = a.transport.statistics()
    assert stats.frames_sent + stats.frames_broken + stats.frames_undelivered == frames
    assert len(a.told.all("undelivered")[0][1]) == stats.frames_undelivered > 0
    assert len(a.told.all("link_up")) == 1, "the machines decide when to dial again"


async def test_dial_reports_a_link_and_does_nothing_while_there_is_one(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.dial(b.me.address, Lane.control)
    a.transport.dial(b.me.address, Lane.control)
    assert await a.told.wait("link_up") == (b.me, Lane.control)
    a.transport.dial(b.me.address, Lane.control)
    await trio.sleep(60)
    assert len(a.told.events) == 2
    assert world.network.connection_count == 1


async def test_dial_reports_a_refusal_by_the_host_and_silence(autojump_clock, world) -> None:
    a = await world.node("a")
    world.network.host("b")
    a.transport.dial(NodeAddress("b", 2551), Lane.control)
    assert (await a.told.wait("dial_failed"))[2] is True
    world.network.cut("a", "b")
    start = trio.current_time()
    a.transport.dial(NodeAddress("b", 2551), Lane.ordinary)
    _, lane, refused, reason = await a.told.wait("dial_failed", 2)
    assert (lane, refused) == (Lane.ordinary, False)
    assert "within 5 s" in reason
    assert trio.current_time() - start == pytest.approx(5.0)
    await trio.sleep(60)
    assert len(a.told.all("dial_failed")) == 2, "a dial without frames is one attempt"


async def test_a_dial_during_a_pause_tries_at_once(autojump_clock, world) -> None:
    a = await world.node("a")
    there = UniqueAddress(NodeAddress("b", 2551), 9)
    a.transport.send(there, Lane.ordinary, b"\x00\x00\x00\x02\x05x")
    await a.told.wait("dial_failed", 8)
    start = trio.current_time()
    a.transport.dial(there.address, Lane.ordinary)
    await a.told.wait("dial_failed", 9)
    assert trio.current_time() == start


async def test_dialling_oneself_fails_with_a_clear_reason(autojump_clock, world) -> None:
    a = await world.node("a")
    a.transport.dial(a.me.address, Lane.control)
    _, _, refused, reason = await a.told.wait("dial_failed")
    assert not refused
    assert reason == "a:2551 is this node itself"
    a.say(a, b"x")
    await a.told.wait("undelivered")
    await trio.sleep(60)
    assert a.told.names() == ["dial_failed", "self_dialled", "undelivered", "dial_failed", "self_dialled"]


async def test_another_system_is_refused_for_good(autojump_clock, world) -> None:
    a, b = await world.node("a", system="shop"), await world.node("b", system="till")
    a.say(b, b"x")
    address, refusal = await a.told.wait("dial_refused")
    assert address == b.me.address
    assert refusal.final
    assert "'shop'" in refusal.reason and "'till'" in refusal.reason
    assert a.told.all("undelivered")[0][1] != []
    host, hello, same = await b.told.wait("peer_refused")
    assert (host, hello.system, same.final) == ("a", "shop", True)
    await trio.sleep(60)
    assert a.told.all("dial_failed") == []
    assert len(a.told.all("dial_refused")) == 1
    assert b.told.all("link_up") == []


async def test_a_stranger_with_our_own_address_is_refused(autojump_clock, world) -> None:
    a = await world.node("a", 1)
    impostor = RemoteTransport(world.network.host("evil"))
    await impostor.bind("evil", 2551)
    told = type(a.told)()
    async with trio.open_nursery() as nursery:
        await nursery.start(impostor.run, UniqueAddress(a.me.address, 66), "shop", told)
        impostor.dial(a.me.address, Lane.control)
        _, refusal = await told.wait("dial_refused")
        assert refusal.final and "address of this node" in refusal.reason
        nursery.cancel_scope.cancel()


async def test_an_alias_leads_to_the_same_link(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b", 4)
    proxy = await world.network.host("alias").listen("alias", 99)

    async def forward(connection: Connection) -> None:
        onward = await world.network.host("alias").connect(b.me.address)

        async def pump(source: Connection, target: Connection) -> None:
            while data := await source.receive(100):
                await target.send(data)
            await target.aclose()

        async with trio.open_nursery() as pumps:
            pumps.start_soon(pump, connection, onward)
            pumps.start_soon(pump, onward, connection)

    async with in_background(proxy.serve, forward):
        alias = UniqueAddress(proxy.address, 0)
        a.transport.send(alias, Lane.ordinary, b"\x00\x00\x00\x02\x05x")
        await b.told.wait("frame")
        a.transport.send(alias, Lane.ordinary, b"\x00\x00\x00\x02\x05y")
        a.say(b, b"z")
        a.transport.dial(proxy.address, Lane.ordinary)
        await b.told.wait("frame", 3)
        await trio.sleep(10)
        assert b.told.bodies == [b"x", b"y", b"z"]
        assert len(a.told.all("link_up")) == 1


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
@pytest.mark.parametrize("delay", [0.0, 0.01, 0.4])
async def test_simultaneous_dials_become_one_link(autojump_clock, world, lane: Lane, delay: float) -> None:
    a, b = await world.node("a"), await world.node("b")
    if delay:
        world.network.delay("a", "b", delay)
    a.say(b, b"from a", lane=lane)
    b.say(a, b"from b", lane=lane)
    await a.told.wait("frame")
    await b.told.wait("frame")
    await trio.sleep(60)
    assert a.told.bodies == [b"from b"]
    assert b.told.bodies == [b"from a"]
    assert a.told.all("link_up") == [(b.me, lane)]
    assert b.told.all("link_up") == [(a.me, lane)]
    assert "dial_failed" not in a.told.names() + b.told.names()
    assert "undelivered" not in a.told.names() + b.told.names()
    assert world.network.connection_count == 1


class DeafToCancels:
    """A host whose first dial, and the writes there, take no notice of a cancel, as writes of TLS did."""

    def __init__(self, host, until) -> None:
        self.host, self.until = host, until
        self.dials = 0

    async def listen(self, host, port):
        return await self.host.listen(host, port)

    async def connect(self, address, *, named_by=None):
        self.dials += 1
        if self.dials > 1:  # the other one asks who is there
            return await self.host.connect(address, named_by=named_by)
        with trio.CancelScope(shield=True):
            connection = await self.host.connect(address, named_by=named_by)
            await self.until.wait()
        send = connection.send

        async def send_whatever_comes(data) -> None:
            with trio.CancelScope(shield=True):
                await send(data)

        connection.send = send_whatever_comes
        return connection


async def test_a_dial_won_by_the_peer_as_it_connects_says_no_hello(autojump_clock, world) -> None:
    may_connect = trio.Event()
    a = await world.node("a", network=DeafToCancels(world.network.host("a"), may_connect))
    b = await world.node("b")
    a.say(b, b"from a")
    b.say(a, b"from b")
    await b.told.wait("frame")
    await a.told.wait("frame")
    may_connect.set()
    await trio.sleep(1)
    for one, other in ((a, b), (b, a)):
        one.say(other, b"more")
        assert not one.told.all("link_lost")
    await trio.sleep(60)
    assert (a.told.bodies, b.told.bodies) == ([b"from b", b"more"], [b"from a", b"more"])
    assert world.network.connection_count == 1


@pytest.mark.parametrize("late", [0.05, 0.2, 0.5, 0.9, 1.1, 1.5])
async def test_dials_that_cross_late_do_not_flap(autojump_clock, world, late: float) -> None:
    a, b = await world.node("a"), await world.node("b")
    world.network.delay("a", "b", 0.3)
    for first, second in ((a, b), (b, a)):
        first.transport.dial(second.me.address, Lane.control)
        await trio.sleep(late)
        second.transport.dial(first.me.address, Lane.control)
        await trio.sleep(30)
        assert world.network.connection_count == 1
        assert a.told.names().count("link_up") - a.told.names().count("link_lost") == 1
        assert b.told.names().count("link_up") - b.told.names().count("link_lost") == 1
        first.transport.forget(second.me)
        await trio.sleep(30)
    assert a.told.names().count("link_up") == b.told.names().count("link_up") == 2


async def test_a_yielding_dial_whose_peer_never_comes_has_failed(autojump_clock, world) -> None:
    b = await world.node("b")

    async def always_busy(connection: Connection) -> None:
        await connection.receive(4096)
        await connection.send(encode_refused(SIMULTANEOUS_DIAL))

    listener = await world.network.host("a").listen("a", 2551)
    async with in_background(listener.serve, always_busy):
        b.transport.dial(listener.address, Lane.control)
        _, _, refused, reason = await b.told.wait("dial_failed")
        assert not refused
        assert "no connection came" in reason
        assert trio.current_time() == pytest.approx(5.0)


async def test_a_link_that_one_end_has_lost_is_replaced(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.dial(b.me.address, Lane.ordinary)
    await b.told.wait("link_up")
    await trio.sleep(6)
    world.network.cut("b", "a", one_way=True)
    for session in list(b.transport.link_manager.sessions):  # the end of this connection never reaches a
        session.end("a test has closed it", graceful=False)
    await trio.sleep(1)
    assert a.told.all("link_lost") == []
    a.say(b, b"into the void")
    world.network.heal("a", "b")
    b.say(a, b"over a new connection")
    await a.told.wait("frame")
    await trio.sleep(10)
    assert len(a.told.all("link_up")) == len(b.told.all("link_up")) == 2
    assert len(a.told.all("link_lost")) == len(b.told.all("link_lost")) == 1
    assert world.network.connection_count == 1


async def test_a_peer_that_lost_a_fresh_link_is_dialled_back(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.dial(b.me.address, Lane.ordinary)
    await b.told.wait("link_up")
    [session] = b.transport.link_manager.sessions
    session.end("a test has closed it", graceful=False)
    b.say(a, b"at once")
    await a.told.wait("frame")
    assert trio.current_time() < 0.2
    assert world.network.connection_count <= 2


async def test_identify_tells_who_is_there_without_touching_the_links(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b", 7)
    assert await a.transport.identify(b.me.address) == b.me
    assert a.told.events == b.told.events == []
    assert await a.transport.identify(NodeAddress("c", 1)) is None
    world.network.freeze("b")
    assert await a.transport.identify(b.me.address) is None
    assert trio.current_time() == pytest.approx(5.0)
    await trio.sleep(1)
    world.network.thaw("b")
    await trio.sleep(1)
    assert world.network.connection_count == 0


async def test_send_if_up_never_dials(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    beat = b"\x00\x00\x00\x05\x04beat"
    assert not a.transport.send_if_up(b.me, Lane.control, beat)
    a.transport.dial(b.me.address, Lane.control)
    assert not a.transport.send_if_up(b.me, Lane.control, beat)
    await a.told.wait("link_up")
    assert a.transport.send_if_up(b.me, Lane.control, beat)
    assert a.transport.send_if_up(UniqueAddress(b.me.address, 0), Lane.control, beat)
    await b.told.wait("frame", 2)


async def test_a_full_queue_takes_nothing(autojump_clock, world) -> None:
    limits = TransportLimits(outbound_messages_max=3)
    a = await world.node("a", limits=limits)
    there = UniqueAddress(NodeAddress("b", 2551), 9)
    assert [a.transport.send(there, Lane.ordinary, b"x") for _ in range(5)] == [True, True, True, False, False]
    [link] = a.transport.statistics().links
    assert (link.queued_messages, link.queued_bytes, link.state) == (3, 3, LinkState.dialling)
    assert a.transport.statistics().frames_rejected == 2


async def test_send_wait_keeps_the_order_of_those_who_wait(autojump_clock, world) -> None:
    limits = TransportLimits(outbound_messages_max=2)
    a, b = await world.node("a", limits=limits), await world.node("b")
    world.network.cut("a", "b")
    async with trio.open_nursery() as nursery:
        for number in range(20):
            frame = b"\x00\x00\x00\x02\x05" + bytes([number])
            nursery.start_soon(a.transport.send_wait, b.me, Lane.ordinary, frame)
            await trio.testing.wait_all_tasks_blocked()
        assert a.transport.statistics().links[0].waiting_senders == 18
        assert not a.transport.send(b.me, Lane.ordinary, b"pushes in")
        world.network.heal("a", "b")
    await b.told.wait("frame", 20)
    assert b.told.bodies == [bytes([number]) for number in range(20)]


async def test_senders_who_wait_share_their_turns_of_the_loop(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with in_background(count_turns):
        for number in range(10 * SENDS_BEFORE_YIELD):
            await a.transport.send_wait(b.me, Lane.ordinary, frame(FrameKind.ENVELOPE, bytes([number % 256])))
        sending = turns
    await b.told.wait("frame", 10 * SENDS_BEFORE_YIELD)
    assert 8 <= sending <= 12


async def test_every_send_wait_is_a_point_of_cancellation(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    for _ in range(2 * SENDS_BEFORE_YIELD):
        with trio.CancelScope() as scope:
            scope.cancel()
            await a.transport.send_wait(b.me, Lane.ordinary, frame(FrameKind.ENVELOPE, b"x"))
        assert scope.cancelled_caught
    assert a.transport.statistics().links == ()


async def test_a_cancelled_send_wait_has_sent_nothing(autojump_clock, world) -> None:
    limits = TransportLimits(outbound_messages_max=1)
    a, b = await world.node("a", limits=limits), await world.node("b")
    world.network.cut("a", "b")
    assert a.say(b, b"1") == [True]
    with trio.move_on_after(1) as scope:
        await a.transport.send_wait(b.me, Lane.ordinary, b"\x00\x00\x00\x02\x052")
    assert scope.cancelled_caught
    world.network.heal("a", "b")
    await b.told.wait("frame")
    a.say(b, b"3")
    await b.told.wait("frame", 2)
    assert b.told.bodies == [b"1", b"3"]


async def test_waiting_senders_are_undelivered_when_the_node_is_forgotten(autojump_clock, world) -> None:
    limits = TransportLimits(outbound_messages_max=1)
    a = await world.node("a", limits=limits)
    there = UniqueAddress(NodeAddress("b", 2551), 9)
    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(a.transport.send_wait, there, Lane.ordinary, bytes([number]))
            await trio.testing.wait_all_tasks_blocked()
        a.transport.forget(there)
    assert a.told.all("undelivered")[0][1] == [b"\0", b"\1", b"\2"]


async def test_a_stuck_write_drops_the_link(autojump_clock, world) -> None:
    limits = TransportLimits(write_timeout=3.0)
    a, b = await world.node("a", limits=limits), await world.node("b")
    a.say(b, b"x", lane=Lane.control)
    await b.told.wait("frame")
    world.network.cut("a", "b")
    for _ in range(6):
        a.say(b, b"y" * 100_000, lane=Lane.control)
    start = trio.current_time()
    await trio.sleep(1)
    stuck = a.transport.statistics()
    [link] = [link for link in stuck.links if link.lane is Lane.control]
    assert link.frames_under_way == stuck.frames_under_way > 0
    assert stuck.frames_sent + stuck.frames_under_way + link.queued_messages == 7
    _, _, reason, graceful = await a.told.wait("link_lost")
    assert "no progress for 3 s" in reason and not graceful
    assert trio.current_time() - start == pytest.approx(3.0)
    stats = a.transport.statistics()
    assert stats.frames_sent + stats.frames_broken + stats.frames_undelivered == 7
    assert (stats.frames_under_way, stats.frames_broken) == (0, stuck.frames_under_way)


async def test_a_slow_write_that_makes_progress_lives(autojump_clock, world) -> None:
    limits = TransportLimits(write_timeout=3.0, frame_bytes_max=8_000_000)
    a, b = await world.node("a", limits=limits), await world.node("b", limits=limits)
    a.transport.dial(b.me.address, Lane.ordinary)
    await a.told.wait("link_up")
    world.network.delay("a", "b", 1.0)
    a.say(b, b"y" * 4_000_000)
    await b.told.wait("link_up")
    b.transport.keep([a.me])  # a stranger would have 10 s for a frame
    await b.told.wait("frame")
    assert trio.current_time() > 10
    assert a.told.all("link_lost") == []


async def test_goodbye_writes_what_is_queued_and_both_ends_are_graceful(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"x")
    a.say(b, b"x", lane=Lane.control)
    await b.told.wait("frame", 2)
    a.say(b, *[b"y" * 1000] * 2000)
    await a.transport.goodbye(5.0)
    await b.told.wait("link_lost", 2)
    assert len(b.told.bodies) == 2002
    for node in (a, b):
        assert all(graceful for *_, graceful in node.told.all("link_lost"))
        assert len(node.told.all("link_lost")) == 2
    assert a.told.all("undelivered") == []
    assert not a.say(b, b"too late")[0]
    await trio.sleep(1)
    assert world.network.connection_count == 0
    b.say(a, b"anyone?", lane=Lane.control)
    _, refusal = await b.told.wait("dial_refused")
    assert "leaving" in refusal.reason and not refusal.final


async def test_goodbye_is_bounded_when_a_peer_is_silent(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"x")
    await b.told.wait("frame")
    world.network.freeze("b")
    a.say(b, b"y" * 1_000_000)
    a.transport.send(UniqueAddress(NodeAddress("c", 1), 3), Lane.ordinary, b"nobody")
    start = trio.current_time()
    await a.transport.goodbye(2.0)
    assert trio.current_time() - start == pytest.approx(2.0)
    assert a.transport.statistics().links == ()
    assert a.told.all("undelivered")[0][1] == [b"nobody"]


async def test_goodbye_from_both_ends_at_once_ends(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"x")
    await b.told.wait("frame")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(a.transport.goodbye, 5.0)
        nursery.start_soon(b.transport.goodbye, 5.0)
    assert trio.current_time() < 1
    assert a.told.all("link_lost")[0][3] and b.told.all("link_lost")[0][3]


async def test_cancelling_run_closes_everything_and_frees_the_port(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"x")
    await b.told.wait("frame")
    a.transport.send(UniqueAddress(NodeAddress("c", 1), 3), Lane.ordinary, b"queued")
    a.scope.cancel()
    await b.told.wait("link_lost")
    assert a.told.all("link_lost") == [(b.me, Lane.ordinary, "the transport was closed", True)]
    assert [event[1] for event in a.told.all("undelivered")] == [[b"queued"]]
    await trio.sleep(1)
    again = await world.node("a", 2)
    again.say(b, b"back")
    await b.told.wait("frame", 2)


@pytest.mark.parametrize("how", ["aclose", "goodbye"])
async def test_a_transport_that_was_bound_and_never_run_frees_its_port(autojump_clock, world, how: str) -> None:
    unused = RemoteTransport(world.network.host("a"))
    await unused.bind("a", 2551)
    await (unused.aclose() if how == "aclose" else unused.goodbye(1.0))
    await unused.aclose()
    a = await world.node("a")
    await unused.aclose()
    b = await world.node("b")
    b.say(a, b"the port is another one's now")
    await a.told.wait("frame")


async def test_closing_a_running_transport_ends_its_run_and_frees_the_port(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"x")
    await b.told.wait("frame")
    with trio.CancelScope() as scope:
        scope.cancel()
        await a.transport.aclose()
    await b.told.wait("link_lost")
    assert a.told.all("link_lost") == [(b.me, Lane.ordinary, "the transport was closed", True)]
    await world.node("a", 2)


async def test_a_run_after_the_close_ends_at_once(autojump_clock, world, nursery: trio.Nursery) -> None:
    transport = RemoteTransport(world.network.host("a"))
    told = type((await world.node("b")).told)()
    address = await transport.bind("a", 2551)
    await transport.aclose()
    await nursery.start(transport.run, UniqueAddress(address, 1), "shop", told)
    assert not transport.send(UniqueAddress(address, 2), Lane.ordinary, b"x")
    with pytest.raises(RuntimeError, match="make another one"):
        await transport.bind("a", 2551)


async def test_a_handler_may_call_the_transport_from_its_callbacks(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")

    def echo(peer: UniqueAddress, body: bytes) -> None:
        if body != b"stop":
            b.transport.send(peer, Lane.ordinary, b"\x00\x00\x00\x05\x05stop")
        else:
            a.transport.forget(peer)

    a.told.on_frame = b.told.on_frame = echo
    a.say(b, b"go")
    await a.told.wait("link_lost")
    assert a.told.bodies == [b"stop"]


async def test_a_handler_that_fails_costs_the_link_it_failed_on(
    autojump_clock, world, caplog: pytest.LogCaptureFixture
) -> None:
    a, b, c = await world.node("a"), await world.node("b"), await world.node("c")

    def fail(peer: UniqueAddress, body: bytes) -> None:
        if body == b"bug":
            raise KeyError("a bug")
        if body == b"rude":
            raise DecodeError("shop.Add.quantity: expected int, got str")

    b.told.on_frame = fail
    c.say(b, b"fine")
    a.say(b, b"rude")
    await a.told.wait("link_lost")
    assert "DecodeError: shop.Add.quantity" in b.told.all("link_lost")[0][2]
    a.say(b, b"bug")
    await a.told.wait("link_lost", 2)
    c.say(b, b"still fine")
    await b.told.wait("frame", 4)
    assert c.told.all("link_lost") == []
    assert [record.levelname for record in caplog.records] == ["WARNING", "ERROR"]


async def test_a_failing_callback_is_logged_and_harms_nothing(
    autojump_clock, world, caplog: pytest.LogCaptureFixture
) -> None:
    a, b = await world.node("a"), await world.node("b")

    def fail(*_: object) -> None:
        raise ValueError("a bug")

    b.told.link_up = fail
    a.say(b, b"x")
    await b.told.wait("frame")
    assert "a handler of the transport failed" in caplog.text


async def test_a_port_in_use_is_a_bind_error(autojump_clock, world) -> None:
    await world.node("a")
    with pytest.raises(BindError, match="a:2551"):
        await world.node("a", 2)


async def test_misuse_is_said_plainly() -> None:
    transport = RemoteTransport(MemoryNetwork().host("a"))
    node = UniqueAddress(NodeAddress("a", 1), 1)
    with pytest.raises(RuntimeError, match="bind"):
        await transport.run(node, "shop", None)  # type: ignore[arg-type]  # not reached
    with pytest.raises(RuntimeError, match="does not run"):
        transport.dial(node.address, Lane.control)
    with pytest.raises(RuntimeError, match="does not run"):
        await transport.send_wait(node, Lane.control, b"x")
    with pytest.raises(RuntimeError, match="does not run"):
        transport.statistics()
    assert not transport.send(node, Lane.control, b"x")
    assert not transport.send_if_up(node, Lane.control, b"x")
    transport.forget(node)
    await transport.goodbye(1.0)
    await transport.bind("a", 0)
    with pytest.raises(RuntimeError, match="already bound"):
        await transport.bind("a", 0)


async def test_the_repr_of_a_link_tells_its_state(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.say(b, b"x", lane=Lane.control)
    link = a.transport.link_manager.links.at(b.me.address)[0]
    assert repr(link) == "<Link b:2551 control dialling queued=1>"
    await b.told.wait("frame")
    assert repr(link) == "<Link b:2551 control up queued=0>"
