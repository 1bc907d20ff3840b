"""The shape of the house in figures: ``python tests/house.py [checkout]`` prints one table of the tree.

Each count takes sources by path and imports nothing of them, so that another checkout is counted alike; only the way of
a remote message is taken from a run, in a process of its own. The budgets of `test_tidy` use the same counts.
"""

from __future__ import annotations

import argparse
import ast
import io
import os
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
TELL_PATH = Path(__file__).with_name("benchmarks") / "tell_path.py"
TELL_SECONDS_MAX = 60

SKIPPED = {".nox", ".venv", ".git"}

PROSE_TOKENS = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}
FunctionNode = ast.FunctionDef | ast.AsyncFunctionDef
Sources = Mapping[str, str]
"""Texts of modules by their paths from the root of the project."""

RELATIVE_PRONOUN = re.compile(r"\b(who|whom|what|that|which)\b", re.IGNORECASE)
WORD = re.compile(r"[A-Za-z][\w'-]*")
PRIVATE = re.compile(r"_[A-Za-z]")
OF_NAMED_TUPLES = {"_asdict", "_fields", "_make", "_replace"}
"""Public, by Python's documentation: a named tuple keeps all other names for its fields."""
CONVERTING = ("casty/wire/codec/", "casty/schema/types.py", "casty/schema/fields.py")
"""Modules that turn values into what msgpack writes, and back, and say which types travel."""
PUBLIC_FAULTS = "casty/testing/simulation/scenario/faults.py"
"""Public faults of the simulator may share a word with a public command or policy: `Restart`, `Leave`."""
OWNED = ("Cell", "Kernel", "ClusterNode")
"""Classes whose attributes only their own module should write."""


def tracked(root: Path, *patterns: str) -> list[str]:
    """Return the files of a project that match: those which git knows or would take up."""
    top = git(root, "rev-parse", "--show-toplevel")
    if top.strip() != str(root.resolve()):  # an unpacked archive, without git
        files = (str(path.relative_to(root)) for path in root.rglob("*") if not SKIPPED.intersection(path.parts))
        return sorted(path for path in files if any(fnmatch(path, pattern) for pattern in patterns))
    listing = git(root, "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns)
    return sorted(name for name in set(listing.splitlines()) - {""} if (root / name).exists())


def git(root: Path, *arguments: str) -> str:
    """Return what git prints in a folder: nothing where it knows none of it."""
    return subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True, check=False).stdout


def read(root: Path, *patterns: str) -> dict[str, str]:
    """Return the texts of the tracked files that match, by path."""
    return {path: (root / path).read_text(encoding="utf-8") for path in tracked(root, *patterns)}


def code_lines(source: str, tree: ast.Module) -> set[int]:
    """Return the numbers of the lines that hold code: none of a docstring, a comment or nothing."""
    lines: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in PROSE_TOKENS:
            lines.update(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
            lines.difference_update(range(node.lineno, (node.end_lineno or node.lineno) + 1))
    return lines


def modules_by_folder(paths: list[str]) -> Counter[str]:
    """Return how many modules each folder holds."""
    return Counter(path.rpartition("/")[0] for path in paths)


def classes_of_one_name(sources: Sources) -> list[str]:
    """Return the names of top-level classes that stand in two modules beside the public faults, with those modules."""
    homes: dict[str, list[str]] = {}
    for path, source in sources.items():
        if path == PUBLIC_FAULTS:
            continue
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name, []).append(path)
    return [f"{name}: {', '.join(paths)}" for name, paths in sorted(homes.items()) if len(paths) > 1]


def definitions_that_stand_twice(sources: Sources) -> list[str]:
    """Return the top-level classes and functions that are the same in several modules, with those modules."""
    homes: dict[str, list[str]] = {}
    for path, source in sources.items():
        for node in ast.parse(source).body:
            if isinstance(node, ast.ClassDef | FunctionNode):
                homes.setdefault(f"{node.name}: {ast.dump(node)}", []).append(path)
    return [f"{text.partition(':')[0]}: {', '.join(paths)}" for text, paths in homes.items() if len(paths) > 1]


def import_circles(sources: Sources) -> list[list[str]]:
    """Return the sets of modules of which each imports all others by some way, imports for typing included."""
    modules = {path.removesuffix(".py").removesuffix("/__init__").replace("/", "."): path for path in sources}
    graph = {path: set(_imported(ast.parse(source), modules)) - {path} for path, source in sources.items()}
    reached = {path: _reachable(graph, path) for path in graph}
    circles = {tuple(sorted(other for other in reached[path] if path in reached[other])) for path in graph}
    return sorted((list(circle) for circle in circles if len(circle) > 1), key=len, reverse=True)


