"""Table of the shards of one key: for each the run to hold, to open or to close it.

Owns the rows, their versions, and how one copy of a table catches up with another. It does not know its writer, or
whether a row is right: the owner is the record of its shards, the table is only an order.

How it works: tables of one key are totally ordered by (term, version). Within a term a slice has the rows changed after
a version; the first slice of a term has the whole table. A slice whose beginning is not reached yet changes nothing,
nor does a part of one (`slice_parts`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from casty.address import UniqueAddress
from casty.protocol.messages.shard_rows import NO_TERM, Moving, Row, Term, stamp
from casty.protocol.messages.sharding import KnownTable, TableSlice
from casty.protocol.state.paging import NUMBER_BYTES, Room, Weight, room_after, run_weight

ROW_WEIGHT = Weight(5 * NUMBER_BYTES, 8)
"""Shard, kind, epoch, move, and what holds them."""
Change = Mapping[int, Row | None]
Entry = tuple[int, Row | None]
"""Version of the last change, and the row since; None for a free shard."""


def _no_entries() -> Mapping[int, Entry]:
    return {}


@dataclass(frozen=True, slots=True)
class ShardTable:
    """One version of the table of a key."""

    key: str
    num_shards: int
    term: Term = NO_TERM
    version: int = 0
    entries: Mapping[int, Entry] = field(default_factory=_no_entries)
    """By shard; shards never written in this term are free, and absent."""

    @property
    def order(self) -> tuple[Term, int]:
        """Place in the order of all tables of the key."""
        return self.term, self.version

    @property
    def known(self) -> KnownTable:
        """Place of the table, as a message tells it."""
        return KnownTable(self.key, self.num_shards, self.term, self.version)

    @property
    def rows(self) -> dict[int, Row]:
        """The rows by shard, free ones left out."""
        return {shard: row for shard, (_, row) in self.entries.items() if row is not None}

    @property
    def epoch(self) -> int:
        """Number to grow with each version, and over terms."""
        return stamp(self.term, self.version)

    @property
    def named(self) -> frozenset[UniqueAddress]:
        """Runs holding a shard by this table, or to open one."""
        return frozenset(row.owner for _, row in self.entries.values() if row is not None)

    def row(self, shard: int) -> Row | None:
        """Return the row of a shard; None for a free one."""
        entry = self.entries.get(shard)
        return None if entry is None else entry[1]

    def begun(self, term: Term, version: int, rows: Change) -> ShardTable:
        """Return the first table of a term."""
        entries = {shard: (version, rows[shard]) for shard in sorted(rows)}
        return replace(self, term=term, version=version, entries=entries)

    def written(self, changes: Change) -> ShardTable:
        """Return the next version."""
        version = self.version + 1
        entries = dict(self.entries) | {shard: (version, changes[shard]) for shard in sorted(changes)}
        return replace(self, version=version, entries=entries)

    def slices_after(self, known: KnownTable | None) -> list[TableSlice]:
        """Return the news for a copy at that place: the whole table if it is of another term, or None.

        They are the parts of one slice, each of at most a page.
        """
        after = known.version if known is not None and known.term == self.term else 0
        pages, room = list[list[tuple[int, Row | None]]]([[]]), Room()
        for shard, (version, row) in self.entries.items():
            if version > after:
                weight = row_weight(row)
                if not room.takes(weight):
                    pages.append([])
                    room = room_after(weight)
                pages[-1].append((shard, row))
        place = (self.key, self.num_shards, self.term, after, self.version)
        return [TableSlice(*place, tuple(rows), part, len(pages)) for part, rows in enumerate(pages)]

    def is_behind(self, other: KnownTable) -> bool:
        """Whether another copy is newer."""
        return (other.term, other.version) > self.order

    def taken(self, news: TableSlice) -> ShardTable:
        """Return the table with a slice in it; itself for an old one, or one beginning beyond this version."""
        if (news.term, news.upto) <= self.order or news.num_shards != self.num_shards:
            return self
        if news.term == self.term and news.after:
            if news.after > self.version:
                return self
            entries = dict(self.entries) | {shard: (news.upto, row) for shard, row in news.rows}
            return replace(self, version=news.upto, entries=entries)
        if news.after:
            return self
        return self.begun(news.term, news.upto, dict(news.rows))


def row_weight(row: Row | None) -> Weight:
    """Return an upper bound of the size of a row on the wire."""
    if row is None:
        return ROW_WEIGHT
    weight = ROW_WEIGHT + run_weight(row.owner)
    return weight + run_weight(row.to) if isinstance(row, Moving) and row.to is not None else weight
