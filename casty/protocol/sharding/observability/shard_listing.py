"""Shards of one key as one node knows them: for its users, and packed for a report.

Owns both forms of a table for people, and the bound of a report. It does not know the way of a report
(`casty.cluster.observability.status_report`), or whether a row is right: a table is an order, and its owner the record.

How it works: a row takes `ROW_BYTES` in a report, whatever the codec; nodes are named by their places in a list.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, Literal, TypeAlias

from casty.address import NodeAddress
from casty.protocol.messages.shard_bounds import NUM_SHARDS_MAX
from casty.protocol.messages.shard_rows import VERSION_BITS, Moving, Opening, Owned, Row
from casty.protocol.sharding.shard_hash import check_entity_id, number_of
from casty.protocol.sharding.shard_table import ShardTable
from casty.schema.names import message

ShardState: TypeAlias = Literal["opening", "owned", "moving"]

STATES: Final[tuple[ShardState, ...]] = ("opening", "owned", "moving")
_ROW: Final = Struct(">HBHHQ")
ROW_BYTES: Final = _ROW.size
"""Bytes of a row in a report: shard, state, its node, its next one, epoch."""
NOBODY: Final = 0xFFFF
"""Stands for no next node."""
ROWS_TOLD_MAX: Final = 65_536
"""Rows in one report: keys beyond are counted, and left out."""
KEYS_TOLD_MAX: Final = 1_024
"""Keys in one report."""


@message("casty.ShardRow")
@dataclass(frozen=True, slots=True)
class ShardRow:
    """A shard with a node, in a `ShardListing`."""

    shard: int
    """Number of the shard, from 0."""
    state: ShardState
    """``opening``: the node is to open it, and messages for it wait; ``owned``: it is open there; ``moving``: it is
    closing there, and messages wait."""
    node: NodeAddress
    """Node with the shard, or meant to open it."""
    epoch: int
    """Number of its opening there, above those of all earlier ones."""
    to: NodeAddress | None = None
    """Next node of a moving shard, where one is chosen."""


@message("casty.ShardListing")
@dataclass(frozen=True, slots=True, repr=False)
class ShardListing:
    """Shards of one kind of entities, as one node knows them: the answer of `ClusteredActorSystem.shards`.

    >>> a = NodeAddress("10.0.0.1", 2551)
    >>> listing = ShardListing("carts", 2, (a,), a, 256, 4, (ShardRow(0, "owned", a, 1), ShardRow(1, "opening", a, 4)))
    >>> listing
    <ShardListing 'carts' 2 shards: 10.0.0.1:2551 1; 0 moving, 1 opening, 0 free; term 256 version 4>
    """

    key: str
    """Name of the `EntityKey`."""
    num_shards: int
    """Shards of the kind; 0 as long as no host is known."""
    hosts: tuple[NodeAddress, ...]
    """Nodes hosting the kind, in their order."""
    coordinator: NodeAddress | None
    """Node that has written the table; None without a table, and once it is no member any more."""
    term: int
    """Number of the coordinator's term; 0 without a table."""
    version: int
    """Version of the table in the term."""
    rows: tuple[ShardRow, ...]
    """Shards with a node, in their order; one without is free, or nobody has been told where it is."""

    @property
    def epoch(self) -> int:
        """Number of the table: grows with every change of it, over terms too."""
        return self.term << VERSION_BITS | self.version

    @property
    def loads(self) -> dict[NodeAddress, int]:
        """Shards open on each node, the hosts without any included."""
        counts = Counter(row.node for row in self.rows if row.state != "opening")
        return {node: counts[node] for node in sorted(counts.keys() | set(self.hosts))}

    @property
    def moves(self) -> tuple[ShardRow, ...]:
        """Shards that are closing on one node, to be opened on another."""
        return tuple(row for row in self.rows if row.state == "moving")

    @property
    def opening(self) -> int:
        """Number of shards meant for a node."""
        return sum(row.state == "opening" for row in self.rows)

    @property
    def free(self) -> int:
        """Number of shards without a node."""
        return self.num_shards - len(self.rows)

    def node_of(self, entity_id: str) -> NodeAddress | None:
        """Return the node with an entity.

        Parameters:
            entity_id: Id of an entity of the kind.

        Returns:
            The node that has the entity's shard open; None as long as messages for it wait.

        Raises:
            ValueError: ``entity_id`` is no text, too long, or empty.
        """
        check_entity_id(entity_id)
        shard = number_of(entity_id) % self.num_shards if self.num_shards else None
        return next((row.node for row in self.rows if row.shard == shard and row.state == "owned"), None)

    def __repr__(self) -> str:
        loads = ", ".join(f"{node} {count}" for node, count in self.loads.items()) or "no node"
        states = f"{len(self.moves)} moving, {self.opening} opening, {self.free} free"
        rest = f"{states}; term {self.term} version {self.version}"
        return f"<ShardListing {self.key!r} {self.num_shards} shards: {loads}; {rest}>"


