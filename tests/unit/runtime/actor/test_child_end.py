"""Stopping a child and waiting for its end in a handler, and what could wait for itself there."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress

import pytest
import trio
import trio.testing
from helpers.behaviors import hanging, tell_all
from helpers.messages import Get

from casty.behaviors import Behaviors
from casty.config import Mailbox, MailboxOverflowStrategy, SystemConfig
from casty.errors import AskFailed, MailboxFull
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.signals import PoisonPill
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem

Step = Callable[[ActorContext[object]], Awaitable[object]]


def parent(step: Step, out: list[object], child: Behavior[object] | None = None) -> Behavior[object]:
    """Spawn ``child`` under the name "child"; take the step at the message "step", answer a Get with 1."""

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.spawn(child or Behaviors.ignore(), "child")
        return Behaviors.receive(handle)

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if message == "step":
            out.append(await step(ctx))
        elif isinstance(message, Get):
            message.reply_to.tell(1)
        return Behaviors.same()

    return Behaviors.setup(make)


async def steps(step: Step, child: Behavior[object] | None = None, *, before: object = None) -> list[object]:
    """Return what one step of a parent gave, and whether it still answers."""
    out: list[object] = []
    async with ActorSystem(config=SystemConfig(stop_timeout=2.0)) as system:
        ref = system.spawn(parent(step, out, child), "parent")
        await trio.testing.wait_all_tasks_blocked()
        if before is not None:
            system.lookup("/parent/child").of(object).tell(before)
            await trio.testing.wait_all_tasks_blocked()
        ref.tell("step")
        out.append(await system.ask(ref, Get, timeout=60.0))
    return out


async def test_a_name_is_free_again_in_the_same_handler(autojump_clock: object) -> None:
    async def replace(ctx: ActorContext[object]) -> object:
        (old,) = ctx.children
        await ctx.stopped(old)
        new = ctx.spawn(Behaviors.ignore(), "child")
        return new.path == old.path and new != old and ctx.children == (new,)

    assert await steps(replace) == [True, 1]


async def test_a_used_name_says_how_it_becomes_free(autojump_clock: object) -> None:
    async def collide(ctx: ActorContext[object]) -> object:
        (old,) = ctx.children
        ctx.stop(old)
        with pytest.raises(ValueError, match=r"name is free again .* `await ctx\.stopped\(child\)`"):
            ctx.spawn(Behaviors.ignore(), "child")
        await ctx.stopped(old)
        await ctx.stopped(old)
        return ctx.spawn(Behaviors.ignore(), "child").path

    assert await steps(collide) == ["/parent/child", 1]


async def test_all_below_the_child_has_ended_too(autojump_clock: object) -> None:
    async def slow_end(ctx: ActorContext[object]) -> None:
        await trio.sleep(1.0)

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        ctx.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=slow_end), "grandchild")
        return Behaviors.ignore()

    async def replace(ctx: ActorContext[object]) -> object:
        (old,) = ctx.children
        began = trio.current_time()
        await ctx.stopped(old)
        return trio.current_time() - began

    waited, _ = await steps(replace, Behaviors.setup(make))
    assert waited == pytest.approx(1.0, abs=0.01)


async def test_only_own_children_can_be_waited_for(autojump_clock: object) -> None:
    async def refuse(ctx: ActorContext[object]) -> object:
        (child,) = ctx.children
        others = [ctx.self, ctx.system.event_stream, ctx.system.spawn(Behaviors.ignore(), "other")]
        for other in others:
            with pytest.raises(ValueError, match="own children only"):
                await ctx.stopped(other)
        for drain in (-1.0, math.nan, math.inf, "1"):
            with pytest.raises(ValueError, match="drain must be a finite number"):
                await ctx.stopped(child, drain=drain)  # type: ignore[arg-type]  # one is wrong on purpose
        return ctx.children == (child,)

    assert await steps(refuse) == [True, 1]


def asks_parent(told: list[str], *, in_hook: bool) -> Behavior[object]:
    async def ask(ctx: ActorContext[object]) -> None:
        assert ctx.parent is not None
        try:
            await ctx.ask(ctx.parent.of(Get), Get, timeout=50.0)
        except AskFailed as error:
            told.append(str(error))

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        await trio.sleep(0.5)  # so that the parent waits already when it is asked
        await ask(ctx)
        return Behaviors.same()

    if in_hook:
        return Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=ask)
    return Behaviors.receive(handle)


@pytest.mark.parametrize("in_hook", [False, True])
async def test_a_child_that_asks_its_waiting_parent_is_told_at_once(autojump_clock: object, in_hook: bool) -> None:
    told: list[str] = []

    async def replace(ctx: ActorContext[object]) -> object:
        began = trio.current_time()
        await ctx.stopped(*ctx.children)
        return trio.current_time() - began < 1.0

    assert await steps(replace, asks_parent(told, in_hook=in_hook), before="go") == [True, 1]
    assert len(told) == 1
    assert "/parent/child asks /parent, which waits for the end of /parent/child" in told[0]


async def test_a_task_style_child_that_asks_its_waiting_parent_is_told_at_once(autojump_clock: object) -> None:
    told: list[str] = []

    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        async for _ in inbox:
            pass
        assert ctx.parent is not None
        with pytest.raises(AskFailed) as caught:
            await ctx.ask(ctx.parent.of(Get), Get, timeout=50.0)
        told.append(str(caught.value))

    async def replace(ctx: ActorContext[object]) -> object:
        began = trio.current_time()
        await ctx.stopped(*ctx.children)
        return trio.current_time() - began < 0.1

    assert await steps(replace, Behaviors.task(main)) == [True, 1]
    assert len(told) == 1


@pytest.mark.parametrize("through", [False, True])
async def test_a_child_that_waits_for_its_parent_already_is_told_when_the_parent_begins_to_wait(
    autojump_clock: object, through: bool
) -> None:
    """With ``through`` it waits for another actor, which waits for the parent."""
    told: list[str] = []

    async def ask_parent(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if isinstance(message, Get):
            message.reply_to.tell(0)
            return Behaviors.same()
        try:
            await ctx.ask(ctx.system.lookup("/parent").of(Get), Get, timeout=50.0)
        except AskFailed as error:
            told.append(str(error))
        return Behaviors.same()

    async def ask_other(ctx: ActorContext[object], message: object) -> Behavior[object]:
        other = ctx.system.spawn(Behaviors.receive(ask_parent), "other")
        other.tell("busy")  # so that the child's own request waits behind
        await ctx.ask(other.of(Get), Get, timeout=50.0)
        return Behaviors.same()

    async def replace(ctx: ActorContext[object]) -> object:
        ctx.children[0].of(object).tell("go")
        await trio.sleep(0.5)  # the child asks, and its request waits
        began = trio.current_time()
        await ctx.stopped(*ctx.children)
        return trio.current_time() - began < 0.1

    child = Behaviors.receive(ask_other if through else ask_parent)
    out = await steps(replace, child)
    assert out == [True, 1]
    assert told[0] == "/parent waits for the end of /parent/child, and takes no message until then"


async def test_what_does_not_end_is_cut_off(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    async def replace(ctx: ActorContext[object]) -> object:
        began = trio.current_time()
        await ctx.stopped(*ctx.children)
        return trio.current_time() - began

    waited, _ = await steps(replace, hanging(), before="go")
    assert waited == pytest.approx(2.0, abs=0.01)
    assert "/parent/child" in caplog.text


async def test_a_parent_that_is_to_stop_itself_does_not_wait_for_ever(autojump_clock: object) -> None:
    async def hang(ctx: ActorContext[object], message: object) -> Behavior[object]:
        with trio.CancelScope(shield=True):
            await trio.sleep(3.0)
        return Behaviors.same()

    async def replace(ctx: ActorContext[object]) -> object:
        ctx.stop(ctx.self)
        await ctx.stopped(*ctx.children)
        return "ended"

    out: list[object] = []
    async with ActorSystem(config=SystemConfig(stop_timeout=2.0)) as system:
        ref = system.spawn(parent(replace, out, Behaviors.receive(hang)), "parent")
        await trio.testing.wait_all_tasks_blocked()
        system.lookup("/parent/child").of(object).tell("go")
        await trio.testing.wait_all_tasks_blocked()
        ref.tell("step")
        with trio.fail_after(10):
            await system.wait_stopped(ref)
    assert out == []


async def test_a_wait_that_is_cancelled_leaves_nothing_behind(autojump_clock: object) -> None:
    async def slow(ctx: ActorContext[object], message: object) -> Behavior[object]:
        await trio.sleep(1.5)
        return Behaviors.same()

    async def replace(ctx: ActorContext[object]) -> object:
        (child,) = ctx.children
        with trio.move_on_after(0.5) as scope:
            await ctx.stopped(child)
        assert scope.cancelled_caught
        await ctx.stopped(child)
        return ctx.children

    assert await steps(replace, Behaviors.receive(slow), before="go") == [(), 1]


class Kept:
    """A child that takes a second for each message, and notes them."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    async def handle(self, ctx: ActorContext[object], message: object) -> Behavior[object]:
        await trio.sleep(1.0)
        self.seen.append(message)
        return Behaviors.same()

    def behavior(self) -> Behavior[object]:
        return Behaviors.receive(self.handle)

    def drained_when_full(self, overflow: MailboxOverflowStrategy, drain: float, out: list[float]) -> Behavior[object]:
        """Return a parent that fills the mailbox of this child, stops it, and notes the time of its end."""

        async def make(ctx: ActorContext[object]) -> Behavior[object]:
            child = ctx.spawn(self.behavior(), "child", mailbox=Mailbox(3, overflow))
            tell_all(child, *range(3))
            await ctx.stopped(child, drain=drain)
            out.append(trio.current_time())
            return Behaviors.ignore()

        return Behaviors.setup(make)


