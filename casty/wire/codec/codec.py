"""The codec: messages to whole frames, bodies of frames to messages.

One pass each way: the shape of the message makes plain values of it, and msgpack writes them
together with the envelope. Which classes can be decoded is decided by this process alone, by
registering them or by declaring them with ``casty.message``; a name from a peer is looked up in
those tables and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import astuple
from hashlib import blake2b
from typing import Any

import msgpack

from casty.address import ASK_PREFIX
from casty.config import TransportLimits
from casty.errors import DecodeError, EncodeError, UnknownTypeError, UnsupportedTypeError
from casty.refs import ActorRef
from casty.schema.names import declared, facts_of, wire_name
from casty.schema.types import SCALARS, Form, Kind, check, describe, is_generic, is_untyped, parse, strip
from casty.wire.codec.compiler import Compiler
from casty.wire.codec.defaults import defaults_in
from casty.wire.codec.names import canonical_name
from casty.wire.codec.recursion import Bounded
from casty.wire.codec.scalars import ExportRef, ImportRef
from casty.wire.codec.type_entry import TypeEntry
from casty.wire.envelope import (
    CONTROL_HEAD,
    FOREIGN,
    HAS_ENTITY,
    HAS_TAIL,
    TYPE_NAME_LENGTH_MAX,
    Envelope,
    Headers,
    Notice,
    Wait,
    control_head,
    decode_head,
    decode_headers,
    decode_slot,
    decode_wait,
    encode_head,
    encode_headers,
    encode_wait,
    entity_behind,
    notice_of,
)
from casty.wire.frame import FrameKind, frame
from casty.wire.framing import Framing, Write, invalid
from casty.wire_types import WireType

DIGEST_BYTES = 16
_new: Callable[..., Envelope] = vars(tuple)["__new__"]
"""Makes an Envelope in half the time of its class, which calls this from a function of Python's: 6 % of decoding."""


