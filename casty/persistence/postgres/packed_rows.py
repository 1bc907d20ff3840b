"""Rows of a journal as PostgreSQL takes them: checked, with a checksum, and whole columns packed for one statement.

psycopg writes a list item by item. Columns are packed here instead, in PostgreSQL's own binary form of an array.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct, pack
from typing import Final
from zlib import crc32

from psycopg.adapt import AdaptersMap, Dumper
from psycopg.pq import Format

from casty.errors import JournalDamaged
from casty.journal import Record, Stored, StoredHistory, StoredSnapshot

ADVICE: Final = "Restore it from a backup, or erase this id"
_EVENT: Final = Struct("!qqdiqiii")
"""Head of an event in a page: number, position, time, version, checksum, lengths of name, command id and payload."""
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
        raise JournalDamaged(*_wrong_checksum(persistence_id, seq, found, crc))
    return Record(name, version, payload, command_id)


def unpack_events(persistence_id: str, after: int, packed: bytes) -> Iterator[Stored]:
    """Return the events of a page behind a number, as the statement for reading packs them.

    JournalDamaged where one is missing or differs.
    """
    encoded, place, end = persistence_id.encode(), 0, len(packed)
    while place < end:
        seq, position, written_at, version, crc, name_size, command_size, payload_size = _EVENT.unpack_from(
            packed, place
        )
        after += 1
        if seq != after:
            raise JournalDamaged(
                f"the event {after} of {persistence_id!r} is missing, and there is {seq}. {ADVICE}",
                *(persistence_id, after),
            )
        name_at = place + _EVENT.size
        command_at = name_at + name_size
        payload_at = command_at + command_size
        place = payload_at + payload_size
        name, command_id = packed[name_at:command_at], packed[command_at:payload_at]
        payload = packed[payload_at:place]
        found = checksum(encoded, seq, name, version, payload, command_id)
        if found != crc:
            raise JournalDamaged(*_wrong_checksum(persistence_id, seq, found, crc))
        yield Stored(
            persistence_id, seq, position, Record(name.decode(), version, payload, command_id.decode()), written_at
        )


def unpack_history(
    persistence_id: str, newest: int | None, snapshots: bytes | None, last: int, packed: bytes | None
) -> StoredHistory | None:
    """Return a history as the statement for many packs it; None where anything in it is missing or differs.

    Parameters:
        persistence_id: Of the rows.
        newest: Number of its newest snapshot, None without one.
        snapshots: Its snapshots, the newest first; None where they are too large.
        last: Number of its last event.
        packed: Events behind the newest snapshot, as many as one look has.
    """
    kept = _unpack_snapshots(persistence_id.encode(), snapshots or b"")
    if kept is None or (kept[0].seq if kept else None) != newest:
        return None
    after = newest or 0
    columns = _unpack_columns(persistence_id.encode(), after, packed or b"")
    if columns is None:
        return None
    end = after + len(columns[0])
    return None if end == after < last else StoredHistory(kept, *columns, end >= last)


def _unpack_snapshots(encoded: bytes, packed: bytes) -> list[StoredSnapshot] | None:
    found: list[StoredSnapshot] = []
    place, end = 0, len(packed)
    while place < end:
        seq, _, _, version, crc, name_size, command_size, payload_size = _EVENT.unpack_from(packed, place)
        name_at = place + _EVENT.size
        command_at = name_at + name_size
        payload_at = command_at + command_size
        place = payload_at + payload_size
        name, command_id, payload = packed[name_at:command_at], packed[command_at:payload_at], packed[payload_at:place]
        if checksum(encoded, seq, name, version, payload, command_id) != crc:
            return None
        found.append(StoredSnapshot(seq, Record(name.decode(), version, payload, command_id.decode())))
    return found


def _unpack_columns(encoded: bytes, after: int, packed: bytes) -> tuple[list[str], list[int], list[bytes]] | None:
    """Return names, versions and payloads of the events behind a number: without an object for each."""
    names: list[str] = []
    versions: list[int] = []
    payloads: list[bytes] = []
    place, end = 0, len(packed)
    while place < end:
        seq, _, _, version, crc, name_size, command_size, payload_size = _EVENT.unpack_from(packed, place)
        after += 1
        name_at = place + _EVENT.size
        command_at = name_at + name_size
        payload_at = command_at + command_size
        place = payload_at + payload_size
        name, command_id, payload = packed[name_at:command_at], packed[command_at:payload_at], packed[payload_at:place]
        if seq != after or checksum(encoded, seq, name, version, payload, command_id) != crc:
            return None
        names.append(name.decode())
        versions.append(version)
        payloads.append(payload)
    return names, versions, payloads


def _wrong_checksum(persistence_id: str, seq: int, found: int, stored: int) -> tuple[str, str, int]:
    text = (
        f"the row {seq} of {persistence_id!r} is damaged: its checksum is {found:08x}, stored was {stored:08x}. "
        f"{ADVICE}"
    )
    return text, persistence_id, seq


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
