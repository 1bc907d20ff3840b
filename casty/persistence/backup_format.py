"""The file of a backup: rows of a store in checked frames, in a form of no store.

Owns the bytes, the order of rows and the checks of both. It must not know stores, or how a file is opened.

How it works: ten bytes name the file and the version of its form. Frames follow: kind (1 byte), size of the body
(4 bytes), body (a list in msgpack), and the CRC-32 of all bytes of the file up to there, earlier sums left out. So a
frame that was lost, doubled or moved is found like a changed byte. The last frame holds the numbers of rows: a file
without it is cut.

Kinds come in one order, and the rows of a kind in the order of their keys, so that none is there twice: a reader
needs no memory of them.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct
from typing import Any, BinaryIO, Final, TypeAlias, assert_never, cast
from zlib import crc32

import msgpack

from casty.errors import CastyError, ConfigError
from casty.journal import Record, Stored
from casty.persistence.arguments import (
    NUMBER_MAX,
    PAYLOAD_BYTES_MAX,
    check_number,
    check_persistence_id,
    check_record,
    check_setting,
    check_text,
)

MAGIC: Final = b"castyBAK"
VERSION: Final = 1
"""Version of the form. A change of any kind of frame is a new one: an old reader would leave out what it misses."""
BODY_BYTES_MAX: Final = PAYLOAD_BYTES_MAX + 65_536
"""Bytes of one frame: the largest payload, and names around it of 600 characters each."""

_BEGINNING: Final = Struct("!8sH")
_FRAME: Final = Struct("!BI")
_SUM: Final = Struct("!I")

HEAD, SETTING, SCOPE, ID, EVENT, SNAPSHOT, VALUE, END = range(1, 9)
COUNTED: Final = {ID: "ids", EVENT: "events", SNAPSHOT: "snapshots", VALUE: "values", SCOPE: "scopes"}
"""Kinds told to people."""


class DamagedBackup(CastyError):
    """A backup is cut, or some of its bytes have changed; the message names the byte, and nothing was restored."""


@dataclass(frozen=True, slots=True)
class BackupHead:
    """First row of a backup."""

    identity: str
    """Identity of the store it was made of."""
    made_at: float
    """Wall clock, for people."""
    last_offset: int
    """Offset given last; 0 for none. A restored store goes on behind it."""


@dataclass(frozen=True, slots=True)
class BackupSetting:
    """Value settled under a name."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class BackupScope:
    """Scope with the number of its newest claim. Its token stays behind: a backup gives nobody a right to write."""

    scope: str
    number: int


@dataclass(frozen=True, slots=True)
class BackupId:
    """Persistence id, bound to its scope, also where nothing is stored under it any more."""

    persistence_id: str
    scope: str
    last: int
    """Number of its last event; 0 for none."""
    forgotten: int
    """Number of the last event that was forgotten; 0 for none."""


@dataclass(frozen=True, slots=True)
class BackupSnapshot:
    """State of an id after an event."""

    persistence_id: str
    seq: int
    record: Record


@dataclass(frozen=True, slots=True)
class BackupValue:
    """Last value of an id."""

    persistence_id: str
    revision: int
    record: Record


BackupRow: TypeAlias = BackupHead | BackupSetting | BackupScope | BackupId | Stored | BackupSnapshot | BackupValue


class BackupWriter:
    """Writer of one file, from its first byte.

    Parameters:
        stream: Open for writing.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._sum = 0
        self.counts: Counter[int] = Counter()
        """Rows written, by kind."""
        self._write(_BEGINNING.pack(MAGIC, VERSION))

    def write(self, row: BackupRow) -> None:
        """Write a row. The order of rows is the caller's."""
        kind, fields = _fields_of(row)
        self._frame(kind, fields)
        self.counts[kind] += 1

    def finish(self) -> None:
        """Write the end, after the last row."""
        self._frame(END, [self.counts[kind] for kind in range(HEAD, END)])

    def _frame(self, kind: int, fields: list[object]) -> None:
        body: bytes = msgpack.packb(fields)
        self._write(_FRAME.pack(kind, len(body)) + body)
        self._stream.write(_SUM.pack(self._sum))

    def _write(self, data: bytes) -> None:
        self._sum = crc32(data, self._sum)
        self._stream.write(data)


