"""The command ends quietly at Ctrl-C, also before there is anything that could take it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

PRESSED_AT = """
import signal, sys

class Presser:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            signal.raise_signal(signal.SIGINT)

sys.meta_path.insert(0, Presser())
signal.signal(signal.SIGINT, {handler})
sys.argv = ["casty", "--version"]
import casty_command
casty_command.main()
"""


def run(name: str, handler: str = "signal.default_int_handler") -> tuple[int, str, str]:
    code = PRESSED_AT.format(name=name, handler=handler)
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize("name", ["casty", "trio", "casty.cluster.system", "casty.cli.app", "typer", "rich"])
def test_ctrl_c_while_modules_are_imported_ends_with_one_line(name: str) -> None:
    assert run(name) == (130, "", "casty: interrupted\n")


def test_what_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    status, out, err = run("casty.cluster.system", "signal.SIG_IGN")
    assert (status, err) == (0, "") and out.startswith("casty ")


def test_without_ctrl_c_it_is_the_command() -> None:
    status, out, err = run("nothing.of.that.name")
    assert (status, err) == (0, "") and out.startswith("casty ")
