"""Strangers at the port of a node with TLS: none gets further than the handshake, and the node says why."""

from __future__ import annotations

import logging
import math
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from random import Random

import anyio
import pytest
import trio
from anyio.streams.tls import TLSStream
from cryptography.x509.oid import ExtendedKeyUsageOID
from helpers.certificates import TestCa

from casty import MemoryNetwork, TlsConfig, TlsNetwork
from casty.address import NodeAddress
from casty.config.tls import CERTIFICATE_FILE
from casty.errors import ProtocolError
from casty.transport.network.interface import Connection, ConnectionLost, TlsRefused
from casty.transport.network.raw_stream import OPENING_BYTES_MAX
from casty.transport.network.tls import NOT_TLS, TlsConnection

PORT = 2551
SECRET = b"for members alone"


class Server:
    """A node that says a secret to whom it believes, and keeps why it did not believe the others."""

    def __init__(self, memory: MemoryNetwork, config: TlsConfig) -> None:
        self.memory = memory
        self.network = TlsNetwork(config, system_name="shop", node_id="a", network=memory.host("a"))
        self.refusals: list[str] = []
        self.believed: list[str | None] = []

    async def greet(self, connection: Connection) -> None:
        try:
            await connection.receive(100)
            assert connection.peer_identity is not None
            self.believed.append(connection.peer_identity.node_id)
            await connection.send(SECRET)
            await connection.receive(100)
        except (ProtocolError, ConnectionLost) as error:
            self.refusals.append(f"{type(error).__name__}: {error}")


@pytest.fixture
async def server(autojump_clock, nursery, ca, tmp_path) -> Server:
    made = Server(MemoryNetwork(), ca.node(tmp_path, "a"))
    listener = await made.network.listen("a", PORT)
    nursery.start_soon(listener.serve, made.greet)
    return made


