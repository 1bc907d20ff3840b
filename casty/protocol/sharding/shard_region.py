"""Shards held by one node: its promise, its open shards, and the epochs never to be opened.

Owns the promise, the tables as far as they are taken here, and the state of each shard at this node, for the life of
its run: a key forgets nothing when its region ends and is started again. It does not know the reason of a row
(`shard_coordinator`), nor entities: `OpenShard` and `CloseShard` tell its driver.

How it works: a promise is the highest term enlisted for here, or of a table taken. Rows of a table below the promise
are void. An opening is obeyed once, if its epoch is above every one there before, under a valid lease; a yielded epoch
is never opened. A closing shard waits for the markers of all possible senders, for `FLUSH_TIMEOUT` at most, and is
yielded when its last entity has ended. Each word is repeated as long as the row asks for it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from casty.address import UniqueAddress
from casty.protocol.effects import PublishEvent, Send
from casty.protocol.messages.shard_rows import NO_TERM, Moving, Opening, Owned, Row, Term
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    HeldShard,
    KnownTable,
    Marker,
    Opened,
    TableDigest,
    TablePlaces,
    TableSlice,
    TermRefused,
    Yielded,
)
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import (
    CloseShard,
    OpenShard,
    PlacementEffect,
    SendMarker,
    ShardStuck,
    ShardTableChanged,
    Slot,
)
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.sharding.slice_parts import KEYS_MAX, SliceParts, places_of

FLUSH_TIMEOUT = 2.0
"""Seconds for the markers of a move."""
STUCK_AFTER = 30.0
"""Seconds after which entities that do not end are told of."""
EARLY_MARKERS_MAX = 65_536
"""Markers kept of moves not known here yet; further ones are dropped, and repeated by their senders."""


@dataclass(frozen=True, slots=True)
class ShardHold:
    """A shard at this node: open, flushing earlier messages before its move, or stopping."""

    epoch: int
    move: int | None = None
    """Set as soon as the shard closes, whatever for."""
    awaited: frozenset[UniqueAddress] = frozenset()
    """Runs whose marker has not come."""
    flushed_at: float = math.inf
    """End of the wait for markers."""
    stops_since: float = math.inf
    """Time of the order to stop to its entities; it takes no message from then on."""
    is_stuck: bool = False

    @property
    def is_stopping(self) -> bool:
        """Whether it takes no message any more."""
        return self.stops_since < math.inf


@dataclass(slots=True)
class ShardRegion:
    """The machine's part for the shards of one node, of all keys."""

    view: PlacementView
    promise: Term = field(init=False, default=NO_TERM)
    highest: int = field(init=False, default=0)
    """Highest number of a term heard."""
    tables: dict[str, ShardTable] = field(init=False, default_factory=dict[str, ShardTable])
    held: dict[Slot, ShardHold] = field(init=False, default_factory=dict[Slot, ShardHold])
    last: dict[Slot, int] = field(init=False, default_factory=dict[Slot, int])
    """Last epoch opened or yielded here."""
    regions: set[str] = field(init=False, default_factory=set[str])
    """Keys hosted here now."""
    serves_until: float = field(init=False, default=-math.inf)
    _parts: SliceParts = field(init=False, default_factory=SliceParts)
    _digest: bytes | None = field(init=False, default=None)
    _mine: dict[str, dict[int, Row]] = field(init=False, default_factory=dict[str, dict[int, Row]])
    _markers: dict[tuple[str, int, int], set[UniqueAddress]] = field(
        init=False, default_factory=dict[tuple[str, int, int], set[UniqueAddress]]
    )
    _said: dict[Slot, tuple[type, int]] = field(init=False, default_factory=dict[Slot, tuple[type, int]])

    def enlist(self, request: Enlist) -> Enlisted | TermRefused:
        """Promise a term, and report; or refuse it."""
        if not self.promise.admits(request.term):
            return TermRefused(request.term, self.promise)
        self.promise = request.term
        self.heard(request.term.number)
        held = tuple(HeldShard(key, shard, one.epoch, one.move) for (key, shard), one in sorted(self.held.items()))
        named = frozenset[UniqueAddress]().union(*(table.named for table in self.tables.values()))
        return Enlisted(request.term, held, self.known, tuple(sorted(named)))

    def heard(self, number: int) -> None:
        """Take note of a number: no later term is to have it again."""
        self.highest = max(self.highest, number)

    @property
    def known(self) -> tuple[KnownTable, ...]:
        """Places of the tables taken here."""
        return tuple(self.tables[key].known for key in sorted(self.tables))

    def take(self, sender: UniqueAddress, news: TableSlice) -> Sequence[PlacementEffect]:
        """Take a slice of a table, whoever passes it on; its own coordinator hears of a refusal."""
        self.heard(news.term.number)
        if not self.promise.admits(news.term):
            refusal = Send(sender, TermRefused(news.term, self.promise))
            return [refusal] if sender.incarnation == news.term.incarnation else []
        whole = self._parts.take(news)
        if whole is None or (news.key not in self.tables and len(self.tables) >= KEYS_MAX):
            return ()
        return self._take_whole(whole)

    def _take_whole(self, news: TableSlice) -> Sequence[PlacementEffect]:
        before = self.tables.get(news.key, ShardTable(news.key, news.num_shards))
        if before.term < news.term and before.num_shards != news.num_shards and not news.after:
            before = ShardTable(news.key, news.num_shards)  # all who hosted the key with another number have gone
        table = before.taken(news)
        if table is before:
            return ()
        self.promise = max(self.promise, news.term)
        self.tables[news.key] = table
        self._digest = None
        self._parts.forget(news.key, table.order)
        own = self.view.self_node
        self._mine[news.key] = {shard: row for shard, row in table.rows.items() if row.owner == own}
        return [ShardTableChanged(table), *self._markers_for(table, only_after=before)]

    def answer(self, sender: UniqueAddress, digest: TableDigest) -> Sequence[PlacementEffect]:
        """Tell the places of the tables here if they are not those there."""
        self.heard(digest.highest)
        if digest.digest == self.digest.digest:
            return ()
        return [Send(sender, page) for page in places_of(self.known)]

    def compare(self, sender: UniqueAddress, places: TablePlaces) -> Sequence[PlacementEffect]:
        """Send tables lacking there, and ask for those lacking here."""
        theirs = {known.key: known for known in places.tables}
        effects: list[PlacementEffect] = []
        for key, table in sorted(self.tables.items()):
            is_told = (
                places.after < key and (places.upto is None or key <= places.upto) if places.asks else key in theirs
            )
            if is_told and _lacks(theirs.get(key), table):
                effects.extend(Send(sender, part) for part in table.slices_after(theirs.get(key)))
        if places.asks:
            tables = [self.tables.get(known.key, ShardTable(known.key, known.num_shards)) for known in places.tables]
            behind = tuple(table.known for table in tables if table.is_behind(theirs[table.key]))
            effects.extend([Send(sender, TablePlaces(behind, asks=False))] if behind else [])
        return effects

    @property
    def digest(self) -> TableDigest:
        """Digest of the places of all tables here."""
        if self._digest is None:
            self._digest = blake2b(repr(self.known).encode(), digest_size=16).digest()
        return TableDigest(self.highest, self._digest)

    def marked(self, sender: UniqueAddress, marker: Marker) -> None:
        """Take note of the end of a sender's messages for a shard in a move."""
        if len(self._markers) < EARLY_MARKERS_MAX:
            self._markers.setdefault((marker.key, marker.shard, marker.move), set()).add(sender)

    def end(self, key: str, now: float) -> list[PlacementEffect]:
        """Close all shards of a key: nothing hosts it here any more."""
        self.regions.discard(key)
        effects: list[PlacementEffect] = []
        for slot, one in sorted(self.held.items()):
            if slot[0] == key:
                effects.extend(self._stop(slot, one, one.epoch if one.move is None else one.move, now))
        return effects

    def closed(self, key: str, shard: int, epoch: int) -> None:
        """Take note of the end of the last entity of a shard."""
        one = self.held.get((key, shard))
        if one is not None and one.epoch == epoch and one.is_stopping:
            del self.held[key, shard]

    def settle(self, now: float, *, repeats: bool = False) -> list[PlacementEffect]:
        """Obey the rows for this node, and say so; ``repeats`` says it again."""
        effects: list[PlacementEffect] = []
        words: dict[type, dict[str, list[tuple[int, int]]]] = {Opened: {}, Yielded: {}}
        for key in sorted(self._mine):
            if self.tables[key].term != self.promise:
                continue  # another coordinator has asked what is held, and has not said yet what follows
            for shard, row in self._mine[key].items():
                done, word = self._obey((key, shard), row, now)
                effects.extend(done)
                said = None if word is None else (word, row.epoch)
                if said is None:
                    self._said.pop((key, shard), None)
                elif repeats or self._said.get((key, shard)) != said:
                    self._said[key, shard] = said
                    words[said[0]].setdefault(key, []).append((shard, row.epoch))
        effects.extend(self._close_unnamed(now))
        coordinator = self._coordinator()
        if coordinator is not None:
            effects.extend(Send(coordinator, Opened(key, tuple(s))) for key, s in words[Opened].items())
            effects.extend(Send(coordinator, Yielded(key, tuple(s))) for key, s in words[Yielded].items())
        return effects

    def remind(self, now: float) -> list[PlacementEffect]:
        """Repeat the markers of all moves under way; tell of stuck shards."""
        effects: list[PlacementEffect] = []
        for key in sorted(self.tables):
            effects.extend(self._markers_for(self.tables[key], only_after=None))
        for (key, shard), one in sorted(self.held.items()):
            if now - one.stops_since >= STUCK_AFTER and not one.is_stuck:
                self.held[key, shard] = replace(one, is_stuck=True)
                effects.append(PublishEvent(ShardStuck(key, shard)))
        moving = {
            (table.key, shard, row.move)
            for table in self.tables.values()
            for shard, row in table.rows.items()
            if isinstance(row, Moving)
        }
        past = [mark for mark in self._markers if mark not in moving and mark[2] <= self._epoch_of(mark[0])]
        for mark in past:
            del self._markers[mark]
        return effects

    def due(self, now: float) -> float:
        """Return when a move waits for markers no longer."""
        times = (one.flushed_at for one in self.held.values() if not one.is_stopping)
        return min((at for at in times if at > now), default=math.inf)

    def _epoch_of(self, key: str) -> int:
        return self.tables[key].epoch if key in self.tables else -1

    def _coordinator(self) -> UniqueAddress | None:
        named = (run for run in self.view.members if run.incarnation == self.promise.incarnation)
        return next((run for run in named if self.view.is_heard(run)), None)

    def _obey(self, slot: Slot, row: Row, now: float) -> tuple[Sequence[PlacementEffect], type | None]:
        one, epoch = self.held.get(slot), row.epoch
        if one is not None and one.epoch != epoch:
            return (), None  # it closes what it has first
        match row:
            case Opening():
                if one is not None:
                    return (), None if one.is_stopping else Opened
                if epoch <= self.last.get(slot, -1) or slot[0] not in self.regions or not self.view.is_up:
                    self.last[slot] = max(epoch, self.last.get(slot, -1))
                    return (), Yielded
                if now >= self.serves_until:
                    return (), None
                self.last[slot] = epoch
                self.held[slot] = ShardHold(epoch)
                return [OpenShard(*slot, epoch)], Opened
            case Owned() | Moving():
                if one is None:
                    self.last[slot] = max(epoch, self.last.get(slot, -1))
                    return (), Yielded
                return (self._flush(slot, one, row.move, now), None) if isinstance(row, Moving) else ((), None)

    def _flush(self, slot: Slot, one: ShardHold, move: int, now: float) -> Sequence[PlacementEffect]:
        if one.is_stopping:
            return ()
        view = self.view
        if one.move != move:
            awaited = frozenset(run for run in view.heard if run not in view.unreachable)
            one = replace(one, move=move, awaited=awaited, flushed_at=now + FLUSH_TIMEOUT)
        came = self._markers.get((*slot, move), set())
        awaited = frozenset(run for run in one.awaited - came if view.is_heard(run) and run not in view.unreachable)
        one = self.held[slot] = replace(one, awaited=awaited)
        return self._stop(slot, one, move, now) if not awaited or now >= one.flushed_at else ()

    def _stop(self, slot: Slot, one: ShardHold, move: int, now: float) -> Sequence[PlacementEffect]:
        if one.is_stopping:
            return ()
        self.held[slot] = replace(one, move=move, stops_since=now)
        return [CloseShard(*slot, one.epoch)]

    def _close_unnamed(self, now: float) -> Iterable[PlacementEffect]:
        for slot, one in sorted(self.held.items()):
            key, shard = slot
            table = self.tables.get(key)
            if table is not None and table.term == self.promise and not one.is_stopping:
                row = table.row(shard)
                if row is None or row.owner != self.view.self_node or row.epoch != one.epoch:
                    yield from self._stop(slot, one, one.epoch, now)

    def _markers_for(self, table: ShardTable, only_after: ShardTable | None) -> list[PlacementEffect]:
        effects: list[PlacementEffect] = []
        for shard, row in table.rows.items():
            if isinstance(row, Moving) and (only_after is None or only_after.row(shard) != row):
                if row.owner != self.view.self_node:
                    effects.append(SendMarker(row.owner, table.key, shard, row.move))
        return effects


def _lacks(theirs: KnownTable | None, table: ShardTable) -> bool:
    return theirs is None or (theirs.term, theirs.version) < table.order
