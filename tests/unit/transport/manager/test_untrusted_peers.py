"""Links with peers that are no members: bounded in number, and closed when nothing crosses them."""

from __future__ import annotations

import resource
from contextlib import suppress

import msgpack
import pytest
import trio
from helpers.tasks import in_background

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.limits.charges import STRANGER_VALUES_MAX, VALUE_COST_BYTES, charge
from casty.transport.limits.descriptors import DESCRIPTORS_RESERVED, links_affordable
from casty.transport.limits.token_bucket import (
    CONTROL_BYTES_BURST,
    CONTROL_BYTES_PER_SECOND,
    FRAME_COST_BYTES,
    SECOND_COST_BYTES,
    STRANGER_BYTES_BURST,
    STRANGER_BYTES_PER_SECOND,
    STRANGER_PATIENCE,
    STRANGER_SHARES,
    TokenBucket,
)
from casty.transport.links.guests import BEGUN_FRAME_SECONDS
from casty.transport.links.session import FRAMES_BEFORE_YIELD
from casty.transport.manager.holdings import LINK_COST_BYTES, REASON
from casty.transport.manager.untrusted_peers import RUNS_WAITED_FOR_MAX, STAY_GRANTED
from casty.transport.network.interface import Connection, ConnectionLost
from casty.wire.chunking.chunks import SLICE_BYTES_MAX, cut
from casty.wire.envelope import encode_head, encode_wait
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame


def packed(body: bytes) -> bytes:
    return frame(FrameKind.ENVELOPE, body)


def message(payload: object, *, tail: bytes = b"") -> bytes:
    """Return the frame of a message that a codec would take."""
    head = encode_head("/sink", 0, "test.Items", has_tail=bool(tail), pack=msgpack.packb)
    return packed(head + tail + msgpack.packb(payload))


def run_at(port: int) -> UniqueAddress:
    return UniqueAddress(NodeAddress("evil", port), 66)


async def stranger(world, victim, port: int = 666, lane: Lane = Lane.ordinary, host: str = "evil") -> Connection:
    """Return a connection that has said hello, and has been answered."""
    return await world.stranger(victim, run_at(port), lane, host=host)


async def answer(connection: Connection) -> FrameKind:
    [(kind, _)] = FrameDecoder(4096).feed(await connection.receive(4096))
    return kind


async def admitted(world, victim, *arguments, **options) -> Connection:
    """Return the connection of a stranger whose hello was answered with an acknowledgement."""
    connection = await stranger(world, victim, *arguments, **options)
    assert await answer(connection) is FrameKind.HELLO_ACK
    return connection


async def ends(connection: Connection) -> bytes:
    """Return what came until the other end has closed."""
    heard = b""
    with suppress(ConnectionLost):
        while data := await connection.receive(65_536):
            heard += data
    return heard


def times_of(node, wanted: bytes) -> list[float]:
    """Return a list to which the node will add the time at which it hears this body, each time."""
    heard: list[float] = []

    def note(peer: UniqueAddress, body: bytes) -> None:
        if body == wanted:
            heard.append(trio.current_time())

    node.told.on_frame = note
    return heard


class Rounds:
    """Counts the rounds of the loop."""

    count = 0

    async def run(self) -> None:
        while True:
            self.count += 1
            await trio.lowlevel.checkpoint()


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
async def test_an_unused_link_with_a_stranger_ends_in_good_order_after_a_minute(autojump_clock, world, lane) -> None:
    a, b = await world.node("a"), await world.node("b")
    a.transport.dial(b.me.address, lane)
    await b.told.wait("link_up")
    for node in (a, b):
        [(_, _, _, graceful)] = [await node.told.wait("link_lost")]
        assert graceful
    assert 60 <= trio.current_time() <= 62
    await trio.sleep(1)
    assert world.network.connection_count == 0
    a.say(b, b"and comes back when it is needed", lane=lane)
    await b.told.wait("frame")


async def test_a_stranger_that_does_not_hang_up_is_hung_up_on(autojump_clock, world) -> None:
    b = await world.node("b")
    deaf = await admitted(world, b)
    with trio.move_on_after(64):
        while True:
            await trio.sleep(1)
            if trio.current_time() > 61:  # after the question
                await deaf.send(frame(FrameKind.ENVELOPE, b"still here"))
    assert await ends(deaf) == frame(FrameKind.IDLE, b"")
    assert trio.current_time() <= 68
    assert b.transport.statistics().links == ()


