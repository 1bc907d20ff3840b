"""Kinds of replicated tables, so that one suite runs over all of them."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from casty.address import UniqueAddress
from casty.config import TransportLimits
from casty.protocol.gossip.tables import ReplicatedTable
from casty.protocol.messages.membership import PageMessage
from casty.protocol.state.paging import PAGE_BYTES_MAX, PAGE_ELEMENTS_MAX
from casty.protocol.state.registry import Registry
from casty.protocol.state.rows import RowTable
from casty.protocol.state.slots import PageSource
from casty.testing.samples import control_registry, run_of, service_of
from casty.wire.codec.codec import Codec

CLUSTER = 7


@dataclass(frozen=True)
class TableKind:
    """One kind: an empty table, what a node says in it, and what can be read of it."""

    name: str
    empty: ReplicatedTable
    content: Callable[[UniqueAddress, Collection[int]], object]
    """Content with a part for each number."""
    read: Callable[[ReplicatedTable, UniqueAddress], Collection[object]]

    def written(self, *numbers: int, by: str = "a", after: ReplicatedTable | None = None) -> ReplicatedTable:
        """Return a table in which a node says just this."""
        return (after or self.empty).written(run_of(by), self.content(run_of(by), numbers))

    def __str__(self) -> str:
        return self.name


def _services(owner: UniqueAddress, numbers: Collection[int]) -> object:
    return frozenset(service_of(owner, f"key-{number}") for number in numbers)


def _rows(owner: UniqueAddress, numbers: Collection[int]) -> object:
    # Of one key there are several values, as no two services are the same but in something.
    return {f"key-{number % 100}": b"%d" % number for number in numbers}


def _read_services(table: ReplicatedTable, owner: UniqueAddress) -> Collection[object]:
    assert isinstance(table, Registry)
    return table.entries({owner})


def _read_rows(table: ReplicatedTable, owner: UniqueAddress) -> Collection[object]:
    assert isinstance(table, RowTable)
    return frozenset(table.rows_of(owner).items())


REGISTRY_KIND = TableKind("registry", Registry(), _services, _read_services)
ROWS_KIND = TableKind("rows", RowTable(name="shop.stock"), _rows, _read_rows)
KINDS = [REGISTRY_KIND, ROWS_KIND]


def news_for(table: ReplicatedTable, receiver: ReplicatedTable) -> list[PageMessage]:
    """Return what a node with one table sends to a node with the other."""
    return list(table.messages(CLUSTER, receiver.versions))


def source(sender: str = "a", receiver: str = "z", *, has_word: bool = True, gone: str = "") -> PageSource:
    """Return where a message comes from, and goes to."""
    return PageSource(run_of(sender), run_of(receiver), has_word, frozenset(map(run_of, gone)))


def merged(table: ReplicatedTable, other: ReplicatedTable, origin: PageSource | None = None) -> ReplicatedTable:
    """Return a table with all that the other one has more."""
    for message in news_for(other, table):
        table = table.merged(origin or source(), message)
    return table


def no_refs(*_: object) -> object:
    """Fail: no page holds a ref."""
    raise AssertionError("a page holds a ref")


def page_codec() -> Codec:
    """Return a codec of control messages that refuses what is larger than a page."""
    limits = TransportLimits(frame_bytes_max=PAGE_BYTES_MAX, elements_max=PAGE_ELEMENTS_MAX)
    codec = Codec(export_ref=no_refs, import_ref=no_refs, limits=limits)  # type: ignore[arg-type]  # never called
    for entry in control_registry():
        codec.register(entry.cls, name=entry.wire_name)
    return codec
