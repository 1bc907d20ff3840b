"""Lone event-sourced actors in a plain system: what was acknowledged survives."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial

import msgpack
import pytest
import trio
from helpers.carts import Add, Added, Cart, CartCommand, CartEvent, CheckOut, Get, Leave, apply, decide
from helpers.journals import FaultyJournal
from trio.testing import wait_all_tasks_blocked

from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    AskFailed,
    Behavior,
    Behaviors,
    ConfigError,
    Effect,
    Every,
    Restart,
    SystemConfig,
    event,
    nothing,
    persist,
    store,
    upcast,
)
from casty.errors import Fenced, JournalDamaged, SequenceConflict
from casty.journal import Record


def cart(persistence_id: str | None = "cart-1", snapshots: Every | None = None) -> Behavior[CartCommand]:
    return Behaviors.event_sourced(persistence_id, empty=Cart(), decide=decide, apply=apply, snapshots=snapshots)


def system_with(journal: FaultyJournal, recoveries_max: int = 64) -> ActorSystem:
    return ActorSystem(config=SystemConfig(journal=journal, recoveries_max=recoveries_max))


async def add(system: ActorSystem, ref: ActorRef[CartCommand], sku: str, count: int = 1) -> int:
    return await system.ask(ref, lambda reply_to: Add(sku, count, reply_to))


async def items(system: ActorSystem, ref: ActorRef[CartCommand]) -> dict[str, int]:
    found: dict[str, int] = await system.ask(ref, Get)
    return found


async def failure(ask: Callable[[], Awaitable[object]]) -> str:
    with pytest.raises(AskFailed) as caught:
        await ask()
    return caught.value.failure


class Gate:
    """Holds appends until it is opened."""

    def __init__(self) -> None:
        self._open = trio.Event()

    async def __call__(self) -> None:
        await self._open.wait()

    def open(self) -> None:
        self._open.set()


async def test_a_state_survives_a_restart_of_its_system() -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        assert await add(system, ref, "tea") == 1
        assert await add(system, ref, "tea", 2) == 3
        assert await items(system, ref) == {"tea": 3}
    assert not journal.is_open
    async with system_with(journal) as system:
        assert await items(system, system.spawn(cart(), "cart")) == {"tea": 3}


async def test_commands_that_wait_for_an_append_share_the_next_one() -> None:
    journal, gate = FaultyJournal(), Gate()
    journal.before_append = gate
    async with system_with(journal) as system, trio.open_nursery() as nursery:
        ref = system.spawn(cart(), "cart")
        for number in range(20):
            nursery.start_soon(add, system, ref, f"sku-{number}")
            await wait_all_tasks_blocked()
        gate.open()
    assert journal.appends == [("cart-1", 1), ("cart-1", 19)]


async def test_nobody_is_answered_before_it_is_durable() -> None:
    journal, gate = FaultyJournal(), Gate()
    journal.before_append = gate
    seen: list[object] = []

    async def note(ask: Callable[[], Awaitable[object]]) -> None:
        seen.append(await ask())

    async with system_with(journal) as system, trio.open_nursery() as nursery:
        ref = system.spawn(cart(), "cart")
        nursery.start_soon(note, partial(add, system, ref, "tea"))
        await wait_all_tasks_blocked()
        nursery.start_soon(note, partial(items, system, ref))
        await wait_all_tasks_blocked()
        assert seen == [] and journal.events["cart-1"] == []
        gate.open()
    assert sorted(map(str, seen)) == ["1", "{'tea': 1}"]


async def test_without_room_commands_are_refused_and_reads_answered() -> None:
    journal = FaultyJournal(faults=deque([None, "unavailable", "unavailable"]))
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        await add(system, ref, "tea")
        for _ in range(2):
            assert await failure(partial(add, system, ref, "milk")) == "journal_unavailable"
            assert await items(system, ref) == {"tea": 1}
        assert await add(system, ref, "milk") == 1
    assert len(journal.events["cart-1"]) == 2
    assert journal.loads == 1


@pytest.mark.parametrize(("fault", "found"), [("uncertain and lost", {}), ("uncertain and written", {"tea": 1})])
async def test_an_uncertain_append_costs_one_recovery(fault: str, found: dict[str, int]) -> None:
    journal = FaultyJournal(faults=deque([fault]))
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        assert await failure(partial(add, system, ref, "tea")) == "outcome_unknown"
        assert await items(system, ref) == found
        assert await add(system, ref, "milk") == 1
    assert (journal.loads, journal.claims) == (2, ["cart-1", "cart-1"])


async def test_a_journal_that_is_down_at_the_start_is_asked_again_with_the_next_command() -> None:
    journal = FaultyJournal(claim_faults=deque(["unavailable", "uncertain and lost", "unavailable"]))
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        assert await failure(partial(items, system, ref)) == "journal_unavailable"
        assert await failure(partial(items, system, ref)) == "journal_unavailable"
        assert await items(system, ref) == {}


async def test_a_replaced_writer_stops_and_tells_its_askers() -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        await add(system, ref, "tea")
        journal.take("cart-1")
        with pytest.raises(AskFailed) as caught:
            await add(system, ref, "milk")
        assert caught.value.failure == "journal_unavailable" and isinstance(caught.value.__cause__, Fenced)
        await system.wait_stopped(ref)
    assert len(journal.events["cart-1"]) == 1


async def test_another_history_than_the_recovered_one_stops_and_is_read_after_a_restart() -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        ref = system.spawn(Behaviors.supervise(cart(), Restart(backoff_min=0.001)), "cart")
        await add(system, ref, "tea")
        journal.events["cart-1"].append(journal.events["cart-1"][0])
        with pytest.raises(AskFailed) as caught:
            await add(system, ref, "milk")
        assert isinstance(caught.value.__cause__, SequenceConflict)
        assert await items(system, ref) == {"tea": 2}


async def test_a_damaged_event_makes_its_actor_refuse_everything_and_others_go_on(
    caplog: pytest.LogCaptureFixture,
) -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        await add(system, system.spawn(cart(), "cart"), "tea")
    journal.events["cart-1"].append(Record("carts.Removed", 1, msgpack.packb({})))
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        for ask in (partial(add, system, ref, "milk"), partial(items, system, ref)):
            with pytest.raises(AskFailed, match=r"event 2 of 'cart-1' cannot be read: .*'carts.Removed'") as caught:
                await ask()
            cause = caught.value.__cause__
            assert isinstance(cause, JournalDamaged) and (cause.persistence_id, cause.seq) == ("cart-1", 2)
        assert await add(system, system.spawn(cart("cart-2"), "other"), "tea") == 1
    assert "cart-1 refuses everything" in caplog.text


async def test_a_command_whose_event_cannot_be_applied_is_refused_and_logged_though_nobody_asked(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def applied(found: Cart, event: CartEvent) -> Cart:
        raise ZeroDivisionError("no tea")

    async def ignored(ctx: ActorContext[int], message: int) -> Behavior[int]:
        return Behaviors.same()

    behavior = Behaviors.event_sourced("cart-1", empty=Cart(), decide=decide, apply=applied)
    async with system_with(FaultyJournal()) as system:
        ref = system.spawn(behavior, "cart")
        ref.tell(Add("tea", 1, system.spawn(Behaviors.receive(ignored), "sink")))
        assert await items(system, ref) == {}
    assert "cart-1 refused a command: no tea" in caplog.text


async def test_a_stop_as_effect_ends_the_actor_behind_its_reply() -> None:
    async with system_with(FaultyJournal()) as system:
        ref = system.spawn(cart(), "cart")
        assert await system.ask(ref, lambda reply_to: Leave(reply_to)) == 0
        await system.wait_stopped(ref)


async def test_a_refusal_reaches_the_asker() -> None:
    async with system_with(FaultyJournal()) as system:
        ref = system.spawn(cart(), "cart")
        count: int = await system.ask(ref, CheckOut)
        assert count == 0
        with pytest.raises(AskFailed, match="the cart is checked out"):
            await add(system, ref, "tea")


async def test_the_shutdown_of_a_system_waits_for_the_append_under_way() -> None:
    journal, gate = FaultyJournal(), Gate()
    journal.before_append = gate
    replies: list[int] = []

    async def ask(system: ActorSystem, ref: ActorRef[CartCommand]) -> None:
        replies.append(await add(system, ref, "tea"))

    async with trio.open_nursery() as nursery:
        async with system_with(journal) as system:
            ref = system.spawn(cart(), "cart")
            nursery.start_soon(ask, system, ref)
            await wait_all_tasks_blocked()
            nursery.start_soon(system.shutdown)
            await wait_all_tasks_blocked()
            assert journal.is_open and replies == []
            gate.open()
    assert replies == [1] and not journal.is_open


async def test_an_actor_killed_while_it_appends_leaves_its_askers_an_unknown_outcome(
    autojump_clock: trio.testing.MockClock,
) -> None:
    journal = FaultyJournal()
    journal.before_append = trio.sleep_forever
    async with system_with(journal) as system, trio.open_nursery() as nursery:
        ref = system.spawn(cart(), "cart")
        failures: list[str] = []

        async def ask() -> None:
            failures.append(await failure(partial(add, system, ref, "tea")))

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        system.stop(ref)
        await system.wait_stopped(ref)
        await wait_all_tasks_blocked()
        assert failures == ["outcome_unknown"]


async def test_snapshots_are_taken_pruned_and_begun_with() -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        ref = system.spawn(cart(snapshots=Every(10, keep=2)), "cart")
        for _ in range(35):
            await add(system, ref, "tea")
            await wait_all_tasks_blocked()
    assert [one.seq for one in journal.snapshots["cart-1"]] == [30, 20]
    assert len(journal.events["cart-1"]) == 35
    del journal.events["cart-1"][:]
    journal.forgotten["cart-1"] = 35
    async with system_with(journal) as system:
        assert await items(system, system.spawn(cart(snapshots=Every(10)), "cart")) == {"tea": 30}


async def test_events_are_forgotten_only_behind_all_kept_snapshots() -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        ref = system.spawn(cart(snapshots=Every(10, keep=2, forget=True)), "cart")
        for number in range(25):
            await add(system, ref, "tea")
            await wait_all_tasks_blocked()
            assert journal.forgotten["cart-1"] == (10 if number >= 19 else 0)
    async with system_with(journal) as system:
        assert await items(system, system.spawn(cart(), "cart")) == {"tea": 25}


async def test_an_unreadable_snapshot_is_passed_over_while_events_reach_back(caplog: pytest.LogCaptureFixture) -> None:
    journal = FaultyJournal()
    async with system_with(journal) as system:
        ref = system.spawn(cart(snapshots=Every(10, keep=1)), "cart")
        for _ in range(12):
            await add(system, ref, "tea")
            await wait_all_tasks_blocked()
    (kept,) = journal.snapshots["cart-1"]
    journal.snapshots["cart-1"] = [replace(kept, record=replace(kept.record, payload=msgpack.packb({"old": 1})))]
    async with system_with(journal) as system:
        assert await items(system, system.spawn(cart(), "cart")) == {"tea": 12}
    assert "snapshot 10 of cart-1 is passed over" in caplog.text
    del journal.events["cart-1"][:]
    journal.forgotten["cart-1"] = 12
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        with pytest.raises(AskFailed, match="no snapshot of 'cart-1' can be read, and the events up to 10 are forgott"):
            await items(system, ref)


async def test_recoveries_are_bounded_and_come_in_turn() -> None:
    journal, gate = FaultyJournal(), Gate()
    journal.before_read = gate
    async with system_with(journal, recoveries_max=3) as system:
        refs = [system.spawn(cart(f"cart-{number}"), f"cart-{number}") for number in range(10)]
        await wait_all_tasks_blocked()
        assert journal.reading == 3
        gate.open()
        for ref in refs:
            assert await items(system, ref) == {}
    assert journal.reading_most == 3


async def test_an_actor_that_waits_to_recover_can_be_stopped() -> None:
    journal = FaultyJournal()
    journal.before_read = trio.sleep_forever
    async with system_with(journal) as system:
        ref = system.spawn(cart(), "cart")
        await wait_all_tasks_blocked()
        system.stop(ref)
        await system.wait_stopped(ref)


async def test_two_actors_with_one_id_are_told(caplog: pytest.LogCaptureFixture) -> None:
    async with system_with(FaultyJournal()) as system:
        first = system.spawn(cart(), "cart")
        await items(system, first)
        second = system.spawn(cart(), "other")
        await system.wait_stopped(second)
        assert "/other and /cart have the persistence id 'cart-1': give each actor one of its own" in caplog.text
        assert await add(system, first, "tea") == 1


async def test_without_a_journal_the_spawn_says_what_to_do() -> None:
    async with ActorSystem() as system:
        for behavior in (cart(), Behaviors.supervise(cart(), Restart())):
            with pytest.raises(ConfigError, match="Behaviors.event_sourced has no journal: give the system one"):
                system.spawn(behavior, "cart")
        assert system.lookup("/cart") is None


async def test_a_lone_actor_needs_an_id() -> None:
    async def later(ctx: ActorContext[CartCommand]) -> Behavior[CartCommand]:
        return cart(None)

    async with system_with(FaultyJournal()) as system:
        with pytest.raises(ValueError, match="of a lone actor needs a persistence id, such as 'till-1'"):
            system.spawn(cart(None), "cart")
        ref = system.spawn(Behaviors.setup(later), "cart")
        with pytest.raises(AskFailed):
            await items(system, ref)


async def test_a_decide_that_raises_fails_the_actor_and_not_those_before_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    def fragile(cart: Cart, command: CartCommand) -> Effect[CartEvent]:
        if isinstance(command, CheckOut):
            raise RuntimeError("no checkouts today")
        return decide(cart, command)

    journal, gate = FaultyJournal(), Gate()
    journal.before_append = gate
    answers: list[object] = []

    async def note(ask: Callable[[], Awaitable[object]]) -> None:
        answers.append(await ask())

    async with system_with(journal) as system, trio.open_nursery() as nursery:
        behavior = Behaviors.event_sourced("cart-1", empty=Cart(), decide=fragile, apply=apply)
        ref = system.spawn(Behaviors.supervise(behavior, Restart()), "cart")
        check_out: Callable[[], Awaitable[int]] = lambda: system.ask(ref, CheckOut)  # noqa: E731  # as short as its use
        asks = [partial(add, system, ref, "tea"), partial(add, system, ref, "milk"), partial(failure, check_out)]
        for ask in asks:
            nursery.start_soon(note, ask)
            await wait_all_tasks_blocked()
        gate.open()
        await wait_all_tasks_blocked()
        assert sorted(map(str, answers)) == ["1", "1", "failed"]
        assert await items(system, ref) == {"tea": 1, "milk": 1}


async def test_an_async_decide_has_one_command_in_its_hands() -> None:
    journal = FaultyJournal()
    prices: dict[str, int] = {"tea": 3}

    async def priced(ctx: ActorContext[CartCommand], cart: Cart, command: CartCommand) -> Effect[CartEvent]:
        await trio.lowlevel.checkpoint()
        match command:
            case Add(sku, _, reply_to):
                return persist(Added(sku, prices[sku])).reply(reply_to, prices[sku])
            case Get(reply_to):
                return nothing().reply(reply_to, dict(cart.items))
            case _:
                return nothing()

    behavior = Behaviors.event_sourced_actor("cart-1", empty=Cart(), decide=priced, apply=apply)
    async with system_with(journal) as system, trio.open_nursery() as nursery:
        ref = system.spawn(behavior, "cart")
        for _ in range(5):
            nursery.start_soon(add, system, ref, "tea")
        await wait_all_tasks_blocked()
        assert await items(system, ref) == {"tea": 15}
    assert journal.appends == [("cart-1", 1)] * 5


@event("sourcing.Settings", version=2)
@dataclass(frozen=True)
class Settings:
    colour: str
    size: int = 1


@upcast("sourcing.Settings", 1)
def sized(fields: dict[str, object]) -> dict[str, object]:
    return {**fields, "size": 7}


@dataclass(frozen=True)
class Paint:
    colour: str
    reply_to: ActorRef[Settings]


def paint(settings: Settings, command: Paint) -> Effect[Settings]:
    made = replace(settings, colour=command.colour)
    return store(made).reply(command.reply_to, made)


async def painted(system: ActorSystem, ref: ActorRef[Paint], colour: str) -> Settings:
    return await system.ask(ref, lambda reply_to: Paint(colour, reply_to))


async def test_a_durable_state_survives_and_evolves() -> None:
    journal = FaultyJournal()
    behavior = Behaviors.durable_state("settings", empty=Settings("red"), decide=paint)
    async with system_with(journal) as system:
        ref = system.spawn(behavior, "settings")
        assert await painted(system, ref, "blue") == Settings("blue")
        assert await painted(system, ref, "green") == Settings("green")
    assert journal.values["settings"][0] == 2
    journal.values["settings"] = 2, Record("sourcing.Settings", 1, msgpack.packb({"colour": "grey"}))
    async with system_with(journal) as system:
        assert await painted(system, system.spawn(behavior, "settings"), "white") == Settings("white", 7)
    assert journal.values["settings"][0] == 3


async def test_a_durable_state_that_cannot_be_read_refuses_everything() -> None:
    journal = FaultyJournal(values={"settings": (5, Record("sourcing.Settings", 3, b"\x80"))})
    async with system_with(journal) as system:
        ref = system.spawn(Behaviors.durable_state("settings", empty=Settings("red"), decide=paint), "settings")
        with pytest.raises(AskFailed, match="the state 5 of 'settings' cannot be read"):
            await painted(system, ref, "blue")


@dataclass(frozen=True)
class Nameless:
    colour: str


async def test_classes_without_a_stored_name_are_told_at_the_spawn() -> None:
    def decide(state: Nameless, command: str) -> Effect[Nameless]:
        return store(Nameless(command))

    def change(state: Settings, event: Nameless) -> Settings:
        return state

    def choose(state: Settings, command: str) -> Effect[Nameless]:
        return persist(Nameless(command))

    async with system_with(FaultyJournal()) as system:
        with pytest.raises(ConfigError, match=r"the state .*Nameless has no stored name"):
            system.spawn(Behaviors.durable_state("one", empty=Nameless("red"), decide=decide), "one")
        with pytest.raises(ConfigError, match=r"the event .*Nameless has no stored name: write @casty.event"):
            system.spawn(Behaviors.event_sourced("two", empty=Settings("red"), decide=choose, apply=change), "two")


async def test_interceptors_see_commands_of_event_sourced_actors() -> None:
    seen: list[object] = []

    async def see(ctx: ActorContext[CartCommand], message: CartCommand, target: object) -> Behavior[CartCommand]:
        seen.append(type(message))
        return await target(message)

    journal, gate = FaultyJournal(), Gate()
    journal.before_append = gate
    async with system_with(journal) as system, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.intercept(see, cart()), "cart")
        for _ in range(4):
            nursery.start_soon(add, system, ref, "tea")
            await wait_all_tasks_blocked()
        gate.open()
    assert seen == [Add] * 4
    assert journal.appends == [("cart-1", 1), ("cart-1", 3)]


@pytest.mark.parametrize("bad", ["", "x" * 601, "a\nb", "carts#3"])
def test_an_id_that_cannot_be_one_is_refused(bad: str) -> None:
    with pytest.raises(ValueError, match="a persistence id has"):
        cart(bad)


def test_wrong_functions_are_refused_at_their_line() -> None:
    async def later(cart: Cart, command: CartCommand) -> Effect[CartEvent]:
        return nothing()

    with pytest.raises(TypeError, match="is async: write def; Behaviors.event_sourced_actor takes an async decide"):
        Behaviors.event_sourced("x", empty=Cart(), decide=later, apply=apply)
    with pytest.raises(TypeError, match="is not async: write async def"):
        Behaviors.event_sourced_actor("x", empty=Cart(), decide=decide, apply=apply)
    with pytest.raises(TypeError, match=r"needs `def apply\(state, event\) -> state`"):
        Behaviors.event_sourced("x", empty=Cart(), decide=decide, apply=lambda cart: cart)
    with pytest.raises(TypeError, match=r"empty must be a state, got the class: write Cart\(...\)"):
        Behaviors.event_sourced("x", empty=Cart, decide=decide, apply=apply)
    with pytest.raises(ConfigError, match="SystemConfig.journal must be a casty.Journal or None"):
        SystemConfig(journal="journal.db")
    with pytest.raises(ConfigError, match=r"Every.keep must be an integer of at least 1"):
        Every(5, keep=0)
