"""What ``casty journal schema`` writes and refuses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest
from helpers.journal_commands import journal, lines

from casty import Behaviors, ConfigError, Effect, Every, event, nothing
from casty.cli.journal.apps import App
from casty.cli.journal.schema_lock import changes_of
from casty.cli.journal.shapes import StoredShape, parse_text, shapes_of, text_of
from casty.wire.storing.stored_codec import StoredCodec

schema = partial(journal, "schema", "--app", "helpers.travelled:cart")
LOCK = """\
# Shapes of the stored events and states. Made by `casty journal schema`: commit it, and let CI run it with --check.

event carts.Added, version 1
    sku: str
    count: int

event carts.CheckedOut, version 1
"""


class Colour(Enum):
    red = 1
    blue = 2


@dataclass(frozen=True)
class Line:
    sku: str
    parts: tuple[Line, ...] = ()


@event("shapes.Tea")
@dataclass(frozen=True)
class Tea:
    leaves: int


@event("shapes.Milk")
@dataclass(frozen=True)
class Milk: ...


@event("shapes.Ordered", tolerant=True)
@dataclass(frozen=True)
class Ordered:
    lines: list[Line]
    drink: Tea | Milk | None
    colour: Colour
    size: Literal["s", "l"]
    counts: Mapping[str, tuple[int, float]]
    note: str | None = None
    tags: frozenset[str] = field(default_factory=frozenset[str])


def decide(total: int, command: str) -> Effect[Ordered]:
    return nothing()


def apply(total: int, event: Ordered) -> int:
    return total


def app(**more: Any) -> App:
    made: Any = Behaviors.event_sourced("x", empty=0, decide=decide, **{"apply": apply, "snapshots": None, **more})
    return App("tests:app", None, "x", lambda _: made)


def test_the_file_is_written_and_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    missing = schema("--check")
    assert (missing.exit_code, missing.stderr[:32]) == (1, "casty: there is no schema.lock: ")
    assert lines(schema()) == ["schema.lock is written: 2 shapes"]
    assert Path("schema.lock").read_text() == LOCK
    assert lines(schema("--check")) == ["schema.lock is up to date: 2 shapes"]
    assert [path.name for path in tmp_path.iterdir()] == ["schema.lock"]


def test_a_changed_shape_without_a_version_fails_in_words_and_leaves_the_file(tmp_path: Path) -> None:
    file = tmp_path / "s.lock"
    file.write_text(LOCK.replace("    sku: str", "    sku: bytes\n    price: int").replace("    count: int\n", ""))
    before = file.read_text()
    for arguments in (("--check",), ()):
        result = schema("--file", file, *arguments)
        assert result.exit_code == 1
        assert lines(result) == [
            "event carts.Added: the shape has changed, and its version is still 1",
            "    sku: was bytes, is str",
            "    price: removed, was int",
            "    count: added, int",
            '    write version=2 at its class, and @casty.upcast("carts.Added", 1) from the stored fields to those of '
            "version 2",
        ]
        assert result.stderr.startswith("casty: 1 changes would leave stored rows unreadable")
        assert file.read_text() == before
    assert schema("--file", file, "--force").exit_code == 0
    assert file.read_text() == LOCK


def test_a_file_that_is_behind_fails_in_ci_and_is_written_otherwise(tmp_path: Path) -> None:
    file = tmp_path / "s.lock"
    file.write_text(LOCK.partition("\nevent carts.CheckedOut")[0])
    result = schema("--file", file, "--check")
    assert (result.exit_code, lines(result)) == (1, ["event carts.CheckedOut: new, version 1"])
    assert "is behind: run `casty journal schema` without --check, and commit it" in result.stderr
    assert schema("--file", file).exit_code == 0
    assert file.read_text() == LOCK


def test_a_file_that_was_damaged_is_named_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "s.lock"
    file.write_text(LOCK.replace("    count: int", "<<<<<<< HEAD"))
    result = schema("--file", file)
    assert result.exit_code == 2
    assert f"{file}, line 5: expected a shape" in result.stderr


def test_each_field_is_a_line_and_the_text_is_read_back() -> None:
    found = shapes_of([app()], StoredCodec())
    assert list(found) == ["shapes.Ordered"]
    assert found["shapes.Ordered"].text().splitlines() == [
        "event shapes.Ordered, version 1, tolerant",
        "    lines[].sku: str",
        "    lines[].parts[]: as lines[]",
        "    drink: none | shapes.Milk | shapes.Tea",
        "    drink<shapes.Tea>.leaves: int",
        "    drink<shapes.Milk>: record without fields",
        "    colour: enum blue, red",
        "    size: one of 'l', 's'",
        "    counts{key}: str",
        "    counts{value}[0]: int",
        "    counts{value}[1]: float",
        "    note: none | str = default",
        "    tags[]: str = default",
    ]
    again = parse_text(text_of(found), "s.lock")
    assert list(changes_of(again, found)) == []
    assert text_of(again) == text_of(found)


def test_states_are_told_by_whether_they_can_be_made_again() -> None:
    for snapshots, kind in ((Every(5), "snapshot"), (Every(5, forget=True), "state")):
        found = shapes_of([app(snapshots=snapshots)], StoredCodec())
        assert found["int"] == StoredShape(kind, "int", 1, False, False, {"": "int"})  # type: ignore[arg-type]  # of a loop
        assert parse_text(text_of(found), "s.lock")["int"].fields == {"": "int"}


def test_events_without_annotations_cannot_be_told() -> None:
    with pytest.raises(ConfigError, match="the second parameter of apply has no annotation"):
        shapes_of([app(apply=lambda total, event: total)], StoredCodec())


ONE = StoredShape("event", "a", 1, fields={"x": "int", "c": "enum a, b"})
TOLERANT = StoredShape("event", "a", 1, is_tolerant=True, fields={"x": "int", "y": "str"}, defaults=frozenset({"y"}))
SNAPSHOT = StoredShape("snapshot", "int", 1, is_declared=False, fields={"": "int"})


@pytest.mark.parametrize(
    ("old", "new", "is_broken", "words"),
    [
        (ONE, StoredShape("event", "a", 2, fields={"z": "int"}), False, "version 1 -> 2, led there by upcasts"),
        (StoredShape("event", "a", 2), ONE, True, "version 2 -> 1, and stored ones of 2 are refused"),
        (ONE, None, True, "gone, and stored ones cannot be read"),
        (ONE, StoredShape("event", "a", 1, fields={"x": "int", "c": "enum a, b, c"}), False, "read as before"),
        (ONE, StoredShape("event", "a", 1, fields={"x": "int", "c": "enum a"}), True, "c: was enum a, b, is enum a"),
        (ONE, StoredShape("event", "a", 1, fields={"x": "int", "c": "enum a, b", "y": "int"}), True, "y: added, int"),
        (StoredShape("event", "a", 1, fields={"x": "int"}), TOLERANT, False, "y: added, str with a default"),
        (TOLERANT, StoredShape("event", "a", 1, is_tolerant=True, fields={"x": "int"}), False, "y: removed, was str"),
        (TOLERANT, StoredShape("event", "a", 1, fields=TOLERANT.fields), True, "tolerant no more"),
        (
            TOLERANT,
            StoredShape("event", "a", 1, is_tolerant=True, fields=TOLERANT.fields),
            True,
            "y: has no default",
        ),
        (SNAPSHOT, None, False, "passed over, and made again"),
        (SNAPSHOT, StoredShape("snapshot", "int", 1, False, fields={"": "str"}), False, "the value: was int, is str"),
        (SNAPSHOT, StoredShape("state", "int", 1, False, fields={"": "str"}), True, "its events are forgotten"),
        (StoredShape("state", "a", 1), None, True, "or upcast it to the new one"),
    ],
)
def test_a_change_is_broken_where_stored_rows_cannot_be_read(
    old: StoredShape, new: StoredShape | None, is_broken: bool, words: str
) -> None:
    (change,) = changes_of({old.name: old}, {} if new is None else {new.name: new})
    assert change.is_broken is is_broken
    assert words in change.text
