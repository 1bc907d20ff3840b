"""Death watch: any local ref, once, after what was sent before, with the cause."""

from __future__ import annotations

from contextlib import suppress
from typing import Never

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait, tell_all
from helpers.refs import ForeignRef

from casty.behaviors import Behaviors
from casty.config import Mailbox, MailboxOverflowStrategy
from casty.errors import MailboxFull
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import Terminated
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, kernel_of

Command = tuple[str, ActorRef[Never]] | Terminated


def watcher(seen: list[object]) -> Behavior[Command]:
    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        match message:
            case Terminated():
                seen.append(message)
            case ("watch", ref):
                ctx.watch(ref)
            case ("unwatch", ref):
                ctx.unwatch(ref)
            case _:
                seen.append(message)
        return Behaviors.same()

    return Behaviors.receive(handle)


def busy_watcher(seen: list[object], gate: trio.Event) -> Behavior[object]:
    """Watch the refs behind the word of a tuple, and wait for the gate then."""

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if isinstance(message, tuple):
            for ref in message[1:]:
                ctx.watch(ref)
            await gate.wait()
        else:
            seen.append(message)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def fail(ctx: ActorContext[int], message: int) -> Behavior[int]:
    raise LookupError(message)


async def test_a_watcher_is_told_once_that_a_sibling_has_ended(system: ActorSystem) -> None:
    seen: list[object] = []
    target = system.spawn(Behaviors.ignore(), "target")
    ref = system.spawn(watcher(seen), "watcher")
    tell_all(ref, ("watch", target), ("watch", target))
    await trio.testing.wait_all_tasks_blocked()
    system.stop(target)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [Terminated(target, None)]


async def test_the_cause_of_a_failure_comes_along(system: ActorSystem) -> None:
    seen: list[object] = []
    target = system.spawn(Behaviors.receive(fail), "target")
    system.spawn(watcher(seen), "watcher").tell(("watch", target))
    await trio.testing.wait_all_tasks_blocked()
    target.tell(7)
    await trio.testing.wait_all_tasks_blocked()
    (terminated,) = seen
    assert isinstance(terminated, Terminated)
    assert terminated.ref == target
    assert isinstance(terminated.cause, LookupError)


async def test_an_actor_that_had_ended_before_fires_at_once(system: ActorSystem) -> None:
    seen: list[object] = []
    target = system.spawn(Behaviors.ignore(), "target")
    await stop_and_wait(system, target)
    system.spawn(watcher(seen), "watcher").tell(("watch", target))
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [Terminated(target)]


async def test_the_name_is_free_when_terminated_arrives(system: ActorSystem) -> None:
    again: list[bool] = []

    async def renew(ctx: ActorContext[Terminated | str], message: Terminated | str) -> Behavior[Terminated | str]:
        if isinstance(message, str) or len(again) < 3:
            again.append(True)
            child = ctx.spawn(Behaviors.receive(fail), "child")
            ctx.watch(child)
            child.tell(1)
        return Behaviors.same()

    system.spawn(Behaviors.receive(renew), "parent").tell("go")
    await trio.testing.wait_all_tasks_blocked()
    assert len(again) == 3


async def test_a_child_can_watch_its_parent(system: ActorSystem) -> None:
    seen: list[object] = []

    async def watch_parent(ctx: ActorContext[Command]) -> Behavior[Command]:
        assert ctx.parent is not None
        ctx.watch(ctx.parent)
        return watcher(seen)

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.spawn(Behaviors.setup(watch_parent), "child")
        return Behaviors.ignore()

    system.spawn(Behaviors.setup(make), "parent")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == []  # it ended first, as children do: nobody was left to tell


async def test_a_terminated_that_is_on_its_way_does_not_arrive_after_unwatch(system: ActorSystem) -> None:
    seen: list[object] = []

    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        seen.append(message)
        if not isinstance(message, Terminated):
            target = ctx.spawn(Behaviors.ignore(), "target")
            ctx.watch(target)
            ctx.stop(target)
            await ctx.system.wait_stopped(target)
            ctx.unwatch(target)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "watcher")
    ref.tell(("go", ref))
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [("go", ref)]


