"""``casty journal schema``: today's shapes compared with those of ``schema.lock``, and what to do about a change.

Owns the judgement: a changed shape needs the next version, since rows of the old one are stored. It does not know how
a shape is read from classes.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from casty.cli.exits import ExitCode
from casty.cli.hosting import complain
from casty.cli.journal.plain_values import write_line
from casty.cli.journal.shapes import ENUM, StoredShape, parse_text, text_of
from casty.errors import ConfigError

INDENT: Final = "    "


@dataclass(frozen=True, slots=True)
class ShapeChange:
    """One difference of today's shapes from those in the file."""

    text: str
    is_broken: bool
    """Whether stored rows can no longer be read by it; otherwise the file is only behind."""


@dataclass(frozen=True, slots=True)
class SchemaOptions:
    """Options of the command line."""

    file: Path
    check: bool
    force: bool


def lock(options: SchemaOptions, shapes: Mapping[str, StoredShape]) -> ExitCode:
    """Write the file, or compare it; `ExitCode.failed` where a shape changed without a version, or it is behind."""
    before = _read(options.file)
    changes = [] if before is None else list(changes_of(before, shapes))
    broken = [change for change in changes if change.is_broken]
    for change in changes:
        write_line(change.text)
    if options.check and before is None:
        complain(f"there is no {options.file}: run `casty journal schema` without --check, and commit it")
        return ExitCode.failed
    if broken and (options.check or not options.force):
        complain(
            f"{len(broken)} changes would leave stored rows unreadable"
            + ("" if options.check else f"; {options.file} is as it was. With --force where no such row is stored")
        )
        return ExitCode.failed
    text = text_of(shapes)
    if options.check:
        if changes or _text(options.file) != text:
            complain(f"{options.file} is behind: run `casty journal schema` without --check, and commit it")
            return ExitCode.failed
    else:
        _write(options.file, text)
    write_line(f"{options.file} {'is up to date' if options.check else 'is written'}: {len(shapes)} shapes")
    return ExitCode.ok


def changes_of(before: Mapping[str, StoredShape], after: Mapping[str, StoredShape]) -> Iterator[ShapeChange]:
    """Yield the changes of shapes, in words."""
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old is None and new is not None:
            yield ShapeChange(f"{new.kind} {name}: new, version {new.version}", is_broken=False)
        elif new is None and old is not None:
            yield _removed(old)
        elif old is not None and new is not None and _without_declaration(old) != _without_declaration(new):
            yield _changed(old, new)


def _without_declaration(shape: StoredShape) -> object:
    return shape.kind, shape.version, shape.is_tolerant, dict(shape.fields), shape.defaults


def _removed(old: StoredShape) -> ShapeChange:
    if old.kind == "snapshot":
        return ShapeChange(f"snapshot {old.name}: gone; stored ones are passed over, and made again", is_broken=False)
    advice = "keep its class for as long as one is stored; `apply` may return the state as it is"
    if old.kind == "state":
        advice = "keep its class, or upcast it to the new one: there are no events to make the state from"
    return ShapeChange(f"{old.kind} {old.name}: gone, and stored ones cannot be read\n{INDENT}{advice}", is_broken=True)


def _changed(old: StoredShape, new: StoredShape) -> ShapeChange:
    title = f"{new.kind} {new.name}"
    if new.version > old.version:
        return ShapeChange(f"{title}: version {old.version} -> {new.version}, led there by upcasts", is_broken=False)
    if new.version < old.version:
        return ShapeChange(
            f"{title}: version {old.version} -> {new.version}, and stored ones of {old.version} are refused\n"
            f"{INDENT}write version={old.version} or a later one",
            is_broken=True,
        )
    words = list(_fields_in_words(old, new))
    if old.is_tolerant and not new.is_tolerant:
        words.append("tolerant no more: rows with other fields are refused")
    lines = "".join(f"\n{INDENT}{word}" for word in words)
    if _is_readable(old, new):
        return ShapeChange(f"{title}: changed, and stored ones are read as before{lines}", is_broken=False)
    if not new.is_declared and new.kind == "snapshot":
        advice = "stored snapshots are passed over, and made again from the events"
        return ShapeChange(f"{title}: changed{lines}\n{INDENT}{advice}", is_broken=False)
    if not new.is_declared:
        advice = "its events are forgotten: take the change back, and give its class a stored name, with versions"
        return ShapeChange(f"{title}: changed{lines}\n{INDENT}{advice}", is_broken=True)
    following = new.version + 1
    advice = (
        f'write version={following} at its class, and @casty.upcast("{new.name}", {new.version}) from the stored '
        f"fields to those of version {following}"
    )
    return ShapeChange(
        f"{title}: the shape has changed, and its version is still {new.version}{lines}\n{INDENT}{advice}",
        is_broken=True,
    )


def _fields_in_words(old: StoredShape, new: StoredShape) -> Iterator[str]:
    for path in [*old.fields, *(path for path in new.fields if path not in old.fields)]:
        was, now = old.fields.get(path), new.fields.get(path)
        name = path or "the value"
        if was is None:
            yield f"{name}: added, {now}{' with a default' if path in new.defaults else ''}"
        elif now is None:
            yield f"{name}: removed, was {was}"
        elif was != now:
            yield f"{name}: was {was}, is {now}"
        elif (path in old.defaults) > (path in new.defaults):
            yield f"{name}: has no default any more"


def _is_readable(old: StoredShape, new: StoredShape) -> bool:
    """Return whether rows of the old shape are read by the new one as they are."""
    if old.is_tolerant > new.is_tolerant:
        return False
    for path, now in new.fields.items():
        was = old.fields.get(path)
        if was is None and path not in new.defaults:
            return False
        if was is not None and not _takes(was, now):
            return False
        if path in old.defaults - new.defaults:  # rows without the field may be stored
            return False
    return new.is_tolerant or old.fields.keys() <= new.fields.keys()


def _takes(was: str, now: str) -> bool:
    """Return whether values of one type are read as another: the same one, or an enum with more members."""
    if was == now:
        return True
    if was.startswith(ENUM) and now.startswith(ENUM):
        return set(was.removeprefix(ENUM).split(", ")) <= set(now.removeprefix(ENUM).split(", "))
    return False


def _read(file: Path) -> Mapping[str, StoredShape] | None:
    text = _text(file)
    return None if text is None else parse_text(text, file)


def _text(file: Path) -> str | None:
    try:
        return file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ConfigError(f"{file} cannot be read: {error}") from None


def _write(file: Path, text: str) -> None:
    """Replace the file whole: one cut off would pass for a schema with less in it."""
    part = file.with_name(f"{file.name}.new")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, file)
    except OSError as error:
        raise ConfigError(f"{file} cannot be written: {error.strerror}") from None
