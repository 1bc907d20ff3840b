"""How long one more node takes to join a cluster of three processes, with TLS and without, in turns.

From the bind of its port, or ``--from start``, from the start of its event loop, where the files of TLS are read too,
until its block is entered: seed dialled, welcomed, and up. Then it leaves, and the next one comes under another name.
Medians, and the longest. Exits with 1 when the median with TLS is above the target.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import trio

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the helpers
sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from helpers.certificates import TestCa
from processes import NodeProcess, Rig, open_rig

TARGET: Final = 0.3
"""Seconds."""
SYSTEM: Final = "integration"
MEMBERS: Final = ("a", "b", "c")


async def join(rig: Rig, seeds: list[NodeProcess], node_id: str, at: str, **spec: object) -> float:
    """Let one more node in and out again, and return the seconds that it took to come in."""
    node = await rig.hold(node_id, at=at, seeds=seeds, **spec)
    await node.wait_for("held")
    began = time.monotonic()
    await node.let_go()
    entered = await node.wait_for("entered")
    await node.begin("leave")
    await node.wait_ended()
    await seeds[0].wait_for("MemberLeft", member=node_id)
    return float(entered["at"]) - began


async def main(joins: int, at: str, folder: Path) -> dict[str, list[float]]:
    """Return the seconds of each join."""
    ca = TestCa.make()
    names = [f"n{number}" for number in range(joins)]
    for name in (*MEMBERS, *names):
        ca.node(folder, name, system=SYSTEM)
    took: dict[str, list[float]] = {"plain": [], "TLS": []}
    specs: dict[str, dict[str, object]] = {"plain": {}, "TLS": {"tls": str(folder)}}
    async with open_rig() as rig:
        clusters = {kind: await rig.cluster(*MEMBERS, **spec) for kind, spec in specs.items()}
        for name in names:
            for kind, spec in specs.items():
                took[kind].append(await join(rig, clusters[kind], name, at, **spec))
    return took


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--joins", type=int, default=20)
    parser.add_argument("--from", dest="at", choices=["bind", "start"], default="bind")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        found = trio.run(main, options.joins, options.at, Path(place))
    for kind, seconds in found.items():
        told = f"median {statistics.median(seconds):.3f} s, longest {max(seconds):.3f} s"
        sys.stdout.write(f"{kind}: {len(seconds)} joins, {told}\n")
    sys.exit(statistics.median(found["TLS"]) > TARGET)