async def test_links_that_are_used_stay_and_others_end_with_members_too(autojump_clock, world) -> None:
    a, b, c = await world.node("a"), await world.node("b"), await world.node("c")
    a.transport.keep([b.me, c.me])
    b.transport.keep([a.me])
    a.say(b, b"x")
    for _ in range(30):
        a.say(c, b"x")
        await trio.sleep(20)
    [(peer, _, _, graceful)] = a.told.all("link_lost")
    assert (peer, graceful) == (b.me, True)


async def test_strangers_are_bounded_and_members_find_room(autojump_clock, world) -> None:
    limits = TransportLimits(strangers_max=5, strangers_per_host_max=3)
    b = await world.node("b", limits=limits)
    a = await world.node("a")
    held = [await stranger(world, b, port) for port in range(1, 5)]
    assert [await answer(connection) for connection in held] == [FrameKind.HELLO_ACK] * 3 + [FrameKind.REFUSED]
    held += [await stranger(world, b, port, host="evil2") for port in range(10, 13)]
    assert [await answer(connection) for connection in held[4:]] == [FrameKind.HELLO_ACK] * 2 + [FrameKind.REFUSED]
    a.transport.dial(b.me.address, Lane.control)
    _, refusal = await a.told.wait("dial_refused")
    assert not refusal.final and "no members" in refusal.reason
    b.transport.keep([a.me])
    a.transport.dial(b.me.address, Lane.control)
    await a.told.wait("link_up")


async def test_strangers_that_stay_keep_no_others_out(autojump_clock, world) -> None:
    b = await world.node("b", limits=TransportLimits(strangers_max=5, strangers_per_host_max=3))
    held = [await stranger(world, b, port) for port in range(1, 4)]
    held += [await stranger(world, b, port, host="evil2") for port in range(10, 12)]
    assert [await answer(connection) for connection in held] == [FrameKind.HELLO_ACK] * 5
    dialled = await world.node("dialled")
    b.transport.dial(dialled.me.address, Lane.control)
    await b.told.wait("link_up", 6)
    await trio.sleep(STAY_GRANTED)
    _ = await admitted(world, b, 4)
    assert await ends(held[0]) == b""
    newcomer = await world.node("a")
    newcomer.transport.dial(b.me.address, Lane.control)
    await newcomer.told.wait("link_up")
    assert await ends(held[1]) == b""  # of the host with the most
    links = b.transport.statistics().links
    strangers = {run_at(port) for port in (3, 4, 10, 11)}
    assert {link.peer for link in links} == {*strangers, newcomer.me, dialled.me}


@pytest.mark.parametrize(("soft", "most"), [(1024, 1024 - DESCRIPTORS_RESERVED), (100_000, 4096), (10, 1)])
def test_links_are_bounded_by_the_open_files_that_the_process_may_have(monkeypatch, caplog, soft, most) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, soft))
    assert links_affordable(4096) == most
    assert len(caplog.messages) == (most < 4096)
    assert all("ulimit -n" in line and str(soft) in line for line in caplog.messages)


async def test_a_flood_of_control_frames_is_taken_at_a_bounded_pace_and_delays_nobody(autojump_clock, world) -> None:
    a, b = await world.node("a"), await world.node("b")
    flood = await admitted(world, b, lane=Lane.control)
    one = frame(FrameKind.CONTROL, b"x" * (1024 - FRAME_COST_BYTES))

    async def pour() -> None:
        while True:
            await flood.send(one * 64)

    async with in_background(pour):
        for second in range(1, 21):
            await trio.sleep(1)
            a.say(b, b"beat", lane=Lane.control)
            asked = trio.current_time()
            while b.told.bodies.count(b"beat") < second:
                await trio.lowlevel.checkpoint()
            assert trio.current_time() - asked < 0.1
    taken = 1024 * (len(b.told.bodies) - 20)
    assert 0.9 <= taken / (CONTROL_BYTES_BURST + 20 * CONTROL_BYTES_PER_SECOND) <= 1.1


async def test_a_read_full_of_small_frames_lets_others_run_in_between(autojump_clock, world) -> None:
    b = await world.node("b")
    evil = await admitted(world, b)
    turns: list[int] = []

    async def watch() -> None:
        while True:
            turns.append(len(b.told.bodies))
            await trio.lowlevel.checkpoint()

    frames = 65_536 // 6
    async with in_background(watch):
        await evil.send(frame(FrameKind.ENVELOPE, b"x") * frames)
        await b.told.wait("frame", frames)
    steps = [after - before for before, after in zip(turns, turns[1:], strict=False)]
    assert max(steps) <= 2 * FRAMES_BEFORE_YIELD, "tasks take turns in no fixed order"


