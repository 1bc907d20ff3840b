"""Shapes of single values: numbers, text, moments, enum members, literals and references."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import Enum
from typing import Any, Never, cast
from uuid import UUID

from casty.address import HOST_LENGTH_MAX, INCARNATION_MAX, PATH_LENGTH_MAX, SYSTEM_LENGTH_MAX, WireRef
from casty.config.validation import PORT_MAX
from casty.refs import ActorRef
from casty.wire.codec.shapes import TypeMismatch, WireType
from casty.wire.limits import ARRAY

ExportRef = Callable[[ActorRef[Never], object], WireRef]
ImportRef = Callable[[WireRef, object], ActorRef[Never]]

INT_MIN, INT_MAX = -(2**63), 2**64 - 1
_EPOCH = datetime(1970, 1, 1)
_MICROSECOND = timedelta(microseconds=1)


class PlainWireType(WireType):
    """None, bool, str and bytes: exactly the same kind on both sides."""

    __slots__ = ("origin",)

    def __init__(self, label: str, origin: type) -> None:
        super().__init__(label)
        self.origin = origin

    def kept_kind(self) -> type | None:
        return self.origin

    def is_bare(self) -> bool:
        return True

    def is_hash_safe(self) -> bool:
        return True

    def encode(self, value: Any) -> Any:
        if type(value) is not self.origin:
            raise TypeMismatch(self.label, value)
        return value

    def decode(self, raw: Any) -> Any:
        if type(raw) is not self.origin:
            raise TypeMismatch(self.label, raw)
        return raw


class IntWireType(PlainWireType):
    """An int of up to 64 bits; a bool is none."""

    __slots__ = ()

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        if type(value) is int and not INT_MIN <= value <= INT_MAX:
            return "an integer beyond 64 bits: send it as str or bytes"
        return super().explain_mismatch(value, raw=raw)


class TextWireType(PlainWireType):
    """A str of whole characters."""

    __slots__ = ()

    def explain_mismatch(self, value: Any, *, raw: bool) -> str | None:
        if type(value) is str:
            try:
                value.encode()
            except UnicodeEncodeError:
                return "text with a lone surrogate is not valid Unicode"
        return super().explain_mismatch(value, raw=raw)


class FloatWireType(WireType):
    """A float; an int is sent as the float that it equals."""

    __slots__ = ()

    def kept_kind(self) -> type | None:
        return float

    def is_bare(self) -> bool:
        return True

    def encode(self, value: Any) -> Any:
        if type(value) is float:
            return value
        if type(value) is int:
            try:
                return float(value)
            except OverflowError:
                raise TypeMismatch(self.label, value, "an int too large for a float") from None
        raise TypeMismatch(self.label, value)

    def decode(self, raw: Any) -> Any:
        if type(raw) is not float:
            raise TypeMismatch(self.label, raw)
        return raw


class DecimalWireType(WireType):
    """A Decimal, as its text."""

    __slots__ = ()

    def encode(self, value: Any) -> Any:
        if type(value) is not Decimal:
            raise TypeMismatch(self.label, value)
        return str(value)

    def decode(self, raw: Any) -> Any:
        if type(raw) is not str:
            raise TypeMismatch(self.label, raw)
        try:
            value = Decimal(raw)
        except InvalidOperation:
            raise TypeMismatch(self.label, raw, "text is not a Decimal") from None
        if str(value) != raw:
            raise TypeMismatch(self.label, raw, "text is not the plain form of a Decimal")
        return value


class UuidWireType(WireType):
    """A UUID, as its 16 bytes."""

    __slots__ = ()

    def encode(self, value: Any) -> Any:
        if type(value) is not UUID:
            raise TypeMismatch(self.label, value)
        return value.bytes

    def decode(self, raw: Any) -> Any:
        if type(raw) is not bytes or len(raw) != 16:
            raise TypeMismatch("the 16 bytes of a UUID", raw)
        return UUID(bytes=raw)


class DatetimeWireType(WireType):
    """An aware datetime: microseconds from 1970-01-01 on its own clock, and its UTC offset in seconds.

    The local clock instead of UTC, so that the first and last hours of the calendar fit too.
    """

    __slots__ = ()

    def encode(self, value: Any) -> Any:
        if type(value) is not datetime:
            raise TypeMismatch(self.label, value)
        offset = value.utcoffset()
        if offset is None:
            raise TypeMismatch(self.label, value, "a naive datetime names no moment: give it a time zone")
        if offset.microseconds:
            raise TypeMismatch(self.label, value, "a UTC offset must be whole seconds")
        return [(value.replace(tzinfo=None) - _EPOCH) // _MICROSECOND, offset // timedelta(seconds=1)]

    def decode(self, raw: Any) -> Any:
        if type(raw) is not ARRAY or len(raw) != 2 or type(raw[0]) is not int or type(raw[1]) is not int:
            raise TypeMismatch("datetime as [microseconds, offset]", raw)
        try:
            zone = timezone(timedelta(seconds=raw[1]))
            return (_EPOCH + timedelta(microseconds=raw[0])).replace(tzinfo=zone)
        except (ValueError, OverflowError):
            raise TypeMismatch(self.label, raw, "a moment outside of the calendar") from None


class EnumWireType(WireType):
    """An enum member, by name."""

    __slots__ = ("members", "origin")

    def __init__(self, label: str, origin: type[Enum]) -> None:
        super().__init__(label)
        self.origin = origin
        self.members: dict[str, Enum] = dict(origin.__members__)

    def is_hash_safe(self) -> bool:
        return True

    def encode(self, value: Any) -> Any:
        if not isinstance(value, self.origin):
            raise TypeMismatch(self.label, value)
        return value.name

    def decode(self, raw: Any) -> Any:
        if type(raw) is not str:
            raise TypeMismatch(self.label, raw)
        try:
            return self.members[raw]
        except KeyError:
            raise TypeMismatch(self.label, raw, f"no member of {self.label} has this name") from None


class LiteralWireType(WireType):
    """A literal: one of the values of a plain shape or an enum's."""

    __slots__ = ("inner", "values")

    def __init__(self, label: str, inner: WireType, values: tuple[object, ...]) -> None:
        super().__init__(label)
        self.inner = inner
        self.values = frozenset(values)

    def is_bare(self) -> bool:
        return self.inner.is_bare()

    def is_hash_safe(self) -> bool:
        return True

    def encode(self, value: Any) -> Any:
        raw = self.inner.encode(value)
        if value not in self.values:
            raise TypeMismatch(self.label, value, f"expected {self.label}, got another value")
        return raw

    def decode(self, raw: Any) -> Any:
        value = self.inner.decode(raw)
        if value not in self.values:
            raise TypeMismatch(self.label, raw, f"expected {self.label}, got another value")
        return value


