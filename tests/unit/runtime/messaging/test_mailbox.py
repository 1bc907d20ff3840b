"""Mailboxes: the bound, the policies beyond it, waiting senders, fairness, foreign threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait, tell_all, waiting_for
from helpers.tasks import in_background

from casty.behaviors import Behaviors
from casty.cluster.remoting.local_transport import LocalTransport
from casty.config import Mailbox, MailboxOverflowStrategy, SystemConfig
from casty.errors import ActorStoppedError, ConfigError, MailboxFull
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import DeadLetter, EventStreamSubscribe, Publish
from casty.runtime.messaging.mailbox import MessageQueue
from casty.runtime.messaging.timers import ScheduleOnce
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, kernel_of, spawn_system_actor

DROP_NEW, DROP_OLDEST, REJECT, BACK_PRESSURE = MailboxOverflowStrategy


def gated(seen: list[int], gate: trio.Event) -> Behavior[int]:
    """Wait for the gate at each message, so that a mailbox can fill."""

    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        await gate.wait()
        seen.append(message)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def filled(system: ActorSystem, seen: list[int], gate: trio.Event, mailbox: Mailbox) -> ActorRef[int]:
    """Return an actor with message 0 in hand and a mailbox full of 1, 2, ..."""
    ref = system.spawn(gated(seen, gate), "gated", mailbox=mailbox)
    ref.tell(0)
    await trio.testing.wait_all_tasks_blocked()
    for number in range(mailbox.capacity):
        ref.tell(number + 1)
    return ref


async def test_drop_new_makes_a_dead_letter_of_the_new_message() -> None:
    seen, gate = list[int](), trio.Event()
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = await filled(system, seen, gate, Mailbox(2, DROP_NEW))
        ref.tell(3)
        assert await anext(letters) == DeadLetter(3, ref, "mailbox full")
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
    assert seen == [0, 1, 2]


async def test_drop_oldest_makes_a_dead_letter_of_the_oldest_message() -> None:
    seen, gate = list[int](), trio.Event()
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = await filled(system, seen, gate, Mailbox(2, DROP_OLDEST))
        ref.tell(3)
        await ref.send(4)
        assert [(await anext(letters)).message for _ in range(2)] == [1, 2]
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
    assert seen == [0, 3, 4]


async def test_reject_raises_in_the_sender_and_not_for_what_comes_from_afar(system: ActorSystem) -> None:
    seen, gate = list[int](), trio.Event()
    ref = await filled(system, seen, gate, Mailbox(2, REJECT))
    with pytest.raises(MailboxFull, match="the mailbox of /gated is full"):
        ref.tell(3)
    assert system.statistics().dead_letters == {}
    assert LocalTransport(system).deliver("/gated", 0, 4) is None
    assert system.statistics().dead_letters == {"mailbox full": 1}
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("overflow", [DROP_NEW, BACK_PRESSURE])
async def test_send_waits_for_room_in_order(system: ActorSystem, overflow: MailboxOverflowStrategy) -> None:
    seen, gate = list[int](), trio.Event()
    ref = await filled(system, seen, gate, Mailbox(1, overflow))
    async with trio.open_nursery() as nursery:
        for number in (2, 3):
            nursery.start_soon(ref.send, number)
            await trio.testing.wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 2
        gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [0, 1, 2, 3]


async def test_a_sender_that_waits_for_a_stopping_actor_goes_on_and_its_message_is_a_dead_letter() -> None:
    gate = trio.Event()
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = await filled(system, [], gate, Mailbox(1))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ref.send, 2)
            nursery.start_soon(ref.send, 3)
            await trio.testing.wait_all_tasks_blocked()
            system.stop(ref)
            gate.set()
        await ref.send(4)
        messages = [(await anext(letters)).message for _ in range(4)]
    assert sorted(str(message) for message in messages) == ["1", "2", "3", "4"]


async def test_signals_pass_a_full_mailbox_and_take_no_room_in_it(system: ActorSystem) -> None:
    seen, gate = list[int](), trio.Event()
    ref = system.spawn(gated(seen, gate), "gated", mailbox=Mailbox(2))
    await trio.testing.wait_all_tasks_blocked()
    ref.tell(1)
    ref.owner().signal(object.__new__(NoSignal))  # type: ignore[attr-defined]  # looks inside
    ref.tell(2)
    assert system.statistics().dead_letters == {}
    gate.set()


class NoSignal:
    """Something that the actor finds on its list of signals, and that means nothing."""


async def test_a_flooded_actor_lets_others_run(system: ActorSystem) -> None:
    progress: list[int] = []

    async def endless(ctx: ActorContext[int], message: int) -> Behavior[int]:
        ctx.self.tell(message + 1)
        progress.append(message)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(endless), "endless")
    ref.tell(0)
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    assert 0 < len(progress) <= 21 * 64
    system.stop(ref)


async def test_a_flooded_inbox_lets_others_run(system: ActorSystem) -> None:
    progress: list[int] = []

    async def endless(ctx: ActorContext[int], inbox: object) -> None:
        async for message in inbox:  # type: ignore[attr-defined]  # an inbox
            ctx.self.tell(message + 1)
            progress.append(message)

    ref = system.spawn(Behaviors.task(endless), "endless")
    ref.tell(0)
    for _ in range(20):
        await trio.lowlevel.checkpoint()
    assert 0 < len(progress) <= 21 * 64


FLOOD = 5_000


@pytest.mark.parametrize(("handler_seconds", "handled_max"), [(0.0, 2 * 64), (0.0001, 2 * 8)])
async def test_a_flood_to_one_actor_delays_the_message_of_another_by_two_batches_at_most(
    system: ActorSystem, autojump_clock: trio.testing.MockClock, handler_seconds: float, handled_max: int
) -> None:
    handled: list[int] = []
    before_it: list[int] = []

    async def busy(ctx: ActorContext[int], message: int) -> Behavior[int]:
        autojump_clock.jump(handler_seconds)
        handled.append(message)
        if message == FLOOD // 2:
            quick.tell(len(handled))
        return Behaviors.same()

    async def other(ctx: ActorContext[int], handled_then: int) -> Behavior[int]:
        before_it.append(len(handled) - handled_then)
        return Behaviors.same()

    flooded = system.spawn(Behaviors.receive(busy), "flooded")
    quick = system.spawn(Behaviors.receive(other), "quick")
    await trio.testing.wait_all_tasks_blocked()
    tell_all(flooded, *range(FLOOD))
    await trio.testing.wait_all_tasks_blocked()
    assert before_it[0] <= handled_max
    assert len(handled) == FLOOD


async def test_tell_from_a_foreign_thread_is_refused_and_tell_threadsafe_works(system: ActorSystem) -> None:
    errors: list[BaseException] = []
    seen, gate = list[int](), trio.Event()
    gate.set()

    def work(system: ActorSystem, refs: list[ActorRef[int]]) -> None:
        for ref in refs:
            try:
                ref.tell(1)
            except RuntimeError as error:
                errors.append(error)
        system.tell_threadsafe(refs[0], 2)

    ref = system.spawn(gated(seen, gate), "gated")
    await trio.testing.wait_all_tasks_blocked()
    thread = threading.Thread(
        target=work, args=(system, [ref, kernel_of(system).ref_for("/gated", 0), system.event_stream])
    )
    thread.start()
    thread.join()
    await trio.testing.wait_all_tasks_blocked()
    await trio.lowlevel.checkpoint()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [2]
    assert len(errors) == 3
    assert all("tell_threadsafe" in str(error) for error in errors)


async def test_a_foreign_thread_runs_no_adapter_and_makes_no_dead_letter() -> None:
    errors: list[str] = []
    adapters: list[ActorRef[int]] = []

    def refuse(number: int) -> object:
        raise ValueError(number)

    async def adapted(ctx: ActorContext[object]) -> Behavior[object]:
        adapters.append(ctx.message_adapter(refuse))
        return Behaviors.ignore()

    def work(refs: list[ActorRef[int]]) -> None:
        for ref in refs:
            with pytest.raises(RuntimeError, match="tell_threadsafe") as caught:
                ref.tell(1)
            errors.append(str(caught.value))

    async with ActorSystem() as system, system.events(DeadLetter) as events:
        system.spawn(Behaviors.setup(adapted), "adapted")
        await trio.testing.wait_all_tasks_blocked()
        nobody = kernel_of(system).ref_for("/nobody", 0).of(int)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(work, [adapters[0], nobody]).result()
        assert system.lookup("/adapted") is not None
        assert system.statistics().dead_letters == {}
        assert events.dropped == 0
    assert len(errors) == 2


async def test_a_thread_that_overfills_a_rejecting_mailbox_makes_dead_letters(system: ActorSystem) -> None:
    gate = trio.Event()
    ref = await filled(system, [], gate, Mailbox(1, REJECT))
    system.tell_threadsafe(ref, 9)
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {"mailbox full": 1}
    gate.set()


def test_tell_threadsafe_after_the_loop_has_ended_says_so() -> None:
    async def main() -> tuple[ActorSystem, ActorRef[int]]:
        async with ActorSystem("gone") as system:
            return system, system.spawn(Behaviors.ignore(), "a")

    system, ref = trio.run(main)
    with pytest.raises(ActorStoppedError, match="the loop of gone has ended"):
        system.tell_threadsafe(ref, 1)


async def test_dead_letters_of_dead_letters_are_counted_and_end_there(system: ActorSystem) -> None:
    gate = trio.Event()

    observer = system.spawn(waiting_for(gate), "observer", mailbox=Mailbox(1))
    system.event_stream.tell(EventStreamSubscribe(DeadLetter, observer))
    gone = system.spawn(Behaviors.ignore(), "gone")
    await stop_and_wait(system, gone)
    for number in range(10):
        gone.tell(number)
        await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {"actor stopped": 10, "mailbox full": 8}
    gate.set()


async def test_reject_refuses_whoever_would_wait_too(system: ActorSystem) -> None:
    gate = trio.Event()
    ref = await filled(system, [], gate, Mailbox(1, REJECT))
    with pytest.raises(MailboxFull, match="the mailbox of /gated is full and rejects"):
        await ref.send(2)
    assert system.statistics().messages_rejected == 1
    gate.set()


async def test_back_pressure_makes_tell_say_what_to_use_instead(system: ActorSystem) -> None:
    seen, gate = list[int](), trio.Event()
    ref = await filled(system, seen, gate, Mailbox(1, BACK_PRESSURE))
    with pytest.raises(MailboxFull, match=r"use `await ref.send\(message\)`, which waits for room"):
        ref.tell(2)
    assert LocalTransport(system).deliver("/gated", 0, 3) is None
    assert system.statistics().dead_letters == {"mailbox full": 1}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.send, 4)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [0, 1, 4]


async def test_a_tell_does_not_take_the_room_of_a_sender_that_waits(system: ActorSystem) -> None:
    seen, gate = list[int](), trio.Event()

    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        await gate.wait()
        seen.append(message)
        if message == 1:  # taken out just now
            with pytest.raises(MailboxFull):
                ctx.self.tell(9)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "a", mailbox=Mailbox(2, BACK_PRESSURE))
    ref.tell(0)
    await trio.testing.wait_all_tasks_blocked()
    tell_all(ref, 1, 2)
    async with trio.open_nursery() as nursery:
        for number in (3, 4):
            nursery.start_soon(ref.send, number)
            await trio.testing.wait_all_tasks_blocked()
        gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [0, 1, 2, 3, 4]


async def test_a_sender_that_was_let_in_has_sent_even_if_it_is_cancelled_before_it_goes_on() -> None:
    seen, gate = list[int](), trio.Event()
    scope = trio.CancelScope()

    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        await gate.wait()
        seen.append(message)
        if message == 1:
            scope.cancel()
        return Behaviors.same()

    async def send(ref: ActorRef[int]) -> None:
        with scope:
            await ref.send(2)
            seen.append(-2)

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.receive(handle), "a", mailbox=Mailbox(1))
        ref.tell(0)
        await trio.testing.wait_all_tasks_blocked()
        ref.tell(1)
        nursery.start_soon(send, ref)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
    assert sorted(seen) == [-2, 0, 1, 2]


async def test_what_was_sent_to_an_actor_that_stops_before_the_sender_goes_on_is_lost_once() -> None:
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = system.spawn(Behaviors.ignore(), "a")
        await trio.testing.wait_all_tasks_blocked()
        system.stop(ref)
        await ref.send(1)
        ref.tell(2)
        assert [(await anext(letters)).message for _ in range(2)] == [1, 2]
        assert system.statistics().dead_letters == {"actor stopped": 2}


async def test_an_idle_actor_takes_as_many_messages_as_its_mailbox_holds(system: ActorSystem) -> None:
    gate = trio.Event()
    ref = system.spawn(gated([], gate), "gated", mailbox=Mailbox(2, REJECT))
    await trio.testing.wait_all_tasks_blocked()
    tell_all(ref, 0, 1)
    with pytest.raises(MailboxFull):
        ref.tell(2)
    gate.set()


@pytest.mark.parametrize("overflow", [DROP_NEW, BACK_PRESSURE])
async def test_an_actor_that_would_wait_for_room_in_its_own_mailbox_is_told(overflow: MailboxOverflowStrategy) -> None:
    seen: list[object] = []

    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        if message == 0:
            for number in range(1, 4):
                try:
                    await ctx.self.send(number)
                except MailboxFull as error:
                    seen.append(str(error))
            ctx.start_soon(ctx.self.send, 4)
        seen.append(message)
        return Behaviors.same()

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(handle), "a", mailbox=Mailbox(2, overflow))
        ref.tell(0)
        await trio.testing.wait_all_tasks_blocked()
        told = (
            "the mailbox of /a is full, and only its own handler, which sends, can make room: "
            "tell, or send in a task of its own, with ctx.start_soon"
        )
        assert seen == [told, 0, 1, 2, 4]
        assert system.statistics().messages_rejected == 1


@pytest.mark.parametrize("overflow", [DROP_NEW, BACK_PRESSURE])
async def test_a_sender_that_is_cancelled_while_it_waits_has_sent_nothing(
    system: ActorSystem, overflow: MailboxOverflowStrategy
) -> None:
    seen, gate = list[int](), trio.Event()
    ref = await filled(system, seen, gate, Mailbox(1, overflow))
    async with in_background(ref.send, 2):
        await trio.testing.wait_all_tasks_blocked()
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {}
    assert seen == [0, 1]


@pytest.mark.parametrize("overflow", [REJECT, BACK_PRESSURE])
async def test_what_an_actor_pipes_to_itself_waits_for_room(
    system: ActorSystem, overflow: MailboxOverflowStrategy
) -> None:
    seen, gate = list[int](), trio.Event()

    async def two() -> int:
        return 2

    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        if message == 0:
            ctx.self.tell(1)
            ctx.pipe_to_self(two)
            await gate.wait()
        seen.append(message)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "a", mailbox=Mailbox(1, overflow))
    ref.tell(0)
    await trio.testing.wait_all_tasks_blocked()
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [0, 1, 2]


@pytest.mark.parametrize("overflow", [REJECT, BACK_PRESSURE])
async def test_events_and_schedules_that_find_no_room_are_dead_letters(
    system: ActorSystem, autojump_clock: object, overflow: MailboxOverflowStrategy
) -> None:
    gate = trio.Event()
    ref = await filled(system, [], gate, Mailbox(1, overflow))
    tell_all(system.event_stream, EventStreamSubscribe(int, ref), Publish(7))
    system.scheduler.tell(ScheduleOnce("k", ref, 8, 0.5))
    await trio.sleep(1)
    assert system.statistics().dead_letters == {"mailbox full": 2}
    assert system.statistics().messages_rejected == 0
    gate.set()


async def test_the_mailbox_of_an_actor_is_its_own_else_that_of_a_pattern_else_the_default() -> None:
    config = SystemConfig(
        mailbox=Mailbox(7), mailboxes={"/orders/*": Mailbox(1, DROP_OLDEST), "/**": Mailbox(2, DROP_NEW)}
    )
    gate = trio.Event()

    async def room_of(ref: ActorRef[int]) -> int:
        before = system.statistics().mailbox_size
        tell_all(ref, *range(10))
        return system.statistics().mailbox_size - before

    async def parent(ctx: ActorContext[int]) -> Behavior[int]:
        ctx.spawn(gated([], gate), "1")
        return gated([], gate)

    async with ActorSystem(config=config) as system:
        orders = system.spawn(Behaviors.setup(parent), "orders", mailbox=Mailbox(3))
        await trio.testing.wait_all_tasks_blocked()
        child = system.lookup("/orders/1")
        assert child is not None
        other = system.spawn(gated([], gate), "other")
        for ref in (orders, child.of(int), other):
            ref.tell(0)
        await trio.testing.wait_all_tasks_blocked()
        assert [await room_of(ref) for ref in (orders, child.of(int), other)] == [3, 1, 2]
        assert system.statistics().mailboxes == {"/orders": 3, "/orders/1": 1, "/other": 2}
        gate.set()


async def test_actors_of_the_library_do_not_get_the_mailboxes_of_the_users() -> None:
    config = SystemConfig(mailbox=Mailbox(1), mailboxes={"/**": Mailbox(1)})
    gate = trio.Event()
    async with ActorSystem(config=config) as system:
        ref = spawn_system_actor(system, gated([], gate), "_own")
        tell_all(ref, *range(10))
        assert system.statistics().dead_letters == {}
        gate.set()


def test_a_pattern_that_is_no_path_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"begins with '/', got 'orders'"):
        SystemConfig(mailboxes={"orders": Mailbox()})


def test_a_configuration_does_not_change_with_what_it_was_made_of() -> None:
    patterns = {"/a": Mailbox(1)}
    config = SystemConfig(mailboxes=patterns)
    patterns["/a"] = Mailbox(2)
    assert config.mailbox_for("/a") == Mailbox(1)
    assert config == SystemConfig(mailboxes={"/a": Mailbox(1)})
    assert hash(config) == hash(SystemConfig(mailboxes={"/a": Mailbox(1)}))


def test_requests_withdrawn_in_a_stash_have_the_queue_looked_through_once(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[int] = []
    make_room = MessageQueue.make_room

    def counted(queue: MessageQueue) -> bool:
        looked.append(len(queue.messages))
        return make_room(queue)

    monkeypatch.setattr(MessageQueue, "make_room", counted)
    queue = MessageQueue(Mailbox(capacity=1_000))
    for number in range(500):
        assert queue.offer(number)
    for _ in range(2_000):  # what a stash holds is not among the messages
        queue.note_withdrawn()
    assert len(looked) <= 8
    for _ in range(2_000):
        queue.withdrawn_taken()
    assert queue.withdrawn == 0
    assert len(queue) == 500