def test_credit_comes_back_with_time_up_to_the_burst() -> None:
    credit = TokenBucket(per_second=100, burst=50, now=0.0)
    assert credit.take(50, now=0.0) == 0.0
    assert credit.take(100, now=0.0) == pytest.approx(1.0)
    assert credit.take(0, now=1.0) == pytest.approx(0.0)
    assert credit.take(60, now=100.0) == pytest.approx(0.1)


async def test_addresses_of_strangers_are_dialled_a_few_at_a_time_and_members_always(autojump_clock, world) -> None:
    limits = TransportLimits(unauthenticated_max=5)
    a, b = await world.node("a", limits=limits), await world.node("b")
    a.transport.keep([b.me])
    taken = [a.transport.send(run_at(port), Lane.ordinary, packed(b"x")) for port in range(1, 21)]
    assert sum(taken) == a.transport.statistics().dials == 6  # one more for each member
    a.transport.dial(run_at(30).address, Lane.control)
    assert a.told.all("dial_failed") == [(run_at(30).address, Lane.control, False, "this node dials too many others")]
    a.transport.dial(b.me.address, Lane.control)
    assert a.say(b, b"to a member") == [True]
    await b.told.wait("frame")
    await a.told.wait("dial_failed", 7)
    for port in range(1, 7):
        a.transport.give_up(run_at(port).address, "nobody is there")
    assert a.transport.send(run_at(20), Lane.ordinary, packed(b"x"))


async def test_runs_invented_for_one_address_have_few_queues(autojump_clock, world) -> None:
    a = await world.node("a")
    runs = [UniqueAddress(NodeAddress("evil", 666), run) for run in range(1, 101)]
    assert sum(a.transport.send(run, Lane.ordinary, packed(b"x")) for run in runs) == RUNS_WAITED_FOR_MAX


async def test_what_waits_for_all_strangers_together_is_bounded_and_members_have_room(autojump_clock, world) -> None:
    limits = TransportLimits(outbound_bytes_max=10_000)
    a, b = await world.node("a", limits=limits), await world.node("b")
    large = packed(bytes(9_000))
    taken = [a.transport.send(run_at(port), Lane.ordinary, large) for port in range(1, 31)]
    assert sum(taken) == 3  # the last of them goes over the bound
    a.transport.keep([b.me])
    assert a.say(b, bytes(9_000)) == [True]
    await a.transport.send_wait(run_at(40), Lane.ordinary, large)
    [(to, frames, reason)] = a.told.all("undelivered")
    assert (to, frames) == (run_at(40), [large]) and "no member" in reason
    a.transport.keep([b.me, run_at(1), run_at(2)])
    assert a.transport.send(run_at(50), Lane.ordinary, large), "what waits for members is counted apart"
    statistics = a.transport.statistics()
    assert statistics.frames_rejected == 27


async def test_a_stranger_that_reads_nothing_leaves_room_for_others_when_it_has_gone(autojump_clock, world) -> None:
    limits = TransportLimits(outbound_bytes_max=1_000_000, write_timeout=10.0)
    b = await world.node("b", limits=limits)
    _ = await admitted(world, b)
    large = packed(bytes(900_000))
    while b.transport.send(run_at(666), Lane.ordinary, large):
        await trio.lowlevel.checkpoint()
    await b.told.wait("link_lost")
    b.transport.forget(run_at(666))
    other = await world.node("other")
    assert b.say(other, b"there is room again") == [True]
    await other.told.wait("frame")


