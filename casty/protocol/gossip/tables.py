"""Tables spread by gossip without a leader's agreement: their contract, and the fixed set of them at a node.

Owns the contract (`ReplicatedTable`), and which tables two nodes have in common. It does not know the content of any,
or when a peer is told of it (`machine`, `anti_entropy`).

How it works: a table is a value; a change makes another one, and a step without news returns the same. It consists of
parts, each numbered (a slot by the incarnation of its owner, a table of shards by its key) and with a version. Two
nodes compare the versions of the tables had by both: each knows which ones a member has, since its row names all
but those `is_everywhere` (`TABLES_TOLD`). So their digests cover the same, and a table unknown to one of them makes no
traffic. Names told beyond that are of a newer node: they are ignored, and noted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Protocol, Self

from casty.address import UniqueAddress
from casty.protocol.messages.membership import PageMessage
from casty.protocol.state.member import Member
from casty.protocol.state.slots import PageSource

TABLES_TOLD = "casty.tables"
"""Name in ``Member.extra`` of a member's tables: their names, with spaces between."""

Versions = Mapping[int, int]
"""The version of each part of a table, by its number."""


class ReplicatedTable(Protocol):
    """One table, as one node knows it. All methods leave it as it is."""

    @property
    def name(self) -> str:
        """Name of the table on the wire."""
        ...

    @property
    def is_everywhere(self) -> bool:
        """Whether each node of this protocol version has it, and no member's row names it."""
        ...

    @property
    def versions(self) -> Versions:
        """Version of each part."""
        ...

    def lacks(self, versions: Versions, members: Collection[UniqueAddress]) -> bool:
        """Return whether a node with ``versions`` knows anything more, as far as it is about ``members``."""
        ...

    def messages(self, cluster_id: int, versions: Versions) -> Iterator[PageMessage]:
        """Yield the news for a node with ``versions``, in pages of at most `PAGE_BYTES_MAX`, each able to get lost."""
        ...

    def merged(self, source: PageSource, message: PageMessage) -> Self:
        """Return the table with a page message taken. DecodeError for one against the rules or beyond a bound."""
        ...

    def written(self, owner: UniqueAddress, content: object) -> Self:
        """Return the table with ``content`` as all of this node's part. TypeError for content of another kind."""
        ...

    def beyond(self, owner: UniqueAddress, version: int) -> Self:
        """Return the table with this node's part newer than ``version``, ascribed to it by others."""
        ...

    def kept(self, members: Collection[UniqueAddress]) -> Self:
        """Return the table without the parts of anybody else."""
        ...


@dataclass(frozen=True, slots=True)
class TableSet:
    """The tables of one node by name, in a fixed order. Two of one name: ValueError."""

    all: tuple[ReplicatedTable, ...]

    def __post_init__(self) -> None:
        names = [table.name for table in self.all]
        if len({*names}) != len(names):
            raise ValueError(f"each table must have a name of its own, got {names}")

    def __iter__(self) -> Iterator[ReplicatedTable]:
        return iter(self.all)

    def get(self, name: str) -> ReplicatedTable | None:
        """Return the table of that name; None where this node has none."""
        return next((table for table in self.all if table.name == name), None)

    def with_table(self, changed: ReplicatedTable) -> TableSet:
        """Return the tables with one in place of that of its name."""
        if any(table is changed for table in self.all):
            return self
        return TableSet(tuple(changed if table.name == changed.name else table for table in self.all))

    def kept(self, members: Collection[UniqueAddress]) -> TableSet:
        """Return the tables without the parts of others than ``members``."""
        kept = tuple(table.kept(members) for table in self.all)
        return self if all(one is other for one, other in zip(kept, self.all, strict=True)) else TableSet(kept)

    def shared_with(self, member: Member | None) -> tuple[str, ...]:
        """Return the names of the tables had by this node and by a member; None stands for no member."""
        return tuple(table.name for table in self.all if is_had_by(member, table))

    def named(self, names: Iterable[str]) -> list[ReplicatedTable]:
        """Return the tables of these names."""
        return [table for table in self.all if table.name in names]

    def changed_since(self, before: TableSet) -> list[ReplicatedTable]:
        """Return the tables other than those before."""
        return [table for table, old in zip(self.all, before.all, strict=True) if table is not old]


def digest_of(tables: Iterable[ReplicatedTable], start: bytes) -> bytes:
    """Return 16 bytes over ``start`` and the versions of these tables."""
    digest = blake2b(start, digest_size=16)
    for table in tables:
        digest.update(repr((table.name, sorted(table.versions.items()))).encode())
    return digest.digest()


def tables_told(names: Iterable[str]) -> tuple[tuple[str, bytes], ...]:
    """Return the entry of a member's row for its tables; nothing where it has none of its own."""
    joined = " ".join(sorted(names))
    return ((TABLES_TOLD, joined.encode()),) if joined else ()


def is_had_by(member: Member | None, table: ReplicatedTable) -> bool:
    """Whether a member has a table too: one of every node, or named in its row."""
    if table.is_everywhere or member is None:
        return table.is_everywhere
    return any(key == TABLES_TOLD and table.name.encode() in told.split() for key, told in member.extra)
