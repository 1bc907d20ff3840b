"""What is charged for a message of who is no member, measured against what it takes up."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import dataclass, field, make_dataclass

import msgpack
import pytest

import casty
from casty.config import TransportLimits
from casty.transport.limits.charges import STRANGER_VALUES_MAX, kept
from casty.wire.codec.codec import Codec

COPIES = 20


def record(name: str, *fields: object) -> type:
    """Return a declared class that may grow, with these fields."""
    made = make_dataclass(name, fields, frozen=True)  # type: ignore[call-overload]  # fields of one kind each
    made.__module__ = __name__
    return casty.message(f"tests.charges.{name}", tolerant=True)(made)


Lists = record("Lists", *[(f"l{n}", list[int], field(default_factory=list)) for n in range(12)])
Nested = record("Nested", *[(f"n{n}", Lists, field(default_factory=Lists)) for n in range(12)])
Wide = record("Wide", *[(f"w{n}", int | None, None) for n in range(30)])
NestedRows = record("NestedRows", ("rows", list[Nested]))  # type: ignore[valid-type]  # made above
WideRows = record("WideRows", ("rows", list[Wide]))  # type: ignore[valid-type]  # made above
Table = record("Table", ("names", dict[str, int]), ("rows", list[Lists]))  # type: ignore[valid-type]  # made above


@casty.message("tests.charges.Hidden")
@dataclass(frozen=True)
class Hidden:
    number: int
    first: set[int] = field(default_factory=set, init=False)
    second: set[int] = field(default_factory=set, init=False)


@casty.message("tests.charges.HiddenRows")
@dataclass(frozen=True)
class HiddenRows:
    rows: list[Hidden]


GIVEN = {f"w{n}": n + 1_000 for n in range(30)}
ROOM = STRANGER_VALUES_MAX - 10


def measured(name: str, fields: object) -> tuple[float, int]:
    """Return how many bytes a message takes up, and how many it is charged."""
    codec = Codec(export_ref=lambda ref, _: ref.address.place, import_ref=lambda *_: None, limits=TransportLimits())  # type: ignore[arg-type,return-value]  # no refs here
    head = msgpack.packb(["/x", 0, f"tests.charges.{name}"])
    packed = len(head).to_bytes(2, "big") + head + msgpack.packb(fields)
    codec.decode_envelope(packed)
    gc.collect()
    tracemalloc.start()
    waiting = [codec.decode_envelope(packed).message for _ in range(COPIES)]
    taken = tracemalloc.get_traced_memory()[0] / len(waiting)
    tracemalloc.stop()
    entry = codec.entry_of(f"tests.charges.{name}")
    assert entry is not None
    return taken, kept(packed, entry.defaults_max)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Nested", {}),
        ("NestedRows", {"rows": [{}] * ROOM}),
        ("NestedRows", {"rows": [{"n0": {}, "n1": {}}] * (ROOM // 5)}),
        ("NestedRows", {"rows": [{"unknown": 0}] * (ROOM // 3)}),
        ("HiddenRows", {"rows": [{"number": 1_000}] * (ROOM // 3)}),
        ("WideRows", {"rows": [{}] * ROOM}),
        ("Table", {"names": {f"name-{n}": n for n in range(300)}, "rows": [{}] * (ROOM - 600)}),
    ],
)
def test_what_classes_make_by_themselves_is_charged(name: str, fields: object) -> None:
    taken, charged = measured(name, fields)
    assert taken <= charged


@pytest.mark.parametrize(
    ("name", "fields"), [("Wide", GIVEN), ("WideRows", {"rows": [GIVEN] * 15}), ("Wide", {}), ("Nested", {})]
)
def test_a_message_is_charged_no_more_than_ten_times_what_it_takes_up(name: str, fields: object) -> None:
    taken, charged = measured(name, fields)
    assert charged <= 10 * taken
