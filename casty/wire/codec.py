"""The codec: messages to whole frames, bodies of frames to messages.

One pass each way: the shape of the message makes plain values of it, and msgpack writes them
together with the envelope. Which classes can be decoded is decided by this process alone, by
registering them or by declaring them with ``casty.message``; a name from a peer is looked up in
those tables and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import msgpack

from casty.config import TransportLimits
from casty.errors import CastyError, DecodeError, EncodeError, ProtocolError, UnknownTypeError, UnsupportedTypeError
from casty.naming import declared, wire_name
from casty.refs import ActorRef
from casty.schema import SCALARS, Form, Kind, check, describe, is_generic, is_untyped, parse, strip
from casty.wire.bounds import ARRAY, is_deeper_than, scan
from casty.wire.compiler import Compiler, is_recursive
from casty.wire.envelope import NOTICE_CODES, Envelope, Notice, NoticeCode, Wait
from casty.wire.frame import HEADER, FrameKind, frame
from casty.wire.names import canonical_name
from casty.wire.scalars import ExportRef, ImportRef
from casty.wire.shapes import Mismatch, Shape, find_fault

ENVELOPE_NESTING = 1
"""The array around name and payload does not count as nesting of the message."""
TYPE_NAME_LENGTH_MAX = 1_024
"""Names of composed types are longer than those of classes."""

ENVELOPE = FrameKind.ENVELOPE
_header = HEADER.pack
_unpackb = msgpack.unpackb  # by default it refuses keys of a map that are neither str nor bytes
_new: Callable[..., Envelope] = vars(tuple)["__new__"]
"""Makes an Envelope in half the time of its class, which calls this from a function of Python's: 6 % of decoding."""
_FOREIGN = (ValueError, OverflowError, TypeError, RecursionError)
"""What msgpack raises for values it cannot write and for bytes it cannot read."""


@dataclass(slots=True, eq=False)
class _Entry:
    """One type of message: its name, its shape, and whether its values nest without end."""

    name: str
    form: Form
    shape: Shape
    is_recursive: bool
    encode: Callable[[Any], Any] = field(init=False)
    decode: Callable[[Any], Any] = field(init=False)

    def __post_init__(self) -> None:
        self.encode, self.decode = self.shape.hooks


