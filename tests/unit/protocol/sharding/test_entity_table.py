"""Entities of one key: started, fed, ended, each step by hand."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest

from casty.protocol.effects import PublishEvent, StartTimer, TimerFired
from casty.protocol.sharding.entities.entity_cell import EntityPhase
from casty.protocol.sharding.entities.entity_events import (
    CancelEntity,
    DeliverToEntity,
    EntityEffect,
    EntityEnded,
    EntityEvent,
    EntityFailed,
    EntityMessage,
    EntityStarted,
    RefusalReason,
    RefuseAsk,
    RefuseMessage,
    StartEntity,
    StopEntity,
)
from casty.protocol.sharding.entities.entity_limits import ASKS_REFUSED_AFTER, EntityLimits
from casty.protocol.sharding.entities.entity_table import EntityTable
from casty.protocol.sharding.placement_events import CloseShard, OpenShard, ServesUntil, ShardClosed

EPOCH = 7
DUE = TimerFired("entities-due.carts")
CAUSE = LookupError("no catalogue")


def table(**limits: float) -> EntityTable:
    made = EntityTable("carts", random.Random(1), EntityLimits(**limits))  # type: ignore[arg-type]  # by name
    made.handle(ServesUntil(math.inf), 0.0)
    made.handle(OpenShard("carts", 0, EPOCH), 0.0)
    return made


def told(number: int, entity: str = "a", epoch: int = EPOCH, shard: int = 0) -> EntityMessage:
    return EntityMessage(entity, shard, epoch, number)


def kinds(effects: Sequence[EntityEffect], *wanted: type) -> list[EntityEffect]:
    return [effect for effect in effects if isinstance(effect, wanted)]


def delivered(effects: Sequence[EntityEffect]) -> list[object]:
    return [effect.message.message for effect in effects if isinstance(effect, DeliverToEntity)]


def running(entities: EntityTable, entity: str = "a", now: float = 0.0) -> int:
    """Start an entity by its first message; return its activation."""
    [start] = kinds(entities.handle(told(0, entity), now), StartEntity)
    assert isinstance(start, StartEntity)
    entities.handle(EntityStarted(entity, start.activation), now)
    return start.activation


def test_the_first_message_starts_an_entity_and_waits_for_it_with_later_ones() -> None:
    entities = table()
    assert kinds(entities.handle(told(1), 0.0), StartEntity) == [StartEntity("a", 1, EPOCH)]
    assert entities.handle(told(2), 0.0) == []
    assert delivered(entities.handle(EntityStarted("a", 1), 0.0)) == [1, 2]
    assert delivered(entities.handle(told(3), 0.0)) == [3]
    assert entities.waiting == 0


def test_a_message_of_another_epoch_or_of_a_shard_that_is_not_open_is_refused() -> None:
    entities = table()
    for message in (told(1, epoch=EPOCH - 1), told(2, epoch=EPOCH + 1), told(3, shard=1)):
        assert entities.handle(message, 0.0) == [RefuseMessage(message, RefusalReason.moved)]
    assert not entities.cells


def test_an_idle_entity_ends_and_a_message_meanwhile_starts_it_again() -> None:
    entities = table(passivate_after=10.0)
    activation = running(entities)
    entities.handle(told(1), 8.0)
    assert not kinds(entities.handle(DUE, 10.0), StopEntity)  # used meanwhile
    assert kinds(entities.handle(DUE, 18.0), StopEntity) == [StopEntity("a", activation)]
    assert entities.handle(told(2), 18.0) == []
    again = kinds(entities.handle(EntityEnded("a", activation), 18.1), StartEntity)
    assert again == [StartEntity("a", activation + 1, EPOCH)]
    assert delivered(entities.handle(EntityStarted("a", activation + 1), 18.1)) == [2]


def test_what_an_ended_entity_has_not_handled_goes_before_what_came_later() -> None:
    entities = table(passivate_after=10.0)
    activation = running(entities)
    entities.handle(told(1), 0.0)
    entities.handle(DUE, 10.0)
    entities.handle(told(2), 10.0)
    entities.handle(EntityEnded("a", activation, left=(told(1),)), 10.0)
    assert delivered(entities.handle(EntityStarted("a", activation + 1), 10.0)) == [1, 2]


def test_a_failing_entity_pauses_twice_as_long_each_time_unless_it_has_lasted() -> None:
    entities = table()
    pauses, now, activation = list[float](), 0.0, running(entities)
    for lasts in (0.0, 0.0, 0.0, 0.0, 60.0):
        now += lasts
        failed = EntityEnded("a", activation, has_failed=True, left=(told(1),))
        [news] = kinds(entities.handle(failed, now), PublishEvent)
        assert isinstance(news, PublishEvent) and isinstance(news.event, EntityFailed)
        pauses.append(news.event.pause)
        assert not kinds(entities.handle(DUE, now + pauses[-1] - 0.001), StartEntity)
        now += pauses[-1]
        activation += 1
        assert kinds(entities.handle(DUE, now), StartEntity) == [StartEntity("a", activation, EPOCH)]
        entities.handle(EntityStarted("a", activation), now)
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.05]


def never_starting(entities: EntityTable, now: float, *left: EntityMessage) -> list[EntityEffect]:
    """Let the entity fail before the first of these messages until it refuses asks, 3 s later; return the effects."""
    effects: Sequence[EntityEffect] = []
    for number in range(ASKS_REFUSED_AFTER):
        entities.handle(DUE, now + number)
        effects = fail_start(entities, now + number, *left)
    return list(effects)


def fail_start(entities: EntityTable, now: float, *left: EntityMessage) -> Sequence[EntityEffect]:
    activation = entities.cells["a"].activation
    entities.handle(EntityStarted("a", activation), now)
    return entities.handle(EntityEnded("a", activation, True, left, CAUSE), now)


def test_asks_of_an_entity_that_cannot_start_are_told_why_and_other_messages_wait() -> None:
    entities = table()
    entities.is_ask = lambda message: message in (1, 3, 4)
    for number in (1, 2, 3):
        entities.handle(told(number), 0.0)
    assert kinds(never_starting(entities, 0.0, told(1), told(2), told(3)), RefuseAsk) == [
        RefuseAsk(told(1), CAUSE),
        RefuseAsk(told(3), CAUSE),
    ]
    assert entities.waiting == 1
    entities.handle(DUE, 4.0)
    fail_start(entities, 4.0, told(2))
    assert entities.handle(told(4), 4.1) == [RefuseAsk(told(4), CAUSE)]  # in the pause
    assert kinds(entities.handle(DUE, 5.0), StartEntity)
    started = entities.handle(EntityStarted("a", entities.cells["a"].activation), 5.0)
    assert delivered(started) == [2] and entities.waiting == 0
    assert delivered(entities.handle(told(4), 5.0)) == [4]


def test_an_entity_that_has_refused_all_pauses_longer_with_the_next_ask_and_is_forgotten_without_one() -> None:
    entities = table()
    entities.is_ask = lambda message: True
    entities.handle(told(1), 0.0)
    never_starting(entities, 0.0, told(1))
    entities.handle(DUE, 3.5)  # its pause of 0.4 s is over
    assert entities.cells["a"].phase is EntityPhase.pausing and entities.waiting == 0
    assert kinds(entities.handle(told(2), 3.5), StartEntity)
    assert kinds(fail_start(entities, 3.5, told(2)), PublishEvent, RefuseAsk) == [
        RefuseAsk(told(2), CAUSE),
        PublishEvent(EntityFailed("carts", "a", 0.8)),
    ]
    entities.handle(DUE, 4.4)
    assert "a" in entities.cells
    entities.handle(DUE, 5.2)
    assert not entities.cells and entities.waiting == 0


def test_an_entity_that_ends_before_it_has_started_refuses_asks_too_and_is_given_up_by_a_closing_shard() -> None:
    entities = table()
    entities.is_ask = lambda message: message == 1
    entities.handle(told(1), 0.0)
    entities.handle(told(2), 0.0)
    effects: Sequence[EntityEffect] = []
    for number in range(ASKS_REFUSED_AFTER):
        entities.handle(DUE, float(number))
        effects = entities.handle(EntityEnded("a", entities.cells["a"].activation, True, (), CAUSE), float(number))
    assert kinds(effects, RefuseAsk) == [RefuseAsk(told(1), CAUSE)]
    assert kinds(entities.handle(CloseShard("carts", 0, EPOCH), 3.1), StartEntity)
    given_up = entities.handle(EntityEnded("a", entities.cells["a"].activation, True, (), CAUSE), 3.1)
    assert kinds(given_up, RefuseMessage, StartEntity) == [RefuseMessage(told(2), RefusalReason.moved)]
    assert kinds(given_up, ShardClosed)


def test_a_shard_closes_at_once_while_its_entity_refuses_asks() -> None:
    entities = table()
    entities.is_ask = lambda message: True
    entities.handle(told(1), 0.0)
    never_starting(entities, 0.0, told(1))
    assert kinds(entities.handle(CloseShard("carts", 0, EPOCH), 3.3), ShardClosed)


def test_one_timer_is_enough_however_often_entities_fail() -> None:
    entities = table(passivate_after=120.0)
    now, due, fired = 0.0, math.inf, 0

    def take(event: EntityEvent) -> None:
        nonlocal due
        for effect in entities.handle(event, now):
            match effect:
                case StartTimer(_, delay):
                    due = now + delay  # in place of the one before
                case StartEntity(entity, activation):
                    take(EntityStarted(entity, activation))
                case StopEntity(entity, activation):
                    take(EntityEnded(entity, activation))
                case _:
                    pass

    for number in range(600):
        end = 2.0 * (number + 1)
        take(told(0, f"e{number}"))
        take(told(0, "bad"))
        take(EntityEnded("bad", entities.cells["bad"].activation, has_failed=True, left=(told(0, "bad"),)))
        while due <= end:
            now, due, fired = due, math.inf, fired + 1
            take(DUE)
        now = end
        assert due < now + 120.0
    assert fired < 2 * 600  # a pause each, and a passivation
    assert len(entities.cells) < 70


def test_an_entity_that_ends_before_its_first_message_again_and_again_pauses_like_a_failing_one() -> None:
    entities, pauses, now = table(), list[float](), 0.0
    activation, left = running(entities), (told(0), told(1))
    entities.handle(told(1), now)
    assert kinds(entities.handle(EntityEnded("a", activation, left=left), now), StartEntity)  # at once, the first time
    for _ in range(10):
        activation += 1
        assert delivered(entities.handle(EntityStarted("a", activation), now)) == [0, 1]
        [news] = kinds(entities.handle(EntityEnded("a", activation, left=left), now), PublishEvent, StartEntity)
        assert isinstance(news, PublishEvent) and isinstance(news.event, EntityFailed)
        pauses.append(news.event.pause)
        now += pauses[-1]
        assert kinds(entities.handle(DUE, now), StartEntity) == [StartEntity("a", activation + 1, EPOCH)]
    assert pauses == [0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 10.0, 10.0]
    entities.handle(EntityStarted("a", activation + 1), now)
    taken = entities.handle(EntityEnded("a", activation + 1, left=left[1:]), now)  # it has taken one at last
    assert kinds(taken, PublishEvent, StartEntity) == [StartEntity("a", activation + 2, EPOCH)]


def test_an_entity_told_to_stop_starts_again_at_once_however_often_it_leaves_a_message() -> None:
    entities = table(passivate_after=5.0)
    activation = running(entities)
    for number in range(1, 5):
        now = 5.0 * number
        assert kinds(entities.handle(DUE, now), StopEntity) == [StopEntity("a", activation)]
        entities.handle(told(number), now)
        ended = entities.handle(EntityEnded("a", activation, left=(told(0),)), now)
        activation += 1
        assert kinds(ended, PublishEvent, StartEntity) == [StartEntity("a", activation, EPOCH)]
        entities.handle(EntityStarted("a", activation), now)


@pytest.mark.parametrize("has_failed", [True, False])
def test_an_entity_of_a_closing_shard_that_takes_nothing_twice_is_given_up(has_failed: bool) -> None:
    entities = table()
    entities.handle(told(1), 0.0)
    entities.handle(CloseShard("carts", 0, EPOCH), 0.0)
    for activation in (1, 2):
        assert kinds(entities.handle(EntityStarted("a", activation), 0.0), StopEntity)
        ended = entities.handle(EntityEnded("a", activation, has_failed, left=(told(1),)), 0.0)
        assert len(kinds(ended, StartEntity)) == (activation == 1)
    assert kinds(ended, RefuseMessage, ShardClosed) == [
        RefuseMessage(told(1), RefusalReason.moved),
        ShardClosed("carts", 0, EPOCH),
    ]
    assert not entities.cells and not entities.waiting


def test_an_entity_of_a_closing_shard_that_fails_at_every_message_goes_through_them_without_a_pause() -> None:
    entities = table()
    for number in range(20):
        entities.handle(told(number), 0.0)
    entities.handle(EntityEnded("a", 1, has_failed=True), 0.0)
    closing = entities.handle(CloseShard("carts", 0, EPOCH), 0.01)
    for number in range(20):
        [start] = kinds(closing, StartEntity)
        assert isinstance(start, StartEntity)
        begun = entities.handle(EntityStarted("a", start.activation), 0.02)
        assert delivered(begun) == list(range(number, 20))
        left = tuple(map(told, range(number + 1, 20)))
        closing = entities.handle(EntityEnded("a", start.activation, has_failed=True, left=left), 0.03)
    assert kinds(closing, RefuseMessage, ShardClosed) == [ShardClosed("carts", 0, EPOCH)]


def test_a_closing_shard_lets_its_entities_handle_what_waits_and_is_closed_behind_the_last() -> None:
    entities = table()
    one = running(entities, "a")
    [start] = kinds(entities.handle(told(1, "b"), 0.0), StartEntity)
    closing = entities.handle(CloseShard("carts", 0, EPOCH), 0.0)
    assert kinds(closing, StopEntity, ShardClosed) == [StopEntity("a", one)]
    assert kinds(entities.handle(told(2), 0.0), RefuseMessage)
    assert not kinds(entities.handle(EntityEnded("a", one), 0.0), ShardClosed)
    assert isinstance(start, StartEntity)
    begun = entities.handle(EntityStarted("b", start.activation), 0.0)
    assert delivered(begun) == [1]
    assert kinds(begun, StopEntity) == [StopEntity("b", start.activation)]
    ended = entities.handle(EntityEnded("b", start.activation), 0.0)
    assert kinds(ended, ShardClosed) == [ShardClosed("carts", 0, EPOCH)]


def test_entities_that_do_not_end_in_time_are_cancelled_and_the_shard_waits_for_their_last_task() -> None:
    entities = table(stop_timeout=10.0)
    activation = running(entities)
    entities.handle(CloseShard("carts", 0, EPOCH), 0.0)
    assert kinds(entities.handle(DUE, 10.0), CancelEntity, ShardClosed) == [CancelEntity("a", activation)]
    ended = entities.handle(EntityEnded("a", activation, left=(told(5),)), 12.0)
    assert kinds(ended, RefuseMessage) == [RefuseMessage(told(5), RefusalReason.moved)]
    assert kinds(ended, ShardClosed) == [ShardClosed("carts", 0, EPOCH)]
    assert not entities.cells and not entities.waiting


def test_a_shard_that_was_closed_and_is_open_again_is_not_cancelled_by_the_earlier_time() -> None:
    entities = table(stop_timeout=10.0)
    activation = running(entities)
    entities.handle(CloseShard("carts", 0, EPOCH), 0.0)
    entities.handle(EntityEnded("a", activation), 0.1)
    entities.handle(OpenShard("carts", 0, EPOCH + 1), 1.0)
    entities.handle(told(1, epoch=EPOCH + 1), 1.0)
    entities.handle(CloseShard("carts", 0, EPOCH + 1), 9.0)
    assert not kinds(entities.handle(DUE, 10.0), CancelEntity)
    assert kinds(entities.handle(DUE, 19.0), CancelEntity)


def test_without_the_lease_nothing_is_started_or_delivered_and_all_waits_in_order() -> None:
    entities = table()
    running(entities)
    entities.handle(ServesUntil(5.0), 0.0)
    for number in (1, 2):
        assert not delivered(entities.handle(told(number), 5.0))
    assert not kinds(entities.handle(told(3, "b"), 5.0), StartEntity)
    again = entities.handle(ServesUntil(10.0), 6.0)
    assert delivered(again) == [1, 2]
    assert kinds(again, StartEntity) == [StartEntity("b", 2, EPOCH)]


def test_beyond_their_bounds_messages_are_refused_and_starts_wait_for_each_other() -> None:
    entities = table(entity_waiting_max=2, waiting_max=3, starts_max=1)
    effects = [effect for number in range(3) for effect in entities.handle(told(number), 0.0)]
    assert kinds(effects, RefuseMessage) == [RefuseMessage(told(2), RefusalReason.full)]
    assert not kinds(entities.handle(told(0, "b"), 0.0), StartEntity)
    assert kinds(entities.handle(told(0, "c"), 0.0), RefuseMessage)
    assert kinds(entities.handle(EntityStarted("a", 1), 0.0), StartEntity) == [StartEntity("b", 2, EPOCH)]


def test_an_entity_that_fails_to_start_gives_its_place_to_the_next() -> None:
    entities = table(starts_max=1)
    entities.handle(told(0), 0.0)
    entities.handle(told(0, "b"), 0.0)
    failed = entities.handle(EntityEnded("a", 1, has_failed=True), 0.0)
    assert kinds(failed, StartEntity) == [StartEntity("b", 2, EPOCH)]


def test_above_the_limit_the_least_recently_used_entity_ends() -> None:
    entities = table(entities_max=2)
    one, two = running(entities, "a", 0.0), running(entities, "b", 1.0)
    entities.handle(told(1, "a"), 2.0)
    assert kinds(entities.handle(told(0, "c"), 3.0), StopEntity) == [StopEntity("b", two)]
    assert one in {cell.activation for cell in entities.cells.values()}


def test_the_heap_of_uses_stays_as_small_as_the_entities() -> None:
    entities = table()
    for number in range(5_000):
        activation = running(entities, f"e{number}", 0.0)
        entities.handle(EntityEnded(f"e{number}", activation), 0.0)
    assert len(entities.idle.heap) <= 1_025
    assert not entities.cells


def kept(**limits: object) -> tuple[EntityTable, int]:
    """Return a table of the one entity "a", kept running, and its first activation."""
    entities = EntityTable("carts", random.Random(1), EntityLimits(**limits, kept="a"))  # type: ignore[arg-type]  # by name
    entities.handle(ServesUntil(math.inf), 0.0)
    [start] = kinds(entities.handle(OpenShard("carts", 0, EPOCH), 0.0), StartEntity)
    assert isinstance(start, StartEntity)
    entities.handle(EntityStarted("a", start.activation), 0.0)
    return entities, start.activation


def test_a_kept_entity_starts_with_its_shard_once_there_is_a_lease() -> None:
    entities = EntityTable("carts", random.Random(1), EntityLimits(kept="a"))
    assert kinds(entities.handle(OpenShard("carts", 0, EPOCH), 0.0), StartEntity) == []
    assert kinds(entities.handle(ServesUntil(9.0), 1.0), StartEntity) == [StartEntity("a", 1, EPOCH)]


def test_a_kept_entity_is_started_again_after_a_failure_without_a_message() -> None:
    entities, activation = kept()
    effects = entities.handle(EntityEnded("a", activation, has_failed=True), 1.0)
    assert kinds(effects, PublishEvent) == [PublishEvent(EntityFailed("carts", "a", 0.05))]
    assert kinds(entities.handle(DUE, 1.05), StartEntity) == [StartEntity("a", activation + 1, EPOCH)]


def test_a_kept_entity_that_ended_by_itself_waits_for_a_message() -> None:
    entities, activation = kept()
    assert kinds(entities.handle(EntityEnded("a", activation), 1.0), StartEntity) == []
    assert not entities.cells
    assert kinds(entities.handle(told(1), 2.0), StartEntity) == [StartEntity("a", activation + 1, EPOCH)]


def test_nothing_passivates_a_kept_entity() -> None:
    entities, activation = kept(passivate_after=1.0, entities_max=1)
    running(entities, "b")
    assert StopEntity("a", activation) not in entities.handle(DUE, 50.0)
    assert StopEntity("a", activation) not in [*entities.handle(told(1, "c"), 51.0), *entities.handle(DUE, 52.0)]


def test_a_shard_closes_at_once_while_its_kept_entity_pauses_or_has_not_begun() -> None:
    entities, activation = kept()
    entities.handle(EntityEnded("a", activation, has_failed=True), 1.0)
    assert ShardClosed("carts", 0, EPOCH) in entities.handle(CloseShard("carts", 0, EPOCH), 1.01)
    assert not entities.cells
    entities.handle(ServesUntil(0.0), 1.02)
    entities.handle(OpenShard("carts", 0, EPOCH + 1), 1.02)  # without a lease it is not begun
    assert ShardClosed("carts", 0, EPOCH + 1) in entities.handle(CloseShard("carts", 0, EPOCH + 1), 1.03)
    assert kinds(entities.handle(DUE, 2.0), StartEntity) == []
