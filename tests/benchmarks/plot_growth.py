"""Draws what `bench_growth` wrote: a picture for each section, `growth-actors.svg` and so on.

python tests/benchmarks/plot_growth.py build/growth.json docs/explanation
"""

from __future__ import annotations

import argparse
import json
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

Row = dict[str, float]


@dataclass(frozen=True)
class Panel:
    """One pair of axes: the columns in it, by their labels."""

    label: str
    columns: dict[str, str]
    is_logarithmic: bool = False


@dataclass(frozen=True)
class Picture:
    """The panels of one section, side by side."""

    label: str
    panels: tuple[Panel, ...]


PICTURES = {
    "actors": Picture(
        "actors on one node",
        (
            Panel(
                "microseconds of processor time", {"spawn_us": "spawn", "tell_us": "tell and handle", "stop_us": "stop"}
            ),
            Panel("bytes of each", {"bytes": "idle actor"}),
        ),
    ),
    "depth": Picture(
        "messages that wait for one actor",
        (Panel("microseconds of processor time", {"tell_us": "tell", "handle_us": "handle"}),),
    ),
    "nodes": Picture(
        "nodes without work",
        (
            Panel("bytes per second that each sends", {"bytes_per_second": "control traffic"}),
            Panel("microseconds of processor time per second, of each", {"cpu_us_per_second": "processor time"}),
        ),
    ),
    "size": Picture(
        "bytes of the message",
        (
            Panel("microseconds of processor time for an ask", {"ask_us": "both nodes"}, is_logarithmic=True),
            Panel("MB per second of processor time", {"mb_per_cpu_second": "both nodes"}),
        ),
    ),
    "peers": Picture(
        "peers that one node tells in turn",
        (Panel("microseconds of processor time for a message", {"tell_us": "all nodes"}),),
    ),
}


def draw(picture: Picture, rows: list[Row], path: Path) -> None:
    """Write one picture."""
    figure = Figure(figsize=(4.5 * len(picture.panels), 3.4), layout="constrained")
    for number, panel in enumerate(picture.panels, start=1):
        fill(figure.add_subplot(1, len(picture.panels), number), picture, panel, rows)
    figure.savefig(path, metadata={"Date": None})


def fill(axes: Axes, picture: Picture, panel: Panel, rows: list[Row]) -> None:
    """Draw the lines of one panel."""
    counts = [row["count"] for row in rows]
    for column, label in panel.columns.items():
        axes.plot(counts, [row[column] for row in rows], marker="o", label=label)
    axes.set_xscale("log")
    if panel.is_logarithmic:
        axes.set_yscale("log")
    else:
        axes.set_ylim(bottom=0)
    axes.set_xlabel(picture.label)
    axes.set_ylabel(panel.label)
    axes.grid(visible=True, alpha=0.3)
    axes.legend()


def main() -> None:
    """Draw every section that was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("figures", type=Path)
    parser.add_argument("folder", type=Path)
    arguments = parser.parse_args()
    mpl.rcParams["svg.hashsalt"] = "casty"  # the same figures give the same bytes
    mpl.rcParams["svg.fonttype"] = "none"
    found: dict[str, list[Row]] = json.loads(arguments.figures.read_text())
    for name, rows in found.items():
        draw(PICTURES[name], rows, arguments.folder / f"growth-{name}.svg")


if __name__ == "__main__":
    main()