def _imported(tree: ast.Module, modules: Mapping[str, str]) -> Iterator[str]:
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            whole = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in whole]
        yield from (modules[name] for name in names if name in modules)


def _reachable(graph: Mapping[str, set[str]], start: str) -> set[str]:
    found: set[str] = set()
    waiting = [start]
    while waiting:
        new = graph[waiting.pop()] - found
        found |= new
        waiting += new
    return found


def relative_pronouns(sources: Sources) -> tuple[int, int]:
    """Return how many relative pronouns the docstrings of modules, classes and functions hold, and how many words."""
    texts: list[str] = []
    for source in sources.values():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Module | ast.ClassDef | FunctionNode):
                texts.append(ast.get_docstring(node) or "")
    whole = "\n".join(texts)
    return len(RELATIVE_PRONOUN.findall(whole)), len(WORD.findall(whole))


def pronouns_per_100_words(sources: Sources) -> float:
    """Return the relative pronouns in 100 words of docstrings; 0.0 without any words."""
    pronouns, words = relative_pronouns(sources)
    return 100 * pronouns / words if words else 0.0


def rooms_of(sources: Sources) -> dict[str, dict[str, str]]:
    """Return the sources of each folder, those of its own folders apart."""
    rooms: dict[str, dict[str, str]] = {}
    for path, source in sources.items():
        rooms.setdefault(path.rpartition("/")[0], {})[path] = source
    return rooms


def converting_lines(sources: Sources) -> int:
    """Return how many lines have the modules that convert types between values and msgpack."""
    return sum(len(source.splitlines()) for path, source in sources.items() if path.startswith(CONVERTING))


def reaches_into_privates(sources: Sources) -> int:
    """Return how often a private attribute of something else than ``self`` is used."""
    return sum(
        1
        for source in sources.values()
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Attribute) and PRIVATE.match(node.attr)
        if node.attr not in OF_NAMED_TUPLES and ast.unparse(node.value) not in ("self", "cls", "super()")
    )


@dataclass
class Types:
    """Classes by the annotations: of each attribute of a class, and of the result of a function."""

    attributes: dict[tuple[str, str], str] = field(default_factory=dict[tuple[str, str], str])
    returns: dict[str, str] = field(default_factory=dict[str, str])

    def learn(self, tree: ast.Module) -> None:
        """Take the annotations of one module, and of attributes that are assigned something annotated."""
        for node in tree.body:
            if isinstance(node, FunctionNode):
                self.returns[node.name] = _class_in(node.returns)
            elif isinstance(node, ast.ClassDef):
                self._learn_class(node)

    def _learn_class(self, owner: ast.ClassDef) -> None:
        for node in owner.body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
                self.attributes[owner.name, node.target.id] = _class_in(node.annotation)
            elif isinstance(node, FunctionNode):
                if any(isinstance(each, ast.Name) and each.id == "property" for each in node.decorator_list):
                    self.attributes[owner.name, node.name] = _class_in(node.returns)
                names = self.names_in(node, owner.name)
                for target, value in _assignments(node):
                    if isinstance(target, ast.Attribute) and self.class_of(target.value, names) == owner.name:
                        known = self.class_of(value, names)
                        if known:  # or it may be known once later modules have been learnt
                            self.attributes.setdefault((owner.name, target.attr), known)

    def names_in(self, function: FunctionNode, owner: str) -> dict[str, str]:
        """Return the classes of a function's parameters and of the variables that are assigned something known."""
        arguments = function.args
        named = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        names = {argument.arg: _class_in(argument.annotation) for argument in named}
        names["self"] = owner
        for target, value in _assignments(function):
            if isinstance(target, ast.Name):
                names.setdefault(target.id, self.class_of(value, names))
        return names

    def class_of(self, expression: ast.expr | None, names: Mapping[str, str]) -> str:
        """Return the class of an expression, or nothing."""
        match expression:
            case ast.Name(id=name):
                return names.get(name, "")
            case ast.Attribute(value=value, attr=name):
                return self.attributes.get((self.class_of(value, names), name), "")
            case ast.Call(func=ast.Name(id=name)):
                return self.returns.get(name, name if name in OWNED else "")
            case _:
                return ""


def _class_in(annotation: ast.expr | None) -> str:
    """Return the class that an annotation names: of ``Cell[M] | None`` it is ``Cell``."""
    words: list[str] = re.findall(r"\w+", "" if annotation is None else ast.unparse(annotation))
    return next((word for word in words if word not in ("None", "Final", "Optional", "ClassVar")), "")