@pytest.mark.parametrize(
    ("lane", "burst", "per_second"),
    [
        (Lane.control, CONTROL_BYTES_BURST, CONTROL_BYTES_PER_SECOND),
        (Lane.ordinary, STRANGER_BYTES_BURST, STRANGER_BYTES_PER_SECOND),
    ],
)
async def test_all_strangers_of_a_host_are_read_at_one_pace_and_members_there_at_their_own(
    autojump_clock, world, lane, burst, per_second
) -> None:
    b = await world.node("b")
    floods = [await admitted(world, b, port, lane) for port in range(1, 21)]
    member = await world.node("evil")
    b.transport.keep([member.me])
    kind = FrameKind.CONTROL if lane is Lane.control else FrameKind.ENVELOPE
    one = frame(kind, b"x" * (1024 - FRAME_COST_BYTES))

    async def pour(flood: Connection) -> None:
        while True:
            await flood.send(one * 64)

    async with trio.open_nursery() as nursery:
        for flood in floods:
            nursery.start_soon(pour, flood)
        for second in range(1, 11):
            await trio.sleep(1)
            member.say(b, b"asked", lane=lane)
            asked = trio.current_time()
            while b.told.bodies.count(b"asked") < second:
                await trio.lowlevel.checkpoint()
            assert trio.current_time() - asked < 0.1
        nursery.cancel_scope.cancel()
    taken = 1024 * (len(b.told.bodies) - 10)
    assert 0.9 <= taken / (burst + 10 * per_second) <= 1.1


async def test_strangers_of_all_hosts_share_what_those_of_four_may_send_in_fair_turns(autojump_clock, world) -> None:
    b = await world.node("b")
    floods = [await admitted(world, b, port, Lane.control, host=f"evil{port}") for port in range(1, 13)]
    one = frame(FrameKind.CONTROL, b"x" * (8192 - FRAME_COST_BYTES))

    async def pour(flood: Connection) -> None:
        while True:
            await flood.send(one)

    heard = times_of(b, b"let me in")
    async with trio.open_nursery() as nursery:
        for flood in floods:
            nursery.start_soon(pour, flood)
        await trio.sleep(30)
        newcomer = await world.node("a")
        for _ in range(5):
            newcomer.say(b, b"let me in", lane=Lane.control)
            asked = trio.current_time()
            await trio.sleep(1)
            assert heard.pop() - asked < 0.5
        nursery.cancel_scope.cancel()
    allowed = STRANGER_SHARES * (CONTROL_BYTES_BURST + CONTROL_BYTES_PER_SECOND * trio.current_time())
    assert 0.9 <= 8192 * len(b.told.bodies) / allowed <= 1.1


@pytest.mark.parametrize("tail", [b"", encode_wait(1.0, 7)])
def test_the_values_in_a_message_are_charged_and_too_many_are_for_members(tail) -> None:
    def charged(*frames: bytes) -> tuple[int, bool]:
        return charge(FrameDecoder(2**21).feed(b"".join(frames)))

    few, most = message([{}, 1, "text"], tail=tail), message([{}] * (STRANGER_VALUES_MAX - 1), tail=tail)
    over = message([[]] * STRANGER_VALUES_MAX, tail=tail)
    assert charged(few) == (FRAME_COST_BYTES + 4 * VALUE_COST_BYTES, False)
    assert charged(most) == (FRAME_COST_BYTES + STRANGER_VALUES_MAX * VALUE_COST_BYTES, False)
    assert charged(over) == (FRAME_COST_BYTES + (STRANGER_VALUES_MAX + 1) * VALUE_COST_BYTES, True)
    assert charged(few, most, few) == (sum(charged(one)[0] for one in (few, most, few)), False)
    assert charged(few, over, few)[1]


@pytest.mark.parametrize(
    "body", [b"", b"\0", b"\0\0", b"\xff\xff", b"\0\x01\x90", b"\0\x05\x93", b"\x7f\xff" + bytes(2**15)]
)
def test_what_is_no_message_is_charged_as_a_frame(body) -> None:
    assert charge([(FrameKind.ENVELOPE, body)]) == (FRAME_COST_BYTES, False)


async def test_strangers_that_send_many_values_are_read_no_faster_than_that_costs(autojump_clock, world) -> None:
    b = await world.node("b")
    flood = await admitted(world, b)
    one = message([{}] * 1_000)

    async def pour() -> None:
        while True:
            await flood.send(one)

    async with in_background(pour):
        await trio.sleep(20)
    cost = len(one) + charge(FrameDecoder(2**20).feed(one))[0]
    assert cost > 10 * len(one)
    allowed = STRANGER_BYTES_BURST + 20 * STRANGER_BYTES_PER_SECOND
    assert 0.9 <= cost * len(b.told.bodies) / allowed <= 1.1


