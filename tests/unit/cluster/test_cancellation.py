"""A system that is cancelled before any step of any task leaves nothing, in bounded time, and loses no error."""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    Escalate,
    Inbox,
    MemoryNetwork,
    ServiceKey,
    SystemConfig,
    Terminated,
    message,
)
from casty.testing import no_leaks

STEPS_MAX = 5_000
ENDS_WITHIN = 20.0
CONFIG = SystemConfig(stop_timeout=1.0, shutdown_timeout=3.0)


@message("test.cancellation.Count")
@dataclass(frozen=True)
class Count:
    depth: int
    reply_to: ActorRef[int]


COUNTER = ServiceKey[Count]("counter")


class Fault(Exception):
    """What the code under test raises on purpose."""


@dataclass
class Life:
    """One run of the scenario: how long it took, and which errors were raised and came out."""

    raised: set[str]
    came_out: set[str]
    complete: bool = False

    def fail(self, text: str) -> Fault:
        self.raised.add(text)
        return Fault(text)

    def counter(self) -> Behavior[Count | Terminated]:
        async def count(ctx: ActorContext[Count | Terminated], message: Count | Terminated):
            match message:
                case Count(depth, reply_to) if depth:
                    child = ctx.spawn(self.counter(), f"below-{depth}")
                    ctx.watch(child)
                    ctx.schedule_tick(message, 100.0)
                    ctx.start_soon(trio.sleep_forever)
                    below: int = await ctx.ask(child, lambda inner: Count(depth - 1, inner), timeout=2.0)
                    reply_to.tell(below + 1)
                case Count(_, reply_to):
                    reply_to.tell(0)
                case Terminated():
                    pass
            return Behaviors.same()

        async def clean_up(ctx: ActorContext[Count | Terminated]) -> None:
            await trio.sleep(0.01)

        return Behaviors.with_lifecycle(Behaviors.receive(count), post_stop=clean_up)

    async def escalating(self, ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        async for _ in inbox:
            await trio.sleep(0.02)
            raise self.fail("actor")

    def take(self, error: BaseException) -> None:
        if isinstance(error, BaseExceptionGroup):
            for inner in error.exceptions:
                self.take(inner)
        elif isinstance(error, Fault):
            self.came_out.add(str(error))
        else:
            raise error


async def alone(life: Life) -> None:
    async with ActorSystem("shop", config=CONFIG) as system:
        top = system.spawn(life.counter(), "top")
        depth: int = await system.ask(top, lambda inner: Count(2, inner))
        assert depth == 2
        system.spawn(Behaviors.supervise(Behaviors.task(life.escalating), Escalate()), "failing").tell("go")
        await trio.sleep(0.05)
        raise life.fail("block")


async def among_others(life: Life) -> None:
    network = MemoryNetwork()
    seed = ClusteredActorSystem(name="shop", host="a", port=1, node_id="a", network=network.host("a"), config=CONFIG)
    node = ClusteredActorSystem(
        name="shop", host="b", port=1, node_id="b", seed_nodes=[("a", 1)], network=network.host("b"), config=CONFIG
    )
    async with seed, node:
        seed.spawn(Behaviors.discoverable(life.counter(), key=COUNTER), "counter")
        (found,) = (await node.find(COUNTER, at_least=1)).instances
        depth: int = await node.ask(found.ref, lambda inner: Count(1, inner))
        assert depth == 1


async def cancelled_at(step: int, scenario, cancel_at) -> Life:
    """Run a scenario and cancel it before a step of any task."""
    life = Life(set(), set())
    began = trio.current_time()
    async with no_leaks():
        with trio.CancelScope() as scope, cancel_at(step, scope):
            try:
                await scenario(life)
            except (Fault, BaseExceptionGroup) as error:
                life.take(error)
        life.complete = not scope.cancel_called  # a cancelled leaving, which is shielded, ends well too
    assert trio.current_time() - began < ENDS_WITHIN
    assert life.came_out == life.raised
    return life


async def test_a_system_with_everything_in_it(autojump_clock, cancel_at):
    step = 1
    while not (life := await cancelled_at(step, alone, cancel_at)).complete:
        step += 1
        assert step < STEPS_MAX
    assert step > 30
    assert life.raised == {"actor"}  # which cancels the block before its own error


async def test_two_nodes_of_a_cluster(autojump_clock, cancel_at):
    step = 1
    while not (await cancelled_at(step, among_others, cancel_at)).complete:
        step += 7  # every step takes half a minute
        assert step < STEPS_MAX
    assert step > 250  # to the end of both blocks, not only into the first