class Codec:
    """Encodes and decodes the messages of one node. Not for use by several threads at a time.

    ``export_ref`` gives the place under which a ref is known to other nodes, ``import_ref``
    makes a ref of such a place; both are told the type form M of the field's ``ActorRef[M]``.

    The type of a whole message is found by its class. A reply can be any value, such as
    ``{"a": 1}``; then ``as_type``, the M of the ref it is sent to, says what it is, and its
    canonical name goes on the wire. The other end knows that name since it sent the ref itself.
    """

    def __init__(
        self,
        *,
        export_ref: ExportRef,
        import_ref: ImportRef,
        limits: TransportLimits | None = None,
        wire_types: Sequence[WireType[Any, Any]] = (),
    ) -> None:
        limits = limits or TransportLimits()
        self._nesting_max = limits.nesting_max
        self._framing = Framing(limits)
        self.taught: dict[type, WireType[Any, Any]] = {one.cls: one for one in wire_types}
        """Types that the system was taught, by their classes."""
        self._compiler = Compiler(
            name_of=self.name_of, export_ref=export_ref, import_ref=import_ref, taught=self.taught
        )
        self._own_names: dict[type, str] = {cls: one.name for cls, one in self.taught.items()}
        self._by_name: dict[str, TypeEntry] = {}
        self._by_form: dict[object, TypeEntry] = {}
        self._by_class: dict[type, TypeEntry] = {}
        self._by_target: dict[object, dict[type, TypeEntry]] = {}
        self._scalars = {origin: self._add(origin) for origin in SCALARS}
        for taught in self.taught:
            self.register(taught)

    def register(self, type_form: object, *, name: str | None = None) -> None:
        """Make a type known as a message, with all that it contains and all replies it asks for.

        Registering again changes nothing. ``name`` gives one class a wire name in this codec. Raises
        UnsupportedTypeError when something cannot travel, ValueError when a name is taken.
        """
        if name is not None:
            self._give_name(type_form, name)
        if strip(type_form) in self._by_target:
            return
        check(type_form, known=self.taught)
        waiting, found = [type_form], dict[object, dict[type, TypeEntry]]()
        while waiting:
            key = strip(waiting.pop())
            if key in self._by_target or key in found:
                continue
            form = parse(key)
            variants = form.arguments if form.kind is Kind.union else (key,)
            entries = [self._add(variant) for variant in variants]
            target = {kind: entry for entry in entries for kind in entry.form.also}
            found[key] = target | {entry.form.origin: entry for entry in entries}
            waiting += [promised for entry in entries for promised in entry.promised]
        self._by_target |= found

    def name_of(self, cls: type) -> str:
        """Return the wire name of a class in this codec."""
        return self._own_names.get(cls) or wire_name(cls)

    def names_of(self, type_form: object) -> tuple[str, ...]:
        """Return the names of all types that a message of this type can be, sorted; registers them."""
        self.register(type_form)
        return tuple(sorted({entry.name for entry in self._by_target[strip(type_form)].values()}))

    def wire_types_digest(self) -> bytes:
        """Return a digest over the names of the taught types and what each travels as; empty where there are none."""
        forms = sorted(f"{one.name}={canonical_name(one.travels_as, self.name_of)}" for one in self.taught.values())
        return blake2b("\n".join(forms).encode(), digest_size=DIGEST_BYTES).digest() if forms else b""

    def frame_control(self, message: object) -> bytes:
        """Return the whole frame of a message between two nodes. Raises EncodeError."""
        entry = self._by_class.get(type(message)) or self._entry_for(message, None)
        return self._framing.writer(FrameKind.CONTROL, CONTROL_HEAD + self._framing.pack(entry.name), entry)(message)

    def frame_envelope(
        self,
        path: str,
        uid: int,
        message: object,
        as_type: object = None,
        wait: Wait | None = None,
        headers: Headers | None = None,
    ) -> bytes:
        """Return the whole frame of one message to an actor; ``wait`` is there for an ask."""
        write = self.writer(path, uid, message, as_type, has_tail=wait is not None, has_headers=bool(headers))
        tail = b"" if wait is None else encode_wait(*wait)
        return write(message, tail + encode_headers(headers) if headers else tail)

    def writer(
        self,
        path: str,
        uid: int,
        message: object,
        as_type: object,
        *,
        has_tail: bool = False,
        has_headers: bool = False,
    ) -> Write:
        """Return the maker of frames of this message, and all others of its class, to an actor.

        ``as_type`` is the message type of the ref, where it is known; it decides for values that are
        no dataclass. ``has_tail`` and ``has_headers`` say what each will be given behind its head. Raises EncodeError
        or UnsupportedTypeError.
        """
        entry = self._by_class.get(type(message)) or self._entry_for(message, as_type)
        head = encode_head(path, uid, entry.name, has_tail=has_tail, has_headers=has_headers, pack=self._framing.pack)
        return self._framing.writer(FrameKind.ENVELOPE, head, entry)

    def frame_notice(self, notice: Notice) -> bytes:
        """Return the whole frame about an envelope that could not be delivered."""
        return frame(FrameKind.NOTICE, msgpack.packb(astuple(notice)))

    def decode_control(self, body: bytes | memoryview) -> object:
        """Return the message in a CONTROL frame's body. Raises only ProtocolError and below."""
        end, name = control_head(body)
        payload = self._framing.unpack(body[end:], len(body))
        return self._decode(self._by_name.get(name) or self._learn(name), payload)

    def decode_envelope(self, body: bytes | memoryview) -> Envelope:
        """Return the content of an ENVELOPE frame's body. Raises only ProtocolError and below.

        A DecodeError (and so an UnknownTypeError) tells for whom the message was, by its ``path``,
        ``uid`` and ``name``, once those could be read.
        """
        try:
            end, path, uid, name, parts = decode_head(body)
        except FOREIGN as error:
            raise invalid(error) from None
        wait: Wait | None = None
        try:
            if parts & HAS_TAIL and path == ASK_PREFIX:
                serial, uid = decode_slot(body, end)
                path = f"{ASK_PREFIX}{serial}"
            elif parts & HAS_TAIL:
                wait = decode_wait(body, end)
            if parts & HAS_ENTITY:
                path, uid = entity_behind(body, end, path, parts)
            start, headers = decode_headers(body, end, parts)
            entry = self._by_name.get(name) or self._learn(name)
            message = self._decode(entry, self._framing.unpack(body[start:], len(body)))
            return _new(Envelope, (path, uid, message, entry.name, wait, headers))
        except DecodeError as error:
            error.path, error.uid, error.name, error.ask = path, uid, name, 0 if wait is None else wait[1]
            raise

    def entry_of(self, name: str) -> TypeEntry | None:
        """Return what makes messages of decoded msgpack, where all of a type are of one class."""
        entry = self._by_name.get(name)
        return None if entry is None or entry.form.kind in (Kind.literal, Kind.ref) else entry

    def decode_notice(self, body: bytes | memoryview) -> Notice:
        """Return the notice in a NOTICE frame's body. Raises only ProtocolError and below."""
        return notice_of(self._framing.unpack_array(body, 5))

    def _give_name(self, type_form: object, name: str) -> None:
        if not isinstance(type_form, type):
            raise TypeError(f"only a class can be given a wire name, got {describe(type_form)}")
        if name not in self._by_name and type_form not in self._by_class:
            self._own_names[type_form] = name
        elif self.name_of(type_form) != name:
            raise ValueError(f"wire name {name!r} or the class {type_form.__qualname__} is registered already")

    def _add(self, variant: object) -> TypeEntry:
        key = strip(variant)
        if key in self._by_form:
            return self._by_form[key]
        name = canonical_name(variant, self.name_of)
        same = self._by_name.get(name)
        form = parse(key)
        if len(name) > TYPE_NAME_LENGTH_MAX:
            raise UnsupportedTypeError(f"{describe(variant)} has too long a name for a message: wrap it in a dataclass")
        if same is not None and _place_of(same.form.origin) != _place_of(form.origin):
            old, new = describe(same.form.origin), describe(form.origin)
            raise ValueError(f"wire name {name!r} stands for {old} and {new}: rename one")
        if same is not None and same.form == form:
            entry = same
        else:  # Also for Mapping[str, int] beside dict[str, int]: one name, read alike, written from other classes.
            entry = self._new_entry(name, key, form)
        self._by_name[name] = self._by_form[key] = entry
        if form.kind in (Kind.record, Kind.enum, Kind.custom) and not form.arguments:
            self._by_class[form.origin] = entry
        return entry

    def _new_entry(self, name: str, key: object, form: Form) -> TypeEntry:
        pair = self._compiler.hooks_of(key, self._nesting_max)
        promised = tuple(self._compiler.promised)
        self._compiler.promised.clear()
        encode, decode = pair.encode, pair.decode
        if pair.is_recursive:
            bounded = Bounded(name, pair, self._compiler.nesting, self._nesting_max)
            encode, decode = bounded.encode, bounded.decode
        return TypeEntry(name, form, encode, decode, defaults_in(key, self.taught), promised)

    def _entry_for(self, message: object, as_type: object) -> TypeEntry:
        cls = type(message)
        if as_type is not None and not is_untyped(as_type):
            return self._entry_in(as_type, cls, message)
        if cls in self._scalars:
            return self._scalars[cls]
        if cls in (list, tuple, dict, set, frozenset) or isinstance(message, ActorRef):
            raise EncodeError(
                f"a bare {cls.__name__} needs a typed reference: say what it holds, or wrap it in a dataclass"
            )
        self.register(cls)
        return self._by_class[cls]

    def _entry_in(self, as_type: object, cls: type, message: object) -> TypeEntry:
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
        return entry or self._entry_of_subclass(target, cls, as_type)

    def _entry_of_subclass(self, target: dict[type, TypeEntry], cls: type, as_type: object) -> TypeEntry:
        """Register a declared class where a base class of it is asked for, whose actor takes it as a local one does.

        A generic base is told by its name on the wire, so its subclasses are not of it.
        """
        records = [base for base in cls.__mro__[1:] if base in target and target[base].form.kind is Kind.record]
        bases = [base for base in records if not target[base].form.arguments]
        if not bases or is_generic(cls):
            raise EncodeError(f"expected {describe(as_type)}, got {cls.__name__}")
        if facts_of(cls) is None:
            raise EncodeError(
                f"expected {describe(as_type)}, got {cls.__name__}, a subclass that other nodes do not know: "
                f'name it with @casty.message("...")'
            )
        self.register(cls)
        return self._by_class[cls]

    def _learn(self, name: str) -> TypeEntry:
        """Register the class declared by this process under a name met for the first time."""
        cls = declared(name) if len(name) <= TYPE_NAME_LENGTH_MAX else None
        if cls is not None and not is_generic(cls) and self.name_of(cls) == name:
            try:
                self.register(cls)
            except (UnsupportedTypeError, ValueError) as error:
                raise DecodeError(f"{name} cannot be used on this node: {error}") from None
            return self._by_name[name]
        raise UnknownTypeError(name[:TYPE_NAME_LENGTH_MAX])

    def _decode(self, entry: TypeEntry, payload: Any) -> object:
        try:
            return entry.decode(payload)
        except MemoryError:
            raise
        except Exception as error:  # Checks and hashes of the message's own classes may raise anything.
            raise entry.decode_fault(error) from None

    def __repr__(self) -> str:
        return f"<Codec types={len(self._by_name)}>"


def _place_of(cls: type) -> tuple[str, str]:
    """Return where a class is defined: one defined there again, as after a reload, takes the name of the earlier."""
    return cls.__module__, cls.__qualname__
