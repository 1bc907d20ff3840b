"""The peers, and an environment of its own for each that has to be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

PROGRAMS = Path(__file__).with_name("peers")
OURS, BASELINE, RUST, ERLANG, LIMIT = "casty", "asyncio", "rust", "erlang", "bare"
ERLANG_PLAIN = "erlang-plain"
SPINNING = (ERLANG, ERLANG_PLAIN)
"""Peers whose processor time says nothing: their schedulers spin while they wait."""
PEER_PYTHON_MIN = (3, 12)


@dataclass(frozen=True)
class Program:
    """How the workloads of one peer are started."""

    name: str
    title: str
    command: Sequence[str]


@dataclass(frozen=True)
class _Kind:
    name: str
    title: str
    find_python: Callable[[Path], str | None]
    program: str = ""
    arguments: Sequence[str] = ()


def find(folder: Path, wanted: Sequence[str]) -> list[Program]:
    """Return the peers that can run here, installing what is missing below ``folder``; say what is left out."""
    kinds = [
        _Kind(OURS, "this library", lambda _: sys.executable),
        _Kind(BASELINE, "casty 0.16.2, asyncio", lambda folder: installed(folder, "casty==0.16.2")),
        _Kind(RUST, "casty 0.30.2, Rust under asyncio", lambda folder: installed(folder, "casty==0.30.2")),
        _Kind(ERLANG, "Erlang/OTP", with_erlang),
        _Kind(ERLANG_PLAIN, "Erlang/OTP, asks that notice no end", with_erlang, ERLANG, ("--plain",)),
        _Kind(LIMIT, "bare trio, anyio, msgpack and cattrs", lambda _: sys.executable),
    ]
    found = list[Program]()
    for kind in kinds:
        if kind.name not in wanted:
            continue
        python = kind.find_python(folder)
        if python is None:
            print(f"skipped {kind.name}: {kind.title} is not to be had here", flush=True)
        else:
            program = str(PROGRAMS / f"peer_{kind.program or kind.name}.py")
            found.append(Program(kind.name, kind.title, (python, program, *kind.arguments)))
    return found


def with_erlang(_: Path) -> str | None:
    """Return this interpreter, which starts Erlang, where that is installed."""
    return sys.executable if shutil.which("erl") and shutil.which("erlc") else None


def installed(folder: Path, requirement: str) -> str | None:
    """Return the interpreter of an environment with one library, made on first use; None where it cannot be."""
    if sys.version_info < PEER_PYTHON_MIN:
        return None
    place = folder / f"{requirement.replace('==', '-')}-py{sys.version_info[0]}.{sys.version_info[1]}"
    python = place / ("Scripts" if os.name == "nt" else "bin") / "python"
    done = place / "installed"
    if not done.exists():
        print(f"installing {requirement} into {place}", flush=True)
        venv.create(place, with_pip=True, clear=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", requirement]
        if subprocess.run(command, check=False).returncode:
            return None
        done.touch()
    return str(python)
