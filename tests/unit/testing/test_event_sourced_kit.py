"""The kit of event-sourced behaviours: given events, when a command, then an effect."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import trio
from helpers.carts import Add, Added, Cart, CartCommand, CartEvent, CheckedOut, CheckOut, Get, apply, decide

from casty import ActorContext, Behaviors, Effect, Restart, event, nothing, persist, refuse, store
from casty.errors import ConfigError, DecodeError, JournalDamaged
from casty.testing import EventSourcedTestKit, TestInbox, WouldWait


def cart() -> EventSourcedTestKit[CartCommand]:
    return EventSourcedTestKit(Behaviors.event_sourced(empty=Cart(), decide=decide, apply=apply))


def test_given_events_when_a_command_then_an_effect_a_reply_and_a_state() -> None:
    kit = cart()
    kit.given(Added("tea", 1))
    replies: TestInbox[int] = kit.inbox("replies")
    assert kit.when(Add("tea", 2, replies.ref)) == persist(Added("tea", 2)).reply(replies.ref, 3)
    assert (replies.take(), kit.state, kit.events) == (3, Cart({"tea": 3}), (Added("tea", 1), Added("tea", 2)))
    found: TestInbox[dict[str, int]] = kit.inbox("found")
    assert kit.when(Get(found.ref)) == nothing().reply(found.ref, {"tea": 3})


def test_a_refusal_stores_nothing_and_tells_nobody() -> None:
    kit = cart()
    kit.given(CheckedOut())
    replies: TestInbox[int] = kit.inbox()
    assert kit.when(Add("tea", 1, replies.ref)) == refuse(replies.ref, "the cart is checked out")
    assert (replies.messages, kit.events) == ((), (CheckedOut(),))


def test_a_form_of_the_past_is_read_by_the_classes_of_today() -> None:
    kit = cart()
    kit.given_stored("carts.Added", 1, {"sku": "tea", "count": 4})
    assert kit.state == Cart({"tea": 4})
    with pytest.raises(DecodeError, match="lacks the field 'count'"):
        kit.given_stored("carts.Added", 1, {"sku": "tea"})
    with pytest.raises(DecodeError, match="no class is declared as 'carts.Gone'"):
        kit.given_stored("carts.Gone", 1, {})
    assert kit.events == (Added("tea", 4),)


def test_a_durable_state_is_stepped_too() -> None:
    def set_total(total: int, command: int) -> Effect[int]:
        return store(command) if command > total else nothing()

    kit = EventSourcedTestKit(Behaviors.durable_state("total", empty=0, decide=set_total))
    kit.given(3)
    assert kit.when(2) == nothing()
    assert (kit.when(5), kit.state, kit.events) == (store(5), 5, (5,))


def test_an_async_decide_runs_until_it_would_wait() -> None:
    async def patient(ctx: ActorContext[CartCommand], cart: Cart, command: CartCommand) -> Effect[CartEvent]:
        if isinstance(command, CheckOut):
            await trio.sleep_forever()
        return persist(Added("tea", 1))

    behavior = Behaviors.event_sourced_actor("x", empty=Cart(), decide=patient, apply=apply)
    kit = EventSourcedTestKit(Behaviors.supervise(behavior, Restart()))
    replies: TestInbox[int] = kit.inbox()
    assert kit.when(Add("tea", 1, replies.ref)) == persist(Added("tea", 1))
    with pytest.raises(WouldWait):
        kit.when(CheckOut(replies.ref))


@event("kit_tests.Named")
@dataclass(frozen=True)
class Named:
    name: str
    length: int = field(init=False, default=0, compare=True)


def test_what_is_lost_by_storing_fails_here() -> None:
    def decide(state: Named, command: str) -> Effect[Named]:
        made = Named(command)
        object.__setattr__(made, "length", len(command))
        return store(made)

    kit = EventSourcedTestKit(Behaviors.durable_state("x", empty=Named(""), decide=decide))
    with pytest.raises(AssertionError, match="after a restart the state is .*length=0"):
        kit.when("tea")


def test_faults_of_the_functions_are_raised() -> None:
    def broken(cart: Cart, event: CartEvent) -> Cart:
        raise LookupError("no shelf")

    kit = EventSourcedTestKit(Behaviors.event_sourced("x", empty=Cart(), decide=decide, apply=broken))
    replies: TestInbox[int] = kit.inbox()
    with pytest.raises(LookupError, match="no shelf"):
        kit.when(Add("tea", 1, replies.ref))
    with pytest.raises(JournalDamaged, match="fails at event 1"):
        kit.given(CheckedOut())
    assert kit.events == ()


def test_other_behaviours_have_another_kit() -> None:
    with pytest.raises(TypeError, match="BehaviorTestKit takes others"):
        EventSourcedTestKit(Behaviors.ignore())


def test_a_decide_that_changes_the_state_in_place_is_told() -> None:
    def hasty(items: dict[str, int], command: Add) -> Effect[Added]:
        items[command.sku] = command.count
        return persist(Added(command.sku, command.count))

    def put(items: dict[str, int], event: Added) -> dict[str, int]:
        return {**items, event.sku: event.count}

    kit = EventSourcedTestKit(Behaviors.event_sourced("x", empty=dict[str, int](), decide=hasty, apply=put))
    with pytest.raises(TypeError, match="decide has changed the state in place, in .*tea"):
        kit.when(Add("tea", 1, kit.inbox("replies").ref))


def test_only_a_state_is_told_that_it_need_not_be_stored() -> None:
    def grow(total: int, event: complex) -> int:
        return total

    with pytest.raises(ConfigError) as caught:
        EventSourcedTestKit(Behaviors.event_sourced("x", empty=0, decide=lambda total, command: nothing(), apply=grow))
    assert "snapshots=None" not in str(caught.value)
