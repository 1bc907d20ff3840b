"""Messages about the placement of shards, on the control lane; markers alone travel behind the messages of users."""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import UniqueAddress
from casty.protocol.messages.shard_rows import Row, Term


@dataclass(frozen=True, slots=True)
class Enlist:
    """Request of a coordinator: promise this term, and report the shards held."""

    term: Term


@dataclass(frozen=True, slots=True)
class HeldShard:
    """A shard held by the sender: open, or closing in a move."""

    key: str
    shard: int
    epoch: int
    move: int | None


@dataclass(frozen=True, slots=True)
class KnownTable:
    """The table of one key known to the sender, by its place in the order of tables."""

    key: str
    num_shards: int
    term: Term
    version: int


@dataclass(frozen=True, slots=True)
class Enlisted:
    """Answer: the term is promised, this is held, and these runs are named by the tables known.

    One too large for a page comes in several parts, numbered from 0: they count when all have come.
    """

    term: Term
    held: tuple[HeldShard, ...]
    tables: tuple[KnownTable, ...]
    """With ``named``, in the first part alone."""
    named: tuple[UniqueAddress, ...]
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class TermRefused:
    """Answer to an Enlist or a table of ``term``: another one is promised."""

    term: Term
    promised: Term


@dataclass(frozen=True, slots=True)
class TableSlice:
    """Changes of a table in the versions beyond ``after``, until ``upto``; beyond 0 it is the whole table of a term.

    One too large for a page comes in several parts, numbered from 0: they count when all have come.
    """

    key: str
    num_shards: int
    term: Term
    after: int
    upto: int
    rows: tuple[tuple[int, Row | None], ...]
    part: int = 0
    parts: int = 1


@dataclass(frozen=True, slots=True)
class TableDigest:
    """A digest of the sender's tables, and the highest number of a term it has heard; nothing follows an equal one."""

    highest: int
    digest: bytes


@dataclass(frozen=True, slots=True)
class TablePlaces:
    """The tables of the sender, as far as their keys are beyond ``after`` and up to ``upto``; None is no end.

    The receiver sends the news lacking there. With ``asks`` it asks back for those lacking here.
    """

    tables: tuple[KnownTable, ...]
    after: str = ""
    upto: str | None = None
    asks: bool = True


@dataclass(frozen=True, slots=True)
class Opened:
    """Word of an owner to the coordinator: these shards are open, each with its epoch."""

    key: str
    shards: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Yielded:
    """Word of an owner to the coordinator: under these epochs it holds the shards no more, and never will again."""

    key: str
    shards: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Retired:
    """Word of a run to all: it writes no table any more, until it begins a term above this one."""

    term: Term


@dataclass(frozen=True, slots=True)
class Marker:
    """Word of a sender to an owner, behind its messages: nothing of it for this shard follows under the old epoch."""

    key: str
    shard: int
    move: int


@dataclass(frozen=True, slots=True)
class EvenOut:
    """Order of an operator to the coordinator, told to all: let the loads of this key differ by one shard at most."""

    key: str


PlacementMessage = (
    Enlist | Enlisted | TermRefused | TableSlice | TableDigest | TablePlaces | Opened | Yielded | Retired | Marker
    | EvenOut
)  # fmt: skip
