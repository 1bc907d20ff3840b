"""Queue, writer and reader of the frames of a client's connection."""

from __future__ import annotations

import trio
import trio.testing

from casty.transport.clients.frame_pipe import FRAMES_AT_ONCE, WRITE_BYTES, FramePipe
from casty.wire.frame import FrameDecoder, FrameKind, frame


class Taking:
    """Connection that keeps what is written to it, waits where it is told to, and has something to read."""

    remote = "10.0.0.1"

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.coming: list[bytes] = []
        self.is_open = trio.Event()
        self.is_open.set()

    def bound_silence(self, seconds: float) -> None:
        assert seconds > 0

    async def receive(self, max_bytes: int) -> bytes:
        return self.coming.pop(0)

    async def send(self, data: bytes) -> None:
        self.written.append(data)
        await self.is_open.wait()


def pipe_to(connection: Taking) -> FramePipe:
    return FramePipe(connection, FrameDecoder(1024), bytes_max=2**20, write_timeout=5.0)  # type: ignore[arg-type]  # the part of a connection that is used


async def test_small_frames_are_written_together_and_large_ones_in_parts(autojump_clock):
    connection = Taking()
    pipe = pipe_to(connection)
    frames = [b"a" * 10, b"b" * 20, b"c" * (3 * WRITE_BYTES + 7), b"d" * WRITE_BYTES, b"e", b"f" * (WRITE_BYTES - 1)]
    assert all(pipe.put(one) for one in frames)
    pipe.finish(b"g")
    await pipe.write()
    assert b"".join(connection.written) == b"".join(frames) + b"g"
    assert [len(part) for part in connection.written] == [30, *[WRITE_BYTES] * 3, 7, WRITE_BYTES, WRITE_BYTES, 1]
    assert not pipe.bytes


async def test_nothing_more_of_what_is_dropped_is_written(autojump_clock):
    connection = Taking()
    connection.is_open = trio.Event()
    pipe = pipe_to(connection)
    pipe.put(b"a" * (3 * WRITE_BYTES))
    pipe.put(b"b")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pipe.write)
        await trio.testing.wait_all_tasks_blocked()
        pipe.drop()
        connection.is_open.set()
    assert connection.written == [b"a" * WRITE_BYTES]
    assert not pipe.bytes


async def test_each_part_has_the_time_of_a_write(autojump_clock):
    connection = Taking()
    connection.is_open = trio.Event()
    pipe = pipe_to(connection)
    pipe.put(b"a" * (3 * WRITE_BYTES))
    pipe.finish(b"b")

    async def read_slowly() -> None:
        for _ in range(4):
            await trio.sleep(4)
            connection.is_open.set()
            connection.is_open = trio.Event()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_slowly)
        await pipe.write()
    assert b"".join(connection.written) == b"a" * (3 * WRITE_BYTES) + b"b"


async def test_many_small_frames_are_read_a_few_at_once(autojump_clock):
    connection = Taking()
    many = [bytes((number % 256, number // 256)) for number in range(2 * FRAMES_AT_ONCE + 3)]
    connection.coming = [b"".join(frame(FrameKind.ENVELOPE, body) for body in many), frame(FrameKind.ENVELOPE, b"last")]
    pipe = pipe_to(connection)
    read = [await pipe.read() for _ in range(4)]
    assert [len(frames) for frames in read] == [FRAMES_AT_ONCE, FRAMES_AT_ONCE, 3, 1]
    assert [body for frames in read for _, body in frames] == [*many, b"last"]
