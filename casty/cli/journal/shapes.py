"""Shapes of stored events and states: the fields of a record, as lines, and the text of ``schema.lock``.

Owns the form of a shape and its text. Classes are seen through: a record in a field is its fields, since its name is
not stored. It does not compare (`schema_lock`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, TypeAlias, get_args

from casty.cli.journal.apps import App
from casty.errors import ConfigError
from casty.runtime.sourcing.sourced_behavior import SourcedBehavior
from casty.schema.events import event_facts
from casty.schema.fields import fields_of
from casty.schema.types import SCALARS, Form, Kind, inside, parse, strip
from casty.wire.storing.stored_codec import StoredCodec

ShapeKind: TypeAlias = Literal["event", "state", "snapshot"]
"""A snapshot can be made again from the events; a state cannot, as its events are forgotten or there are none."""

HEAD: Final = """\
# Shapes of the stored events and states. Made by `casty journal schema`: commit it, and let CI run it with --check.
"""
TITLE: Final = re.compile(
    r"(?P<kind>event|state|snapshot) (?P<name>\S.*), version (?P<version>\d+)(?P<rest>, tolerant)?"
)
LINE: Final = re.compile(r"    (?P<path>\S*?): (?P<type>\S.*?)(?P<rest> = default)?")
ENUM: Final = "enum "
CONTAINERS: Final = {Kind.dict: "map", Kind.tuple: "tuple", Kind.record: "record", Kind.custom: "taught"}


@dataclass(frozen=True, slots=True)
class StoredShape:
    """Stored form of one class, or of a state without a declared one."""

    kind: ShapeKind
    name: str
    """Stored name."""
    version: int
    is_declared: bool = True
    """Whether it has a stored name of its own, and so versions; in a file told by the name."""
    is_tolerant: bool = False
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """Types by the ways to them."""
    defaults: frozenset[str] = frozenset()
    """Ways of tolerant classes' fields that may be missing."""

    def text(self) -> str:
        """Return it as a paragraph of the file."""
        title = f"{self.kind} {self.name}, version {self.version}{', tolerant' if self.is_tolerant else ''}"
        lines = [
            f"    {path}: {form}{' = default' if path in self.defaults else ''}" for path, form in self.fields.items()
        ]
        return "\n".join([title, *lines, ""])


def shapes_of(apps: Iterable[App], codec: StoredCodec) -> dict[str, StoredShape]:
    """Return the shapes of the events and states of some kinds, by name. ConfigError where one cannot be told."""
    found: dict[str, StoredShape] = {}
    for app in apps:
        for shape in _shapes_of_one(app, app.example(), codec):
            other = found.get(shape.name)
            if other is None or _weight(shape.kind) > _weight(other.kind):  # one class as an event and as a state
                found[shape.name] = shape
    return dict(sorted(found.items()))


def _weight(kind: ShapeKind) -> int:
    return ("snapshot", "state", "event").index(kind)


def _shapes_of_one(app: App, behavior: SourcedBehavior[Any], codec: StoredCodec) -> Iterator[StoredShape]:
    functions, snapshots = behavior.functions, behavior.snapshots
    behavior.model(codec, is_checked=False)  # refuses what cannot be stored
    events = functions.event_types()
    if functions.apply is not None and not events:
        raise ConfigError(
            f"{app.target}: the second parameter of apply has no annotation, so nobody can tell its events: write "
            "`def apply(state: State, event: Added | Removed) -> State`"
        )
    for one in events:
        yield _shape("event", one, codec)
    if snapshots is None and functions.apply is not None:
        return
    state_type = functions.state_type(behavior.empty)
    kind: ShapeKind = "snapshot" if snapshots is not None and not snapshots.forget else "state"
    form = parse(state_type)
    declared = [one for one in (form.arguments if form.kind is Kind.union else (state_type,)) if _facts(one)]
    for one in declared:
        yield _shape(kind, one, codec)
    if not declared:
        yield _shape(kind, state_type, codec)


def _facts(type_form: object) -> Any:
    return event_facts(parse(type_form).origin)


def _shape(kind: ShapeKind, type_form: object, codec: StoredCodec) -> StoredShape:
    facts = _facts(type_form)
    walk = _Walk(codec)
    walk.enter("", strip(type_form), {}, is_tolerant=facts is not None and facts.tolerant)
    name, version = (codec.name_of(type_form), 1) if facts is None else (facts.name, facts.version)
    is_tolerant = facts is not None and facts.tolerant
    return StoredShape(kind, name, version, facts is not None, is_tolerant, walk.fields, frozenset(walk.defaults))


