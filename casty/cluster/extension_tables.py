"""Table of an extension: `ClusterTable`, with rows of every node, replicated to all nodes with that extension.

Owns the values: the own rows of this node, and the decoded rows of all members. It does not know how rows reach the
other nodes (`casty.protocol.gossip`): what travels are bytes, by key.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, ClassVar, Final, Generic, Protocol, TypeAlias, TypeVar, cast

from casty.address import UniqueAddress
from casty.cluster.commands import WriteTable
from casty.cluster.node import ClusterNode
from casty.config.validation import check_callable
from casty.errors import ConfigError, DecodeError, EncodeError, TableFull
from casty.protocol.gossip.tables import tables_told
from casty.protocol.state.rows import (
    ROW_COST_BYTES,
    ROWS_MAX,
    TABLE_BYTES_MAX,
    TABLES_MAX,
    RowTable,
    TableRow,
    row_bytes,
    row_fault,
)
from casty.protocol.state.slots import Slot
from casty.schema.names import printable
from casty.schema.types import describe
from casty.wire.frame import HEADER_BYTES

V = TypeVar("V")

TABLE_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
BYTES_MAX: Final = 16 * 1024
"""Budget of a table unless another one is given."""

logger = logging.getLogger("casty.cluster")

Changed: TypeAlias = Callable[[UniqueAddress, Mapping[str, V]], None]
"""Takes a member and all its rows, none once it is removed, and does not block."""
Exits: TypeAlias = Callable[[str, BaseException], None]
"""Function of a place in an extension's code and the exception raised there that ends the extension."""


class HasTables(Protocol):
    """Owner of tables: an extension."""

    name: ClassVar[str]
    """Name in front of those of its tables."""

    @property
    def tables(self) -> Iterable[ClusterTable[Any]]:
        """Its tables."""
        ...


