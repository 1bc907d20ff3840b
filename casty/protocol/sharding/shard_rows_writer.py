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
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace

from casty.address import UniqueAddress
from casty.protocol.messages.shard_bounds import KEYS_MAX, is_held_before
from casty.protocol.messages.shard_rows import NO_TERM, VERSION_MAX, Moving, Opening, Owned, Row, Term, stamp
from casty.protocol.messages.sharding import Enlisted, HeldShard, KnownTable, Opened, TableSlice, Yielded
from casty.protocol.sharding.allocation import LEAST_SHARDS, MOVES_MAX, Allocation, LeastShards
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.placement_events import HostsSeen, ShardConflict, Slot
from casty.protocol.sharding.shard_table import Shards, ShardTableDraft
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
    runs: tuple[UniqueAddress, ...]
    """Sorted."""
    since: float
    """Time at which the first of them was seen."""
    allocation: Allocation


Words = dict[int, list[tuple[UniqueAddress, int, bool]]]
"""Words about each shard: the sender, the epoch, whether it has opened."""
Refusals = dict[UniqueAddress, tuple[int, float]]
"""Refusals of each node in a row, and the time at which it is named again."""


@dataclass(slots=True)
class ShardRowsWriter:
    """The writing part of a coordinator; call `write` whenever something may follow."""

    view: PlacementView
    term: Term = field(init=False, default=NO_TERM)
    tables: dict[str, ShardTableDraft] = field(init=False, default_factory=dict[str, ShardTableDraft])
    hosts: dict[str, KeyHosts] = field(init=False, default_factory=dict[str, KeyHosts])
    _words: dict[str, Words] = field(init=False, default_factory=dict[str, Words])
    """Words not written yet, by key."""
    _due: dict[str, None] = field(init=False, default_factory=dict[str, None])
    """Keys to be looked at, besides those with a word."""
    _is_all_due: bool = field(init=False, default=False)
    _unplaced: dict[str, float] = field(init=False, default_factory=dict[str, float])
    """Keys without a table, and when their shards are placed first."""
    _more: dict[Slot, list[tuple[UniqueAddress, HeldShard]]] = field(
        init=False, default_factory=dict[Slot, list[tuple[UniqueAddress, HeldShard]]]
    )
    """Further reports of one shard: each is told to close in its turn."""
    _withheld: Collection[str] = field(init=False, default=frozenset())
    """Keys beyond the bound with a shard held, by somebody's word: they have no table in this term."""
    _refusals: dict[str, Refusals] = field(init=False, default_factory=dict[str, Refusals])
    _balanced_at: float = field(init=False, default=-math.inf)
    _uneven: set[str] = field(init=False, default_factory=set[str])
    """Keys to be evened out by an order."""

    def begin(self, term: Term, answers: Mapping[UniqueAddress, Enlisted]) -> list[ShardConflict]:
        """Make the tables of a term out of all reports."""
        self.term = term
        self._words.clear()
        self._more.clear()
        self._is_all_due = True
        reports: dict[Slot, list[tuple[UniqueAddress, HeldShard]]] = {}
        for run in sorted(answers):
            for held in (one for one in answers[run].held if is_held_before(one, term)):
                reports.setdefault((held.key, held.shard), []).append((run, held))
        held_keys = {key for key, _ in reports}
        places = self._tables_in(answers, held_keys)
        self._withheld = held_keys - places.keys()
        rows: dict[str, dict[int, Row]] = {}
        for (key, shard), found in reports.items():
            if key in places and 0 <= shard < places[key].num_shards:
                closes = stamp(term, _first_version(places[key].version)) if len(found) > 1 else None
                rows.setdefault(key, {})[shard] = _reported(*found[0], closes)
            if len(found) > 1:
                self._more[key, shard] = found[1:]
        self.tables = {
            key: ShardTableDraft(key, known.num_shards, term, _first_version(known.version), rows.get(key, {}))
            for key, known in sorted(places.items())
        }
        self._unplaced = {key: at for key, at in self._unplaced.items() if key not in self.tables}
        for key in self.hosts.keys() - self.tables.keys() - self._unplaced.keys():
            self._unplaced[key] = self.hosts[key].since + FIRST_PLACEMENT_AFTER
        return [ShardConflict(*slot, tuple(run for run, _ in reports[slot])) for slot in sorted(self._more)]

    def _tables_in(
        self, answers: Mapping[UniqueAddress, Enlisted], held_keys: Collection[str]
    ) -> dict[str, KnownTable]:
        """Return the tables of a term by its answers: of each key the newest, with the number of shards that counts.

        Of different numbers it is that of this node's own table, or else the one of most answers. Of more keys than a
        node takes those with a shard held come first, and of them those with a table here.
        """
        told: dict[str, dict[int, list[KnownTable]]] = {}
        for answer in answers.values():
            for known in answer.tables:
                told.setdefault(known.key, {}).setdefault(known.num_shards, []).append(known)
        own_answer = answers.get(self.view.self_node)
        own = {} if own_answer is None else {known.key: known.num_shards for known in own_answer.tables}
        taken = sorted(told, key=lambda key: (key not in held_keys, key not in own, key))[:KEYS_MAX]
        return {key: _newest_of(told[key], own.get(key)) for key in taken}

    def whole_tables(self) -> list[TableSlice]:
        """Return all tables, whole."""
        return [part for table in self.tables.values() for part in table.whole()]

    def hosted(self, news: HostsSeen, now: float) -> None:
        """Take note of the hosts of a key."""
        known = self.hosts.get(news.key)
        since = now if known is None or not known.runs else known.since
        if not news.hosts and news.key not in self.tables:
            self.hosts.pop(news.key, None)
            self._unplaced.pop(news.key, None)
            return
        self.hosts[news.key] = KeyHosts(news.num_shards, tuple(sorted(news.hosts)), since, news.allocation)
        self._due[news.key] = None
        if news.key not in self.tables:
            self._unplaced[news.key] = since + FIRST_PLACEMENT_AFTER

    def look_again(self) -> None:
        """Look at every key at the next writing: members, or the time, may have changed what is due."""
        self._is_all_due = True

    def even_out(self, key: str) -> None:
        """Balance a key with the next writing, until no two loads differ by more than one shard."""
        if key in self.tables:
            self._uneven.add(key)
            self._due[key] = None

    def opened(self, sender: UniqueAddress, word: Opened) -> None:
        """Take an owner's word of opened shards."""
        words = self._words.setdefault(word.key, {})
        for shard, epoch in word.shards:
            words.setdefault(shard, []).append((sender, epoch, True))
        self._refusals.get(word.key, {}).pop(sender, None)

    def yielded(self, sender: UniqueAddress, word: Yielded, now: float) -> None:
        """Take an owner's word of closed or refused shards."""
        table, words = self.tables.get(word.key), self._words.setdefault(word.key, {})
        for shard, epoch in word.shards:
            words.setdefault(shard, []).append((sender, epoch, False))
            row = table.row(shard) if table is not None else None
            if isinstance(row, Opening) and (row.owner, row.epoch) == (sender, epoch):
                self._refused(word.key, sender, now)

    def write(self, now: float) -> list[TableSlice]:
        """Return the changes due, one slice for each table."""
        rebalances = now >= self._balanced_at + REBALANCE_EVERY
        if rebalances:
            self._balanced_at = now
        is_all_due = rebalances or self._is_all_due
        keys = self.tables.keys() | self.hosts.keys() if is_all_due else self._due.keys() | self._words.keys()
        slices: list[TableSlice] = []
        for key in sorted(keys):
            table = self.tables.get(key) or self._first_table(key, now)
            if table is not None:
                self._change(table, now, rebalances=rebalances or key in self._uneven)
                slices.extend(table.commit())
        self._words.clear()
        self._due.clear()
        self._is_all_due = False
        return slices

    def _first_table(self, key: str, now: float) -> ShardTableDraft | None:
        hosts = self.hosts.get(key)
        if hosts is None or not hosts.runs or now < hosts.since + FIRST_PLACEMENT_AFTER or key in self._withheld:
            return None
        self._unplaced.pop(key, None)
        table = self.tables[key] = ShardTableDraft(key, hosts.num_shards, self.term)
        return table

    def _change(self, table: ShardTableDraft, now: float, *, rebalances: bool) -> None:
        mark = table.mark
        wanted = self._take_words(table)
        for run in [run for run in table.holders if self.view.is_gone(run, now)]:
            for shard in list(table.holders[run]):
                table.put(shard, None)
        if self._more:
            self._order_others(table, mark, now)
        self._empty_leaving(table, mark)
        if table.free:
            self._open_free(table, wanted, now)
        if rebalances and self.view.is_calm:
            self._balance(table, mark, now)

    def _take_words(self, table: ShardTableDraft) -> dict[int, UniqueAddress]:
        """Take the owners' words into the rows; return where the shards of ended moves go."""
        wanted: dict[int, UniqueAddress] = {}
        for shard, words in self._words.get(table.key, {}).items():
            for sender, epoch, has_opened in words:
                row = table.row(shard)
                if row is None or (row.owner, row.epoch) != (sender, epoch):
                    continue
                if not has_opened:
                    if isinstance(row, Moving) and row.to is not None:
                        wanted[shard] = row.to
                    table.put(shard, None)
                elif isinstance(row, Opening):
                    table.put(shard, Owned(sender, epoch))
        return wanted

    def _order_others(self, table: ShardTableDraft, mark: int, now: float) -> None:
        for slot in [slot for slot in self._more if slot[0] == table.key and slot[1] not in table.rows]:
            left = [(run, held) for run, held in self._more.pop(slot) if not self.view.is_gone(run, now)]
            if left:
                table.put(slot[1], _reported(*left[0], mark))
                if left[1:]:
                    self._more[slot] = left[1:]

    def _empty_leaving(self, table: ShardTableDraft, mark: int) -> None:
        room = MOVES_MAX - len(table.moving)
        for run in [run for run in table.holders if self._hands_over(table.key, run)] if room > 0 else ():
            owned = [shard for shard in table.holders[run] if isinstance(table.rows[shard], Owned)]
            for shard in sorted(owned)[: max(0, room)]:
                table.put(shard, Moving(run, table.rows[shard].epoch, mark))
                room -= 1

    def _hands_over(self, key: str, run: UniqueAddress) -> bool:
        """Whether a run gives its shards up: a leaving one always, a drained one where another may take them."""
        if self.view.is_leaving(run) or run not in self.view.drained:
            return self.view.is_leaving(run)
        hosts = self.hosts.get(key)
        return hosts is not None and not self.view.drained.issuperset(self.view.takers(hosts.runs))

    def _open_free(self, table: ShardTableDraft, wanted: dict[int, UniqueAddress], now: float) -> None:
        loads, mark = self._loads(table, now), table.mark
        if loads:
            chosen = {shard: run for shard, run in wanted.items() if shard in table.free and run in loads}
            for target in chosen.values():
                loads[target] += 1
            free = [shard for shard in sorted(table.free) if shard not in chosen]
            if free:
                chosen |= self._allocation(table.key).place(free, loads)
            rows = {target: Opening(target, mark) for target in chosen.values()}
            for shard, target in chosen.items():
                table.put(shard, rows[target])

    def _balance(self, table: ShardTableDraft, mark: int, now: float) -> None:
        owned: Mapping[UniqueAddress, Collection[int]] = table.holders
        if table.opening or table.moving:
            owned = {run: _owned(table, shards) for run, shards in table.holders.items()}
        moving = Counter(table.rows[shard].owner for shard in table.moving)
        loads, allocation = self._loads(table, now), self._allocation(table.key)
        if table.key in self._uneven:
            if isinstance(allocation, LeastShards):
                allocation = replace(allocation, uneven_share_max=0.0)
            if not moving and not allocation.moves(owned, loads, moving):
                self._uneven.discard(table.key)
        for shard, target in allocation.moves(owned, loads, moving).items():
            row = table.rows[shard]
            table.put(shard, Moving(row.owner, row.epoch, mark, target))

    def _loads(self, table: ShardTableDraft, now: float) -> dict[UniqueAddress, int]:
        """Return the nodes to be given shards of a key, the oldest first, and how many each has or is to get."""
        hosts, refusals = self.hosts.get(table.key), self._refusals.get(table.key, {})
        if hosts is None or hosts.num_shards != table.num_shards:
            return {}
        refusing = {run for run, (_, at) in refusals.items() if now < at}
        able = [self.view.members[run] for run in self.view.takers(hosts.runs) if run not in refusing]
        loads = {member.unique: len(table.holders.get(member.unique, ())) for member in sorted(able, key=by_age)}
        for shard in table.moving:
            row = table.rows[shard]
            if row.owner in loads:
                loads[row.owner] -= 1
            if isinstance(row, Moving) and row.to is not None and row.to in loads:
                loads[row.to] += 1
        return loads

    def _allocation(self, key: str) -> Allocation:
        hosts = self.hosts.get(key)
        return LEAST_SHARDS if hosts is None else hosts.allocation

    def _refused(self, key: str, run: UniqueAddress, now: float) -> None:
        known = self._refusals.get(key, {}).items()
        refusals = self._refusals[key] = {one: said for one, said in known if one in self.view.members}
        times, at = refusals.get(run, (0, -math.inf))
        if now >= at:
            pause = min(RETRY_AFTER * 2**times, RETRY_AFTER_MAX)
            refusals[run] = min(times + 1, REFUSALS_COUNTED_MAX), now + pause

    def due(self, now: float) -> float:
        """Return when time alone lets something be written."""
        retries = [at for refusals in self._refusals.values() for _, at in refusals.values()]
        times = [*self._unplaced.values(), *retries, self._balanced_at + REBALANCE_EVERY]
        return min((at for at in times if at > now), default=math.inf)


def _newest_of(told: Mapping[int, Sequence[KnownTable]], own: int | None) -> KnownTable:
    number = own if own is not None else max(told, key=lambda one: (len(told[one]), max(_order(t) for t in told[one])))
    return max(told[number], key=_order)


def _order(known: KnownTable) -> tuple[Term, int]:
    return known.term, known.version


def _first_version(highest: int) -> int:
    """Return the first version of a term: the next one, or 1 near the end; the term puts it above all others."""
    return highest + 1 if highest <= VERSION_MAX // 2 else 1


def _owned(table: ShardTableDraft, shards: Shards) -> list[int]:
    return [shard for shard in shards if shard not in table.opening and shard not in table.moving]


def _reported(run: UniqueAddress, held: HeldShard, ordered: int | None) -> Row:
    """Return the row of a reported shard; with a move id in ``ordered`` its owner is told to close it."""
    if held.move is not None:
        return Moving(run, held.epoch, held.move)
    return Owned(run, held.epoch) if ordered is None else Moving(run, held.epoch, ordered)