async def test_the_end_comes_after_what_was_sent_before_it(system: ActorSystem) -> None:
    seen: list[object] = []

    async def last_words(ctx: ActorContext[object], message: object) -> Behavior[object]:
        for number in range(1_000):
            ref.tell((f"message {number}", ctx.self))
        return Behaviors.stopped()

    target = system.spawn(Behaviors.receive(last_words), "target")
    ref = system.spawn(watcher(seen), "watcher")
    ref.tell(("watch", target))
    await trio.testing.wait_all_tasks_blocked()
    target.tell("end")
    await trio.testing.wait_all_tasks_blocked()
    assert seen[-1] == Terminated(target)
    assert len(seen) == 1_001


async def test_a_stop_overtakes_the_end_of_a_watched_actor(system: ActorSystem) -> None:
    seen, gate = list[object](), trio.Event()
    target = system.spawn(Behaviors.ignore(), "target")
    ref = system.spawn(busy_watcher(seen, gate), "watcher")
    ref.tell(("watch", target))
    await trio.testing.wait_all_tasks_blocked()
    await stop_and_wait(system, target)
    system.stop(ref)
    gate.set()
    await system.wait_stopped(ref)
    assert seen == []
    assert system.statistics().dead_letters == {}


@pytest.mark.parametrize("overflow", list(MailboxOverflowStrategy))
async def test_the_end_takes_no_room_and_keeps_its_place_in_a_full_mailbox(
    system: ActorSystem, overflow: MailboxOverflowStrategy
) -> None:
    seen, gate = list[object](), trio.Event()

    async def last_words(ctx: ActorContext[object], message: object) -> Behavior[object]:
        tell_all(ref, "one", "two")
        return Behaviors.stopped()

    target = system.spawn(Behaviors.receive(last_words), "target")
    ref = system.spawn(busy_watcher(seen, gate), "watcher", mailbox=Mailbox(2, overflow))
    ref.tell(("watch", target))
    await trio.testing.wait_all_tasks_blocked()
    target.tell("end")
    await system.wait_stopped(target)
    with suppress(MailboxFull):
        ref.tell("three")
    assert system.statistics().mailbox_size == 2
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    ends = Terminated(target)
    pushes_out = overflow is MailboxOverflowStrategy.drop_oldest
    assert seen == (["two", ends, "three"] if pushes_out else ["one", "two", ends])


async def test_the_oldest_message_is_pushed_out_from_behind_the_end_of_another(system: ActorSystem) -> None:
    seen, gate = list[object](), trio.Event()
    targets = tuple(system.spawn(Behaviors.ignore(), f"target-{number}") for number in range(3))
    mailbox = Mailbox(1, MailboxOverflowStrategy.drop_oldest)
    ref = system.spawn(busy_watcher(seen, gate), "watcher", mailbox=mailbox)
    ref.tell(("watch", *targets))
    await trio.testing.wait_all_tasks_blocked()
    for target in targets:
        await stop_and_wait(system, target)
    tell_all(ref, "one", "two")
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [*map(Terminated, targets), "two"]
    assert system.statistics().dead_letters == {"mailbox full": 1}