@pytest.mark.parametrize(("drain", "seen", "waited"), [(0.0, [0], 0.5), (60.0, [0, 1, 2, 3], 3.5), (1.0, [0, 1], 1.5)])
async def test_what_waits_in_the_mailbox_is_handled_within_the_time_for_it(
    autojump_clock: object, drain: float, seen: list[int], waited: float
) -> None:
    kept, out = Kept(), list[object]()

    async def replace(ctx: ActorContext[object]) -> object:
        (child,) = ctx.children
        for number in range(4):
            child.of(object).tell(number)
        await trio.sleep(0.5)
        began = trio.current_time()
        await ctx.stopped(child, drain=drain)
        return trio.current_time() - began

    async with ActorSystem() as system:
        system.spawn(parent(replace, out, kept.behavior()), "parent").tell("step")
        await trio.sleep(10.0)
        letters = system.statistics().dead_letters
    assert kept.seen == seen
    assert out == [pytest.approx(waited, abs=0.01)]
    assert sum(letters.values()) in (4 - len(seen), 5 - len(seen))  # the last with the pill that came too late


@pytest.mark.parametrize("overflow", list(MailboxOverflowStrategy))
async def test_a_full_mailbox_is_drained_too(
    system: ActorSystem, autojump_clock: object, overflow: MailboxOverflowStrategy
) -> None:
    kept, out = Kept(), list[float]()
    began = trio.current_time()
    system.spawn(kept.drained_when_full(overflow, 10.0, out), "parent")
    await trio.sleep(20.0)
    assert system.statistics().dead_letters == {}
    assert kept.seen == [0, 1, 2]
    assert out == [pytest.approx(began + 3.0, abs=0.01)]