class ClusterTable(Generic[V]):
    """Table of an extension: each node sets and removes rows of its own, and sees those of all living members.

    For ``ClusterExtension.tables``. A row is a value under a key. The nodes of a cluster with a table of that name in
    an extension of that name share it; gossip carries the rows to the others at once, and repairs a loss within a few
    of its rounds. Several changes within 50 ms travel together, and only the last one of a key. Of several nodes
    setting one key each has its own row. The rows of a removed member go with it, and all of a node when it stops.

    From another member at most four times 256 KiB are taken, removals included, whatever the budget is here. Rows with
    a value that does not fit the ``value_type`` of this node are left out, and the log says so: a type that changes
    between releases needs what a message needs.

    Parameters:
        name: Name, unique in its extension: 1 to 64 lower-case letters, digits and underscores, a letter first.
        value_type: Type of the values: one that can travel, such as ``int`` or a frozen dataclass.
        bytes_max: Budget for the rows of this node, at most 256 KiB: bytes of keys and values on the wire, and 64 for
            each row. Every node with the table keeps as much for every member.
        changed: Function of a member, this node included, and all rows of it, called on each change of them; of none
            once the member is removed. It runs in a task of the cluster, so it must not block: have it tell an actor.
            Its errors are logged; SystemExit is a failure of the extension, and follows ``when_it_fails``.

    Raises:
        ConfigError: The name or the budget makes no sense.
        TypeError: ``changed`` is no plain function.
    """

    _exits: Exits
    """Taker of what ends the extension; there from `attach` on."""

    def __init__(
        self, name: str, value_type: type[V], *, bytes_max: int = BYTES_MAX, changed: Changed[V] | None = None
    ) -> None:
        if not isinstance(cast("object", name), str) or not TABLE_NAME.fullmatch(name):
            raise ConfigError(
                "ClusterTable.name must be 1 to 64 lower-case letters, digits and underscores, a letter first, "
                f"got {name!r}"
            )
        is_number = isinstance(cast("object", bytes_max), int) and not isinstance(bytes_max, bool)
        if not is_number or not 0 < bytes_max <= TABLE_BYTES_MAX:
            raise ConfigError(f"ClusterTable.bytes_max must be from 1 to {TABLE_BYTES_MAX}, got {bytes_max!r}")
        if changed is not None:
            check_callable("ClusterTable.changed", changed, "a function of a member and its rows")
        self.name: str = name
        """Its name in its extension."""
        self.bytes_max: int = bytes_max
        """Budget for the rows of this node."""
        self.value_type: type[V] = value_type
        """Type of the values."""
        self._changed = changed
        self._node: ClusterNode | None = None
        self._table = RowTable()
        self._names: tuple[str, ...] = ()
        self._own: dict[str, tuple[V, bytes]] = {}
        self._size = 0
        self._is_asked = False
        """Whether gossip is about to ask for the own rows."""
        self._is_over = False
        self._shown: tuple[RowTable, frozenset[UniqueAddress]] | None = None
        """The table shown last, and the members living then."""
        self._slots: Mapping[UniqueAddress, Slot[TableRow]] = {}
        """Their slots in it: of one that stays the rows are not made again."""
        self._raw: dict[UniqueAddress, Mapping[str, bytes]] = {}
        self._rows: dict[UniqueAddress, Mapping[str, V]] = {}

    @property
    def own(self) -> Mapping[str, V]:
        """Rows of this node, as they are set now."""
        return MappingProxyType({key: value for key, (value, _) in self._own.items()})

    @property
    def rows(self) -> Mapping[UniqueAddress, Mapping[str, V]]:
        """Rows of all members with any that are not down, by their runs, as far as they are known here.

        The own ones are among them a moment after they were set. Later changes leave the returned map as it is.
        """
        return MappingProxyType(dict(self._rows))

    def set(self, key: str, value: V) -> None:
        """Set a row of this node.

        Parameters:
            key: Its key, of 1 to 255 characters.
            value: Its value.

        Raises:
            TableFull: The budget of the table does not suffice; the row stays as it was.
            EncodeError: The value is not of the table's type, or larger than 64 KiB.
            ValueError: The key is no text, of another length, or with a lone surrogate.
            RuntimeError: The table has no node, as before ``ClusterExtension.attach``, or its extension has ended.
        """
        node = self._at_node()
        if fault := row_fault(key, b""):
            raise ValueError(fault)
        packed = node.codec.frame_envelope("", 0, value, self.value_type)[HEADER_BYTES:]
        known = self._own.get(key)
        if known is not None and known[1] == packed:
            return
        if fault := row_fault(key, packed):
            raise EncodeError(fault)
        size = self._size + row_bytes(key, packed) - (0 if known is None else row_bytes(key, known[1]))
        if size > self.bytes_max or (known is None and len(self._own) >= ROWS_MAX):
            raise TableFull(
                f"the table {self._table.name!r} holds at most {ROWS_MAX} rows and {self.bytes_max} bytes of a node, "
                f"{ROW_COST_BYTES} for each row included: with {key[:64]!r} it had {len(self._own) + (known is None)} "
                f"and {size}; remove rows, or give it a larger bytes_max"
            )
        self._own[key], self._size = (value, packed), size
        self._tell(node)

    def remove(self, key: str) -> None:
        """Remove a row of this node; nothing follows where there is none of that key.

        Parameters:
            key: Its key.

        Raises:
            RuntimeError: The table has no node, as before ``ClusterExtension.attach``, or its extension has ended.
        """
        node = self._at_node()
        known = self._own.pop(key, None)
        if known is not None:
            self._size -= row_bytes(key, known[1])
            self._tell(node)

    def attach(self, node: ClusterNode, extension: str, exits: Exits) -> None:
        """Take the node. For casty itself, as all below.

        Parameters:
            node: Node of the extension.
            extension: Name of the extension.
            exits: Function of a place and an exception that ended the extension there, such as SystemExit.

        Raises:
            UnsupportedTypeError: The type of the values cannot travel.
        """
        self._exits = exits
        self._node, self._table = node, RowTable(name=wire_name_of(extension, self), bytes_max=self.bytes_max)
        self._names = node.codec.names_of(self.value_type)

    @property
    def is_attached(self) -> bool:
        """Whether it belongs to a node already."""
        return self._node is not None

    @property
    def replicated(self) -> RowTable:
        """The table for gossip, without rows."""
        return self._table

    def start(self) -> None:
        """Make gossip, running from now on, ask for the own rows."""
        if self._node is not None and self._own:
            self._tell(self._node)

    def take_own(self) -> Mapping[str, bytes]:
        """Take the own rows, for gossip after it was asked to tell them.

        Returns:
            Bytes of each value, by key.
        """
        self._is_asked = False
        return {key: packed for key, (_, packed) in self._own.items()}

    def show(self, table: RowTable, living: frozenset[UniqueAddress]) -> None:
        """Take the rows of all living members, and tell the changed ones.

        Gossip calls it after each event, so it asks first for the very table and members of the last call, then for the
        slots that stay: a table of 16 members with 3,200 rows each takes 6 ms to make anew.

        Parameters:
            table: The rows, as gossip knows them.
            living: The living members.
        """
        node, shown = self._node, self._shown
        if node is None or self._is_over or (shown is not None and shown[0] is table and shown[1] is living):
            return
        self._shown = table, living
        slots = {owner: table.slots[owner] for owner in sorted(table.slots) if owner in living}
        before, self._slots = self._slots, slots
        for owner in [*before, *(owner for owner in slots if owner not in before)]:
            if before.get(owner) is slots.get(owner):
                continue
            old, new = self._raw.pop(owner, {}), table.rows_of(owner) if owner in slots else {}
            if new:
                self._raw[owner] = new
            if old == new:
                continue
            decoded = self._decoded(node, owner, old, new)
            if decoded:
                self._rows[owner] = MappingProxyType(decoded)
            else:
                self._rows.pop(owner, None)
            if self._changed is not None:  # none once a call before has ended the extension
                self._call(self._changed, owner, MappingProxyType(decoded))

    def mute(self) -> None:
        """Call nobody any more: the actors of the extension are about to stop."""
        self._changed = None

    def withdraw(self) -> None:
        """Take the own rows back: the node goes on without the extension."""
        if self._own and self._node is not None:
            self._own.clear()
            self._tell(self._node)

    def end(self) -> None:
        """Take no rows any more, and tell of none."""
        self._is_over = True

    def _decoded(
        self, node: ClusterNode, owner: UniqueAddress, old: Mapping[str, bytes], new: Mapping[str, bytes]
    ) -> dict[str, V]:
        known, decoded = self._rows.get(owner, {}), dict[str, V]()
        for key, packed in new.items():
            if key in known and old.get(key) == packed:
                decoded[key] = known[key]
                continue
            try:
                decoded[key] = self._value(node, packed)
            except DecodeError as error:
                node.cluster_complaints.warning(
                    owner.address, f"its row {printable(key)!r} of the table {self._table.name} is left out: {error}"
                )
        return decoded

    def _value(self, node: ClusterNode, packed: bytes) -> V:
        envelope = node.codec.decode_envelope(packed)
        if envelope.name not in self._names:
            raise DecodeError(f"expected {describe(self.value_type)}, got {printable(envelope.name)}")
        return cast("V", envelope.message)

    def _call(self, changed: Changed[V], owner: UniqueAddress, rows: Mapping[str, V]) -> None:
        try:
            changed(owner, rows)
        except Exception:  # the user's code; gossip goes on
            logger.exception("the table %s failed as it told of rows of %s", self._table.name, owner)
        except KeyboardInterrupt:  # it is the program's
            raise
        except BaseException as error:  # sys.exit() in the user's code: the end of the extension, by its policy
            self._exits(f"`changed` of the table {self._table.name}", error)

    def _at_node(self) -> ClusterNode:
        if self._node is None or self._is_over:
            raise RuntimeError(f"the table {self.name!r} has no node: use it in `attach` or later, until `ended`")
        return self._node

    def _tell(self, node: ClusterNode) -> None:
        """Make gossip ask for the own rows, once for all changes until it does."""
        if node.is_started and not self._is_asked:
            self._is_asked = True
            node.subsystems.gossip.tell(WriteTable(self._table.name))

    def __repr__(self) -> str:
        return f"<ClusterTable {self.name} rows={len(self._own)} bytes={self._size}/{self.bytes_max}>"