class BackupReader(Iterator[BackupRow]):
    """Rows of one file in order, the head first; each is checked before it is given.

    Iterating raises DamagedBackup where the file is cut or changed, and ConfigError where it is no backup or of a
    newer version.

    Parameters:
        stream: Open for reading, at its first byte.
        name: Name of the file, for messages.
    """

    def __init__(self, stream: BinaryIO, name: str) -> None:
        self._stream = stream
        self._name = name
        self._sum = 0
        self._place = 0
        """Offset of the frame under way."""
        self._next_place = 0
        self._kind = 0
        self._key: object = None
        self._last_offset = 0
        self._expected_events = 0
        self._at_end = False
        self.counts: Counter[int] = Counter()
        """Rows read, by kind."""

    def __next__(self) -> BackupRow:
        if self._at_end:
            raise StopIteration
        if not self._kind:
            self._begin()
        else:
            self._place = self._next_place
        kind, fields = self._frame()
        try:
            if kind == END:
                self._end(fields)
                raise StopIteration
            row = _row_of(kind, fields)
            self._follow(kind, row)
        except (ValueError, TypeError) as error:
            raise self._damaged(f"its sum is right, and it holds no row of a backup: {error}") from error
        self.counts[kind] += 1
        return row

    def _begin(self) -> None:
        data = self._stream.read(_BEGINNING.size)
        if not MAGIC.startswith(data[: len(MAGIC)]):
            raise ConfigError(f"{self._name} is no backup of a journal: name a file made by `casty journal backup`")
        if len(data) < _BEGINNING.size:
            raise self._damaged("the file ends there")
        _, version = _BEGINNING.unpack(data)
        if version != VERSION:
            raise ConfigError(
                f"{self._name} is a backup of version {version}, and this casty reads version {VERSION}: restore it "
                "with the casty that made it, or a newer one"
            )
        self._sum, self._place = crc32(data), len(data)

    def _frame(self) -> tuple[int, list[object]]:
        head = self._read(_FRAME.size)
        kind, size = _FRAME.unpack(head)
        if not HEAD <= kind <= END or size > BODY_BYTES_MAX:
            raise self._damaged(f"a frame of kind {kind} and {size} bytes is none")
        body = self._read(size)
        (expected,) = _SUM.unpack(self._read(_SUM.size))
        self._sum = crc32(body, crc32(head, self._sum))
        if self._sum != expected:
            raise self._damaged(f"the checksum is {self._sum:08x}, written was {expected:08x}")
        try:
            fields: object = msgpack.unpackb(body)
        except ValueError as error:
            raise self._damaged(f"its sum is right, and it is no msgpack: {error}") from error
        if not isinstance(fields, list):
            raise self._damaged("its sum is right, and it is no list")
        self._next_place = self._place + len(head) + size + _SUM.size
        return kind, cast("list[object]", fields)

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise self._damaged("the file ends in it")
        return data

    def _follow(self, kind: int, row: BackupRow) -> None:
        """Raise ValueError unless a row may stand behind the one before."""
        if kind < self._kind or (not self._kind and kind != HEAD) or (kind == self._kind == HEAD):
            raise ValueError(f"a frame of kind {kind} behind one of kind {self._kind}")
        key: Any = _key_of(row)
        if kind == self._kind and key <= self._key:
            raise ValueError(f"{key!r} behind {self._key!r}")
        if isinstance(row, BackupHead):
            self._last_offset = row.last_offset
        elif isinstance(row, BackupId):
            self._expected_events += row.last - row.forgotten
        elif isinstance(row, Stored) and row.offset > self._last_offset:
            raise ValueError(f"offset {row.offset} behind the last one, {self._last_offset}")
        self._kind, self._key = kind, key

    def _end(self, fields: list[object]) -> None:
        found = [self.counts[kind] for kind in range(HEAD, END)]
        if fields != found or self.counts[EVENT] != self._expected_events or not self.counts[HEAD]:
            raise ValueError(f"rows by kind are {found}, with {self._expected_events} events, written was {fields}")
        self._place = self._next_place
        if self._stream.read(1):
            raise self._damaged("the backup is complete, and more bytes follow")
        self._at_end = True

    def _damaged(self, why: str) -> DamagedBackup:
        return DamagedBackup(
            f"{self._name} is damaged or cut at byte {self._place}: {why}. Nothing of it was restored, the store is as "
            "it was: copy the file anew from where it came from, or take an older backup"
        )


