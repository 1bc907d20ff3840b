"""How long exclusive work stands still when its owner is lost, in a cluster of five; prints, judges nothing.

The oldest member works under its serving lease. It is killed (SIGKILL), or cut off: by rules in a network
namespace where this machine allows that, or else by SIGSTOP, which the others cannot tell from a cut. Settings
are the defaults. Times are monotonic, and taken where things happen, in the processes.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from statistics import median

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from exclusive_work import next_owner, turns
from namespaces import PORT, Lan, lan, why_not
from processes import NodeProcess, Rig, open_rig

NAMES = ("a", "b", "c", "d", "e")
BOUNDS = {"killed": 10.0, "cut": 15.0}
"""What the documents promise for the next owner's first work, in seconds."""


async def start(rig: Rig, wires: Lan | None) -> list[NodeProcess]:
    """Return five nodes of which the first works."""
    if wires is None:
        nodes = await rig.cluster(*NAMES, exclusive=True)
    else:
        nodes = []
        for name in NAMES:
            host = {"host": wires.addresses[name], "port": PORT, "insecure": True, "seeds": wires.seeds}
            nodes.append(await rig.launch(name, within=wires.within(name), exclusive=True, **host))
            if name == "a":
                await rig.bound(nodes[0])
        for node in nodes:
            await node.wait_members(**dict.fromkeys(NAMES, "up"))
    await nodes[0].wait_for("worked", nodes[0].mark())  # with the grants of the others, and not as the only member
    return nodes


async def lose(owner: NodeProcess, how: str, wires: Lan | None) -> float:
    """Take the owner from the others, and return when."""
    if how == "killed":
        return await owner.kill()
    at = time.monotonic()
    if wires is None:
        await owner.send_signal(signal.SIGSTOP)
    else:
        wires.cut(["a"], NAMES[1:])
    return at


async def one_run(how: str, wires: Lan | None) -> dict[str, float]:
    """Return the figures of one cluster that loses its owner."""
    async with open_rig() as rig:
        owner, *others = await start(rig, wires)
        lost_at = await lose(owner, how, wires)
        seen = [await node.wait_for("UnreachableMember", member="a") for node in others]
        left = [await node.wait_for("MemberLeft", member="a", timeout=60.0) for node in others]
        _, begun = await next_owner(others)
        first, _ = turns(rig.nodes)
    return {
        "unreachable at the first": min(event["at"] for event in seen) - lost_at,
        "unreachable at all": max(event["at"] for event in seen) - lost_at,
        "removed at all": max(event["at"] for event in left) - lost_at,
        "the old owner's last work": first[2] - lost_at,
        "the next owner's first work": begun - lost_at,
    }


async def main(runs: int, ways: Sequence[str]) -> None:
    """Run and print."""
    reason = why_not()
    print(f"five nodes, {os.cpu_count()} cores; " + (f"a cut is SIGSTOP: {reason}" if reason else "a cut is nftables"))
    print(f"{'seconds':<38} {'runs':>5} {'least':>8} {'median':>8} {'most':>8} {'bound':>6}")
    for how in ways:
        found = dict[str, list[float]]()
        for _ in range(runs):
            with ExitStack() as stack:
                wires = None if reason or how == "killed" else stack.enter_context(lan("bench", names=NAMES))
                for name, value in (await one_run(how, wires)).items():
                    found.setdefault(name, []).append(value)
        for name, values in found.items():
            bound = f"{BOUNDS[how]:g}" if name.startswith("the next") else ""
            figures = f"{min(values):>8.2f} {median(values):>8.2f} {max(values):>8.2f}"
            print(f"{how + ': ' + name:<38} {len(values):>5} {figures} {bound:>6}", flush=True)
        print(f"load {', '.join(f'{value:.1f}' for value in os.getloadavg())}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--how", nargs="+", choices=list(BOUNDS), default=list(BOUNDS))
    arguments = parser.parse_args()
    trio.run(main, arguments.runs, arguments.how)
