"""The queue of one link."""

from __future__ import annotations

import random
import signal
import sys
from collections.abc import Callable
from types import FrameType

import pytest
import trio
import trio.testing
from helpers.tasks import in_background

from casty.transport.limits.handshake_slots import HandshakeSlots
from casty.transport.links import send_queue as send_queue_module
from casty.transport.links.send_queue import ByteQuota, SendQueue
from casty.wire.envelope import decode_wait, encode_wait
from casty.wire.frame import HEADER_BYTES, FrameKind, frame


async def test_frames_leave_in_order_and_within_the_size_of_one_write() -> None:
    send_queue = SendQueue(messages_max=100, bytes_max=1000)
    for number in range(10):
        assert send_queue.put_nowait(bytes([number]) * 10)
    assert [frame[0] for frame in send_queue.take(35)] == [0, 1, 2]
    assert (len(send_queue), send_queue.bytes) == (7, 70)
    assert [frame[0] for frame in send_queue.take(70)] == [3, 4, 5, 6, 7, 8, 9]
    assert send_queue.take(100) == []


async def test_both_bounds_hold() -> None:
    send_queue = SendQueue(messages_max=3, bytes_max=10)
    assert [send_queue.put_nowait(b"x") for _ in range(4)] == [True, True, True, False]
    send_queue.drain()
    assert send_queue.put_nowait(b"x" * 6)
    assert not send_queue.put_nowait(b"x" * 6)
    assert send_queue.put_nowait(b"x" * 4)


async def test_a_quarter_of_the_queue_is_left_to_others() -> None:
    send_queue = SendQueue(messages_max=8, bytes_max=80)
    for _ in range(6):
        assert send_queue.has_spare_room
        send_queue.put_nowait(b"x")
    assert not send_queue.has_spare_room
    send_queue.drain()
    send_queue.put_nowait(b"x" * 59)
    assert send_queue.has_spare_room
    send_queue.put_nowait(b"x")
    assert not send_queue.has_spare_room


async def test_nobody_has_room_to_spare_while_a_sender_waits_but_beside_requests(autojump_clock) -> None:
    send_queue = SendQueue(messages_max=8, bytes_max=80)
    send_queue.put_nowait(b"x" * 50)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_queue.put, b"x" * 40, 10.0)
        await trio.testing.wait_all_tasks_blocked()
        assert send_queue.has_spare_room
        nursery.start_soon(send_queue.put, b"x" * 40)
        await trio.testing.wait_all_tasks_blocked()
        assert not send_queue.has_spare_room
        send_queue.drain()
        assert send_queue.has_spare_room


async def test_an_over_long_frame_passes_alone() -> None:
    send_queue = SendQueue(messages_max=3, bytes_max=10)
    assert send_queue.put_nowait(b"x" * 50)
    assert not send_queue.put_nowait(b"y")
    assert send_queue.take(20) == [b"x" * 50]
    assert send_queue.put_nowait(b"y")
    assert not send_queue.put_nowait(b"x" * 50)
    assert send_queue.put_nowait(b"y")


async def test_the_first_frame_larger_than_a_write_leaves_alone() -> None:
    send_queue = SendQueue(messages_max=9, bytes_max=1000)
    send_queue.extend([b"x" * 50, b"y", b"z"])
    assert send_queue.take(20) == [b"x" * 50]
    assert send_queue.take(20) == [b"y", b"z"]


async def test_the_taker_sleeps_until_there_is_something() -> None:
    send_queue = SendQueue(messages_max=9, bytes_max=1000)
    got: list[bytes] = []

    async def take() -> None:
        while len(got) < 3:
            await send_queue.wait()
            got.extend(send_queue.take(100))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await trio.testing.wait_all_tasks_blocked()
        send_queue.put_nowait(b"1")
        send_queue.put_nowait(b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert got == [b"1", b"2"]
        send_queue.put_nowait(b"3")


async def test_nobody_overtakes_those_who_wait() -> None:
    send_queue = SendQueue(messages_max=1, bytes_max=1000)
    send_queue.put_nowait(b"0")
    async with trio.open_nursery() as nursery:
        for number in range(1, 4):
            nursery.start_soon(send_queue.put, b"%d" % number)
            await trio.testing.wait_all_tasks_blocked()
        order = list(send_queue.take(100))
        assert send_queue.waiting == 2, "the first was admitted before anybody was woken"
        assert not send_queue.put_nowait(b"pushes in")
        while frames := send_queue.take(100):
            order += frames
    assert order == [b"0", b"1", b"2", b"3"]
    assert send_queue.put_nowait(b"now")


async def test_a_large_frame_at_the_head_of_the_line_is_not_overtaken_by_small_ones() -> None:
    send_queue = SendQueue(messages_max=10, bytes_max=10)
    send_queue.extend([b"x" * 5, b"x" * 4])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_queue.put, b"L" * 8)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(send_queue.put, b"s")
        await trio.testing.wait_all_tasks_blocked()
        assert send_queue.take(5) == [b"x" * 5]
        assert send_queue.waiting == 2
        assert send_queue.take(10) == [b"x" * 4]
        assert send_queue.take(10) == [b"L" * 8, b"s"]


