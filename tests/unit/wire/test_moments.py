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
        (date.min, -719_162),
        (date.max, 2_932_896),
        (time.min, [0, None]),
        (time.max, [86_399_999_999, None]),
        (time(12, tzinfo=timezone(timedelta(hours=-23, minutes=-59, seconds=-59))), [43_200_000_000, -86_399]),
        (timedelta.min, [-999_999_999, 0]),
        (timedelta.max, [999_999_999, 86_399_999_999]),
        (timedelta(microseconds=-1), [-1, 86_399_999_999]),
        (PurePosixPath("."), "."),
        (PurePosixPath("//a/../b"), "//a/../b"),
        (PurePosixPath("x" * 4_096), "x" * 4_096),
        (IPv4Address("255.255.255.255"), "255.255.255.255"),
        (IPv6Address("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%" + "e" * 88), None),
    ],
)
def test_the_ends_of_each_type_travel(codec: Codec, value: Any, raw: Any) -> None:
    body = codec.frame_envelope("/x", 1, value, type(value))[5:]
    back = codec.decode_envelope(body)
    assert back.message == value and type(back.message) is type(value)
    if raw is not None:
        assert body == head(back.name) + msgpack.packb(raw)


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("date", -719_163),
        ("date", 2_932_897),
        ("date", 2**63),
        ("date", True),
        ("date", "2026-01-01"),
        ("time", [86_400_000_000, None]),
        ("time", [-1, None]),
        ("time", [0, 86_400]),
        ("time", [0, 2**63]),
        ("time", [0]),
        ("time", [0, True]),
        ("timedelta", [1_000_000_000, 0]),
        ("timedelta", [-1_000_000_000, 0]),
        ("timedelta", [2**63, 0]),
        ("timedelta", [0, -1]),
        ("timedelta", [0, 86_400_000_000]),
        ("timedelta", [0.5, 0]),
        ("path", "a//b"),
        ("path", "a/"),
        ("path", ""),
        ("path", "x" * 4_097),
        ("path", b"x"),
        ("ipv4", "1.2.3"),
        ("ipv4", "01.2.3.4"),
        ("ipv4", 5),
        ("ipv4", "1" * 100_000),
        ("ipv6", "::0"),
        ("ipv6", "::FFFF"),
        ("ipv6", "10.0.0.1"),
        ("ipv6", "::1%" + "e" * 125),
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
        (time(1, tzinfo=timezone(timedelta(microseconds=1))), time, "must be whole seconds"),
        (Path("x"), PurePosixPath, "expected PurePosixPath, got Posix"),
        (PurePosixPath("x" * 4_097), PurePosixPath, "at most 4096 characters, got 4097"),
        (PurePosixPath("\ud800"), PurePosixPath, "UnicodeEncodeError"),
        (IPv6Address("::1%" + "e" * 125), IPv6Address, "at most 128 characters"),
    ],
)
def test_what_cannot_be_written_says_why(codec: Codec, value: Any, form: Any, told: str) -> None:
    with pytest.raises(EncodeError, match=told):
        codec.frame_envelope("/x", 1, [value], list[form])