@pytest.mark.parametrize("overflow", list(MailboxOverflowStrategy))
async def test_what_comes_while_a_full_mailbox_is_drained_pushes_nothing_out(
    autojump_clock: object, overflow: MailboxOverflowStrategy
) -> None:
    kept, out = Kept(), list[float]()
    async with ActorSystem() as system:
        began = trio.current_time()
        system.spawn(kept.drained_when_full(overflow, 60.0, out), "parent")
        await trio.sleep(0.5)
        for number in range(3, 9):
            with suppress(MailboxFull):
                system.lookup("/parent/child").of(object).tell(number)
        await trio.sleep(100.0)
        statistics = system.statistics()
    assert kept.seen == [0, 1, 2]
    assert out == [pytest.approx(began + 3.0, abs=0.01)]
    assert sum(statistics.dead_letters.values()) + statistics.messages_rejected == 6


async def test_a_send_to_itself_while_it_is_drained_waits_for_nothing_under_drop_oldest(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen = list[object]()

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        seen.append(message)
        await trio.sleep(1.0)
        await ctx.self.send("again")
        return Behaviors.same()

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        child = ctx.spawn(Behaviors.receive(handle), "child", mailbox=Mailbox(3, MailboxOverflowStrategy.drop_oldest))
        tell_all(child, *range(3))
        await ctx.stopped(child, drain=60.0)
        return Behaviors.ignore()

    system.spawn(Behaviors.setup(make), "parent")
    await trio.sleep(100.0)
    assert sum(system.statistics().dead_letters.values()) == 3
    assert seen == [0, 1, 2]


async def test_a_drain_whose_wait_was_cancelled_still_ends_in_time(system: ActorSystem, autojump_clock: object) -> None:
    kept = Kept()

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        child = ctx.spawn(kept.behavior(), "child")
        tell_all(child, *range(30))
        with trio.move_on_after(0.1):
            await ctx.stopped(child, drain=3.5)
        return Behaviors.ignore()

    system.spawn(Behaviors.setup(make), "parent")
    await trio.sleep(20.0)
    assert system.lookup("/parent/child") is None
    assert kept.seen == [0, 1, 2, 3]


async def test_a_task_of_the_actor_waits_while_the_actor_goes_on(system: ActorSystem, autojump_clock: object) -> None:
    out: list[object] = []

    async def slow(ctx: ActorContext[object]) -> None:
        assert ctx.parent is not None
        out.append(await ctx.ask(ctx.parent.of(Get), Get))

    async def waits(ctx: ActorContext[object]) -> None:
        await ctx.stopped(*ctx.children)
        out.append("ended")

    async def replace(ctx: ActorContext[object]) -> object:
        ctx.start_soon(waits, ctx)
        return "began"

    child = Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=slow)
    ref = system.spawn(parent(replace, out, child), "parent")
    await trio.testing.wait_all_tasks_blocked()
    ref.tell("step")
    await trio.sleep(1.0)
    assert out == ["began", 1, "ended"]


