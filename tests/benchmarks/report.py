"""What the runs say: medians, spreads, and ratios between peers within the same round.

A ratio is "how many times as fast as the other", taken for each round and then the median of those:
the two numbers of one ratio were measured within seconds of each other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeAlias

from environments import BASELINE, ERLANG, LIMIT, LIMIT_TLS, OURS, OURS_TLS, RUST, SPINNING
from rounds import Run

NOISE = 0.10
"""A difference below this says nothing."""

Figure: TypeAlias = Callable[[Run], float | None]


@dataclass(frozen=True)
class Goal:
    """The least ratio to another peer that the library is held to."""

    workload: str
    other: str
    least: float
    peer: str = OURS


GOALS = (
    Goal("L1", BASELINE, 2.0),
    Goal("L2", BASELINE, 1.05),
    Goal("L3", BASELINE, 0.85),
    Goal("L4-10k", BASELINE, 0.95),
    Goal("L5", BASELINE, 1.2),
    Goal("R1", BASELINE, 10.0),
    Goal("R1", ERLANG, 0.8),
    Goal("R1", RUST, 1.6),
    Goal("R2", BASELINE, 1.9),
    Goal("R2", LIMIT, 1 / 2.6),
    Goal("R3", BASELINE, 4.5),
    Goal("R3", ERLANG, 1.2),
    Goal("R3", RUST, 1.3),
    Goal("R4", BASELINE, 4.5),
    Goal("S1", BASELINE, 4.0),
    Goal("S1", RUST, 1.5),
    Goal("R1", OURS, 0.6, OURS_TLS),
    Goal("R2", OURS, 1 / 1.5, OURS_TLS),
    Goal("R3", OURS, 0.6, OURS_TLS),
    Goal("R4", LIMIT_TLS, 0.8, OURS_TLS),
)

COMPARED = (
    ("S1", "R3", 0.75),
    ("S1far", "R3", 0.75),
    ("S1tell", "R1", 0.75),
    ("S1fartell", "R1", 0.75),
    ("S1pure", "S1", 1.4),
    ("S2first", "S2", 0.5),
    ("S3two", "S3", 1.7),
)
"""Workloads of this library with the least ratio of their speed to that of another one."""
ENTITY_BYTES_MAX = 4_200
"""Memory of an entity that does nothing."""


def seconds(run: Run) -> float | None:
    """Wall time for each operation."""
    return run.seconds


def cpu_seconds(run: Run) -> float | None:
    """Processor time for each operation."""
    return run.cpu_seconds


def bytes_per_actor(run: Run) -> float | None:
    """Memory for each idle actor."""
    return run.figures.get("bytes_per_actor")


def select(runs: Iterable[Run], workload: str, peer: str) -> list[Run]:
    """Return the runs of one peer and workload that gave figures."""
    return [run for run in runs if run.workload == workload and run.peer == peer and run.seconds is not None]


def ratio(runs: Sequence[Run], workload: str, peer: str, other: str, figure: Figure = seconds) -> float | None:
    """Return how many times less of ``figure`` a peer takes than another; None without a common round."""
    return within(select(runs, workload, peer), select(runs, workload, other), figure)


def within(chosen: Sequence[Run], other: Sequence[Run], figure: Figure) -> float | None:
    """Return how many times less of ``figure`` some runs take than the others of the same rounds."""
    others = {run.round: figure(run) for run in other}
    found = list[float]()
    for run in chosen:
        mine, theirs = figure(run), others.get(run.round)
        if mine and theirs:
            found.append(theirs / mine)
    return median(found) if found else None


def names(runs: Iterable[Run], field: str) -> list[str]:
    """Return the workloads or peers in the order in which they came first."""
    return list(dict.fromkeys(getattr(run, field) for run in runs))


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of text in columns; all but the first two are aligned to the right."""
    widths = [max(len(row[column]) for row in [header, *rows]) for column in range(len(header))]
    lines = list[str]()
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [
            cell.ljust(width) if at < 2 else cell.rjust(width)
            for at, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def times(value: float | None) -> str:
    """Return a ratio as text."""
    return "" if value is None else f"{value:.2f}"


def micros(value: float) -> str:
    """Return seconds as microseconds."""
    return f"{value * 1e6:.1f}" if value < 1e-3 else f"{value * 1e6:,.0f}"


def results(runs: Sequence[Run]) -> str:
    """Return the table of all workloads and peers."""
    rows = list[list[str]]()
    for workload in names(runs, "workload"):
        for peer in names(runs, "peer"):
            chosen = select(runs, workload, peer)
            if not chosen:
                failed = [run for run in runs if run.workload == workload and run.peer == peer]
                if failed:
                    rows.append([workload, peer, "failed", *[""] * 6, str(failed[-1].figures.get("error"))[:60]])
                continue
            walls = [run.seconds or 0.0 for run in chosen]
            cpus = [run.cpu_seconds for run in chosen if run.cpu_seconds]
            rows.append(
                [
                    workload,
                    peer,
                    micros(median(walls)),
                    f"{micros(min(walls))} - {micros(max(walls))}",
                    micros(median(cpus)) if cpus else "",
                    times(ratio(runs, workload, peer, BASELINE)),
                    times(ratio(runs, workload, peer, BASELINE, cpu_seconds)) if peer not in SPINNING else "",
                    times(ratio(runs, workload, peer, LIMIT)),
                    times(ratio(runs, workload, peer, LIMIT, cpu_seconds)) if peer not in SPINNING else "",
                    extras(chosen),
                ]
            )
    header = ["workload", "peer", "us/op", "least - most", "cpu us/op", "x base", "cpu x", "x limit", "cpu x", "also"]
    return table(header, rows)


def extras(chosen: Sequence[Run]) -> str:
    """Return the further figures of a workload, as medians over the rounds."""
    found = list[str]()
    for key, text in (
        ("median_us", "median {:,.0f} us"),
        ("p99_us", "p99 {:,.0f} us"),
        ("bytes_per_actor", "{:,.0f} bytes"),
    ):
        values = [run.figures[key] for run in chosen if key in run.figures]
        if values:
            found.append(text.format(median(values)))
    return ", ".join(found)


def goals(runs: Sequence[Run]) -> str:
    """Return what is held to, and what was reached."""
    rows = list[list[str]]()
    for goal in GOALS:
        reached = ratio(runs, goal.workload, goal.peer, goal.other)
        if reached is not None:
            cpu = ratio(runs, goal.workload, goal.peer, goal.other, cpu_seconds) if goal.other not in SPINNING else None
            verdict = "reached" if reached >= goal.least else "missed"
            name = goal.workload if goal.peer == OURS else f"{goal.workload} of {goal.peer}"
            rows.append([name, goal.other, f"{goal.least:.2f}", times(reached), times(cpu), verdict])
    for workload, other, least in COMPARED:
        mine, theirs = select(runs, workload, OURS), select(runs, other, OURS)
        reached = within(mine, theirs, seconds)
        if reached is not None:
            verdict = "reached" if reached >= least else "missed"
            by_cpu = within(mine, theirs, cpu_seconds)
            rows.append([workload, f"own {other}", f"{least:.2f}", times(reached), times(by_cpu), verdict])
    held = [size for run in select(runs, "S4", OURS) if (size := bytes_per_actor(run))]
    if held:
        verdict = "reached" if median(held) <= ENTITY_BYTES_MAX else "missed"
        rows.append(["S4 bytes", "", f"<= {ENTITY_BYTES_MAX:,}", f"{median(held):,.0f}", "", verdict])
    memory = ratio(runs, "L4-10k", OURS, BASELINE, bytes_per_actor)
    if memory is not None:
        verdict = "reached" if 1 / memory <= 0.95 else "missed"
        rows.append(["L4-10k bytes", BASELINE, "<= 0.95", times(1 / memory), "", verdict])
    return table(["workload", "against", "goal", "ratio", "by cpu", ""], rows)


def calibration(runs: Sequence[Run]) -> str:
    """Return a line about how steady the machine was."""
    found = [run.calibration for run in runs]
    return (
        f"calibration: median {median(found) * 1e3:.1f} ms, from {min(found) * 1e3:.1f} to {max(found) * 1e3:.1f} ms; "
        "times are medians over the rounds, ratios medians of ratios within a round, above 1 is better than the other"
    )


def comparison(before: Sequence[Run], after: Sequence[Run]) -> str:
    """Return how this library changed between two files, each measured against its own baseline or limit."""
    rows = list[list[str]]()
    for workload in names(after, "workload"):
        for label, figure in (("wall", seconds), ("cpu", cpu_seconds)):
            other, old, new = against(before, after, workload, figure)
            if old is None or new is None:
                continue
            change = new / old
            verdict = "noise" if abs(change - 1) < NOISE else "faster" if change > 1 else "slower"
            rows.append([workload, f"{label}, to {other}", times(old), times(new), times(change), verdict])
    return table(["workload", "ratio", "before", "after", "change", ""], rows)


def against(
    before: Sequence[Run], after: Sequence[Run], workload: str, figure: Figure
) -> tuple[str, float | None, float | None]:
    """Return the first yardstick that both files have for a workload, and the ratios to it."""
    for other in (BASELINE, LIMIT):
        old, new = (ratio(runs, workload, OURS, other, figure) for runs in (before, after))
        if old is not None and new is not None:
            return other, old, new
    old, new = (calibrated(select(runs, workload, OURS), figure) for runs in (before, after))
    return "calibration", old, new


def calibrated(runs: Sequence[Run], figure: Figure) -> float | None:
    """Return the speed in operations for each calibration loop."""
    found = [run.calibration / value for run in runs if (value := figure(run))]
    return median(found) if found else None
