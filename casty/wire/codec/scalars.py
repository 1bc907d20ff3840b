"""Hooks of single values: numbers, text and what travels as one, enum members, literals and references."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import Enum
from ipaddress import IPv4Address, IPv6Address
from pathlib import PurePosixPath
from typing import Any, Never, cast
from uuid import UUID

from casty.address import HOST_LENGTH_MAX, INCARNATION_MAX, PATH_LENGTH_MAX, SYSTEM_LENGTH_MAX, WireRef
from casty.config.validation import PORT_MAX
from casty.refs import ActorRef
from casty.wire.codec.hook import HookPair, TypeMismatch
from casty.wire.limits import ARRAY

ExportRef = Callable[[ActorRef[Never], object], WireRef]
ImportRef = Callable[[WireRef, object], ActorRef[Never]]

INT_MIN, INT_MAX = -(2**63), 2**64 - 1
_EPOCH = datetime(1970, 1, 1)
_FIRST_DAY = date(1970, 1, 1).toordinal()
_MICROSECOND = timedelta(microseconds=1)
DAY = timedelta(days=1) // _MICROSECOND
"""Microseconds."""
PATH_TEXT_MAX = 4_096
IPV4_TEXT_MAX, IPV6_TEXT_MAX = 15, 128
"""Characters; an IPv6 address may name its zone."""


def plain_hooks(origin: type) -> HookPair:
    """Return the hooks of None, bool, int, str or bytes: exactly the same kind on both sides."""
    label = "None" if origin is type(None) else origin.__name__

    def keep(value: Any, _: object = None) -> Any:
        if type(value) is not origin:
            raise TypeMismatch(label, value)
        return value

    return HookPair(keep, keep)


def encode_checked_int(value: Any) -> Any:
    """Refuse what msgpack cannot write as an int."""
    if type(value) is not int:
        raise TypeMismatch("int", value)
    if not INT_MIN <= value <= INT_MAX:
        raise TypeMismatch("int", value, "an integer beyond 64 bits: send it as str or bytes")
    return value


def encode_checked_text(value: Any) -> Any:
    """Refuse what msgpack cannot write as a str."""
    if type(value) is not str:
        raise TypeMismatch("str", value)
    try:
        value.encode()
    except UnicodeEncodeError:
        raise TypeMismatch("str", value, "text with a lone surrogate is not valid Unicode") from None
    return value


def encode_float(value: Any) -> Any:
    """Return a float; an int is sent as the float that it equals."""
    if type(value) is float:
        return value
    if type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise TypeMismatch("float", value, "an int too large for a float") from None
    raise TypeMismatch("float", value)


def decode_float(raw: Any, _: object = None) -> Any:
    """Return a float as it is."""
    if type(raw) is not float:
        raise TypeMismatch("float", raw)
    return raw


def encode_decimal(value: Any) -> Any:
    """Return the text of a Decimal."""
    if type(value) is not Decimal:
        raise TypeMismatch("Decimal", value)
    return str(value)


def decode_decimal(raw: Any, _: object = None) -> Any:
    """Return the Decimal of a text in its plain form."""
    if type(raw) is not str:
        raise TypeMismatch("Decimal", raw)
    try:
        value = Decimal(raw)
    except InvalidOperation:
        raise TypeMismatch("Decimal", raw, "text is not a Decimal") from None
    if str(value) != raw:
        raise TypeMismatch("Decimal", raw, "text is not the plain form of a Decimal")
    return value


def encode_uuid(value: Any) -> Any:
    """Return the 16 bytes of a UUID."""
    if type(value) is not UUID:
        raise TypeMismatch("UUID", value)
    return value.bytes


def decode_uuid(raw: Any, _: object = None) -> Any:
    """Return the UUID of its 16 bytes."""
    if type(raw) is not bytes or len(raw) != 16:
        raise TypeMismatch("the 16 bytes of a UUID", raw)
    return UUID(bytes=raw)


def encode_datetime(value: Any) -> Any:
    """Return microseconds from 1970-01-01 on the own clock of an aware datetime, and its UTC offset in seconds.

    The local clock instead of UTC, so that the first and last hours of the calendar fit too.
    """
    if type(value) is not datetime:
        raise TypeMismatch("datetime", value)
    offset = value.utcoffset()
    if offset is None:
        raise TypeMismatch("datetime", value, "a naive datetime names no moment: give it a time zone")
    return [(value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND, _whole_seconds("datetime", offset)]


def decode_datetime(raw: Any, _: object = None) -> Any:
    """Return the aware datetime, in a zone of a fixed offset."""
    if type(raw) is not ARRAY or len(raw) != 2 or type(raw[0]) is not int or type(raw[1]) is not int:
        raise TypeMismatch("datetime as [microseconds, offset]", raw)
    try:
        zone = timezone(timedelta(seconds=raw[1]))
        return (_EPOCH + timedelta(microseconds=raw[0])).replace(tzinfo=zone)
    except (ValueError, OverflowError):
        raise TypeMismatch("datetime", raw, "a moment outside of the calendar") from None


def encode_date(value: Any) -> Any:
    """Return days from 1970-01-01; a datetime is no date."""
    if type(value) is not date:
        raise TypeMismatch("date", value)
    return value.toordinal() - _FIRST_DAY


def decode_date(raw: Any, _: object = None) -> Any:
    """Return the date, from 0001-01-01 to 9999-12-31."""
    if type(raw) is not int:
        raise TypeMismatch("date", raw)
    try:
        return date.fromordinal(raw + _FIRST_DAY)
    except (ValueError, OverflowError):
        raise TypeMismatch("date", raw, "a day outside of the calendar") from None


def encode_time(value: Any) -> Any:
    """Return microseconds of the day on the own clock, and the UTC offset in seconds, or None of a naive time."""
    if type(value) is not time:
        raise TypeMismatch("time", value)
    offset = value.utcoffset()
    if offset is None and value.tzinfo is not None:
        raise TypeMismatch("time", value, "the offset of its zone depends on the day: give it a fixed one")
    since = timedelta(0, value.second, value.microsecond, 0, value.minute, value.hour)
    return [since // _MICROSECOND, None if offset is None else _whole_seconds("time", offset)]


def decode_time(raw: Any, _: object = None) -> Any:
    """Return the time, naive or in a zone of a fixed offset."""
    if type(raw) is not ARRAY or len(raw) != 2 or type(raw[0]) is not int or type(raw[1]) not in (int, type(None)):
        raise TypeMismatch("time as [microseconds, offset]", raw)
    if not 0 <= raw[0] < DAY:
        raise TypeMismatch("time", raw, "a time outside of the day")
    try:
        zone = None if raw[1] is None else timezone(timedelta(seconds=raw[1]))
    except (ValueError, OverflowError):
        raise TypeMismatch("time", raw, "a UTC offset of a day or more") from None
    return (_EPOCH + timedelta(microseconds=raw[0])).time().replace(tzinfo=zone)


def encode_timedelta(value: Any) -> Any:
    """Return whole days, and the microseconds of the last one, which are never negative."""
    if type(value) is not timedelta:
        raise TypeMismatch("timedelta", value)
    return [value.days, value.seconds * 1_000_000 + value.microseconds]


def decode_timedelta(raw: Any, _: object = None) -> Any:
    """Return the span, of up to 999,999,999 days."""
    if type(raw) is not ARRAY or len(raw) != 2 or type(raw[0]) is not int or type(raw[1]) is not int:
        raise TypeMismatch("timedelta as [days, microseconds]", raw)
    if not 0 <= raw[1] < DAY:
        raise TypeMismatch("timedelta", raw, "microseconds that are no part of a day")
    try:
        return timedelta(raw[0], 0, raw[1])
    except OverflowError:
        raise TypeMismatch("timedelta", raw, "more days than a timedelta has") from None


def _whole_seconds(label: str, offset: timedelta) -> int:
    if offset.microseconds:
        raise TypeMismatch(label, offset, "a UTC offset must be whole seconds")
    return offset // timedelta(seconds=1)


def text_hooks(origin: type[Any], length_max: int) -> HookPair:
    """Return the hooks of a class whose values travel as their text, in its plain form and of bounded length."""
    label = origin.__name__

    def encode(value: Any) -> Any:
        if type(value) is not origin:
            raise TypeMismatch(label, value)
        text = str(value)
        if len(text) > length_max:
            raise TypeMismatch(label, value, f"expected a text of at most {length_max} characters, got {len(text)}")
        return text

    def decode(raw: Any, _: object = None) -> Any:
        if type(raw) is not str:
            raise TypeMismatch(label, raw)
        return _of_text(origin, raw, length_max)

    return HookPair(encode, decode)


def _of_text(origin: type[Any], raw: str, length_max: int) -> Any:
    label = origin.__name__
    if len(raw) > length_max:
        raise TypeMismatch(label, raw, f"expected a text of at most {length_max} characters, got {len(raw)}")
    try:
        value = origin(raw)
    except ValueError:
        raise TypeMismatch(label, raw, f"text is no {label}") from None
    if str(value) != raw:
        raise TypeMismatch(label, raw, f"text is not the plain form of a {label}")
    return value


def enum_hooks(label: str, origin: type[Enum]) -> HookPair:
    """Return the hooks of an enum, whose members travel by name."""
    members: dict[str, Enum] = dict(origin.__members__)

    def encode(value: Any) -> Any:
        if not isinstance(value, origin):
            raise TypeMismatch(label, value)
        return value.name

    def decode(raw: Any, _: object = None) -> Any:
        if type(raw) is not str:
            raise TypeMismatch(label, raw)
        member = members.get(raw)
        if member is None:
            raise TypeMismatch(label, raw, f"no member of {label} has this name")
        return member

    return HookPair(encode, decode)


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

    def decode(raw: Any, _: object = None) -> Any:
        value = inner.decode(raw)
        check(value)
        return value

    return HookPair(encode, decode)


def ref_hooks(label: str, message_type: object, export_ref: ExportRef, import_ref: ImportRef) -> HookPair:
    """Return the hooks of a reference to an actor: ``[system, path, host, port, incarnation, uid]``."""

    def encode(value: Any) -> Any:
        if not isinstance(value, ActorRef):
            raise TypeMismatch(label, value)
        return export_ref(cast("ActorRef[Never]", value), message_type)

    def decode(raw: Any, _: object = None) -> Any:
        return import_ref(_place_of(label, raw), message_type)

    return HookPair(encode, decode)


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
    **{origin: plain_hooks(origin) for origin in (type(None), bool, int, str, bytes)},
    float: HookPair(encode_float, decode_float),
    Decimal: HookPair(encode_decimal, decode_decimal),
    UUID: HookPair(encode_uuid, decode_uuid),
    datetime: HookPair(encode_datetime, decode_datetime),
    date: HookPair(encode_date, decode_date),
    time: HookPair(encode_time, decode_time),
    timedelta: HookPair(encode_timedelta, decode_timedelta),
    PurePosixPath: text_hooks(PurePosixPath, PATH_TEXT_MAX),
    IPv4Address: text_hooks(IPv4Address, IPV4_TEXT_MAX),
    IPv6Address: text_hooks(IPv6Address, IPV6_TEXT_MAX),
}
"""The hooks of builtin types that travel as one value."""

CHECKED_HOOKS: dict[type, HookPair] = SCALAR_HOOKS | {
    int: HookPair(encode_checked_int, SCALAR_HOOKS[int].decode),
    str: HookPair(encode_checked_text, SCALAR_HOOKS[str].decode),
}
"""The same for finding what msgpack has refused."""