class RefWireType(WireType):
    """A reference to an actor: ``[system, path, host, port, incarnation, uid]``."""

    __slots__ = ("export_ref", "import_ref", "message_type")

    def __init__(self, label: str, message_type: object, export_ref: ExportRef, import_ref: ImportRef) -> None:
        super().__init__(label)
        self.message_type = message_type
        self.export_ref = export_ref
        self.import_ref = import_ref

    def encode(self, value: Any) -> Any:
        if not isinstance(value, ActorRef):
            raise TypeMismatch(self.label, value)
        return self.export_ref(cast("ActorRef[Never]", value), self.message_type)

    def decode(self, raw: Any) -> Any:
        if type(raw) is not ARRAY or len(raw) != 6:
            raise TypeMismatch("ActorRef as 6 items", raw)
        system, path, host, port, incarnation, uid = raw
        named = type(system) is str and type(path) is str and path[:1] == "/"
        if not named or len(system) > SYSTEM_LENGTH_MAX or len(path) > PATH_LENGTH_MAX:
            raise TypeMismatch(self.label, raw, "ill-formed address of an actor")
        if type(incarnation) is not int or type(uid) is not int or not 0 <= incarnation | uid <= INCARNATION_MAX:
            raise TypeMismatch(self.label, raw, "ill-formed run of an actor")
        has_node = type(host) is str and len(host) <= HOST_LENGTH_MAX and type(port) is int and 0 < port <= PORT_MAX
        if not has_node and not (host is None and port is None):
            raise TypeMismatch(self.label, raw, "ill-formed node of an actor")
        return self.import_ref((system, path, host, port, incarnation, uid), self.message_type)


def scalar_shape(origin: type) -> WireType:
    """Return the shape of a builtin type that travels as one value."""
    if origin is float:
        return FloatWireType("float")
    if origin is Decimal:
        return DecimalWireType("Decimal")
    if origin is datetime:
        return DatetimeWireType("datetime")
    if origin is UUID:
        return UuidWireType("UUID")
    if origin is int:
        return IntWireType("int", origin)
    if origin is str:
        return TextWireType("str", origin)
    return PlainWireType("None" if origin is type(None) else origin.__name__, origin)
