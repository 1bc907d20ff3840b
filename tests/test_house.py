"""The counts of the house find what they are for, and nothing else, in trees of a few lines."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from house import (
    classes_of_one_name,
    converting_lines,
    definitions_that_stand_twice,
    import_circles,
    in_files,
    outside_writers,
    pronouns_per_100_words,
    reaches_into_privates,
    read,
    relative_pronouns,
    rooms_of,
)


@pytest.mark.parametrize(
    ("sources", "circles"),
    [
        ({"a.py": "import b", "b.py": "import a"}, [["a.py", "b.py"]]),
        ({"a.py": "import b", "b.py": "import c", "c.py": "from a import x"}, [["a.py", "b.py", "c.py"]]),
        ({"a.py": "if TYPE_CHECKING:\n    import b", "b.py": "def f():\n    import a"}, [["a.py", "b.py"]]),
        ({"p/a.py": "from p import b", "p/b.py": "from p.a import x", "p/__init__.py": ""}, [["p/a.py", "p/b.py"]]),
        ({"p/a.py": "import p", "p/__init__.py": "from p.a import x"}, [["p/__init__.py", "p/a.py"]]),
        ({"a.py": "import b", "b.py": "import os", "c.py": "import a, b"}, []),
        ({"a.py": "import a"}, []),
    ],
)
def test_modules_that_import_one_another_are_a_circle(sources: dict[str, str], circles: list[list[str]]) -> None:
    assert import_circles(sources) == circles


def test_two_circles_that_do_not_meet_are_two_the_larger_first() -> None:
    sources = {
        "a.py": "import b",
        "b.py": "import a\nimport c",
        "c.py": "import d",
        "d.py": "import e",
        "e.py": "import c",
    }
    assert import_circles(sources) == [["c.py", "d.py", "e.py"], ["a.py", "b.py"]]


def test_pronouns_count_in_docstrings_alone() -> None:
    source = '"""What it owns."""\nx = "that which"  # who\ndef f():\n    """Return a number, whoever asks."""\n'
    assert relative_pronouns({"a.py": source}) == (1, 8)
    assert pronouns_per_100_words({"a.py": source}) == 12.5
    assert pronouns_per_100_words({"a.py": "x = 1"}) == 0.0


def test_a_room_has_the_modules_of_its_own_folder() -> None:
    sources = {"a/b.py": "1", "a/c.py": "2", "a/d/e.py": "3"}
    assert rooms_of(sources) == {"a": {"a/b.py": "1", "a/c.py": "2"}, "a/d": {"a/d/e.py": "3"}}


def test_a_class_name_in_two_modules_is_told_with_both() -> None:
    sources = {"a.py": "class A: ...", "b.py": "class A: ...\nclass B:\n    class C: ...", "c.py": "class C: ..."}
    assert classes_of_one_name(sources) == ["A: a.py, b.py"]


def test_a_copy_is_told_with_its_modules_and_a_namesake_is_none() -> None:
    get = "class Get:\n    number: int\n"
    sources = {
        "a.py": get,
        "b.py": f"x = 1\n\n\n{get}",
        "c.py": "class Get:\n    text: str\n",
        "d.py": "def get(): ...",
    }
    assert definitions_that_stand_twice(sources) == ["Get: a.py, b.py"]


def test_lines_of_the_codec_and_of_types_are_those_that_convert() -> None:
    sources = {
        "casty/wire/codec/a.py": "1\n2\n",
        "casty/schema/types.py": "3",
        "casty/schema/names.py": "4",
        "x.py": "5",
    }
    assert converting_lines(sources) == 3


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("node._peers", 1),
        ("node._peers._links", 2),
        ("self.node._peers", 1),
        ("self._peers", 0),
        ("self._peers.up", 0),
        ("node.__dict__", 0),
        ("node.peers", 0),
        ("super()._peers", 0),
        ("super().node._peers", 1),
        ("node._replace(peers=1)", 0),
        ("_peers", 0),
    ],
)
def test_a_private_attribute_of_another_object_is_a_reach(line: str, count: int) -> None:
    assert reaches_into_privates({"tests/a.py": f"def f(self, node):\n    {line}\n"}) == count


CELL = "class Cell:\n    def __init__(self, kernel: Kernel) -> None:\n        self.kernel = kernel\n"
KERNEL = "class Kernel: ...\ndef kernel_of(system) -> Kernel: ..."
WRITING = {
    "a parameter": "def f(cell: Cell[int]) -> None:\n    cell.x = 1",
    "an optional one": "def f(cell: Cell | None) -> None:\n    cell.x += 1",
    "a parameter in quotes": "def f(cell: 'Cell[int]') -> None:\n    del cell.x",
    "an attribute": "class A:\n    def __init__(self, c: Cell):\n        self._c = c\n    def f(self): self._c.x = 1",
    "a declared one": "class A:\n    c: Cell\n    def f(self):\n        self.c.x, y = 1, 2",
    "a property": "class A:\n    @property\n    def c(self) -> Cell: ...\n    def f(self): self.c.x = 1",
    "a variable": "def f(cell: Cell):\n    other = cell\n    other.x: int = 1",
    "a subclass's own": "class Other(Cell):\n    def f(self, cell: Cell) -> None:\n        cell.x = 1",
}


@pytest.mark.parametrize("source", WRITING.values(), ids=WRITING)
def test_who_writes_an_attribute_of_a_cell_is_found(source: str) -> None:
    written = outside_writers({"cell.py": CELL, "kernel.py": KERNEL, "a.py": source})
    assert written == {"Cell": ["a.py"], "Kernel": [], "ClusterNode": []}


def test_the_way_to_an_owner_leads_over_attributes_and_functions() -> None:
    source = "def f(cell: Cell) -> None:\n    cell.kernel.x = 1"
    found = outside_writers({"a.py": source, "b.py": "def g():\n    kernel_of(1).x = 1", "c.py": CELL, "k.py": KERNEL})
    assert found["Kernel"] == ["a.py", "b.py"]


def test_an_attribute_is_known_though_its_class_is_defined_later() -> None:
    owner = "class A:\n    def __init__(self) -> None:\n        self.kernel = kernel_of(1)\n"
    source = f"{owner}    def f(self) -> None:\n        self.kernel.x = 1"
    assert outside_writers({"a.py": source, "kernel.py": KERNEL})["Kernel"] == ["a.py"]


def test_a_module_that_reads_or_that_defines_the_class_writes_nothing_from_outside() -> None:
    reading = "def f(cell: Cell, other: Other) -> None:\n    x = cell.y\n    other.x = cell.x = cell.y if x else 1"
    assert outside_writers({"cell.py": CELL + "def f(cell: Cell):\n    cell.x = 1"})["Cell"] == []
    assert outside_writers({"cell.py": CELL, "a.py": reading.replace("cell.x = ", "")})["Cell"] == []
    assert outside_writers({"cell.py": CELL, "a.py": reading})["Cell"] == ["a.py"]


@pytest.mark.parametrize("is_repository", [True, False])
def test_the_files_of_a_tree_are_read_with_git_and_without(tmp_path: Path, is_repository: bool) -> None:
    for path in ("casty/a/b.py", "casty/c.py", "casty/d.txt", "other/casty/e.py", ".venv/casty/f.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path, encoding="utf-8")
    if is_repository:
        subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert read(tmp_path, "casty/*.py") == {"casty/a/b.py": "casty/a/b.py", "casty/c.py": "casty/c.py"}


def test_functions_are_counted_with_their_files() -> None:
    assert in_files(["a.py f", "a.py g", "b.py f"]) == "3 in 2"
