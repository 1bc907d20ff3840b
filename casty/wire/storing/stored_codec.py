"""Codec of events and states: instances to records, and back.

Owns the hooks of the stored classes, made as those of messages are, with the stored names and their tolerance in place
of the names on the wire. It does not know journals, ids or numbers.

How it works: fields are written by name, as a map of msgpack. A record of an earlier version passes its upcasters as a
plain dict first. A variant of a union inside of a field is told by its declared name, since modules and classes may be
renamed while records stay; one without a name is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final, Never, cast

import msgpack

from casty.config import TransportLimits
from casty.errors import DecodeError, EncodeError, UnsupportedTypeError
from casty.journal import Record
from casty.schema.events import check_storable, event_class, event_facts, upcaster_of
from casty.schema.names import facts_of, is_tolerant, printable
from casty.schema.types import Kind, describe, parse, strip
from casty.wire.codec.compiler import Compiler
from casty.wire.codec.names import canonical_name
from casty.wire.codec.recursion import Bounded
from casty.wire.codec.type_entry import TypeEntry
from casty.wire.envelope import FOREIGN
from casty.wire.limits import MAP
from casty.wire_types import WireType

RECORD_BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes of one event or state, as of a message."""
PACKER_BYTES_MAX: Final = 256 * 1024
"""Bytes of a record after which a new packer is made: the buffer of one never shrinks."""
NESTING_MAX: Final = TransportLimits().nesting_max


class StoredCodec:
    """Encodes and decodes the events and states of one system. Not for use by several threads at a time.

    Parameters:
        wire_types: Types taught to the system.
    """

    def __init__(self, wire_types: Sequence[WireType[Any, Any]] = ()) -> None:
        self._taught: dict[type, WireType[Any, Any]] = {one.cls: one for one in wire_types}
        self._compiler = Compiler(
            name_of=self._label_of,
            export_ref=_refuse_ref,
            import_ref=_refuse_ref,
            taught=self._taught,
            tolerates=_tolerates,
            tag_of=self._tag_of,
        )
        self._events: dict[type, TypeEntry] = {}
        self._present: dict[str, tuple[type, int, TypeEntry]] = {}
        """Class, version and entry by stored name: most records of a history need no more."""
        self._forms: dict[object, TypeEntry] = {}
        self._pack: Callable[[object], bytes] = msgpack.Packer().pack

    def __repr__(self) -> str:
        return f"<StoredCodec types={len(self._forms)}>"

    def register(self, type_form: object) -> None:
        """Make a type known. Raises UnsupportedTypeError where its values cannot be stored."""
        self._entry(type_form)

    def name_of(self, type_form: object) -> str:
        """Return the name of the records of a type. Raises UnsupportedTypeError where its values cannot be stored."""
        return self._entry(type_form).name

    def encode(self, event: object) -> Record:
        """Return the record of an instance of a class declared by `casty.event`. Raises EncodeError."""
        cls = type(event)
        facts = event_facts(cls)
        if facts is None:
            raise EncodeError(
                f'{describe(cls)} has no stored name: write @casty.event("...") above its class, got {event!r}'
            )
        entry = self._events.get(cls)
        if entry is None:
            entry = self._events[cls] = self._entry(cls)
        return Record(facts.name, facts.version, self._packed(entry, event))

    def decode(self, record: Record) -> object:
        """Return the instance in a record. Raises DecodeError, with advice."""
        return self.decode_fields(record.name, record.version, record.payload)

    def decode_fields(self, name: str, version: int, payload: bytes) -> object:
        """Return the instance in a record of these fields. Raises DecodeError, with advice."""
        cls = event_class(name)
        present = self._present.get(name)
        if present is not None and present[0] is cls and present[1] == version:
            entry, raw = present[2], _unpacked(name, payload)
        else:
            entry, raw = self._brought_up(Record(name, version, payload), cls)
        try:
            return _made(entry, raw)
        except DecodeError as error:
            advice = _advice(Record(name, version, payload), self._present[name][1])
            raise DecodeError(f"{error}; {advice}") from None

    def encode_state(self, type_form: object, state: object) -> Record:
        """Return the record of a state of this type. Raises EncodeError."""
        if event_facts(type(state)) is not None:
            return self.encode(state)
        entry = self._entry(type_form)
        return Record(entry.name, 1, self._packed(entry, state))

    def decode_state(self, type_form: object, record: Record) -> object:
        """Return the state in a record. Raises DecodeError."""
        if event_class(record.name) is not None:
            return self.decode(record)
        return _made(self._entry(type_form), _unpacked(record.name, record.payload))

    def plain(self, type_form: object, state: object) -> object:
        """Return a state as plain values, none of them shared with it. Raises EncodeError."""
        entry = self._entry(type_form)
        try:
            return cast("object", entry.encode(state))
        except FOREIGN as error:
            raise entry.encode_fault(state, error) from None

    def _packed(self, entry: TypeEntry, value: object) -> bytes:
        try:
            payload = self._pack(entry.encode(value))
        except FOREIGN as error:
            self._pack = msgpack.Packer().pack
            raise entry.encode_fault(value, error) from None
        if len(payload) > PACKER_BYTES_MAX:
            self._pack = msgpack.Packer().pack
        if len(payload) > RECORD_BYTES_MAX:
            text = f"{entry.name}: {len(payload)} bytes are over the limit of {RECORD_BYTES_MAX}: store less"
            raise EncodeError(text)
        return payload

    def _brought_up(self, record: Record, cls: type | None) -> tuple[TypeEntry, Any]:
        """Return the fields of a record as its class has them now, for the entry of the class. Raises DecodeError."""
        name = record.name
        facts = None if cls is None else event_facts(cls)
        if cls is None or facts is None:
            raise DecodeError(
                f"no class is declared as {printable(name)!r} here: import its module, or declare it again with "
                f'@casty.event("{printable(name)}"); stored names stay when classes are renamed'
            )
        if record.version > facts.version:
            raise DecodeError(
                f"{name!r} was stored as version {record.version}, and {describe(cls)} has version {facts.version}: "
                "a newer release has written it"
            )
        raw = _unpacked(name, record.payload)
        for version in range(record.version, facts.version):
            raw = _upcast(name, version, raw)
        entry = self._events.get(cls)
        if entry is None:
            entry = self._events[cls] = self._entry(cls)
        self._present[name] = cls, facts.version, entry
        return entry, raw

    def _entry(self, type_form: object) -> TypeEntry:
        key = strip(type_form)
        entry = self._forms.get(key)
        if entry is None:
            check_storable(key, self._taught)
            pair = self._compiler.hooks_of(key, NESTING_MAX)
            self._compiler.promised.clear()
            name = canonical_name(key, self._label_of)
            encode, decode = pair.encode, pair.decode
            if pair.is_recursive:
                bounded = Bounded(name, pair, self._compiler.nesting, NESTING_MAX)
                encode, decode = bounded.encode, bounded.decode
            entry = self._forms[key] = TypeEntry(name, parse(key), encode, decode, 0)
        return entry

    def _label_of(self, cls: type) -> str:
        """Return the name of a class in errors, and of a state without a declared one."""
        return self._declared_name(cls) or f"{cls.__module__}:{cls.__qualname__}"

    def _tag_of(self, cls: type) -> str:
        name = self._declared_name(cls)
        if name is None:
            raise UnsupportedTypeError(
                f"{describe(cls)} is one of several classes in a stored field, and told from them by its name: "
                'write @casty.event("...") above it'
            )
        return name

    def _declared_name(self, cls: type) -> str | None:
        if cls in self._taught:
            return self._taught[cls].name
        facts = event_facts(cls) or facts_of(cls)
        return None if facts is None else facts.name


