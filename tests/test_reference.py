"""Each public name says what its signature cannot: every parameter, field, reply and error, where a reader looks.

Public is what `casty`, `casty.embed`, `casty.testing`, `casty.testing.inspect` and `casty.testing.simulation` list, and
the collector of `casty.prometheus`. A docstring's sections are ``Parameters:``, ``Returns:`` (or ``Yields:``) and
``Raises:``; a class has those of its constructor. A field has its own docstring beneath it, of which the site makes the
same table. A class that users get, and do not make, says by what it is ``Made by``: its constructor is not shown.
"""

from __future__ import annotations

import ast
import builtins
import dataclasses
import enum
import inspect
import re
import sys
import textwrap
from collections.abc import Callable, Iterator
from functools import cache
from itertools import zip_longest
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import pytest

import casty
from casty import embed, prometheus, testing
from casty.persistence import postgres
from casty.testing import inspect as looking
from casty.testing import simulation

REFERENCE = Path(__file__).parents[1] / "docs" / "reference"
PACKAGES: dict[ModuleType, list[str]] = {
    casty: casty.__all__,
    testing: testing.__all__,
    looking: looking.__all__,
    simulation: simulation.__all__,
    embed: embed.__all__,
    prometheus: ["PrometheusCollector"],
    postgres: postgres.__all__,
}
SECTIONS = ("Parameters", "Returns", "Yields", "Raises")
CONSTRUCTORS = ("__init__", "__post_init__", "__new__")
WITH_CALL = "__call__"
MADE_BY = re.compile(r"\bMade by (`|casty)")


def sections(docstring: str) -> dict[str, dict[str, str]]:
    """Return the entries of each section; ``Returns`` and ``Yields`` have one, named "", if not several are named."""
    found: dict[str, dict[str, str]] = {}
    section = entry = ""
    for line in inspect.cleandoc(docstring).splitlines():
        if line.removesuffix(":") in SECTIONS and line.endswith(":"):
            section, entry = line.removesuffix(":"), ""
            found[section] = {}
        elif line and not line.startswith(" "):
            section = ""
        elif section and line.strip():
            named = re.match(r"    (\*{0,2}[\w.]+): (.*)", line)
            if named is not None and section not in ("Returns", "Yields"):
                entry = named[1]
                found[section][entry] = named[2]
            else:
                found[section][entry] = f"{found[section].get(entry, '')} {line.strip()}".strip()
    return found


def prose(docstring: str) -> str:
    """Return what stands before the first section."""
    return re.split(rf"^(?:{'|'.join(SECTIONS)}):$", inspect.cleandoc(docstring), maxsplit=1, flags=re.M)[0]


def parameters(function: Callable[..., object]) -> list[str]:
    """Return the names of a function's parameters, with their stars, as a section names them."""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    bound = ("self",) if isinstance(function, type) else ("self", "cls")
    named = inspect.signature(function).parameters.values()
    return [stars.get(each.kind, "") + each.name for each in named if each.name not in bound]


@dataclasses.dataclass(frozen=True)
class Documented:
    """One public function, method, property or class, and where its errors come from."""

    name: str
    docstring: str
    parameters: tuple[str, ...] = ()
    returns: bool = False
    bodies: tuple[FunctionType, ...] = ()
    owner: type | None = None

    def problems(self) -> Iterator[str]:
        """Yield what is missing, and what is told of nothing."""
        told = sections(self.docstring)
        entries = told.get("Parameters", {})
        yield from (f"parameter {name} is not told" for name in self.parameters if name not in entries)
        yield from (f"there is no parameter {name}" for name in entries if name not in self.parameters)
        if [name for name in self.parameters if name in entries] != [
            name for name in entries if name in self.parameters
        ]:
            yield "the parameters are told in another order than the signature has"
        if self.returns and not {"Returns", "Yields"} & set(told):
            yield "what it returns is not told"
        errors = told.get("Raises", {})
        yield from (f"{name} is raised and not told" for name in sorted(self.raised() - set(errors)))
        yield from (f"no error is called {name}" for name in errors if not is_error(name))
        yield from (f"section {each} has an empty entry" for each in told if not all(told[each].values()))
        if "\n" in prose(self.docstring).strip().partition("\n\n")[0]:
            yield "the first paragraph has more than one line, and lists show one"
        if re.search(r"\b[Rr]aises (`|[A-Z])", prose(self.docstring)):
            yield "the prose tells errors, which have a section"

    def raised(self) -> set[str]:
        """Return the errors that the code raises itself or by a check that it calls."""
        return {name for body in self.bodies for name in raised_by(body, self.owner)}


def raised_by(function: FunctionType, owner: type | None, depth: int = 0) -> set[str]:
    """Return the names of errors that stand in ``raise`` in a function, in checks and in its own helpers."""
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(function)))
    except (OSError, TypeError):  # made by dataclasses
        return set()
    found: set[str] = set()
    for node in own_nodes(tree.body[0]):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            if isinstance(raised, ast.Name | ast.Attribute) and is_error(ast.unparse(raised)):
                found.add(ast.unparse(raised))
        elif isinstance(node, ast.Call) and depth < 3:
            called = callee(node.func, function, owner)
            if called is not None:
                found |= raised_by(called, owner, depth + 1)
    return found


