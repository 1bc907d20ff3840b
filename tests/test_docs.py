"""Everything that a reader may copy is run: the pages' snippets, the docstrings' examples, the programs.

Pages: each ```python block of README.md and docs/ is executed as a program, top-level ``await``
included. The blocks of one page share a namespace, in order; ``<!-- fresh -->`` on the line before
a block starts a new one. A block of ``>>>`` lines is checked like a doctest. ```console is not run.
``<!-- file: docs/examples/x.py -->`` before a block says that it shows this file, which is run by
itself: the two have to be equal.

Every line of a page's blocks has to be run, the ways of failing too: an example whose refusal has never happened may be
wrong there. A block inside of ``<!-- check ... -->``, which readers do not see, calls what the visible ones define.
``<!-- not run: reason -->`` before a block excuses the functions in it.

Pages and docstrings that use the name ``system`` without defining it get a running ActorSystem.
"""

from __future__ import annotations

import ast
import contextlib
import dis
import doctest
import importlib
import inspect
import io
import os
import re
import subprocess
import sys
import textwrap
import threading
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any

import pytest
import trio

import casty

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "docs" / "examples").glob("*.py"))
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "casty").rglob("*.py"))
    if path.name != "__main__.py" and ">>>" in path.read_text(encoding="utf-8")
]
RUN_SECONDS_MAX = 90

FENCE = re.compile(
    r"^(?P<indent> *)```(?:\{ *\.)?(?P<language>[\w+-]*)[^\n]*\n(?P<body>.*?)^(?P=indent)```[ ]*$", re.M | re.S
)
FRESH = "<!-- fresh -->"
NOT_RUN = re.compile(r"<!-- not run: [^>]+ -->\Z")
SHOWN_FILE = re.compile(r"<!-- file: (?P<path>docs/examples/[\w/]+\.py) -->\Z")
INCLUDE = "--8<--"  # shows a program of docs/examples, which is run by itself
MISSPELT = {"py", "python3", "pycon", "py3", "Python"}


class WrongExample(AssertionError):
    """A ``>>>`` example printed something else than the text shows."""


@dataclass
class Program:
    """Blocks of source, or doctest examples, that share one namespace."""

    name: str
    namespace: dict[str, object] = field(default_factory=dict[str, object])
    parts: list[CodeType | doctest.Example] = field(default_factory=list[CodeType | doctest.Example])
    owed: set[int] = field(default_factory=set[int])
    """The lines that have to be run, by their numbers on the page."""

    def add_block(self, source: str, line: int, *, is_excused: bool = False) -> None:
        """Add a block that starts at ``line`` of its file; ``is_excused`` where its functions need not be called."""
        if source.lstrip().startswith(">>>"):
            self.add_examples(doctest.DocTestParser().get_examples(source), line)
            return
        code = _compiled("\n" * (line - 1) + source, self.name, "exec")
        self.parts.append(code)
        if not is_excused:
            self.owed |= {number for number in _lines_of(code) if number >= line}

    def add_examples(self, examples: list[doctest.Example], line: int) -> None:
        """Add ``>>>`` examples whose line numbers count from ``line``."""
        for example in examples:
            example.lineno += line
            self.parts.append(example)

    def code(self) -> Iterator[CodeType]:
        """Yield the code of each part, compiled."""
        for part in self.parts:
            yield part if isinstance(part, CodeType) else _compiled(part.source, self.name, "single")

    @property
    def needs_system(self) -> bool:
        """Whether ``system`` is used and defined nowhere."""
        stored = {name for code in self.code() for name in _names(code, "STORE_NAME", nested=False)}
        loaded = {name for code in self.code() for name in _names(code, "LOAD_NAME", "LOAD_GLOBAL")}
        return "system" in loaded - stored - set(self.namespace)

    @property
    def needs_trio(self) -> bool:
        """Whether a part awaits at its top level, or uses the system that is lent to it."""
        return self.needs_system or any(code.co_flags & inspect.CO_COROUTINE for code in self.code())

    def run(self) -> None:
        """Run all parts in order; under Trio if one of them needs it."""
        if self.needs_trio:
            trio.run(self._run_in_trio)
        else:
            for part in self.parts:
                self._run_sync(part)

    async def _run_in_trio(self) -> None:
        with trio.fail_after(RUN_SECONDS_MAX):
            async with contextlib.AsyncExitStack() as stack:
                if self.needs_system:
                    actor_system = getattr(casty, "ActorSystem")  # noqa: B009  # checkers need not know it here
                    self.namespace["system"] = await stack.enter_async_context(actor_system())
                for part in self.parts:
                    await self._run_part(part)

    async def _run_part(self, part: CodeType | doctest.Example) -> None:
        code = part if isinstance(part, CodeType) else _compiled(part.source, self.name, "single")
        if not code.co_flags & inspect.CO_COROUTINE:
            if "run" in code.co_names and {"trio", "anyio"} & set(code.co_names):  # starts a loop of its own
                await trio.to_thread.run_sync(self._run_sync, part)
            else:
                self._run_sync(part)
        elif isinstance(part, CodeType):
            await eval(code, self.namespace)
        else:
            with _captured() as output:
                failure = ""
                try:
                    await eval(code, self.namespace)
                except Exception as error:
                    failure = _last_line(error, part)
            _compare(part, output.getvalue(), failure, self.name)

    def _run_sync(self, part: CodeType | doctest.Example) -> None:
        if isinstance(part, CodeType):
            exec(part, self.namespace)
            return
        with _captured() as output:
            failure = ""
            try:
                exec(_compiled(part.source, self.name, "single"), self.namespace)
            except Exception as error:
                failure = _last_line(error, part)
        _compare(part, output.getvalue(), failure, self.name)


