"""Lives of entities and of the actors that host them: failures, ends, timers, circles, and bad input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import pytest
import trio
from helpers.entities import CARTS, Add, Carts, Command, Fail, Note, Notes, add, homes, host

import casty
from casty import (
    ActorContext,
    ActorFailed,
    ActorRef,
    AskFailed,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EntityKey,
    EntityMoved,
    EntityRef,
)
from casty.address import entity_path
from casty.cluster.remoting.remote_entity_ref import RemoteEntityRef
from casty.cluster.sharding.entity_hosting import EntityHosting
from casty.protocol.effects import TimerFired
from casty.protocol.sharding.entities.entity_events import EntityEvent, EntityFailed
from casty.protocol.sharding.placement_events import ShardStuck
from casty.wire.envelope import encode_entity


@casty.message("tests.entities.AskOther")
@dataclass(frozen=True)
class AskOther:
    other: ActorRef[AskOther | Tick]
    reply_to: ActorRef[str]


@casty.message("tests.entities.Tick")
@dataclass(frozen=True)
class Tick:
    number: int


@casty.message("tests.entities.Alien")
@dataclass(frozen=True)
class Alien:
    text: str


ODD = EntityKey[AskOther | Tick]("odd")


async def test_a_factory_that_raises_is_tried_again_and_loses_no_message(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    carts, tries = Carts("a"), list[float]()

    def make(entity_id: str) -> Behavior[Command]:
        tries.append(trio.current_time())
        if len(tries) < 4:
            raise LookupError("the catalogue is not there yet")
        return carts.make(entity_id)

    a.spawn(Behaviors.sharded(make, CARTS, num_shards=4), "carts")
    b.entity(CARTS, "cart-1").tell(Note(1))
    assert await b.ask(b.entity(CARTS, "cart-1"), Notes) == [1]
    gaps = [later - earlier for earlier, later in zip(tries, tries[1:], strict=False)]
    assert [round(gap, 2) for gap in gaps] == [0.05, 0.1, 0.2]
    failed = [event for _, event in nodes.handles["a"].events if isinstance(event, EntityFailed)]
    assert [(one.entity_id, one.pause) for one in failed] == [("cart-1", 0.05), ("cart-1", 0.1), ("cart-1", 0.2)]
    assert any(isinstance(event, ActorFailed) for _, event in nodes.handles["a"].events)
    assert a.lookup("/carts") is not None


async def test_an_entity_that_never_starts_pauses_ten_seconds_at_most_and_its_asks_are_told_why(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    tries = list[float]()

    def make(entity_id: str) -> Behavior[Command]:
        tries.append(trio.current_time())
        raise LookupError("never")

    a.spawn(Behaviors.sharded(make, CARTS, num_shards=4), "carts")
    b.entity(CARTS, "cart-1").tell(Note(1))
    for system in (a, b):
        with (
            trio.fail_after(1.5),
            pytest.raises(AskFailed, match="'cart-1' of 'carts' cannot start: LookupError: never"),
        ):
            await add(system, "cart-1", timeout=5.0)
    assert len(tries) < 8
    await trio.sleep(60)
    gaps = [later - earlier for earlier, later in zip(tries, tries[1:], strict=False)]
    assert max(gaps) == pytest.approx(10.0, abs=0.1)
    host(b, num_shards=4)
    await a.cluster.drain(a.self_node)
    await trio.sleep(15)
    assert await add(b, "cart-1") == 1  # its shard has closed in spite of it


@pytest.mark.parametrize("is_task", [True, False])
async def test_an_entity_that_ends_before_it_has_taken_anything_pauses_ten_seconds_at_most(
    autojump_clock, nodes, is_task
):
    (a,) = await nodes.systems("a")
    tries, carts = list[float](), Carts("a")

    async def main(ctx: ActorContext[Command], inbox: casty.Inbox[Command]) -> None:
        pass

    def make(entity_id: str) -> Behavior[Command]:
        tries.append(trio.current_time())
        if len(tries) > 20:
            return carts.make(entity_id)
        return Behaviors.task(main) if is_task else Behaviors.stopped()

    a.spawn(Behaviors.sharded(make, CARTS, num_shards=4), "carts")
    for number in range(3):
        a.entity(CARTS, "cart-1").tell(Note(number))
    await trio.sleep(200)
    gaps = [round(later - earlier, 2) for earlier, later in zip(tries, tries[1:], strict=False)]
    assert gaps[:6] == [0.0, 0.05, 0.1, 0.2, 0.4, 0.8] and max(gaps) == 10.0
    assert len(tries) == 21
    assert await a.ask(a.entity(CARTS, "cart-1"), Notes) == [0, 1, 2]


async def test_the_timers_of_a_kind_stay_as_few_however_often_its_entities_fail(autojump_clock, nodes, monkeypatch):
    fired = list[float]()
    take = EntityHosting.take

    def noting(hosting: EntityHosting, event: EntityEvent) -> None:
        if isinstance(event, TimerFired):
            fired.append(trio.current_time())
        take(hosting, event)

    monkeypatch.setattr(EntityHosting, "take", noting)
    (a,) = await nodes.systems("a")
    host(a, passivate_after=30.0)
    for number in range(10):
        a.entity(CARTS, f"cart-{number}").tell(Note(1))
        with pytest.raises(AskFailed):
            await a.ask(a.entity(CARTS, "bad"), Fail, timeout=1.0)
        await trio.sleep(11)  # so each failure is the first in a row
    began = trio.current_time()
    for number in range(20):
        a.entity(CARTS, f"later-{number}").tell(Note(1))
        await trio.sleep(5)
    assert 3 < len([at for at in fired if at > began]) < 30


async def test_the_shards_of_a_host_that_stops_on_a_node_that_stays_are_served_elsewhere(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    host(b)
    await trio.sleep(5)
    assert set((await homes(b, 40)).values()) == {"a", "b"}
    a.stop(a.lookup("/carts"))
    await trio.sleep(0.5)
    assert set((await homes(b, 40)).values()) == {"b"}
    host(a)
    await trio.sleep(20)
    assert set((await homes(b, 40)).values()) == {"a", "b"}


async def test_a_host_that_fails_hosts_again_when_it_is_started_again(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    carts = Carts("a")

    async def fail(ctx: Any, message: object, target: Any) -> Any:
        if isinstance(message, Alien):
            raise LookupError(message.text)
        return await target(message)

    hosting = Behaviors.intercept(cast("Any", fail), Behaviors.sharded(carts.make, CARTS, num_shards=16))
    a.spawn(Behaviors.supervise(hosting, casty.OneForOneStrategy()), "carts")
    assert await add(b, "cart-1") == 1
    a.lookup("/carts").of(Alien).tell(Alien("the host fails"))
    await trio.sleep(5)
    assert await add(b, "cart-1", timeout=10.0) == 1


async def test_a_shard_that_cannot_be_closed_makes_its_node_leave(autojump_clock, nodes, caplog):
    a, b = await nodes.systems("a", "b")

    def stubborn(entity_id: str) -> Behavior[Command]:
        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            with trio.CancelScope(shield=True):
                await trio.sleep(65)
            return Behaviors.same()

        return Behaviors.receive(handle)

    a.spawn(Behaviors.sharded(stubborn, CARTS, num_shards=4), "carts")
    await trio.sleep(2)
    a.entity(CARTS, "cart-1").tell(Note(1))
    host(b, num_shards=4)
    await b.cluster.drain(a.self_node)
    await trio.sleep(29)
    assert not any(isinstance(event, ShardStuck) for _, event in nodes.handles["a"].events)
    await trio.sleep(5)
    stuck = [event for _, event in nodes.handles["a"].events if isinstance(event, ShardStuck)]
    assert [event.key for event in stuck] == ["carts"]
    await nodes.sees("b", {"b": "up"})
    assert await add(b, "cart-1") == 1
    assert any("shard" in line.getMessage() and "carts" in line.getMessage() for line in caplog.records)


def odd(ticks: list[tuple[int, int]]) -> Any:
    """Return the factory of entities that ask others, and count ticks with the number of their activation."""
    starts = 0

    def make(entity_id: str) -> Behavior[AskOther | Tick]:
        nonlocal starts
        starts += 1
        own = starts

        async def handle(ctx: ActorContext[AskOther | Tick], message: AskOther | Tick) -> Behavior[AskOther | Tick]:
            match message:
                case Tick(0):
                    ctx.schedule_once(Tick(1), 1.0)
                    ctx.pipe_to_self(later, mapper=Tick)
                    return Behaviors.stopped()
                case Tick(number):
                    ticks.append((own, number))
                case AskOther(other, reply_to):
                    own_ref = ctx.self
                    told = await ctx.ask(other, lambda to: AskOther(own_ref, to), timeout=3.0)
                    reply_to.tell(told)
            return Behaviors.same()

        return Behaviors.receive(handle)

    async def later() -> int:
        await trio.sleep(0.5)
        return 2

    return make


@pytest.mark.parametrize("asked", [["one"], ["one", "two"]])
async def test_entities_of_one_node_that_wait_for_each_other_are_told_at_once(autojump_clock, nodes, asked):
    (a,) = await nodes.systems("a")
    a.spawn(Behaviors.sharded(odd([]), ODD, num_shards=4), "odd")
    for name in asked:
        a.entity(ODD, name).tell(Tick(5))
    await trio.sleep(2)
    began, told = trio.current_time(), list[tuple[float, str]]()

    async def ask(one: str, other: str) -> None:
        with pytest.raises(AskFailed) as failed:
            await a.ask(a.entity(ODD, one), lambda to: AskOther(a.entity(ODD, other), to), timeout=5.0)
        told.append((trio.current_time() - began, str(failed.value)))

    async with trio.open_nursery() as nursery:
        for one, other in zip(asked, reversed(asked), strict=True):
            nursery.start_soon(ask, one, other)
    assert told[0][0] < 1 and "so no reply can come" in told[0][1]


async def test_timers_and_tasks_of_an_entity_end_with_it(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    ticks: list[tuple[int, int]] = []
    a.spawn(Behaviors.sharded(odd(ticks), ODD, num_shards=4), "odd")
    ref = a.entity(ODD, "one")
    ref.tell(Tick(0))
    await trio.sleep(0.1)
    ref.tell(Tick(7))
    await trio.sleep(3)
    assert ticks == [(2, 7)]


async def test_timers_and_tasks_reach_the_entity_that_began_them(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    seen: list[int] = []

    def make(entity_id: str) -> Behavior[Tick]:
        async def two() -> int:
            return 2

        async def handle(ctx: ActorContext[Tick], message: Tick) -> Behavior[Tick]:
            seen.append(message.number)
            if message.number == 0:
                ctx.schedule_once(Tick(1), 1.0)
                ctx.pipe_to_self(two, mapper=Tick)
            return Behaviors.same()

        return Behaviors.receive(handle)

    key = EntityKey[Tick]("ticking")
    a.spawn(Behaviors.sharded(make, key, num_shards=4), "ticking")
    a.entity(key, "one").tell(Tick(0))
    await trio.sleep(2)
    assert seen == [0, 2, 1]


async def test_messages_in_the_stash_of_an_entity_come_back_to_it(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    seen: list[int] = []

    def make(entity_id: str) -> Behavior[Tick]:
        async def stashing(stash: casty.StashBuffer[Tick]) -> Behavior[Tick]:
            async def handle(ctx: ActorContext[Tick], message: Tick) -> Behavior[Tick]:
                if message.number:
                    stash.stash(message)
                    return Behaviors.same()
                return stash.unstash_all(Behaviors.receive(after))

            return Behaviors.receive(handle)

        async def after(ctx: ActorContext[Tick], message: Tick) -> Behavior[Tick]:
            seen.append(message.number)
            return Behaviors.same()

        return Behaviors.with_stash(10, stashing)

    key = EntityKey[Tick]("stashing")
    a.spawn(Behaviors.sharded(make, key, num_shards=4), "stashing")
    for number in (1, 2, 0, 3):
        a.entity(key, "one").tell(Tick(number))
    await trio.sleep(1)
    assert seen == [1, 2, 3]


async def test_a_message_of_another_kind_is_refused_at_its_sender_or_a_dead_letter(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    ref = cast("EntityRef[Any]", b.entity(CARTS, "cart-1"))
    ref.tell(object())  # held, and cannot travel
    host(a)
    assert await add(b, "cart-1") == 1
    assert b.statistics().dead_letters["cannot be encoded"] == 1
    await trio.sleep(0.1)  # the event comes a turn later
    assert [letter.reason.split(":")[0] for letter in nodes.handles["b"].letters] == ["cannot be encoded"]
    with pytest.raises(casty.EncodeError):
        ref.tell(Alien("no command of a cart"))
    with pytest.raises(casty.EncodeError):
        await b.ask(ref, lambda to: Alien("neither"), timeout=2.0)
    assert await add(b, "cart-1") == 2


async def test_a_message_under_an_old_epoch_is_refused_and_counted(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    await add(b, "cart-1")
    run, node = nodes.handles["a"].run, nodes.handles["b"].node
    old = "shop", entity_path("carts", "cart-1"), run.address.host, run.address.port, run.incarnation, 1
    router: Any = cast("Any", node.kernel.hooks.entity_host).routers["carts"]
    stale = RemoteEntityRef[Command](node, old, node.route_to(run), encode_entity(1, "cart-1"), router.writer)
    stale.tell(Note(1))
    with pytest.raises(EntityMoved) as moved:
        await b.ask(stale, lambda to: Add(1, to), timeout=5.0)
    assert moved.value.certainly_not_handled
    assert a.statistics().dead_letters["shard moved"] == 2
    assert await b.ask(b.entity(CARTS, "cart-1"), Notes) == []


async def test_a_host_that_leaves_while_its_shards_open_loses_nothing(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    for number in range(40):
        a.entity(CARTS, f"cart-{number}").tell(Note(number))
    host(b)
    await trio.sleep(0.52)
    await nodes.stop("b")
    host(a)
    for number in range(40):
        found = await a.ask(a.entity(CARTS, f"cart-{number}"), Notes, timeout=20.0)
        assert found in ([number], [])
    assert isinstance(a, ClusteredActorSystem)


async def test_a_host_told_what_is_for_an_entity_keeps_its_entities_and_says_so(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    assert await add(b, "cart-1") == 1
    hosting = cast("ActorRef[Any]", a.lookup("/carts"))
    hosting.tell(Note(1))
    with pytest.raises(AskFailed, match=r"tell an entity by its ref"):
        await a.ask(hosting, lambda to: Add(1, to), timeout=5.0)
    assert await add(b, "cart-1") == 2
    assert a.statistics().dead_letters["not of the actor's type"] == 2