def request(number: int, size: int = 0) -> bytes:
    """Return the frame of a request with a short head, whose sender waits for a minute."""
    return frame(FrameKind.ENVELOPE, b"\0\1" + bytes([number]) + encode_wait(60.0, 1) + bytes(size))


def number_in(data: bytes) -> int:
    return data[HEADER_BYTES + 2]


def left_in(data: bytes) -> float:
    return decode_wait(data, HEADER_BYTES + 3)[0]


async def test_requests_wait_in_the_line_of_all_and_keep_out_only_one_another(autojump_clock, nursery) -> None:
    send_queue = SendQueue(messages_max=4, bytes_max=1000)
    send_queue.extend([request(number) for number in range(4)])
    for number in (10, 11, 12):
        nursery.start_soon(send_queue.put, request(number), trio.current_time() + 5)
        await trio.testing.wait_all_tasks_blocked()
    assert send_queue.waiting == 3
    assert not send_queue.put_nowait(request(20))
    order = send_queue.take(30)
    assert send_queue.put_nowait(request(21)), "what cannot wait has the room that was left to it"
    nursery.start_soon(send_queue.put, request(13), trio.current_time() + 5)
    nursery.start_soon(send_queue.put, request(30))
    await trio.testing.wait_all_tasks_blocked()
    assert not send_queue.put_nowait(request(22)), "now somebody waits who would be passed"
    while frames := send_queue.take(30):
        order += frames
    numbers = [number_in(data) for data in order]
    assert [number for number in numbers if number < 20] == [0, 1, 2, 3, 10, 11, 12, 13]
    assert numbers.index(21) < numbers.index(10)
    assert 30 in numbers and send_queue.is_idle


async def test_requests_that_wait_alone_take_half_of_the_queue(autojump_clock, nursery) -> None:
    send_queue = SendQueue(messages_max=100, bytes_max=1000)
    send_queue.extend([request(0, 900)])
    for number in range(20):
        nursery.start_soon(send_queue.put, request(number, 70), trio.current_time() + 5)
    await trio.testing.wait_all_tasks_blocked()
    send_queue.take(2000)
    assert (len(send_queue), send_queue.waiting) == (5, 15)
    assert send_queue.bytes <= 500
    nursery.start_soon(send_queue.put, request(50, 400))
    nursery.start_soon(send_queue.put, request(51, 400))
    await trio.testing.wait_all_tasks_blocked()
    assert send_queue.waiting == 16, "who sends finds room, and then waits behind the requests"
    send_queue.take(100)
    assert send_queue.bytes > 900, "and behind those there is no reason to leave any"


async def test_a_request_that_is_too_large_for_its_part_is_let_in_to_an_empty_queue(autojump_clock, nursery) -> None:
    send_queue = SendQueue(messages_max=1, bytes_max=100)
    send_queue.extend([request(0), request(1)])
    nursery.start_soon(send_queue.put, request(2, 500), trio.current_time() + 5)
    await trio.testing.wait_all_tasks_blocked()
    assert [number_in(data) for data in send_queue.take(10)] == [0]
    assert send_queue.waiting == 1
    send_queue.take(10)
    assert (len(send_queue), send_queue.waiting) == (1, 0)


@pytest.mark.parametrize("is_drained", [False, True])
async def test_a_request_that_has_waited_tells_what_time_is_left(autojump_clock, nursery, is_drained: bool) -> None:
    send_queue = SendQueue(messages_max=1, bytes_max=1000)
    send_queue.extend([request(0)])
    nursery.start_soon(send_queue.put, request(1), trio.current_time() + 60)
    await trio.testing.wait_all_tasks_blocked()
    nursery.start_soon(send_queue.put, request(2))
    await trio.sleep(20)
    if is_drained:
        told = send_queue.drain()
    else:
        told = [frame for _ in range(3) for frame in send_queue.take(10)]
    assert [(number_in(data), left_in(data)) for data in told] == [(0, 60.0), (1, 40.0), (2, 60.0)]
    assert send_queue.is_idle and send_queue.put_nowait(request(3))


async def test_draining_wakes_those_who_wait_and_returns_their_frames() -> None:
    send_queue = SendQueue(messages_max=1, bytes_max=10)
    send_queue.put_nowait(b"0")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_queue.put, b"1")
        nursery.start_soon(send_queue.put, b"2")
        await trio.testing.wait_all_tasks_blocked()
        assert sorted(send_queue.drain()) == [b"0", b"1", b"2"]
    assert send_queue.is_idle


