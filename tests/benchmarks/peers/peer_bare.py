"""The limits: what the pieces below an actor library cost, with nothing around them.

Local: trio tasks and memory channels, drained in batches as a mailbox is. Remote: an anyio stream
pair with a length before each frame, ready-made bytes as messages, and one write per batch; the rest of
a large frame is read past it where there is no TLS. The codec: msgpack and cattrs alone.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import anyio
import msgpack
import trio
import workload
from anyio.abc import ByteStream, SocketAttribute
from anyio.streams.tls import TLSStream
from cattrs.preconf.msgpack import make_converter
from trio.lowlevel import checkpoint
from workload import FORWARDERS, LARGE_TEXT, TEXT, Figures, batches, measured, resident_bytes

LENGTH = struct.Struct(">I")
READ_BYTES = 64 * 1024
PLACE_BYTES = 2 * 1024 * 1024
BATCH = 64
CHANNEL = 1_000_000


@dataclass(frozen=True)
class Item:
    number: int
    text: str


ITEM = Item(1, TEXT)


async def drain(receiver: trio.MemoryReceiveChannel[Any], handle: Callable[[Any], Awaitable[None]]) -> None:
    """Call an async function for each message, with one checkpoint per batch."""
    receive_nowait = receiver.receive_nowait
    while True:
        message, count = await receiver.receive(), 0
        while True:
            await handle(message)
            count += 1
            if not count % BATCH:
                await checkpoint()
            try:
                message = receive_nowait()
            except trio.WouldBlock:
                break


@dataclass
class Countdown:
    left: int
    done: trio.Event = field(default_factory=trio.Event)

    async def handle(self, _: Item) -> None:
        self.left -= 1
        if not self.left:
            self.done.set()


async def tell(count: int, *, pause: bool = True) -> Figures:
    sender, receiver = trio.open_memory_channel[Item](CHANNEL)
    countdown = Countdown(count)
    send = sender.send_nowait
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, receiver, countdown.handle)
        with measured() as timed:
            for size in batches(count):
                for _ in range(size):
                    send(ITEM)
                if pause:
                    await checkpoint()
            await countdown.done.wait()
        nursery.cancel_scope.cancel()
    return timed.figures(count)


@dataclass
class Slot:
    task: trio.lowlevel.Task

    def reply(self) -> None:
        trio.lowlevel.reschedule(self.task)


async def ask(count: int) -> Figures:
    """Put a slot into a channel and sleep until the other task has rescheduled this one."""
    sender, receiver = trio.open_memory_channel[Any](CHANNEL)

    async def reply(slot: Slot) -> None:
        slot.reply()

    async def one() -> None:
        sender.send_nowait(Slot(trio.lowlevel.current_task()))
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, receiver, reply)
        figures = await workload.asks_in_sequence(one, count)
        nursery.cancel_scope.cancel()
    return figures


@dataclass
class Hopper:
    left: int
    target: trio.MemorySendChannel[Item]
    done: trio.Event

    async def handle(self, item: Item) -> None:
        self.left -= 1
        if self.left < 0:
            self.done.set()
        else:
            self.target.send_nowait(item)


async def ping_pong(count: int) -> Figures:
    done = trio.Event()
    to_one, one = trio.open_memory_channel[Item](CHANNEL)
    to_two, two = trio.open_memory_channel[Item](CHANNEL)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, one, Hopper(count // 2, to_two, done).handle)
        nursery.start_soon(drain, two, Hopper(count // 2, to_one, done).handle)
        with measured() as timed:
            to_one.send_nowait(ITEM)
            await done.wait()
        nursery.cancel_scope.cancel()
    return timed.figures(count)


async def spawn(count: int) -> Figures:
    """Start tasks that wait on a channel each."""
    countdown = Countdown(count)
    senders = list[trio.MemorySendChannel[Item]]()

    async def idle(receiver: trio.MemoryReceiveChannel[Item]) -> None:
        await countdown.handle(ITEM)
        await receiver.receive()

    async with trio.open_nursery() as nursery:
        before = resident_bytes()
        with measured() as timed:
            for number in range(count):
                sender, receiver = trio.open_memory_channel[Item](CHANNEL)
                senders.append(sender)
                nursery.start_soon(idle, receiver)
                if not number % workload.YIELD_EVERY:
                    await checkpoint()
            await countdown.done.wait()
        held = resident_bytes() - before
        nursery.cancel_scope.cancel()
    return timed.figures(count, bytes_per_actor=held / count)


async def fan_in(count: int) -> Figures:
    countdown = Countdown(count)
    to_target, target = trio.open_memory_channel[Item](CHANNEL)
    senders = list[trio.MemorySendChannel[Item]]()

    async def forward(item: Item) -> None:
        to_target.send_nowait(item)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(drain, target, countdown.handle)
        for _ in range(FORWARDERS):
            sender, receiver = trio.open_memory_channel[Item](CHANNEL)
            senders.append(sender)
            nursery.start_soon(drain, receiver, forward)
        with measured() as timed:
            for size in batches(count):
                for sender in senders[:size]:
                    sender.send_nowait(ITEM)
                await checkpoint()
            await countdown.done.wait()
        nursery.cancel_scope.cancel()
    return timed.figures(count)


async def codec(count: int) -> Figures:
    converter = make_converter()
    unstructure, structure = converter.get_unstructure_hook(Item), converter.get_structure_hook(Item)
    packb, unpackb = msgpack.packb, msgpack.unpackb
    with measured() as timed:
        for _ in range(count):
            structure(unpackb(packb(unstructure(ITEM))), Item)
    return timed.figures(count)


def frame(body: bytes) -> bytes:
    return LENGTH.pack(len(body)) + body


TELL = frame(b"t" + bytes(100))
ASK = frame(b"a" + bytes(100))
LARGE = frame(b"a" + LARGE_TEXT.encode())
REPLY = frame(b"r" + bytes(20))


@dataclass
class Stream:
    """One end of the pair: a writer task that joins what is queued, and a reader that cuts frames.

    The rest of a large frame goes past the stream, into memory that is used again, and the system wakes the
    reader when all of it is there. Through the stream, R4 takes three times the processor time.
    """

    socket: ByteStream
    handle: Callable[[bytes | memoryview], None]
    place: bytearray = field(default_factory=lambda: bytearray(PLACE_BYTES))
    queue: list[bytes] = field(default_factory=list)
    more: trio.Event = field(default_factory=trio.Event)

    def send(self, data: bytes) -> None:
        self.queue.append(data)
        self.more.set()

    async def write(self) -> None:
        while True:
            await self.more.wait()
            self.more = trio.Event()
            taken, self.queue = self.queue, []
            await self.socket.send(taken[0] if len(taken) == 1 else b"".join(taken))

    async def read(self) -> None:
        buffer = bytearray()
        while True:
            try:
                buffer += await self.socket.receive(READ_BYTES)
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                return
            position, size = 0, len(buffer)
            while size - position >= LENGTH.size:
                end = position + LENGTH.size + LENGTH.unpack_from(buffer, position)[0]
                if end > size:
                    break
                self.handle(bytes(buffer[position + LENGTH.size : end]))
                position = end
            del buffer[:position]
            if workload.TLS is not None:
                continue
            if len(buffer) >= LENGTH.size and (end := LENGTH.size + LENGTH.unpack_from(buffer)[0]) > READ_BYTES:
                await self.read_rest(buffer, end)
                buffer.clear()

    async def read_rest(self, start: bytearray, end: int) -> None:
        raw, count = self.socket.extra(SocketAttribute.raw_socket), len(start)
        with memoryview(self.place) as view:
            view[:count] = start
            while count < end:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, end - count)
                await trio.lowlevel.wait_readable(raw)
                count += raw.recv_into(view[count:end]) or end
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, 1)
            self.handle(view[LENGTH.size : end])


@dataclass
class Counting:
    """The server's side: counts what is told, answers what is asked."""

    stream: Stream | None = None
    count: int = 0

    def handle(self, body: bytes | memoryview) -> None:
        assert self.stream is not None
        if body[0] == ord("t"):
            self.count += 1
        else:
            self.stream.send(REPLY)