def describe(counts: Counter[int]) -> str:
    """Return numbers of rows in words."""
    return ", ".join(f"{counts[kind]} {word}" for kind, word in COUNTED.items())


def _fields_of(row: BackupRow) -> tuple[int, list[object]]:
    match row:
        case BackupHead():
            return HEAD, [row.identity, row.made_at, row.last_offset]
        case BackupSetting():
            return SETTING, [row.name, row.value]
        case BackupScope():
            return SCOPE, [row.scope, row.number]
        case BackupId():
            return ID, [row.persistence_id, row.scope, row.last, row.forgotten]
        case Stored():
            return EVENT, [row.persistence_id, row.seq, row.offset, row.written_at, *_packed(row.record)]
        case BackupSnapshot():
            return SNAPSHOT, [row.persistence_id, row.seq, *_packed(row.record)]
        case BackupValue():
            return VALUE, [row.persistence_id, row.revision, *_packed(row.record)]
        case _ as never:
            assert_never(never)


def _packed(record: Record) -> list[object]:
    return [record.name, record.version, record.command_id, record.payload]


def _key_of(row: BackupRow) -> object:
    match row:
        case BackupHead():
            return 0
        case BackupSetting():
            return row.name
        case BackupScope():
            return row.scope
        case BackupId() | BackupValue():
            return row.persistence_id
        case Stored():
            return row.offset
        case BackupSnapshot():
            return row.persistence_id, row.seq
        case _ as never:
            assert_never(never)


def _row_of(kind: int, fields: list[Any]) -> BackupRow:
    """Return the row of a frame. Raises ValueError or TypeError where its fields are none of its kind."""
    if kind == HEAD:
        identity, made_at, last_offset = fields
        check_text("identity", identity, 32)
        check_number("last_offset", last_offset, 0)
        return BackupHead(identity, _time(made_at), last_offset)
    if kind == SETTING:
        name, value = fields
        check_setting(name, value)
        return BackupSetting(name, value)
    if kind == SCOPE:
        scope, number = fields
        check_persistence_id(scope)
        check_number("number", number, 1)
        if number == NUMBER_MAX:
            raise ValueError(f"number must be below {NUMBER_MAX}, since restoring raises it")
        return BackupScope(scope, number)
    if kind == ID:
        persistence_id, scope, last, forgotten = fields
        check_persistence_id(persistence_id)
        check_persistence_id(scope)
        check_number("forgotten", forgotten, 0)
        check_number("last", last, forgotten)
        return BackupId(persistence_id, scope, last, forgotten)
    persistence_id, number, *rest = fields
    check_persistence_id(persistence_id)
    check_number("number", number, 1)
    if kind == EVENT:
        offset, written_at, *record = rest
        check_number("offset", offset, 1)
        return Stored(persistence_id, number, offset, _record_of(record), _time(written_at))
    make = BackupSnapshot if kind == SNAPSHOT else BackupValue
    return make(persistence_id, number, _record_of(rest))


def _record_of(fields: list[Any]) -> Record:
    name, version, command_id, payload = fields
    record = Record(name, version, payload, command_id)
    check_record(record)
    return record


def _time(value: object) -> float:
    if not isinstance(value, float) or not math.isfinite(value):
        raise ValueError(f"a time must be a finite float, got {value!r}")
    return value
