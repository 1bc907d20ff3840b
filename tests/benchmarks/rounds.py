"""Runs: which peer does which workload when, and what came of it.

In each round every peer does every workload once, the peers in turn and starting with another one
each time, so that whatever the machine does meanwhile meets all of them. Each run is preceded by a
calibration: a fixed piece of Python, whose time tells how fast the machine was at that moment.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from environments import Program

CALIBRATION_STEPS = 300_000
RUN_TIMEOUT = 300.0
"""Seconds for one start of one program."""


@dataclass(frozen=True)
class Run:
    """One workload of one peer in one round; ``figures`` is what its program printed."""

    round: int
    peer: str
    workload: str
    calibration: float
    figures: dict[str, Any] = field(default_factory=dict)

    @property
    def seconds(self) -> float | None:
        """Wall time for each operation; None after a failure."""
        return per_operation(self.figures, "seconds")

    @property
    def cpu_seconds(self) -> float | None:
        """Processor time for each operation; None where nobody tells."""
        return per_operation(self.figures, "cpu_seconds") or None


def per_operation(figures: dict[str, Any], key: str) -> float | None:
    """Return a figure divided by the number of operations."""
    return figures[key] / figures["operations"] if key in figures else None


def calibrate() -> float:
    """Return the seconds that a fixed loop takes now."""
    start, numbers = time.perf_counter(), dict[int, int]()
    for step in range(CALIBRATION_STEPS):
        numbers[step & 1023] = step
    return time.perf_counter() - start


def workloads_of(program: Program) -> list[str]:
    """Return the names of the workloads that a peer has."""
    listed = subprocess.run(
        [*program.command, "list"], check=True, stdout=subprocess.PIPE, env=environment(program), timeout=RUN_TIMEOUT
    )
    names: list[str] = json.loads(listed.stdout)
    return names


def environment(program: Program) -> dict[str, str]:
    """Return the environment of a program: nothing that would let one peer import another's library."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONDEVMODE")}
    return kept | dict(program.variables)


def interleaved(
    programs: Sequence[Program], groups: Sequence[Sequence[str]], *, rounds: int, scale: float
) -> Iterator[Run]:
    """Yield the runs as they come. The workloads of one group share one start of a peer's program."""
    known = {program.name: workloads_of(program) for program in programs}
    for number in range(rounds):
        for group in groups:
            for turn in range(len(programs)):
                program = programs[(turn + number) % len(programs)]
                names = [name for name in group if name in known[program.name]]
                if names:
                    yield from start(program, names, number=number, scale=scale)


def start(program: Program, names: Sequence[str], *, number: int, scale: float) -> Iterator[Run]:
    """Run one program once, and yield a run for each workload, also for those that gave no figures."""
    calibration = calibrate()
    command = [*program.command, *names, "--scale", str(scale)]
    try:
        done = subprocess.run(
            command, check=False, capture_output=True, text=True, env=environment(program), timeout=RUN_TIMEOUT
        )
        output, complaint = done.stdout, done.stderr
    except subprocess.TimeoutExpired:
        output, complaint = "", f"no end after {RUN_TIMEOUT:g} s"
    figures = {line["workload"]: line for line in map(json.loads, output.splitlines())}
    for name in names:
        found = figures.get(name, {"error": complaint.strip().rpartition("\n")[2] or "no figures"})
        yield Run(number, program.name, name, calibration, found)


def as_json(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """Return the runs as plain values."""
    return [asdict(run) for run in runs]


def from_json(plain: Sequence[dict[str, Any]]) -> list[Run]:
    """Return the runs of `as_json`."""
    return [Run(**fields) for fields in plain]
