"""Event-sourced entities on the nodes of a cluster: one claim a shard, and a state that moves by the journal."""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest
import trio
from helpers.carts import Add, Added, Cart, CartCommand, Get, Leave, apply, cart, decide
from helpers.journals import CallingJournal, FaultyJournal
from trio.testing import wait_all_tasks_blocked

from casty import (
    ActorFailed,
    ActorStarted,
    ActorStopped,
    ActorSystem,
    AskFailed,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ConfigError,
    Directive,
    EntityFailed,
    EntityKey,
    Every,
    JoinRefused,
    MemoryJournal,
    OneForOneStrategy,
    PoisonPill,
    SystemConfig,
    persist,
)
from casty.cluster.sharding.pure import pure_entities
from casty.cluster.sharding.pure.journal_tasks import JournalTasks
from casty.errors import JournalDamaged, JournalUnavailable, JournalUncertain

STORED = EntityKey[CartCommand]("stored-carts")


def cart_with_a_task(entity_id: str) -> Behavior[CartCommand]:
    """Return a behaviour whose wrapper needs an actor."""
    return Behaviors.supervise(cart(entity_id), OneForOneStrategy(decider=lambda error: Directive.stop))


@pytest.fixture(autouse=True, params=[FaultyJournal, CallingJournal])
def kind_of_store(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both ways of appending, for all tests."""
    monkeypatch.setitem(globals(), "FaultyJournal", request.param)


@pytest.fixture(params=[cart, cart_with_a_task])
def factory(request: pytest.FixtureRequest) -> Callable[[str], Behavior[CartCommand]]:
    """Both ways of serving an entity, for the same tests."""
    made: Callable[[str], Behavior[CartCommand]] = request.param
    return made


def host(system: ClusteredActorSystem, factory: Any = cart, num_shards: int = 4, **options: Any) -> None:
    system.spawn(Behaviors.sharded(factory, STORED, num_shards=num_shards, **options), "carts")


async def add(system: ActorSystem, entity_id: str, sku: str = "tea", timeout: float = 30.0) -> int:
    total: int = await system.ask(system.entity(STORED, entity_id), lambda to: Add(sku, 1, to), timeout=timeout)
    return total


async def items(system: ActorSystem, entity_id: str) -> dict[str, int]:
    found: dict[str, int] = await system.ask(system.entity(STORED, entity_id), Get, timeout=30.0)
    return found


async def test_the_entities_of_a_shard_share_one_claim(autojump_clock, nodes, factory):
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory)
    async with trio.open_nursery() as nursery:
        for number in range(40):
            nursery.start_soon(add, a, f"cart-{number}")
    assert Counter(journal.claims) == Counter([f"stored-carts#{shard}" for shard in range(4)])
    assert sorted(journal.owners) == sorted(f"stored-carts/cart-{number}" for number in range(40))
    assert journal.settled == {"casty.cluster": "shop", "casty.num_shards/stored-carts": "4"}


async def test_a_passivated_entity_comes_back_with_its_state_and_without_a_claim(autojump_clock, nodes, factory):
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory, num_shards=1, passivate_after=1.0)
    assert await add(a, "cart-1") == 1
    actors = a.statistics().actors
    await trio.sleep(5)
    assert a.statistics().actors == actors - 1
    assert await add(a, "cart-1") == 2
    assert (journal.claims, journal.loads) == (["stored-carts#0"], 2)


@pytest.mark.parametrize("is_crash", [False, True])
async def test_a_state_moves_with_its_shard(autojump_clock, nodes, is_crash, factory):
    journal = FaultyJournal(is_shared=True)
    a, b, c = await nodes.systems("a", "b", "c", journal=journal)
    host(a, factory)
    host(b, factory)
    for number in range(20):
        assert await add(c, f"cart-{number}") == 1
    if is_crash:
        nodes.crash("a")
        await nodes.sees("c", {"b": "up", "c": "up"})  # what is sent to a lost node has no known outcome
    else:
        await nodes.stop("a")
    for number in range(20):
        assert await add(c, f"cart-{number}") == 2
        assert await items(c, f"cart-{number}") == {"tea": 2}
    assert max(Counter(journal.claims).values()) == 2


@pytest.mark.parametrize(("fault", "total"), [("uncertain and lost", 1), ("uncertain and written", 2)])
async def test_an_uncertain_append_costs_its_shard_one_claim_and_others_nothing(
    autojump_clock, nodes, fault, total, factory
):
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory, num_shards=1)
    for number in range(10):
        await add(a, f"cart-{number}")
    loads, gate = journal.loads, trio.Event()
    journal.before_append = gate.wait
    journal.faults = deque([fault])
    outcomes: list[object] = []

    async def ask(number: int) -> None:
        try:
            outcomes.append(await add(a, f"cart-{number}"))
        except AskFailed as failed:
            outcomes.append(failed.failure)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask, 0)
        await wait_all_tasks_blocked()
        for number in range(1, 10):
            nursery.start_soon(ask, number)
        await wait_all_tasks_blocked()
        gate.set()
    assert sorted(map(str, outcomes)) == ["2"] * 9 + ["outcome_unknown"]
    totals = [sum((await items(a, f"cart-{number}")).values()) for number in range(10)]
    assert (journal.claims, journal.loads) == (["stored-carts#0"] * 2, loads + 1)
    assert sorted(totals) == sorted([total, *[2] * 9])


async def test_a_fenced_entity_stops_and_claims_again_with_its_next_message(autojump_clock, nodes, factory):
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory, num_shards=1)
    assert await add(a, "cart-1") == 1
    journal.take("stored-carts#0")
    with pytest.raises(AskFailed) as caught:
        await add(a, "cart-1")
    assert caught.value.failure == "journal_unavailable"
    assert await add(a, "cart-1") == 2


async def test_another_number_of_shards_than_the_stored_one_is_told(autojump_clock, nodes, caplog, factory):
    journal = FaultyJournal(settled={"casty.num_shards/stored-carts": "8"})
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory)
    with pytest.raises(
        AskFailed, match="in 8 shards, and sharded was given num_shards=4: write num_shards=8"
    ) as caught:
        await add(a, "cart-1", timeout=2.0)
    assert caught.value.failure == "journal_unavailable"
    assert "in 8 shards, and sharded was given num_shards=4: write num_shards=8" in caplog.text


async def test_an_id_that_no_store_takes_is_told_to_who_asks(autojump_clock, nodes, factory):
    (a,) = await nodes.systems("a", journal=MemoryJournal())
    host(a, factory)
    for _ in range(2):
        with pytest.raises(AskFailed, match="must not have the character NUL") as caught:
            await add(a, "cart-\0", timeout=2.0)
        assert caught.value.failure == "journal_unavailable"
    assert await add(a, "cart-1", timeout=2.0) == 1


async def test_an_id_is_derived_and_giving_one_is_refused(autojump_clock, nodes, caplog):
    (a,) = await nodes.systems("a", journal=FaultyJournal())
    host(a, lambda entity_id: Behaviors.event_sourced(entity_id, empty=Cart(), decide=decide, apply=apply))
    said = "the persistence id of an entity is derived from its key and id, 'stored-carts/cart-1'"
    with pytest.raises(AskFailed, match=f"cannot start: ValueError: /stored-carts/cart-1: {said}"):
        await add(a, "cart-1", timeout=2.0)
    assert said in caplog.text


async def test_entities_without_a_journal_say_what_to_do(autojump_clock, nodes, caplog, factory):
    (a,) = await nodes.systems("a")
    host(a, factory)
    with pytest.raises(AskFailed, match="cannot start: ConfigError: Behaviors.event_sourced has no journal"):
        await add(a, "cart-1", timeout=2.0)
    assert "Behaviors.event_sourced has no journal: give the system one" in caplog.text
    assert "in a cluster each node that hosts the kind, ClusteredActorSystem(..., journal=...)" in caplog.text


@pytest.mark.parametrize(
    "error",
    [RuntimeError("a bug of the store"), OSError("no such device"), JournalDamaged("row 3 is torn", "cart-1", 3)],
)
async def test_an_entity_that_cannot_be_read_tells_who_asks_why_and_starts_once_it_can(
    autojump_clock, nodes, factory, error
):
    journal = FaultyJournal(is_shared=True)
    a, b = await nodes.systems("a", "b", journal=journal)
    host(a, factory)

    async def broken() -> None:
        raise error

    journal.before_read = broken
    for system in (a, b):
        with trio.fail_after(2.0), pytest.raises(AskFailed, match=f"{type(error).__name__}: {error}") as caught:
            await add(system, "cart-1", timeout=30.0)
        assert caught.value.failure == "failed"
    journal.before_read = trio.lowlevel.checkpoint
    if not isinstance(error, JournalDamaged):  # that one is read again with the next activation
        await trio.sleep(10.0)
        assert await add(b, "cart-1") == 1


async def test_a_journal_that_is_down_refuses_commands_until_it_is_back(autojump_clock, nodes, factory):
    journal = FaultyJournal(claim_faults=deque(["unavailable", "unavailable"]))
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory, num_shards=1)
    with pytest.raises(AskFailed) as caught:
        await add(a, "cart-1")
    assert caught.value.failure == "journal_unavailable" and isinstance(caught.value.__cause__, JournalUnavailable)
    assert await add(a, "cart-1") == 1


@pytest.mark.parametrize("steps", range(6))
async def test_an_entity_is_not_left_behind_by_a_region_that_ends_as_it_starts(autojump_clock, nodes, steps: int):
    (system,) = await nodes.systems("a", journal=FaultyJournal())
    region = system.spawn(Behaviors.sharded(cart, STORED, num_shards=1), "carts")
    outcomes = list[object]()

    async def ask() -> None:
        try:
            outcomes.append(await add(system, "cart-1"))
        except AskFailed as failed:
            outcomes.append(failed.failure)

    await trio.sleep(1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        system.stop(region)
        await system.wait_stopped(region)
    assert outcomes in ([1], ["moved"], ["no_host"])
    assert system.lookup("/carts/cart-1") is None


async def test_a_node_starts_with_a_journal_without_words_of_its_own(autojump_clock, nodes):
    class Speechless(MemoryJournal):
        def __repr__(self) -> str:
            raise ValueError("no words")

    await nodes.systems("a", journal=MemoryJournal())
    with pytest.raises(JoinRefused, match="This node opened Speechless, and the members share another store"):
        await nodes.start("b", ("a",), journal=Speechless())


async def test_a_node_with_another_journal_is_refused(autojump_clock, nodes):
    first, other = FaultyJournal(is_shared=True), FaultyJournal(identity="another")
    await nodes.systems("a", journal=first)
    told = (
        "expected journal 'faulty', as the cluster has it, found 'another' .*"
        "This node opened .*Journal.*, and the members share another store.* Give it their store"
    )
    with pytest.raises(JoinRefused, match=told):
        await nodes.start("b", ("a",), journal=other)
    await nodes.start("c", ("a",), journal=first)
    await nodes.start("d", ("a",))


async def test_the_store_of_another_cluster_is_refused_at_the_start(autojump_clock, nodes):
    journal = FaultyJournal(is_shared=True)
    a = (await nodes.start("a", journal=journal)).system
    with pytest.raises(ConfigError, match="is the store of the cluster 'shop', and this is a node of 'bar'"):
        await nodes.start("b", journal=journal, system="bar")
    host(a, num_shards=1)
    assert await add(a, "cart-1") == 1
    await nodes.stop("a")
    again = (await nodes.start("c", journal=journal)).system
    host(again, num_shards=1)
    assert await add(again, "cart-1") == 2


@pytest.mark.parametrize("error", [JournalUnavailable, JournalUncertain])
async def test_a_node_tries_again_to_write_its_cluster_into_its_store(autojump_clock, nodes, monkeypatch, error):
    journal, errors = FaultyJournal(), [error("the connection broke")] * 2

    async def settle(name: str, value: str) -> str:
        if errors:
            raise errors.pop()
        return journal.settled.setdefault(name, value)

    monkeypatch.setattr(journal, "settle", settle)
    await nodes.systems("a", journal=journal)
    assert not errors and journal.settled == {"casty.cluster": "shop"}


async def test_an_entity_with_the_id_of_a_lone_actor_tells_who_asks(autojump_clock, nodes, factory):
    (a,) = await nodes.systems("a", journal=FaultyJournal())
    till = Behaviors.event_sourced("stored-carts/1", empty=Cart(), decide=decide, apply=apply)
    assert await a.ask(a.spawn(till, "till"), lambda to: Add("tea", 1, to)) == 1
    host(a, factory)
    with pytest.raises(AskFailed, match="/till have the persistence id 'stored-carts/1': give each actor one of its"):
        await add(a, "1", timeout=2.0)
    assert await add(a, "2") == 1


async def test_a_lone_actor_with_the_id_of_an_entity_is_refused_also_where_none_is_active(
    autojump_clock, nodes, factory, caplog
):
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory)
    assert await add(a, "2") == 1
    till = Behaviors.event_sourced("stored-carts/1", empty=Cart(), decide=decide, apply=apply)
    with pytest.raises(AskFailed):
        await a.ask(a.spawn(till, "till"), lambda to: Add("tea", 1, to))
    assert "which is that of an entity of the kind 'stored-carts': give the actor an id of its own" in caplog.text
    assert await add(a, "1") == 1


def test_a_journal_is_given_once():
    with pytest.raises(ConfigError, match="was given a journal twice"):
        ClusteredActorSystem(
            name="shop",
            host="127.0.0.1",
            port=0,
            node_id="a",
            config=SystemConfig(journal=FaultyJournal()),
            journal=FaultyJournal(),
        )


async def test_a_slash_in_the_name_of_a_kind_leads_to_no_state_of_another(autojump_clock, nodes):
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    kinds = [EntityKey[CartCommand](name) for name in ("shop", "shop/carts", "shop%2Fcarts")]
    ids = ["carts/1", "1", "1"]
    for kind in kinds:
        a.spawn(Behaviors.sharded(cart, kind, num_shards=1), kind.name.replace("/", "-"))
    for kind, entity_id in zip(kinds, ids, strict=True):
        assert await a.ask(a.entity(kind, entity_id), lambda to: Add("tea", 1, to)) == 1
    assert sorted(journal.owners) == ["shop%252Fcarts/1", "shop%2Fcarts/1", "shop/carts/1"]


async def test_a_reply_that_cannot_be_sent_says_nothing_about_its_events(autojump_clock, nodes):
    journal = FaultyJournal(is_shared=True)
    a, b = await nodes.systems("a", "b", journal=journal)

    def badly(state: Cart, command: CartCommand) -> Any:
        match command:
            case Add("tea", count, reply_to):
                return persist(Added("tea", count)).reply(reply_to, "one")
            case _:
                return decide(state, command)

    host(a, lambda _: Behaviors.event_sourced(empty=Cart(), decide=badly, apply=apply))
    with pytest.raises(AskFailed) as caught:
        await add(b, "cart-1")
    assert caught.value.failure == "reply_lost"
    assert await items(b, "cart-1") == {"tea": 1}


def failing(state: Cart, command: CartCommand) -> Any:
    if isinstance(command, Add) and command.sku == "stone":
        raise ArithmeticError("a stone is no fruit")
    return decide(state, command)


def failing_cart(entity_id: str) -> Behavior[CartCommand]:
    return Behaviors.event_sourced(empty=Cart(), decide=failing, apply=apply)


def failing_cart_with_a_task(entity_id: str) -> Behavior[CartCommand]:
    return Behaviors.supervise(failing_cart(entity_id), OneForOneStrategy(decider=lambda error: Directive.stop))


@pytest.mark.parametrize("made", [failing_cart, failing_cart_with_a_task])
async def test_a_failing_decide_fails_its_asker_alone_and_the_entity_pauses(autojump_clock, nodes, made):
    journal, told = FaultyJournal(), list[object]()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, made, num_shards=1)
    assert await add(a, "cart-1") == 1
    gate, outcomes = trio.Event(), dict[str, object]()
    journal.before_append = gate.wait

    async def ask(sku: str) -> None:
        try:
            outcomes[sku] = await add(a, "cart-1", sku)
        except AskFailed as failed:
            outcomes[sku] = failed.failure

    async with (
        a.events(EntityFailed, ActorFailed, ActorStarted, ActorStopped) as events,
        trio.open_nursery() as nursery,
    ):
        for sku in ("figs", "nuts", "stone", "plums"):
            nursery.start_soon(ask, sku)
            await wait_all_tasks_blocked()
        gate.set()
        told += [type(await anext(events)) for _ in range(4)]
    assert outcomes == {"figs": 1, "nuts": 1, "stone": "failed", "plums": 1}
    assert told == [ActorFailed, ActorStopped, EntityFailed, ActorStarted]
    assert await items(a, "cart-1") == {"tea": 1, "figs": 1, "nuts": 1, "plums": 1}
    assert [size for _, size in journal.appends] == [1, 1, 1, 1]


async def test_commands_that_wait_share_the_next_append_and_a_read_waits_for_it(autojump_clock, nodes, factory):
    journal, gate, outcomes = FaultyJournal(), trio.Event(), list[object]()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory, num_shards=1)
    assert await add(a, "cart-1") == 1
    journal.before_append = gate.wait
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(add, a, "cart-1")
            await wait_all_tasks_blocked()
        nursery.start_soon(lambda: _note(outcomes, items(a, "cart-1")))
        await wait_all_tasks_blocked()
        assert not outcomes
        gate.set()
    assert outcomes == [{"tea": 4}]
    assert [size for _, size in journal.appends] == [1, 1, 2]


async def _note(outcomes: list[object], answer: Awaitable[object]) -> None:
    outcomes.append(await answer)


async def test_a_shard_that_closes_waits_for_the_append_and_what_waits_behind_it(autojump_clock, nodes, factory):
    journal, gate = FaultyJournal(is_shared=True), trio.Event()
    a, b = await nodes.systems("a", "b", journal=journal)
    host(a, factory, num_shards=1)
    assert await add(b, "cart-1") == 1
    host(b, factory, num_shards=1)
    journal.before_append = gate.wait
    outcomes: list[object] = []
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(lambda: _note(outcomes, add(b, "cart-1")))
        await trio.sleep(0.2)
        nursery.start_soon(nodes.stop, "a")
        await trio.sleep(1.0)
        assert not outcomes
        gate.set()
    assert sorted(map(str, outcomes)) == ["2", "3", "4"]
    assert await items(b, "cart-1") == {"tea": 4}


async def test_an_append_that_never_ends_is_given_up_and_its_askers_know_nothing(autojump_clock, nodes, factory):
    journal = FaultyJournal(is_shared=True)
    a, b = await nodes.systems("a", "b", journal=journal)
    host(a, factory, num_shards=1)
    assert await add(b, "cart-1") == 1
    host(b, factory, num_shards=1)
    outcomes: list[object] = []

    async def never() -> None:
        journal.before_append = trio.lowlevel.checkpoint
        await trio.sleep_forever()

    async def ask() -> None:
        try:
            await add(b, "cart-1")
        except AskFailed as failed:
            outcomes.append(failed.failure)

    journal.before_append = never
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(0.2)
        nursery.start_soon(nodes.stop, "a")
    assert outcomes == ["outcome_unknown"]
    assert await add(b, "cart-1") == 2


async def test_what_was_decided_before_the_lease_lapsed_is_answered_at_the_end(autojump_clock, nodes):
    def slowly(state: Cart, command: CartCommand) -> Any:
        if isinstance(command, Add) and command.sku == "stone":
            autojump_clock.jump(10.0)
        return decide(state, command)

    journal = FaultyJournal(is_shared=True)
    a, _ = await nodes.systems("a", "b", journal=journal)
    host(a, lambda _: Behaviors.event_sourced(empty=Cart(), decide=slowly, apply=apply), num_shards=1)
    assert await add(a, "cart-1") == 1
    ended, region = list[str](), a.lookup("/carts")
    assert region is not None
    nodes.crash("b")  # nobody is left to extend the lease

    async def ask() -> None:
        with pytest.raises(AskFailed) as caught:
            await add(a, "cart-1", "stone", timeout=1_000.0)
        ended.append(caught.value.failure)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert not ended
        region.tell(PoisonPill())
    assert ended == ["journal_unavailable"]
    assert [size for _, size in journal.appends] == [1]


async def test_a_thousand_entities_recover_64_at_a_time(autojump_clock, nodes, factory):
    journal = FaultyJournal(before_read=partial(trio.sleep, 0.1))
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory)
    async with trio.open_nursery() as nursery:
        for number in range(1_000):
            nursery.start_soon(add, a, f"cart-{number}")
    assert (journal.reading_most, journal.loads) == (64, 1_000)


async def test_a_snapshot_is_taken_beside_the_commands_and_the_next_start_reads_it(autojump_clock, nodes):
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, lambda _: Behaviors.event_sourced(empty=Cart(), decide=decide, apply=apply, snapshots=Every(3)))
    for count in range(1, 8):
        assert await add(a, "cart-1") == count
    await wait_all_tasks_blocked()
    assert [one.seq for one in journal.snapshots["stored-carts/cart-1"]] == [6, 3]
    await a.ask(a.entity(STORED, "cart-1"), Leave)
    journal.events["stored-carts/cart-1"][:3] = []  # what the snapshot has is not read
    journal.forgotten["stored-carts/cart-1"] = 3
    assert await items(a, "cart-1") == {"tea": 7}


async def test_the_end_of_one_entity_cancels_no_step_of_the_next(autojump_clock):
    done: list[str] = []

    async def step(one: str) -> None:
        with trio.CancelScope(shield=one == "dropped"):  # as a thread at work for a store
            await trio.sleep(1)
        done.append(one)

    async with trio.open_nursery() as nursery:
        tasks = JournalTasks(step, 1)
        nursery.start_soon(tasks.run)
        tasks.put("dropped")
        tasks.put("next")
        await trio.sleep(0.5)
        assert not tasks.drop("dropped")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert done == ["dropped", "next"]


async def test_a_step_put_behind_the_end_of_its_tasks_is_left_in_the_line(autojump_clock):
    tasks = JournalTasks[str](trio.sleep, 1)  # type: ignore[arg-type]  # no step is begun
    with trio.move_on_after(1):
        await tasks.run()
    tasks.put("late")
    assert tasks.drop_all() == ["late"]


async def test_an_entity_at_rest_goes_on_from_its_entry_and_reads_nothing(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(pure_entities, "RESTING_MAX", 3)
    journal = FaultyJournal()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, num_shards=1, passivate_after=5.0)
    actors = a.statistics().actors
    for turn in range(1, 4):
        for number in range(10):
            assert await add(a, f"cart-{number}") == turn
    assert (journal.loads, a.statistics().actors) == (10, actors + 11)
    known = [path for path in (f"/carts/cart-{number}" for number in range(10)) if a.lookup(path) is not None]
    assert len(known) == 3
    await trio.sleep(30)
    assert a.statistics().actors == actors + 1
    assert await items(a, "cart-0") == {"tea": 3}
    assert journal.loads == 11


async def test_a_lone_actor_cannot_have_the_id_of_an_entity_here(autojump_clock, nodes, factory, caplog):
    (a,) = await nodes.systems("a", journal=MemoryJournal())
    host(a, factory)
    assert await add(a, "cart-1") == 1
    a.spawn(Behaviors.event_sourced("stored-carts/cart-1", empty=Cart(), decide=decide, apply=apply), "lone")
    await wait_all_tasks_blocked()
    assert re.search(
        "/lone and /(carts|stored-carts)/cart-1 have the persistence id 'stored-carts/cart-1'", caplog.text
    )


async def test_an_entity_is_asked_by_the_path_of_its_actor(autojump_clock, nodes, factory):
    (a,) = await nodes.systems("a", journal=MemoryJournal())
    host(a, factory)
    assert await add(a, "cart-1") == 1
    ref: Any = a.lookup("/carts/cart-1")
    assert await a.ask(ref, Get, timeout=1.0) == {"tea": 1}


async def test_messages_that_wait_are_in_the_statistics_and_leave_them(autojump_clock, nodes, factory):
    journal, gate = FaultyJournal(), trio.Event()
    (a,) = await nodes.systems("a", journal=journal)
    host(a, factory, num_shards=1)
    assert await add(a, "cart-1") == 1
    journal.before_append = gate.wait
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(add, a, "cart-1")
            await wait_all_tasks_blocked()
        assert a.statistics().mailboxes == {"/carts/cart-1": 3}
        gate.set()
    assert not a.statistics().mailboxes


async def test_a_factory_that_raises_is_a_failure_of_its_entity(autojump_clock, nodes, caplog):
    tries: list[str] = []

    def made(entity_id: str) -> Behavior[CartCommand]:
        tries.append(entity_id)
        if len(tries) < 3:
            raise ValueError("no such cart yet")
        return cart(entity_id)

    (a,) = await nodes.systems("a", journal=MemoryJournal())
    host(a, made)
    assert await add(a, "cart-1") == 1
    assert (len(tries), caplog.text.count("actor /carts/cart-1 failed and stops: ValueError")) == (3, 2)


async def test_an_entity_that_waits_for_the_end_of_its_snapshot_is_served_no_more(autojump_clock, nodes, monkeypatch):
    journal, gate = FaultyJournal(), trio.Event()
    (a,) = await nodes.systems("a", journal=journal)

    async def save(*_: object) -> None:
        with trio.CancelScope(shield=True):  # as a thread at work for a store
            await gate.wait()

    monkeypatch.setattr(journal, "save", save)
    host(a, lambda _: Behaviors.event_sourced(empty=Cart(), decide=decide, apply=apply, snapshots=Every(1)))
    assert await add(a, "cart-1") == 1
    await wait_all_tasks_blocked()
    ref: Any = a.lookup("/carts/cart-1")
    a.entity(STORED, "cart-1").tell(Add("tea", 1, ref))
    ref.cell.kill()
    await trio.sleep(1.0)
    appended = list(journal.appends)
    gate.set()
    assert len(appended) == 1
