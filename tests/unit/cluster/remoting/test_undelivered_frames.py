"""What was for a node that nobody reaches becomes dead letters, all of it, in order, and without holding the loop."""

from __future__ import annotations

import pytest
import trio
from helpers.messages import Blob, Keep

from casty import AskFailed, DeadLetter, NodeAddress
from casty.cluster.remoting import undelivered_frames as dead_frames_module
from casty.cluster.remoting.undelivered_frames import TURN_BYTES_MAX, WAITING_BYTES_MAX, UndeliveredFrames
from casty.testing.inspect import node_of
from casty.testing.samples import run_of
from casty.wire.frame import FrameKind, frame

SIZE = 2_000
NOBODY = NodeAddress("nowhere", 1)


def no_counting(over: object) -> None:
    raise AssertionError("less than what may wait is over")


def frames_of(count: int, size: int = SIZE) -> list[bytes]:
    return [frame(FrameKind.ENVELOPE, number.to_bytes(4, "big") + bytes(size)) for number in range(count)]


@pytest.mark.parametrize(("size", "at_once"), [(0, TURN_BYTES_MAX // 64), (SIZE, TURN_BYTES_MAX // SIZE), (10**6, 1)])
async def test_other_tasks_run_while_many_become_dead_letters(size, at_once):
    shown: list[bytes] = []
    dead = UndeliveredFrames(lambda to, frame, reason: shown.append(frame), no_counting)
    frames, steps = frames_of(3_000 if size < 10**6 else 8, size), list[int]()
    async with trio.open_nursery() as nursery:
        dead.run_in(nursery)
        dead.take(run_of("b"), frames[:-1], "it is gone")
        dead.take(run_of("b"), frames[-1:], "it is gone")
        while len(shown) < len(frames):
            before = len(shown)
            await trio.lowlevel.checkpoint()
            steps.append(len(shown) - before)
    assert shown == frames
    assert len(steps) >= len(frames) // at_once // 2
    assert max(steps) <= 2 * at_once  # who of two tasks goes first in a turn of the loop is left to chance


async def test_they_are_taken_at_once_where_nobody_takes_turns():
    shown: list[bytes] = []
    dead = UndeliveredFrames(lambda to, frame, reason: shown.append(frame), no_counting)
    frames = frames_of(3_000)
    dead.take(run_of("b"), frames[:1_000], "it is gone")
    assert shown == frames[:1_000]
    async with trio.open_nursery() as nursery:
        dead.run_in(nursery)
        dead.take(run_of("b"), frames[1_000:2_000], "it is gone")
        assert len(shown) < 2_000
        nursery.cancel_scope.cancel()
    assert shown == frames[:2_000]
    dead.end()
    dead.take(run_of("b"), frames[2_000:], "it is gone")
    assert shown == frames


@pytest.mark.parametrize("size", [SIZE, 10**6])
async def test_what_is_over_the_bound_is_counted_in_its_order_and_not_shown(size):
    shown, counted, waiting = list[bytes](), list[bytes](), list[int]()
    dead = UndeliveredFrames(
        lambda to, frame, reason: shown.append(frame), lambda over: counted.extend(frame for _, frame, _ in over)
    )
    frames = frames_of(3 * WAITING_BYTES_MAX // (size + 70), size)
    step, steps = len(frames) // 20 + 1, list[int]()
    async with trio.open_nursery() as nursery:
        dead.run_in(nursery)
        for start in range(0, len(frames), step):
            before = len(shown)
            dead.take(run_of("b"), frames[start : start + step], "it is gone")
            steps.append(len(shown) - before)
            waiting.append(sum(len(frame) for _, frame, _ in dead.waiting))
        assert shown + counted + [frame for _, frame, _ in dead.waiting] == frames
        assert len(counted) > len(frames) // 2
    assert sorted(shown + counted) == frames
    assert max(waiting) <= WAITING_BYTES_MAX
    assert max(steps) <= max(TURN_BYTES_MAX // size, 1)
    assert not dead.cost


async def test_what_is_to_follow_those_that_are_counted_does(autojump_clock):
    said: list[str] = []
    dead = UndeliveredFrames(
        lambda to, frame, reason: said.append("shown"), lambda over: said.append(f"counted {len(over)}")
    )
    async with trio.open_nursery() as nursery:
        dead.run_in(nursery)
        for _ in range(2):
            dead.take(run_of("b"), frames_of(8, WAITING_BYTES_MAX // 10), "it is gone")
            dead.then(lambda: said.append("then"))
        assert said == ["shown", "counted 6"]
        dead.take(run_of("b"), frames_of(9, WAITING_BYTES_MAX // 10), "it is gone")
        assert said == ["shown", "counted 6", "counted 1", "then", "counted 8"]
    assert said[5:] == ["then", *["shown"] * 9]


async def test_asks_whose_requests_are_only_counted_fail_too(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(dead_frames_module, "WAITING_BYTES_MAX", 100_000)
    system, failures, counted = (await nodes.start("a")).system, list[str](), list[object]()
    gets, dead = system.remote("/sink", NOBODY).of(Keep), node_of(system).undelivered_frames
    count = dead._count

    def count_too(over) -> None:
        counted.extend(over)
        count(over)

    async def ask() -> None:
        with pytest.raises(AskFailed, match="did not get the request: not sent") as caught:
            await system.ask(gets, lambda reply_to: Keep(bytes(SIZE), reply_to), timeout=1_000)
        failures.append(caught.value.failure)

    monkeypatch.setattr(dead, "_count", count_too)
    async with trio.open_nursery() as nursery:
        for _ in range(400):
            nursery.start_soon(ask)
    assert failures == ["not_sent"] * 400
    assert len(counted) >= 300
    assert system.statistics().dead_letters == {"not sent": 400}


async def test_who_goes_on_sending_to_nobody_does_not_fill_the_memory(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(dead_frames_module, "WAITING_BYTES_MAX", 1_000_000)
    system, size, waiting = (await nodes.start("a")).system, 20_000, list[int]()
    ref = system.remote("/sink", NOBODY).of(Blob)
    for number in range(3_000):
        await ref.send(Blob(number, bytes(size)))
        waiting.append(len(node_of(system).undelivered_frames.waiting))
    await trio.sleep(60)
    assert system.statistics().dead_letters == {"not sent": 3_000}
    assert 10 < max(waiting) <= 1_000_000 // size


async def test_a_full_queue_becomes_dead_letters_in_its_order(autojump_clock, nodes):
    system = (await nodes.start("a")).system
    ref = system.remote("/sink", NOBODY).of(Blob)
    for number in range(4_000):
        ref.tell(Blob(number, bytes(SIZE)))
    await trio.sleep(60)
    assert system.statistics().dead_letters == {"not sent": 4_000}
    letters = [event for _, event in nodes.handles["a"].events if isinstance(event, DeadLetter)]
    numbers = [letter.message.number for letter in letters]
    assert len(numbers) > 100
    assert numbers == sorted(numbers)


async def test_an_ask_at_the_end_of_a_full_queue_fails_too(autojump_clock, nodes):
    system = (await nodes.start("a")).system
    for number in range(2_000):
        system.remote("/sink", NOBODY).of(Blob).tell(Blob(number, bytes(SIZE)))
    with pytest.raises(AskFailed, match="did not get the request: not sent"):
        await system.ask(system.remote("/sink", NOBODY).of(Keep), lambda reply_to: Keep(b"", reply_to), timeout=30)


@pytest.mark.parametrize("turns", [0, 1, 5, 20])
async def test_a_node_that_ends_loses_none_of_them(autojump_clock, nodes, turns):
    system = (await nodes.start("a")).system
    ref = system.remote("/sink", NOBODY).of(Blob)
    for number in range(4_000):
        ref.tell(Blob(number, bytes(SIZE)))
    for _ in range(turns):
        await trio.lowlevel.checkpoint()
    await nodes.stop("a")
    assert sum(system.statistics().dead_letters.values()) == 4_000
    assert not node_of(system).undelivered_frames.waiting
