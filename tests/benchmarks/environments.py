"""The peers, and an environment of its own for each that has to be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PROGRAMS = Path(__file__).with_name("peers")
OURS, BASELINE, RUST, ERLANG, LIMIT = "casty", "asyncio", "rust", "erlang", "bare"
ERLANG_PLAIN = "erlang-plain"
OURS_TLS, LIMIT_TLS = "casty-tls", "bare-tls"
"""The same programs with TLS between their processes; they do the workloads between processes alone."""
TLS_FOLDER = "CASTY_BENCH_TLS"
"""Variable of the environment that names the folder of the certificates."""
SPINNING = (ERLANG, ERLANG_PLAIN)
"""Peers whose processor time says nothing: their schedulers spin while they wait."""
PEER_PYTHON_MIN = (3, 12)


@dataclass(frozen=True)
class Program:
    """How the workloads of one peer are started."""

    name: str
    title: str
    command: Sequence[str]
    variables: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class _Kind:
    name: str
    title: str
    find_python: Callable[[Path], str | None]
    program: str = ""
    arguments: Sequence[str] = ()
    is_encrypted: bool = False


def find(folder: Path, wanted: Sequence[str]) -> list[Program]:
    """Return the peers that can run here, installing what is missing below ``folder``; say what is left out."""
    kinds = [
        _Kind(OURS, "this library", lambda _: sys.executable),
        _Kind(BASELINE, "casty 0.16.2, asyncio", lambda folder: installed(folder, "casty==0.16.2")),
        _Kind(RUST, "casty 0.30.2, Rust under asyncio", lambda folder: installed(folder, "casty==0.30.2")),
        _Kind(ERLANG, "Erlang/OTP", with_erlang),
        _Kind(ERLANG_PLAIN, "Erlang/OTP, asks that notice no end", with_erlang, ERLANG, ("--plain",)),
        _Kind(LIMIT, "bare trio, anyio, msgpack and cattrs", lambda _: sys.executable),
        _Kind(OURS_TLS, "this library with TLS", lambda _: sys.executable, OURS, is_encrypted=True),
        _Kind(LIMIT_TLS, "bare TLS streams of anyio", lambda _: sys.executable, LIMIT, is_encrypted=True),
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
            variables = {TLS_FOLDER: str(certificates(folder))} if kind.is_encrypted else {}
            found.append(Program(kind.name, kind.title, (python, program, *kind.arguments), variables))
    return found


def certificates(folder: Path) -> Path:
    """Return the folder with a CA and a certificate for each node, made on first use."""
    place = folder / "tls"
    if not place.exists():
        casty = (sys.executable, "-m", "casty", "cert")
        subprocess.run([*casty, "init", "--name", "bench", "--dir", str(place)], check=True, stdout=subprocess.DEVNULL)
        for node in ("server", "more", "client"):
            subprocess.run([*casty, "issue", node, "--dir", str(place)], check=True, stdout=subprocess.DEVNULL)
    return place / "node"


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
