"""The file of a backup: each cut and each changed byte is found, and told by its place."""

from __future__ import annotations

import re
from io import BytesIO
from struct import pack, unpack_from
from zlib import crc32

import msgpack
import pytest

from casty.errors import ConfigError
from casty.journal import Record, Stored
from casty.persistence.backup_format import (
    BODY_BYTES_MAX,
    MAGIC,
    BackupHead,
    BackupId,
    BackupReader,
    BackupRow,
    BackupScope,
    BackupSetting,
    BackupSnapshot,
    BackupValue,
    BackupWriter,
    DamagedBackup,
)

RECORD = Record("a.B", 1, b"\x80", "c")
ROWS: list[BackupRow] = [
    BackupHead("identity", 7.5, 9),
    BackupSetting("name", ""),
    BackupScope("a", 3),
    BackupId("a", "a", 4, 2),
    BackupId("b", "a", 0, 0),
    Stored("a", 3, 5, RECORD, 1.5),
    Stored("a", 4, 9, RECORD, 2.5),
    BackupSnapshot("a", 2, RECORD),
    BackupValue("b", 7, RECORD),
]


def written(rows: list[BackupRow]) -> bytes:
    stream = BytesIO()
    writer = BackupWriter(stream)
    for row in rows:
        writer.write(row)
    writer.finish()
    return stream.getvalue()


def read(data: bytes) -> list[BackupRow]:
    return list(BackupReader(BytesIO(data), "x.bak"))


def frames(data: bytes) -> list[bytes]:
    """Return the beginning of a file, and its frames."""
    parts, place = [data[:10]], 10
    while place < len(data):
        end = place + 9 + unpack_from("!BI", data, place)[1]
        parts.append(data[place:end])
        place = end
    return parts


def by_hand(*bodies: tuple[int, object]) -> bytes:
    """Return a file whose sums are right, whatever is in it."""
    data = checked = MAGIC + b"\0\1"
    for kind, fields in bodies:
        body = fields if isinstance(fields, bytes) else msgpack.packb(fields)
        frame = pack("!BI", kind, len(body)) + body
        checked += frame
        data += frame + pack("!I", crc32(checked))
    return data


def test_rows_are_read_as_they_were_written_and_the_bytes_stay_the_same() -> None:
    data = written(ROWS)
    assert read(data) == ROWS
    assert data[:10] == b"castyBAK\0\1"
    head = pack("!BI", 1, 20) + msgpack.packb(["identity", 7.5, 9])
    assert data[10:].startswith(head + pack("!I", crc32(data[:10] + head)))


def test_a_file_cut_at_any_byte_is_found_with_the_beginning_of_its_last_frame() -> None:
    data = written(ROWS)
    starts = [0]
    for part in frames(data)[:-1]:
        starts.append(starts[-1] + len(part))
    for end in range(len(data)):
        with pytest.raises(DamagedBackup, match="the file ends") as told:
            read(data[:end])
        found = re.search(r"x.bak is damaged or cut at byte (\d+): .* the store is as it was", str(told.value))
        assert found and int(found[1]) == max(start for start in starts if start <= end)


def test_each_changed_bit_is_found() -> None:
    data = written(ROWS)
    for place in range(len(data)):
        for bit in (1, 128):
            changed = bytearray(data)
            changed[place] ^= bit
            with pytest.raises(DamagedBackup if place >= 10 else ConfigError):
                read(bytes(changed))


def test_frames_lost_doubled_or_exchanged_and_bytes_behind_the_end_are_found() -> None:
    parts = frames(written(ROWS))
    for number in range(1, len(parts) - 1):
        lost, doubled, exchanged = [*parts], [*parts], [*parts]
        del lost[number]
        doubled.insert(number, parts[number])
        exchanged[number : number + 2] = exchanged[number : number + 2][::-1]
        for changed in (lost, doubled, exchanged):
            with pytest.raises(DamagedBackup):
                read(b"".join(changed))
    with pytest.raises(DamagedBackup, match="the backup is complete, and more bytes follow"):
        read(b"".join(parts) + b"\0")


def test_another_version_and_another_file_are_told() -> None:
    with pytest.raises(ConfigError, match=r"x\.bak is a backup of version 2, and this casty reads version 1: restore"):
        read(b"castyBAK\0\2" + b"whatever comes then")
    with pytest.raises(ConfigError, match=r"x\.bak is no backup of a journal: name a file made by"):
        read(b"SQLite format 3\0")


HEAD: tuple[int, object] = (1, ["i", 1.0, 5])
IDS: tuple[int, object] = (4, ["a", "a", 2, 0])
EVENTS: list[tuple[int, object]] = [(5, ["a", seq, seq, 1.0, "n", 1, "", b""]) for seq in (1, 2)]
END: tuple[int, object] = (8, [1, 0, 0, 1, 2, 0, 0])


def test_a_file_made_by_hand_is_read_where_its_rows_are_right() -> None:
    assert len(read(by_hand(HEAD, IDS, *EVENTS, END))) == 4


WRONG: list[tuple[list[tuple[int, object]], str]] = [
    ([HEAD, IDS, EVENTS[0], END], "rows by kind are"),
    ([HEAD, IDS, EVENTS[0], (8, [1, 0, 0, 1, 1, 0, 0])], "with 2 events"),
    ([(8, [0] * 7)], "rows by kind are"),
    ([IDS], "a frame of kind 4 behind one of kind 0"),
    ([HEAD, HEAD], "a frame of kind 1 behind one of kind 1"),
    ([HEAD, IDS, IDS], "'a' behind 'a'"),
    ([HEAD, IDS, (2, ["n", "v"])], "a frame of kind 2 behind one of kind 4"),
    ([HEAD, IDS, *reversed(EVENTS)], "1 behind 2"),
    ([HEAD, (5, ["a", 1, 6, 1.0, "n", 1, "", b""])], "offset 6 behind the last one, 5"),
    ([HEAD, (5, ["a", 1, 1, float("nan"), "n", 1, "", b""])], "a time must be a finite float"),
    ([HEAD, (5, ["a", 1, 1, 1.0, "n", 1, "", "text"])], "Record.payload must be"),
    ([HEAD, (4, ["a", "a", 1, 2])], "last must be an integer of at least 2"),
    ([HEAD, (3, ["a", 2**63 - 1])], "number must be below"),
    ([HEAD, (3, ["a"])], "not enough values"),
    ([(1, {"a": 1})], "it is no list"),
    ([(1, b"\xc1")], "it is no msgpack"),
    ([(9, None)], "a frame of kind 9"),
]


@pytest.mark.parametrize(("bodies", "why"), WRONG)
def test_rows_that_are_none_are_refused_though_their_sums_are_right(bodies: list[tuple[int, object]], why: str) -> None:
    with pytest.raises(DamagedBackup, match=re.escape(why)):
        read(by_hand(*bodies))


def test_a_size_beyond_all_rows_is_refused_before_its_bytes_are_read() -> None:
    class Watched(BytesIO):
        def read(self, size: int | None = -1, /) -> bytes:
            assert size is not None and 0 <= size <= 10
            return super().read(size)

    data = MAGIC + b"\0\1" + pack("!BI", 5, BODY_BYTES_MAX + 1) + b"x" * 100
    with pytest.raises(DamagedBackup, match="a frame of kind 5 and"):
        next(BackupReader(Watched(data), "x.bak"))
