"""Rows of all nodes in a table of an extension, replicated to every node with that table.

Owns rows by key, as a table of slots (`slots`): each run sets and removes its own ones. It does not know what a value
says: it carries bytes, decoded by their readers.

How it works: the bounds of a peer's rows are fixed ones, and not the budget of this node's table, since nodes of
different releases may have different budgets: a page refused for that would be sent again without end. The owner of a
slot compacts it, with a write: it forgets its removals when they are more, or weigh more, than its rows and a spare.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import cast

from casty.address import UniqueAddress
from casty.config.validation import NAME_LENGTH_MAX
from casty.errors import DecodeError
from casty.protocol.state.paging import HEAD_BYTES, NUMBER_BYTES, Weight, text_bytes
from casty.protocol.state.slots import REMOVED_SPARE, Cut, PageSource, Slot, SlotTable, check_part

TABLE_BYTES_MAX = 256 * 1024
"""Largest budget of a table: bytes of the rows of one node, each counted as `ROW_COST_BYTES` more than key and value.
As much is taken from each other node, whatever the budget is here.
"""
TABLES_MAX = 8
"""TableSet of a node, of all its extensions: the versions of each slot of all of them fit into one message."""
ROWS_MAX = 4_096
"""Rows of one node in a table."""
ROW_COST_BYTES = 64
VALUE_BYTES_MAX = 64 * 1024
"""Bytes of one value: four fit into a page."""
REMOVED_BYTES_SPARE = 16 * 1024
"""Weight of the removals remembered by a slot beyond that of its rows before it drops them all."""
CHANGES_MAX = 4 * ROWS_MAX + 2 * REMOVED_SPARE
WEIGHT_MAX = 4 * TABLE_BYTES_MAX + 2 * REMOVED_BYTES_SPARE
"""Two generations of rows and removals: one on its way out, one on its way in."""

RowChange = tuple[int, str, bytes | None]
"""Version, key, and value; None for a removal."""


@dataclass(frozen=True, slots=True)
class TableRow:
    """Row of a slot, and in its log: of two with one key the later one takes the place of the other."""

    key: str
    value: bytes = field(default=b"", compare=False)

    @property
    def weight(self) -> int:
        """Bytes of the row as its budget counts them."""
        return row_bytes(self.key, self.value)


@dataclass(frozen=True, slots=True)
class RowPage:
    """All changes of one slot with versions after ``after`` and up to ``upto``, as they travel."""

    owner: UniqueAddress
    after: int
    upto: int
    floor: int
    changes: tuple[RowChange, ...]


@dataclass(frozen=True, slots=True)
class TableRows:
    """Rows missing at the receiver in the table of that name, or a page of them."""

    cluster_id: int
    table: str
    pages: tuple[RowPage, ...]


@dataclass(slots=True)
class _RowsCut(Cut[TableRow, RowPage]):
    """Rows of one slot on their way into a page."""

    changes: list[RowChange] = field(default_factory=list[RowChange])

    def weight_of(self, entry: TableRow) -> Weight:
        """Return the weight of one more change."""
        return Weight(1 + NUMBER_BYTES + text_bytes(entry.key) + HEAD_BYTES + len(entry.value), 4)

    def put(self, version: int, entry: TableRow, there: bool) -> None:
        """Put one more change into the page."""
        self.changes.append((version, entry.key, entry.value if there else None))

    def page(self, upto: int, floor: int) -> RowPage:
        """Return a page of the changes put into it."""
        return RowPage(self.owner, self.after, upto, floor, tuple(self.changes))


@dataclass(frozen=True)
class RowTable(SlotTable[TableRow, RowPage]):
    """Rows of all nodes in one table, as far as this node knows them."""

    name: str = field(default="", kw_only=True)
    bytes_max: int = field(default=TABLE_BYTES_MAX, kw_only=True)
    """Budget of this node's own rows. Those of others have the bounds of a slot."""

    def with_own(self, owner: UniqueAddress, rows: Mapping[str, bytes]) -> RowTable:
        """Return the table with exactly ``rows`` set by ``owner``. ValueError beyond the bounds of a slot."""
        check_rows(rows, self.bytes_max)
        slot = self.slot_of(owner)
        known = {row.key: row.value for row in slot.entries}
        changes = [(TableRow(key), False) for key in sorted(known.keys() - rows.keys())]
        changes += [(TableRow(key, rows[key]), True) for key in sorted(rows) if known.get(key) != rows[key]]
        after = slot.changed(changes).without_old_removals()
        if _weight(after.removed) > _weight(after.entries) + REMOVED_BYTES_SPARE:
            after = after.beyond(after.version)
        return self.with_slot(owner, after)

    @property
    def is_everywhere(self) -> bool:
        """Whether each node has it: only those with the extension."""
        return False

    def written(self, owner: UniqueAddress, content: object) -> RowTable:
        """Return the table with exactly the rows in ``content`` set by ``owner``."""
        if not isinstance(content, Mapping):
            raise TypeError(f"the table {self.name!r} takes a map of keys to bytes, got {content!r}")
        return self.with_own(owner, cast("Mapping[str, bytes]", content))

    def merged(self, source: PageSource, message: object) -> RowTable:
        """Return the table with the news in a peer's pages. DecodeError for pages of another kind of table."""
        if not isinstance(message, TableRows):
            raise DecodeError(f"table {self.name!r}: its pages are TableRows, got {type(message).__name__}")
        return self.taking_from(source, message.pages)

    def messages(self, cluster_id: int, versions: Mapping[int, int]) -> Iterator[TableRows]:
        """Yield the news for a node with ``versions``."""
        return (TableRows(cluster_id, self.name, pages) for pages in self.pages_after(versions))

    def rows_of(self, owner: UniqueAddress) -> dict[str, bytes]:
        """Return the rows of one run, in the order of their changes."""
        return {row.key: row.value for row in self.slot_of(owner).entries}

    def cut_of(self, owner: UniqueAddress, after: int) -> _RowsCut:
        """Return the begin of a page."""
        return _RowsCut(owner, after)

    def changes_in(self, page: RowPage) -> Iterator[tuple[int, TableRow, bool]]:
        """Return the changes of a page."""
        return ((version, TableRow(key, value or b""), value is not None) for version, key, value in page.changes)

    def check_slot(self, owner: UniqueAddress, slot: Slot[TableRow]) -> None:
        """Raise DecodeError for too many changes, or too large ones."""
        if len(slot.entries) + len(slot.removed) > CHANGES_MAX:
            raise DecodeError(f"table {self.name!r}: {owner.address} has more than {CHANGES_MAX} changes in its slot")
        if _weight(slot.entries) + _weight(slot.removed) > WEIGHT_MAX:
            raise DecodeError(f"table {self.name!r}: {owner.address} has more than {WEIGHT_MAX} bytes in its slot")

    def check_page(self, page: RowPage) -> None:
        """Raise DecodeError for a page in contradiction with itself, or with a row beyond the bounds of one."""
        check_part(f"table {self.name!r}", page, [change[0] for change in page.changes])
        for _, key, value in page.changes:
            fault = row_fault(key, value or b"")
            if fault:
                raise DecodeError(f"table {self.name!r}: {page.owner.address}: {fault}")


