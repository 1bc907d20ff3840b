"""The benchmark: the same workloads on this library, on its peers, and on the bare pieces below it.

    python tests/benchmarks/bench.py --short --json now.json
    python tests/benchmarks/bench.py --workloads R1 R3 --peers casty asyncio --rounds 9
    python tests/benchmarks/bench.py compare before.json after.json
    python tests/benchmarks/bench.py plot now.json docs/explanation/speed.svg

Judges nothing by its exit code: numbers depend on the machine, only ratios of one run can be compared.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import report
import rounds
from environments import BASELINE, ERLANG, ERLANG_PLAIN, LIMIT, LIMIT_TLS, OURS, OURS_TLS, RUST, find

PEERS = (OURS, BASELINE, RUST, ERLANG, ERLANG_PLAIN, LIMIT, OURS_TLS, LIMIT_TLS)
LOCAL = ("L1", "L1burst", "L2", "L3", "L4-10k", "L5", "codec")
REMOTE = ("R1", "R1send", "R2", "R3", "R4")
SHARDED = ("S1", "S1tell", "S1far", "S1fartell", "S1pure", "S1pureadd", "S2", "S2first", "S3", "S3two", "S4")
SHORT = [LOCAL, REMOTE, SHARDED]
"""Three starts of each program a round."""
LONG = [[name] for name in (*LOCAL, "L4-100k", *REMOTE, *SHARDED)]
"""A fresh process for each."""


def options(arguments: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--short", action="store_true", help="a few small rounds, under two minutes")
    parser.add_argument("--rounds", type=int, help="5, or 3 in the short form")
    parser.add_argument("--scale", type=float, help="factor of all sizes: 1, or 0.1 in the short form")
    parser.add_argument("--workloads", nargs="+", metavar="NAME", help="only these: L1 L2 ... R4 codec S1 ... S4")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS), help="only these")
    parser.add_argument("--json", type=Path, default=Path("build/bench.json"), help="where the figures go")
    parser.add_argument("--environments", type=Path, default=Path(".nox/peers"), help="where peers are installed")
    return parser.parse_args(arguments)


def run(chosen: argparse.Namespace) -> None:
    """Measure, print and keep."""
    programs = find(chosen.environments.absolute(), chosen.peers)
    groups = SHORT if chosen.short else LONG
    if chosen.workloads:
        groups = [[name for name in group if name in chosen.workloads] for group in groups]
    count = chosen.rounds or (3 if chosen.short else 5)
    scale = chosen.scale or (0.1 if chosen.short else 1.0)
    began, runs, origin = time.monotonic(), list[rounds.Run](), environment()
    chosen.json.parent.mkdir(parents=True, exist_ok=True)
    for done in rounds.interleaved(programs, groups, rounds=count, scale=scale):
        if runs and runs[-1].round != done.round:
            keep(chosen.json, origin, scale, runs)
        runs.append(done)
        if sys.stdout.isatty():
            line = f"{time.monotonic() - began:5.0f} s  round {done.round + 1} of {count}: {done.peer} {done.workload}"
            print(f"\r{line:<70}", end="", flush=True)
    keep(chosen.json, origin, scale, runs)
    print(f"\n{report.results(runs)}\n\n{report.goals(runs)}\n\n{report.calibration(runs)}")
    print(f"{time.monotonic() - began:.0f} s; figures are in {chosen.json}")


def keep(path: Path, origin: dict[str, Any], scale: float, runs: Sequence[rounds.Run]) -> None:
    """Write the figures there are; after each round, so that a run that is cut short was not for nothing."""
    kept = {"environment": origin, "scale": scale, "runs": rounds.as_json(runs)}
    path.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def environment() -> dict[str, Any]:
    """Return what one should know about the figures' origin."""
    commit = subprocess.run(["git", "describe", "--always", "--dirty"], capture_output=True, text=True, check=False)
    return {
        "commit": commit.stdout.strip(),
        "python": platform.python_version(),
        "system": platform.platform(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[0], 1) if hasattr(os, "getloadavg") else None,
    }


def load(path: Path) -> list[rounds.Run]:
    """Return the runs of a file of figures."""
    return rounds.from_json(json.loads(path.read_text(encoding="utf-8"))["runs"])


def main(arguments: Sequence[str]) -> None:
    """Be the command line."""
    match arguments:
        case ["compare", before, after]:
            print(report.comparison(load(Path(before)), load(Path(after))))
        case ["show", path]:
            print(f"{report.results(load(Path(path)))}\n\n{report.goals(load(Path(path)))}")
        case ["plot", path, *rest] if len(rest) <= 1:
            picture = Path(rest[0]) if rest else Path(path).with_suffix(".png")
            importlib.import_module("plot").draw(load(Path(path)), picture)  # needs matplotlib, nothing else here does
            print(f"drawn: {picture}")
        case _:
            run(options(arguments))


if __name__ == "__main__":
    main(sys.argv[1:])
