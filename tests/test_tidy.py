"""The budgets of the house style, as a test: nobody has to argue about them.

`violations` looks at one source text and returns what breaks a rule; the last tests of the module
feed it bad code, so that a checker which finds nothing does not pass for a tidy project. A budget
is raised only by a commit that says why.
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from house import (
    PUBLIC_FAULTS,
    FunctionNode,
    classes_of_one_name,
    code_lines,
    converting_lines,
    definitions_that_stand_twice,
    import_circles,
    modules_by_folder,
    outside_writers,
    pronouns_per_100_words,
    reaches_into_privates,
    read,
    rooms_of,
    tracked,
)

ROOT = Path(__file__).parents[1]

MODULE_LINES_MAX = 400
PROTOCOL_MODULE_LINES_MAX = 300
"""Lines of code: a docstring that says more does not push code out of its module."""
FUNCTION_LINES_MAX = 70
NESTED_FUNCTION_LINES_MAX = 10
PARAMETERS_MAX = 6
TYPE_IGNORES_MAX = 11
"""Of each checker. Six of pyright's are the doors through which the layers above reach a handle's inside."""
EXAMPLE_LINES_MAX = 60
FILES_MAX = 14
"""Modules of one folder: a room that holds more is two."""
CIRCLE_MODULES_MAX = 2
"""Modules of one room that may import one another, for typing: today a cell with those who judge and end it. The figure
may fall, and never rises above 4."""
OUTSIDE_WRITERS_MAX = {"Cell": 1, "Kernel": 0, "ClusterNode": 0}
"""Modules that write attributes of a class of another. Who ends an actor writes those of its cell."""
REACHES_MAX = 51
"""Uses of private attributes by tests; they may only become fewer. `casty.testing.inspect` looks inside."""
STANDING_ALONE = ("tests/benchmarks/", "tests/typing/")
"""Programs and cases that are read, or run, by themselves: what they have in common they repeat."""
MODULE_NAMES_OF_MANY_ROOMS = {"__init__.py", "__main__.py", "machine.py", "messages.py"}

CONVERTING_LINES_MAX = 2_000
"""Lines of the modules that convert types, prose included."""
PRONOUNS_MAX = 1.3
"""Relative pronouns (who, whom, what, that, which) in 100 words of the library's docstrings: they describe a thing
instead of naming it. The figure may only fall; Trio's docstrings hold 1.5."""
NAMED_PRONOUNS_MAX = 2.0
NAMED_ROOMS = (
    "casty/cli",
    "casty/cli/demo",
    "casty/cluster",
    "casty/cluster/death_watch",
    "casty/cluster/leases",
    "casty/cluster/membership",
    "casty/cluster/observability",
    "casty/cluster/receptionist",
    "casty/cluster/remoting",
    "casty/config",
    "casty/protocol/death_watch",
    "casty/protocol/failure_detector",
    "casty/protocol/gossip",
    "casty/protocol/membership",
    "casty/protocol/messages",
    "casty/protocol/receptionist",
    "casty/protocol/split_brain",
    "casty/protocol/state",
    "casty/runtime",
    "casty/runtime/actor",
    "casty/runtime/behavior",
    "casty/runtime/messaging",
    "casty/runtime/messaging/queueing",
    "casty/runtime/system",
    "casty/testing/kit",
    "casty/testing/simulation/invariants",
    "casty/testing/simulation/invariants/extensions",
    "casty/testing/simulation/invariants/failure_detector",
    "casty/testing/simulation/invariants/membership",
    "casty/testing/simulation/invariants/split_brain",
    "casty/testing/simulation/model",
    "casty/testing/simulation/nodes",
    "casty/testing/simulation/scenario",
    "casty/testing/simulation/search",
    "casty/transport",
    "casty/transport/limits",
    "casty/transport/links",
    "casty/transport/manager",
    "casty/transport/network",
)
"""Rooms with docstrings that name: each keeps `NAMED_PRONOUNS_MAX`. The list may only grow, by a room whose words have
been gone over."""
DESCRIBING = re.compile(
    r"(What|Who|Whom|Whose|Whoever|Which|That|Where|When|How|Why|The same|Do the same|Do what|Be the"
    r"|Have|Raise that)\b"
)
"""Words that open no docstring of the library: after them a thing is described, where its noun would name it."""