@pytest.mark.parametrize("kind", ["many values", "slices"])
async def test_what_only_a_member_may_send_waits_until_its_sender_is_one(autojump_clock, world, kind) -> None:
    b = await world.node("b")
    evil = await admitted(world, b)
    small, last = message([1]), message([2])
    large = message([[]] * STRANGER_VALUES_MAX) if kind == "many values" else frame(FrameKind.LARGE, bytes(8))
    await evil.send(small)
    await b.told.wait("frame")
    await evil.send(large)
    await trio.sleep(0.1)
    await evil.send(last)
    await trio.sleep(STRANGER_PATIENCE - 1)
    assert b.told.bodies == [small[5:]]
    b.transport.keep([run_at(666)])
    await b.told.wait("frame", 3)
    assert b.told.bodies == [small[5:], large[5:], last[5:]]


async def test_a_stranger_that_does_not_become_a_member_is_hung_up_on_for_it(autojump_clock, world) -> None:
    b = await world.node("b")
    evil = await admitted(world, b)
    began = trio.current_time()
    await evil.send(message([[]] * STRANGER_VALUES_MAX))
    await ends(evil)
    assert STRANGER_PATIENCE <= trio.current_time() - began < STRANGER_PATIENCE + 1
    [(_, _, reason, graceful)] = b.told.all("link_lost")
    assert (reason, graceful) == ("it is no member, and sends a message that is too large for such", False)
    assert b.told.bodies == []


async def test_a_stranger_whose_turn_does_not_come_is_hung_up_on(autojump_clock, world) -> None:
    b = await world.node("b")
    first = await admitted(world, b, 1, Lane.control)
    await first.send(frame(FrameKind.CONTROL, bytes(1_000_000)) * 2)
    await trio.sleep(0.1)
    small = frame(FrameKind.CONTROL, bytes(8_000))

    async def pour(port: int) -> None:
        flood = await stranger(world, b, port, Lane.control)
        for _ in range(200):
            await flood.send(small)

    async with trio.open_nursery() as nursery:
        for port in range(2, 12):
            nursery.start_soon(pour, port)
        await trio.sleep(0.5)
        began = trio.current_time()
        await first.send(small)
        peer, _, reason, _ = await b.told.wait("link_lost")
        assert (peer, reason) == (run_at(1), "strangers of its host send too much")
        assert trio.current_time() - began == pytest.approx(STRANGER_PATIENCE, abs=0.5)
        nursery.cancel_scope.cancel()
    assert len(b.told.bodies) > 100, "those that have sent less were heard"


async def test_what_strangers_have_begun_is_paid_for_as_it_comes(autojump_clock, world) -> None:
    """All begin a frame of 1 MiB, and end none: so much as comes of them in that time, and no more, is read."""
    b = await world.node("b")
    begun = frame(FrameKind.ENVELOPE, bytes(1024 * 1024))[:-1]
    links = [await admitted(world, b, port) for port in range(1, 65)]
    async with trio.open_nursery() as nursery:
        for link in links:
            nursery.start_soon(send_all, link, begun)
        await trio.sleep(4)
        read = sum(link.bytes_received for link in b.transport.statistics().links)
        nursery.cancel_scope.cancel()
    assert 0.9 <= read / (STRANGER_BYTES_BURST + 4 * STRANGER_BYTES_PER_SECOND) <= 1.1


async def send_all(connection: Connection, data: bytes) -> None:
    with suppress(ConnectionLost):
        await connection.send(data)


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary, Lane.large])
async def test_a_frame_that_a_stranger_begins_has_ten_seconds_from_its_first_byte(autojump_clock, world, lane) -> None:
    b = await world.node("b")
    slow, member = await stranger(world, b, 1, lane), await stranger(world, b, 2, lane, host="good")
    assert [await answer(link) for link in (slow, member)] == [FrameKind.HELLO_ACK] * 2
    kind = {Lane.control: FrameKind.CONTROL, Lane.ordinary: FrameKind.ENVELOPE, Lane.large: FrameKind.SLICE}[lane]
    whole = frame(kind, bytes(60))
    began = trio.current_time()

    async def drip(link: Connection) -> None:
        with suppress(ConnectionLost):
            for at in range(len(whole)):  # each byte comes soon after the one before
                await link.send(whole[at : at + 1])
                await trio.sleep(0.5)

    async with in_background(drip, slow), in_background(drip, member):
        await trio.sleep(5)
        b.transport.keep([run_at(2)])
        peer, _, reason, _ = await b.told.wait("link_lost")
        assert trio.current_time() - began == pytest.approx(BEGUN_FRAME_SECONDS, abs=0.1)
        assert peer == run_at(1) and reason.startswith("a frame that it began") and "10 s" in reason
        await b.told.wait("frame")
    assert b.told.bodies == [bytes(60)], "of the one that has become a member"


