"""Events and states as records: names, versions, upcasters, and what is refused."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, make_dataclass
from datetime import UTC, datetime
from typing import Any

import msgpack
import pytest
from helpers.carts import Added, Cart, CheckedOut

from casty import ActorRef, ConfigError, UnsupportedTypeError, WireType, event, message, upcast
from casty.errors import DecodeError, EncodeError
from casty.journal import Record
from casty.schema.events import check_chain, event_class
from casty.schema.names import wire_name
from casty.wire.storing.stored_codec import StoredCodec


@event("stored.Sold", version=3)
@dataclass(frozen=True)
class Sold:
    item: str
    count: int
    at: datetime


@upcast("stored.Sold", 1)
def count(fields: dict[str, Any]) -> dict[str, Any]:
    return {**fields, "count": 1}


@upcast("stored.Sold", 2)
def moment(fields: dict[str, Any]) -> dict[str, Any]:
    fields["at"] = [0, 0]
    return fields


@event("stored.Loose", tolerant=True)
@dataclass(frozen=True)
class Loose:
    item: str
    count: int = 1


@event("stored.Both")
@message("stored.wire.Both", tolerant=True)
@dataclass(frozen=True)
class Both:
    item: str


@dataclass(frozen=True)
class Unnamed:
    item: str


@event("stored.Variants")
@dataclass(frozen=True)
class Variants:
    one: Unnamed | Both


def record(name: str, version: int, fields: object) -> Record:
    return Record(name, version, msgpack.packb(fields))


def test_an_event_is_stored_by_name_version_and_field() -> None:
    stored = StoredCodec().encode(Added("tea", 2))
    assert (stored.name, stored.version) == ("carts.Added", 1)
    assert msgpack.unpackb(stored.payload) == {"sku": "tea", "count": 2}
    assert StoredCodec().decode(stored) == Added("tea", 2)
    assert StoredCodec().decode(StoredCodec().encode(CheckedOut())) == CheckedOut()


def test_earlier_versions_pass_their_upcasters_in_turn() -> None:
    codec, at = StoredCodec(), datetime(1970, 1, 1, tzinfo=UTC)
    assert codec.decode(record("stored.Sold", 1, {"item": "tea"})) == Sold("tea", 1, at)
    assert codec.decode(record("stored.Sold", 2, {"item": "tea", "count": 5})) == Sold("tea", 5, at)
    assert codec.decode(codec.encode(Sold("tea", 5, at))) == Sold("tea", 5, at)


def test_records_of_several_versions_and_of_a_renewed_class_are_read_in_any_order() -> None:
    def declared(*fields: str) -> type:
        return event("stored.Renewed")(make_dataclass("Renewed", [(name, int) for name in fields], frozen=True))

    codec = StoredCodec()
    now = datetime(1970, 1, 1, tzinfo=UTC)
    present, past = codec.encode(Sold("tea", 2, now)), Record("stored.Sold", 1, msgpack.packb({"item": "tea"}))
    for _ in range(2):
        assert codec.decode(present) == Sold("tea", 2, now)
        assert codec.decode(past) == Sold("tea", 1, now)
    with pytest.raises(DecodeError, match="a newer release has written it"):
        codec.decode(Record("stored.Sold", 4, present.payload))

    before = declared("count")
    stored = Record("stored.Renewed", 1, msgpack.packb({"count": 1}))
    assert type(codec.decode(stored)) is before
    renewed = declared("count")
    assert type(codec.decode(stored)) is renewed
    with pytest.raises(DecodeError, match="if the class has changed since"):
        codec.decode(Record("stored.Renewed", 1, msgpack.packb({"number": 1})))


def test_a_tolerant_class_leaves_out_foreign_fields_and_fills_missing_ones() -> None:
    codec = StoredCodec()
    assert codec.decode(record("stored.Loose", 1, {"item": "tea", "colour": "red"})) == Loose("tea")
    with pytest.raises(DecodeError, match="unknown field 'colour'"):
        codec.decode(record("carts.Added", 1, {"sku": "tea", "count": 1, "colour": "red"}))


def test_tolerance_and_name_of_a_message_are_none_of_the_event() -> None:
    assert (wire_name(Both), StoredCodec().encode(Both("tea")).name) == ("stored.wire.Both", "stored.Both")
    with pytest.raises(DecodeError, match="unknown field"):
        StoredCodec().decode(record("stored.Both", 1, {"item": "tea", "colour": "red"}))


@pytest.mark.parametrize(
    ("stored", "text"),
    [
        (record("stored.Gone", 1, {}), "no class is declared as 'stored.Gone' here: import its module, or declare it"),
        (record("carts.Added", 2, {}), "'carts.Added' was stored as version 2, and .* has version 1: a newer release"),
        (Record("carts.Added", 1, b"\xc1"), "its bytes are no msgpack"),
        (record("carts.Added", 1, [1]), "expected carts.Added, got list"),
        (
            record("carts.Added", 1, {"sku": "tea"}),
            r"lacks the field 'count'; it was stored as version 1: if .*, give it version=2 and write "
            r'@casty\.upcast\("carts\.Added", 1\)',
        ),
        (record("stored.Sold", 1, ["tea"]), "'stored.Sold' of version 1: expected a map of fields, got list"),
    ],
)
def test_what_cannot_be_read_says_what_to_do(stored: Record, text: str) -> None:
    with pytest.raises(DecodeError, match=text):
        StoredCodec().decode(stored)


def test_a_state_is_stored_by_its_type() -> None:
    codec = StoredCodec()
    assert codec.decode_state(Cart, codec.encode_state(Cart, Cart({"tea": 1}))) == Cart({"tea": 1})
    plain = codec.encode_state(dict[str, int], {"tea": 1})
    assert (plain.name, codec.decode_state(dict[str, int], plain)) == ("dict[str,int]", {"tea": 1})
    assert codec.decode_state(Unnamed, codec.encode_state(Unnamed, Unnamed("tea"))) == Unnamed("tea")


def test_taught_types_are_stored_too() -> None:
    taught = WireType(complex, "stored.complex", travels_as=tuple[float, float], **hooks())
    codec = StoredCodec([taught])
    state = codec.encode_state(dict[str, complex], {"a": 1j})
    assert codec.decode_state(dict[str, complex], state) == {"a": 1j}


def hooks() -> dict[str, Callable[..., Any]]:
    return {"unstructure": lambda one: (one.real, one.imag), "structure": lambda sent, _: complex(*sent)}


def test_only_declared_classes_are_events() -> None:
    with pytest.raises(EncodeError, match=r'Unnamed has no stored name: write @casty.event\("..."\) above its class'):
        StoredCodec().encode(Unnamed("tea"))
    with pytest.raises(UnsupportedTypeError, match="told from them by its name"):
        StoredCodec().encode(Variants(Both("tea")))


def test_a_class_that_cannot_be_stored_is_refused_where_it_is_declared() -> None:
    with pytest.raises(UnsupportedTypeError, match=r"WithRef.asker: a reference cannot be stored.*: store an id"):
        event("stored.WithRef")(make_dataclass("WithRef", [("asker", ActorRef[int])], frozen=True))
    with pytest.raises(UnsupportedTypeError, match="is no plain dataclass where @casty.event sees it"):
        event("stored.Plain")(type("Plain", (), {}))
    with pytest.raises(UnsupportedTypeError, match="declare it with"):
        event("stored.Mutable")(make_dataclass("Mutable", [("item", str)]))
    with pytest.raises(TypeError, match="needs a name"):
        event(Unnamed)
    with pytest.raises(ValueError, match="version must be an integer of at least 1, got 0"):
        event("stored.Zero", version=0)
    with pytest.raises(ValueError, match=r"stored name 'carts.Added' is taken by helpers.carts.Added"):
        event("carts.Added")(make_dataclass("Other", [("item", str)], frozen=True))
    assert event_class("stored.WithRef") is None


def test_upcasters_are_checked_where_they_are_declared() -> None:
    async def later(fields: dict[str, Any]) -> dict[str, Any]:
        return fields

    with pytest.raises(TypeError, match="stands above a plain function"):
        upcast("stored.Late", 1)(later)
    with pytest.raises(ValueError, match="does it already; remove one"):
        upcast("stored.Sold", 1)(moment)
    with pytest.raises(ValueError, match="version must be an integer of at least 1"):
        upcast("stored.Sold", 0)


def test_a_gap_and_a_way_beyond_the_class_are_told() -> None:
    check_chain(Sold)
    gap = event("stored.Gap", version=3)(make_dataclass("Gap", [("item", str)], frozen=True))
    upcast("stored.Gap", 1)(count)
    with pytest.raises(ConfigError, match=r"nothing leads from version 2 to 3: write @casty.upcast\('stored.Gap', 2\)"):
        check_chain(gap)
    beyond = event("stored.Beyond")(make_dataclass("Beyond", [("item", str)], frozen=True))
    upcast("stored.Beyond", 1)(count)
    with pytest.raises(ConfigError, match=r"there is an upcast from version 1.*write version=2 at the class"):
        check_chain(beyond)


def test_an_upcaster_that_fails_is_named() -> None:
    event("stored.Bad", version=2)(bad := make_dataclass("Bad", [("item", str)], frozen=True))
    upcast("stored.Bad", 1)(lambda fields: {**fields, "item": fields["name"]})
    with pytest.raises(DecodeError, match="the upcast of 'stored.Bad' from version 1 raised KeyError: 'name'"):
        StoredCodec().decode(record("stored.Bad", 1, {"item": "tea"}))
    assert event_class("stored.Bad") is bad


@pytest.mark.parametrize("count", [1, 2**70])
def test_no_room_of_a_large_record_is_kept(count: int) -> None:
    codec = StoredCodec()
    codec.encode(Loose("tea"))
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        with pytest.raises(EncodeError):
            codec.encode(Loose("t" * 20_000_000, count))
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert after - before < 1_000_000