IMPORTS_IN_FUNCTIONS: dict[tuple[str, str], str] = {
    # (module, imported name): the reason. Only optional extras belong here.
    ("casty/cli/__init__.py", "casty.cli.app"): "says what to install when the extra cli is missing",
    (
        "casty/cli/cert/cert_commands.py",
        "casty.cli.cert.authority",
    ): "says what to install where the extra tls is not",
    (
        "casty/cli/demo/demo_certificates.py",
        "casty.cli.cert.authority",
    ): "says what to install where the extra tls is not",
    ("casty/cli/demo_cart/cart_journals.py", "casty.cli.demo_cart.cart_schema"): "needs the extra postgres",
    ("casty/cli/demo_cart/cart_journals.py", "casty.persistence.postgres"): "says what to install when it is missing",
    ("casty/cli/journal/backup.py", "casty.persistence.postgres"): "needs the extra postgres",
    ("casty/cli/journal/stores.py", "casty.persistence.postgres.postgres_view"): "needs the extra postgres",
    ("casty/cluster/leases/lease.py", "sqlite3"): "a part of Python that some builds lack, and few nodes need",
    ("casty/persistence/sqlite/sqlite_connection.py", "sqlite3"): "a part of Python that some builds lack",
    ("casty/persistence/sqlite/sqlite_view.py", "sqlite3"): "a part of Python that some builds lack",
}
PARAMETERS_EXEMPT = {
    # The public contract fixes these signatures; each of their parameters is documented.
    "Cluster.__init__",
    "ClusterClient.__init__",
    "ClusteredActorSystem.__init__",
    "Behaviors.sharded",
    # Options of a command are parameters of its function.
    "node_command",
    "demo_cart",
    "status",
    "shards_command",
    "show_command",
    "replay_command",
    "check_command",
}

COUNTING = ("tests/house.py", "tests/benchmarks/tell_path.py")
"""Programs that count the house, and are held to its budgets themselves."""

SELF = "tests/test_tidy.py"  # shows what is untidy, and so is not held to the rules about words
REGISTRIES = [("pypi", "org"), ("pythonhosted", "org"), ("npmjs", "org"), ("debian", "org")]

REAL_TIME = ("tests/integration/", "tests/benchmarks/")
"""Where real processes take real time."""

CLOCKS = {"autojump_clock", "mock_clock"}

UNFINISHED = re.compile(r"\b(TODO|FIXME|XXX)\b|\bfor now\b", re.IGNORECASE)
MACHINE = re.compile(
    "|".join([r"(?<![\w.])/(root|home|tmp|work|opt|Users)/\w", *(r"\.".join(host) for host in REGISTRIES)])
)
SLEEP = re.compile(r"\b(trio|anyio|asyncio|time)\.sleep\(")
TYPE_IGNORE = re.compile(r"#\s*(type|pyright):\s*ignore(?P<code>\[[\w, -]+\])?(?P<rest>.*)")
LINT_IGNORE = re.compile(r"#\s*(noqa|pragma:)(?P<code>:? ?[A-Z]+\d+|:? no cover)?(?P<rest>.*)")


def violations(path: str, source: str) -> list[str]:
    """Return what is untidy in the module ``path`` (relative to the project), one line each."""
    tree = ast.parse(source)
    library = path.startswith("casty/") or path in COUNTING
    protocol = path.startswith("casty/protocol/")
    found = [] if path == SELF else [*_words(source), *_ignores(source), *_sleeps(path, source)]
    found += _unused_clocks(path, tree)
    if library:
        found += [
            *_module(path, source, tree),
            *_functions(path, tree),
            *_silent_cases(tree, protocol=protocol),
            *_openers(tree),
        ]
    if protocol:
        found += _purity(source, tree)
    return [f"{path}:{message}" for message in found]


def _line_of(source: str, match: re.Match[str]) -> int:
    return source.count("\n", 0, match.start()) + 1


def _words(source: str) -> Iterator[str]:
    for match in UNFINISHED.finditer(source):
        yield f"{_line_of(source, match)}: unfinished: {match.group()!r}"
    for match in MACHINE.finditer(source):
        yield f"{_line_of(source, match)}: names a machine or a registry: {match.group()!r}"


