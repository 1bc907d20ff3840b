"""Records without content: OpenSSL takes far longer for one that renews keys than for what it says, and none is due."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
import trio
from anyio.streams.tls import TLSStream
from helpers.certificates import TestCa
from helpers.tls_records import KeyUpdates

from casty import MemoryNetwork, TlsNetwork
from casty.address import NodeAddress
from casty.errors import ProtocolError
from casty.transport.network.interface import Connection, ConnectionLost
from casty.transport.network.raw_stream import IDLE_RECORDS_MAX, RECORDS_AT_ONCE

PORT = 2551


class Below(anyio.abc.ByteStream):
    """The connection below TLS, as the stream of a client."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        data = await self.connection.receive(max_bytes)
        if not data:
            raise anyio.EndOfStream
        return data

    async def send(self, item: bytes) -> None:
        await self.connection.send(item)

    async def send_eof(self) -> None:
        raise NotImplementedError

    async def aclose(self) -> None:
        await self.connection.aclose()


class Reader:
    """A node that keeps what each of its reads brings, in which turn of the loop, and how the link ends."""

    def __init__(self) -> None:
        self.reads: list[tuple[int, bytes]] = []
        self.end = ""
        self.turn = 0

    async def read(self, connection: Connection) -> None:
        try:
            while data := await connection.receive(65_536):
                self.reads.append((self.turn, data))
        except (ProtocolError, ConnectionLost) as error:
            self.end = f"{type(error).__name__}: {error}"

    async def count_turns(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.turn += 1

    @property
    def said(self) -> bytes:
        return b"".join(data for _, data in self.reads)


@asynccontextmanager
async def linked(ca: TestCa, at: Path) -> AsyncIterator[tuple[Reader, Below, KeyUpdates]]:
    """Yield a node that reads, the connection to it of a client with its hands shaken, and the records of that."""
    memory, reader = MemoryNetwork(), Reader()
    network = TlsNetwork(ca.node(at, "a"), system_name="shop", node_id="a", network=memory.host("a"))
    listener = await network.listen("a", PORT)
    config = ca.node(at, "b")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(config.certificate, config.private_key)
    log = KeyUpdates.log_of(context, at)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(listener.serve, reader.read)
        below = Below(await memory.host("stranger").connect(NodeAddress("a", PORT)))
        await TLSStream.wrap(below, server_side=False, ssl_context=context, standard_compatible=False)
        yield reader, below, KeyUpdates(log)
        await trio.sleep(1)
        nursery.cancel_scope.cancel()


REFUSAL = f"ProtocolError: it sent more than {IDLE_RECORDS_MAX} records of TLS without content"


@pytest.mark.parametrize("padding", [0, 300])
async def test_keys_renewed_again_and_again_end_the_link(autojump_clock, ca, tmp_path, padding):
    async with linked(ca, tmp_path) as (reader, below, records):
        await below.send(records.content(b"first") + b"".join(records.next(padding=padding) for _ in range(500)))
        await trio.sleep(1)
        assert (reader.said, reader.end) == (b"first", REFUSAL)


async def test_content_between_them_is_no_excuse(autojump_clock, ca, tmp_path):
    async with linked(ca, tmp_path) as (reader, below, records):
        await below.send(b"".join(records.content(b"x") + records.next() for _ in range(500)))
        await trio.sleep(1)
        assert reader.end == REFUSAL and len(reader.said) <= IDLE_RECORDS_MAX + RECORDS_AT_ONCE


async def test_keys_may_be_renewed_now_and_then(autojump_clock, ca, tmp_path):
    said = [bytes((number,)) * size for number, size in enumerate([1, 5, 100, 16_000] * 7)]
    async with linked(ca, tmp_path) as (reader, below, records):
        for data in said:
            await below.send(records.content(data) + records.next())
        await trio.sleep(1)
        assert (reader.said, reader.end) == (b"".join(said), "")


async def test_small_records_leave_turns_to_others(autojump_clock, ca, tmp_path):
    async with linked(ca, tmp_path) as (reader, below, records):
        wire = b"".join(records.content(b"x") for _ in range(10 * RECORDS_AT_ONCE))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(reader.count_turns)
            await below.send(wire)
            while len(reader.said) < 10 * RECORDS_AT_ONCE:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()
    assert max(len(data) for _, data in reader.reads) <= RECORDS_AT_ONCE
    turns = [turn for turn, _ in reader.reads]
    assert all(after > before for before, after in zip(turns, turns[2:], strict=False)), (
        "in one turn who counts is last"
    )
