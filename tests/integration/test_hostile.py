"""Attacks on the port of a live node, from sockets that know the protocol or do not.

While they run, the other nodes ask each other all the time; afterwards the node must hold what it
held before.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from contextvars import ContextVar

import msgpack
import pytest
import trio
from helpers.tasks import in_background
from processes import HANG, Rig, show
from siege import RISE_BYTES_MAX, Siege

from casty.address import NodeAddress, UniqueAddress
from casty.testing.samples import control_registry
from casty.transport.links.guests import BEGUN_FRAME_SECONDS
from casty.transport.network.tcp import TcpNetwork
from casty.wire.chunking.chunks import cut
from casty.wire.frame import FrameDecoder, FrameKind, Lane, frame
from casty.wire.handshake import PROOF_BYTES, PROTOCOL_MAX, PROTOCOL_MIN, Hello, encode_hello

CONNECTIONS = 40
"""How often each attack is repeated, in turn, each over a connection of its own."""

SILENT_CONNECTIONS = 100
BEGUN_LINKS = 160
"""With a frame of 1 MiB each: 160 MiB more on a node that kept what comes."""
STUCK_ACTORS, ROWS_ROUNDS, ROWS_SECONDS = 4, 200, 10.0
"""So many messages come in this time as would take up 150 MiB."""
UNKNOWN_ENVELOPES = 10_000

SEED = 20
CONTROL_NAMES = tuple(control_registry().by_name)
READ_BYTES = 65_536

Attack = Callable[[tuple[str, int], random.Random], Awaitable[None]]


liar_port: ContextVar[int] = ContextVar("liar_port")


@pytest.fixture
async def liar(nursery, vouch) -> None:
    """Somebody who listens where the strangers say they are, and confirms all that they say."""
    run = await vouch(nursery, TcpNetwork(), UniqueAddress(NodeAddress("127.0.0.1", 0), 77))
    liar_port.set(run.address.port)


def hello(lane: Lane, *, system: str = "integration", port: int | None = None, incarnation: int = 77) -> bytes:
    """Return the hello of a node that does not exist, by default where the liar is."""
    node = UniqueAddress(NodeAddress("127.0.0.1", port or liar_port.get()), incarnation)
    return encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, system, node, lane, nonce=7))


def packed(kind: FrameKind, *fields: object) -> bytes:
    return frame(kind, msgpack.packb(list(fields)))


def envelope(*head: object, payload: object, tail: bytes = b"") -> bytes:
    start = msgpack.packb(list(head))
    return frame(FrameKind.ENVELOPE, len(start).to_bytes(2, "big") + start + tail + msgpack.packb(payload))


async def throw(address: tuple[str, int], data: bytes) -> None:
    """Write everything, then read until the node closes; whatever the socket says is fine."""
    try:
        stream = await trio.open_tcp_stream(*address)
    except OSError:
        return
    async with stream:
        try:
            await stream.send_all(data)
            await stream.send_eof()
            while await stream.receive_some(READ_BYTES):
                pass
        except trio.BrokenResourceError:
            return  # the node has closed first


async def garbage(address: tuple[str, int], rng: random.Random) -> None:
    await throw(address, rng.randbytes(rng.randrange(1, 8_192)))


async def half_a_frame(address: tuple[str, int], rng: random.Random) -> None:
    whole = hello(Lane.control)
    await throw(address, whole[: rng.randrange(1, len(whole))])


async def impossible_length(address: tuple[str, int], rng: random.Random) -> None:
    length = rng.choice([0, 5_000, 2**20, 2**31, 2**32 - 1])
    await throw(address, length.to_bytes(4, "big") + b"\x01" + bytes(100))


async def impossible_length_after_the_hello(address: tuple[str, int], rng: random.Random) -> None:
    await throw(address, hello(rng.choice([Lane.control, Lane.ordinary])) + b"\xff\xff\xff\xff\x05" + bytes(100))


async def wrong_kind_of_frame(address: tuple[str, int], rng: random.Random) -> None:
    kind = rng.choice([2, 3, 4, 5, 6, 7, 99])
    await throw(address, b"\x00\x00\x00\x03" + bytes([kind]) + b"hi")


async def hello_with_wrong_fields(address: tuple[str, int], rng: random.Random) -> None:
    fields: list[object] = [b"CASTY", 2, 2, "integration", "127.0.0.1", 9, 77, 0, 7, None, None, b"", "x", "member", {}]
    fields[rng.randrange(len(fields))] = rng.choice([None, -1, 2**40, "x" * 3_000, [[]], {"a": 1}, 1.5, True, b"\xff"])
    await throw(address, packed(FrameKind.HELLO, *fields))


async def garbage_after_the_hello(address: tuple[str, int], rng: random.Random) -> None:
    await throw(address, hello(rng.choice([Lane.control, Lane.ordinary])) + rng.randbytes(4_096))


async def flood_of_goodbyes(address: tuple[str, int], rng: random.Random) -> None:
    first = b"" if rng.random() < 0.5 else hello(rng.choice([Lane.control, Lane.ordinary]))
    await throw(address, first + frame(FrameKind.GOODBYE, b"") * 1_000)


async def control_with_wrong_fields(address: tuple[str, int], rng: random.Random) -> None:
    names = [*CONTROL_NAMES, "casty.report.node", "casty.nothing", "int"]
    values = [None, [], {}, ["x"], [2**63], {"sequence": "1"}, [[[[]]]], "text", -1]
    frames = [packed(FrameKind.CONTROL, rng.choice(names), rng.choice(values)) for _ in range(50)]
    frames += [packed(FrameKind.CONTROL, rng.choice(values)), frame(FrameKind.CONTROL, b"\xc1")]
    await throw(address, hello(Lane.control) + b"".join(frames))


async def envelopes_with_wrong_fields(address: tuple[str, int], rng: random.Random) -> None:
    values = [None, [], {}, ["x"], {"text": 1, "reply_to": None}, "text", -1, {"text": "x", "reply_to": "nowhere"}]
    paths = ["/echo", "/nobody", "/_cluster", "/_cluster/_topology", "/_ask/1", "/_ask/" + "9" * 900, "", 7, None]
    names = ["integration.Echo", "str", "casty.ResolveNode", 7, "os.system"]
    heads = [[rng.choice(paths), rng.choice([0, 1, -1, "x"]), rng.choice(names)] for _ in range(50)]
    frames = [envelope(*head, payload=rng.choice(values)) for head in heads]
    frames += [envelope(*head, True, payload=rng.choice(values), tail=rng.randbytes(16)) for head in heads]
    frames += [frame(FrameKind.ENVELOPE, rng.randbytes(rng.randrange(80))) for _ in range(50)]
    frames += [
        packed(FrameKind.NOTICE, "no_actor", rng.choice(["/echo", "/x" * 100]), 0, "y" * 200, 7) for _ in range(50)
    ]
    await throw(address, hello(Lane.ordinary) + b"".join(frames))


async def messages_for_somebody_else(address: tuple[str, int], rng: random.Random) -> None:
    """Send well-formed values of types that the actors there do not take."""
    paths = ["/_cluster", "/_cluster/_topology", "/_cluster/_receptionist", "/_event_stream", "/_scheduler"]
    names = {"str": "text", "int": 7, "NoneType": None, "casty.NodeAddress": ["127.0.0.1", 9]}
    frames = [envelope(path, 0, name, payload=value) for path in paths for name, value in names.items()]
    rng.shuffle(frames)
    await throw(address, hello(Lane.ordinary) + b"".join(frames))


async def hello_in_the_name_of_a_member(address: tuple[str, int], rng: random.Random) -> None:
    await throw(address, hello(Lane.control, port=address[1], incarnation=rng.randrange(1, 2**60)))


ATTACKS: tuple[Attack, ...] = (
    garbage,
    half_a_frame,
    impossible_length,
    impossible_length_after_the_hello,
    wrong_kind_of_frame,
    hello_with_wrong_fields,
    garbage_after_the_hello,
    flood_of_goodbyes,
    control_with_wrong_fields,
    envelopes_with_wrong_fields,
    messages_for_somebody_else,
    hello_in_the_name_of_a_member,
)


async def unknown_envelopes(address: tuple[str, int]) -> None:
    """Say a proper hello, then send messages that no node knows, and read the answers."""
    one = envelope("/echo", 0, "newer.Message", payload={"field": 1})
    async with await trio.open_tcp_stream(*address) as stream, trio.open_nursery() as nursery:
        await stream.send_all(hello(Lane.ordinary))
        nursery.start_soon(stream.send_all, one * UNKNOWN_ENVELOPES)
        answered = 0
        while answered < UNKNOWN_ENVELOPES * len(one) // 4:
            answered += len(await stream.receive_some(READ_BYTES))


@pytest.fixture
async def siege(rig: Rig, liar) -> Siege:
    """A cluster of three, whose first node is to be attacked."""
    target, *others = await rig.cluster("a", "b", "c")
    siege = Siege(target, others)
    await siege.begin()
    return siege


async def test_broken_and_ill_typed_bytes_leave_the_cluster_undisturbed(siege: Siege) -> None:
    rng = random.Random(SEED)
    with trio.fail_after(3 * HANG):  # hundreds of connections, one after the other
        for _ in range(CONNECTIONS):
            for attack in ATTACKS:
                await attack(siege.target.address, rng)
        await unknown_envelopes(siege.target.address)
    await siege.end()
    assert sum("newer.Message" in line for line in siege.target.log) == 1  # of ten thousand, each answered


async def test_silent_and_slow_strangers_are_shown_out_in_time(siege: Siege) -> None:
    closed = list[float]()
    began = trio.current_time()

    async def linger(*, drip: bool) -> None:
        """Say nothing, or the hello byte by byte, until the node has had enough."""
        stream = await trio.open_tcp_stream(*siege.target.address)
        async with stream, trio.open_nursery() as nursery:
            if drip:
                nursery.start_soon(drop_by_drop, stream)
            try:
                while await stream.receive_some(READ_BYTES):
                    pass
            except trio.BrokenResourceError:
                pass  # a reset ends it as well
            closed.append(trio.current_time() - began)
            nursery.cancel_scope.cancel()

    with trio.fail_after(HANG):
        async with trio.open_nursery() as nursery:
            for number in range(SILENT_CONNECTIONS):
                nursery.start_soon(lambda drip=number % 2 == 0: linger(drip=drip))
    show(
        f"{SILENT_CONNECTIONS} silent or slow strangers: first out after {min(closed):.3f} s, last {max(closed):.3f} s"
    )
    await siege.end()


@pytest.mark.parametrize("lane", [Lane.ordinary, Lane.large])
async def test_what_strangers_begin_and_do_not_end_takes_bounded_memory_and_time(
    siege: Siege, lane: Lane, nursery, vouch
) -> None:
    """Open links from four hosts, begin a frame of 1 MiB on each, or a large message, and wait."""
    part = frame(FrameKind.ENVELOPE, bytes(2**20))[:-1] if lane is Lane.ordinary else cut(1, memoryview(bytes(2**21)))
    closed, answers, peak = list[float](), list[FrameKind](), 0

    at_once = trio.CapacityLimiter(8)  # more are shown out while they are checked

    async def enter(host: int, liars: trio.Nursery) -> trio.SocketStream:
        run = await vouch(liars, TcpNetwork(), UniqueAddress(NodeAddress("127.0.0.1", 0), 77))
        stream = await trio.open_tcp_stream(*siege.target.address, local_address=f"127.0.0.{host}")
        await stream.send_all(hello(lane, port=run.address.port))
        answers.extend(kind for kind, _ in FrameDecoder(READ_BYTES).feed(await stream.receive_some(READ_BYTES)))
        return stream

    async def begin(host: int, liars: trio.Nursery) -> None:
        async with at_once:
            stream = await enter(host, liars)
        began = trio.current_time()
        async with stream, in_background(pour, stream, part[: 2**20]):
            try:
                while await stream.receive_some(READ_BYTES):
                    pass
            except trio.BrokenResourceError:
                pass  # a reset ends it as well
            closed.append(trio.current_time() - began)

    with trio.fail_after(HANG):
        async with trio.open_nursery() as nursery:
            for number in range(BEGUN_LINKS):
                nursery.start_soon(begin, 1 + number % 4, nursery)
            while len(closed) < BEGUN_LINKS:
                await trio.sleep(0.1)
                peak = max(peak, siege.target.resident_bytes() - siege.resident)
            nursery.cancel_scope.cancel()
    show(f"{answers.count(FrameKind.HELLO_ACK)} of {BEGUN_LINKS} had links")
    assert answers.count(FrameKind.HELLO_ACK) > BEGUN_LINKS // 4
    show(f"memory rose by {peak / 1024**2:.1f} MiB at most, the last link was closed after {max(closed):.1f} s")
    assert peak < RISE_BYTES_MAX
    assert max(closed) < BEGUN_FRAME_SECONDS + 3
    await siege.end()


async def test_what_strangers_have_waiting_for_actors_takes_bounded_memory(siege: Siege, nursery, vouch) -> None:
    """Send lists of empty lists from four hosts to actors that are busy, and to the one that all others ask."""
    names = [f"busy-{number}" for number in range(STUCK_ACTORS)]
    for name in names:
        await siege.target.call("spawn", name=name)
    peak = 0

    async def send(host: int) -> None:
        run = await vouch(nursery, TcpNetwork(), UniqueAddress(NodeAddress("127.0.0.1", 0), 77))
        stream = await trio.open_tcp_stream(*siege.target.address, local_address=f"127.0.0.{host}")
        async with stream:
            await stream.send_all(hello(Lane.ordinary, port=run.address.port))
            for _ in range(ROWS_ROUNDS):
                await pour(stream, b"".join(rows(f"/{name}", 300.0) for name in names) + rows("/echo", 0.003))

    with trio.fail_after(HANG):
        async with trio.open_nursery() as senders:
            for host in range(1, 5):
                senders.start_soon(send, host)
            with trio.move_on_after(ROWS_SECONDS):
                while True:
                    await trio.sleep(0.1)
                    peak = max(peak, siege.target.resident_bytes() - siege.resident)
            senders.cancel_scope.cancel()
    show(f"memory rose by {peak / 1024**2:.1f} MiB at most")
    assert peak < RISE_BYTES_MAX
    for name in names:
        await siege.target.call("stop", path=f"/{name}")
    await siege.end()


def rows(path: str, seconds: float) -> bytes:
    """Return the frame of a message of 4 KB that takes up 250 KB."""
    head = msgpack.packb([path, 0, "integration.Rows"])
    fields = msgpack.packb({"rows": [[]] * 3_900, "seconds": seconds})
    return frame(FrameKind.ENVELOPE, len(head).to_bytes(2, "big") + head + fields)


async def pour(stream: trio.SocketStream, data: bytes) -> None:
    """Write as much as the node takes."""
    try:
        await stream.send_all(data)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the node has closed


async def drop_by_drop(stream: trio.SocketStream) -> None:
    """Send a hello so slowly that each read gets something and none gets enough."""
    try:
        for byte in hello(Lane.control) * 10:
            await stream.send_all(bytes([byte]))
            await trio.sleep(0.2)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return  # the node has closed


async def test_a_stranger_subscribes_nobody_and_is_told_so(rig: Rig, liar) -> None:
    a = await rig.start("a")
    await a.wait_for("entered")
    subscribe = [
        envelope(
            "/_cluster",
            0,
            "casty.SubscribeTopology",
            payload={"reply_to": ["integration", f"/invented-{number}", "127.0.0.1", liar_port.get(), 77, 1]},
        )
        for number in range(100)
    ]
    decoder, notices = FrameDecoder(READ_BYTES), 0
    with trio.fail_after(HANG):
        async with await trio.open_tcp_stream(*a.address) as stream:
            await stream.send_all(hello(Lane.ordinary) + b"".join(subscribe))
            while notices < len(subscribe):
                frames = decoder.feed(await stream.receive_some(READ_BYTES))
                assert all(kind in (FrameKind.HELLO_ACK, FrameKind.NOTICE) for kind, _ in frames)
                notices += sum(kind is FrameKind.NOTICE and b"refused" in body for kind, body in frames)
    b = await rig.start("b", seeds=[a])
    await b.wait_members(a="up", b="up")
    after = await a.call("statistics")
    show(f"{notices} refusals, dead letters after the next changes: {after['dead_letters']}")
    assert not after["dead_letters"]


async def test_a_stranger_on_the_host_of_all_is_taken_for_none_of_them_on_any_lane(siege: Siege) -> None:
    """With everything in its hands that is no secret: addresses, runs, and a forged reply and a message ready."""
    rng, (other, _) = random.Random(SEED), siege.others
    runs = siege.target.seen("snapshot")[-1]["incarnations"]
    forged = envelope("/_ask/1", 0, "str", True, payload="forged", tail=rng.randbytes(16))
    answers: list[FrameKind] = []
    with trio.fail_after(HANG):
        for turn in range(3 * CONNECTIONS):
            me = UniqueAddress(NodeAddress(*other.address), runs[other.node_id])
            lane, proof = Lane(turn % 3), rng.choice([b"", rng.randbytes(PROOF_BYTES)])
            to = rng.choice([None, NodeAddress(*siege.target.address)])
            said = Hello(PROTOCOL_MIN, PROTOCOL_MAX, "integration", me, lane, rng.getrandbits(64), to, proof)
            async with await trio.open_tcp_stream(*siege.target.address) as stream:
                await stream.send_all(encode_hello(said) + forged)
                decoder = FrameDecoder(READ_BYTES)
                try:
                    while data := await stream.receive_some(READ_BYTES):
                        answers += [kind for kind, _ in decoder.feed(data)]
                except trio.BrokenResourceError:
                    pass  # what came behind the hello was not read
    show(f"answers: {len(answers)}, all refusals")
    assert answers and set(answers) == {FrameKind.REFUSED}
    await siege.end()