@dataclass(frozen=True, slots=True)
class ShardsReport:
    """Part of a report: the shards of one key, packed."""

    key: str
    num_shards: int
    hosts: tuple[NodeAddress, ...]
    coordinator: NodeAddress | None
    term: int
    version: int
    nodes: tuple[NodeAddress, ...]
    """Nodes of the rows."""
    rows: bytes
    """Rows of `ROW_BYTES` each, in the order of shards."""


@dataclass(frozen=True, slots=True)
class ShardsTold:
    """Reports of the first keys, as far as there is room for them."""

    reports: tuple[ShardsReport, ...] = ()
    left_out: int = 0
    """Number of further keys."""


def report_shards(table: ShardTable, hosts: Sequence[NodeAddress], coordinator: NodeAddress | None) -> ShardsReport:
    """Return the report of a table."""
    places: dict[NodeAddress, int] = {}
    packed = bytearray()
    for shard, row in sorted(table.rows.items()):
        place = places.setdefault(row.owner.address, len(places))
        to = row.to if isinstance(row, Moving) else None
        target = NOBODY if to is None else places.setdefault(to.address, len(places))
        packed += _ROW.pack(shard, _state(row), place, target, row.epoch)
    head = table.key, table.num_shards, tuple(sorted(hosts)), coordinator
    return ShardsReport(*head, table.term.number, table.version, tuple(places), bytes(packed))


def listing_of(report: ShardsReport) -> ShardListing:
    """Return the listing in a report. ValueError for a report that cannot be."""
    if not 0 <= report.num_shards <= NUM_SHARDS_MAX or len(report.rows) > ROW_BYTES * report.num_shards:
        raise ValueError(f"a report of {report.num_shards} shards with {len(report.rows)} bytes of rows")
    if len(report.rows) % ROW_BYTES:
        raise ValueError(f"rows of {ROW_BYTES} bytes each, got {len(report.rows)} bytes")
    head = report.key, report.num_shards, report.hosts, report.coordinator, report.term, report.version
    return ShardListing(*head, tuple(_rows(report)))


def _rows(report: ShardsReport) -> Iterator[ShardRow]:
    nodes = report.nodes
    unpacked: Iterator[tuple[int, int, int, int, int]] = _ROW.iter_unpack(report.rows)
    for shard, state, place, target, epoch in unpacked:
        if state >= len(STATES) or place >= len(nodes) or (target != NOBODY and target >= len(nodes)):
            raise ValueError(f"a row that names no node or state: {shard}, {state}, {place}, {target}")
        yield ShardRow(shard, STATES[state], nodes[place], epoch, None if target == NOBODY else nodes[target])


def _state(row: Row) -> int:
    match row:
        case Opening():
            return 0
        case Owned():
            return 1
        case Moving():
            return 2
