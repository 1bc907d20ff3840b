"""Nothing outlives a system, and nothing of a stopped actor stays in one that lives on."""

from __future__ import annotations

import gc
import random
import weakref
from contextlib import suppress
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait
from helpers.tasks import in_background

from casty.behaviors import Behaviors
from casty.config import Mailbox, SystemConfig
from casty.errors import AskFailed
from casty.refs import ActorRef
from casty.runtime.actor.cell import Cell
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.testing.inspect import kernel_of, paths_of, subscriptions_of


@dataclass(frozen=True)
class Work:
    rest: int
    reply_to: ActorRef[int]


Message = Work | Terminated | str


async def busy(ctx: ActorContext[Message], message: Message) -> Behavior[Message]:
    """Do a bit of everything that could leave something behind."""
    match message:
        case Work(rest, reply_to) if rest > 0:
            child = ctx.spawn(busy_behavior(), f"child-{ctx.system.statistics().messages_delivered}-{rest}")
            ctx.watch(child)
            ctx.schedule_tick("tick", 0.3)
            ctx.start_soon(trio.sleep_forever)
            ctx.pipe_to_self(fetch)
            below: int = await ctx.ask(child, lambda inner: Work(rest - 1, inner), timeout=1.0)
            reply_to.tell(below + 1)
        case Work(_, reply_to):
            await trio.sleep(0.1)
            reply_to.tell(0)
        case "fetched":
            ctx.stop(ctx.children[0]) if ctx.children else None
        case _:
            pass
    return Behaviors.same()


async def fetch() -> Message:
    await trio.sleep(0.2)
    return "fetched"


async def clean_up(ctx: ActorContext[Message]) -> None:
    await trio.sleep(0.05)


def busy_behavior() -> Behavior[Message]:
    return Behaviors.with_lifecycle(Behaviors.receive(busy), post_stop=clean_up)


async def looping(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
    async with in_background(trio.sleep_forever):
        async for message in inbox:
            ctx.schedule_once(message + 1, 0.01)


async def run_until_cancelled(seed: int) -> ActorSystem:
    """Run a busy system and cancel it after a number of scheduler steps that the seed chooses."""
    draw = random.Random(seed)
    system = ActorSystem(config=SystemConfig(stop_timeout=2.0, shutdown_timeout=4.0))

    async def asking(name: str) -> None:
        ref = system.spawn(busy_behavior(), name, mailbox=Mailbox(4))
        while True:
            with suppress(AskFailed):
                await system.ask_or_none(ref, lambda reply_to: Work(3, reply_to), timeout=draw.choice([0.05, 5.0]))
            await ref.send("message")

    with trio.CancelScope() as scope:
        async with system, trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(asking, f"busy-{number}")
            system.spawn(Behaviors.task(looping), "looping").tell(0)
            if draw.random() < 0.5:
                await trio.sleep(draw.uniform(0.0, 2.0))
            for _ in range(draw.randrange(40)):
                await trio.lowlevel.checkpoint()
            scope.cancel()
    return system


@pytest.mark.parametrize("seed", range(40))
async def test_a_system_that_is_cancelled_anywhere_leaves_no_task(seed: int, autojump_clock: object) -> None:
    tasks = trio.lowlevel.current_statistics().tasks_living
    began = trio.current_time()
    system = await run_until_cancelled(seed)
    assert trio.current_time() - began < 10
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    statistics = system.statistics()
    assert (statistics.actors, statistics.asks_pending) == (0, 0)
    assert paths_of(system) == ("/_event_stream", "/_scheduler")


def living_cells() -> int:
    gc.collect()
    return sum(isinstance(item, Cell) for item in gc.get_objects())


async def test_ten_thousand_actors_that_came_and_went_leave_nothing(system: ActorSystem) -> None:
    before = living_cells()  # what tests before this one still hold is theirs

    async def answer(ctx: ActorContext[Work], message: Work) -> Behavior[Work]:
        ctx.schedule_once(message, 60.0)
        message.reply_to.tell(message.rest)
        return Behaviors.same()

    await trio.testing.wait_all_tasks_blocked()
    tasks = trio.lowlevel.current_statistics().tasks_living
    for round_ in range(10):
        refs = [system.spawn(Behaviors.receive(answer), f"a{number}") for number in range(1000)]
        assert await system.ask(refs[round_], lambda reply_to: Work(1, reply_to)) == 1
        for ref in refs:
            system.stop(ref)
        for ref in refs:
            await system.wait_stopped(ref)
    await trio.testing.wait_all_tasks_blocked()
    statistics = system.statistics()
    assert (statistics.actors, statistics.asks_pending) == (0, 0)
    assert trio.lowlevel.current_statistics().tasks_living == tasks
    assert len(paths_of(system)) == 2
    assert kernel_of(system).roots.children == {}
    assert subscriptions_of(system) == {}
    del refs, ref
    assert living_cells() < before + 20


async def test_a_ref_that_is_kept_does_not_keep_what_its_actor_had() -> None:
    class Big:
        pass

    kept: list[weakref.ref[Big]] = []

    async def make(ctx: ActorContext[int]) -> Behavior[int]:
        big = Big()
        kept.append(weakref.ref(big))

        async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
            return Behaviors.same() if big else Behaviors.stopped()

        return Behaviors.receive(handle)

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.setup(make), "big")
        await trio.testing.wait_all_tasks_blocked()
        assert kept[0]() is not None
        await stop_and_wait(system, ref)
        await trio.testing.wait_all_tasks_blocked()
        gc.collect()
        assert kept[0]() is None
        ref.tell(1)


async def test_schedules_that_come_and_go_leave_no_timers(system: ActorSystem, autojump_clock: object) -> None:
    async def tick(ctx: ActorContext[int], message: int) -> Behavior[int]:
        if message < 1000:
            ctx.schedule_once(message + 1, 0.01, key="next")
            ctx.schedule_once(-1, 3600.0, key="bound")
            ctx.cancel_timer("bound")
        return Behaviors.same()

    system.spawn(Behaviors.receive(tick), "ticking").tell(0)
    await trio.sleep(20)
    assert system.statistics().messages_delivered == 1001
    assert system.statistics().timers == 0
    assert len(kernel_of(system).timer_queue._heap) < 600


@pytest.mark.parametrize("is_answered", [True, False])
async def test_an_ask_that_is_over_is_freed_without_the_collector(autojump_clock: object, is_answered: bool) -> None:
    asked: list[weakref.ref[Work]] = []

    def work(reply_to: ActorRef[int]) -> Work:
        message = Work(0, reply_to)
        asked.append(weakref.ref(message))
        return message

    async def handle(ctx: ActorContext[Work], message: Work) -> Behavior[Work]:
        if is_answered:
            message.reply_to.tell(1)
        return Behaviors.same()

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(handle), "a")
        gc.collect()
        gc.disable()
        try:
            assert await system.ask_or_none(ref, work) == (1 if is_answered else None)
            assert asked[0]() is None
        finally:
            gc.enable()