def row_bytes(key: str, value: bytes) -> int:
    """Return the bytes of a row as its budget counts them."""
    return ROW_COST_BYTES + len(key.encode(errors="replace")) + len(value)


def row_fault(key: object, value: bytes) -> str:
    """Return the fault of a row beyond the bounds of one, in words; empty for one within them."""
    if not isinstance(key, str):
        return f"a key must be a text, got {type(key).__name__}"
    if not 0 < len(key) <= NAME_LENGTH_MAX:
        return f"a key must have 1 to {NAME_LENGTH_MAX} characters, got {len(key)}"
    if not key.isascii() and any("\ud800" <= character <= "\udfff" for character in key):
        return f"a key must be text that can be written as UTF-8, got a lone surrogate in {key[:64]!r}"
    if len(value) > VALUE_BYTES_MAX:
        return f"a value must have at most {VALUE_BYTES_MAX} bytes, got {len(value)} under {key[:64]!r}"
    return ""


def check_rows(rows: Mapping[str, bytes], bytes_max: int) -> None:
    """Raise ValueError for rows beyond the bounds of a slot with that budget."""
    for key, value in rows.items():
        if fault := row_fault(key, value):
            raise ValueError(fault)
    if len(rows) > ROWS_MAX:
        raise ValueError(f"a node has at most {ROWS_MAX} rows in a table, got {len(rows)}")
    size = sum(row_bytes(key, value) for key, value in rows.items())
    if size > bytes_max:
        raise ValueError(
            f"its rows must have at most {bytes_max} bytes, {ROW_COST_BYTES} for each row included, got {size}"
        )


def _weight(rows: Iterable[TableRow]) -> int:
    return sum(row.weight for row in rows)
