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
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b

from casty.address import UniqueAddress
from casty.protocol.effects import Note, PublishEvent, Send, Severity
from casty.protocol.messages.shard_bounds import HELD_MAX, KEYS_MAX
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
from casty.protocol.sharding.slice_parts import SliceParts, cut_answer, lacking_here, lacking_there, places_of

FLUSH_TIMEOUT = 2.0
"""Seconds for the markers of a move."""
STUCK_AFTER = 30.0
"""Seconds after which entities that do not end are told of."""
EARLY_MARKERS_MAX = 4_096
"""Markers kept of one sender for moves not known here yet; further ones are dropped, and repeated by their sender."""


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
    words_refused: int = field(init=False, default=0)
    """Words of members that cannot be true."""
    _told_of: set[UniqueAddress] = field(init=False, default_factory=set[UniqueAddress])
    """Members with a word that the operator was told of."""
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
    _early: Counter[UniqueAddress] = field(init=False, default_factory=Counter[UniqueAddress])
    """Markers of moves not known here yet, by sender."""
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

    def forget(self) -> None:
        """Forget the words of former members."""
        self._told_of &= self.view.members.keys()

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

    def refuse(self, sender: UniqueAddress, text: str) -> Sequence[PlacementEffect]:
        """Count a word that cannot be true, and tell the operator of the first one of a run."""
        self.words_refused += 1
        if sender in self._told_of:
            return ()
        self._told_of.add(sender)
        told = f"placement: {text}; ignored, and counted from now on: is {sender.address} of another version?"
        return [Note(Severity.warning, told, about=sender.address)]

    def take(self, sender: UniqueAddress, news: TableSlice) -> Sequence[PlacementEffect]:
        """Take a slice of a table from its coordinator."""
        if not self.promise.admits(news.term):
            return [Send(sender, TermRefused(news.term, self.promise))]
        known = self.tables.get(news.key)
        if known is not None and known.num_shards != news.num_shards:
            found = f"a table of {news.key!r} with {news.num_shards} shards"
            return self.refuse(sender, f"expected one with {known.num_shards} shards, found {found}")
        if not all(map(self.view.knows, _runs_in(news))):
            # who is up is known before; this row would wait for ever for a run that never was, to be removed
            return self.refuse(sender, f"found a run in the table of {news.key!r}, expected members or removed ones")
        self.heard(news.term.number)
        whole = self._parts.take(news)
        if whole is None or (news.key not in self.tables and len(self.tables) >= KEYS_MAX):
            return ()
        return self._take_whole(whole)

    def _take_whole(self, news: TableSlice) -> Sequence[PlacementEffect]:
        key, own = news.key, self.view.self_node
        table = self.tables.get(key) or ShardTable(key, news.num_shards)
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
        return [ShardTableChanged(table, changed), *self._markers_for(table, moved)]

    def answer(self, sender: UniqueAddress, digest: TableDigest) -> Sequence[PlacementEffect]:
        """Tell the places of the tables here if they are not those there."""
        self.heard(digest.highest)
        if digest.digest == self.digest.digest:
            return ()
        return [Send(sender, page) for page in places_of(self.known)]

    def compare(self, sender: UniqueAddress, places: TablePlaces) -> Sequence[PlacementEffect]:
        """Send tables lacking there, if they are written here, and ask the writers for those lacking here."""
        own = self.view.self_node
        effects: list[PlacementEffect] = [
            Send(sender, part) for part in lacking_there(self.tables, places, own.incarnation)
        ]
        wanted: dict[UniqueAddress, list[KnownTable]] = {}
        for known, place in lacking_here(self.tables, places) if places.asks else ():
            writer = self.view.run_of(known.term)
            if writer is not None and writer != own:
                wanted.setdefault(writer, []).append(place)
        return [*effects, *(Send(run, TablePlaces(tuple(found), asks=False)) for run, found in wanted.items())]

    @property
    def digest(self) -> TableDigest:
        """Digest of the places of all tables here."""
        if self._digest is None:
            self._digest = blake2b(repr(self.known).encode(), digest_size=16).digest()
        return TableDigest(self.highest, self._digest)

    @property
    def early_markers(self) -> int:
        """Number of markers kept of moves not known here yet."""
        return self._early.total()

    def marked(self, sender: UniqueAddress, marker: Marker) -> None:
        """Take note of the end of a sender's messages for a shard in a move."""
        table = self.tables.get(marker.key)
        if table is None or not 0 <= marker.shard < table.num_shards:
            return  # the owner of a shard has its table, and who is asked for a marker sends it again
        mark = (marker.key, marker.shard, marker.move)
        if self._is_past(*mark) or sender in self._markers.get(mark, ()):
            return
        if not self._is_under_way(*mark):
            if self._early[sender] >= EARLY_MARKERS_MAX:
                return
            self._early[sender] += 1
        self._markers.setdefault(mark, set()).add(sender)
        if mark[:2] in self._flushing:
            self._is_due(mark[:2])

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
        coordinator = self.view.run_of(self.promise) if any(words.values()) else None
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
        self._markers = {mark: came for mark, came in self._markers.items() if not self._is_past(*mark)}
        early = (came for mark, came in self._markers.items() if not self._is_under_way(*mark))
        self._early = Counter(run for came in early for run in came)
        return effects

    def _is_under_way(self, key: str, shard: int, move: int) -> bool:
        table = self.tables.get(key)
        row = None if table is None else table.row(shard)
        return isinstance(row, Moving) and row.move == move

    def _is_past(self, key: str, shard: int, move: int) -> bool:
        table = self.tables.get(key)
        return table is not None and move <= table.epoch and not self._is_under_way(key, shard, move)

    def due(self, now: float) -> float:
        """Return when a move waits for markers no longer."""
        if not self._flushing:
            return math.inf
        return min((at for slot in self._flushing if (at := self.held[slot].flushed_at) > now), default=math.inf)

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
        is_full = len(self.held) >= HELD_MAX
        if epoch <= self.last.get(slot, -1) or is_full or slot[0] not in self.regions or not self.view.is_up:
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
            is_flushed = isinstance(row, Moving) and row.move != row.epoch  # else it has closed without a move
            if isinstance(row, Moving) and is_flushed and row.owner != self.view.self_node:
                effects.append(SendMarker(row.owner, table.key, shard, row.move))
        return effects


def _runs_in(news: TableSlice) -> set[UniqueAddress]:
    named = {row.owner for _, row in news.rows if row is not None}
    return named | {row.to for _, row in news.rows if isinstance(row, Moving) and row.to is not None}
