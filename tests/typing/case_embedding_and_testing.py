"""What crosses to an embedded system is typed like the system's own; so are probes and kits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from casty import ActorRef, ActorSystem, Behavior, ClusteredActorSystem, embed
from casty.testing import BehaviorTestKit, ProbeFactory, Scheduled, TestInbox, TestProbe


@dataclass(frozen=True)
class Add:
    amount: int


@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int]


def get(reply_to: ActorRef[int]) -> Get:
    return Get(reply_to)


async def fetch(number: int) -> str:
    return str(number)


def script(behavior: Behavior[Add | Get]) -> None:
    with embed.start(lambda: ActorSystem("shop")) as app:
        assert_type(app, embed.Embedded[ActorSystem])
        ref = app.spawn(behavior, "counter")
        assert_type(ref, ActorRef[Add | Get])
        assert_type(app.ask(ref, get), int)
        assert_type(app.run(fetch, 1), str)
        assert_type(app.call(len, "four"), int)
        app.tell(ref, Add(1))
        app.tell(ref, "one")  # expect-error
        app.run(fetch, "one")  # expect-error
        app.call(len, 4)  # expect-error


async def wrong_blocks() -> None:
    async with embed.start(lambda: ActorSystem("shop")):  # expect-error
        pass
    with embed.start_async(lambda: ActorSystem("shop")):  # expect-error
        pass


async def application(ref: ActorRef[Add | Get], make: type[ClusteredActorSystem]) -> None:
    async with embed.start_async(lambda: ActorSystem("shop")) as app:
        count: int = await app.ask(ref, lambda reply_to: Get(reply_to))
        assert_type(await app.ask(ref, get), int)
        await app.tell(ref, Add(count))
        await app.tell(ref, "one")  # expect-error
        text: str = await app.ask(ref, get)  # expect-error
        await app.call(len, text)


async def probes(system: ActorSystem, factory: ProbeFactory) -> None:
    probe = TestProbe(system, Add)
    assert_type(probe, TestProbe[Add])
    assert_type(factory(int), TestProbe[int])
    assert_type(await probe.expect(Add), Add)
    assert_type(await probe.receive(), Add)
    probe.ref.tell(Add(1))
    probe.ref.tell(Get)  # expect-error
    both: TestProbe[Add | Get] = TestProbe(system)
    assert_type(await both.expect(Get), Get)


def steps(behavior: Behavior[Add | Get]) -> None:
    kit = BehaviorTestKit(behavior)
    assert_type(kit, BehaviorTestKit[Add | Get])
    replies: TestInbox[int] = kit.inbox("replies")
    kit.run(Get(replies.ref))
    assert_type(replies.take(), int)
    assert_type(kit.expect_effect(Scheduled), Scheduled)
    assert_type(kit.expect_effect(Scheduled("tick", 1.0)), Scheduled)
    kit.expect_effect("tick")  # expect-error
    kit.run("one")  # expect-error
