"""Pools: who gets a message, what becomes of routees that stop, and of asks through a router."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from helpers.behaviors import forwarding, hanging, tell_all
from helpers.messages import Left
from trio.testing import wait_all_tasks_blocked as settle

from casty.behaviors import Behaviors
from casty.config import Mailbox, MailboxOverflowStrategy
from casty.errors import AskFailed
from casty.protocol.actor.supervision import Restart
from casty.refs import ServiceKey
from casty.routers import Routers
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import ActorFailed
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.testing import BehaviorTestKit, Spawned, Told

Seen = list[tuple[str, str]]


def worker(seen: Seen) -> Behavior[str]:
    """Note each message with the worker's name; "stop" stops it, "fail" fails."""

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        if message == "fail":
            raise ValueError(message)
        seen.append((ctx.self.path.rpartition("/")[2], message))
        return Behaviors.stopped() if message == "stop" else Behaviors.same()

    return Behaviors.receive(handle)


async def test_a_pool_hands_messages_to_its_children_in_turn() -> None:
    seen: Seen = []
    async with ActorSystem() as system:
        ref = system.spawn(Routers.pool(3, worker(seen)), "pool")
        for message in "abcd":
            ref.tell(message)
            await settle()
    assert seen == [("1", "a"), ("2", "b"), ("3", "c"), ("1", "d")]


async def test_a_pool_with_random_routing_uses_all_of_them(system: ActorSystem) -> None:
    seen: Seen = []
    ref = system.spawn(Routers.pool(3, worker(seen)).with_random_routing(), "pool")
    for _ in range(200):
        ref.tell("x")
    await settle()
    assert {name for name, _ in seen} == {"1", "2", "3"}


async def test_a_pool_with_consistent_hashing_keeps_a_key_at_its_child() -> None:
    seen: Seen = []
    async with ActorSystem() as system:
        pool = Routers.pool(4, worker(seen)).with_consistent_hashing_routing(lambda message: message[0])
        ref = system.spawn(pool, "pool")
        for letter in "abcdefgh":
            for number in range(3):
                ref.tell(f"{letter}{number}")
        await settle()
    places = {letter: {name for name, message in seen if message[0] == letter} for letter in "abcdefgh"}
    assert all(len(names) == 1 for names in places.values())
    assert len(set.union(*places.values())) > 1


async def test_a_broadcast_goes_to_everyone_and_the_rest_to_one(system: ActorSystem) -> None:
    seen: Seen = []
    ref = system.spawn(Routers.pool(3, worker(seen)).with_broadcast_predicate(str.isupper), "pool")
    tell_all(ref, "ALL", "one")
    await settle()
    assert sorted(seen) == [("1", "ALL"), ("1", "one"), ("2", "ALL"), ("3", "ALL")]


async def test_a_child_that_stops_is_left_out_and_the_pool_ends_with_the_last(system: ActorSystem) -> None:
    seen: Seen = []
    ref = system.spawn(Routers.pool(2, worker(seen)), "pool")
    for message in ("stop", "a", "b", "stop"):
        ref.tell(message)
        await settle()
    await system.wait_stopped(ref)
    ref.tell("late")
    assert system.statistics().dead_letters == {"actor stopped": 1}
    assert seen == [("1", "stop"), ("2", "a"), ("2", "b"), ("2", "stop")]


async def test_a_supervised_child_stays_in_the_pool() -> None:
    seen: Seen = []
    async with ActorSystem() as system:
        ref = system.spawn(Routers.pool(2, Behaviors.supervise(worker(seen), Restart(backoff_min=0.0))), "pool")
        for message in ("fail", "a", "b"):
            ref.tell(message)
            await settle()
    assert seen == [("2", "a"), ("1", "b")]


def slow(started: list[str]) -> Behavior[Left]:
    async def handle(ctx: ActorContext[Left], message: Left) -> Behavior[Left]:
        started.append(ctx.self.path)
        message.reply_to.tell(ctx.deadline - trio.current_time())
        await trio.sleep(2.0)
        return Behaviors.same()

    return Behaviors.receive(handle)


async def test_an_ask_through_a_router_keeps_its_deadline_and_can_be_withdrawn(
    system: ActorSystem, autojump_clock: object
) -> None:
    started: list[str] = []
    ref = system.spawn(Routers.pool(1, slow(started)), "pool")
    assert await system.ask(ref, Left, timeout=3.0) == pytest.approx(3.0)
    with trio.move_on_after(1.0):
        await system.ask(ref, Left)
    assert system.statistics().dead_letters == {"request withdrawn": 1}
    await trio.sleep(5)
    assert started == ["/pool/1"]


async def test_a_broadcast_ask_takes_its_deadline_to_everyone(system: ActorSystem, autojump_clock: object) -> None:
    lefts: list[float] = []

    async def handle(ctx: ActorContext[Left], message: Left) -> Behavior[Left]:
        lefts.append(ctx.deadline - trio.current_time())
        message.reply_to.tell(0.0)
        return Behaviors.same()

    pool = Routers.pool(3, Behaviors.receive(handle)).with_broadcast_predicate(lambda message: True)
    ref = system.spawn(pool, "pool")
    assert await system.ask(ref, Left, timeout=3.0) == 0.0
    await settle()
    assert lefts == [pytest.approx(3.0)] * 3
    assert system.statistics().dead_letters == {"ask finished": 2}


async def test_a_full_routee_makes_dead_letters_and_does_not_hurt_the_router(autojump_clock: object) -> None:
    async def handing_on(ctx: ActorContext[Left]) -> Behavior[Left]:
        child = ctx.spawn(hanging(), "child", mailbox=Mailbox(1, MailboxOverflowStrategy.reject))

        return forwarding(child)

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.setup(handing_on), "router")
        for _ in range(2):  # one in hand, one in the mailbox
            nursery.start_soon(system.ask, ref, Left)
            await settle()
        with pytest.raises(AskFailed, match="mailbox full"):
            await system.ask(ref, Left)
        nobody = system.spawn(Behaviors.ignore(), "nobody")
        ref.tell(Left(nobody))
        await settle()
        assert system.statistics().dead_letters == {"mailbox full": 2}
        assert system.statistics().messages_rejected == 0
        nursery.cancel_scope.cancel()


async def test_a_group_without_a_cluster_says_what_it_needs() -> None:
    key = ServiceKey[str]("echo")
    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Routers.group(key), "group")
        assert "start a Cluster in this system first" in str((await anext(failures)).exception)


def test_a_pool_of_nobody_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 routee, got 0"):
        Routers.pool(0, worker([]))
    with pytest.raises(ValueError, match="virtual_nodes must be at least 1, got 0"):
        Routers.pool(1, worker([])).with_consistent_hashing_routing(str, virtual_nodes=0)


def test_a_router_knows_the_type_of_its_messages() -> None:
    assert Routers.pool(1, worker([])).message_type() is str
    assert Routers.group(ServiceKey[int]("numbers")).message_type() is int


def test_the_kit_runs_a_router_message_by_message() -> None:
    kit = BehaviorTestKit(Behaviors.setup(handing_on))
    kit.run("a")
    child = kit.expect_effect(Spawned).ref
    assert kit.expect_effect(Told) == Told(child, "a")


async def handing_on(ctx: ActorContext[str]) -> Behavior[str]:
    child = ctx.spawn(worker([]), "child")

    return forwarding(child)
