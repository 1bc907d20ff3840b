"""How a class gets its wire name."""

from __future__ import annotations

import gc
import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Never

import pytest

import casty
from casty import embed, testing
from casty.errors import UnsupportedTypeError
from casty.refs import ActorRef
from casty.schema.names import declared, facts_of, message, printable, wire_name
from casty.schema.types import is_generic, reachable
from casty.testing import simulation
from casty.wire.codec.codec import Codec

PACKAGES = (casty, embed, testing, simulation)


@message("naming.Outer")
@dataclass(frozen=True)
class Outer:
    inner: Inner
    again: Outer | None


@message("naming.Inner", tolerant=True)
@dataclass(frozen=True)
class Inner:
    value: int


@dataclass(frozen=True)
class Derived(Inner):
    other: int


def redefine(name: str, qualified: str, module: str = __name__) -> type:
    cls: Any = dataclass(frozen=True)(type("Redefined", (), {"__annotations__": {"value": int}}))
    cls.__qualname__, cls.__module__ = qualified, module
    declaration = message(name)
    return declaration(cls)


def test_a_declared_class_has_its_name_and_is_known() -> None:
    assert wire_name(Inner) == "naming.Inner"
    assert declared("naming.Inner") is Inner
    assert declared("naming.Nobody") is None


def test_a_class_without_a_declaration_is_called_by_module_and_name() -> None:
    assert wire_name(Derived) == f"{__name__}:Derived"


def test_a_subclass_does_not_inherit_name_or_tolerance() -> None:
    assert facts_of(Inner) is not None
    assert facts_of(Derived) is None


def test_a_class_of_main_must_be_named() -> None:
    cls = type("Loose", (), {"__module__": "__main__"})
    with pytest.raises(UnsupportedTypeError, match=r'Loose is defined in __main__.*@casty.message\("\.\.\."\)'):
        wire_name(cls)


def test_a_second_class_of_the_same_name_is_refused() -> None:
    first = redefine("naming.Twice", "First")
    with pytest.raises(ValueError, match=r"'naming.Twice' is taken by .*First: choose another one for Second"):
        redefine("naming.Twice", "Second")
    assert declared("naming.Twice") is first


def test_the_same_class_defined_again_replaces_the_older_one() -> None:
    first = redefine("naming.Reload", "Reload")
    second = redefine("naming.Reload", "Reload")
    assert first is not second
    assert declared("naming.Reload") is second


def test_a_declared_class_can_be_forgotten() -> None:
    redefine("naming.Gone", "Gone")
    gc.collect()
    assert declared("naming.Gone") is None


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("", "1 to 200 printable"),
        ("x" * 201, "1 to 200 printable"),
        ("two words", "without spaces"),
        ("line\n", "printable"),
        ("box[int]", "must not contain brackets"),
        ("int", "is the name of a builtin type"),
        ("casty.Mine", "belong to the library"),
    ],
)
def test_a_name_that_could_be_misread_is_refused(name: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        redefine(name, "Any")


def test_the_decorator_without_a_name_says_how_to_write_it() -> None:
    bare: Any = message
    with pytest.raises(TypeError, match=r'write @casty.message\("shop.Add"\)'):
        bare(Inner)


def test_a_declaration_below_the_dataclass_decorator_is_told_to_stand_above_it() -> None:
    class Below:
        value: int

    told = (
        r'Below is no dataclass where @casty.message sees it: write @casty.message\("naming.Below"\) in the line above'
    )
    with pytest.raises(UnsupportedTypeError, match=told):
        dataclass(frozen=True)(message("naming.Below")(Below))


def test_declaring_a_class_that_cannot_travel_fails_at_once() -> None:
    class Thing:
        pass

    with pytest.raises(UnsupportedTypeError, match="Thing is no dataclass where @casty.message sees it"):
        message("naming.Thing")(Thing)


def test_text_for_the_log_is_one_short_line() -> None:
    assert printable("plain") == "plain"
    assert printable("a\nb\x1b[31m") == "a\\nb\\x1b[31m"
    assert len(printable("é" * 1000)) == 128
    assert printable("x" * 129) == "x" * 125 + "..."


def no_ref(ref: ActorRef[Never], form: object) -> Never:
    raise AssertionError("no ref is sent here")


def travelling(package: ModuleType) -> Iterator[tuple[str, object]]:
    """Yield the public types of a package that a message can hold, by their names."""
    for name in package.__all__:
        found: Any = getattr(package, name)
        form = found[(int,) * len(found.__parameters__)] if inspect.isclass(found) and is_generic(found) else found
        try:
            Codec(export_ref=no_ref, import_ref=no_ref).register(form)  # type: ignore[arg-type]  # never called
        except UnsupportedTypeError:
            continue
        yield name, form


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_a_class_of_the_library_is_called_on_the_wire_as_programs_import_it(package: ModuleType) -> None:
    forms = dict(travelling(package))
    classes = {getattr(package, name) for name in forms} & {each for form in forms.values() for each in reachable(form)}
    assert len(classes) >= {casty: 25, embed: 2, testing: 4, simulation: 13}[package]
    assert {wire_name(cls) for cls in classes} == {f"{package.__name__}.{cls.__name__}" for cls in classes}


def test_nothing_in_a_public_class_has_a_wire_name_made_of_its_module() -> None:
    forms = [form for package in PACKAGES for _, form in travelling(package)]
    assert {cls for form in forms for cls in reachable(form) if facts_of(cls) is None} == set()