async def test_a_pill_told_before_is_waited_for(system: ActorSystem, autojump_clock: object) -> None:
    kept = Kept()

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        child = ctx.spawn(kept.behavior(), "child")
        child.tell(0)
        child.of(PoisonPill).tell(PoisonPill())
        await ctx.stopped(child, drain=5.0)
        ctx.spawn(Behaviors.ignore(), "child")
        return Behaviors.ignore()

    system.spawn(Behaviors.setup(make), "parent")
    await trio.sleep(2.0)
    assert system.lookup("/parent/child") is not None
    assert kept.seen == [0]


async def test_a_child_is_drained_of_what_waits_in_queues_of_other_nodes_too(autojump_clock) -> None:
    gate, seen = trio.Event(), list[int]()

    async def work(ctx: ActorContext[int], message: int) -> Behavior[int]:
        await gate.wait()
        seen.append(message)
        return Behaviors.same()

    async def setup(ctx: ActorContext[str]) -> Behavior[str]:
        child = ctx.spawn(Behaviors.receive(work), "child")

        async def stop(ctx: ActorContext[str], message: str) -> Behavior[str]:
            await ctx.stopped(child, drain=10.0)
            return Behaviors.same()

        return Behaviors.receive(stop)

    async with ActorSystem("shop") as system:
        parent = system.spawn(Behaviors.setup(setup), "parent")
        await trio.sleep(1)
        mailbox = system.lookup("/parent/child").mailbox
        for number in range(200):
            queue, _ = mailbox.queue_for("another node")
            queue.append(number)
            mailbox.wake()
        parent.tell("stop")
        await trio.sleep(1)
        gate.set()
        await trio.sleep(1)
        assert seen == list(range(200))
        assert not system.statistics().dead_letters