def _ignores(source: str) -> Iterator[str]:
    for number, line in enumerate(source.splitlines(), 1):
        for pattern in (TYPE_IGNORE, LINT_IGNORE):
            match = pattern.search(line)
            if match and (match["code"] is None or "#" not in match["rest"]):
                yield f"{number}: an ignore names its rule and, after a second #, its reason"


def _sleeps(path: str, source: str) -> Iterator[str]:
    virtual = "autojump" in source or "MockClock" in source or "testing.simulation" in source
    if path.startswith("tests/") and not path.startswith(REAL_TIME) and not virtual:
        for match in SLEEP.finditer(source):
            yield f"{_line_of(source, match)}: sleeps on a real clock"


def _unused_clocks(path: str, tree: ast.Module) -> Iterator[str]:
    """Find a virtual clock that is asked for where pytest-trio does not look: only a test's own parameter sets it."""
    if not path.startswith(("tests/", "docs/")):
        return
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            way = node.func.attr
            names = {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
            if way in ("usefixtures", "getfixturevalue") and CLOCKS & names:
                yield f"{node.lineno}: {way} sets no clock: make it a parameter of the test"
        elif isinstance(node, FunctionNode) and CLOCKS.intersection(_parameters(node)):
            if any("autouse" in ast.unparse(decorator) for decorator in node.decorator_list):
                yield f"{node.lineno}: an autouse fixture sets no clock: make it a parameter of the test"


def _module(path: str, source: str, tree: ast.Module) -> Iterator[str]:
    limit = PROTOCOL_MODULE_LINES_MAX if path.startswith("casty/protocol/") else MODULE_LINES_MAX
    lines = len(code_lines(source, tree))
    if lines > limit:
        yield f"1: {lines} lines of code, at most {limit}"
    if tree.body and ast.get_docstring(tree) is None:
        yield "1: no module docstring"
    code = [node for node in tree.body if not isinstance(node, ast.Expr)]
    if code and not path.endswith("__init__.py") and "from __future__ import annotations\n" not in source:
        yield "1: no 'from __future__ import annotations'"


def _openers(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(value=str(text))) if found := DESCRIBING.match(text.strip()):
                yield f"{node.lineno}: opens with {found[1]!r}: begin with a verb or a noun"
            case _:
                continue


def _functions(path: str, tree: ast.Module) -> Iterator[str]:
    for name, node, depth in _walk_functions(tree, "", 0):
        lines = (node.end_lineno or node.lineno) - node.lineno + 1
        limit = FUNCTION_LINES_MAX if depth == 0 else NESTED_FUNCTION_LINES_MAX
        if lines > limit:
            yield f"{node.lineno}: {name} has {lines} lines, at most {limit}"
        if depth > 1:
            yield f"{node.lineno}: {name} is a function in a function in a function"
        count = len(_parameters(node))
        if count > PARAMETERS_MAX and name not in PARAMETERS_EXEMPT:
            yield f"{node.lineno}: {name} has {count} parameters, at most {PARAMETERS_MAX}"
        if depth == 0:
            yield from _imports_inside(path, name, node)


def _walk_functions(parent: ast.AST, prefix: str, depth: int) -> Iterator[tuple[str, FunctionNode, int]]:
    for node in ast.iter_child_nodes(parent):
        if isinstance(node, FunctionNode):
            yield prefix + node.name, node, depth
            yield from _walk_functions(node, f"{prefix}{node.name}.", depth + 1)
        elif isinstance(node, ast.ClassDef):
            yield from _walk_functions(node, f"{prefix}{node.name}.", depth)
        else:
            yield from _walk_functions(node, prefix, depth)


def _parameters(node: FunctionNode) -> list[str]:
    arguments = node.args
    named = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
    starred = [argument for argument in (arguments.vararg, arguments.kwarg) if argument is not None]
    return [argument.arg for argument in (*named, *starred) if argument.arg not in ("self", "cls")]


def _imports_inside(path: str, name: str, function: FunctionNode) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Import | ast.ImportFrom):
            module = node.names[0].name if isinstance(node, ast.Import) else node.module or ""
            if (path, module) not in IMPORTS_IN_FUNCTIONS:
                yield f"{node.lineno}: {name} imports {module}; imports stand at the top"


