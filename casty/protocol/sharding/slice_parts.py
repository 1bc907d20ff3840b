"""Pages of what placement exchanges: slices and answers too large for one count when all their parts have come.

Owns the unfinished slices, at most one of each key: the newest; the cuts of answers and of the places of many tables;
and the news that one of two nodes lacks. It does not know what a slice changes (`shard_table`), or who repeats a lost
part: a digest does, which says that the table here is behind, and the coordinator, which asks again.

How it works: all parts of one answer are cut from what was held at the moment of the promise, so that those of two
repetitions fit together.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from casty.protocol.messages.shard_bounds import HELD_MAX, KEYS_MAX, UNFINISHED_ROWS_MAX, is_sound
from casty.protocol.messages.shard_rows import NO_TERM, Row, Term
from casty.protocol.messages.sharding import Enlisted, HeldShard, KnownTable, TablePlaces, TableSlice
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.state.paging import NUMBER_BYTES, Room, Weight, room_after, text_bytes

ANSWER_PARTS_MAX = 4_096
PLACES_MAX = 32
"""Places of tables in one message: with keys of 255 characters of four bytes each they fit into a control message
of 64 KiB."""


@dataclass(slots=True)
class UnfinishedSlice:
    """A slice of which parts are missing."""

    place: tuple[Term, int, int, int, int]
    """Term, last and first version, number of parts and of shards."""
    rows: dict[int, tuple[tuple[int, Row | None], ...]] = field(
        default_factory=dict[int, tuple[tuple[int, Row | None], ...]]
    )
    """By part."""

    @property
    def count(self) -> int:
        """Number of rows that have come."""
        return sum(map(len, self.rows.values()))


@dataclass(slots=True)
class SliceParts:
    """The parts that have come to one node."""

    unfinished: dict[str, UnfinishedSlice] = field(default_factory=dict[str, UnfinishedSlice])

    def take(self, news: TableSlice) -> TableSlice | None:
        """Return the whole slice if this was its last part; None as long as one is missing, or if it makes no sense."""
        if not is_sound(news):
            return None
        known = self.unfinished.get(news.key)
        if news.parts == 1:
            return news
        place = (news.term, news.upto, news.after, news.parts, news.num_shards)
        if known is None or known.place < place:
            if known is None and len(self.unfinished) >= KEYS_MAX:
                return None
            known = self.unfinished[news.key] = UnfinishedSlice(place)
        elif known.place != place:
            return None
        known.rows.setdefault(news.part, news.rows)
        if known.count > news.num_shards:
            del self.unfinished[news.key]  # no slice has two rows of one shard
            return None
        if len(known.rows) < news.parts:
            self._keep_bound()
            return None
        del self.unfinished[news.key]
        rows = tuple(row for part in range(news.parts) for row in known.rows[part])
        return replace(news, rows=rows, part=0, parts=1)

    def _keep_bound(self) -> None:
        rows = sum(one.count for one in self.unfinished.values())
        while rows > UNFINISHED_ROWS_MAX:
            rows -= self.unfinished.pop(next(iter(self.unfinished))).count

    def forget(self, key: str, order: tuple[Term, int]) -> None:
        """Forget an unfinished slice that a table of that order has overtaken."""
        known = self.unfinished.get(key)
        if known is not None and known.place[:2] <= order:
            del self.unfinished[key]


def cut_answer(answer: Enlisted) -> tuple[Enlisted, ...]:
    """Return the parts of an answer, each of at most a page besides its first fields."""
    pages, room = list[list[HeldShard]]([[]]), Room()
    for held in answer.held:
        weight = Weight(5 * NUMBER_BYTES + text_bytes(held.key), 9)
        if not room.takes(weight):
            pages.append([])
            room = room_after(weight)
        pages[-1].append(held)
    first = replace(answer, held=tuple(pages[0]), parts=len(pages))
    others = (Enlisted(answer.term, tuple(page), (), (), at, len(pages)) for at, page in enumerate(pages[1:], 1))
    return (first, *others)


def whole_answer(parts: dict[int, Enlisted], news: Enlisted) -> Enlisted | None:
    """Add a part to those that have come; return the whole answer if it was the last one."""
    if not 0 <= news.part < news.parts <= ANSWER_PARTS_MAX:
        return None
    if sum(len(part.held) for part in parts.values()) + len(news.held) > HELD_MAX and news.part not in parts:
        return None  # nobody holds so many
    parts.setdefault(news.part, news)
    if len(parts) < news.parts or 0 not in parts:
        return None
    return replace(parts[0], held=tuple(held for at in sorted(parts) for held in parts[at].held), parts=1)


def places_of(known: Sequence[KnownTable]) -> list[TablePlaces]:
    """Return the places of tables, sorted by key, in pages that together cover all keys there can be."""
    cuts = [known[at : at + PLACES_MAX] for at in range(0, len(known), PLACES_MAX)] or [()]
    ends = [None if at == len(cuts) - 1 else cut[-1].key for at, cut in enumerate(cuts)]
    return [
        TablePlaces(tuple(cut), after or "", upto) for cut, after, upto in zip(cuts, ["", *ends], ends, strict=False)
    ]


def lacking_there(tables: Mapping[str, ShardTable], places: TablePlaces, writer: int) -> Iterator[TableSlice]:
    """Return the news for the sender of places, of the tables with this incarnation in their term alone.

    Nobody takes a table from another run than its writer. One with another number of shards would be refused there.
    """
    theirs = {known.key: known for known in places.tables}
    for key, table in sorted(tables.items()):
        is_told = places.after < key and (places.upto is None or key <= places.upto) if places.asks else key in theirs
        known = theirs.get(key)
        if is_told and table.term.incarnation == writer and _lacks(known, table):
            yield from table.slices_after(known)


def lacking_here(tables: Mapping[str, ShardTable], places: TablePlaces) -> Iterator[tuple[KnownTable, KnownTable]]:
    """Return the places of newer tables than those here, and the places of these."""
    for known in places.tables:
        table = tables.get(known.key)
        if table is None:
            yield known, KnownTable(known.key, known.num_shards, NO_TERM, 0)
        elif table.num_shards == known.num_shards and table.is_behind(known):
            yield known, table.known


def _lacks(theirs: KnownTable | None, table: ShardTable) -> bool:
    if theirs is None:
        return True
    return theirs.num_shards == table.num_shards and (theirs.term, theirs.version) < table.order