async def covered(stream: ByteStream, node: str) -> ByteStream:
    """Return the stream with TLS 1.3 and certificates of both ends over it, where the peer is to have that."""
    if workload.TLS is None:
        return stream
    is_server, folder = node == "server", f"{workload.TLS}/{node}"
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if is_server else ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_REQUIRED
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    if is_server:
        context.num_tickets = 0
    context.load_cert_chain(f"{folder}/tls.crt", f"{folder}/tls.key")
    context.load_verify_locations(f"{folder}/ca.crt")
    return await TLSStream.wrap(stream, server_side=is_server, ssl_context=context, standard_compatible=False)


async def serve() -> None:
    multi = await anyio.create_tcp_listener(local_host="127.0.0.1", local_port=0)

    async def answer(socket: ByteStream) -> None:
        counting = Counting()
        counting.stream = Stream(await covered(socket, "server"), counting.handle)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(counting.stream.write)
            await counting.stream.read()
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(multi.serve, answer)
        workload.announce(port=multi.extra(SocketAttribute.local_port))
        await trio.to_thread.run_sync(workload.until_abandoned)
        nursery.cancel_scope.cancel()


@dataclass
class Remote:
    """The client's side: replies come in the order of the asks."""

    waiting: list[trio.lowlevel.Task] = field(default_factory=list)
    stream: Stream | None = None

    def handle(self, body: bytes | memoryview) -> None:
        trio.lowlevel.reschedule(self.waiting.pop(0))

    async def ask(self, data: bytes = ASK) -> None:
        assert self.stream is not None
        self.stream.send(data)
        self.waiting.append(trio.lowlevel.current_task())
        await trio.lowlevel.wait_task_rescheduled(lambda _: trio.lowlevel.Abort.FAILED)


@asynccontextmanager
async def connect(hello: dict[str, Any]) -> AsyncIterator[Remote]:
    remote = Remote()
    async with await anyio.connect_tcp("127.0.0.1", hello["port"]) as socket, trio.open_nursery() as nursery:
        remote.stream = Stream(await covered(socket, "client"), remote.handle)
        nursery.start_soon(remote.stream.write)
        nursery.start_soon(remote.stream.read)
        yield remote
        nursery.cancel_scope.cancel()


async def remote_tell(remote: Remote, count: int) -> Figures:
    assert remote.stream is not None
    await remote.ask()
    with measured() as timed:
        for size in batches(count):
            for _ in range(size):
                remote.stream.send(TELL)
            await checkpoint()
        await remote.ask()
    return timed.figures(count)


async def remote_ask_many(remote: Remote, count: int) -> Figures:
    async def gather(workers: list[Callable[[], Awaitable[None]]]) -> None:
        async with trio.open_nursery() as nursery:
            for worker in workers:
                nursery.start_soon(worker)

    return await workload.asks_in_flight(remote.ask, count, gather)


PEER = workload.Peer(
    run=trio.run,
    local=workload.local(tell=tell, ask=ask, ping_pong=ping_pong, spawn=spawn, fan_in=fan_in, codec=codec),
    remote=workload.remote(tell=remote_tell, many=remote_ask_many, large=LARGE),
    connect=connect,
    serve=serve,
)

if __name__ == "__main__":
    workload.main(PEER)
