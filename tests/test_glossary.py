"""The glossary has every room and every public name, and nothing that is gone; the architecture's files exist."""

from __future__ import annotations

import importlib
import inspect
import re
from pathlib import Path
from types import ModuleType

import pytest
from house import tracked

import casty
from casty import embed, prometheus, testing
from casty.persistence import postgres
from casty.testing import inspect as looking
from casty.testing import simulation

ROOT = Path(__file__).parents[1]
EXPLANATION = ROOT / "docs" / "explanation"
PACKAGES: dict[ModuleType, list[str]] = {
    casty: casty.__all__,
    embed: embed.__all__,
    prometheus: ["PrometheusCollector"],
    postgres: postgres.__all__,
    testing: testing.__all__,
    looking: looking.__all__,
    simulation: simulation.__all__,
}
TEN_CHANGES = (
    "mailbox policy, scalar, subcommand, leader rule, strategy, control message, metric, journal, link limit, invariant"
).split(", ")
LINE_MAX = 100
"""Characters of what a public name means: one line."""

NAMED = re.compile(r"`(?P<path>(?:casty|tests|docs)/[\w/.-]+|[\w.-]+\.toml)`(?: \((?P<names>`\w+`(?:, `\w+`)*)\))?")
LINKED = re.compile(r"\[`(?P<shown>\w+)`\]\[(?P<target>[\w.]+)\]")


def page(name: str) -> str:
    return (EXPLANATION / name).read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    """Return what stands under a heading, up to the next one of any level."""
    return re.split(r"^#+ .*\n", text.partition(f"\n{heading}\n")[2], maxsplit=1, flags=re.M)[0]


def table(text: str, heading: str) -> list[list[str]]:
    """Return the cells of the table under a heading, its head left out."""
    rows = [line for line in section(text, heading).splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows[2:]]


def out_of_order(words: list[str]) -> list[str]:
    """Return the words that stand before one that sorts earlier, whatever their case."""
    keys = [(word.casefold(), word) for word in words]
    return [word for word, key, after in zip(words, keys, keys[1:], strict=False) if key >= after]


def rooms() -> list[str]:
    return [path.removesuffix("/__init__.py").replace("/", ".") for path in tracked(ROOT, "casty/*__init__.py")]


def found(dotted: str) -> bool:
    """Return whether a dotted name is a module, or something in one."""
    try:
        importlib.import_module(dotted)
    except ModuleNotFoundError:
        module, _, name = dotted.rpartition(".")
        return bool(module) and found(module) and hasattr(importlib.import_module(module), name)
    return True


def missing_files(text: str) -> list[str]:
    """Return the files of a text that do not exist, and the names in brackets behind one that it does not hold."""
    wrong: list[str] = []
    for match in NAMED.finditer(text):
        path = ROOT / match["path"]
        if not path.exists():
            wrong.append(match["path"])
            continue
        names: list[str] = re.findall(r"\w+", match["names"] or "")
        wrong += [f"{match['path']}: {name}" for name in names if not re.search(rf"\b{name}\b", path.read_text())]
    return wrong


def test_every_room_has_an_entry_that_says_what_it_owns_must_not_know_and_is_opened_for() -> None:
    entries = table(page("glossary.md"), "## Rooms")
    assert [cells[0].strip("`") for cells in entries] == sorted(rooms())
    assert [cells[0] for cells in entries if len(cells) != 4 or not all(cells)] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_every_public_name_has_an_entry_and_every_entry_a_name(package: ModuleType) -> None:
    names: list[str] = []
    for entry, meaning in table(page("glossary.md"), f"### {package.__name__}"):
        match = LINKED.fullmatch(entry)
        assert match is not None and match["target"] == f"{package.__name__}.{match['shown']}", entry
        assert 0 < len(meaning) <= LINE_MAX, entry
        names.append(match["shown"])
    assert sorted(names) == sorted(PACKAGES[package])
    assert out_of_order(names) == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: package.__name__)
def test_an_entry_says_something_else_than_the_reference(package: ModuleType) -> None:
    def words(text: str) -> list[str]:
        return re.findall(r"\w+", text.casefold())

    for entry, meaning in table(page("glossary.md"), f"### {package.__name__}"):
        name = entry[2:].partition("`")[0]
        docstring = inspect.getdoc(getattr(package, name)) or ""
        assert words(meaning) != words(docstring.partition("\n")[0]), name


def test_words_of_the_field_lead_to_what_exists() -> None:
    entries = table(page("glossary.md"), "## Words of the field")
    assert len(entries) > 50
    assert out_of_order([word for word, _ in entries]) == []
    assert [target for _, target in entries if not found(target.strip("`"))] == []


def test_the_architecture_names_files_that_exist_with_what_they_hold() -> None:
    text = page("architecture.md")
    assert len(NAMED.findall(text)) > 40
    assert missing_files(text) == []


def test_ten_changes_lead_to_a_room() -> None:
    changes = {cells[0]: cells[1] for cells in table(page("architecture.md"), "## Where to change what")}
    for change in TEN_CHANGES:
        places = [place for told, place in changes.items() if change in told]
        assert places and all(NAMED.search(place) for place in places), change


def test_the_checks_notice_what_is_gone_and_what_is_out_of_order() -> None:
    assert out_of_order(["a", "B", "c"]) == []
    assert out_of_order(["a", "c", "B"]) == ["c"]
    assert out_of_order(["a", "a"]) == ["a"]
    assert not found("casty.refs.ActorRefs") and not found("casty.actors") and not found("nowhere")
    assert found("casty.refs.ActorRef") and found("casty.protocol.failure_detector.ring")
    assert missing_files(
        "`casty/refs.py` (`ActorRef`), `casty/actors.py` and `casty/refs.py` (`ActorRef`, `Actor`)"
    ) == [
        "casty/actors.py",
        "casty/refs.py: Actor",
    ]
    text = "\n## A\n\n| x | y |\n| --- | --- |\n| 1 | 2 |\n\n## B\n| 3 | 4 |\n"
    assert (table(text, "## A"), table(text, "## C")) == ([["1", "2"]], [])
