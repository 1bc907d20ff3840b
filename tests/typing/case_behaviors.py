"""What behaviours are made of (stashes, timers) takes messages of the behaviour's type only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from casty import (
    ActorContext,
    ActorRef,
    ActorRestarted,
    ActorSystem,
    Behavior,
    Behaviors,
    PoolRouter,
    ReceiveTarget,
    Register,
    Routers,
    ServiceKey,
    StashBuffer,
    SystemConfig,
    TimerScheduler,
)
from casty.testing import BehaviorTestKit


@dataclass(frozen=True)
class Add:
    amount: int


@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int]


Command = Add | Get


async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
    ctx.set_receive_timeout(1.0, Add(1))
    ctx.set_receive_timeout(1.0, "add")  # expect-error
    ctx.schedule_with_fixed_delay(Add(1), 1.0)
    ctx.schedule_with_fixed_delay("add", 1.0)  # expect-error
    assert_type(ctx.stash_buffer(10), StashBuffer[Command])
    return Behaviors.restart()


async def with_stash(stash: StashBuffer[Command]) -> Behavior[Command]:
    stash.stash(Add(1))
    stash.stash("add")  # expect-error
    for message in stash:
        assert_type(message, Command)
    stash.unstash_all(Behaviors.receive(text))  # expect-error
    return stash.unstash_all(Behaviors.receive(handle))


async def with_timers(timers: TimerScheduler[Command]) -> Behavior[Command]:
    timers.start_single_timer(Add(1), 1.0)
    timers.start_single_timer("add", 1.0)  # expect-error
    timers.start_timer_at_fixed_rate("add", 1.0)  # expect-error
    timers.start_timer_with_fixed_delay("add", 1.0)  # expect-error
    return Behaviors.receive(handle)


async def text(ctx: ActorContext[str], message: str) -> Behavior[str]:
    return Behaviors.same()


async def makes(system: ActorSystem) -> None:
    stashing = system.spawn(Behaviors.with_stash(10, with_stash), "a")
    assert_type(stashing, ActorRef[Command])
    stashing.tell("add")  # expect-error
    system.spawn(Behaviors.with_timers(with_timers), "b").tell(Add(1))
    Behaviors.with_timers(with_stash)  # expect-error
    Behaviors.with_stash(10, with_timers)  # expect-error


async def see(ctx: ActorContext[Command], message: Command, target: ReceiveTarget[Command]) -> Behavior[Command]:
    await target("add")  # expect-error
    if isinstance(message, Add):
        return await target(Add(message.amount + 1))
    return await target(message)


async def intercepts(system: ActorSystem, adds: ActorRef[Add], all_of_them: ActorRef[object]) -> None:
    ref = system.spawn(Behaviors.intercept(see, Behaviors.receive(handle)), "a")
    assert_type(ref, ActorRef[Command])
    ref.tell("add")  # expect-error
    Behaviors.intercept(see, Behaviors.receive(text))  # expect-error
    Behaviors.intercept(handle, Behaviors.receive(handle))  # expect-error
    system.spawn(Behaviors.spy(all_of_them, Behaviors.receive(handle)), "b").tell(Add(1))
    spied: Behavior[Command] = Behaviors.spy(adds, Behaviors.receive(handle))  # expect-error
    system.spawn(spied, "c")


def amount(message: Command) -> int:
    return message.amount if isinstance(message, Add) else 0


def length(message: str) -> int:
    return len(message)


async def routes(system: ActorSystem, key: ServiceKey[Command], texts: ActorRef[str]) -> None:
    pool = Routers.pool(3, Behaviors.receive(handle))
    assert_type(pool, PoolRouter[Command])
    ref = system.spawn(pool.with_consistent_hashing_routing(amount), "a")
    assert_type(ref, ActorRef[Command])
    ref.tell("add")  # expect-error
    pool.with_consistent_hashing_routing(length)  # expect-error
    pool.with_broadcast_predicate(str.isupper)  # expect-error
    system.spawn(Routers.group(key).with_random_routing(), "b").tell("add")  # expect-error
    system.spawn(Routers.group(key), "c").tell(Add(1))


async def forwards(ctx: ActorContext[Command], message: Command, texts: ActorRef[str]) -> float:
    ctx.forward(ctx.self, message)
    ctx.forward(texts, message)  # expect-error
    return ctx.deadline


async def subscribes(system: ActorSystem) -> None:
    async with system.events(ActorRestarted) as events:
        async for event in events:
            assert_type(event, ActorRestarted)
            text: str = event.ref  # expect-error
            system.log(text)  # expect-error
    waiting: str = system.statistics().mailbox_size  # expect-error
    assert waiting
    SystemConfig(mailboxes={"/a": 5})  # expect-error


def whole() -> Behavior[Command]:
    return Behaviors.receive(handle)


def public(key: ServiceKey[Add]) -> Behavior[Add]:
    return Behaviors.discoverable(whole(), key=key)


def not_narrowed(key: ServiceKey[Add]) -> Behavior[Command]:
    return Behaviors.discoverable(whole(), key=key)  # expect-error


def keeps_private(system: ActorSystem, key: ServiceKey[Add], get: Get) -> None:
    ref = system.spawn(public(key), "a")
    assert_type(ref, ActorRef[Add])
    ref.tell(get)  # expect-error
    Register(key, system.spawn(whole(), "b"))
    BehaviorTestKit(whole()).run(get)
    BehaviorTestKit(public(key)).run(get)  # expect-error
