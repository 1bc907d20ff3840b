"""Table of the shards of one key: for each the run to hold, to open or to close it.

Owns the rows, their versions, and how one copy of a table catches up with another: `ShardTable` is the copy of a node,
`ShardTableDraft` that of its writer. It does not know why a row is written, or whether it is right: the owner is the
record of its shards, the table is only an order.

How it works: tables of one key are totally ordered by (term, version). Within a term a slice has the rows changed after
a version; the first slice of a term has the whole table. A slice whose beginning is not reached yet changes nothing,
nor does a part of one (`slice_parts`). Both copies change in place, with an index for each question asked at each
event: a step costs as much as it changes, and not as many rows as there are.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from casty.address import UniqueAddress
from casty.protocol.messages.shard_rows import NO_TERM, Moving, Opening, Row, Term, stamp
from casty.protocol.messages.sharding import KnownTable, TableSlice
from casty.protocol.state.paging import NUMBER_BYTES, Room, Weight, room_after, run_weight

ROW_WEIGHT = Weight(5 * NUMBER_BYTES, 8)
"""Shard, kind, epoch, move, and what holds them."""
Change = Mapping[int, Row | None]
Shards = dict[int, None]
"""A set in the order of its additions."""
Place = tuple[str, int, Term, int, int]
"""Key, number of shards, term, first and last version of a slice."""


@dataclass(slots=True, eq=False)
class ShardTable:
    """The newest version of the table of a key at one node; it changes in place."""

    key: str
    num_shards: int
    term: Term = NO_TERM
    version: int = 0
    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    """By shard; free ones are absent."""
    moving: Shards = field(default_factory=Shards)
    """Shards with a moving row."""
    _versions: array[int] = field(init=False)
    """Version of the last change of each shard in this term; 0 for one never written, so free."""
    _whole_at: int = 0
    """Version of the whole table that began this copy in this term: which shards were freed before it is not known."""
    _counts: dict[UniqueAddress, int] = field(default_factory=dict[UniqueAddress, int])
    """Rows of each owner."""
    _runs: dict[UniqueAddress, UniqueAddress] = field(default_factory=dict[UniqueAddress, UniqueAddress])
    """One object for each owner: every row read from a message has its own."""

    def __post_init__(self) -> None:
        self._forget_versions()

    def _forget_versions(self) -> None:
        self._versions = array("I", [0]) * self.num_shards  # of 32 bits; a dict of them takes eight times as much

    @property
    def order(self) -> tuple[Term, int]:
        """Place in the order of all tables of the key."""
        return self.term, self.version

    @property
    def known(self) -> KnownTable:
        """Place of the table, as a message tells it."""
        return KnownTable(self.key, self.num_shards, self.term, self.version)

    @property
    def epoch(self) -> int:
        """Number to grow with each version, and over terms."""
        return stamp(self.term, self.version)

    @property
    def named(self) -> frozenset[UniqueAddress]:
        """Runs holding a shard by this table, or to open one."""
        return frozenset(self._counts)

    def row(self, shard: int) -> Row | None:
        """Return the row of a shard; None for a free one."""
        return self.rows.get(shard)

    def begun(self, term: Term, version: int, rows: Change) -> ShardTable:
        """Return the first table of a term."""
        table = ShardTable(self.key, self.num_shards, term, version, _whole_at=version)
        for shard in sorted(rows):
            table._put(shard, rows[shard], version)
        return table

    def slices_after(self, known: KnownTable | None) -> list[TableSlice]:
        """Return the news for a copy at that place: the whole table if it is of another term, or None.

        They are the parts of one slice, each of at most a page.
        """
        after = known.version if known is not None and known.term == self.term else 0
        if after < self._whole_at:
            after = 0  # the news since then lack the shards freed meanwhile
        changed = ((shard, self.rows.get(shard)) for shard, version in enumerate(self._versions) if version > after)
        return _in_pages((self.key, self.num_shards, self.term, after, self.version), changed)

    def is_behind(self, other: KnownTable) -> bool:
        """Whether another copy is newer."""
        return (other.term, other.version) > self.order

    def take(self, news: TableSlice) -> Change | None:
        """Take a slice; return the former rows of all shards with another one now.

        None for a slice that changes nothing: an old one, or one that begins beyond this version.
        """
        if (news.term, news.upto) <= self.order or news.num_shards != self.num_shards:
            return None
        is_whole = news.term != self.term or not news.after
        if news.after > (0 if is_whole else self.version):
            return None
        came = self._interned(news.rows)
        if is_whole:
            came = dict.fromkeys(self.rows) | came
            self._forget_versions()
            self._whole_at = news.upto
        before: dict[int, Row | None] = {}
        self.term, self.version = news.term, news.upto
        for shard, row in came.items():
            old = self.rows.get(shard)
            if old != row:
                before[shard] = old
            self._put(shard, row, news.upto)
        return before

    def _put(self, shard: int, row: Row | None, version: int) -> None:
        old = self.rows.get(shard)
        self._versions[shard] = version
        if old is not None:
            self._counts[old.owner] -= 1
            if not self._counts[old.owner]:
                del self._counts[old.owner]
                self._runs.pop(old.owner, None)
            self.moving.pop(shard, None)
        if row is None:
            self.rows.pop(shard, None)
            return
        self.rows[shard] = row
        self._counts[row.owner] = self._counts.get(row.owner, 0) + 1
        if isinstance(row, Moving):
            self.moving[shard] = None

    def _interned(self, rows: Iterable[tuple[int, Row | None]]) -> dict[int, Row | None]:
        """Return rows of which equal ones, and their owners, are one object: most of a table is written at once."""
        same: dict[Row, Row] = {}
        came: dict[int, Row | None] = {}
        for shard, row in rows:
            if row is None:
                came[shard] = None
                continue
            found = same.get(row)
            if found is None:
                owner = self._runs.setdefault(row.owner, row.owner)
                found = same[row] = row if owner is row.owner else replace(row, owner=owner)
            came[shard] = found
        return came


@dataclass(slots=True, eq=False)
class ShardTableDraft:
    """The table of a key at its writer: `put` changes rows, `commit` makes a version of all changes."""

    key: str
    num_shards: int
    term: Term
    version: int = 0
    rows: dict[int, Row] = field(default_factory=dict[int, Row])
    """By shard; free ones are absent."""
    holders: dict[UniqueAddress, Shards] = field(default_factory=dict[UniqueAddress, Shards])
    """Shards by the owner of their row."""
    opening: Shards = field(default_factory=Shards)
    moving: Shards = field(default_factory=Shards)
    free: Shards = field(init=False)
    _before: dict[int, Row | None] = field(init=False, default_factory=dict[int, Row | None])
    """Rows before the changes that are no version yet."""

    def __post_init__(self) -> None:
        rows, self.rows = self.rows, {}
        self.free = {shard: None for shard in range(self.num_shards) if shard not in rows}
        for shard in sorted(rows):
            self._index(shard, rows[shard])

    @property
    def order(self) -> tuple[Term, int]:
        """Place in the order of all tables of the key."""
        return self.term, self.version

    @property
    def mark(self) -> int:
        """Number of all rows of the next version: an epoch, or a move id."""
        return stamp(self.term, self.version + 1)

    def row(self, shard: int) -> Row | None:
        """Return the row of a shard; None for a free one."""
        return self.rows.get(shard)

    def put(self, shard: int, row: Row | None) -> None:
        """Change a row; None frees the shard."""
        old = self.rows.get(shard)
        self._before.setdefault(shard, old)
        if old is None:
            self.free.pop(shard, None)
        else:
            held = self.holders[old.owner]
            del held[shard]
            if not held:
                del self.holders[old.owner]
            self.opening.pop(shard, None)
            self.moving.pop(shard, None)
        if row is None:
            self.rows.pop(shard, None)
            self.free[shard] = None
        else:
            self._index(shard, row)

    def _index(self, shard: int, row: Row) -> None:
        self.rows[shard] = row
        self.holders.setdefault(row.owner, {})[shard] = None
        if isinstance(row, Opening):
            self.opening[shard] = None
        elif isinstance(row, Moving):
            self.moving[shard] = None

    def commit(self) -> list[TableSlice]:
        """Make a version of all changes since the last one; return the parts of its slice, none without a change."""
        before, self._before = self._before, {}
        changes = [(shard, self.rows.get(shard)) for shard in sorted(before) if self.rows.get(shard) != before[shard]]
        if not changes:
            return []
        if not self.free:
            self.free = {}  # a dict that was large stays so
        self.version += 1
        return _in_pages((self.key, self.num_shards, self.term, self.version - 1, self.version), changes)

    def whole(self) -> list[TableSlice]:
        """Return the parts of the slice with the whole table."""
        return _in_pages((self.key, self.num_shards, self.term, 0, self.version), sorted(self.rows.items()))


def _in_pages(place: Place, rows: Iterable[tuple[int, Row | None]]) -> list[TableSlice]:
    pages, room = list[list[tuple[int, Row | None]]]([[]]), Room()
    for shard, row in rows:
        weight = row_weight(row)
        if not room.takes(weight):
            pages.append([])
            room = room_after(weight)
        pages[-1].append((shard, row))
    return [TableSlice(*place, tuple(found), part, len(pages)) for part, found in enumerate(pages)]


def row_weight(row: Row | None) -> Weight:
    """Return an upper bound of the size of a row on the wire."""
    if row is None:
        return ROW_WEIGHT
    weight = ROW_WEIGHT + run_weight(row.owner)
    return weight + run_weight(row.to) if isinstance(row, Moving) and row.to is not None else weight
