"""The same scenario goes the same way: in every process, with every hash seed, on every Python."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
VERSIONS = ("3.11", "3.12", "3.13")

PLAYS = """
import logging
from casty import Behaviors
from casty.testing.simulation import partition_scenario, play, random_scenario, simulate

async def on_node(node):
    node.spawn(Behaviors.ignore(), "cart")

logging.disable()
without = lambda seed, nodes=(): random_scenario(seed, nodes, clocks=False)
for draw in (without, partition_scenario):
    for seed in range(2):
        print(draw.__name__, seed, play(draw(seed)))
        print(draw.__name__, seed, simulate(draw(seed, ("a", "b", "c")), on_node=on_node))
"""


def run(python: Sequence[str], program: str, hash_seed: str = "random", **variables: str) -> str:
    """Run a program with the packages of this interpreter; the pure ones serve every version."""
    packages = os.pathsep.join([str(ROOT), sysconfig.get_path("purelib")])
    environment = {**os.environ, "PYTHONPATH": packages, "PYTHONHASHSEED": hash_seed, **variables}
    words = [*python, "-c", program]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, env=environment, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    return done.stdout


@cache
def expected(program: str) -> str:
    return run([sys.executable], program, "0")


def variables_to_start(version: str) -> dict[str, str]:
    """Return the variables with which ``pythonX.Y`` runs; skip the test when it is missing, or is but a dead shim.

    The shim of a version that pyenv has, but was not told to use, starts once it is told.
    """
    found = ""
    for variables in ({}, {"PYENV_VERSION": version}):
        try:
            words = [f"python{version}", "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
            environment = {**os.environ, **variables}
            done = subprocess.run(words, capture_output=True, text=True, timeout=30, env=environment, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            found = str(error)
            continue
        if done.stdout.strip() == version:
            return variables
        found = found or done.stderr.strip()
    pytest.skip(f"python{version} does not start here: {found[:80]}")


@pytest.mark.parametrize("hash_seed", ["0", "1", "4711"])
def test_hashes_of_strings_change_nothing(hash_seed: str) -> None:
    assert expected(PLAYS).count("digest=") == 8
    assert run([sys.executable], PLAYS, hash_seed) == expected(PLAYS)


@pytest.mark.parametrize("version", VERSIONS)
def test_the_version_of_python_changes_nothing(version: str) -> None:
    variables = variables_to_start(version)
    assert run([f"python{version}"], PLAYS, **variables) == expected(PLAYS)
