"""What every in-memory channel does, run against Trio's and ours.

Where they differ, a test says so: ours has one receiver, no clones, room for at least one message, and what is sent to
a task that sleeps waits in the queue until the task runs.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from typing import Protocol, Self, cast

import pytest
import trio
import trio.testing

from casty.runtime.messaging.channel import open_channel
from casty.runtime.messaging.queueing.channel_queue import ChannelQueue


class Statistics(Protocol):
    """What both say of themselves."""

    @property
    def current_buffer_used(self) -> int: ...
    @property
    def max_buffer_size(self) -> int | float: ...
    @property
    def open_send_channels(self) -> int: ...
    @property
    def open_receive_channels(self) -> int: ...
    @property
    def tasks_waiting_send(self) -> int: ...
    @property
    def tasks_waiting_receive(self) -> int: ...


class Sender(Protocol):
    """The sending end."""

    async def send(self, value: int, /) -> None: ...
    def send_nowait(self, value: int, /) -> None: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...
    def statistics(self) -> Statistics: ...


class Receiver(Protocol):
    """The receiving end."""

    async def receive(self) -> int: ...
    def receive_nowait(self) -> int: ...
    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def close(self) -> None: ...
    async def aclose(self) -> None: ...
    def statistics(self) -> Statistics: ...


Ends = tuple[Sender, Receiver]
Open = Callable[[int], Ends]


def ours(capacity: int) -> Ends:
    return open_channel(ChannelQueue[int](capacity))


def trios(capacity: int) -> Ends:
    return cast("Ends", trio.open_memory_channel[int](capacity))


@pytest.fixture(params=[ours, trios])
def open_ends(request: pytest.FixtureRequest) -> Iterator[Open]:
    """Open channels that are closed after the test."""
    opened: list[Ends] = []

    def open_one(capacity: int) -> Ends:
        opened.append(request.param(capacity))
        return opened[-1]

    yield open_one
    for sender, receiver in opened:
        sender.close()
        receiver.close()


async def waiting(nursery: trio.Nursery, function: Callable[..., Awaitable[object]], *args: object) -> None:
    """Start a task and return once it sleeps."""
    nursery.start_soon(function, *args)
    await trio.testing.wait_all_tasks_blocked()


async def expect(error: type[Exception], function: Callable[..., Awaitable[object]], *args: object) -> None:
    with pytest.raises(error):
        await function(*args)


async def test_both_ends_are_trios_channels(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    assert isinstance(sender, trio.abc.SendChannel)
    assert isinstance(receiver, trio.abc.ReceiveChannel)


async def test_messages_arrive_in_the_order_in_which_they_were_sent(open_ends: Open) -> None:
    sender, receiver = open_ends(3)
    for number in range(3):
        sender.send_nowait(number)
    assert [receiver.receive_nowait(), await receiver.receive(), receiver.receive_nowait()] == [0, 1, 2]


async def test_a_full_channel_would_block_and_takes_nothing(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    sender.send_nowait(1)
    with pytest.raises(trio.WouldBlock):
        sender.send_nowait(2)
    assert receiver.receive_nowait() == 1
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()


async def test_an_empty_channel_would_block(open_ends: Open) -> None:
    _, receiver = open_ends(1)
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()


async def test_send_and_receive_are_checkpoints_when_they_need_not_wait(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    with trio.testing.assert_checkpoints():
        await sender.send(1)
    with trio.testing.assert_checkpoints():
        assert await receiver.receive() == 1
    with trio.testing.assert_checkpoints():
        await sender.aclose()
    with trio.testing.assert_checkpoints():
        await receiver.aclose()


async def test_senders_wait_for_room_in_the_order_of_their_calls(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    sender.send_nowait(0)
    async with trio.open_nursery() as nursery:
        for number in (1, 2, 3):
            await waiting(nursery, sender.send, number)
        assert sender.statistics().tasks_waiting_send == 3
        with pytest.raises(trio.WouldBlock):  # and nobody passes them
            sender.send_nowait(4)
        assert [receiver.receive_nowait() for _ in range(3)] == [0, 1, 2]
        with pytest.raises(trio.WouldBlock):
            sender.send_nowait(4)
    assert receiver.receive_nowait() == 3


async def test_a_receiver_waits_for_a_message(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    seen: list[int] = []

    async def receive() -> None:
        seen.append(await receiver.receive())

    async with trio.open_nursery() as nursery:
        await waiting(nursery, receive)
        sender.send_nowait(7)
    assert seen == [7]


async def test_iteration_ends_when_the_sending_end_is_closed_and_the_queue_is_empty(open_ends: Open) -> None:
    sender, receiver = open_ends(2)
    assert isinstance(receiver, trio.abc.ReceiveChannel)
    sender.send_nowait(1)
    sender.send_nowait(2)
    sender.close()
    assert [number async for number in receiver] == [1, 2]
    with pytest.raises(trio.EndOfChannel):
        receiver.receive_nowait()
    await expect(trio.EndOfChannel, receiver.receive)


async def test_a_receiver_that_waits_learns_of_the_end(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    async with trio.open_nursery() as nursery:
        await waiting(nursery, expect, trio.EndOfChannel, receiver.receive)
        await sender.aclose()


async def test_a_receiver_that_waits_learns_that_its_own_end_was_closed(open_ends: Open) -> None:
    _, receiver = open_ends(1)
    async with trio.open_nursery() as nursery:
        await waiting(nursery, expect, trio.ClosedResourceError, receiver.receive)
        await receiver.aclose()
    with pytest.raises(trio.ClosedResourceError):
        receiver.receive_nowait()
    await expect(trio.ClosedResourceError, receiver.receive)


async def test_a_closed_receiving_end_breaks_the_sending_one_and_drops_what_waits(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    sender.send_nowait(1)
    async with trio.open_nursery() as nursery:
        await waiting(nursery, expect, trio.BrokenResourceError, sender.send, 2)
        receiver.close()
    with pytest.raises(trio.BrokenResourceError):
        sender.send_nowait(3)
    await expect(trio.BrokenResourceError, sender.send, 3)
    assert sender.statistics().current_buffer_used == 0


async def test_a_closed_sending_end_takes_nothing_not_even_what_waited_for_room(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    sender.send_nowait(1)
    async with trio.open_nursery() as nursery:
        await waiting(nursery, expect, trio.ClosedResourceError, sender.send, 2)
        sender.close()
    with pytest.raises(trio.ClosedResourceError):
        sender.send_nowait(3)
    await expect(trio.ClosedResourceError, sender.send, 3)
    assert receiver.receive_nowait() == 1
    with pytest.raises(trio.EndOfChannel):
        receiver.receive_nowait()


async def test_closing_twice_does_nothing(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    for end in (sender, sender, receiver, receiver):
        end.close()
        await end.aclose()


async def test_leaving_a_block_closes_an_end(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    with sender, receiver:
        pass
    with pytest.raises(trio.ClosedResourceError):
        receiver.receive_nowait()


async def test_a_cancelled_send_has_sent_nothing(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await sender.send(0)
    assert scope.cancelled_caught
    sender.send_nowait(1)
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await waiting(nursery, sender.send, 2)
            scope.cancel()
    assert receiver.receive_nowait() == 1
    with pytest.raises(trio.WouldBlock):
        receiver.receive_nowait()


async def test_a_cancelled_receive_has_taken_nothing(open_ends: Open) -> None:
    sender, receiver = open_ends(1)
    sender.send_nowait(1)
    with trio.CancelScope() as scope:
        scope.cancel()
        await receiver.receive()
    assert scope.cancelled_caught
    assert receiver.receive_nowait() == 1
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await waiting(nursery, receiver.receive)
            scope.cancel()
    sender.send_nowait(2)
    assert receiver.receive_nowait() == 2


@pytest.mark.parametrize("capacity", [1, 2, 5])
async def test_cancellation_at_any_moment_loses_nothing_and_repeats_nothing(open_ends: Open, capacity: int) -> None:
    sender, receiver = open_ends(capacity)
    sent: list[int] = []
    received: list[int] = []

    async def send(scope: trio.CancelScope, number: int) -> None:
        with scope:
            await sender.send(number)
            sent.append(number)

    async def receive(scope: trio.CancelScope) -> None:
        with scope:
            received.append(await receiver.receive())

    for step in range(200):
        scopes = [trio.CancelScope() for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for place in range(3):
                nursery.start_soon(send, scopes[place], 3 * step + place)
            nursery.start_soon(receive, scopes[3])
            for _ in range(step % 4):
                await trio.lowlevel.checkpoint()
            for scope in scopes[:: 1 + step % 3]:
                scope.cancel()
            with trio.CancelScope() as patience:
                nursery.start_soon(_cancel_when_blocked, nursery.cancel_scope, patience)
                await trio.sleep_forever()
    while True:
        try:
            received.append(receiver.receive_nowait())
        except trio.WouldBlock:
            break
    assert len(received) > 100
    assert sorted(received) == sorted(sent)


async def _cancel_when_blocked(nursery_scope: trio.CancelScope, patience: trio.CancelScope) -> None:
    await trio.testing.wait_all_tasks_blocked()
    nursery_scope.cancel()
    patience.cancel()


async def test_statistics_have_the_same_names_and_figures(open_ends: Open) -> None:
    sender, receiver = open_ends(2)
    sender.send_nowait(1)
    for end in (sender, receiver):
        said = end.statistics()
        assert (said.current_buffer_used, said.max_buffer_size) == (1, 2)
        assert (said.open_send_channels, said.open_receive_channels) == (1, 1)
        assert (said.tasks_waiting_send, said.tasks_waiting_receive) == (0, 0)
    receiver.receive_nowait()
    async with trio.open_nursery() as nursery:
        await waiting(nursery, receiver.receive)
        assert receiver.statistics().tasks_waiting_receive == 1
        sender.send_nowait(2)
    sender.close()
    assert receiver.statistics().open_send_channels == 0
    receiver.close()
    assert sender.statistics().open_receive_channels == 0


# Where they differ


async def test_ours_has_one_receiver_at_a_time() -> None:
    sender, receiver = ours(1)
    async with trio.open_nursery() as nursery:
        await waiting(nursery, receiver.receive)
        with pytest.raises(trio.BusyResourceError, match="another task waits"):
            receiver.receive_nowait()
        await expect(trio.BusyResourceError, receiver.receive)
        sender.send_nowait(1)


async def test_a_message_for_a_task_that_sleeps_takes_room_of_ours_until_the_task_runs() -> None:
    for opened, room_left in ((ours(1), False), (trios(1), True)):
        sender, receiver = opened
        with sender, receiver:
            async with trio.open_nursery() as nursery:
                await waiting(nursery, receiver.receive)
                sender.send_nowait(1)
                if room_left:
                    sender.send_nowait(2)
                else:
                    with pytest.raises(trio.WouldBlock):
                        sender.send_nowait(2)


async def test_ours_has_room_for_at_least_one_message() -> None:
    with pytest.raises(ValueError, match="must be at least 1, got 0"):
        ours(0)


async def test_ours_has_no_clones() -> None:
    sender, receiver = ours(1)
    assert not hasattr(sender, "clone")
    assert not hasattr(receiver, "clone")