async def test_random_cancellation_loses_no_frame_and_sends_none_twice() -> None:
    rng = random.Random(7)
    send_queue = SendQueue(messages_max=3, bytes_max=1000)
    taken: list[bytes] = []
    queued: list[int] = []
    """The sizes of frames, by which they are told apart: a request that has waited is another frame."""

    async def put(number: int, scope: trio.CancelScope) -> None:
        frame = request(0, size=number)
        with scope:
            await send_queue.put(frame, trio.current_time() + 60 if number % 3 else None)
            queued.append(len(frame))

    async with trio.open_nursery() as nursery:
        for number in range(500):
            scope = trio.CancelScope()
            nursery.start_soon(put, number, scope)
            if rng.random() < 0.5:
                await trio.lowlevel.checkpoint()
            if rng.random() < 0.3:
                scope.cancel()
            if rng.random() < 0.4:
                taken += send_queue.take(rng.choice([1, 100]))
        while not send_queue.is_idle:
            taken += send_queue.take(100)
            await trio.lowlevel.checkpoint()
    assert sorted(map(len, taken)) == sorted(queued)
    assert len(set(queued)) == len(queued)
    assert send_queue._senders == 0


async def test_a_cancelled_taker_can_be_followed_by_another() -> None:
    send_queue = SendQueue(messages_max=3, bytes_max=1000)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send_queue.wait)
            await trio.testing.wait_all_tasks_blocked()
            scope.cancel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_queue.wait)
        await trio.testing.wait_all_tasks_blocked()
        send_queue.put_nowait(b"x")
    assert repr(send_queue) == "<SendQueue queued=1 bytes=1 waiting=0>"


def test_the_gate_counts_in_all_and_per_host() -> None:
    gate = HandshakeSlots(total_max=3, per_host_max=2)
    places = [gate.enter(host, 0.0) for host in "aaabb"]
    assert [place is not None for place in places] == [True, True, False, True, False]
    kept = [place for place in places if place is not None]
    gate.leave(kept[0])
    gate.leave(kept[0])  # the second time changes nothing
    last = gate.enter("b", 0.0)
    assert last is not None
    assert gate.inside == 3
    for place in (*kept[1:], last):
        gate.leave(place)
    assert gate.inside == 0
    assert gate.enter("c", 0.0)


async def test_a_tally_is_what_its_outboxes_hold_whatever_happens_to_them(autojump_clock, nursery) -> None:
    rng, one, other = random.Random(3), ByteQuota(), ByteQuota()
    boxes = [SendQueue(messages_max=8, bytes_max=500, quota=one) for _ in range(3)]
    for _ in range(3_000):
        box, frame = rng.choice(boxes), bytes(rng.randrange(1, 200))
        match rng.randrange(7):
            case 0 | 1 | 2:
                box.put_nowait(frame)
            case 3:
                nursery.start_soon(box.put, frame)
                await trio.testing.wait_all_tasks_blocked()
            case 4:
                box.take(rng.randrange(1, 600))
            case 5:
                rng.choice(boxes).extend(box.drain())
            case _:
                box.count_in(rng.choice([one, other]))
        for quota in (one, other):
            assert quota.bytes == sum(box.bytes for box in boxes if box.quota is quota)
    for box in boxes:
        box.drain()
    assert (one.bytes, other.bytes) == (0, 0)


@pytest.mark.parametrize("at", range(1, 61))
def test_ctrl_c_at_any_line_of_a_sender_leaves_the_queue_whole(at: int) -> None:
    send_queue = SendQueue(messages_max=4, bytes_max=1000)
    got: list[bytes] = []
    lines = 0

    def interrupt(frame: FrameType, event: str, _: object) -> Callable[..., object]:
        nonlocal lines
        if event == "line" and frame.f_code.co_filename == send_queue_module.__file__:
            lines += 1
            if lines == at:
                signal.raise_signal(signal.SIGINT)
        return interrupt

    @trio.lowlevel.enable_ki_protection
    async def take() -> None:
        while True:
            await send_queue.wait()
            got.extend(send_queue.take(100))

    async def send(sent: list[bytes]) -> None:
        sys.settrace(interrupt)
        try:
            for number in range(4):
                frame = bytes([number])
                sent.append(frame)
                assert send_queue.put_nowait(frame)
            sent.append(b"waited")
            await send_queue.put(b"waited")
            await trio.sleep_forever()
        finally:
            sys.settrace(None)

    async def main() -> None:
        async with in_background(take):
            await trio.testing.wait_all_tasks_blocked()
            frames: list[bytes] = []
            try:
                await send(frames)
            except KeyboardInterrupt:
                assert (send_queue.bytes, send_queue.waiting) == (sum(map(len, send_queue._frames)), 0)
                await trio.testing.wait_all_tasks_blocked()
                assert got in (frames, frames[:-1]), "the last one may be left out, if its sender had to wait"
                assert send_queue.put_nowait(b"later")
                await trio.testing.wait_all_tasks_blocked()
                assert (got[-1], send_queue.bytes) == (b"later", 0)

    trio.run(main)
    assert lines >= at