def _silent_cases(tree: ast.Module, *, protocol: bool) -> Iterator[str]:
    for node in ast.walk(tree):
        if not isinstance(node, ast.match_case) or node.guard is not None:
            continue
        wildcard = isinstance(node.pattern, ast.MatchAs) and node.pattern.pattern is None
        if wildcard and len(node.body) == 1 and _keeps_silent(node.body[0], protocol=protocol):
            yield f"{node.body[0].lineno}: a wildcard case that keeps silent; end with assert_never"


def _keeps_silent(statement: ast.stmt, *, protocol: bool) -> bool:
    match statement:
        case ast.Pass() | ast.Continue() | ast.Return(value=None) | ast.Expr(value=ast.Constant()):
            return True
        case ast.Return(value=ast.List(elts=[]) | ast.Tuple(elts=[])):
            return protocol  # a machine that answers an unknown event with no effects
        case _:
            return False


def _purity(source: str, tree: ast.Module) -> Iterator[str]:
    if _decides(tree) and not _is_charter(ast.get_docstring(tree) or ""):
        yield "1: a protocol module opens with its charter: what it owns, what it must not know, how it works"
    for node in ast.walk(tree):
        modules: list[str] = []
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            modules = [node.module or ""]
        for module in modules:
            package = module.partition(".")[0]
            if package != "casty" and package not in sys.stdlib_module_names:
                yield f"{getattr(node, 'lineno', 1)}: imports {package}; a protocol knows the standard library only"
    for match in re.finditer(r"\bAny\b", _without_strings(source, tree)):
        yield f"{_line_of(source, match)}: Any; in a protocol each type has a name"


def _decides(tree: ast.Module) -> bool:
    """Return whether a module has rules of its own; one that only lists values needs no charter."""
    functions = (node for node in ast.walk(tree) if isinstance(node, FunctionNode) and not node.decorator_list)
    return any(not node.name.startswith("__") for node in functions)


def _is_charter(docstring: str) -> bool:
    paragraphs = [line for line in docstring.splitlines() if line.strip()]
    return len(paragraphs) >= 3 and re.search(r"\bowns?\b", docstring, re.IGNORECASE) is not None


def _without_strings(source: str, tree: ast.Module) -> str:
    """Return the source with docstrings and comments blanked out, at the same line numbers."""
    lines = [line.partition("#")[0] for line in source.splitlines()]
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            for number in range(node.lineno - 1, node.end_lineno or node.lineno):
                lines[number] = ""
    return "\n".join(lines)