class Codec:
    """Encodes and decodes the messages of one node. Not for use by several threads at a time.

    ``export_ref`` gives the place under which a ref is known to other nodes, ``import_ref``
    makes a ref of such a place; both are told the type form M of the field's ``ActorRef[M]``.

    The type of a whole message is found by its class. A reply can be any value, such as
    ``{"a": 1}``; then ``as_type``, the M of the ref it is sent to, says what it is, and its
    canonical name goes on the wire. The other end knows that name since it sent the ref itself.
    """

    def __init__(self, *, export_ref: ExportRef, import_ref: ImportRef, limits: TransportLimits | None = None) -> None:
        self._limits = limits or TransportLimits()
        self._compiler = Compiler(name_of=self.name_of, export_ref=export_ref, import_ref=import_ref)
        self._elements_max = self._limits.elements_max
        self._pack: Callable[[object], bytes] = msgpack.Packer().pack
        self._own_names: dict[type, str] = {}
        self._by_name: dict[str, _Entry] = {}
        self._by_form: dict[object, _Entry] = {}
        self._by_class: dict[type, _Entry] = {}
        self._by_target: dict[object, dict[type, _Entry]] = {}
        self._scalars: dict[type, _Entry] = {}
        for origin in SCALARS:
            self._scalars[origin] = self._add(origin)

    def register(self, type_form: object, *, name: str | None = None) -> None:
        """Make a type known as a message, with all that it contains and all replies it asks for.

        Registering again changes nothing. ``name`` gives one class a wire name in this codec. Raises
        UnsupportedTypeError when something cannot travel, ValueError when a name is taken.
        """
        if name is not None:
            self._give_name(type_form, name)
        if strip(type_form) in self._by_target:
            return
        check(type_form)
        waiting = [type_form]
        while waiting:
            current = waiting.pop()
            key = strip(current)
            if key in self._by_target:
                continue
            form = parse(key)
            variants = form.arguments if form.kind is Kind.union else (key,)
            target: dict[type, _Entry] = {}
            for variant in variants:
                entry = self._add(variant)
                target[entry.form.origin] = entry
            self._by_target[key] = target
            waiting += self._compiler.promised
            self._compiler.promised.clear()

    def name_of(self, cls: type) -> str:
        """Return the wire name of a class in this codec."""
        return self._own_names.get(cls) or wire_name(cls)

    def names_of(self, type_form: object) -> tuple[str, ...]:
        """Return the names of all types that a message of this type can be, sorted; registers them."""
        self.register(type_form)
        return tuple(sorted({entry.name for entry in self._by_target[strip(type_form)].values()}))

    def frame_control(self, message: object) -> bytes:
        """Return the whole frame of a message between two nodes. Raises EncodeError."""
        entry = self._by_class.get(type(message)) or self._entry_for(message, None)
        return self._frame(FrameKind.CONTROL, [entry.name], entry, message)

    def frame_envelope(
        self, path: str, uid: int, message: object, as_type: object = None, wait: Wait | None = None
    ) -> bytes:
        """Return the whole frame of a message to an actor.

        ``as_type`` is the message type of the ref, where it is known; it decides for values that are
        no dataclass. ``wait`` is there for an ask. Raises EncodeError, which names the field, or UnsupportedTypeError.
        """
        entry = self._by_class.get(type(message)) or self._entry_for(message, as_type)
        return self._frame(ENVELOPE, [path, uid, entry.name], entry, message, wait)

    def frame_notice(self, notice: Notice) -> bytes:
        """Return the whole frame that answers an envelope which could not be delivered."""
        return frame(FrameKind.NOTICE, msgpack.packb([notice.code, notice.path, notice.uid, notice.name]))

    def decode_control(self, body: bytes | memoryview) -> object:
        """Return the message in a CONTROL frame's body. Raises only ProtocolError and below."""
        name, payload = self._unpack(body, 2)
        return self._decode(self._entry_named(name), payload)

    def decode_envelope(self, body: bytes | memoryview) -> Envelope:
        """Return what is in an ENVELOPE frame's body. Raises only ProtocolError and below.

        A DecodeError (and so an UnknownTypeError) tells for whom the message was, by its ``path``,
        ``uid`` and ``name``, once those could be read.
        """
        if len(body) >= self._elements_max:
            self._scan(body)
        try:
            parts: Any = _unpackb(body)
        except _FOREIGN as error:
            raise _invalid(error) from None
        if type(parts) is not ARRAY or not 4 <= len(parts) <= 5:
            raise DecodeError("expected an array of 4 items, or of 5")
        wait = parts.pop() if len(parts) == 5 else None
        path, uid, name, payload = parts
        if type(path) is not str or type(uid) is not int or uid < 0:
            raise _ill_typed_target(path, uid)
        entry: _Entry | None = None
        try:
            if wait is not None:
                wait = _wait_of(wait)
            entry = (self._by_name.get(name) if type(name) is str else None) or self._entry_named(name)
            message = entry.decode(payload) if not entry.is_recursive else self._decode(entry, payload)
            return _new(Envelope, (path, uid, message, entry.name, wait))
        except MemoryError:
            raise
        except Exception as error:  # as in _decode, which would be a call more for each message
            fault = error if entry is None else self._undecodable(entry, payload, error)
            if isinstance(fault, DecodeError):
                fault.path, fault.uid, fault.name = path, uid, name if type(name) is str else ""
            raise fault from None

    def decode_notice(self, body: bytes | memoryview) -> Notice:
        """Return the notice in a NOTICE frame's body. Raises only ProtocolError and below."""
        code, path, uid, name = self._unpack(body, 4)
        if type(path) is not str or type(uid) is not int or uid < 0:
            raise _ill_typed_target(path, uid)
        if type(code) is not str or code not in NOTICE_CODES or type(name) is not str:
            raise DecodeError("notice: unknown code or ill-typed name")
        known: NoticeCode = code
        return Notice(known, path, uid, name)

    def _give_name(self, type_form: object, name: str) -> None:
        if not isinstance(type_form, type):
            raise TypeError(f"only a class can be given a wire name, got {describe(type_form)}")
        if self.name_of(type_form) == name:
            return
        if name in self._by_name or type_form in self._by_class:
            raise ValueError(f"wire name {name!r} or the class {type_form.__qualname__} is registered already")
        self._own_names[type_form] = name

    def _add(self, variant: object) -> _Entry:
        key = strip(variant)
        known = self._by_form.get(key)
        if known is not None:
            return known
        name = canonical_name(variant, self.name_of)
        same = self._by_name.get(name)
        form = parse(key)
        if len(name) > TYPE_NAME_LENGTH_MAX:
            raise UnsupportedTypeError(f"{describe(variant)} has too long a name for a message: wrap it in a dataclass")
        if same is not None and same.form.origin is not form.origin:
            self._check_replaced(name, same.form.origin, form.origin)
            same = None
        shape = self._compiler.shape_of(key)
        entry = same or _Entry(name, form, shape, is_recursive(shape))
        self._by_name[name] = self._by_form[key] = entry
        if form.kind in (Kind.record, Kind.enum) and not form.arguments:
            self._by_class[form.origin] = entry
        return entry

    def _check_replaced(self, name: str, old: type, new: type) -> None:
        """Allow a class to take the name of its own earlier definition, as after a reload."""
        if (old.__module__, old.__qualname__) != (new.__module__, new.__qualname__):
            raise ValueError(f"wire name {name!r} stands for {describe(old)} and {describe(new)}: rename one")

    def _entry_for(self, message: object, as_type: object) -> _Entry:
        cls = type(message)
        if as_type is not None and not is_untyped(as_type):
            return self._entry_in(as_type, cls, message)
        entry = self._scalars.get(cls)
        if entry is not None:
            return entry
        if cls in (list, tuple, dict, set, frozenset) or isinstance(message, ActorRef):
            raise EncodeError(
                f"a bare {cls.__name__} needs a typed reference: say what it holds, or wrap it in a dataclass"
            )
        self.register(cls)
        return self._by_class[cls]

    def _entry_in(self, as_type: object, cls: type, message: object) -> _Entry:
        # A class stands for itself; looking behind it all the same was 4 % of the server's part of an ask.
        key = as_type if type(as_type) is type else strip(as_type)
        target = self._by_target.get(key)
        if target is None:
            self.register(as_type)
            target = self._by_target[key]
        entry = target.get(cls)
        if entry is None and cls is int:
            entry = target.get(float)
        if entry is None and isinstance(message, ActorRef):
            entry = target.get(ActorRef)
        if entry is None:
            raise EncodeError(f"expected {describe(as_type)}, got {cls.__name__}")
        return entry

    def _frame(
        self, kind: FrameKind, head: list[object], entry: _Entry, message: object, wait: Wait | None = None
    ) -> bytes:
        try:
            payload = entry.encode(message)
            if entry.is_recursive and is_deeper_than(payload, self._limits.nesting_max):
                raise EncodeError(f"{entry.name}: nested deeper than {self._limits.nesting_max}")
            head.append(payload)
            if wait is not None:
                head.append(wait)
            body = self._pack(head)
        except (Mismatch, *_FOREIGN) as error:
            if isinstance(error, CastyError):
                raise
            raise EncodeError(self._explain(entry, message, error, raw=False)) from None
        size = len(body)
        if size >= self._elements_max:
            self._check_size(kind, entry, body)
        return _header(size + 1, kind) + body

    def _check_size(self, kind: FrameKind, entry: _Entry, body: bytes) -> None:
        limits = self._limits
        size_max = limits.message_bytes_max if kind is FrameKind.ENVELOPE else limits.frame_bytes_max
        if len(body) + 1 > size_max:
            raise EncodeError(f"{entry.name}: {len(body)} bytes are over the limit of {size_max}: send it in parts")
        try:
            self._scan(body)
        except DecodeError as error:
            raise EncodeError(f"{entry.name}: {error}") from None

    def _unpack(self, body: bytes | memoryview, count: int) -> Any:
        if len(body) >= self._elements_max:
            self._scan(body)
        try:
            parts: Any = _unpackb(body)
        except _FOREIGN as error:
            raise _invalid(error) from None
        if type(parts) is not ARRAY or len(parts) != count:
            raise DecodeError(f"expected an array of {count} items")
        return parts

    def _scan(self, body: bytes | memoryview) -> None:
        scan(body, elements_max=self._elements_max, nesting_max=self._limits.nesting_max + ENVELOPE_NESTING)

    def _entry_named(self, name: object) -> _Entry:
        if type(name) is not str:
            raise DecodeError(f"expected the name of a message type, got {type(name).__name__}")
        entry = self._by_name.get(name)
        if entry is None:
            entry = self._learn(name)
        return entry

    def _learn(self, name: str) -> _Entry:
        """Register the class that this process declared under a name which is met for the first time."""
        cls = declared(name) if len(name) <= TYPE_NAME_LENGTH_MAX else None
        if cls is not None and not is_generic(cls) and self.name_of(cls) == name:
            try:
                self.register(cls)
            except (UnsupportedTypeError, ValueError) as error:
                raise DecodeError(f"{name} cannot be used on this node: {error}") from None
            return self._by_name[name]
        raise UnknownTypeError(name[:TYPE_NAME_LENGTH_MAX])

    def _decode(self, entry: _Entry, payload: Any) -> object:
        if entry.is_recursive and is_deeper_than(payload, self._limits.nesting_max):
            raise DecodeError(f"{entry.name}: nested deeper than {self._limits.nesting_max}")
        try:
            return entry.decode(payload)
        except MemoryError:
            raise
        except Exception as error:  # Checks and hashes of the message's own classes may raise anything.
            raise self._undecodable(entry, payload, error) from None

    def _undecodable(self, entry: _Entry, payload: Any, error: Exception) -> ProtocolError:
        if isinstance(error, ProtocolError):
            return error
        return DecodeError(self._explain(entry, payload, error, raw=True))

    def _explain(self, entry: _Entry, value: object, error: BaseException, *, raw: bool) -> str:
        reason = str(error) if isinstance(error, Mismatch) else f"{type(error).__name__}"
        try:
            found = find_fault(entry.shape, value, entry.name, raw=raw)
        except (Mismatch, *_FOREIGN):
            found = None
        return found or f"{entry.name}: {reason}"

    def __repr__(self) -> str:
        return f"<Codec types={len(self._by_name)}>"


def _wait_of(wait: Any) -> Wait:
    if type(wait) is ARRAY and len(wait) == 2:
        remaining, ask = wait
        if type(remaining) is float and remaining >= 0 and type(ask) is int and ask > 0:
            return remaining, ask
    raise DecodeError(f"expected how long the sender waits and the number of its ask, got {type(wait).__name__}")


def _invalid(error: Exception) -> DecodeError:
    return DecodeError(f"not valid msgpack ({type(error).__name__})")


def _ill_typed_target(path: object, uid: object) -> DecodeError:
    return DecodeError(f"expected a path and a uid, got {type(path).__name__} and {type(uid).__name__}")
