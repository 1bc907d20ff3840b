"""Days, times, spans, paths and addresses: what comes back, and what lies outside of the bounds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path, PurePosixPath
from typing import Any
from zoneinfo import ZoneInfo

import msgpack
import pytest

from casty.errors import DecodeError, EncodeError
from casty.schema.names import message
from casty.wire.codec.codec import Codec
from casty.wire.envelope import encode_head


@message("moments.Trip")
@dataclass(frozen=True)
class Trip:
    day: date
    at: time
    lasts: timedelta | None
    ways: list[PurePosixPath | IPv4Address | str]
    by_host: dict[IPv6Address, date | datetime]


def head(name: str) -> bytes:
    return encode_head("/x", 1, name, has_tail=False, has_headers=False, pack=msgpack.packb)


def test_moments_paths_and_addresses_travel_in_fields_containers_and_unions(codec: Codec) -> None:
    ways: list[Any] = [PurePosixPath("/a/b"), IPv4Address("10.0.0.1"), "text"]
    hosts: dict[IPv6Address, Any] = {
        IPv6Address("::1"): date(2026, 1, 1),
        IPv6Address("fe80::1%eth0"): datetime(1, 1, 1, tzinfo=UTC),
    }
    trip = Trip(date(2026, 12, 1), time(5, 30), timedelta(hours=-1), ways, hosts)
    assert codec.decode_envelope(codec.frame_envelope("/x", 1, trip)[5:]).message == trip


@pytest.mark.parametrize(
    ("value", "raw"),
    [
        (date.min, "0001-01-01"),
        (date.max, "9999-12-31"),
        (time.min, "00:00:00"),
        (time.max, "23:59:59.999999"),
        (time(12, tzinfo=timezone(timedelta(hours=-23, minutes=-59, seconds=-59))), "12:00:00-23:59:59"),
        (timedelta.min, [-999_999_999, 0, 0]),
        (timedelta.max, [999_999_999, 86_399, 999_999]),
        (timedelta(microseconds=-1), [-1, 86_399, 999_999]),
        (PurePosixPath("."), "."),
        (PurePosixPath("//a/../b"), "//a/../b"),
        (PurePosixPath("x" * 4_096), "x" * 4_096),
        (IPv4Address("255.255.255.255"), bytes([255] * 4)),
        (IPv6Address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%" + "e" * 64), bytes([255] * 16) + b"e" * 64),
        (IPv6Address("::ffff:1.2.3.4"), bytes(10) + b"\xff\xff\1\2\3\4"),
    ],
)
def test_the_ends_of_each_type_travel(codec: Codec, value: Any, raw: Any) -> None:
    body = codec.frame_envelope("/x", 1, value, type(value))[5:]
    back = codec.decode_envelope(body)
    assert back.message == value and type(back.message) is type(value)
    assert body == head(back.name) + msgpack.packb(raw)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("date", "0000-12-31"),
        ("date", "10000-01-01"),
        ("date", "2026-02-30"),
        ("date", "20260101"),
        ("date", "2026-W01-1"),
        ("date", "\u0662026-01-01"),
        ("date", "2026-01-01" * 10_000),
        ("date", 5),
        ("time", "24:00:00"),
        ("time", "12:00"),
        ("time", "12:00:00Z"),
        ("time", "12:00:00+24:00"),
        ("time", "12:00:00,5"),
        ("time", None),
        ("timedelta", [1_000_000_000, 0, 0]),
        ("timedelta", [-1_000_000_000, 0, 0]),
        ("timedelta", [2**63, 0, 0]),
        ("timedelta", [0, -1, 0]),
        ("timedelta", [0, 86_400, 0]),
        ("timedelta", [0, 0, 1_000_000]),
        ("timedelta", [0.5, 0, 0]),
        ("timedelta", [0, True, 0]),
        ("timedelta", [0, 0]),
        ("timedelta", [0] * 8),
        ("path", "a//b"),
        ("path", "a/"),
        ("path", ""),
        ("path", "x" * 4_097),
        ("path", b"x"),
        ("ipv4", b"\1\2\3"),
        ("ipv4", b"1.2.3.4"),
        ("ipv4", "1.2.3.4"),
        ("ipv4", 5),
        ("ipv6", bytes(15)),
        ("ipv6", bytes(16) + b"%"),
        ("ipv6", bytes(16) + b"a/8"),
        ("ipv6", bytes(16) + b"\xff"),
        ("ipv6", bytes(16) + b"e" * 65),
        ("ipv6", bytes(100_000)),
    ],
)
def test_what_is_outside_of_a_type_or_not_in_its_one_form_is_refused(codec: Codec, name: str, raw: object) -> None:
    with pytest.raises(DecodeError, match=f"^{name}: "):
        codec.decode_envelope(head(name) + msgpack.packb(raw))


@pytest.mark.parametrize(
    ("value", "form", "told"),
    [
        (datetime(2026, 1, 1, tzinfo=UTC), date, "expected date, got datetime"),
        (time(1, tzinfo=ZoneInfo("Europe/Berlin")), time, "depends on the day: give it a fixed one"),
        (datetime(1, 1, 1, tzinfo=timezone(timedelta(microseconds=1))), datetime, "must be whole seconds"),
        (Path("x"), PurePosixPath, "expected PurePosixPath, got Posix"),
        (PurePosixPath("x" * 4_097), PurePosixPath, "at most 4096 characters, got 4097"),
        (PurePosixPath("\ud800"), PurePosixPath, "text with a lone surrogate"),
        (IPv6Address("::1%" + "e" * 125), IPv6Address, "a zone of at most 64 bytes, got 125"),
    ],
)
def test_what_cannot_be_written_says_why(codec: Codec, value: Any, form: Any, told: str) -> None:
    with pytest.raises(EncodeError, match=told):
        codec.frame_envelope("/x", 1, [value], list[form])


def test_the_second_of_two_hours_of_one_name_comes_back_as_that_moment(codec: Codec) -> None:
    first = datetime(2026, 10, 25, 2, 30, tzinfo=ZoneInfo("Europe/Berlin"))
    second = first.replace(fold=1)
    body = codec.frame_envelope("/x", 1, [first, second], list[datetime])[5:]
    back: Any = codec.decode_envelope(body).message
    assert [moment.timestamp() for moment in back] == [first.timestamp(), second.timestamp()]
    assert back[1] - back[0] == timedelta(hours=1)