@pytest.mark.parametrize("path", tracked(ROOT, "*.py"))
def test_module_keeps_the_budgets(path: str) -> None:
    assert violations(path, (ROOT / path).read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", tracked(ROOT, "*.md", "*.toml", "*.yml", "*.txt", ".ci/*"))
def test_text_names_no_machine_and_nothing_unfinished(path: str) -> None:
    assert list(_words((ROOT / path).read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", tracked(ROOT, "docs/examples/*.py"))
def test_example_is_short(path: str) -> None:
    assert len((ROOT / path).read_text(encoding="utf-8").splitlines()) < EXAMPLE_LINES_MAX


def test_type_ignores_of_the_library_stay_few() -> None:
    counts: Counter[str] = Counter()
    for path in tracked(ROOT, "casty/*.py"):
        for match in TYPE_IGNORE.finditer((ROOT / path).read_text(encoding="utf-8")):
            counts[match[1]] += 1
    assert all(count <= TYPE_IGNORES_MAX for count in counts.values()), counts


def crowded(paths: list[str]) -> list[str]:
    """Return the folders that hold too many modules."""
    counts = modules_by_folder(paths).items()
    return [f"{folder}: {count} modules, at most {FILES_MAX}" for folder, count in counts if count > FILES_MAX]


def modules_of_one_name(paths: list[str]) -> list[str]:
    """Return the modules of one package that have the same name in two of its rooms."""
    rooms: dict[tuple[str, str], list[str]] = {}
    for path in paths:
        *folders, name = path.split("/")
        if name not in MODULE_NAMES_OF_MANY_ROOMS:
            rooms.setdefault(("/".join(folders[:2]), name), []).append(path)
    return [" and ".join(found) for found in rooms.values() if len(found) > 1]


def test_folder_holds_few_modules() -> None:
    assert crowded(tracked(ROOT, "casty/*.py", "tests/unit/*.py")) == []
    assert crowded([f"casty/a/{number}.py" for number in range(15)]) == ["casty/a: 15 modules, at most 14"]


def test_module_name_stands_once_in_its_package() -> None:
    assert modules_of_one_name(tracked(ROOT, "casty/*.py")) == []
    twice = ["casty/a/x/b.py", "casty/a/y/b.py"]
    others = ["casty/c/x/b.py", "casty/a/x/machine.py", "casty/a/y/machine.py"]
    assert modules_of_one_name([*twice, *others]) == ["casty/a/x/b.py and casty/a/y/b.py"]


def test_class_name_stands_once() -> None:
    assert classes_of_one_name(read(ROOT, "casty/*.py")) == []
    assert classes_of_one_name({PUBLIC_FAULTS: "class A: ...", "b.py": "class A: ..."}) == []
    assert classes_of_one_name({"a.py": "class A: ...", "b.py": "class A: ...\nclass B: ..."}) == ["A: a.py, b.py"]


def test_types_are_converted_in_few_lines() -> None:
    assert converting_lines(read(ROOT, "casty/*.py")) <= CONVERTING_LINES_MAX


def test_docstrings_describe_less_and_name_more() -> None:
    library = read(ROOT, "casty/*.py")
    assert pronouns_per_100_words(library) <= PRONOUNS_MAX
    rooms = {room: pronouns_per_100_words(sources) for room, sources in rooms_of(library).items()}
    assert {room: rooms[room] for room in NAMED_ROOMS if rooms[room] > NAMED_PRONOUNS_MAX} == {}


def wide_circles(sources: dict[str, str]) -> list[str]:
    """Return the circles of imports that are too large, or lead through two rooms."""
    circles = import_circles(sources)
    wide = [one for one in circles if len(one) > CIRCLE_MODULES_MAX or len(modules_by_folder(one)) > 1]
    return [" ".join(one) for one in wide]


def test_circles_of_imports_stay_small_and_in_one_room() -> None:
    assert wide_circles(read(ROOT, "casty/*.py")) == []
    ring = {f"casty/a/{name}.py": f"from casty.a import {after}" for name, after in zip("bcde", "cdeb", strict=True)}
    assert wide_circles(ring) == ["casty/a/b.py casty/a/c.py casty/a/d.py casty/a/e.py"]
    assert wide_circles({"casty/a/x.py": "import casty.b.y", "casty/b/y.py": "import casty.a.x"}) != []
    assert wide_circles({"casty/a/x.py": "import casty.a.y", "casty/a/y.py": "import casty.a.x"}) == []


def test_attributes_of_cell_kernel_and_node_are_written_by_their_owners() -> None:
    found = outside_writers(read(ROOT, "casty/*.py"))
    assert {name: len(paths) for name, paths in found.items()} == OUTSIDE_WRITERS_MAX, found


def test_reaches_of_tests_into_privates_become_fewer() -> None:
    assert reaches_into_privates(read(ROOT, "tests/*.py")) <= REACHES_MAX


def test_what_tests_share_is_written_once() -> None:
    tests = {path: text for path, text in read(ROOT, "tests/*.py").items() if not path.startswith(STANDING_ALONE)}
    assert definitions_that_stand_twice(tests) == []


HEADER = '"""Counts.\n\nOwns the count.\nKnows nothing of clocks.\n"""\nfrom __future__ import annotations\n'


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("casty/a.py", "x = 1\n" * 400, "lines of code, at most 400"),
        ("casty/cli/a.py", "def f():\n    '''Where it is.'''", "opens with 'Where'"),
        ("casty/cli/a.py", "class A:\n    def f():\n        '''Do the same.'''", "opens with 'Do the same'"),
        ("casty/wire/a.py", "class A:\n    x: int\n    '''How many.'''", "opens with 'How'"),
        ("casty/a.py", "X = 1\n'''When it ended.'''", "opens with 'When'"),
        ("casty/protocol/a.py", "x = 1\n" * 300, "lines of code, at most 300"),
        ("casty/a.py", "def f():\n" + "    x = 1\n" * 70, "f has 71 lines"),
        ("casty/a.py", "class A:\n    def f(self):\n" + "        x = 1\n" * 70, "A.f has 71 lines"),
        ("casty/a.py", "def f():\n    def g():\n" + "        x = 1\n" * 10, "f.g has 11 lines"),
        ("casty/a.py", "def f():\n  def g():\n    def h(): ...", "f.g.h is a function in a function in a function"),
        ("casty/a.py", "def f(a, b, /, c, *d, e, f, **g): ...", "f has 7 parameters"),
        ("casty/a.py", "async def f():\n    import os", "f imports os"),
        ("casty/a.py", "def f():\n    if x:\n        from typer import Typer", "f imports typer"),
        ("casty/a.py", "match x:\n    case 1: y()\n    case _: pass", "keeps silent"),
        ("casty/a.py", "def f():\n  match x:\n    case other: return", "keeps silent"),
        ("casty/protocol/a.py", "def f():\n  match x:\n    case _: return []", "keeps silent"),
        ("casty/protocol/a.py", "import msgpack", "imports msgpack"),
        ("casty/protocol/a.py", "from typing import Any", "Any"),
        ("casty/a.py", "x = y  # type: ignore", "names its rule"),
        ("casty/a.py", "x = y  # type: ignore[attr-defined]", "names its rule"),
        ("casty/a.py", "x = y  # noqa: E501", "names its rule"),
        ("casty/a.py", "x = 1  # TODO", "unfinished"),
        ("casty/a.py", "x = 1  # enough for now", "unfinished"),
        ("tests/unit/test_a.py", "x = '/home/someone/project'", "names a machine"),
        ("tests/unit/test_a.py", "async def test_a():\n    await trio.sleep(1)", "sleeps on a real clock"),
        (
            "tests/unit/test_a.py",
            "@pytest.mark.usefixtures('autojump_clock')\nasync def test_a(): ...",
            "sets no clock",
        ),
        ("tests/unit/test_a.py", "pytestmark = pytest.mark.usefixtures('x', 'mock_clock')", "sets no clock"),
        ("tests/unit/test_a.py", "def test_a(request): request.getfixturevalue('autojump_clock')", "sets no clock"),
        ("tests/unit/test_a.py", "@pytest.fixture(autouse=True)\ndef clock(autojump_clock): ...", "sets no clock"),
    ],
)
def test_checker_finds_what_is_untidy(path: str, body: str, expected: str) -> None:
    found = violations(path, HEADER + textwrap.dedent(body))
    assert any(expected in line for line in found), found


def test_checker_misses_a_docstring_a_charter_and_the_future_import() -> None:
    assert "casty/a.py:1: no module docstring" in violations("casty/a.py", "x = 1\n")
    assert "casty/a.py:1: no 'from __future__ import annotations'" in violations("casty/a.py", '"""A."""\nx = 1\n')
    assert any("charter" in line for line in violations("casty/protocol/a.py", '"""A."""\ndef f(): ...'))


def test_checker_counts_code_and_no_prose() -> None:
    prose = '"""Says\n\n' + "# more\n" * 400 + '"""\n' + "\n# why\n" * 400
    assert violations("casty/a.py", HEADER + "x = 1\n" * 399 + prose) == []
    assert "401 lines of code" in violations("casty/a.py", HEADER + prose + "x = (\n" + "1,\n" * 398 + ")\n")[0]
    assert "401 lines of code" in violations("casty/a.py", HEADER + 'x = """' + "# a\n" * 399 + '"""\n')[0]


def test_checker_lets_tidy_code_pass() -> None:
    body = (
        """
    def f(self, a, b, c, d, e, *, g):
        def h(): ...
        match a:
            case 1:
                return h
            case _ as never:
                assert_never(never)
    x = y  # type: ign"""
        """ore[attr-defined]  # the stubs lag behind
    """
    )
    assert violations("casty/protocol/a.py", HEADER + textwrap.dedent(body)) == []
    assert violations("tests/integration/test_a.py", "async def test_a():\n    await trio.sleep(1)\n") == []
    assert "sleeps" in violations("tests/test_a.py", "async def test_a():\n    await trio.sleep(1)\n")[0]
    assert violations("tests/unit/test_a.py", "def test_a(autojump_clock): trio.sleep(1)\n") == []
    assert violations("tests/unit/test_a.py", "@pytest.mark.usefixtures('shop')\ndef test_a(): ...\n") == []
