"""The picture of a report: for each workload, how many times as fast as the baseline each peer is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from environments import BASELINE
from matplotlib.figure import Figure
from report import names, ratio
from rounds import Run


def draw(runs: Sequence[Run], path: Path) -> None:
    """Write the picture."""
    workloads = [
        name
        for name in names(runs, "workload")
        if any(ratio(runs, name, peer, BASELINE) for peer in names(runs, "peer"))
    ]
    peers = [name for name in names(runs, "peer") if name != BASELINE]
    figure = Figure(figsize=(max(6.0, 1.1 * len(workloads)), 4.5), layout="constrained")
    axes = figure.add_subplot()
    width = 0.8 / max(1, len(peers))
    for number, peer in enumerate(peers):
        ratios = [ratio(runs, workload, peer, BASELINE) or float("nan") for workload in workloads]
        axes.bar([place + number * width for place in range(len(workloads))], ratios, width, label=peer)
    axes.axhline(1.0, color="black", linewidth=0.8)
    axes.set_yscale("log")
    axes.set_xticks([place + 0.4 - width / 2 for place in range(len(workloads))], workloads)
    axes.set_ylabel("times as fast as casty 0.16.2")
    axes.legend()
    figure.savefig(path, dpi=120)