def _compiled(source: str, name: str, mode: str) -> CodeType:
    return compile(source, name, mode, flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)


def _names(code: CodeType, *operations: str, nested: bool = True) -> Iterator[str]:
    """Yield the names on which ``code`` uses one of the operations, in the functions inside it too."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in operations:
            yield str(instruction.argval)
    if nested:
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                yield from _names(constant, *operations)


def _lines_of(code: CodeType) -> Iterator[int]:
    """Yield the lines of ``code`` that do something, with those of the functions inside it."""
    inside = [constant for constant in code.co_consts if isinstance(constant, CodeType)]
    yield from (line for _, _, line in code.co_lines() if line)
    for function in inside:
        yield from set(_lines_of(function)) - {function.co_firstlineno}


@contextlib.contextmanager
def lines_run(name: str) -> Iterator[set[int]]:
    """Collect the lines of the file ``name`` that are run in the block, in any thread."""
    lines: set[int] = set()

    def note(frame: FrameType, event: str, argument: object) -> Any:
        if frame.f_code.co_filename != name:
            return None
        lines.add(frame.f_lineno)
        return note

    before = sys.gettrace()
    threading.settrace(note)
    sys.settrace(note)
    try:
        yield lines
    finally:
        sys.settrace(before)
        threading.settrace(before)  # type: ignore[arg-type]  # None ends it, which typeshed does not know


@contextlib.contextmanager
def _captured() -> Iterator[io.StringIO]:
    """Collect what is printed, with values shown as the interactive prompt shows them."""
    output = io.StringIO()
    hook, sys.displayhook = sys.displayhook, _show
    try:
        with contextlib.redirect_stdout(output):
            yield output
    finally:
        sys.displayhook = hook


def _show(value: object) -> None:
    if value is not None:
        sys.stdout.write(f"{value!r}\n")


def _last_line(error: Exception, example: doctest.Example) -> str:
    """Return the line that the prompt would end with; errors that the text does not show are raised."""
    if example.exc_msg is None:
        raise error
    return traceback.format_exception_only(error)[-1]


def _compare(example: doctest.Example, output: str, failure: str, name: str) -> None:
    flags = doctest.ELLIPSIS | sum(flag for flag, on in example.options.items() if on)
    checker = doctest.OutputChecker()
    kept = output if example.exc_msg is None else failure
    wanted = example.want if example.exc_msg is None else example.exc_msg
    if not checker.check_output(wanted, kept, flags):
        where = f"{name}:{example.lineno + 1}\n>>> {example.source}"
        raise WrongExample(f"{where}{checker.output_difference(example, kept, flags)}")


def programs_of_page(name: str, text: str) -> list[Program]:
    """Return the programs of one page: one, or more where blocks are marked as fresh."""
    programs = [Program(name)]
    for match in FENCE.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["language"] in MISSPELT:
            raise WrongExample(f"{name}:{line}: write ```python, so that the block is run")
        if match["language"] == "python" and not match["body"].lstrip().startswith(INCLUDE):
            before = text[: match.start()].rstrip()
            shown = SHOWN_FILE.search(before)
            if shown is not None:
                _check_shown(f"{name}:{line}", match["body"], ROOT / shown["path"])
                continue
            if before.endswith(FRESH):
                programs.append(Program(name))
            is_excused = NOT_RUN.search(before) is not None
            programs[-1].add_block(textwrap.dedent(match["body"]), line + 1, is_excused=is_excused)
    return [program for program in programs if program.parts]


def _check_shown(where: str, body: str, path: Path) -> None:
    if not path.is_file() or body != path.read_text(encoding="utf-8"):
        raise WrongExample(f"{where}: this is not the text of {path.relative_to(ROOT)}")


def run_as_main(program: Program) -> None:
    """Run a program the way a reader would: as ``__main__``."""
    module = ModuleType("__main__")
    module.__dict__.update(program.namespace)
    program.namespace = module.__dict__
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "__main__", module)
        program.run()


def run_whole(program: Program, text: str) -> None:
    """Run a program of the page ``text``; raise WrongExample where a line of it has not been run."""
    with lines_run(program.name) as lines:
        run_as_main(program)
    source = text.splitlines()
    idle = [f"{program.name}:{number}: {source[number - 1].strip()}" for number in sorted(program.owed - lines)]
    if idle:
        raise WrongExample("\n".join(["never run: call it in a block inside of <!-- check ... -->", *idle]))


def programs_of_module(name: str) -> list[Program]:
    """Return one program for each docstring of a module that has examples."""
    module = importlib.import_module(name)
    public = {name: getattr(casty, name) for name in casty.__all__}
    programs: list[Program] = []
    for test in doctest.DocTestFinder(exclude_empty=True).find(module, name):
        programs.append(Program(test.name, {**public, **test.globs}))
        programs[-1].add_examples(test.examples, test.lineno or 0)
    return [program for program in programs if program.parts]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_snippets_of_the_page_run(page: Path) -> None:
    name, text = str(page.relative_to(ROOT)), page.read_text(encoding="utf-8")
    for program in programs_of_page(name, text):
        run_whole(program, text)


@pytest.mark.parametrize("module", MODULES)
def test_docstrings_of_the_module_hold(module: str) -> None:
    for program in programs_of_module(module):
        program.run()


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_example_program_runs(example: Path) -> None:
    source = example.read_text(encoding="utf-8")
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert "main" in {function.name for function in functions}
    assert 'if __name__ == "__main__":' in source, "the program must start its main"
    command = [sys.executable, "-W", "error", "-X", "dev", str(example)]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=RUN_SECONDS_MAX, cwd=ROOT, stdin=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, check=False,
    )  # fmt: skip
    assert (run.returncode, run.stderr) == (0, ""), run.stdout + run.stderr


def test_every_name_that_the_migration_page_calls_kept_exists() -> None:
    text = (ROOT / "docs" / "how-to" / "migrate.md").read_text(encoding="utf-8")
    kept = text.partition("## Kept")[2].partition("## ")[0]
    names = {name.rpartition(".")[2] for name in re.findall(r"`([\w.]+)`", kept)}
    owners = (casty, casty.Behaviors, casty.ActorContext, casty.ActorSystem)
    assert len(names) > 40
    assert [name for name in sorted(names) if not any(hasattr(owner, name) for owner in owners)] == []


def page(*lines: str) -> list[Program]:
    return programs_of_page("page.md", "\n".join(lines) + "\n")


HELLO = (ROOT / "docs" / "examples" / "hello.py").read_text(encoding="utf-8").rstrip("\n")
RIGHT = {
    "a file, which is not run": ["<!-- file: docs/examples/hello.py -->", "```python", HELLO, "```"],
    "blocks share names": ["```python", "x = 1", "```", "text", "```python", "assert x == 1", "```"],
    "top-level await": ["```python", "import trio", "await trio.lowlevel.checkpoint()", "```"],
    "a doctest block": ["```python", ">>> 1 + 1", "2", "```"],
    "an awaiting doctest": ["```python", ">>> import trio", ">>> await trio.lowlevel.checkpoint()", "```"],
    "an expected error": ["```python", ">>> int('x')", "Traceback (most recent call last):", "ValueError: invalid "
                          "literal for int() with base 10: 'x'", "```"],
    "a loop of its own": ["```python", "import trio", "async def main(): ...", "trio.run(main)", "```",
                          "```python", "await main()", "```"],
    "an indented block": ["- item", "", "    ```python", "    x = 1", "    ```"],
    "console is not run": ["```console", "$ false", "```"],
    "it is __main__": ["```python", "class A: ...", "assert A.__module__ == '__main__'", "```"],
}  # fmt: skip

WRONG = {
    "a failing assert": ["```python", "assert False", "```"],
    "a name nobody defined": ["```python", "undefined", "```"],
    "a later block": ["```python", "x = 1", "```", "```python", "assert x == 2", "```"],
    "an awaiting block": ["```python", "import trio", "await trio.lowlevel.checkpoint()", "assert False", "```"],
    "a wrong doctest": ["```python", ">>> 1 + 1", "3", "```"],
    "a wrong awaiting doctest": ["```python", ">>> async def f(): return 1", ">>> await f()", "2", "```"],
    "an error that the text lacks": ["```python", ">>> int('x')", "1", "```"],
    "another error": ["```python", ">>> int('x')", "Traceback (most recent call last):", "KeyError: 1", "```"],
    "an error that did not come": ["```python", ">>> 1", "Traceback (most recent call last):", "KeyError: 1", "```"],
    "a name from before fresh": ["```python", "x = 1", "```", FRESH, "```python", "x", "```"],
    "another fence": ["```py", "x = 1", "```"],
    "an indented block": ["- item", "", "    ```python", "    assert False", "    ```"],
    "a block with a title": ["```python title='a'", "assert False", "```"],
    "a block with attributes": ["```{.python title='a'}", "assert False", "```"],
    "a syntax error": ["```python", "x =", "```"],
    "a file that is not there": ["<!-- file: docs/examples/none.py -->", "```python", "x = 1", "```"],
    "another text than the file's": ["<!-- file: docs/examples/hello.py -->", "```python", "x = 1", "```"],
}


@pytest.mark.parametrize("lines", RIGHT.values(), ids=RIGHT)
def test_runner_lets_a_right_snippet_pass(lines: list[str]) -> None:
    for program in page(*lines):
        run_as_main(program)


@pytest.mark.parametrize("lines", WRONG.values(), ids=WRONG)
def test_runner_fails_a_wrong_snippet(lines: list[str]) -> None:
    with pytest.raises((AssertionError, NameError, ValueError, SyntaxError)):
        for program in page(*lines):
            run_as_main(program)


LESSON = ["```python", "def half(x):", "    if x % 2:", "        raise ValueError(x)", "    return x // 2", "```"]
CHECK = [
    "<!-- check",
    "```python",
    "assert half(2) == 1",
    "try:",
    "    half(1)",
    "except ValueError:",
    "    x = 1",
    "```",
    "-->",
]
UNCHECKED = {
    "nobody calls it": LESSON,
    "its failure does not happen": [*LESSON, "```python", "half(2)", "```"],
    "its success does not happen": [*LESSON, *CHECK[:2], *CHECK[3:]],
    "another block is excused": [*LESSON, "<!-- not run: no time -->", *LESSON],
    "no reason is given": ["<!-- not run:  -->", *LESSON],
}


@pytest.mark.parametrize("lines", UNCHECKED.values(), ids=UNCHECKED)
def test_runner_fails_a_snippet_of_which_a_line_was_not_run(lines: list[str]) -> None:
    with pytest.raises(WrongExample, match="never run"):
        for program in page(*lines):
            run_whole(program, "\n".join(lines))


@pytest.mark.parametrize("lines", [[*LESSON, *CHECK], ["<!-- not run: no time -->", *LESSON]])
def test_runner_lets_a_snippet_pass_that_was_run_whole_or_is_excused(lines: list[str]) -> None:
    for program in page(*lines):
        run_whole(program, "\n".join(lines))


@pytest.mark.parametrize(
    ("source", "lent"),
    [
        ("system.spawn", True),
        ("async def main():\n    system.spawn", True),
        ("system = 1\nsystem.spawn", False),
        ("async def main(system):\n    system.spawn", False),
        ("async def main():\n    async with f() as system:\n        system.spawn", False),
        ("async with f() as system:\n    system.spawn", False),
    ],
)
def test_a_system_is_lent_to_a_page_that_defines_none(source: str, lent: bool) -> None:
    assert [program.needs_system for program in page("```python", source, "```")] == [lent]


@contextlib.asynccontextmanager
async def answering() -> AsyncIterator[Callable[[], Awaitable[int]]]:
    """Stand in for ActorSystem: what is lent has to be open, and closed afterwards."""
    still_open = True

    async def answer() -> int:
        await trio.lowlevel.checkpoint()
        return 1 if still_open else 0

    try:
        yield answer
    finally:
        still_open = False


@pytest.mark.parametrize(("answer", "right"), [("1", True), ("2", False)])
def test_a_docstring_awaits_the_system_that_is_lent(monkeypatch: pytest.MonkeyPatch, answer: str, right: bool) -> None:
    monkeypatch.setattr(casty, "ActorSystem", answering, raising=False)
    program = Program("casty.Thing")
    source = f">>> reply = await system()\n>>> reply\n{answer}\n"
    program.add_examples(doctest.DocTestParser().get_examples(source), line=0)
    with contextlib.nullcontext() if right else pytest.RaisesGroup(WrongExample, allow_unwrapped=True):
        program.run()


def test_page_about_security_names_tests_that_there_are() -> None:
    page = (ROOT / "docs" / "explanation" / "security.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`(test_\w+)`", page))
    there = {
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"^(?:async )?def (test_\w+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert len(named) > 20 and named <= there, named - there
