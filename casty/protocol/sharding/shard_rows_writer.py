"""Rows of all keys, as the coordinator writes them in its term.

Owns the tables of a leading coordinator, and each step of a row: free, opening, owned, moving, free. It does not know
the coordinator's phases (`shard_coordinator`), or how a choice is made (`allocation`).

How it works: a shard is opened only from free, and owned only by its opener's word. It is free by nobody's report at
the begin of the term, by its owner's word of having yielded that epoch, or when its owner is removed and its work is
free. A shard reported closing goes on moving under its move id. Of two reports of one shard each is told to close, one
after the other. All changes of one step are one version of a table.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.shard_rows import NO_TERM, Moving, Opening, Owned, Row, Term, stamp
from casty.protocol.messages.sharding import Enlisted, HeldShard, Opened, TableSlice, Yielded
from casty.protocol.sharding.allocation import LEAST_SHARDS, MOVES_MAX, Allocation
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import HostsSeen, ShardConflict, Slot
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.state.member import by_age

FIRST_PLACEMENT_AFTER = 0.5
"""Seconds from the first host of a key to the placement of its shards."""
REBALANCE_EVERY = 2.0
RETRY_AFTER, RETRY_AFTER_MAX = 0.05, 10.0
"""Seconds until a node that has refused to open a shard is named again, doubled each time."""
REFUSALS_COUNTED_MAX = 10


@dataclass(frozen=True, slots=True)
class KeyHosts:
    """Hosts of a key, as announced."""

    num_shards: int
    runs: frozenset[UniqueAddress]
    since: float
    """Time at which the first of them was seen."""
    allocation: Allocation


@dataclass(slots=True)
class ShardRowsWriter:
    """The writing part of a coordinator; call `write` whenever something may follow."""

    view: PlacementView
    term: Term = field(init=False, default=NO_TERM)
    tables: dict[str, ShardTable] = field(init=False, default_factory=dict[str, ShardTable])
    hosts: dict[str, KeyHosts] = field(init=False, default_factory=dict[str, KeyHosts])
    _words: dict[Slot, list[tuple[UniqueAddress, int, bool]]] = field(
        init=False, default_factory=dict[Slot, list[tuple[UniqueAddress, int, bool]]]
    )
    """Words not written yet: the sender, the epoch, whether it has opened."""
    _more: dict[Slot, list[tuple[UniqueAddress, HeldShard]]] = field(
        init=False, default_factory=dict[Slot, list[tuple[UniqueAddress, HeldShard]]]
    )
    """Further reports of one shard: each is told to close in its turn."""
    _refusals: dict[tuple[str, UniqueAddress], tuple[int, float]] = field(
        init=False, default_factory=dict[tuple[str, UniqueAddress], tuple[int, float]]
    )
    """Refusals of a node in a row, and the time at which it is named again."""
    _balanced_at: float = field(init=False, default=-math.inf)

    def begin(self, term: Term, answers: Mapping[UniqueAddress, Enlisted]) -> list[ShardConflict]:
        """Make the tables of a term out of all reports."""
        self.term = term
        self._words.clear()
        self._more.clear()
        places: dict[str, tuple[Term, int, int]] = {}
        for answer in answers.values():
            for known in answer.tables:
                place = (known.term, known.version, known.num_shards)
                places[known.key] = max(place, places.get(known.key, place))
        reports: dict[Slot, list[tuple[UniqueAddress, HeldShard]]] = {}
        for run in sorted(answers):
            for held in answers[run].held:
                reports.setdefault((held.key, held.shard), []).append((run, held))
        self.tables = {}
        for key, (_, version, num_shards) in sorted(places.items()):
            rows: dict[int, Row | None] = {}
            for (of, shard), found in reports.items():
                if of == key:
                    rows[shard] = _reported(*found[0], stamp(term, version + 1) if len(found) > 1 else None)
            self.tables[key] = ShardTable(key, num_shards).begun(term, version + 1, rows)
        for slot, found in reports.items():
            if len(found) > 1:
                self._more[slot] = found[1:]
        return [ShardConflict(*slot, tuple(run for run, _ in reports[slot])) for slot in sorted(self._more)]

    def whole_tables(self) -> list[TableSlice]:
        """Return all tables, whole."""
        return [part for table in self.tables.values() for part in table.slices_after(None)]

    def hosted(self, news: HostsSeen, now: float) -> None:
        """Take note of the hosts of a key."""
        known = self.hosts.get(news.key)
        since = now if known is None or not known.runs else known.since
        self.hosts[news.key] = KeyHosts(news.num_shards, news.hosts, since, news.allocation)

    def opened(self, sender: UniqueAddress, word: Opened) -> None:
        """Take an owner's word of opened shards."""
        for shard, epoch in word.shards:
            self._words.setdefault((word.key, shard), []).append((sender, epoch, True))
        self._refusals.pop((word.key, sender), None)

    def yielded(self, sender: UniqueAddress, word: Yielded, now: float) -> None:
        """Take an owner's word of closed or refused shards."""
        table = self.tables.get(word.key)
        for shard, epoch in word.shards:
            self._words.setdefault((word.key, shard), []).append((sender, epoch, False))
            row = table.row(shard) if table is not None else None
            if isinstance(row, Opening) and (row.owner, row.epoch) == (sender, epoch):
                self._refused(word.key, sender, now)

    def write(self, now: float) -> list[TableSlice]:
        """Return the changes due, one slice for each table."""
        rebalances = now >= self._balanced_at + REBALANCE_EVERY
        if rebalances:
            self._balanced_at = now
        slices: list[TableSlice] = []
        for key in sorted(self.tables.keys() | self.hosts.keys()):
            table = self.tables.get(key)
            if table is None:
                hosts = self.hosts[key]
                if now < hosts.since + FIRST_PLACEMENT_AFTER or not hosts.runs:
                    continue
                table = ShardTable(key, hosts.num_shards, self.term)
            changes = self._changes(table, now, rebalances=rebalances)
            if changes:
                self.tables[key] = written = table.written(changes)
                slices.extend(written.slices_after(table.known))
        self._words.clear()
        return slices

    def _changes(self, table: ShardTable, now: float, *, rebalances: bool) -> dict[int, Row | None]:
        rows, mark = table.rows, stamp(self.term, table.version + 1)
        wanted = self._take_words(table.key, rows)
        for shard, row in list(rows.items()):
            if self.view.is_gone(row.owner, now):
                del rows[shard]
        self._order_others(table.key, rows, mark, now)
        self._empty_leaving(rows, mark)
        self._open_free(table, rows, wanted, now)
        if rebalances and self.view.is_calm:
            self._balance(table, rows, mark, now)
        before = table.rows
        return {shard: rows.get(shard) for shard in rows.keys() | before.keys() if rows.get(shard) != before.get(shard)}

    def _take_words(self, key: str, rows: dict[int, Row]) -> dict[int, UniqueAddress]:
        """Take the owners' words into the rows; return where the shards of ended moves go."""
        wanted: dict[int, UniqueAddress] = {}
        for (of, shard), words in self._words.items():
            for sender, epoch, has_opened in words if of == key else ():
                row = rows.get(shard)
                if row is None or (row.owner, row.epoch) != (sender, epoch):
                    continue
                if not has_opened:
                    if isinstance(row, Moving) and row.to is not None:
                        wanted[shard] = row.to
                    del rows[shard]
                elif isinstance(row, Opening):
                    rows[shard] = Owned(sender, epoch)
        return wanted

    def _order_others(self, key: str, rows: dict[int, Row], mark: int, now: float) -> None:
        for slot in [slot for slot in self._more if slot[0] == key and slot[1] not in rows]:
            left = [(run, held) for run, held in self._more.pop(slot) if not self.view.is_gone(run, now)]
            if left:
                rows[slot[1]] = _reported(*left[0], mark)
                if left[1:]:
                    self._more[slot] = left[1:]

    def _empty_leaving(self, rows: dict[int, Row], mark: int) -> None:
        room = MOVES_MAX - sum(1 for row in rows.values() if isinstance(row, Moving))
        for shard, row in sorted(rows.items()):
            if room > 0 and isinstance(row, Owned) and self.view.is_leaving(row.owner):
                rows[shard] = Moving(row.owner, row.epoch, mark)
                room -= 1

    def _open_free(self, table: ShardTable, rows: dict[int, Row], wanted: dict[int, UniqueAddress], now: float) -> None:
        loads = self._loads(table, rows, now)
        if loads and len(rows) < table.num_shards:
            mark = stamp(self.term, table.version + 1)
            free = [shard for shard in range(table.num_shards) if shard not in rows]
            chosen = {shard: wanted[shard] for shard in free if wanted.get(shard) in loads}
            for target in chosen.values():
                loads[target] += 1
            chosen |= self._allocation(table.key).place([shard for shard in free if shard not in chosen], loads)
            rows.update({shard: Opening(target, mark) for shard, target in chosen.items()})

    def _balance(self, table: ShardTable, rows: dict[int, Row], mark: int, now: float) -> None:
        owned: dict[UniqueAddress, list[int]] = {}
        for shard, row in rows.items():
            if isinstance(row, Owned):
                owned.setdefault(row.owner, []).append(shard)
        moving = Counter(row.owner for row in rows.values() if isinstance(row, Moving))
        loads, allocation = self._loads(table, rows, now), self._allocation(table.key)
        for shard, target in allocation.moves(owned, loads, moving).items():
            rows[shard] = Moving(rows[shard].owner, rows[shard].epoch, mark, target)

    def _loads(self, table: ShardTable, rows: Mapping[int, Row], now: float) -> dict[UniqueAddress, int]:
        """Return the nodes able to open a shard of a key, the oldest first, and how many each has or is to get."""
        hosts = self.hosts.get(table.key)
        if hosts is None or hosts.num_shards != table.num_shards:
            return {}
        refusing = {run for (key, run), (_, at) in self._refusals.items() if key == table.key and now < at}
        able = [self.view.members[run] for run in hosts.runs - refusing if self.view.may_open(run)]
        loads = {member.unique: 0 for member in sorted(able, key=by_age)}
        for row in rows.values():
            holder = row.to if isinstance(row, Moving) else row.owner
            if holder is not None and holder in loads:
                loads[holder] += 1
        return loads

    def _allocation(self, key: str) -> Allocation:
        hosts = self.hosts.get(key)
        return LEAST_SHARDS if hosts is None else hosts.allocation

    def _refused(self, key: str, run: UniqueAddress, now: float) -> None:
        times, at = self._refusals.get((key, run), (0, -math.inf))
        if now >= at:
            pause = min(RETRY_AFTER * 2**times, RETRY_AFTER_MAX)
            self._refusals[key, run] = min(times + 1, REFUSALS_COUNTED_MAX), now + pause

    def due(self, now: float) -> float:
        """Return when time alone lets something be written."""
        firsts = [hosts.since + FIRST_PLACEMENT_AFTER for key, hosts in self.hosts.items() if key not in self.tables]
        retries = [at for _, at in self._refusals.values()]
        times = [*firsts, *retries, self._balanced_at + REBALANCE_EVERY]
        return min((at for at in times if at > now), default=math.inf)


def _reported(run: UniqueAddress, held: HeldShard, ordered: int | None) -> Row:
    """Return the row of a reported shard; with a move id in ``ordered`` its owner is told to close it."""
    if held.move is not None:
        return Moving(run, held.epoch, held.move)
    return Owned(run, held.epoch) if ordered is None else Moving(run, held.epoch, ordered)
