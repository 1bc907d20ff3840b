"""Entities on the nodes of a cluster: one activation each, called from anywhere, and what becomes of their messages."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, cast, get_args

import pytest
import trio
import trio.testing
from helpers.entities import CARTS, Add, Carts, Command, Fail, Note, Notes, Own, Stop, Whole, add, homes, host

import casty
from casty import (
    ActorContext,
    ActorRef,
    ActorStoppedError,
    ActorSystem,
    AskFailed,
    Behavior,
    Behaviors,
    ConfigError,
    EntityKey,
    EntityRef,
    Mailbox,
    MailboxOverflowStrategy,
    NoHost,
    ShardEnvelope,
    SystemConfig,
)
from casty.cluster.sharding.sharding import CONTROL
from casty.protocol.messages.sharding import Marker, PlacementMessage
from casty.runtime.events import Publish
from casty.testing.inspect import node_of


async def test_an_entity_starts_with_its_first_message_and_keeps_its_state(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    carts = host(a)
    assert await add(b, "cart-1", 2) == 2
    assert await add(a, "cart-1", 3) == 5
    assert carts.starts == {"cart-1": 1}


async def test_what_is_told_before_there_is_a_host_waits_for_one(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    for number in range(5):
        b.entity(CARTS, "cart-1").tell(Note(number))
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _ask():
            assert await add(b, "cart-1") == 1

        await trio.sleep(1)
        host(a)
    assert await a.ask(a.entity(CARTS, "cart-1"), Notes) == [0, 1, 2, 3, 4]


async def test_an_ask_without_a_host_ends_with_its_time(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    with pytest.raises(NoHost):
        await add(a, "cart-1", timeout=1.0)


async def test_many_callers_of_new_entities_meet_one_activation_of_each(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    carts = [host(a), host(b)]
    async with trio.open_nursery() as nursery:
        for number in range(200):
            nursery.start_soon(add, (a, b, c)[number % 3], f"cart-{number % 20}")
    starts = carts[0].starts + carts[1].starts
    assert starts == dict.fromkeys([f"cart-{number}" for number in range(20)], 1)
    totals = [await add(c, f"cart-{number}") for number in range(20)]
    assert totals == [11] * 20


async def test_idle_entities_end_and_start_again_with_a_message(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    carts = host(a, passivate_after=2.0)
    await add(a, "cart-1")
    actors = a.statistics().actors
    await trio.sleep(5)
    assert a.statistics().actors == actors - 1
    assert await add(a, "cart-1") == 1
    assert carts.starts == {"cart-1": 2}


async def test_beyond_its_number_the_least_recently_used_entity_ends(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    carts = host(a, entities_max=2)
    for name in ("one", "two", "one", "three", "one"):
        await add(a, name)
        await trio.sleep(0.1)
    assert await add(a, "two") == 1
    assert carts.starts == {"one": 1, "two": 2, "three": 1}


async def test_what_comes_for_an_entity_that_stops_itself_starts_it_again(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    carts = host(a)
    ref = b.entity(CARTS, "cart-1")
    for number in range(6):
        ref.tell(Note(number))
        if number == 2:
            ref.tell(Stop())
    assert await b.ask(ref, Notes) == [3, 4, 5]
    assert carts.starts == {"cart-1": 2}
    assert nodes.handles["a"].letters == []


async def test_a_failing_entity_fails_its_ask_and_starts_again_after_a_pause(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    carts = host(a)
    await add(b, "cart-1")
    with pytest.raises(AskFailed, match="as asked for") as failed:
        await b.ask(b.entity(CARTS, "cart-1"), Fail)
    assert failed.value.failure == "failed"
    assert await add(b, "cart-1") == 1
    assert carts.starts == {"cart-1": 2}


async def test_a_ref_of_an_entity_is_good_on_every_node(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    whole: Whole = await b.ask(b.entity(CARTS, "cart/1 ü"), Own)
    assert isinstance(whole.ref, EntityRef)
    assert whole.ref == b.entity(CARTS, "cart/1 ü")
    assert whole.ref != b.entity(CARTS, "cart-1")
    assert str(whole.ref.address) == "casty://shop/carts/cart/1 ü"
    assert repr(whole.ref) == "<EntityRef carts 'cart/1 ü'>"
    assert await b.ask(whole.ref, lambda to: Add(1, to)) == 1


async def test_the_actor_of_a_host_hands_on_envelopes(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    region = b.remote("/carts", "a").of(ShardEnvelope[Command])
    region.tell(ShardEnvelope("cart-1", Note(7)))
    await trio.sleep(1)
    assert await a.ask(a.entity(CARTS, "cart-1"), Notes) == [7]


async def test_a_node_that_joins_gets_its_share_and_no_ask_fails(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    done = trio.Event()
    replies: Counter[str] = Counter()

    async def caller(entity_id: str) -> None:
        while not done.is_set():
            await add(a, entity_id)
            replies[entity_id] += 1
            await trio.sleep(0.05)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(caller, f"cart-{number}")
        await trio.sleep(2)
        host(b)
        await trio.sleep(60)
        done.set()
    counts = Counter((await homes(a, 60)).values())
    assert set(counts) == {"a", "b"}
    assert min(replies.values()) > 100


async def test_messages_of_a_sender_stay_in_order_while_their_entity_moves(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    seen: dict[str, list[int]] = {}

    def noting(entity_id: str) -> Behavior[Command]:
        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            if isinstance(message, Note):
                seen.setdefault(entity_id, []).append(message.number)
            return Behaviors.same()

        return Behaviors.receive(handle)

    a.spawn(Behaviors.sharded(noting, CARTS, num_shards=16), "carts")
    sent = 0
    for step in range(600):
        for number in range(20):
            c.entity(CARTS, f"cart-{number}").tell(Note(step))
        sent += 1
        await trio.sleep(0.05)
        if step == 40:
            b.spawn(Behaviors.sharded(noting, CARTS, num_shards=16), "carts")
    await trio.sleep(5)
    assert seen == dict.fromkeys([f"cart-{number}" for number in range(20)], list(range(sent)))


async def test_what_a_leaving_node_had_is_served_elsewhere_at_once(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    host(b)
    await trio.sleep(30)
    assert set((await homes(a, 40)).values()) == {"a", "b"}
    await nodes.stop("b")
    began = trio.current_time()
    assert set((await homes(a, 40)).values()) == {"a"}
    assert trio.current_time() - began < 2


@pytest.mark.parametrize("victim", ["a", "b"])
async def test_what_a_crashed_node_had_is_served_elsewhere_in_ten_seconds(autojump_clock, nodes, victim):
    names = ("a", "b", "c")
    await nodes.systems(*names)
    systems = {name: nodes.handles[name].system for name in names}
    for name in names:
        host(systems[name])
    await trio.sleep(30)
    assert set((await homes(systems["c"], 60)).values()) == set(names)
    nodes.crash(victim)
    began = trio.current_time()
    left = await homes(systems["c"], 60)
    assert set(left.values()) == set(names) - {victim}
    assert trio.current_time() - began < 12


async def test_beyond_the_mailbox_of_an_entity_messages_are_dead_letters(autojump_clock, nodes):
    config = SystemConfig(mailboxes={"/carts/*": Mailbox(10, MailboxOverflowStrategy.back_pressure)})
    a, b = (await nodes.start("a", config=config)).system, (await nodes.start("b", ["a"])).system
    host(a)
    await add(b, "cart-1")
    for number in range(50):
        a.entity(CARTS, "cart-1").tell(Note(number))
    await trio.sleep(1)
    notes: list[int] = await a.ask(a.entity(CARTS, "cart-1"), Notes)
    lost = [letter.reason for letter in nodes.handles["a"].letters]
    assert notes == list(range(len(notes)))
    assert len(notes) + len(lost) == 50
    assert set(lost) == {"shard buffer full"}


async def test_two_numbers_of_shards_are_refused(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    await add(b, "cart-1")
    host(b, num_shards=8)
    await trio.sleep(1)
    assert b.lookup("/carts") is None
    assert await add(b, "cart-1") == 2


async def test_another_number_of_shards_is_refused_after_the_last_host_has_stopped(autojump_clock, nodes, caplog):
    a, b = await nodes.systems("a", "b")
    host(a)
    await add(b, "cart-1")
    a.stop(a.lookup("/carts"))
    await trio.sleep(3)
    for system in (a, b):
        host(system, num_shards=8)
        await trio.sleep(1)
        assert system.lookup("/carts") is None
    told = [str(line.exc_info[1]) for line in caplog.records if line.exc_info]
    assert sum("16 shards in this cluster, and num_shards=8 here" in text for text in told) == 2
    host(b)
    assert await add(a, "cart-1") == 1


async def test_a_node_without_the_role_does_not_host(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a, role="db")
    await trio.sleep(1)
    assert a.lookup("/carts") is None


def test_every_message_of_the_placement_can_travel():
    assert {*CONTROL, Marker} == set(get_args(PlacementMessage))


async def test_a_system_without_a_cluster_has_no_entities():
    async with ActorSystem("plain") as system:
        with pytest.raises(RuntimeError, match=r"'plain' is no node of one: use ClusteredActorSystem"):
            system.entity(CARTS, "cart-1")
        host_ref = system.spawn(Behaviors.sharded(Carts("x").make, CARTS), "carts")
        await system.wait_stopped(host_ref)


async def test_a_node_that_has_ended_has_no_entities_and_no_singletons_and_says_so(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    await a.shutdown()
    for use in (lambda: a.entity(CARTS, "cart-1"), lambda: a.singleton(EntityKey[str]("one"))):
        with pytest.raises(ActorStoppedError, match=r"has ended: use another one"):
            use()


@pytest.mark.parametrize("bad", ["", "x" * 256, 7, "\ud800"])
async def test_a_bad_id_is_refused(autojump_clock, nodes, bad):
    (a,) = await nodes.systems("a")
    with pytest.raises(ValueError, match="entity id"):
        a.entity(CARTS, bad)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"num_shards": 0}, "num_shards must be an integer from 1 to 16384, got 0"),
        ({"num_shards": True}, "num_shards must be an integer"),
        ({"entities_max": 0}, "entities_max must be an integer from 1"),
        ({"passivate_after": 0}, "passivate_after must be seconds above 0, got 0"),
        ({"role": ""}, "role must be the name of a role or None"),
    ],
)
def test_bad_options_are_refused(options, told):
    with pytest.raises(ConfigError, match=told):
        Behaviors.sharded(Carts("a").make, CARTS, **options)


def test_a_key_has_its_type_in_brackets_and_a_factory_can_be_called():
    with pytest.raises(TypeError, match=r"EntityKey\[Message\]\('carts'\)"):
        Behaviors.sharded(Carts("a").make, "carts")  # type: ignore[arg-type]  # as by mistake
    with pytest.raises(TypeError):
        Behaviors.sharded("make", CARTS)  # type: ignore[arg-type]  # as by mistake


@casty.message("tests.entities.Carried")
@dataclass(frozen=True)
class Carried:
    ref: ActorRef[Note]


async def test_refs_of_invented_kinds_leave_nothing_behind(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    kept = list[ActorRef[Note]]()

    async def take(ctx: ActorContext[Carried], message: Carried) -> Behavior[Carried]:
        match message.ref:
            case EntityRef(id="held") as ref:
                ref.tell(Note(1))
            case EntityRef(id="kept") as ref:
                kept.append(ref)
            case _:
                pass
        return Behaviors.same()

    b.spawn(Behaviors.receive(take), "taker")
    taker = a.remote("/taker", b.self_node).of(Carried)
    for number in range(300):
        taker.tell(Carried(a.entity(EntityKey[Note](f"invented-{number}"), "gone")))
    taker.tell(Carried(a.entity(EntityKey[Note]("invented-held"), "held")))
    taker.tell(Carried(a.entity(EntityKey[Note]("invented-kept"), "kept")))
    await trio.sleep(1)
    host(a)
    assert await add(b, "cart-1") == 1
    await trio.testing.wait_all_tasks_blocked()
    routers = cast("Any", node_of(b).kernel.hooks.entity_host).routers
    assert sorted(routers) == ["carts", "invented-held", "invented-kept"]
    await trio.sleep(31)  # as long as a message is held
    assert [letter.reason for letter in nodes.handles["b"].letters] == ["held too long"]
    b.event_stream.tell(Publish("another event"))  # or the task that collects them has the dead letter
    await trio.testing.wait_all_tasks_blocked()
    nodes.handles["b"].events.clear()
    assert sorted(routers) == ["carts", "invented-kept"]
    kept.clear()
    assert sorted(routers) == ["carts"]