def _assignments(function: FunctionNode) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Yield what is assigned in a function, and the value where it is one for the whole target."""
    for node in ast.walk(function):
        if isinstance(node, ast.Assign):
            for target in node.targets:
                parts = target.elts if isinstance(target, ast.Tuple) else [target]
                values = node.value.elts if isinstance(node.value, ast.Tuple) else [node.value]
                yield from zip(parts, values if len(values) == len(parts) else [None] * len(parts), strict=True)
        elif isinstance(node, ast.AugAssign | ast.AnnAssign):
            yield node.target, node.value
        elif isinstance(node, ast.Delete):
            yield from ((target, None) for target in node.targets)


def outside_writers(sources: Sources) -> dict[str, list[str]]:
    """Return, for each class of `OWNED`, the modules that write attributes of it and do not define it."""
    trees = {path: ast.parse(source) for path, source in sources.items()}
    types = Types()
    for _ in range(2):  # once more, for classes whose attributes have been learnt after their users
        for tree in trees.values():
            types.learn(tree)
    found: dict[str, set[str]] = {name: set() for name in OWNED}
    for path, tree in trees.items():
        homes = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        for owner, function in _functions_of(tree):
            names = types.names_in(function, owner)
            for target, _ in _assignments(function):
                written = types.class_of(target.value, names) if isinstance(target, ast.Attribute) else ""
                if written in found and written not in homes:
                    found[written].add(path)
    return {name: sorted(paths) for name, paths in found.items()}


def _functions_of(tree: ast.Module) -> Iterator[tuple[str, FunctionNode]]:
    """Yield the functions of a module and of its classes, each with the name of its class or nothing."""
    for node in tree.body:
        if isinstance(node, FunctionNode):
            yield "", node
        elif isinstance(node, ast.ClassDef):
            yield from ((node.name, each) for each in node.body if isinstance(each, FunctionNode))


def tell_path(root: Path) -> list[str]:
    """Return the functions, as ``path name``, between the socket and the handler of a warm remote message of a tree."""
    run = subprocess.run(
        [sys.executable, str(TELL_PATH)], capture_output=True, text=True, timeout=TELL_SECONDS_MAX, check=False,
        cwd=root, env={**os.environ, "PYTHONPATH": str(root)},
    )  # fmt: skip
    if run.returncode:
        raise RuntimeError(f"{TELL_PATH.name} over {root} ended with {run.returncode}: {run.stderr}")
    return run.stdout.splitlines()


def rows(root: Path) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the rows of the table: what is counted, its figure, and what was counted."""
    library = read(root, "casty/*.py")
    circles = import_circles(library)
    size = sum(map(len, circles))
    rooms = [f"{len(circle)}: {' '.join(circle)}" for circle in circles]
    yield "import circles over files, typing imports included", f"{size} files in {len(circles)}", rooms
    folders = [f"{count}: {folder}" for folder, count in modules_by_folder([*library]).most_common(5)]
    yield "files in the fullest folder", folders[0].partition(":")[0], folders
    twice = classes_of_one_name(library)
    yield "class names that stand twice, public faults of the simulator apart", f"{len(twice)}", twice
    by_room = {room: pronouns_per_100_words(found) for room, found in rooms_of(library).items()}
    densest = [f"{by_room[room]:5.2f} {room}" for room in sorted(by_room, key=by_room.__getitem__, reverse=True)]
    yield "relative pronouns in docstrings per 100 words", f"{pronouns_per_100_words(library):.2f}", densest
    converting = converting_lines(library)
    yield "own lines that convert types", f"{converting:,}" if converting else "no such modules", []
    writers = outside_writers(library)
    figures = " / ".join(str(len(paths)) for paths in writers.values())
    shown = [f"{name}: {' '.join(paths)}" for name, paths in writers.items()]
    yield f"files that write attributes of {' / '.join(writers)} from outside", figures, shown
    way = tell_path(root)
    own = [line for line in way if line.startswith("casty/")]
    yield "functions and files of a warm remote tell, socket to handler", in_files(own), own
    yield "the same, with those of Trio and Python", in_files(way), way
    yield "tests' reaches into privates", f"{reaches_into_privates(read(root, 'tests/*.py'))}", []


def in_files(functions: list[str]) -> str:
    """Return how many functions stand in how many files."""
    return f"{len(functions)} in {len({line.partition(' ')[0] for line in functions})}"


def main() -> None:
    """Print the table, with ``--list`` also what was counted."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("checkout", nargs="?", type=Path, default=ROOT, help="root of another tree of the project")
    parser.add_argument("--list", action="store_true", help="show what was counted under each row")
    arguments = parser.parse_args()
    for title, figure, counted in rows(arguments.checkout.resolve()):
        print(f"{title:<74} {figure:>16}", flush=True)
        if arguments.list:
            print("".join(f"    {line}\n" for line in counted), end="")


if __name__ == "__main__":
    main()
