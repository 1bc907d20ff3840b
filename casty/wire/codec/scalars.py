"""Hooks of single values: numbers, text and what travels as one, enum members, literals and references."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import Enum
from functools import partial
from ipaddress import IPv4Address, IPv6Address
from operator import attrgetter
from pathlib import PurePosixPath
from typing import Any, Never, cast
from uuid import UUID

from casty.address import HOST_LENGTH_MAX, INCARNATION_MAX, PATH_LENGTH_MAX, SYSTEM_LENGTH_MAX, WireRef
from casty.config.validation import PORT_MAX
from casty.refs import ActorRef
from casty.wire.codec.hook import Hook, HookPair, TypeMismatch
from casty.wire.limits import ARRAY

ExportRef = Callable[[ActorRef[Never], object], WireRef]
ImportRef = Callable[[WireRef, object], ActorRef[Never]]

PLAIN = (type(None), bool, int, float, str, bytes)
"""Classes whose values msgpack tells apart."""
PATH_TEXT_MAX = 4_096
ZONE_BYTES_MAX = 64
"""Of the zone that an IPv6 address may name."""
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)
_SECOND = timedelta(seconds=1)


def plain_hooks(origin: type) -> HookPair:
    """Return the hooks of None, bool, int, str or bytes: exactly the same kind on both sides."""
    label = "None" if origin is type(None) else origin.__name__

    def keep(value: Any) -> Any:
        if type(value) is not origin:
            raise TypeMismatch(label, value)
        return value

    return HookPair(keep, keep, kept=origin, is_hash_safe=True)


def encode_float(value: Any) -> Any:
    """Return a float; an int is sent as the float that it equals."""
    if type(value) not in (float, int):
        raise TypeMismatch("float", value)
    try:
        return float(value)
    except OverflowError:
        raise TypeMismatch("float", value, "an int too large for a float") from None


def sent_hooks(origin: type, kind: type, write: Hook, read: Hook, *, is_exact: bool = False) -> HookPair:
    """Return the hooks of a class whose values travel as a ``kind`` that ``write`` makes of them.

    What a hook cannot convert it refuses by a ValueError or an ArithmeticError. Of what is read only the form that
    would be written is taken; ``is_exact`` says that ``read`` takes no other one.
    """
    label = origin.__name__

    def encode(value: Any) -> Any:
        if type(value) is not origin:
            raise TypeMismatch(label, value)
        try:
            return write(value)
        except ValueError as error:
            raise TypeMismatch(label, value, str(error)) from None

    def decode(raw: Any) -> Any:
        if type(raw) is not kind:
            raise TypeMismatch(f"{label} as {kind.__name__}", raw)
        try:
            value = read(raw)
            if is_exact or write(value) == raw:
                return value
        except (ValueError, ArithmeticError):
            pass
        raise TypeMismatch(label, raw, f"no {label}, or not in its one form")

    return HookPair(encode, decode, levels=int(kind is ARRAY))


def _write_datetime(value: datetime) -> list[int]:
    # The local clock instead of UTC, so that the first and last hours of the calendar fit too.
    offset = value.utcoffset()
    if offset is None:
        raise ValueError("a naive datetime names no moment: give it a time zone")
    if offset.microseconds:
        raise ValueError("a UTC offset must be whole seconds")
    return [(value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND, offset // _SECOND]


def _read_datetime(raw: list[Any]) -> datetime:
    micros, offset = _integers(raw)
    return (_EPOCH + timedelta(microseconds=micros)).replace(tzinfo=timezone(timedelta(seconds=offset)))


def _integers(raw: list[Any], count: int = 2) -> list[int]:
    if len(raw) != count or set(map(type, raw)) != {int}:
        raise ValueError(f"expected {count} integers")
    return raw


def _write_time(value: time) -> str:
    if value.tzinfo is not None and value.utcoffset() is None:
        raise ValueError("the offset of its zone depends on the day: give it a fixed one")
    return value.isoformat()


def _write_timedelta(value: timedelta) -> list[int]:
    return [value.days, value.seconds, value.microseconds]


def _read_timedelta(raw: list[Any]) -> timedelta:
    return timedelta(*_integers(raw, 3))


def _write_path(value: PurePosixPath) -> str:
    if len(text := str(value)) > PATH_TEXT_MAX:
        raise ValueError(f"expected a path of at most {PATH_TEXT_MAX} characters, got {len(text)}")
    return text


def _write_ipv6(value: IPv6Address) -> bytes:
    zone = (value.scope_id or "").encode()
    if len(zone) > ZONE_BYTES_MAX:
        raise ValueError(f"expected a zone of at most {ZONE_BYTES_MAX} bytes, got {len(zone)}")
    return value.packed + zone


def _read_ipv6(raw: bytes) -> IPv6Address:
    # Bytes, since the text of an address that holds one of version 4 is another one on Python 3.13.
    address = IPv6Address(raw[:16])
    return IPv6Address(f"{address}%{raw[16 : 16 + ZONE_BYTES_MAX].decode()}") if len(raw) > 16 else address


def enum_hooks(label: str, origin: type[Enum]) -> HookPair:
    """Return the hooks of an enum, whose members travel by name."""
    members: dict[str, Enum] = dict(origin.__members__)

    def encode(value: Any) -> Any:
        if not isinstance(value, origin):
            raise TypeMismatch(label, value)
        return value._name_  # a class may give its members another ``name``

    def decode(raw: Any) -> Any:
        if type(raw) is not str:
            raise TypeMismatch(label, raw)
        if raw not in members:
            raise TypeMismatch(label, raw, f"no member of {label} has this name")
        return members[raw]

    return HookPair(encode, decode, is_hash_safe=True)


def literal_hooks(label: str, inner: HookPair, values: tuple[object, ...]) -> HookPair:
    """Return the hooks of a literal: one of the values of a plain type or of an enum."""
    known = frozenset(values)

    def check(value: Any) -> None:
        if value not in known:
            raise TypeMismatch(label, value, f"expected {label}, got another value")

    def encode(value: Any) -> Any:
        raw = inner.encode(value)
        check(value)
        return raw

    def decode(raw: Any) -> Any:
        value = inner.decode(raw)
        check(value)
        return value

    return HookPair(encode, decode, is_hash_safe=True)


def ref_hooks(label: str, message_type: object, export_ref: ExportRef, import_ref: ImportRef) -> HookPair:
    """Return the hooks of a reference to an actor: ``[system, path, host, port, incarnation, uid]``."""

    def encode(value: Any) -> Any:
        if not isinstance(value, ActorRef):
            raise TypeMismatch(label, value)
        return export_ref(cast("ActorRef[Never]", value), message_type)

    def decode(raw: Any) -> Any:
        return import_ref(_place_of(label, raw), message_type)

    return HookPair(encode, decode, levels=1)


def _place_of(label: str, raw: Any) -> WireRef:
    if type(raw) is not ARRAY or len(raw) != 6:
        raise TypeMismatch("ActorRef as 6 items", raw)
    system, path, host, port, incarnation, uid = raw
    named = type(system) is str and type(path) is str and path[:1] == "/"
    if not named or len(system) > SYSTEM_LENGTH_MAX or len(path) > PATH_LENGTH_MAX:
        raise TypeMismatch(label, raw, "ill-formed address of an actor")
    if type(incarnation) is not int or type(uid) is not int or not 0 <= incarnation | uid <= INCARNATION_MAX:
        raise TypeMismatch(label, raw, "ill-formed run of an actor")
    has_node = type(host) is str and len(host) <= HOST_LENGTH_MAX and type(port) is int and 0 < port <= PORT_MAX
    if not has_node and not (host is None and port is None):
        raise TypeMismatch(label, raw, "ill-formed node of an actor")
    return system, path, host, port, incarnation, uid


SCALAR_HOOKS: dict[type, HookPair] = {
    **{origin: plain_hooks(origin) for origin in PLAIN},
    float: HookPair(encode_float, plain_hooks(float).decode, kept=float),
    Decimal: sent_hooks(Decimal, str, str, Decimal),
    date: sent_hooks(date, str, date.isoformat, date.fromisoformat),
    time: sent_hooks(time, str, _write_time, time.fromisoformat),
    timedelta: sent_hooks(timedelta, ARRAY, _write_timedelta, _read_timedelta),
    datetime: sent_hooks(datetime, ARRAY, _write_datetime, _read_datetime, is_exact=True),
    UUID: sent_hooks(UUID, bytes, attrgetter("bytes"), partial(UUID, None), is_exact=True),
    PurePosixPath: sent_hooks(PurePosixPath, str, _write_path, PurePosixPath),
    IPv4Address: sent_hooks(IPv4Address, bytes, attrgetter("packed"), IPv4Address, is_exact=True),
    IPv6Address: sent_hooks(IPv6Address, bytes, _write_ipv6, _read_ipv6),
}
"""The hooks of builtin types that travel as one value."""