async def test_frames_that_follow_one_another_have_ten_seconds_each(autojump_clock, world) -> None:
    b = await world.node("b")
    slow = await admitted(world, b)
    whole = frame(FrameKind.ENVELOPE, bytes(60))
    await slow.send(whole[:10])
    for _ in range(10):
        await trio.sleep(4)
        await slow.send(whole[10:] + whole[:10])
    await b.told.wait("frame", 10)
    assert b.told.all("link_lost") == []


async def test_slices_of_a_stranger_are_not_kept_and_it_is_hung_up_on(autojump_clock, world) -> None:
    b = await world.node("b")
    evil = await admitted(world, b, lane=Lane.large)
    began = trio.current_time()
    slices = cut(7, memoryview(bytes(3 * SLICE_BYTES_MAX)))
    await send_all(evil, slices[: 2 * SLICE_BYTES_MAX])
    await ends(evil)
    assert trio.current_time() - began == pytest.approx(STRANGER_PATIENCE, abs=1)
    assert b.told.bodies == []


async def test_strangers_hold_so_much_together_and_the_largest_of_the_largest_host_goes(autojump_clock, world) -> None:
    """Six hosts begin frames of half a mebibyte; a seventh says little, and stays."""
    limits = TransportLimits(frame_bytes_max=600_000, strangers_bytes_max=3_600_000)
    b = await world.node("b", limits=limits)
    small = await stranger(world, b, 1, host="good")
    large = [await stranger(world, b, port, host=f"evil{port % 2}") for port in range(2, 14)]
    assert [await answer(link) for link in (small, *large)] == [FrameKind.HELLO_ACK] * 13
    begun = frame(FrameKind.ENVELOPE, bytes(500_000))[:-1]
    exchange = b.transport.link_manager
    assert exchange is not None
    holdings = exchange.strangers.holdings
    assert holdings.bytes == 13 * LINK_COST_BYTES
    most = 0

    def note() -> None:
        nonlocal most
        most = max(most, holdings.bytes)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all, small, begun[:100])
        for link in large:
            nursery.start_soon(send_all, link, begun)
        for _ in range(80):
            await trio.sleep(0.1)
            note()
        nursery.cancel_scope.cancel()
    assert 900_000 < most <= holdings.bytes_max == 1_350_000
    lost = b.told.all("link_lost")
    assert run_at(1) not in [peer for peer, *_ in lost]
    assert {reason for _, _, reason, _ in lost} == {REASON}
    assert len(lost) >= 8
    await trio.sleep(10)
    assert holdings.bytes == 0, "all frames were late by now"


async def test_what_waits_inside_a_write_for_a_stranger_counts_too(autojump_clock, world) -> None:
    """A stranger that reads nothing has a frame of half a mebibyte under way, which is in no queue any more."""
    limits = TransportLimits(frame_bytes_max=600_000, strangers_bytes_max=3_600_000)
    b = await world.node("b", limits=limits)
    deaf = [await admitted(world, b, port) for port in range(1, 5)]
    exchange = b.transport.link_manager
    assert exchange is not None
    for port in range(1, 5):
        assert b.transport.send(run_at(port), Lane.ordinary, packed(bytes(590_000)))
        await trio.sleep(0.1)
    lost = [peer for peer, _, reason, _ in b.told.all("link_lost") if reason == REASON]
    assert len(lost) == 2 and exchange.strangers.holdings.bytes == 2 * (LINK_COST_BYTES + 590_005)
    whole: list[bool] = []

    async def read(link: Connection) -> None:
        whole.append((await ends(link)).startswith(packed(bytes(590_000))))

    async with trio.open_nursery() as nursery:
        for link in deaf:
            nursery.start_soon(read, link)
    assert whole.count(True) == 2
    assert exchange.strangers.holdings.bytes == 0


