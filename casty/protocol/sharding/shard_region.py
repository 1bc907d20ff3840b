"""Shards held by one node: its promise, its open shards, and the epochs never to be opened.

Owns the promise, the tables as far as they are taken here, and the state of each shard at this node, for the life of
its run: a key forgets nothing when its region ends and is started again. It does not know the reason of a row
(`shard_coordinator`), nor entities: `OpenShard` and `CloseShard` tell its driver.

How it works: a promise is the highest term enlisted for here, or of a table taken. Rows of a table below the promise
are void. An opening is obeyed once, if its epoch is above every one there before, under a valid lease; a yielded epoch
is never opened. A closing shard waits for the markers of all possible senders, for `FLUSH_TIMEOUT` at most, and is
yielded when its last entity has ended. Each word is repeated as long as the row asks for it.

A shard is looked at when its row or its hold has changed, and while it waits for a lease or for markers, at all else
able to end the wait. So a step costs as much as it changes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from casty.address import UniqueAddress
from casty.protocol.effects import PublishEvent, Send
from casty.protocol.messages.shard_bounds import KEYS_MAX
from casty.protocol.messages.shard_rows import NO_TERM, NUMBER_MAX, Moving, Opening, Owned, Row, Term
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
from casty.protocol.sharding.shard_table import Shards, ShardTable
from casty.protocol.sharding.slice_parts import SliceParts, cut_answer, places_of

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
    _answer: tuple[Enlisted, ...] = field(init=False, default=())
    """Report of the shards held at the promise, until a table follows."""
    _parts: SliceParts = field(init=False, default_factory=SliceParts)
    _digest: bytes | None = field(init=False, default=None)
    _due: dict[str, Shards] = field(init=False, default_factory=dict[str, Shards])
    """Shards to be looked at, by key; those of a table below the promise stay until it has a successor."""
    _unleased: dict[Slot, None] = field(init=False, default_factory=dict[Slot, None])
    """Shards to be opened once there is a lease."""
    _flushing: dict[Slot, None] = field(init=False, default_factory=dict[Slot, None])
    """Shards without all of their markers."""
    _stopping: dict[Slot, None] = field(init=False, default_factory=dict[Slot, None])
    """Shards with entities to end, and not known to be stuck."""
    _markers: dict[tuple[str, int, int], set[UniqueAddress]] = field(
        init=False, default_factory=dict[tuple[str, int, int], set[UniqueAddress]]
    )
    _said: dict[Slot, tuple[type, int]] = field(init=False, default_factory=dict[Slot, tuple[type, int]])
    """Last word about a shard as long as its row asks for one, and the epoch."""

    def enlist(self, request: Enlist) -> tuple[Enlisted, ...] | TermRefused:
        """Promise a term, and report in parts, the same ones as long as it is asked for; or refuse it."""
        if not self.promise.admits(request.term):
            return TermRefused(request.term, self.promise)
        if self._answer and self._answer[0].term == request.term:
            return self._answer
        self._promise(request.term)
        self.heard(request.term.number)
        held = tuple(HeldShard(key, shard, one.epoch, one.move) for (key, shard), one in sorted(self.held.items()))
        self._answer = cut_answer(Enlisted(request.term, held, self.known, tuple(sorted(self.named))))
        return self._answer

    def _promise(self, term: Term) -> None:
        if term > self.promise:
            self.promise = term
            for slot in (*self.held, *self._said, *self._unleased):
                self._is_due(slot)

    def _is_due(self, slot: Slot) -> None:
        self._due.setdefault(slot[0], {})[slot[1]] = None

    def heard(self, number: int) -> None:
        """Take note of a number: no later term is to have it again."""
        if number <= NUMBER_MAX:
            self.highest = max(self.highest, number)

    @property
    def named(self) -> frozenset[UniqueAddress]:
        """Runs with a row in any table taken here."""
        return frozenset[UniqueAddress]().union(*(table.named for table in self.tables.values()))

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
        if not all(map(self.view.knows, _runs_in(news))):
            return ()  # who is up is known before; this row would wait for ever for a run that never was, to be removed
        whole = self._parts.take(news)
        if whole is None or (news.key not in self.tables and len(self.tables) >= KEYS_MAX):
            return ()
        return self._take_whole(whole)

    def _take_whole(self, news: TableSlice) -> Sequence[PlacementEffect]:
        key, own = news.key, self.view.self_node
        table = known = self.tables.get(key)
        if table is None or (table.term < news.term and table.num_shards != news.num_shards and not news.after):
            table = ShardTable(key, news.num_shards)  # all who hosted the key with another number have gone
        before = table.take(news)
        if before is None:
            return ()
        self._promise(news.term)
        self.tables[key] = table
        self._digest, self._answer = None, ()
        self._parts.forget(key, table.order)
        moved: list[int] = []
        for shard, old in before.items():
            row = table.row(shard)
            if isinstance(row, Moving):
                moved.append(shard)
            if (old is not None and old.owner == own) or (row is not None and row.owner == own):
                self._is_due((key, shard))
        changed = {shard: table.row(shard) for shard in before}
        if known is not None and known is not table:
            changed = dict.fromkeys(known.rows) | changed
        return [ShardTableChanged(table, changed), *self._markers_for(table, moved)]

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
            behind = tuple(self._place(known) for known in places.tables if self._is_behind(known))
            effects.extend([Send(sender, TablePlaces(behind, asks=False))] if behind else [])
        return effects

    def _is_behind(self, other: KnownTable) -> bool:
        table = self.tables.get(other.key)
        return table is None or table.is_behind(other)

    def _place(self, other: KnownTable) -> KnownTable:
        """Return the place of the table here with the key of another one."""
        table = self.tables.get(other.key)
        return KnownTable(other.key, other.num_shards, NO_TERM, 0) if table is None else table.known

    @property
    def digest(self) -> TableDigest:
        """Digest of the places of all tables here."""
        if self._digest is None:
            self._digest = blake2b(repr(self.known).encode(), digest_size=16).digest()
        return TableDigest(self.highest, self._digest)

    def marked(self, sender: UniqueAddress, marker: Marker) -> None:
        """Take note of the end of a sender's messages for a shard in a move."""
        table = self.tables.get(marker.key)
        if table is None or not 0 <= marker.shard < table.num_shards:
            return  # the owner of a shard has its table, and who is asked for a marker sends it again
        if len(self._markers) < EARLY_MARKERS_MAX:
            self._markers.setdefault((marker.key, marker.shard, marker.move), set()).add(sender)
            if (marker.key, marker.shard) in self._flushing:
                self._is_due((marker.key, marker.shard))

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
            self._stopping.pop((key, shard), None)
            self._is_due((key, shard))

    def settle(self, now: float, *, looks: bool = True, repeats: bool = False) -> list[PlacementEffect]:
        """Obey the changed rows for this node, and say so.

        With ``looks`` members, lease or time may have changed, too; ``repeats`` says everything again.
        """
        for slot in (*self._unleased, *self._flushing) if looks else ():
            self._is_due(slot)
        for slot in self._said if repeats else ():
            self._is_due(slot)
        effects: list[PlacementEffect] = []
        if not self._due:
            return effects
        words: dict[type, dict[str, list[tuple[int, int]]]] = {Opened: {}, Yielded: {}}
        for key in sorted(self._due):
            table = self.tables.get(key)
            if table is None or table.term != self.promise:
                continue  # another coordinator has asked what is held, and has not said yet what follows
            for shard in sorted(self._due.pop(key)):
                slot, row = (key, shard), table.row(shard)
                done, word = self._look(slot, row, now)
                effects.extend(done)
                if word is None or row is None:
                    self._said.pop(slot, None)
                elif repeats or self._said.get(slot) != (word, row.epoch):
                    self._said[slot] = word, row.epoch
                    words[word].setdefault(key, []).append((shard, row.epoch))
        return [*effects, *self._say(words)]

    def _say(self, words: dict[type, dict[str, list[tuple[int, int]]]]) -> Iterable[PlacementEffect]:
        coordinator = self._coordinator() if any(words.values()) else None
        if coordinator is not None:
            yield from (Send(coordinator, Opened(key, tuple(said))) for key, said in words[Opened].items())
            yield from (Send(coordinator, Yielded(key, tuple(said))) for key, said in words[Yielded].items())

    def remind(self, now: float) -> list[PlacementEffect]:
        """Repeat the markers of all moves under way; tell of stuck shards."""
        effects: list[PlacementEffect] = []
        for key in sorted(key for key, table in self.tables.items() if table.moving):
            effects.extend(self._markers_for(self.tables[key], self.tables[key].moving))
        for slot in sorted(slot for slot in self._stopping if now - self.held[slot].stops_since >= STUCK_AFTER):
            del self._stopping[slot]
            effects.append(PublishEvent(ShardStuck(*slot)))
        past = [mark for mark in self._markers if self._is_past(*mark)]
        for mark in past:
            del self._markers[mark]
        return effects

    def _is_past(self, key: str, shard: int, move: int) -> bool:
        table = self.tables.get(key)
        row = None if table is None else table.row(shard)
        return table is not None and move <= table.epoch and not (isinstance(row, Moving) and row.move == move)

    def due(self, now: float) -> float:
        """Return when a move waits for markers no longer."""
        if not self._flushing:
            return math.inf
        return min((at for slot in self._flushing if (at := self.held[slot].flushed_at) > now), default=math.inf)

    def _coordinator(self) -> UniqueAddress | None:
        named = (run for run in self.view.members if run.incarnation == self.promise.incarnation)
        return next((run for run in named if self.view.is_heard(run)), None)

    def _look(self, slot: Slot, row: Row | None, now: float) -> tuple[Sequence[PlacementEffect], type | None]:
        """Obey a row; return what follows, and the word to be said."""
        self._unleased.pop(slot, None)
        one = self.held.get(slot)
        if row is None or row.owner != self.view.self_node or (one is not None and one.epoch != row.epoch):
            return self._stop(slot, one, one.epoch, now) if one is not None else (), None
        match row:
            case Opening():
                return self._open(slot, one, row.epoch, now)
            case Owned() | Moving():
                if one is None:
                    self.last[slot] = max(row.epoch, self.last.get(slot, -1))
                    return (), Yielded
                return (self._flush(slot, one, row.move, now), None) if isinstance(row, Moving) else ((), None)

    def _open(
        self, slot: Slot, one: ShardHold | None, epoch: int, now: float
    ) -> tuple[Sequence[PlacementEffect], type | None]:
        if one is not None:
            return (), None if one.is_stopping else Opened
        if epoch <= self.last.get(slot, -1) or slot[0] not in self.regions or not self.view.is_up:
            self.last[slot] = max(epoch, self.last.get(slot, -1))
            return (), Yielded
        if now >= self.serves_until:
            self._unleased[slot] = None
            return (), None
        self.last[slot] = epoch
        self.held[slot] = ShardHold(epoch)
        return [OpenShard(*slot, epoch)], Opened

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
        self._flushing[slot] = None
        return self._stop(slot, one, move, now) if not awaited or now >= one.flushed_at else ()

    def _stop(self, slot: Slot, one: ShardHold, move: int, now: float) -> Sequence[PlacementEffect]:
        if one.is_stopping:
            return ()
        self.held[slot] = replace(one, move=move, stops_since=now)
        self._flushing.pop(slot, None)
        self._stopping[slot] = None
        self._is_due(slot)
        return [CloseShard(*slot, one.epoch)]

    def _markers_for(self, table: ShardTable, shards: Iterable[int]) -> list[PlacementEffect]:
        effects: list[PlacementEffect] = []
        for shard in shards:
            row = table.row(shard)
            if isinstance(row, Moving) and row.owner != self.view.self_node:
                effects.append(SendMarker(row.owner, table.key, shard, row.move))
        return effects


def _runs_in(news: TableSlice) -> set[UniqueAddress]:
    named = {row.owner for _, row in news.rows if row is not None}
    return named | {row.to for _, row in news.rows if isinstance(row, Moving) and row.to is not None}


def _lacks(theirs: KnownTable | None, table: ShardTable) -> bool:
    return theirs is None or (theirs.term, theirs.version) < table.order
