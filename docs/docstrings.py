"""Show docstrings on the site as their readers expect it: what mkdocs.yml names as an extension of griffe.

Doctests become fenced code, because Markdown would take ``>>>`` for a quotation. The fields of a dataclass, and the
members of an enum, become one table in its docstring, made of the strings beneath them. A class that is ``Made by``
casty is shown without its constructor. A name in single backticks
becomes a link where it is public; so does the name of an error under ``Raises:``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import griffe

PACKAGES = ("casty", "casty.testing", "casty.testing.simulation", "casty.embed", "casty.prometheus")
"""Whose names are public, the first that has one counts."""
NAME = re.compile(r"(?<![`\w\[])`([A-Za-z_][\w.]*)`(?![`\w\]])")
FACTORY = re.compile(r"(?:lambda: )?(dict|list|set)\[.*\]\(\)(?:\(\))?")
EMPTY = {"dict": "{}", "list": "[]", "set": "set()"}
"""What a default reads like whose factory names its types for the checkers."""
MADE_BY = re.compile(r"\bMade by (`|casty)")
RAISES = re.compile(r"^Raises:$", re.MULTILINE)


class Docstrings(griffe.Extension):
    """The extension: all of it happens once the package is read, and before the first docstring is parsed."""

    def on_package(self, *, pkg: griffe.Module, **kwargs: object) -> None:
        """Change the docstrings of a package that was read."""
        if pkg.name != "casty":
            return
        links = dict(_public(pkg))
        for one in _objects(pkg):
            if isinstance(one, griffe.Function):
                _spell_out(one)
        classes = [one for one in _objects(pkg) if isinstance(one, griffe.Class)]
        told = [dict(_told(cls)) for cls in classes]
        for cls, fields in zip(classes, told, strict=True):
            if cls.docstring is not None and MADE_BY.search(cls.docstring.value) and "__init__" in cls.members:
                cls.del_member("__init__")
            _tabulate(cls, fields)
        for object_ in _objects(pkg):
            if object_.docstring is not None:
                object_.docstring.value = _linked(fenced(object_.docstring.value), object_, links)
                _link_errors(object_.docstring, pkg)


def fenced(text: str) -> str:
    """Return ``text`` with each doctest in a fence of its own; a blank line ends one."""
    lines: list[str] = []
    inside = False
    for line in text.splitlines():
        if not inside and line.startswith(">>> "):
            inside = True
            lines.append("```pycon")
        elif inside and not line.strip():
            inside = False
            lines.append("```")
        lines.append(line)
    return "\n".join([*lines, "```"] if inside else lines)


def _objects(parent: griffe.Object) -> Iterator[griffe.Object]:
    for member in parent.members.values():
        if not member.is_alias and isinstance(member, griffe.Object):
            yield member
            yield from _objects(member)


def _spell_out(function: griffe.Function) -> None:
    """Show ``*args: P.args`` as it is written, where only the last name of an annotation would be shown."""
    for one in function.parameters:
        if str(one.annotation).endswith((".args", ".kwargs")):
            one.annotation = str(one.annotation)


def _public(pkg: griffe.Module) -> Iterator[tuple[str, str]]:
    """Yield each public name, by itself and with its package, and the identifier of its place on the site."""
    for package in reversed(PACKAGES):
        module = pkg if package == pkg.name else pkg[package.removeprefix("casty.")]
        for name in module.exports or ["PrometheusCollector"]:
            yield str(name), f"{package}.{name}"
            yield f"{package}.{name}", f"{package}.{name}"


def _told(cls: griffe.Class) -> Iterator[tuple[str, str]]:
    """Yield the fields of a class, those of its bases first, each with its text on one line."""
    for owner in [*reversed(cls.mro()), cls]:
        for name, member in owner.members.items():
            if member.is_attribute and "property" not in member.labels and member.docstring is not None:
                yield name, " ".join(member.docstring.value.split())


def _tabulate(cls: griffe.Class, told: dict[str, str]) -> None:
    """Move what is told of the fields of a dataclass, or the members of an enum, into a table in its docstring."""
    is_enum = any(str(base) in ("Enum", "StrEnum") for base in cls.bases)
    if cls.docstring is None or not (is_enum or "dataclass" in cls.labels):
        return
    order = [name for name in (told if is_enum else (one.name for one in cls.parameters)) if name in told]
    if not order:
        return
    table = "\n".join(["Attributes:" if is_enum else "Parameters:", *(f"    {name}: {told[name]}" for name in order)])
    raises = RAISES.search(cls.docstring.value)
    cut = len(cls.docstring.value) if raises is None else raises.start()
    before, after = cls.docstring.value[:cut].rstrip(), cls.docstring.value[cut:]
    cls.docstring.value = f"{before}\n\n{table}\n\n{after}".rstrip()
    for one in cls.parameters:
        found = FACTORY.fullmatch(str(one.default))
        if found is not None:
            one.default = EMPTY[found[1]]
    for name in order:  # without a docstring an attribute has no place of its own on the page
        if name in cls.members:
            cls.members[name].docstring = None


def _linked(text: str, object_: griffe.Object, links: dict[str, str]) -> str:
    """Return ``text`` with names in single backticks as links; what stands in fences stays."""
    fences = text.split("```")
    for place in range(0, len(fences), 2):
        fences[place] = NAME.sub(lambda found: _link(found[1], object_, links), fences[place])
    return "```".join(fences)


def _link(name: str, object_: griffe.Object, links: dict[str, str]) -> str:
    owner = object_ if isinstance(object_, griffe.Class) else object_.parent
    first, _, rest = name.partition(".")
    if isinstance(owner, griffe.Class) and name in owner.all_members and name != object_.name:
        return f"[`{name}`][{owner.path}.{name}]"
    if name in links:
        return f"[`{name.rpartition('.')[2]}`][{links[name]}]"
    if rest and first in links:
        return f"[`{name}`][{links[first]}.{rest}]"
    return f"`{name}`"


def _link_errors(docstring: griffe.Docstring, pkg: griffe.Module) -> None:
    """Let the errors of a docstring lead to where they are explained, also where the module does not import them."""
    for section in docstring.parsed:
        if isinstance(section, griffe.DocstringSectionRaises):
            for raised in section.value:
                name = str(raised.annotation)
                if name in pkg.members:
                    raised.annotation = griffe.ExprName(name, parent=pkg)