class Wire(anyio.abc.ByteStream):
    """The bare stream of a stranger, which keeps what it writes and what it is told."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.written, self.told = b"", b""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        data = await self.connection.receive(max_bytes)
        if not data:
            raise anyio.EndOfStream
        self.told += data
        return data

    async def send(self, item: bytes) -> None:
        self.written += item
        await self.connection.send(item)

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        await self.connection.aclose()

    @property
    def extra_attributes(self):
        return {}


@asynccontextmanager
async def dialled(server: Server) -> AsyncIterator[Wire]:
    connection = await server.memory.host("stranger").connect(NodeAddress("a", PORT))
    yield Wire(connection)
    await connection.aclose()
    await trio.sleep(1)


def context_of(
    config: TlsConfig | None, ca: TestCa, *, version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3
) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.maximum_version = False, version
    context.load_verify_locations(cadata=ca.pem.decode())
    if config is not None:
        context.load_cert_chain(config.certificate, config.private_key)
    return context


async def attack(server: Server, context: ssl.SSLContext) -> tuple[bytes, Wire]:
    """Shake hands and ask; return what comes back."""
    async with dialled(server) as wire:
        try:
            stream = await TLSStream.wrap(wire, server_side=False, ssl_context=context, standard_compatible=False)
            await stream.send(b"tell me")
            return await stream.receive(), wire
        except (anyio.EndOfStream, anyio.BrokenResourceError, ConnectionLost, ssl.SSLError):
            return b"", wire
    raise AssertionError


async def test_member_gets_its_answer(autojump_clock, server, ca, tmp_path):
    answer, _ = await attack(server, context_of(ca.node(tmp_path, "b"), ca))
    assert answer == SECRET and server.believed == ["b"] and not server.refusals


URI = "spiffe://shop/node/b"
CLIENT_ONLY = (ExtendedKeyUsageOID.CLIENT_AUTH,)
STRANGERS = {
    "without a certificate": (lambda ca, at: None, "peer did not return a certificate"),
    "ended": (lambda ca, at: ca.issue(at, URI, lasts=timedelta(seconds=-30)), "certificate has expired"),
    "not yet": (lambda ca, at: ca.issue(at, URI, begins=timedelta(days=1)), "certificate is not yet valid"),
    "another CA": (lambda ca, at: TestCa.make("other").issue(at, URI), "not signed by a CA that this end believes"),
    "another CA of the same name": (lambda ca, at: TestCa.make().issue(at, URI), "is not believed: "),
    "another system": (lambda ca, at: ca.issue(at, "spiffe://till/node/b"), "till/node/b, no node or client of 'shop'"),
    "no URI": (lambda ca, at: ca.issue(at), "exactly one URI, found none"),
    "two URIs": (lambda ca, at: ca.issue(at, URI, URI + "2"), "exactly one URI, found "),
    "a longer path": (lambda ca, at: ca.issue(at, URI + "/a"), "no node or client of 'shop'"),
    "no name": (lambda ca, at: ca.issue(at, "spiffe://shop/node/"), "no node or client of 'shop'"),
    "for servers alone": (
        lambda ca, at: ca.issue(at, URI, usages=(ExtendedKeyUsageOID.SERVER_AUTH,)),
        "its extended key usage has no clientAuth",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", STRANGERS)
async def test_stranger_gets_nothing_and_is_named(autojump_clock, server, ca, tmp_path, kind):
    make, reason = STRANGERS[kind]
    answer, _ = await attack(server, context_of(make(ca, tmp_path / "b"), ca))
    assert answer == b"" and not server.believed
    (refusal,) = server.refusals
    assert refusal.startswith("ProtocolError: ") and reason in refusal


async def test_older_version_of_tls_is_refused(autojump_clock, server, ca, tmp_path):
    answer, wire = await attack(server, context_of(ca.node(tmp_path, "b"), ca, version=ssl.TLSVersion.TLSv1_2))
    assert answer == b"" and not server.believed
    assert server.refusals == ["ProtocolError: it speaks no TLS 1.3"]


async def test_recorded_connection_says_nothing_when_it_is_played_again(autojump_clock, server, ca, tmp_path):
    answer, recorded = await attack(server, context_of(ca.node(tmp_path, "b"), ca))
    assert answer == SECRET
    async with dialled(server) as wire:
        await wire.send(recorded.written)
        with pytest.raises(anyio.EndOfStream):
            while True:
                await wire.receive()
    assert server.believed == ["b"], "the one that was recorded"
    assert len(server.refusals) == 1 and SECRET not in wire.told


async def test_nothing_can_be_resumed(autojump_clock, server, ca, tmp_path):
    context = context_of(ca.node(tmp_path, "b"), ca)
    async with dialled(server) as wire:
        stream = await TLSStream.wrap(wire, server_side=False, ssl_context=context, standard_compatible=False)
        await stream.send(b"tell me")
        assert await stream.receive() == SECRET
        session = stream.extra(anyio.streams.tls.TLSAttribute.ssl_object).session
        assert session is None or not session.has_ticket


async def test_what_is_no_tls_gets_the_alert_for_it(autojump_clock, server):
    async with dialled(server) as wire:
        await wire.send(b"\x00\x00\x00\x20\x01 a hello without TLS")
        assert await wire.receive() == NOT_TLS
    assert server.refusals == [
        "ProtocolError: it does not speak TLS, and this end does: set tls on both, or on neither"
    ]


async def test_handshake_without_end_is_bounded(autojump_clock, server):
    async with dialled(server) as wire:
        begun = b"\x01" + (131_000).to_bytes(3, "big")  # a message as long as OpenSSL takes any
        with pytest.raises((ConnectionLost, anyio.EndOfStream)):
            for _ in range(64):
                await wire.send(bytes((0x16, 3, 1)) + (1_024).to_bytes(2, "big") + begun.ljust(1_024, b"\x03"))
                begun = b""
                await trio.sleep(0.01)
    assert len(wire.written) <= OPENING_BYTES_MAX + 2 * 1_029
    assert server.refusals == ["ProtocolError: it sent more than 8192 bytes before the end of its first message of TLS"]


async def test_chain_without_end_is_bounded(autojump_clock, server, ca, tmp_path):
    files = ca.node(tmp_path, "b")
    leaf = (tmp_path / "b" / CERTIFICATE_FILE).read_bytes()
    (tmp_path / "b" / CERTIFICATE_FILE).write_bytes(leaf + b"".join(TestCa.make().pem for _ in range(150)))
    answer, _ = await attack(server, context_of(files, ca))
    assert answer == b"" and not server.believed
    assert server.refusals == ["ProtocolError: it sent more than 16384 bytes before the end of the TLS handshake"]


async def test_a_look_at_the_port_is_no_fault(autojump_clock, server):
    async with dialled(server):
        pass
    assert [refusal.partition(":")[0] for refusal in server.refusals] == ["ConnectionLost"]


@pytest.mark.parametrize("at", [0, 5, 20, -1])
async def test_changed_byte_ends_the_link_and_gives_nothing(autojump_clock, server, ca, tmp_path, at):
    async with dialled(server) as wire:
        context = context_of(ca.node(tmp_path, "b"), ca)
        stream = await TLSStream.wrap(wire, server_side=False, ssl_context=context, standard_compatible=False)
        mark = len(wire.written)
        sent, wire.connection = wire.connection, _Deaf()
        await stream.send(b"tell me, and nobody else")
        wire.connection = sent
        record = bytearray(wire.written[mark:])
        record[at] ^= 1
        await sent.send(bytes(record))
        with pytest.raises((anyio.EndOfStream, anyio.BrokenResourceError, ssl.SSLError, ConnectionLost)):
            await stream.receive()
    assert not server.believed and len(server.refusals) == 1


class _Deaf:
    async def send(self, data: bytes) -> None:
        pass


async def node_of(ca: TestCa, at: Path, memory: MemoryNetwork, name: str) -> TlsNetwork:
    return TlsNetwork(ca.node(at, name), system_name="shop", node_id=name, network=memory.host(name))


@asynccontextmanager
async def linked(server: Server, ca: TestCa, at: Path) -> AsyncIterator[TlsConnection]:
    network = await node_of(ca, at, server.memory, "b")
    connection = await network.connect(NodeAddress("a", PORT))
    await connection.send(b"tell me")
    assert await connection.receive(100) == SECRET
    yield connection
    await connection.aclose()


async def test_link_ends_with_the_certificate_of_the_other_end(autojump_clock, server, ca, tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    async with linked(server, ca, tmp_path) as connection:
        now = server.network.wall_time()
        server.network.wall_time = lambda: now + 31 * 86_400
        assert await connection.receive(100) == b""
    assert "the certificate of spiffe://shop/node/b ended at" in server.refusals[0]
    assert "the TLS certificate of this node, spiffe://shop/node/a, has ended: other nodes refuse it" in caplog.text


async def test_link_ends_once_its_other_end_is_denied(autojump_clock, nursery, ca, tmp_path):
    denied, files = tmp_path / "denied", ca.node(tmp_path, "a")
    denied.write_text("")
    server = Server(MemoryNetwork(), TlsConfig(files.certificate, files.private_key, files.ca, denied=denied))
    nursery.start_soon((await server.network.listen("a", PORT)).serve, server.greet)
    async with linked(server, ca, tmp_path) as connection:
        denied.write_text("spiffe://shop/node/b\n")
        began = trio.current_time()
        assert await connection.receive(100) == b""
        assert trio.current_time() - began <= 10.0
    with pytest.raises(TlsRefused, match="closed after the TLS handshake"):
        async with linked(server, ca, tmp_path):
            pass
    assert all("spiffe://shop/node/b is on the list of denied certificates" in text for text in server.refusals)


async def test_node_that_finds_itself_denied_goes_on_and_says_so(autojump_clock, nursery, ca, tmp_path, caplog):
    denied, files = tmp_path / "denied", ca.node(tmp_path, "a")
    denied.write_text("")
    server = Server(MemoryNetwork(), TlsConfig(files.certificate, files.private_key, files.ca, denied=denied))
    nursery.start_soon((await server.network.listen("a", PORT)).serve, server.greet)
    async with linked(server, ca, tmp_path) as connection:
        denied.write_text("spiffe://shop/node/a\n")
        await trio.sleep(60)
        reason = "spiffe://shop/node/a is on the list of denied certificates"
        assert caplog.text.count(f"other nodes with this list refuse this node: {reason}") == 1
        await connection.send(b"as one whose certificate has ended: the others end it")
    assert server.believed == ["b"]


async def test_new_links_use_new_files_and_the_ones_before_live_on(autojump_clock, server, ca, tmp_path):
    async with linked(server, ca, tmp_path) as old:
        assert old.proof is not None
        before = old.proof.serial
        ca.node(tmp_path, "a")
        await trio.sleep(10.5)
        async with linked(server, ca, tmp_path) as new:
            assert new.proof is not None and new.proof.serial != before
        await old.send(b"still here")
    assert server.believed == ["b", "b"]


class Reader(Server):
    """A node that keeps what each of its reads brings, and how the link ends."""

    def __init__(self, memory: MemoryNetwork, config: TlsConfig) -> None:
        super().__init__(memory, config)
        self.reads: list[bytes] = []
        self.size, self.place = 65_536, memoryview(bytearray(0))

    async def greet(self, connection: Connection) -> None:
        try:
            while data := await connection.receive(self.size):
                self.reads.append(data)
                if self.place and (count := connection.receive_into_nowait(self.place)):
                    self.reads.append(bytes(self.place[:count]))
        except ConnectionLost as error:
            self.refusals.append(f"{type(error).__name__}: {error}")


@pytest.fixture
async def reader(autojump_clock, nursery, ca, tmp_path) -> Reader:
    made = Reader(MemoryNetwork(), ca.node(tmp_path, "a"))
    listener = await made.network.listen("a", PORT)
    nursery.start_soon(listener.serve, made.greet)
    return made


@asynccontextmanager
async def records(reader: Reader, ca: TestCa, at: Path, *contents: bytes) -> AsyncIterator[tuple[Wire, list[bytes]]]:
    """Yield a link of the reader on which b"first" was read, and records that nobody has sent yet."""
    async with dialled(reader) as wire:
        context = context_of(ca.node(at, "b"), ca)
        stream = await TLSStream.wrap(wire, server_side=False, ssl_context=context, standard_compatible=False)
        await stream.send(b"first")
        await trio.sleep(0.1)
        sent, wire.connection = wire.connection, _Deaf()
        made = []
        for content in contents:
            mark = len(wire.written)
            await stream.send(content)
            made.append(wire.written[mark:])
        wire.connection = sent
        yield wire, made


@pytest.mark.parametrize("size", [1, 4, 5, 7, 100, 65_536])
async def test_one_read_brings_all_records_at_hand(reader, ca, tmp_path, size):
    reader.size = size
    async with records(reader, ca, tmp_path, b"one ", b"two ", b"three") as (wire, made):
        await wire.send(b"".join(made))
    said = b"firstone two three"
    assert b"".join(reader.reads) == said and not reader.refusals
    assert len(reader.reads) <= -(-5 // size) + -(-13 // size) + (size == 4) and max(map(len, reader.reads)) <= size


async def test_half_a_record_is_waited_for(reader, ca, tmp_path):
    async with records(reader, ca, tmp_path, b"one ", b"two ", b"three") as (wire, made):
        await wire.send(made[0] + made[1][:9])
        await trio.sleep(0.1)
        assert reader.reads == [b"first", b"one "]
        await wire.send(made[1][9:] + made[2])
    assert reader.reads == [b"first", b"one ", b"two three"] and not reader.refusals


async def test_records_before_a_changed_one_are_read_and_none_behind_it(reader, ca, tmp_path):
    async with records(reader, ca, tmp_path, b"one ", b"two ", b"three") as (wire, made):
        changed = bytearray(made[1])
        changed[-1] ^= 1
        await wire.send(made[0] + changed + made[2])
    assert reader.reads == [b"first", b"one "]
    (refusal,) = reader.refusals
    assert refusal.startswith("ConnectionLost: TLS: "), "the end is told as a fault, not as an end"


async def test_end_behind_records_at_hand_comes_after_them(reader, ca, tmp_path):
    async with records(reader, ca, tmp_path, b"one ", b"two ") as (wire, made):
        await wire.send(b"".join(made))
        await wire.aclose()
    assert reader.reads == [b"first", b"one two "] and not reader.refusals


async def test_records_at_hand_are_read_into_a_place_without_waiting(reader, ca, tmp_path):
    reader.size, reader.place = 4, memoryview(bytearray(6))
    async with records(reader, ca, tmp_path, b"one ", b"two ", b"three") as (wire, made):
        await wire.send(b"".join(made))
    assert b"".join(reader.reads) == b"firstone two three"
    assert b"two th" in reader.reads


class Stingy:
    """A connection that takes as much at once as is drawn."""

    is_eager = is_done = False
    remote, peer_identity = "peer", None

    def __init__(
        self, rng: Random, sending: trio.MemorySendChannel[bytes], receiving: trio.MemoryReceiveChannel[bytes]
    ):
        self.rng, self.sending, self.receiving = rng, sending, receiving
        self.left = b""

    def send_nowait(self, data: bytes | memoryview, *more: bytes | memoryview) -> int:
        count = self.rng.choice((0, len(data), self.rng.randint(0, len(data))))
        if count:
            self.sending.send_nowait(bytes(data[:count]))
        return count

    async def send(self, data: bytes | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        self.sending.send_nowait(bytes(data))

    async def receive(self, max_bytes: int) -> bytes:
        data = self.left or await self.receiving.receive()
        self.left = data[max_bytes:]
        return data[:max_bytes]

    async def aclose(self) -> None:
        self.sending.close()


@pytest.mark.parametrize("seed", range(20))
async def test_what_is_taken_at_once_in_part_arrives_once_and_whole(autojump_clock, ca, tmp_path, seed):
    rng, memory = Random(seed), MemoryNetwork()
    there, back = trio.open_memory_channel[bytes](math.inf), trio.open_memory_channel[bytes](math.inf)
    networks = [await node_of(ca, tmp_path, memory, name) for name in "ab"]
    ends = [
        TlsConnection(Stingy(rng, there[0], back[1]), networks[0], is_dialled=True),
        TlsConnection(Stingy(rng, back[0], there[1]), networks[1], is_dialled=False),
    ]
    said = [rng.randbytes(rng.choice((0, 1, 2, 50, 5_000, 100_000, 200_000))) for _ in range(60)]
    whole, taken = b"".join(said), 0

    async def write(end: TlsConnection) -> None:
        nonlocal taken
        for data in said:
            count = end.send_nowait(data)
            taken += count
            if count < len(data):
                await end.send(memoryview(data)[count:])

    async def read(end: TlsConnection) -> None:
        heard = b""
        while len(heard) < len(whole):
            data = await end.receive(70_000)
            assert data
            heard += data
        assert heard == whole

    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(end.shake_hands)
    async with trio.open_nursery() as nursery:
        for end in ends:
            nursery.start_soon(write, end)
            nursery.start_soon(read, end)
    assert taken > 0