def own_nodes(function: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of a function, without functions inside it and ``try`` bodies whose errors it takes."""
    for child in ast.iter_child_nodes(function):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(child, ast.Try) and child.handlers:
            for part in (*child.handlers, *child.orelse, *child.finalbody):
                yield from own_nodes(part)
            continue
        yield child
        yield from own_nodes(child)


def callee(called: ast.expr, function: FunctionType, owner: type | None) -> FunctionType | None:
    """Return the check, or the private method of the same class, that is called, where it can be told."""
    found: object = None
    match called:
        case ast.Name(id=name) if name.lstrip("_").startswith("check"):
            found = function.__globals__.get(name)
        case ast.Attribute(value=ast.Name(id="self" | "cls"), attr=name) if owner is not None and name[0] == "_":
            found = inspect.getattr_static(owner, name, None)
        case _:
            return None
    return found if isinstance(found, FunctionType) and found.__module__.startswith("casty") else None


def is_error(name: str) -> bool:
    """Return whether ``name`` is an exception of Python, Trio or casty."""
    module, _, last = name.rpartition(".")
    places = (
        [sys.modules[module]] if module in sys.modules else [] if module else [casty, testing, simulation, builtins]
    )
    found = next((getattr(place, last) for place in places if hasattr(place, last)), None)
    return inspect.isclass(found) and issubclass(found, BaseException)


def public() -> Iterator[tuple[str, Any]]:
    """Yield each public object that has a docstring of its own."""
    for package, names in PACKAGES.items():
        for name in names:
            value = getattr(package, name)
            if getattr(value, "__module__", "").startswith("casty"):
                yield f"{package.__name__}.{name}", value


def documented() -> Iterator[Documented]:
    """Yield each public function and class, and the methods and properties of classes."""
    for name, value in public():
        if inspect.isclass(value):
            yield of_class(name, value)
            yield from of_members(name, value)
        elif inspect.isfunction(value):
            yield of_function(name, value, None)


def of_class(name: str, value: type) -> Documented:
    """Return a class with its constructor; a dataclass tells its parameters beneath its fields."""
    is_made = MADE_BY.search(prose(value.__doc__ or "")) is not None
    own = [getattr(value, each) for each in CONSTRUCTORS if is_own(value, each) and not is_made]
    bodies = tuple(each for each in own if isinstance(each, FunctionType))
    untold = dataclasses.is_dataclass(value) or issubclass(value, enum.Enum) or not bodies
    untold = untold or getattr(value, "_is_protocol", False)
    return Documented(name, value.__doc__ or "", () if untold else tuple(parameters(value)), False, bodies, value)


def is_own(value: type, name: str) -> bool:
    """Return whether a class of casty defines this method; not object, Generic, Protocol or dataclasses."""
    found = inspect.getattr_static(value, name, None)
    return (
        isinstance(found, FunctionType)
        and found.__module__.startswith("casty")
        and "<string>" not in str(found.__code__.co_filename)
    )


def of_members(name: str, value: type) -> Iterator[Documented]:
    """Yield the public methods and properties of a class, those of its bases in casty included."""
    own_fields = {each.name for each in dataclasses.fields(value)} if dataclasses.is_dataclass(value) else set[str]()
    for member in sorted(set(dir(value)) - own_fields):
        if member.startswith("_") and member != WITH_CALL:
            continue
        found = inspect.getattr_static(value, member)
        function = found.fget if isinstance(found, property) else getattr(found, "__func__", found)
        function = inspect.unwrap(function) if callable(function) else function
        if isinstance(function, FunctionType) and function.__module__.startswith("casty"):
            yield of_function(f"{name}.{member}", function, value, is_property=isinstance(found, property))


def of_function(name: str, function: Any, owner: type | None, *, is_property: bool = False) -> Documented:
    """Return a function or method with its parameters."""
    plain = inspect.unwrap(function)
    replies = inspect.signature(plain).return_annotation not in ("None", "Never", inspect.Signature.empty)
    names = tuple(parameters(plain))
    told = inspect.getdoc(getattr(owner, plain.__name__, plain)) or ""  # a method without has that of its base
    return Documented(name, told, names, replies and not is_property, (plain,), owner)


ALL = {each.name: each for each in documented()}


@pytest.mark.parametrize("name", ALL)
def test_public_callable_tells_its_parameters_replies_and_errors(name: str) -> None:
    assert ALL[name].docstring.strip(), "no docstring"
    assert list(ALL[name].problems()) == []


@cache
def body_of(value: type) -> list[ast.stmt]:
    """Return the statements of a class."""
    body = ast.parse(textwrap.dedent(inspect.getsource(value))).body[0]
    assert isinstance(body, ast.ClassDef)
    return body.body


def fields(value: type) -> Iterator[tuple[str, str | None]]:
    """Yield the public attributes that the bodies of a class and its bases in casty set, each with its docstring."""
    for owner in value.__mro__:
        if owner.__module__.startswith("casty"):
            body = body_of(owner)
            for function in body:
                if isinstance(function, ast.FunctionDef) and function.name == "__init__":
                    yield from attributes(function.body, "self.")
            yield from attributes(body, "")


def untyped(value: type) -> Iterator[str]:
    """Yield the public attributes of a class that its constructor sets without saying of what type they are."""
    for function in body_of(value):
        if isinstance(function, ast.FunctionDef) and function.name == "__init__":
            plain = [statement for statement in function.body if isinstance(statement, ast.Assign)]
            yield from (name for name, _ in attributes(plain, "self."))


def attributes(body: list[ast.stmt], prefix: str) -> Iterator[tuple[str, str | None]]:
    """Yield each public name that is set in a body, and the string beneath."""
    for statement, following in zip_longest(body, body[1:]):
        match statement:
            case ast.AnnAssign(target=target):
                names = [ast.unparse(target)]
            case ast.Assign(targets=targets):
                names = [ast.unparse(target) for target in targets]
            case _:
                names = []
        match following:
            case ast.Expr(value=ast.Constant(value=str(text))):
                told = text
            case _:
                told = None
        for name in names:
            if name.startswith(prefix) and re.fullmatch(r"[a-zA-Z]\w*", name.removeprefix(prefix)):
                yield name.removeprefix(prefix), told


CLASSES = {name: value for name, value in public() if inspect.isclass(value)}


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_a_public_class_says_what_it_is(name: str) -> None:
    told = {field: text for field, text in fields(CLASSES[name]) if text}
    assert list(untyped(CLASSES[name])) == []
    assert sorted({field for field, _ in fields(CLASSES[name])} - set(told)) == []
    if dataclasses.is_dataclass(CLASSES[name]):
        assert {each.name for each in dataclasses.fields(CLASSES[name]) if each.name[0] != "_"} <= set(told)


TREE_LINE = re.compile(r"^(?P<indent>[│├└─ ]*)(?P<name>[A-Z]\w+)(?:, also an? (?P<also>\w+))?$", re.M)


def test_errors_stand_in_the_tree_that_the_page_draws() -> None:
    text = (REFERENCE / "errors.md").read_text(encoding="utf-8")
    drawn: dict[str, set[str]] = {}
    above: list[str] = []
    for line in TREE_LINE.finditer(text.partition("```text\n")[2].partition("```")[0]):
        above[len(line["indent"]) // 4 :] = [line["name"]]
        drawn[line["name"]] = {*above[-2:-1], *([line["also"]] if line["also"] else [])}
    errors = {value for name, value in CLASSES.items() if issubclass(value, casty.CastyError) and "testing" not in name}
    assert drawn.pop("CastyError") == set()
    bases = {each.__name__: {base.__name__ for base in each.__bases__} for each in errors - {casty.CastyError}}
    assert drawn == bases


def fine(one: int, *rest: int) -> int:
    """Add up.

    Parameters:
        one: A number.
        *rest: More numbers,
            on two lines.

    Returns:
        The sum.

    Raises:
        ValueError: A number is negative.
    """
    if one < 0:
        raise ValueError(one)
    return sum(rest, one)


def problems_of(docstring: str) -> list[str]:
    return list(dataclasses.replace(of_function("fine", fine, None), docstring=docstring).problems())


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("    one: A number.\n", "", "parameter one is not told"),
        ("*rest: More", "rest: More", "parameter *rest is not told"),
        ("one: A", "none: A", "there is no parameter none"),
        ("one: A number.", "one: ", "section Parameters has an empty entry"),
        ("Returns:\n    The sum.\n", "", "what it returns is not told"),
        ("ValueError: A", "TypeError: A", "ValueError is raised and not told"),
        ("ValueError: A", "ValueErr: A", "no error is called ValueErr"),
        ("Add up.", "Add up; raises ValueError.", "the prose tells errors, which have a section"),
        ("Add up.", "Add up\nnumbers.", "the first paragraph has more than one line, and lists show one"),
    ],
)
def test_checker_finds_what_is_not_told(old: str, new: str, problem: str) -> None:
    docstring = inspect.cleandoc(fine.__doc__ or "")
    assert problems_of(docstring) == []
    assert old in docstring
    assert problem in problems_of(docstring.replace(old, new))


def test_checker_finds_parameters_in_another_order() -> None:
    docstring = inspect.cleandoc(fine.__doc__ or "").replace("    one: A number.\n", "")
    turned = docstring.replace("\nReturns:", "    one: A number.\n\nReturns:").replace(
        "lines.\n\n    one", "lines.\n    one"
    )
    assert problems_of(turned) == ["the parameters are told in another order than the signature has"]


def test_checker_finds_fields_without_a_string_beneath() -> None:
    body = ast.parse('told: int\n"""Yes."""\nuntold: int = 0\n_own: int\nboth = either = 1\n').body
    assert list(attributes(body, "")) == [("told", "Yes."), ("untold", None), ("both", None), ("either", None)]
