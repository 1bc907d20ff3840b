"""Rows of a journal as PostgreSQL takes them: checked, with a checksum, and whole columns packed for one statement.

psycopg writes a list item by item. Columns are packed here instead, in PostgreSQL's own binary form of an array.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from struct import Struct, pack
from typing import Final
from zlib import crc32

from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

from casty.errors import JournalDamaged
from casty.journal import Record

ADVICE: Final = "Restore it from a backup, or erase this id"
_LENGTH: Final = Struct("!i").pack
_INT4: Final = Struct("!ii").pack
_INT8: Final = Struct("!iq").pack


@dataclass(slots=True)  # a frozen one takes twice the time to make
class PackedRow:
    """Record with its number and its checksum."""

    seq: int
    name: bytes
    version: int
    payload: bytes
    crc: int
    command_id: bytes


def pack_record(persistence_id: str, seq: int, record: Record) -> PackedRow:
    """Return a checked record as a row."""
    name, command_id = record.name.encode(), record.command_id.encode()
    crc = checksum(persistence_id.encode(), seq, name, record.version, record.payload, command_id)
    return PackedRow(seq, name, record.version, record.payload, crc, command_id)


def checksum(persistence_id: bytes, seq: int, name: bytes, version: int, payload: bytes, command_id: bytes) -> int:
    """Return the CRC-32 of a row: of all its meaning, with its place, so a moved row is found too."""
    head = b"%d %d %d %d %b%b%b" % (seq, version, len(persistence_id), len(name), persistence_id, name, command_id)
    return crc32(payload, crc32(head))


def unpack_record(persistence_id: str, seq: int, fields: tuple[str, int, bytes, int, str]) -> Record:
    """Return the record of the fields name, version, payload, crc, command_id. JournalDamaged where they differ."""
    name, version, payload, crc, command_id = fields
    found = checksum(persistence_id.encode(), seq, name.encode(), version, payload, command_id.encode())
    if found != crc:
        raise JournalDamaged(
            f"the row {seq} of {persistence_id!r} is damaged: its checksum is {found:08x}, stored was {crc:08x}. "
            f"{ADVICE}",
            persistence_id,
            seq,
        )
    return Record(name, version, payload, command_id)


class PackedArray(bytes):
    """Array in PostgreSQL's binary form; a class for each type of its items."""


class TextArray(PackedArray):
    """Packed ``text[]``."""


class BytesArray(PackedArray):
    """Packed ``bytea[]``."""


class Int4Array(PackedArray):
    """Packed ``integer[]``."""


class Int8Array(PackedArray):
    """Packed ``bigint[]``."""


class BoolArray(PackedArray):
    """Packed ``boolean[]``."""


def texts(items: Sequence[bytes]) -> TextArray:
    """Return a packed ``text[]`` of UTF-8."""
    return TextArray(_array(25, len(items)) + _sized(items))


def byte_strings(items: Sequence[bytes]) -> BytesArray:
    """Return a packed ``bytea[]``."""
    return BytesArray(_array(17, len(items)) + _sized(items))


def int4s(items: Sequence[int]) -> Int4Array:
    """Return a packed ``integer[]``."""
    return Int4Array(_array(23, len(items)) + b"".join([_INT4(4, item) for item in items]))


def int8s(items: Sequence[int]) -> Int8Array:
    """Return a packed ``bigint[]``."""
    return Int8Array(_array(20, len(items)) + b"".join([_INT8(8, item) for item in items]))


def booleans(items: Sequence[bool]) -> BoolArray:
    """Return a packed ``boolean[]``."""
    return BoolArray(_array(16, len(items)) + b"".join(b"\0\0\0\1\1" if item else b"\0\0\0\1\0" for item in items))


def _array(oid: int, length: int) -> bytes:
    """Return the head: one dimension, no NULL, type of the items, length, first index 1."""
    return pack("!iiIii", 1, 0, oid, length, 1) if length else pack("!iiI", 0, 0, oid)


def _sized(items: Sequence[bytes]) -> bytes:
    return b"".join([part for item in items for part in (_LENGTH(len(item)), item)])


class _PackedDumper(Dumper):
    format = Format.BINARY

    def dump(self, obj: PackedArray) -> bytes:
        """Return the array: it is packed."""
        return obj


def register_arrays(adapters: AdaptersMap) -> None:
    """Teach a connection the packed arrays."""
    for kind, oid in ((TextArray, 1009), (BytesArray, 1001), (Int4Array, 1007), (Int8Array, 1016), (BoolArray, 1000)):
        adapters.register_dumper(kind, type(f"{kind.__name__}Dumper", (_PackedDumper,), {"oid": oid}))