def is_declared(type_form: object) -> bool:
    """Whether all classes of a state have stored names: plain values and containers need none."""
    form = parse(type_form)
    if form.kind is Kind.union:
        return all(map(is_declared, form.arguments))
    return form.kind is not Kind.record or event_facts(form.origin) is not None


def _tolerates(cls: type) -> bool:
    facts = event_facts(cls)
    return is_tolerant(cls) if facts is None else facts.tolerant


def _refuse_ref(*_: object) -> Never:
    raise EncodeError("a reference cannot be stored")


def _unpacked(name: str, payload: bytes) -> Any:
    try:
        return msgpack.unpackb(payload)
    except FOREIGN as error:
        raise DecodeError(f"{printable(name)!r}: its bytes are no msgpack: {type(error).__name__}") from None


def _made(entry: TypeEntry, raw: Any) -> object:
    try:
        return cast("object", entry.decode(raw))
    except MemoryError:
        raise
    except Exception as error:  # the checks of the user's own class may raise anything
        raise entry.decode_fault(error) from None


def _advice(record: Record, version: int) -> str:
    """Say what to do where the fields of a record do not fit the version of its class."""
    if record.version < version:
        return f"it was stored as version {record.version}: let the upcasts from there return the fields of {version}"
    return (
        f"it was stored as version {version}: if the class has changed since, give it version={version + 1} and write "
        f'@casty.upcast("{record.name}", {version})'
    )


def _upcast(name: str, version: int, raw: Any) -> Any:
    step = upcaster_of(name, version)
    if step is None:
        raise DecodeError(
            f"{name!r} was stored as version {version}, and nothing leads from there: "
            f'write @casty.upcast("{name}", {version})'
        )
    if type(raw) is not MAP:
        raise DecodeError(f"{name!r} of version {version}: expected a map of fields, got {type(raw).__name__}")
    try:
        made: object = step(raw)
    except Exception as error:  # the user's code says no to stored fields, in whatever way
        raise DecodeError(
            f"the upcast of {name!r} from version {version} raised {type(error).__name__}: {error}"
        ) from error
    if type(made) is not MAP:
        raise DecodeError(f"the upcast of {name!r} from version {version} must return a dict, got {made!r}")
    return made