@pytest.mark.parametrize("size", [700, 60_000, 1_000_000])
async def test_a_node_that_joins_is_heard_at_once_beside_floods_from_its_own_host(autojump_clock, world, size) -> None:
    b = await world.node("b")
    flood = frame(FrameKind.CONTROL, bytes(size)) * max(140_000 // size, 1)

    async def pour(port: int) -> None:
        while True:
            with suppress(ConnectionLost):
                connection = await stranger(world, b, port, Lane.control)
                while True:
                    await connection.send(flood)
            await trio.sleep(0.01)

    heard = times_of(b, b"let me in")
    async with trio.open_nursery() as nursery:
        for port in range(1, 41):
            nursery.start_soon(pour, port)
        await trio.sleep(20)
        newcomer = await world.node("evil")
        for _ in range(5):
            newcomer.say(b, b"let me in", lane=Lane.control)
            asked = trio.current_time()
            await trio.sleep(1)
            assert heard, "the frame was not heard within a second"
            assert heard.pop() - asked < 0.1
        nursery.cancel_scope.cancel()


async def test_the_link_of_a_stranger_that_dials_anew_while_all_room_is_held_is_the_one_that_is_known(
    autojump_clock, world
) -> None:
    b = await world.node("b")
    exchange = b.transport.link_manager
    first = await admitted(world, b, 1)
    await first.send(packed(b"x" * 200_000)[:100_000])
    await trio.sleep(0.2)
    holdings = exchange.strangers.holdings
    holdings.bytes_max = holdings.bytes + 1_000  # others hold the rest
    await stranger(world, b, 1)
    await trio.sleep(2)
    assert all(session.link.session is session for session in exchange.sessions)
    assert all(link.session is None or link.session in exchange.sessions for link in exchange.links)


def test_the_values_of_control_messages_are_charged_and_do_not_put_them_off() -> None:
    state = msgpack.packb(["casty.gossip.state", [[n % 128, 0] for n in range(10_000)]])
    cost, is_for_members = charge([(FrameKind.CONTROL, state)])
    assert cost >= 30_000 * VALUE_COST_BYTES
    assert not is_for_members


async def test_frames_of_strangers_are_handled_one_after_another_with_rounds_of_the_loop_between(
    autojump_clock, world
) -> None:
    b = await world.node("b")
    links = [await stranger(world, b, port, host=f"evil{port}") for port in range(1, 9)]
    rounds, at = Rounds(), list[int]()
    b.told.on_frame = lambda peer, body: at.append(rounds.count)
    async with in_background(rounds.run), trio.open_nursery() as nursery:
        for link in links:
            nursery.start_soon(link.send, packed(b"x"))
        while len(at) < len(links):
            await trio.lowlevel.checkpoint()
    assert len(set(at)) == len(links)


@pytest.mark.parametrize(("hosts", "shares"), [(1, 1), (12, STRANGER_SHARES)])
@pytest.mark.parametrize("stays", [True, False])
async def test_the_time_that_frames_take_beyond_what_was_paid_is_charged_to_their_host(
    autojump_clock, world, hosts, shares, stays
) -> None:
    b = await world.node("b")
    worked = 0.0

    def work(peer: UniqueAddress, body: bytes) -> None:
        nonlocal worked
        worked += 0.02

    world.network.host("b").processor_time = lambda: worked
    b.told.on_frame = work

    async def pour(port: int) -> None:
        while True:
            flood = await stranger(world, b, port, host=f"evil{port}")
            with suppress(ConnectionLost):
                assert await answer(flood) is FrameKind.HELLO_ACK
                if stays:
                    while True:
                        await flood.send(packed(b"x"))
                await flood.send(packed(b"x"))
                await trio.sleep(0.1)
            await flood.aclose()

    async with trio.open_nursery() as nursery:
        for port in range(1, hosts + 1):
            nursery.start_soon(pour, port)
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    allowed = shares * (STRANGER_BYTES_BURST + 20 * STRANGER_BYTES_PER_SECOND) / SECOND_COST_BYTES
    assert 0.5 <= worked / allowed <= 1.2


async def test_frames_that_take_long_have_rounds_of_the_loop_between_them_and_others_have_none(
    autojump_clock, world
) -> None:
    b = await world.node("b")
    link = await admitted(world, b)
    worked, rounds, at = 0.0, Rounds(), list[int]()

    def work(peer: UniqueAddress, body: bytes) -> None:
        nonlocal worked
        at.append(rounds.count)
        worked += 0.005 if body == b"long" else 0.0

    world.network.host("b").processor_time = lambda: worked
    b.told.on_frame = work
    async with in_background(rounds.run):
        await link.send(packed(b"long") * 5 + packed(b"short") * 5)
        while len(at) < 10:
            await trio.lowlevel.checkpoint()
    assert len(set(at)) == 6
