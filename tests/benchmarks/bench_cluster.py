"""How fast a cluster of processes forms, grows, and notices a killed node; prints, judges nothing.

C1: three processes, from the last bound socket until each has seen all of them up; then a fourth, from
its bound socket. C2: SIGKILL of one, until each survivor has seen it unreachable; in the last run also
until each has seen it leave, and whether it comes back within ``--watch`` seconds. Settings are the
defaults. Times are monotonic and taken where things happen, in the processes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from processes import NodeProcess, open_rig


def latest(events: list[dict[str, float]]) -> float:
    """Return when the last of these happened."""
    return max(event["at"] for event in events)


async def one_run(*, watch: float | None) -> dict[str, float]:
    """Return the figures of one cluster; with ``watch`` also those that take long."""
    figures = dict[str, float]()
    async with open_rig() as rig:
        a, b, c = await rig.cluster("a", "b", "c")
        bound = latest([node.seen("bound")[0] for node in (a, b, c)])
        figures["cold start of 3"] = (
            latest([await node.wait_members(a="up", b="up", c="up") for node in (a, b, c)]) - bound
        )

        d = await rig.start("d", seeds=[a, b])
        four = {"a": "up", "b": "up", "c": "up", "d": "up"}
        joined = latest([await node.wait_members(**four) for node in (a, b, c, d)])
        figures["join of a fourth"] = joined - d.seen("bound")[0]["at"]

        survivors, dead = (a, c, d), a.seen("snapshot")[-1]["incarnations"]["b"]
        killed_at = await b.kill()
        for node in survivors:
            seen = await node.wait_for("UnreachableMember", member="b")
            figures[f"SIGKILL seen by {node.node_id}"] = seen["at"] - killed_at
        if watch is not None:
            for node in survivors:
                left = await node.wait_for("MemberLeft", member="b", timeout=60.0)
                figures[f"MemberLeft at {node.node_id}"] = left["at"] - killed_at
            with trio.move_on_after(watch):
                await trio.sleep_forever()
            figures["times it came back"] = sum(came_back(node, dead) for node in survivors)
    return figures


def came_back(node: NodeProcess, dead: int) -> int:
    """Return how often a removed run was seen again."""
    left_at = node.seen("MemberLeft")[0]["at"]
    shown = [event for event in node.seen("snapshot") if dead in event["incarnations"].values()]
    events = [*shown, *node.seen("MemberUp", incarnation=dead), *node.seen("ReachableMember", incarnation=dead)]
    return sum(event["at"] > left_at for event in events)


async def main(runs: int, watch: float) -> None:
    """Run and print."""
    found = dict[str, list[float]]()
    for number in range(1, runs + 1):
        figures = await one_run(watch=watch if number == runs else None)
        for name, value in figures.items():
            found.setdefault(name, []).append(value)
        print(f"run {number}: " + ", ".join(f"{name} {value:.3f}" for name, value in figures.items()), flush=True)
    print(f"\n{'seconds':<24} {'runs':>5} {'least':>8} {'median':>8} {'most':>8}")
    for name, values in found.items():
        print(f"{name:<24} {len(values):>5} {min(values):>8.3f} {median(values):>8.3f} {max(values):>8.3f}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--watch", type=float, default=30.0, help="seconds to watch the dead node in the last run")
    arguments = parser.parse_args()
    trio.run(main, arguments.runs, arguments.watch)
