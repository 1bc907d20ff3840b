"""Changes of the placement in the eyes of one node: news for its event stream, and places for its snapshots.

Owns the last owner of each shard, the coordinator told last, the suspension of this node's shards, and the pace of
snapshots. It does not know the reason of a change (`shard_coordinator`), or the receivers of a snapshot.

How it works: an owned row with a later epoch is an opening by the same run, and a move from another one. All changes
within `SNAPSHOT_PAUSE` make one `ShardsAllocated`. Shards are suspended when the lease ends without an extension.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import PublishEvent, StartTimer, TimerFired
from casty.protocol.messages.shard_rows import NO_TERM, Moving, Opening, Owned, Term
from casty.protocol.sharding.observability.shard_events import ShardMoved, ShardOpened, ShardResumed, ShardSuspended
from casty.protocol.sharding.placement_events import CoordinatorChanged, ServesUntil, ShardTableChanged
from casty.protocol.sharding.shard_table import Change, ShardTable
from casty.protocol.state.shard_allocation import Allocations, ShardAllocation, ShardsAllocated

SNAPSHOT_PAUSE: Final = 0.05
"""Seconds between two snapshots with news of shards: at most 20 a second."""
PLACES_MAX: Final = 1_024
"""Nodes with one value kept for all their shards."""
SHOW, LEASE_ENDS = "placement-show", "placement-lease-ends"
OBSERVER_TIMERS: Final = frozenset({SHOW, LEASE_ENDS})

OpenedRow = Owned | Moving
ObserverEvent = ShardTableChanged | ServesUntil | TimerFired
ObserverEffect = PublishEvent | StartTimer | ShardsAllocated


@dataclass(slots=True)
class ShardObserver:
    """The machine of one node; feed it `ObserverEvent` values."""

    self_node: UniqueAddress
    run_of: Callable[[int], UniqueAddress | None]
    """The member with this incarnation."""
    tables: dict[str, ShardTable] = field(init=False, default_factory=dict[str, ShardTable])
    moves: Counter[str] = field(init=False, default_factory=Counter[str])
    """Moves seen so far, by key."""
    term: Term = field(init=False, default=NO_TERM)
    """Term of the coordinator told last."""
    allocations: Allocations = field(init=False, default_factory=Allocations)
    """Places shown last."""
    _opened: dict[str, dict[int, OpenedRow]] = field(init=False, default_factory=dict[str, dict[int, OpenedRow]])
    """Last row of each shard with an owner."""
    _places: dict[str, dict[int, ShardAllocation]] = field(
        init=False, default_factory=dict[str, dict[int, ShardAllocation]]
    )
    """Places of all shards now, by key."""
    _own: dict[str, set[int]] = field(init=False, default_factory=dict[str, set[int]])
    """Shards of this node, by key."""
    _values: dict[NodeAddress, ShardAllocation] = field(init=False, default_factory=dict[NodeAddress, ShardAllocation])
    _unshown: set[str] = field(init=False, default_factory=set[str])
    _serves_until: float = field(init=False, default=-math.inf)
    _is_suspended: bool = field(init=False, default=False)

    def handle(self, event: ObserverEvent, now: float) -> Sequence[ObserverEffect]:
        """Return the effects of one event."""
        match event:
            case ShardTableChanged(table, changed):
                return [*self._changed(table, changed)]
            case ServesUntil(until):
                return [*self._extended(until, now)]
            case TimerFired(key):
                return self._show() if key == SHOW else [*self._lease_ended(now)]
            case _ as never:
                assert_never(never)

    def owned(self, key: str) -> tuple[int, ...]:
        """Return the shards of a key with this node as their owner."""
        return tuple(sorted(self._own.get(key, ())))

    def _changed(self, table: ShardTable, changed: Change | None) -> Iterator[ObserverEffect]:
        if table.term > self.term:
            self.term = table.term
            writer = self.run_of(table.term.incarnation)
            if writer is not None and writer != self.self_node:  # which tells so itself
                yield PublishEvent(CoordinatorChanged(writer, table.term.number))
        key = table.key
        if changed is None:
            changed = dict.fromkeys(self._places.get(key, ())) | table.rows
        self.tables[key] = table
        yield from self._openings(key, changed)
        self._note_places(key, changed)
        if not self._unshown:
            yield StartTimer(SHOW, SNAPSHOT_PAUSE)
        self._unshown.add(key)

    def _openings(self, key: str, changed: Change) -> Iterator[PublishEvent]:
        opened = self._opened.setdefault(key, {})
        for shard, row in changed.items():
            if row is None or isinstance(row, Opening):
                continue
            last, opened[shard] = opened.get(shard), row
            if isinstance(row, Moving) or (last is not None and last.epoch >= row.epoch):
                continue
            if last is None or last.owner == row.owner:
                yield PublishEvent(ShardOpened(key, shard, row.owner, row.epoch))
            else:
                self.moves[key] += 1
                yield PublishEvent(ShardMoved(key, shard, last.owner, row.owner, row.epoch))

    def _note_places(self, key: str, changed: Change) -> None:
        places, own = self._places.setdefault(key, {}), self._own.setdefault(key, set())
        for shard, row in changed.items():
            if row is None or isinstance(row, Opening):
                places.pop(shard, None)
                own.discard(shard)
                continue
            places[shard] = self._place(row.owner.address)
            if row.owner == self.self_node:
                own.add(shard)
            else:
                own.discard(shard)

    def _show(self) -> Sequence[ObserverEffect]:
        changed = {key: dict(self._places[key]) for key in sorted(self._unshown)}  # a snapshot never changes
        self._unshown.clear()
        epoch = sum(table.epoch for table in self.tables.values())
        self.allocations = Allocations(self.allocations.by_key | changed, epoch)
        return [ShardsAllocated(self.allocations)]

    def _place(self, node: NodeAddress) -> ShardAllocation:
        """Return the one value for all shards of a node: there may be thousands."""
        place = self._values.get(node)
        if place is None:
            if len(self._values) >= PLACES_MAX:
                self._values.clear()
            place = self._values[node] = ShardAllocation(node)
        return place

    def _extended(self, until: float, now: float) -> Iterator[ObserverEffect]:
        self._serves_until = until
        if self._is_suspended and now < until:
            self._is_suspended = False
            for key in sorted(self.tables):
                if self._own.get(key):
                    yield PublishEvent(ShardResumed(key))
        if now < until:
            yield StartTimer(LEASE_ENDS, until - now)

    def _lease_ended(self, now: float) -> Iterator[ObserverEffect]:
        if now < self._serves_until:
            yield StartTimer(LEASE_ENDS, self._serves_until - now)
        elif not self._is_suspended:
            self._is_suspended = True
            for key in sorted(self.tables):
                if shards := self.owned(key):
                    yield PublishEvent(ShardSuspended(key, shards))
