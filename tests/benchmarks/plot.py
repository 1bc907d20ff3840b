"""The picture of a report: for each workload, how many times as fast as the baseline each peer is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from environments import BASELINE, SPINNING
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from report import Figure as Measure
from report import cpu_seconds, names, ratio, seconds
from rounds import Run


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write the picture: by the clock above, by processor time below."""
    mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "casty"})
    workloads = [
        name
        for name in names(runs, "workload")
        if any(ratio(runs, name, peer, BASELINE) for peer in names(runs, "peer"))
    ]
    figure = Figure(figsize=(max(6.0, 0.9 * len(workloads)), 7.0), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    bars(above, runs, workloads, seconds)
    bars(below, runs, workloads, cpu_seconds)
    above.set_ylabel("times as fast as casty 0.16.2")
    below.set_ylabel("the same by processor time")
    above.legend(ncols=4, loc="upper left")
    figure.savefig(path, dpi=120, metadata={"Date": None} if path.suffix == ".svg" else None)


def bars(axes: Axes, runs: Sequence[Run], workloads: Sequence[str], measure: Measure) -> None:
    """Draw a group of bars for each workload. The processor time of Erlang, which spins, is left out."""
    peers = [name for name in names(runs, "peer") if name != BASELINE]
    width = 0.8 / max(1, len(peers))
    for number, peer in enumerate(peers):
        shown = measure is seconds or peer not in SPINNING
        ratios = [ratio(runs, name, peer, BASELINE, measure) or float("nan") for name in workloads] if shown else []
        places = [place + number * width for place in range(len(ratios))]
        axes.bar(places, ratios, width, label=peer, color=f"C{number}")
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(workloads))], workloads)
