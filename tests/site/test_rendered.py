"""The built site shows what the docstrings tell: run by ``nox -s docs``, where mkdocs is installed."""

from __future__ import annotations

import dataclasses
import importlib.util
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HEADINGS = {"h1", "h2", "h3", "h4", "h5", "h6"}

pytest.importorskip("mkdocs", reason="the group docs is not installed")


def checks() -> ModuleType:
    """Return the module that knows what is public and what its docstrings tell."""
    spec = importlib.util.spec_from_file_location("reference_checks", ROOT / "tests" / "test_reference.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


REFERENCE = checks()


class Page(HTMLParser):
    """Collects what stands beneath each heading with an identifier: tables by their titles, and signatures."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: dict[str, dict[str, list[list[str]]]] = {}
        self.signatures: dict[str, str] = {}
        self._heading = self._title = ""
        self._until, self._text = "", ""
        """The tag that ends what is being collected, and the text so far."""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        classes = (named.get("class") or "").split()
        if named.get("id") and (tag in HEADINGS or tag == "a"):  # a heading that is hidden is an empty link
            self._heading = str(named["id"])
            self.tables.setdefault(self._heading, {})
        elif "doc-section-title" in classes:
            self._title, self._until, self._text = "", "span", ""
        elif "doc-signature" in classes:
            self._until, self._text = "pre", ""
        elif tag == "tr" and self._title:
            self.tables[self._heading].setdefault(self._title, []).append([])
        elif tag == "td" and self._title:
            self._until, self._text = "td", ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        text = " ".join(self._text.split())
        if tag == self._until:
            self._until = ""
            if tag == "span":
                self._title = text.removesuffix(":")
            elif tag == "td":
                self.tables[self._heading][self._title][-1].append(text)
            else:
                self.signatures.setdefault(self._heading, text)
        elif tag == "table":
            self._title = ""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Page:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    page = Page()
    for path in sorted((folder / "reference").rglob("*.html")):
        page.feed(path.read_text(encoding="utf-8"))
    return page


def places(name: str, owner: type | None, rendered: Page) -> str | None:
    """Return the heading under which a name stands: for an inherited method it may be that of its base."""
    bases = [] if owner is None else [base.__name__ for base in owner.__mro__]
    member = name.rpartition(".")[2]
    package = name.rsplit(".", 2)[0]
    candidates = [name, *(f"{home}.{base}.{member}" for base in bases for home in (package, "casty"))]
    return next((each for each in candidates if each in rendered.tables), None)


def rows(rendered: Page, heading: str, title: str) -> list[list[str]]:
    return [row for row in rendered.tables[heading].get(title, []) if row]


def test_every_public_name_has_a_place(site: Page) -> None:
    assert [name for name, _ in REFERENCE.public() if name not in site.tables] == []


def test_every_parameter_reply_and_error_stands_in_a_table(site: Page) -> None:
    missing: list[str] = []
    for name, one in REFERENCE.ALL.items():
        heading = places(name, one.owner, site)
        told = REFERENCE.sections(one.docstring)
        if heading is None:
            missing.append(f"{name} has no place")
            continue
        for title in ("Parameters", "Raises"):
            shown = [row[0].replace("*", "") for row in rows(site, heading, title)]
            wanted = [each.replace("*", "").rpartition(".")[2] for each in told.get(title, ())]
            if not set(wanted) <= set(shown):
                missing.append(f"{name}: {title} {wanted}, shown {shown}")
        if "Returns" in told and not rows(site, heading, "Returns"):
            missing.append(f"{name}: what it returns")
    assert missing == []


def test_every_field_of_a_dataclass_stands_in_its_table_with_type_text_and_default(site: Page) -> None:
    for name, value in REFERENCE.CLASSES.items():
        if dataclasses.is_dataclass(value):
            wanted = [each.name for each in dataclasses.fields(value) if each.init]
            table = {row[0]: row[1:] for row in rows(site, name, "Parameters")}
            assert sorted(table) == sorted(wanted), name
            assert all(all(cells) for cells in table.values()), (name, table)


def test_every_class_that_is_made_shows_how(site: Page) -> None:
    unsigned: list[str] = []
    for name, value in REFERENCE.CLASSES.items():
        made = dataclasses.is_dataclass(value) or REFERENCE.of_class(name, value).parameters
        if made and not site.signatures.get(name, "").startswith(f"{value.__name__}("):
            unsigned.append(name)
    assert unsigned == []


def test_a_class_that_casty_makes_shows_no_constructor(site: Page) -> None:
    made = [name for name, one in REFERENCE.CLASSES.items() if REFERENCE.MADE_BY.search(one.__doc__ or "")]
    assert "casty.embed.Embedded" in made
    assert [name for name in made if name in site.signatures] == []


def test_arguments_that_are_passed_on_keep_the_whole_name_of_their_type(site: Page) -> None:
    assert "*args: P.args, **kwargs: P.kwargs" in site.signatures["casty.embed.Embedded.call"]
    table = {row[0]: row[1] for row in rows(site, "casty.embed.Embedded.call", "Parameters")}
    assert (table["*args"], table["**kwargs"]) == ("P.args", "P.kwargs")


def test_contract_page_shows_the_six_fields_of_a_snapshot(site: Page) -> None:
    shown: Any = [row[0] for row in rows(site, "casty.TopologySnapshot", "Parameters")]
    assert shown == ["members", "leader", "shard_allocations", "allocation_epoch", "unreachable", "registry"]
