"""Pages of what placement exchanges: slices and answers too large for one count when all their parts have come.

Owns the unfinished slices, at most one of each key: the newest; and the cuts of answers and of the places of many
tables. It does not know what a slice changes (`shard_table`), or who repeats a lost part: a digest does, which says
that the table here is behind, and the coordinator, which asks again.

How it works: all parts of one answer are cut from what was held at the moment of the promise, so that those of two
repetitions fit together.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from casty.protocol.messages.shard_bounds import KEYS_MAX, is_sound
from casty.protocol.messages.shard_rows import Row, Term
from casty.protocol.messages.sharding import Enlisted, HeldShard, KnownTable, TablePlaces, TableSlice
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
        if len(known.rows) < news.parts:
            return None
        del self.unfinished[news.key]
        rows = tuple(row for part in range(news.parts) for row in known.rows[part])
        return replace(news, rows=rows, part=0, parts=1)

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
