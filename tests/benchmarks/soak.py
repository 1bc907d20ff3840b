"""Five real nodes on a busy machine, for half an hour: does any of them accuse another one?

Beside the nodes, four worker processes take 80 % of the cores. Each node stops now and then for 2 s
(SIGSTOP) and has a handler that blocks its loop for 1 s; both may meet. Each node asks its neighbour
a hundred times a second all the while. An accusation is an ``UnreachableMember`` at any node: one is
too many, and ends in exit code 1, as does a member that is missing at the end.

    python tests/benchmarks/soak.py --minutes 30
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import trio

sys.path.insert(0, str(Path(__file__).parents[1] / "integration"))

from processes import Event, NodeProcess, open_rig

NAMES = ("a", "b", "c", "d", "e")
ALL_UP = dict.fromkeys(NAMES, "up")
WORKERS = 4
PAUSES_APART = (10.0, 30.0)
"""Seconds between two pauses, and between two blocked handlers, of one node."""
SETTLING = 10.0
"""Seconds after the last fault in which an accusation may still come."""
LATELY = 10.0
"""Seconds before an accusation in which what was done may be a reason for it."""
PROGRESS_EVERY = 60.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How long, and how hard."""

    minutes: float
    pause: float
    block: float
    load: float
    seed: int


@dataclass(slots=True)
class Soak:
    """One run and what it has counted."""

    plan: Plan
    nodes: list[NodeProcess]
    began: float = field(default_factory=time.monotonic)
    faults: list[tuple[float, str, str]] = field(default_factory=list)
    """When, what, and of which node."""

    @property
    def accusations(self) -> list[str]:
        """Who has accused whom, when, and what was done to both before that, one line each."""
        found = [(event["at"], node.node_id, event["member"]) for node in self.nodes for event in said(node)]
        return [
            f"{at - self.began:9.3f} s: {by} sees {of} unreachable; before: {self.before(at, by, of)}"
            for at, by, of in sorted(found)
        ]

    def before(self, now: float, *names: str) -> str:
        """Return what was lately done to these nodes."""
        lately = [fault for fault in self.faults if fault[2] in names and 0 <= now - fault[0] < LATELY]
        return ", ".join(f"{name} {what} {now - at:.1f} s ago" for at, what, name in lately) or "nothing"

    async def pause(self, node: NodeProcess, rng: Random) -> None:
        """Stop a node again and again."""
        while await self.comes(node, rng):
            await node.send_signal(signal.SIGSTOP)
            self.faults.append((time.monotonic(), "stopped", node.node_id))
            try:
                await trio.sleep(self.plan.pause)
            finally:
                node.process.send_signal(signal.SIGCONT)
                self.faults.append((time.monotonic(), "went on", node.node_id))

    async def block(self, node: NodeProcess, rng: Random) -> None:
        """Block a node's loop again and again."""
        while await self.comes(node, rng):
            await node.begin("block", seconds=self.plan.block)
            self.faults.append((time.monotonic(), "blocked", node.node_id))

    async def comes(self, node: NodeProcess, rng: Random) -> bool:
        """Wait for the next fault of a node; False when the node has ended."""
        await trio.sleep(rng.uniform(*PAUSES_APART))
        return not node.has_ended

    async def show_progress(self) -> None:
        """Say from time to time that this goes on."""
        shown = 0
        while True:
            await trio.sleep(PROGRESS_EVERY)
            minutes, found = (time.monotonic() - self.began) / 60, self.accusations
            print(f"{minutes:5.1f} min: {len(found)} accusations, {self.figures}")
            print("".join(f"{line}\n" for line in found[shown:]), end="", flush=True)
            shown = len(found)

    @property
    def figures(self) -> str:
        """What was done so far, and how busy the machine is."""
        load = ", ".join(f"{value:.1f}" for value in os.getloadavg())
        counts = Counter(what for _, what, _ in self.faults)
        return f"{counts['stopped']} pauses, {counts['blocked']} blocked handlers, load {load}"

    async def run(self) -> dict[str, Event]:
        """Do it all, and return what each living node says about the answers of its neighbour."""
        monitors = {
            node: await node.begin("monitor", node=other.node_id)
            for node, other in zip(self.nodes, [*self.nodes[1:], self.nodes[0]], strict=True)
        }
        rng = Random(self.plan.seed)
        with trio.move_on_after(self.plan.minutes * 60):
            async with trio.open_nursery() as nursery:
                for node in self.nodes:
                    nursery.start_soon(self.pause, node, Random(rng.random()))
                    nursery.start_soon(self.block, node, Random(rng.random()))
                nursery.start_soon(self.show_progress)
        await trio.sleep(SETTLING)
        answers = dict[str, Event]()
        for node, number in monitors.items():
            if not node.has_ended:
                await node.begin("unmonitor")
                answers[node.node_id] = await node.wait_for("answer", id=number)
        return answers