def wire_name_of(extension: str, table: ClusterTable[Any]) -> str:
    """Return the name of a table on the wire."""
    return f"{extension}.{table.name}"


def tables_of(extensions: Iterable[HasTables]) -> tuple[ClusterTable[Any], ...]:
    """Return the tables of all extensions, in their order."""
    return tuple(table for extension in extensions for table in extension.tables)


def told_of(extensions: Iterable[HasTables]) -> tuple[tuple[str, bytes], ...]:
    """Return the entry for the tables of all extensions in the row of their member."""
    return tables_told(wire_name_of(extension.name, table) for extension in extensions for table in extension.tables)


def check_tables(kind: str, tables: object) -> tuple[ClusterTable[Any], ...]:
    """Return the tables of an extension. ConfigError where they are no tables, have one name, or have a node."""
    if not isinstance(tables, tuple | list):
        raise ConfigError(f"{kind}.tables must be a tuple of ClusterTable, got {tables!r}")
    found = tuple(cast("Iterable[object]", tables))
    names = set[str]()
    for table in found:
        if not isinstance(table, ClusterTable):
            raise ConfigError(f"{kind}.tables must hold instances of ClusterTable, got {table!r}")
        if table.name in names:
            raise ConfigError(f"{kind}.tables has two of the name {table.name!r}: give one of them another name")
        names.add(table.name)
    return cast("tuple[ClusterTable[Any], ...]", found)


def check_unused_tables(kind: str, tables: Iterable[ClusterTable[Any]]) -> None:
    """Raise ConfigError for a table of another extension, or of another run of a node."""
    for table in tables:
        if table.is_attached:
            raise ConfigError(f"{kind}.tables: {table!r} belongs to a node already: make one for each extension")


def check_count(tables: Sequence[ClusterTable[Any]]) -> None:
    """Raise ConfigError for more tables than a node has, and for one table of two extensions."""
    count = len(tables)
    if len({id(table) for table in tables}) < count:
        raise ConfigError("each extension of a node must make tables of its own: two of them have one together")
    if count > TABLES_MAX:
        raise ConfigError(f"the extensions of a node have at most {TABLES_MAX} tables, got {count}: join some of them")
