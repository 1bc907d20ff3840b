"""Changes of the placement in the eyes of one node: each is told once, and snapshots come at their pace."""

from __future__ import annotations

from casty.protocol.effects import PublishEvent, StartTimer, TimerFired
from casty.protocol.messages.shard_rows import Moving, Opening, Owned, Row, Term
from casty.protocol.messages.sharding import TableSlice
from casty.protocol.sharding.observability.shard_events import ShardMoved, ShardOpened, ShardResumed, ShardSuspended
from casty.protocol.sharding.observability.shard_observer import LEASE_ENDS, SHOW, SNAPSHOT_PAUSE, ShardObserver
from casty.protocol.sharding.placement_events import CoordinatorChanged, ServesUntil, ShardTableChanged
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.state.shard_allocation import ShardAllocation, ShardsAllocated
from casty.testing.samples import address, run_of

A, B, C = (run_of(name) for name in "abc")
FIRST, SECOND = Term(256, B.incarnation), Term(512, C.incarnation)


def observer(name: str = "a") -> ShardObserver:
    runs = {run.incarnation: run for run in (A, B, C)}
    return ShardObserver(run_of(name), runs.get)


def table(rows: dict[int, Row | None], term: Term = FIRST, key: str = "carts") -> ShardTable:
    return ShardTable(key, 4).begun(term, 1, rows)


def written(of: ShardTable, changes: dict[int, Row | None]) -> ShardTableChanged:
    """Change a table in place, as its region does with a slice."""
    place = of.key, of.num_shards, of.term, of.version, of.version + 1
    before = of.take(TableSlice(*place, tuple(changes.items())))
    assert before is not None
    return ShardTableChanged(of, {shard: of.row(shard) for shard in before})


def told(machine: ShardObserver, news: ShardTable | ShardTableChanged) -> list[object]:
    event = ShardTableChanged(news) if isinstance(news, ShardTable) else news
    effects = machine.handle(event, 0.0)
    return [effect.event for effect in effects if isinstance(effect, PublishEvent)]


def shown(machine: ShardObserver) -> ShardsAllocated:
    (effect,) = machine.handle(TimerFired(SHOW), 1.0)
    assert isinstance(effect, ShardsAllocated)
    return effect


def test_an_opening_a_move_and_a_second_opening_are_told_once_each() -> None:
    machine = observer()
    begun = table({0: Owned(A, 5), 1: Opening(B, 5)})
    assert told(machine, begun) == [CoordinatorChanged(B, 256), ShardOpened("carts", 0, A, 5)]
    moving = written(begun, {0: Moving(A, 5, 6, B), 1: Owned(B, 5)})
    assert told(machine, moving) == [ShardOpened("carts", 1, B, 5)]
    assert told(machine, written(begun, {0: Opening(B, 7)})) == []
    assert told(machine, written(begun, {0: Owned(B, 7)})) == [ShardMoved("carts", 0, A, B, 7)]
    assert told(machine, written(begun, {0: None})) == []
    assert told(machine, written(begun, {0: Owned(B, 9)})) == [ShardOpened("carts", 0, B, 9)]
    assert machine.moves == {"carts": 1}


def test_another_term_tells_its_coordinator_and_nothing_of_shards_that_stay() -> None:
    machine = observer()
    told(machine, table({0: Owned(A, 5)}))
    assert told(machine, table({0: Owned(A, 5)}, SECOND)) == [CoordinatorChanged(C, 512)]
    assert told(machine, table({0: Owned(A, 5)}, SECOND, key="rooms")) == [ShardOpened("rooms", 0, A, 5)]


def test_a_coordinator_tells_of_itself_elsewhere() -> None:
    assert told(observer("b"), table({})) == []


def test_a_move_seen_under_way_first_is_a_move() -> None:
    machine = observer()
    begun = table({0: Moving(B, 5, 6, A)})
    assert told(machine, begun) == [CoordinatorChanged(B, 256)]
    assert told(machine, written(begun, {0: Owned(A, 7)})) == [ShardMoved("carts", 0, B, A, 7)]


def test_changes_within_the_pause_make_one_snapshot() -> None:
    machine = observer()
    begun, rooms = table({0: Owned(A, 5), 1: Opening(B, 5)}), table({3: Moving(B, 5, 6)}, key="rooms")
    assert StartTimer(SHOW, SNAPSHOT_PAUSE) in machine.handle(ShardTableChanged(begun), 0.0)
    later = machine.handle(ShardTableChanged(rooms), 0.01)
    assert not [effect for effect in later if isinstance(effect, StartTimer)]
    places = shown(machine).allocations
    assert places.by_key == {
        "carts": {0: ShardAllocation(address("a"))},
        "rooms": {3: ShardAllocation(address("b"))},
    }
    assert places.epoch == begun.epoch + rooms.epoch
    assert StartTimer(SHOW, SNAPSHOT_PAUSE) in machine.handle(written(begun, {0: None}), 2.0)
    after = shown(machine).allocations
    assert after.by_key == {"carts": {}, "rooms": {3: ShardAllocation(address("b"))}}
    assert after.epoch == places.epoch + 1
    assert places.by_key["carts"] != {}, "a snapshot never changes"


def test_the_number_of_the_places_grows_over_terms() -> None:
    machine, epochs = observer(), list[int]()
    first = table({0: Owned(A, 5)})
    for news in (lambda: first, lambda: written(first, {1: Owned(B, 6)}), lambda: table({0: Owned(A, 5)}, SECOND)):
        told(machine, news())
        epochs.append(shown(machine).allocations.epoch)
    assert epochs == sorted(set(epochs))


def test_the_shards_of_a_node_are_suspended_with_its_lease_and_go_on_with_it() -> None:
    machine = observer()
    told(machine, table({0: Owned(A, 5), 1: Owned(B, 5), 2: Moving(A, 5, 6), 3: Opening(A, 5)}))
    assert machine.handle(ServesUntil(4.0), 1.0) == [StartTimer(LEASE_ENDS, 3.0)]
    assert machine.handle(ServesUntil(5.0), 2.0) == [StartTimer(LEASE_ENDS, 3.0)]
    assert machine.handle(TimerFired(LEASE_ENDS), 4.0) == [StartTimer(LEASE_ENDS, 1.0)]
    assert machine.handle(TimerFired(LEASE_ENDS), 5.0) == [PublishEvent(ShardSuspended("carts", (0, 2)))]
    assert machine.handle(TimerFired(LEASE_ENDS), 6.0) == []
    assert machine.handle(ServesUntil(9.0), 7.0) == [PublishEvent(ShardResumed("carts")), StartTimer(LEASE_ENDS, 2.0)]


def test_a_node_without_shards_is_not_suspended() -> None:
    machine = observer("c")
    told(machine, table({0: Owned(A, 5)}))
    machine.handle(ServesUntil(4.0), 1.0)
    assert machine.handle(TimerFired(LEASE_ENDS), 4.0) == []


def test_a_whole_table_takes_the_place_of_all_rows() -> None:
    machine = observer()
    told(machine, table({0: Owned(A, 5), 1: Owned(A, 5)}))
    told(machine, table({1: Owned(A, 5)}, SECOND))
    assert machine.owned("carts") == (1,)
    assert shown(machine).allocations.by_key == {"carts": {1: ShardAllocation(address("a"))}}
