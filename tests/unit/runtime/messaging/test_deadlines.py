"""The deadline of an ask travels with the request; what nobody waits for any more is not started."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing
from helpers.behaviors import tell_all, waiting_for
from helpers.messages import Busy, Left
from helpers.tasks import in_background

from casty.behaviors import Behaviors
from casty.cluster.remoting.local_transport import LocalTransport
from casty.config import Mailbox, MailboxOverflowStrategy
from casty.errors import AskFailed, AskTimeoutError
from casty.refs import ActorRef
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import DeadLetter, UnhandledMessage
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, kernel_of

Command = Left | Busy


def answering(started: list[str], *, task: bool) -> Behavior[Command]:
    """Answer Left with what is left of its deadline; Busy takes its time."""

    async def take(ctx: ActorContext[Command], message: Command) -> None:
        started.append(type(message).__name__)
        match message:
            case Left(reply_to):
                reply_to.tell(ctx.deadline - trio.current_time())
            case Busy(seconds):
                assert ctx.deadline == math.inf
                await trio.sleep(seconds)

    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        await take(ctx, message)
        return Behaviors.same()

    async def main(ctx: ActorContext[Command], inbox: Inbox[Command]) -> None:
        async for message in inbox:
            await take(ctx, message)

    return Behaviors.task(main) if task else Behaviors.receive(handle)


both = pytest.mark.parametrize("task", [False, True], ids=["handler", "task"])


@both
async def test_the_actor_sees_the_deadline_of_the_one_who_asks(
    system: ActorSystem, autojump_clock: object, task: bool
) -> None:
    ref = system.spawn(answering([], task=task), "a")
    assert await system.ask(ref, Left, timeout=3.0) == pytest.approx(3.0)
    ref.tell(Busy(1.0))
    assert await system.ask(ref, Left, timeout=3.0) == pytest.approx(2.0)
    assert await system.ask(ref, Left, timeout=math.inf) == math.inf


@both
async def test_a_request_whose_time_is_up_is_a_dead_letter_and_not_started(autojump_clock: object, task: bool) -> None:
    started: list[str] = []
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = system.spawn(answering(started, task=task), "a")
        ref.tell(Busy(2.0))
        with pytest.raises(AskTimeoutError):
            await system.ask(ref, Left, timeout=1.0)
        letter = await anext(letters)
        assert (type(letter.message), letter.intended_ref, letter.reason) == (Left, ref, "request expired")
        await trio.sleep(5)
        assert started == ["Busy"]
        assert system.statistics().dead_letters == {"request expired": 1}
        assert system.statistics().messages_delivered == 1


@both
async def test_a_request_from_afar_whose_time_is_up_is_not_started(
    system: ActorSystem, autojump_clock: object, task: bool
) -> None:
    started: list[str] = []
    ref = system.spawn(answering(started, task=task), "a")
    nobody = system.spawn(Behaviors.ignore(), "nobody")
    ref.tell(Busy(2.0))
    for remaining in (1.0, 3.0):
        assert LocalTransport(system).deliver("/a", 0, Left(nobody), wait=(remaining, 7)) is None
    await trio.sleep(5)
    assert started == ["Busy", "Left"]
    assert system.statistics().dead_letters == {"request expired": 1}


@both
async def test_cancelling_an_ask_withdraws_the_request_that_still_waits(
    system: ActorSystem, autojump_clock: object, task: bool
) -> None:
    started: list[str] = []
    ref = system.spawn(answering(started, task=task), "a")
    ref.tell(Busy(2.0))
    with trio.move_on_after(1.0):
        await system.ask(ref, Left, timeout=10.0)
    assert system.statistics().dead_letters == {"request withdrawn": 1}
    assert system.statistics().mailbox_size == 0
    await trio.sleep(5)
    assert started == ["Busy"]


async def test_a_request_that_was_started_is_not_withdrawn_and_its_reply_is_a_dead_letter(
    system: ActorSystem,
    autojump_clock: object,
) -> None:
    async def slow(ctx: ActorContext[Left], message: Left) -> Behavior[Left]:
        await trio.sleep(2.0)
        message.reply_to.tell(1.0)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(slow), "a")
    with pytest.raises(AskTimeoutError):
        await system.ask(ref, Left, timeout=1.0)
    await trio.sleep(5)
    assert system.statistics().dead_letters == {"ask finished": 1}


async def test_a_request_through_an_adapter_or_a_path_can_be_withdrawn_too(
    system: ActorSystem, autojump_clock: object
) -> None:
    started: list[str] = []
    adapters: list[ActorRef[ActorRef[float]]] = []

    async def make(ctx: ActorContext[Command]) -> Behavior[Command]:
        adapters.append(ctx.message_adapter(Left))
        return answering(started, task=False)

    def bare(reply_to: ActorRef[float]) -> ActorRef[float]:
        return reply_to

    ref = system.spawn(Behaviors.setup(make), "a")
    await trio.testing.wait_all_tasks_blocked()
    assert await system.ask(adapters[0], bare, timeout=3.0) == pytest.approx(3.0)
    ref.tell(Busy(2.0))
    with trio.move_on_after(0.5):
        await system.ask(adapters[0], bare)
    with trio.move_on_after(0.5):
        await system.ask(kernel_of(system).ref_for("/a", 0).of(Left), Left)
    assert system.statistics().dead_letters == {"request withdrawn": 2}
    await trio.sleep(5)
    assert started == ["Left", "Busy"]


async def test_a_stashed_request_can_still_be_withdrawn_and_makes_room(autojump_clock: object) -> None:
    started: list[object] = []

    async def make(stash: StashBuffer[Command]) -> Behavior[Command]:
        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            if isinstance(message, Busy):
                assert list(stash) == [Busy(1.0)] or len(list(stash)) == 1
                return stash.unstash_all(Behaviors.receive(opened))
            stash.stash(message)
            return Behaviors.same()

        async def opened(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            assert isinstance(message, Left)
            started.append(round(ctx.deadline - trio.current_time(), 3))
            message.reply_to.tell(1.0)
            return Behaviors.same()

        return Behaviors.receive(handle)

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.with_stash(1, make), "a")
        with trio.move_on_after(1.0):
            await system.ask(ref, Left)
        assert system.statistics().dead_letters == {"request withdrawn": 1}

        async def ask() -> None:
            assert await system.ask(ref, Left, timeout=3.0) == 1.0

        nursery.start_soon(ask)
        await trio.sleep(1.0)
        ref.tell(Busy(0.0))
    assert started == [2.0]


async def test_an_asker_whose_request_is_in_hand_is_told_when_the_handler_fails(
    system: ActorSystem, autojump_clock: object
) -> None:
    async def fail(ctx: ActorContext[Left], message: Left) -> Behavior[Left]:
        raise ValueError("no")

    with pytest.raises(AskFailed, match="ValueError: no"):
        await system.ask(system.spawn(Behaviors.receive(fail), "a"), Left)


async def test_an_unhandled_request_is_published_as_what_was_asked() -> None:
    async def decline(ctx: ActorContext[Left], message: Left) -> Behavior[Left]:
        return Behaviors.unhandled()

    async with ActorSystem() as system, system.events(UnhandledMessage) as events, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.receive(decline), "a")
        nursery.start_soon(system.ask, ref, Left)
        assert isinstance((await anext(events)).message, Left)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("overflow", MailboxOverflowStrategy)
async def test_withdrawn_requests_make_room_in_a_full_mailbox(
    system: ActorSystem, autojump_clock: object, overflow: MailboxOverflowStrategy
) -> None:
    started: list[str] = []
    ref = system.spawn(answering(started, task=False), "a", mailbox=Mailbox(3, overflow))
    ref.tell(Busy(2.0))
    await trio.testing.wait_all_tasks_blocked()
    ref.tell(Busy(0.0))
    async with in_background(system.ask, ref, Left), in_background(system.ask, ref, Left):
        await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().mailboxes == {"/a": 1}
    tell_all(ref, Busy(0.0), Busy(0.0))
    assert system.statistics().dead_letters == {"request withdrawn": 2}
    await trio.sleep(5)
    assert started == ["Busy"] * 4


ASKS = 2_000


@pytest.mark.parametrize("end", ["time-out", "cancellation"])
async def test_asks_that_time_out_or_are_cancelled_leave_every_table_empty(
    system: ActorSystem, autojump_clock: object, end: str
) -> None:
    gate = trio.Event()

    async def ask(system: ActorSystem, ref: ActorRef[Left]) -> None:
        with trio.move_on_after(0.5 if end == "cancellation" else math.inf):
            assert await system.ask_or_none(ref, Left, timeout=1.0) is None

    ref = system.spawn(waiting_for(gate), "stuck")
    for _ in range(10):
        async with trio.open_nursery() as nursery:
            for _ in range(ASKS // 10):
                nursery.start_soon(ask, system, ref)
    await trio.sleep(2)  # the wheel keeps its newest bucket until it is due
    counted = system.statistics()
    assert (counted.asks_pending, counted.timers, counted.mailbox_size) == (0, 0, 0)
    assert len(ref.owner().mailbox.messages) <= 512  # type: ignore[attr-defined]  # inside
    assert sum(counted.dead_letters.values()) == ASKS - 1  # the first was started
    gate.set()


@both
async def test_an_actor_with_many_expired_requests_lets_others_run(system: ActorSystem, task: bool) -> None:
    system.spawn(answering([], task=task), "a")
    nobody = system.spawn(Behaviors.ignore(), "nobody")
    await trio.testing.wait_all_tasks_blocked()
    transport = LocalTransport(system)
    for _ in range(1_000):
        transport.deliver("/a", 0, Left(nobody), wait=(0.0, 7))
    for _ in range(4):
        await trio.lowlevel.checkpoint()
    assert 0 < system.statistics().dead_letters["request expired"] <= 5 * 64
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {"request expired": 1_000}
