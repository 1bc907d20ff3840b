"""Links between members that are handed over to new connections, and hellos that ask for it without a right to."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import pytest
import trio

from casty.address import NodeAddress, UniqueAddress
from casty.transport.links.handover import HANDOVER_MAX, LATE, LOST_HEIR
from casty.transport.links.hello import client_handshake
from casty.transport.manager.handovers import RENEW_AGAIN
from casty.transport.network.interface import ConnectionLost
from casty.wire.control.acknowledgements import ack_frame
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.handshake import (
    CAN_HAND_OVER,
    HANDOVER,
    PROTOCOL_MAX,
    PROTOCOL_MIN,
    Hello,
    HelloAck,
    Refused,
    encode_hello_ack,
    heirs_proof,
    proof_of,
)
from tests.unit.transport.conftest import SYSTEM, packed

LANES = (Lane.control, Lane.ordinary, Lane.large)


def session_of(node, other, lane=Lane.ordinary):
    return node.transport.link_manager.links.by_peer[lane][other.me].session


async def members(world, lane: Lane = Lane.ordinary, names: str = "ab"):
    nodes = [await world.node(name, number) for number, name in enumerate(names, 1)]
    for node in nodes:
        node.transport.keep([other.me for other in nodes if other is not node])
    a, b = nodes[:2]
    a.transport.dial(b.me.address, lane)
    await b.told.wait("link_up")
    await a.told.wait("link_up")
    return nodes


def quiet(*nodes) -> bool:
    """Whether the handlers were told of one link, and of nothing else but frames."""
    names = [name for node in nodes for name in node.told.names() if name not in ("frame", "incarnation_seen")]
    return names == ["link_up"] * len(nodes)


@pytest.mark.parametrize("lane", LANES)
@pytest.mark.parametrize("who", ["a", "b", "ab"])
@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_a_link_is_handed_over_by_either_end_or_by_both_and_nobody_notices(
    autojump_clock, world, lane, who, delay
) -> None:
    a, b = await members(world, lane)
    nodes = {"a": a, "b": b}
    if delay:
        world.network.delay("a", "b", delay)
    before = [session_of(one, other, lane) for one, other in ((a, b), (b, a))]
    for name in who:
        nodes[name].transport.renew_links(0.0)
    kind = {Lane.control: FrameKind.CONTROL, Lane.large: FrameKind.ARRIVED}.get(lane, FrameKind.ENVELOPE)
    for number in range(400):
        for one, other in ((a, b), (b, a)):
            assert one.transport.send(other.me, lane, frame(kind, number.to_bytes(4, "big")))
        await trio.sleep(0.01)
    await trio.sleep(10)
    after = [session_of(one, other, lane) for one, other in ((a, b), (b, a))]
    assert not set(before) & set(after) and all(session.over.is_set() for session in before)
    for node in (a, b):
        assert [int.from_bytes(body, "big") for body in node.told.bodies] == [*range(400)]
        assert node.transport.statistics().frames_unknown == node.transport.statistics().frames_broken == 0
    assert quiet(a, b)
    assert world.network.connection_count == 1


async def test_what_is_acknowledged_is_counted_over_both_connections(autojump_clock, world) -> None:
    a, b = await members(world)
    a.say(b, *[b"x"] * 5)
    await b.told.wait("frame", 5)
    for _ in range(3):
        a.transport.renew_links(0.0)
        await trio.sleep(3)
        a.say(b, b"y", b"z")
        await trio.sleep(3)
    a.say(b, b"unheard")
    await trio.sleep(0.01)
    world.network.reset("a", "b")
    await a.told.wait("link_lost")
    found = a.transport.statistics()
    assert (found.frames_sent, found.frames_unknown) == (12, 1)


async def test_handed_over_in_the_middle_of_a_large_frame_both_arrive_whole(autojump_clock, world) -> None:
    a, b = await members(world)
    large, arrived = bytes(1_000_000), list[bytes]()
    b.told.on_frame = lambda _, body: arrived.append(bytes(body[-1:])) if len(body) > 100 else None
    for number in range(4):
        a.say(b, large + b"%d" % number)
        await trio.lowlevel.checkpoint()
        old = session_of(a, b)
        a.transport.renew_links(0.0)
        while session_of(a, b) is old:
            a.say(b, b"small")
            await trio.sleep(0.5)
    await trio.sleep(5)
    assert arrived == [b"0", b"1", b"2", b"3"]
    assert quiet(a, b)


@pytest.mark.parametrize("when", [0.0, 0.05, 0.11, 0.16, 0.21, 0.26, 0.31, 0.36, 0.41, 0.5])
@pytest.mark.parametrize("what", ["heir", "old", "all", "goodbye", "peer's goodbye"])
async def test_whatever_ends_in_the_middle_nothing_is_doubled_reordered_or_uncounted(
    autojump_clock, world, when, what
) -> None:
    a, b = await members(world)
    world.network.delay("a", "b", 0.1)
    a.transport.renew_links(0.0)
    await trio.sleep_until(1.001)  # when housekeeping has begun it
    start, taken, is_done = trio.current_time(), {a.me: 0, b.me: 0}, False
    for number in range(120):
        for one, other in ((a, b), (b, a)):
            taken[one.me] += one.transport.send(other.me, Lane.ordinary, packed(number.to_bytes(4, "big")))
        if not is_done and trio.current_time() >= start + when:
            is_done = True
            found = list(a.transport.link_manager.sessions)
            if what in ("goodbye", "peer's goodbye"):
                await (a if what == "goodbye" else b).transport.goodbye(5)
                break
            if what == "all":
                world.network.reset("a", "b")
            for session in {"heir": found[1:], "old": found[:1]}.get(what, []):
                session.end("a test has ended it", graceful=False)
        await trio.sleep(0.01)
    await trio.sleep(10)
    for one, other in ((a, b), (b, a)):
        numbers = [int.from_bytes(body, "big") for body in other.told.bodies]
        assert numbers == sorted(set(numbers))
        found = one.transport.statistics()
        queued = sum(link.queued_messages for link in found.links)
        assert taken[one.me] - len(numbers) - found.frames_undelivered - queued <= found.frames_unknown
        if "goodbye" in what:
            assert taken[one.me] == len(numbers) + found.frames_undelivered, "a goodbye loses nothing"
    if what == "heir" and when == 0.0:
        assert quiet(a, b), "nobody had said HANDOVER yet"


async def test_a_failed_handover_leaves_the_link_and_is_tried_again(autojump_clock, world, caplog) -> None:
    caplog.set_level("INFO", "casty.transport")
    a, b = await members(world)
    listener = world.network.listener_at(b.me.address)
    await listener.aclose()
    a.transport.renew_links(0.0)
    await trio.sleep(3 * RENEW_AGAIN)
    told = [record.getMessage() for record in caplog.records]
    assert len([line for line in told if "the ordinary link has no new connection yet: " in line]) == 1
    assert told[1:] == ["b:2551: ... 1 more lines like this"] * 2
    a.say(b, b"x")
    await b.told.wait("frame")
    assert quiet(a, b) and not a.told.all("dial_failed"), "nobody is accused for it"


async def test_strangers_hand_nothing_over(autojump_clock, world) -> None:
    a, b = await members(world)
    old = session_of(a, b)
    a.transport.keep([])
    a.transport.renew_links(0.0)
    await trio.sleep(3)
    assert session_of(a, b) is old
    a.transport.keep([b.me])
    b.transport.keep([])
    await trio.sleep(3)
    _, _, refusal = b.told.all("peer_refused")[0]
    assert refusal == Refused("only members hand links over", final=False)
    assert session_of(a, b) is old and not a.told.all("link_lost")
    b.transport.keep([a.me])
    await trio.sleep(2 * RENEW_AGAIN)
    assert session_of(a, b) is not old


class Peer:
    """A member made of bare frames, with a link to b."""

    def __init__(self, world, b, run) -> None:
        self.world, self.b, self.me = world, b, run

    async def hello(self, nonce: int, *, proven_by: bytes = b"", heir_of: bytes = b""):
        """Say hello, with a proof or for the heir of a connection; return the connection and the answer."""
        hello = Hello(PROTOCOL_MIN, PROTOCOL_MAX, SYSTEM, self.me, Lane.ordinary, nonce, self.b.me.address)
        hello = replace(hello, features=CAN_HAND_OVER)
        if proven_by:
            hello = replace(hello, proof=proof_of(hello, self.b.me, proven_by))
        if heir_of:
            hello = replace(hello, features=((HANDOVER, heirs_proof(hello, self.b.me, heir_of)),))
        connection = await self.world.network.host(self.me.address.host).connect(self.b.me.address)
        answer, _ = await client_handshake(connection, hello, self.b.transport.link_manager.limits)
        return connection, answer


def handover(nonce: int) -> bytes:
    return frame(FrameKind.HANDOVER, nonce.to_bytes(8, "big"))


async def is_closed(connection) -> bool:
    with trio.move_on_after(0.2), suppress(ConnectionLost):
        while await connection.receive(4096):
            pass
        return True
    return False


@pytest.fixture
async def peers(autojump_clock, world, vouch, nursery):
    b = await world.node("b")
    runs = [UniqueAddress(NodeAddress(name, 2551), 666) for name in ("evil", "other")]
    for run in runs:
        await vouch(nursery, world.network.host(run.address.host), run)
    b.transport.keep(runs)
    return [Peer(world, b, run) for run in runs]


async def test_the_right_words_hand_a_link_over(autojump_clock, peers) -> None:
    peer, _ = peers
    old, ack = await peer.hello(1)
    assert dict(ack.features) == {HANDOVER: b""}
    await old.send(packed(b"1"))
    new, answer = await peer.hello(2, proven_by=ack.secret, heir_of=ack.secret)
    assert isinstance(answer, HelloAck) and answer.secret not in (b"", ack.secret)
    await new.send(packed(b"3"))
    await trio.sleep(1)
    assert peer.b.told.bodies == [b"1"]
    await old.send(packed(b"2") + handover(2))
    await trio.sleep(0.1)
    assert peer.b.told.bodies == [b"1", b"2", b"3"]
    assert await old.receive(4096) == ack_frame(1)
    last = await old.receive(4096)
    assert last in (ack_frame(2) + handover(2), ack_frame(3) + handover(2)), "the count goes on over both"
    assert await is_closed(old)
    assert not await is_closed(new) and not peer.b.told.all("link_lost")


@pytest.mark.parametrize("whose", ["nobody's", "another peer's", "the proof of a lane"])
async def test_who_names_no_connection_of_its_own_is_refused(autojump_clock, peers, whose) -> None:
    peer, other = peers
    old, ack = await peer.hello(1)
    _, of_other = await other.hello(1)
    if whose == "the proof of a lane":
        hello = Hello(PROTOCOL_MIN, PROTOCOL_MAX, SYSTEM, peer.me, Lane.ordinary, 2, peer.b.me.address)
        proof = proof_of(hello, peer.b.me, ack.secret)
        hello = replace(hello, proof=proof, features=((HANDOVER, proof),))
        new = await peer.world.network.host("evil").connect(peer.b.me.address)
        answer, _ = await client_handshake(new, hello, peer.b.transport.link_manager.limits)
    else:
        secret = bytes(16) if whose == "nobody's" else of_other.secret
        _, answer = await peer.hello(2, proven_by=ack.secret, heir_of=secret)
    assert answer == Refused("it names a connection that is not up here", final=False)
    assert not await is_closed(old)
    assert len(peer.b.transport.link_manager.sessions) == 2 and not peer.b.told.all("link_lost")


async def test_a_hello_for_an_heir_without_any_link_is_refused(autojump_clock, peers) -> None:
    peer, _ = peers
    _, answer = await peer.hello(1, heir_of=bytes(16))
    assert answer == Refused("it names a connection that is not up here", final=False)


async def test_named_twice_the_last_one_counts_until_one_was_handed_over(autojump_clock, peers) -> None:
    peer, _ = peers
    old, ack = await peer.hello(1)
    heirs = [(await peer.hello(nonce, proven_by=ack.secret, heir_of=ack.secret))[0] for nonce in range(2, 30)]
    assert [await is_closed(heir) for heir in heirs] == [True] * 27 + [False]
    assert len(peer.b.transport.link_manager.sessions) == 2
    peer.world.network.delay("evil", "b", 0.3)
    await old.send(handover(29))
    await trio.sleep(0.35)
    _, answer = await peer.hello(30, proven_by=ack.secret, heir_of=ack.secret)
    assert isinstance(answer, Refused), "the connection of that name is no more"
    await heirs[-1].send(packed(b"x"))
    await peer.b.told.wait("frame")
    assert not peer.b.told.all("link_lost")


@pytest.mark.parametrize(
    "said", [handover(2), handover(3), frame(FrameKind.HANDOVER, b""), frame(FrameKind.HANDOVER, bytes(9))]
)
async def test_handover_that_nobody_waits_for_ends_the_link(autojump_clock, peers, said) -> None:
    peer, _ = peers
    old, ack = await peer.hello(1)
    if said != handover(2):
        await peer.hello(2, proven_by=ack.secret, heir_of=ack.secret)
    await old.send(said)
    _, _, reason, graceful = await peer.b.told.wait("link_lost")
    assert "HANDOVER" in reason and not graceful
    await trio.sleep(1)
    assert not peer.b.transport.link_manager.sessions


@pytest.mark.parametrize("pause", [0.0, 0.1])
async def test_a_frame_behind_handover_ends_the_link_and_is_not_handled(autojump_clock, peers, pause) -> None:
    peer, _ = peers
    old, ack = await peer.hello(1)
    await peer.hello(2, proven_by=ack.secret, heir_of=ack.secret)
    await old.send(packed(b"x") + handover(2) + packed(b"y"))
    await peer.b.told.wait("frame")
    await trio.sleep(pause)
    assert peer.b.told.bodies == [b"x"]
    assert peer.b.told.all("link_lost")[0][2] == "ProtocolError: a frame behind HANDOVER"
    assert not peer.b.transport.link_manager.sessions


async def test_an_heir_to_which_nothing_is_handed_over_is_closed_in_time_and_the_link_goes_on(
    autojump_clock, peers
) -> None:
    peer, _ = peers
    old, ack = await peer.hello(1)
    heir, _ = await peer.hello(2, proven_by=ack.secret, heir_of=ack.secret)
    await trio.sleep(HANDOVER_MAX - 1)
    assert not await is_closed(heir)
    await trio.sleep(2)
    assert await is_closed(heir)
    await old.send(packed(b"x"))
    await peer.b.told.wait("frame")
    await old.send(handover(2))
    assert (await peer.b.told.wait("link_lost"))[2] == LOST_HEIR


async def test_a_handover_that_the_acceptor_does_not_answer_ends_the_link_in_time(
    autojump_clock, world, nursery
) -> None:
    a = await world.node("a")
    run = UniqueAddress(NodeAddress("c", 2551), 5)
    a.transport.keep([run])
    secret = bytes(range(16))

    async def mute(connection) -> None:
        while not await connection.receive(65_536):
            pass
        ack = HelloAck(PROTOCOL_MAX, run, secret=secret, features=CAN_HAND_OVER)
        await connection.send(encode_hello_ack(ack))
        while await connection.receive(65_536):
            pass

    listener = await world.network.host("c").listen("c", 2551)
    nursery.start_soon(listener.serve, mute)
    a.transport.dial(run.address, Lane.ordinary)
    await a.told.wait("link_up")
    a.transport.renew_links(0.0)
    began = trio.current_time()
    assert await a.told.wait("link_lost") == (run, Lane.ordinary, LATE, False)
    assert HANDOVER_MAX <= trio.current_time() - began <= HANDOVER_MAX + 3
    assert len(a.transport.link_manager.sessions) <= 1


@pytest.mark.parametrize("lane", [Lane.control, Lane.ordinary])
async def test_a_link_whose_handshake_was_under_way_at_the_renewal_of_all_is_renewed_as_well(
    autojump_clock, world, lane
) -> None:
    a, b = [await world.node(name, number) for number, name in enumerate("ab", 1)]
    a.transport.keep([b.me])
    b.transport.keep([a.me])
    world.network.delay("a", "b", 0.3)
    a.transport.dial(b.me.address, lane)
    await trio.sleep(0.2)
    a.transport.renew_links(0.0)
    await a.told.wait("link_up")
    first = session_of(a, b, lane)
    await trio.sleep(5)
    second = session_of(a, b, lane)
    assert second is not first and first.over.is_set()
    await trio.sleep(2 * RENEW_AGAIN)
    assert session_of(a, b, lane) is second, "once is enough"
    assert quiet(a, b)