def said(node: NodeProcess) -> list[Event]:
    """Return the accusations that a node has published."""
    return node.seen("UnreachableMember")


def busy_time() -> tuple[float, float]:
    """Return the seconds that all cores together have worked, and have had, since the machine started."""
    fields = [int(word) for word in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(fields) - fields[3] - fields[4]) / os.sysconf("SC_CLK_TCK"), sum(fields) / os.sysconf("SC_CLK_TCK")


async def main(plan: Plan) -> int:
    """Run, report, and return the exit code."""
    cores = os.cpu_count() or 1
    async with open_rig() as rig:
        nodes = await rig.cluster(*NAMES)
        soak = Soak(plan, nodes)
        async with rig.burners(WORKERS, share=min(1.0, plan.load * cores / WORKERS)):
            busy, passed = busy_time()
            answers = await soak.run()
            used, total = busy_time()
        report(soak, answers, (used - busy) / (total - passed))
        missing = who_is_missing(nodes)
        print(f"missing at the end: {', '.join(missing) or 'nobody'}", flush=True)
    return 1 if soak.accusations or missing else 0


def who_is_missing(nodes: list[NodeProcess]) -> list[str]:
    """Return the nodes that have ended or do not see all of them up."""

    def sees_all(node: NodeProcess) -> bool:
        return not node.has_ended and node.seen("snapshot", source="own")[-1]["members"] == ALL_UP

    return [node.node_id for node in nodes if not sees_all(node)]


def report(soak: Soak, answers: dict[str, Event], busy: float) -> None:
    """Print what happened."""
    by_observer = Counter(node.node_id for node in soak.nodes for _ in said(node))
    plan = soak.plan
    print(f"{len(soak.nodes)} nodes, {plan.minutes:g} min, {os.cpu_count()} cores {busy:.0%} busy, {soak.figures}")
    print(f"each pause {plan.pause:g} s, each blocked handler {plan.block:g} s, seed {plan.seed}")
    for name, answer in answers.items():
        print(
            f"{name}: {answer['count']} asks, p50 {answer['p50']:.4f} s, p99 {answer['p99']:.3f} s, "
            f"longest {answer['longest']:.3f} s, {answer['failed']} without an answer in 5 s, "
            f"{by_observer[name]} accusations"
        )
    for line in soak.accusations:
        print(line)
    print(f"accusations: {len(soak.accusations)}", flush=True)


def parsed() -> Plan:
    """Return the plan that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--pause", type=float, default=2.0, help="seconds that a stopped node stands still")
    parser.add_argument("--block", type=float, default=1.0, help="seconds that a handler holds the loop")
    parser.add_argument("--load", type=float, default=0.8, help="the share of all cores that the workers take")
    parser.add_argument("--seed", type=int, default=1, help="of the times between the faults")
    return Plan(**vars(parser.parse_args()))


if __name__ == "__main__":
    sys.exit(trio.run(main, parsed()))
