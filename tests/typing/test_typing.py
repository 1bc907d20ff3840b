"""What the checkers must accept, and what they must refuse, in a user's code.

A line that ends in ``# expect-error`` must be refused by mypy and by pyright; every other line of
the cases must be accepted by both. Run by the session ``types``, which installs the checkers.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CASES = sorted(Path(__file__).parent.glob("case_*.py"))
MARKER = "# expect-error"

Places = set[tuple[str, int]]


def checked(*command: str) -> str:
    """Return what a checker says; it exits with 1 when it finds errors, as it should here."""
    run = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert run.returncode in (0, 1), run.stdout + run.stderr
    return run.stdout


def mypy(files: list[Path]) -> tuple[Places, str]:
    """Return the lines that mypy refuses, and its report."""
    report = checked("mypy", "--no-pretty", "--hide-error-context", *map(str, files))
    places = re.findall(r"^(.+?):(\d+): error:", report, re.MULTILINE)
    return {(Path(file).name, int(line)) for file, line in places}, report


def pyright(files: list[Path]) -> tuple[Places, str]:
    """Return the lines that pyright refuses, and its report."""
    report = checked("pyright", "--pythonpath", sys.executable, "--outputjson", *map(str, files))
    found = [entry for entry in json.loads(report)["generalDiagnostics"] if entry["severity"] == "error"]
    return {(Path(entry["file"]).name, int(entry["range"]["start"]["line"]) + 1) for entry in found}, report


def marked(files: list[Path]) -> Places:
    """Return the lines that must be refused."""
    return {
        (file.name, number)
        for file in files
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1)
        if line.endswith(MARKER)
    }


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_checker_refuses_exactly_the_marked_lines(checker: Callable[[list[Path]], tuple[Places, str]]) -> None:
    refused, report = checker(CASES)
    expected = marked(CASES)
    assert expected, "without a marked line nothing is proved"
    assert (sorted(refused - expected), sorted(expected - refused)) == ([], []), report


@pytest.mark.parametrize("checker", [mypy, pyright], ids=["mypy", "pyright"])
def test_comparison_notices_a_wrong_line(checker: Callable[[list[Path]], tuple[Places, str]], tmp_path: Path) -> None:
    case = tmp_path / "case_wrong.py"
    case.write_text(f"text: str = 1\nnumber: int = 1  {MARKER}\n", encoding="utf-8")
    refused, _ = checker([case])
    assert (refused, marked([case])) == ({("case_wrong.py", 1)}, {("case_wrong.py", 2)})
