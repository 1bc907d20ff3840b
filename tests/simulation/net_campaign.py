"""Partitions of event-sourced entities with one of two nets gone: no acknowledged write is lost with the other one.

The first net is the serving lease, the second one the fence of the store. `python tests/simulation/net_campaign.py
--without lease --seeds 0:1000` plays many.
"""

from __future__ import annotations

import argparse
import logging
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from random import Random
from typing import Any, Final
from unittest.mock import patch

import trio
from planted_counters import counters, counting

from casty import CastyError, Record
from casty.journal import Claim, Stored
from casty.persistence.tables import Kept, MemoryTables
from casty.protocol.split_brain import serving_lease
from casty.protocol.split_brain.serving_lease import ServingLeaseMachine
from casty.testing import SimulatedJournal
from casty.testing.simulation import InvariantBroken, Played, Scenario, Simulation, partition_scenario, simulate
from casty.wire.storing.stored_codec import StoredCodec

ABC: Final = ("a", "b", "c")
NAMES: Final = "pqrs"
NETS: Final = ("lease", "fence")
FOR_EVER: Final = 1e6
RULE: Final = "no acknowledged write is lost"


def serve_always(*_: Any, **__: Any) -> float:
    """Grant the lease of a node for ever."""
    return FOR_EVER


def take_all(self: MemoryTables, claim: Claim, persistence_id: str) -> Kept:
    """Take the claim of anybody."""
    return self.kept.get(persistence_id) or Kept(claim.scope)


def overwrite(
    self: MemoryTables, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float
) -> None:
    """Store events behind those that the writer knows of, in place of any others."""
    kept = self.kept.setdefault(persistence_id, Kept(claim.scope))
    for seq, record in enumerate(records, after + 1):
        kept.events[seq] = Stored(persistence_id, seq, len(self.log) + 1, record, at)
        self.log.append(kept.events[seq])
    kept.last = after + len(records)


@contextmanager
def without(*nets: str) -> Generator[None]:
    """Play without these nets in a block."""
    with ExitStack() as patches:
        if "lease" in nets:
            patches.enter_context(patch.object(ServingLeaseMachine, "_latest", serve_always))
            patches.enter_context(patch.object(serving_lease, "TAKEOVER_AFTER", 0.0))
        if "fence" in nets:
            patches.enter_context(patch.object(MemoryTables, "_of", take_all))
            patches.enter_context(patch.object(MemoryTables, "append", overwrite))
        yield


async def write(simulation: Simulation, acknowledged: set[tuple[str, int]]) -> None:
    """Add numbers, no two the same, at every node until the cluster has recovered."""
    rng, number = Random(simulation.scenario.seed), 0

    async def add(node: Any, name: str, amount: int) -> None:
        try:
            await node.ask(node.entity(counting.COUNTERS, name), partial(counting.Add, amount), timeout=1.0)
        except (CastyError, RuntimeError):
            return  # RuntimeError: the node has ended meanwhile
        acknowledged.add((name, amount))

    async with trio.open_nursery() as nursery:
        while not simulation.is_recovered:
            for node in simulation.systems.values():
                number += 1
                nursery.start_soon(add, node, rng.choice(NAMES), number)
            await trio.sleep(0.25)


async def lose_nothing(simulation: Simulation, journal: SimulatedJournal) -> None:
    """Write, then look for what was acknowledged in the store."""
    acknowledged: set[tuple[str, int]] = set()
    await write(simulation, acknowledged)
    codec, stored = StoredCodec(()), set[tuple[str, int]]()
    codec.register(counting.Added)
    reader = journal.handle()
    async with reader.open():
        for name in NAMES:
            async for row in reader.read(f"counters/{name}"):
                event: Any = codec.decode(row.record)
                stored.add((name, event.amount))
    simulation.note("acknowledged", len(acknowledged))
    if not acknowledged:
        simulation.fail("something is acknowledged", "nothing was")
    if acknowledged - stored:
        simulation.fail(RULE, f"{len(acknowledged - stored)} of {len(acknowledged)}: {sorted(acknowledged - stored)}")


def draw(seed: int, nets: Sequence[str]) -> Scenario:
    """Draw a partition; the store fails too where the fence stands, which alone keeps late writes out."""
    return partition_scenario(seed, ABC, journal_faults="fence" not in nets)


def play(scenario: Scenario, *nets: str) -> Played:
    """Play a scenario without some nets."""
    journal, service = SimulatedJournal(seed=scenario.seed), counters.Counters()
    with without(*nets):
        return simulate(scenario, on_node=service.run, main=lambda one: lose_nothing(one, journal), journal=journal)


def main() -> None:
    """Play a range of seeds, and print what is found."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--without", nargs="*", choices=NETS, default=())
    parser.add_argument("--seeds", default="0:100")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first, last = map(int, given.seeds.split(":"))
    began, lost = time.monotonic(), 0
    for seed in range(first, last):
        try:
            play(draw(seed, given.without), *given.without)
        except InvariantBroken as broken:
            lost += 1
            print(f"seed {seed}: {broken}", flush=True)  # noqa: T201  # a program
        if not (seed - first + 1) % 10:
            print(f"{seed - first + 1} plays, {lost} broken, {time.monotonic() - began:.0f} s", flush=True)  # noqa: T201  # a program
    print(f"{last - first} plays without {' and '.join(given.without) or 'nothing'}: {lost} broken")  # noqa: T201  # a program


if __name__ == "__main__":
    main()