@dataclass(slots=True)
class _Walk:
    """Way through the fields of a type, each leaf a line."""

    codec: StoredCodec
    fields: dict[str, str] = field(default_factory=dict[str, str])
    defaults: set[str] = field(default_factory=set[str])

    def enter(self, path: str, type_form: object, outer: Mapping[object, str], *, is_tolerant: bool = False) -> None:
        """Note what lies at a way; ``outer`` are the classes around it, for those that hold themselves."""
        form = parse(type_form)
        if type_form in outer:
            self.fields[path] = f"as {outer[type_form] or 'the whole'}"
        elif form.kind is Kind.record:
            self._record(path, type_form, {**outer, type_form: path}, is_tolerant=is_tolerant)
        elif form.kind is Kind.union:
            self.fields[path] = " | ".join(sorted(map(self._label, form.arguments)))
            for one in form.arguments:
                mark = f"<{self._label(one)}>" if parse(one).kind is Kind.record else ""
                if parse(one).kind not in (Kind.scalar, Kind.literal, Kind.enum, Kind.custom):
                    self.enter(path + mark, strip(one), outer)
        elif form.kind is Kind.dict:
            for where, one in zip(("{key}", "{value}"), form.arguments, strict=True):
                self.enter(path + where, strip(one), outer)
        elif form.kind is Kind.tuple:
            for place, one in enumerate(form.arguments):
                self.enter(f"{path}[{place}]", strip(one), outer)
            if not form.arguments:
                self.fields[path] = "tuple"
        elif form.kind in (Kind.list, Kind.set, Kind.frozenset, Kind.sequence):
            self.enter(f"{path}[]", strip(inside(form, type_form, "")[0][1]), outer)
        else:
            self.fields[path] = self._leaf(form)

    def _record(self, path: str, type_form: object, outer: Mapping[object, str], *, is_tolerant: bool) -> None:
        fields = fields_of(type_form, path).fields
        if not fields and path:
            self.fields[path] = "record without fields"
        for one in fields:
            where = f"{path}.{one.name}" if path else one.name
            before = set(self.fields)
            self.enter(where, strip(one.type_form), outer)
            if is_tolerant and one.has_default:
                self.defaults |= set(self.fields) - before

    def _label(self, type_form: object) -> str:
        form = parse(type_form)
        facts = event_facts(form.origin)
        if form.kind is Kind.record and facts is not None:
            return facts.name
        if form.kind in (Kind.scalar, Kind.literal, Kind.enum, Kind.custom):
            return self._leaf(form)
        return CONTAINERS.get(form.kind, "list")

    def _leaf(self, form: Form) -> str:
        if form.kind is Kind.literal:
            return "one of " + ", ".join(sorted(map(_literal, form.arguments)))
        if form.kind is Kind.enum:
            return ENUM + ", ".join(sorted(form.origin.__members__))  # type: ignore[attr-defined]  # of an Enum
        if form.kind is Kind.custom:
            return f"taught {self.codec.name_of(form.origin)}"
        return SCALARS[form.origin]


def _literal(value: object) -> str:
    return str(getattr(value, "name", repr(value)))


def text_of(shapes: Mapping[str, StoredShape]) -> str:
    """Return the text of ``schema.lock``."""
    return "\n".join([HEAD, *(shape.text() for shape in shapes.values())])


def parse_text(text: str, file: object) -> dict[str, StoredShape]:
    """Return the shapes in the text of a file. ConfigError with the line that cannot be read."""
    found: dict[str, StoredShape] = {}
    title: re.Match[str] | None = None
    fields: dict[str, str] = {}
    defaults: set[str] = set()

    def close() -> None:
        if title is not None:
            found[title["name"]] = _from_lines(title, fields, defaults)

    for number, line in enumerate(text.splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        if match := TITLE.fullmatch(line):
            close()
            title, fields, defaults = match, {}, set()
        elif title is not None and (match := LINE.fullmatch(line)):
            fields[match["path"]] = match["type"]
            defaults |= {match["path"]} if match["rest"] else set()
        else:
            raise ConfigError(
                f"{file}, line {number}: expected a shape, as `event cart.Added, version 1` and below it a line for "
                f"each field, got {line[:80]!r}; it is made by `casty journal schema`, take it from the last commit"
            )
    close()
    return found


def _from_lines(title: re.Match[str], fields: dict[str, str], defaults: set[str]) -> StoredShape:
    kinds: Sequence[ShapeKind] = get_args(ShapeKind)
    kind = next(kind for kind in kinds if kind == title["kind"])
    return StoredShape(
        kind, title["name"], int(title["version"]), True, title["rest"] is not None, fields, frozenset(defaults)
    )
