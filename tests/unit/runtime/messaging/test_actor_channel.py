"""A channel to an actor of the own system: it refuses and waits under every policy, and loses nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors, Inbox, MailboxFull, channel_of
from casty.config import Mailbox, MailboxOverflowStrategy, SystemConfig
from casty.runtime.system.system import kernel_of

POLICIES = list(MailboxOverflowStrategy)


class Slow:
    """A task-style actor that takes nothing while its gate is closed."""

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.seen: list[int] = []

    async def main(self, ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        await self.gate.wait()
        async for number in inbox:
            self.seen.append(number)


@asynccontextmanager
async def slow(policy: MailboxOverflowStrategy, capacity: int = 1) -> AsyncIterator[tuple[Slow, ActorRef[int]]]:
    actor = Slow()
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.task(actor.main), "slow", mailbox=Mailbox(capacity, policy))
        await trio.testing.wait_all_tasks_blocked()
        yield actor, ref
        actor.gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert system.statistics().dead_letters == {}
        assert system.statistics().messages_rejected == 0


@pytest.mark.parametrize("policy", POLICIES)
async def test_a_full_mailbox_would_block_under_every_policy(policy: MailboxOverflowStrategy) -> None:
    async with slow(policy) as (actor, ref):
        channel = channel_of(ref)
        assert isinstance(channel, trio.abc.SendChannel)
        channel.send_nowait(1)
        with pytest.raises(trio.WouldBlock):
            channel.send_nowait(2)
        said = channel.statistics()
        assert (said.current_buffer_used, said.max_buffer_size, said.open_receive_channels) == (1, 1, 1)
    assert actor.seen == [1]


@pytest.mark.parametrize("policy", POLICIES)
async def test_send_waits_for_room_under_every_policy_and_is_a_checkpoint(policy: MailboxOverflowStrategy) -> None:
    async with slow(policy) as (actor, ref):
        channel = channel_of(ref)
        with trio.testing.assert_checkpoints():
            await channel.send(1)
        async with trio.open_nursery() as nursery:
            for number in (2, 3):
                nursery.start_soon(channel.send, number)
                await trio.testing.wait_all_tasks_blocked()
            assert channel.statistics().tasks_waiting_send == 2
            actor.gate.set()
    assert actor.seen == [1, 2, 3]


async def test_a_cancelled_send_has_sent_nothing() -> None:
    async with slow(MailboxOverflowStrategy.drop_new) as (actor, ref):
        channel = channel_of(ref)
        channel.send_nowait(1)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(channel.send, 2)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
    assert actor.seen == [1]


async def test_closing_closes_that_handle_only_and_what_waits_by_it() -> None:
    async def refused(channel: trio.abc.SendChannel[int]) -> None:
        with pytest.raises(trio.ClosedResourceError):
            await channel.send(2)

    async with slow(MailboxOverflowStrategy.drop_new) as (actor, ref):
        one, other = channel_of(ref), channel_of(ref)
        one.send_nowait(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(refused, one)
            nursery.start_soon(other.send, 3)
            await trio.testing.wait_all_tasks_blocked()
            await one.aclose()
            one.close()
            with pytest.raises(trio.ClosedResourceError):
                one.send_nowait(4)
            assert (one.statistics().open_send_channels, other.statistics().open_send_channels) == (0, 1)
            actor.gate.set()
        ref.tell(5)
    assert actor.seen == [1, 3, 5]


async def test_an_actor_that_has_stopped_breaks_its_channels(system: ActorSystem) -> None:
    async def broken(channel: trio.abc.SendChannel[int]) -> None:
        with pytest.raises(trio.BrokenResourceError, match="/slow has stopped"):
            await channel.send(2)

    actor = Slow()
    ref = system.spawn(Behaviors.task(actor.main), "slow", mailbox=Mailbox(1))
    by_path: ActorRef[int] = kernel_of(system).ref_for("/slow", 0).of(int)
    channels = channel_of(ref), channel_of(by_path)
    channels[1].send_nowait(1)
    async with trio.open_nursery() as nursery:
        for channel in channels:
            nursery.start_soon(broken, channel)
        await trio.testing.wait_all_tasks_blocked()
        system.stop(ref)
    for channel in channels:
        with pytest.raises(trio.BrokenResourceError):
            channel.send_nowait(3)
    assert channels[0].statistics().open_receive_channels == 0
    assert system.statistics().dead_letters == {"actor stopped": 1}  # of the message in the mailbox


async def test_an_actor_that_closes_its_inbox_breaks_its_channels_at_once(system: ActorSystem) -> None:
    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        await inbox.receive()
        await inbox.aclose()
        await gate.wait()

    gate = trio.Event()
    ref = system.spawn(Behaviors.task(main), "t")
    channel = channel_of(ref)
    channel.send_nowait(1)
    await trio.testing.wait_all_tasks_blocked()
    with pytest.raises(trio.BrokenResourceError):
        channel.send_nowait(2)
    gate.set()


async def test_a_handler_does_not_wait_for_room_in_its_own_mailbox() -> None:
    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        channel = channel_of(ctx.self)
        if not message:
            channel.send_nowait(1)
            with pytest.raises(MailboxFull, match="only its own handler"):
                await channel.send(2)
        return Behaviors.same()

    for policy in POLICIES:
        async with ActorSystem() as system:
            system.spawn(Behaviors.receive(handle), "t", mailbox=Mailbox(1, policy)).tell(0)
            await trio.testing.wait_all_tasks_blocked()
            assert system.statistics().actors == 1


async def test_an_adapter_is_called_once_for_each_message() -> None:
    called: list[int] = []
    adapters: list[ActorRef[int]] = []

    def adapt(number: int) -> str:
        called.append(number)
        return str(number)

    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        adapters.append(ctx.message_adapter(adapt, int))
        await gate.wait()
        seen.extend([await inbox.receive(), await inbox.receive()])

    gate, seen = trio.Event(), list[str]()
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.task(main), "t", mailbox=Mailbox(1))
        await trio.testing.wait_all_tasks_blocked()
        channel = channel_of(adapters[0])
        channel.send_nowait(1)
        with pytest.raises(trio.WouldBlock):
            channel.send_nowait(2)
        assert channel.statistics().current_buffer_used == 1
        async with trio.open_nursery() as nursery:
            nursery.start_soon(channel.send, 2)
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        await system.wait_stopped(ref)
        with pytest.raises(trio.BrokenResourceError):
            channel.send_nowait(3)
    assert (called, seen) == ([1, 2], ["1", "2"])


async def test_the_ref_of_an_ask_takes_one_message(system: ActorSystem) -> None:
    async def handle(ctx: ActorContext[ActorRef[int]], reply_to: ActorRef[int]) -> Behavior[ActorRef[int]]:
        channel = channel_of(reply_to)
        assert channel.statistics().max_buffer_size > 1
        await channel.send(1)
        with pytest.raises(trio.BrokenResourceError):
            channel.send_nowait(2)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "t")
    reply: int = await system.ask(ref, lambda reply_to: reply_to)
    assert reply == 1
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {}


async def test_messages_are_checked_as_where_they_are_told() -> None:
    async with ActorSystem(config=SystemConfig(check_messages=True)) as system:
        ref = system.spawn(Behaviors.task(Slow().main), "t")
        channel = channel_of(ref)
        with pytest.raises(TypeError, match="takes int, got str"):
            channel.send_nowait("one")  # type: ignore[arg-type]  # the mistake under test
        with pytest.raises(TypeError, match="takes int, got str"):
            await channel.send("one")  # type: ignore[arg-type]  # the mistake under test
        with pytest.raises(TypeError, match="channel_of needs the ref of an actor"):
            channel_of("/t")  # type: ignore[arg-type]  # the mistake under test


async def test_a_foreign_thread_is_refused(system: ActorSystem) -> None:
    channel = channel_of(system.spawn(Behaviors.task(Slow().main), "t"))
    with pytest.raises(RuntimeError, match="foreign thread"):
        await trio.to_thread.run_sync(channel.send_nowait, 1)