async def test_the_end_of_another_lets_no_sender_in_beyond_the_bound() -> None:
    waiting, gate = list[int](), trio.Event()

    async def slow(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if isinstance(message, tuple):
            for ref in message:
                ctx.watch(ref)
            await gate.wait()
        waiting.append(ctx.system.statistics().mailboxes.get("/watcher", 0))
        return Behaviors.same()

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        targets = tuple(system.spawn(Behaviors.ignore(), f"target-{number}") for number in range(3))
        ref = system.spawn(Behaviors.receive(slow), "watcher", mailbox=Mailbox(2))
        ref.tell(targets)
        await trio.testing.wait_all_tasks_blocked()
        for target in targets:
            await stop_and_wait(system, target)
        for number in range(6):
            nursery.start_soon(ref.send, number)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert waiting == [2, 2, 2, 2, 2, 2, 2, 2, 1, 0]


async def test_an_actor_watched_by_its_name_or_an_adapter_is_told_by_that_and_can_be_unwatched_by_it(
    system: ActorSystem,
) -> None:
    seen: list[object] = []
    adapters: list[ActorRef[int]] = []

    async def adapted(ctx: ActorContext[object]) -> Behavior[object]:
        adapters.append(ctx.message_adapter(str, int))
        return Behaviors.ignore()

    ref = system.spawn(watcher(seen), "watcher")
    for round_, is_unwatched in enumerate([False, True, False]):
        target = system.spawn(Behaviors.setup(adapted), "target")
        await trio.testing.wait_all_tasks_blocked()
        for known in (kernel_of(system).ref_for("/target", 0), adapters[-1]):
            ref.tell(("watch", known))
            await trio.testing.wait_all_tasks_blocked()
            if is_unwatched:
                ref.tell(("unwatch", known))
        await trio.testing.wait_all_tasks_blocked()
        system.stop(target)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == ([] if is_unwatched else [Terminated(adapters[-1])]), round_
        seen.clear()


async def test_the_end_of_an_actor_watched_by_its_name_is_withdrawn_by_its_name(system: ActorSystem) -> None:
    seen, gate = list[object](), trio.Event()

    async def slow(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        if isinstance(message, Terminated):
            seen.append(message)
        else:
            ctx.watch(message[1])
            await gate.wait()
            ctx.unwatch(message[1])
        return Behaviors.same()

    target = system.spawn(Behaviors.ignore(), "target")
    by_name = kernel_of(system).ref_for("/target", 0)
    system.spawn(Behaviors.receive(slow), "watcher").tell(("watch", by_name))
    await trio.testing.wait_all_tasks_blocked()
    await stop_and_wait(system, target)
    system.spawn(Behaviors.ignore(), "target")  # the name leads to another one now
    gate.set()
    await trio.testing.wait_all_tasks_blocked()
    assert seen == []


async def test_a_watcher_that_ended_is_forgotten_by_whom_it_watched(system: ActorSystem) -> None:
    target = system.spawn(Behaviors.ignore(), "target")
    ref = system.spawn(watcher([]), "watcher")
    ref.tell(("watch", target))
    await trio.testing.wait_all_tasks_blocked()
    cell = target.owner()  # type: ignore[attr-defined]  # looks inside
    assert len(cell.watchers) == 1
    await stop_and_wait(system, ref)
    assert cell.watchers == {}


async def test_what_is_no_actor_cannot_be_watched() -> None:
    refused: list[str] = []

    async def try_all(ctx: ActorContext[int], message: int) -> Behavior[int]:
        for ref in (ctx.self, ctx.system.event_stream, ForeignRef()):
            with pytest.raises(ValueError, match="cannot watch") as caught:
                ctx.watch(ref)
            refused.append(str(caught.value))
        return Behaviors.same()

    async with ActorSystem() as system:
        system.spawn(Behaviors.receive(try_all), "trying").tell(1)
        await trio.testing.wait_all_tasks_blocked()
    assert ["itself" in refused[0], "no actor" in refused[1], "this system" in refused[2]] == [True, True, True]


async def test_a_remote_watch_goes_through_the_hook_and_comes_back() -> None:
    seen: list[object] = []
    calls: list[object] = []
    foreign = ForeignRef()
    async with ActorSystem() as system:
        kernel_of(system).hooks.watch_remote = lambda who, ref: calls.append(("watch", who.path, ref))
        kernel_of(system).hooks.unwatch_remote = lambda who, ref: calls.append(("unwatch", who.path, ref))
        ref = system.spawn(watcher(seen), "watcher")
        ref.tell(("watch", foreign))
        await trio.testing.wait_all_tasks_blocked()
        kernel_of(system).terminated(ref, foreign)
        await trio.testing.wait_all_tasks_blocked()
        assert seen == [Terminated(foreign)]
        ref.tell(("watch", foreign))
        await trio.testing.wait_all_tasks_blocked()
    assert calls == [("watch", "/watcher", foreign)] * 2 + [("unwatch", "/watcher", foreign)]
