"""How fast a cluster of processes forms, grows, and notices a killed node; prints, judges nothing.

C1: 3, 5 and 10 processes, from the last bound socket until each has seen all of them up; then one more,
from its bound socket. C2: SIGKILL of one of three, until each survivor has seen it unreachable; in the
last run also until each has seen it leave, and whether it comes back within ``--watch`` seconds. Settings
are the defaults. Times are monotonic and taken where things happen, in the processes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from statistics import median

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from processes import NodeProcess, Rig, open_rig


def latest(events: list[dict[str, float]]) -> float:
    """Return when the last of these happened."""
    return max(event["at"] for event in events)


async def forming(rig: Rig, size: int, figures: dict[str, float]) -> list[NodeProcess]:
    """Form a cluster of ``size``, have one more join it, and return the nodes."""
    names = [f"n{number}" for number in range(size + 1)]
    nodes = await rig.cluster(*names[:-1])
    bound = latest([node.seen("bound")[0] for node in nodes])
    up = latest([await node.wait_members(**dict.fromkeys(names[:-1], "up")) for node in nodes])
    figures[f"cold start of {size}"] = up - bound

    newcomer = await rig.start(names[-1], seeds=nodes[:2])
    nodes.append(newcomer)
    joined = latest([await node.wait_members(**dict.fromkeys(names, "up")) for node in nodes])
    figures[f"join of one more, {size}"] = joined - newcomer.seen("bound")[0]["at"]
    return nodes


async def killing(nodes: list[NodeProcess], figures: dict[str, float], *, watch: float | None) -> None:
    """Kill the second of the nodes and see what the others say."""
    killed, survivors = nodes[1], [nodes[0], *nodes[2:]]
    dead = nodes[0].seen("snapshot")[-1]["incarnations"][killed.node_id]
    killed_at = await killed.kill()
    seen = [await node.wait_for("UnreachableMember", member=killed.node_id) for node in survivors]
    figures["SIGKILL seen by the first"] = min(event["at"] for event in seen) - killed_at
    figures["SIGKILL seen by all"] = latest(seen) - killed_at
    if watch is None:
        return
    left = [await node.wait_for("MemberLeft", member=killed.node_id, timeout=60.0) for node in survivors]
    figures["MemberLeft at all"] = latest(left) - killed_at
    with trio.move_on_after(watch):
        await trio.sleep_forever()
    figures["times it came back"] = sum(came_back(node, dead) for node in survivors)


async def one_run(sizes: list[int], *, watch: float | None) -> dict[str, float]:
    """Return the figures of one round; with ``watch`` also those that take long."""
    figures = dict[str, float]()
    for size in sizes:
        async with open_rig() as rig:
            nodes = await forming(rig, size, figures)
            if size == sizes[0]:
                await killing(nodes, figures, watch=watch)
    return figures


def came_back(node: NodeProcess, dead: int) -> int:
    """Return how often a removed run was seen again."""
    left_at = node.seen("MemberLeft")[0]["at"]
    shown = [event for event in node.seen("snapshot") if dead in event["incarnations"].values()]
    events = [*shown, *node.seen("MemberUp", incarnation=dead), *node.seen("ReachableMember", incarnation=dead)]
    return sum(event["at"] > left_at for event in events)


async def main(runs: int, sizes: list[int], watch: float) -> None:
    """Run and print."""
    found = dict[str, list[float]]()
    for number in range(1, runs + 1):
        figures = await one_run(sizes, watch=watch if number == runs else None)
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
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 5, 10], help="nodes that start cold")
    arguments = parser.parse_args()
    trio.run(main, arguments.runs, arguments.sizes, arguments.watch)
