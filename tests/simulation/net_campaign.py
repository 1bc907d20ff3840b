"""Partitions of event-sourced entities with one of two nets gone: no acknowledged write is lost with the other one.

The first net is the serving lease, the second one the fence of the store. Nodes crash, stand still, and have clocks of
other rates meanwhile. Without the fence, writes under way when a node stands still end by then: a pause between a look
at the lease and the write is what the fence alone defends from. `python tests/simulation/net_campaign.py --without
lease --seeds 0:1000` plays many.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from random import Random
from typing import Any, Final
from unittest.mock import patch

import trio

sys.path.insert(0, str(Path(__file__).parent))  # for the neighbours, from wherever it is started

import planted_counters
from standing_still import standing_still

from casty import CastyError, Record
from casty.journal import Claim, Stored
from casty.persistence.tables import Kept, MemoryTables
from casty.protocol.split_brain import serving_lease
from casty.protocol.split_brain.serving_lease import SERVING_TIME, TAKEOVER_AFTER, ServingLeaseMachine, WorkFree
from casty.schema import fields, types
from casty.testing import SimulatedJournal
from casty.testing.simulation import (
    Crash,
    Fault,
    InvariantBroken,
    Pause,
    Played,
    Restart,
    Scenario,
    Simulation,
    Wake,
    partition_scenario,
    simulate,
)
from casty.wire.codec import compiler, defaults, records
from casty.wire.storing.stored_codec import StoredCodec

counters, counting = (importlib.import_module(name) for name in planted_counters.SERVICE)
"""The service of the documentation, and its words."""
ABC: Final = ("a", "b", "c")
NAMES: Final = "pqrs"
NEWCOMER: Final = "z"
NETS: Final = ("lease", "fence")
FOR_EVER: Final = 1e6
RULE: Final = "no acknowledged write is lost"
RATES: Final = (0.95, 1.0, 1.04)
"""Rates of clocks: the lease allows for a tenth between two."""
REPORT_EVERY: Final = 20
PLAYED: Final[list[int]] = []
"""Acknowledged writes of each play so far."""
STILL_AT_MAX: Final = 3.0
"""Seconds until most pauses begin: nobody is removed by then."""
STILL_MIN: Final = 5.0
STILL_MAX: Final = 30.0
"""Seconds of a pause: some are over before anybody is removed, others long after it."""


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
def clocks_of_other_rates(seed: int) -> Generator[None]:
    """Let the lease of each node be counted by a clock of its own rate in a block."""
    rng = Random(f"clocks {seed}")
    rates = {name: rng.choice(RATES) for name in ABC}
    latest, observe = (getattr(ServingLeaseMachine, name) for name in ("_latest", "observe"))  # both uses of a clock

    def stretched(self: ServingLeaseMachine, *arguments: Any, **more: Any) -> float:
        until: float = latest(self, *arguments, **more)
        rate = rates.get(self.self_node.address.host, 1.0)
        return until + SERVING_TIME * (1 / rate - 1) if math.isfinite(until) else until

    def observed(self: ServingLeaseMachine, *arguments: Any) -> Any:
        later = TAKEOVER_AFTER * (1 / rates.get(self.self_node.address.host, 1.0) - 1)
        return [
            replace(effect, at=effect.at + later) if isinstance(effect, WorkFree) else effect
            for effect in observe(self, *arguments)
        ]

    with (
        patch.object(ServingLeaseMachine, "_latest", stretched),
        patch.object(ServingLeaseMachine, "observe", observed),
    ):
        yield


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


async def write(simulation: Simulation, acknowledged: set[tuple[str, int]]) -> int:
    """Add numbers, no two the same, at every node until the cluster has recovered; return the last one."""
    rng, number = Random(simulation.scenario.seed), 0

    async def add(node: Any, name: str, amount: int) -> None:
        try:
            await node.ask(node.entity(counting.COUNTERS, name), partial(counting.Add, amount), timeout=1.0)
        except CastyError:
            return
        acknowledged.add((name, amount))

    async with trio.open_nursery() as nursery:
        while not simulation.is_recovered:
            for node in simulation.systems.values():
                number += 1
                nursery.start_soon(add, node, rng.choice(NAMES), number)
            await trio.sleep(0.25)
    return number


async def lose_nothing(simulation: Simulation, journal: SimulatedJournal) -> None:
    """Write, then look for what was acknowledged in the store."""
    acknowledged: set[tuple[str, int]] = set()
    last = await write(simulation, acknowledged)
    codec, stored = StoredCodec(()), list[tuple[str, int]]()
    codec.register(counting.Added)
    reader = journal.handle()
    async with reader.open():
        for name in NAMES:
            async for row in reader.read(f"counters/{name}"):
                event: Any = codec.decode(row.record)
                stored.append((name, event.amount))
    simulation.note("acknowledged", len(acknowledged))
    PLAYED.append(len(acknowledged))
    if lost := acknowledged - {*stored}:
        simulation.fail(RULE, f"{len(lost)} of {len(acknowledged)}: {sorted(lost)[:9]}")
    if len({*stored}) < len(stored) or any(not 1 <= amount <= last for _, amount in stored):
        simulation.fail("each event is stored once, and was asked for", f"{sorted(stored)}")


def draw(seed: int, *nets: str) -> Scenario:
    """Draw a partition with a node that stands still in it, or crashes.

    The store fails too where the fence stands, which alone keeps late writes out.
    """
    scenario = partition_scenario(seed, ABC, journal_faults="fence" not in nets)
    rng = Random(f"nets {seed}")
    more: list[tuple[float, Fault]] = []
    if rng.random() < 0.7:
        node, at = rng.choice(ABC), rng.uniform(0.0, rng.choice((STILL_AT_MAX, scenario.ends_at)))
        more += [(at, Pause(node)), (at + rng.uniform(STILL_MIN, STILL_MAX), Wake(node))]
    if rng.random() < 0.25 and (0.0, Restart(NEWCOMER)) not in scenario.faults:  # it would be alone, unknown
        more.append((rng.uniform(0.0, scenario.ends_at), Crash(rng.choice(ABC))))
    rounded = [(round(at, 3), fault) for at, fault in more]
    return replace(scenario, faults=tuple(sorted((*scenario.faults, *rounded), key=lambda timed: timed[0])))


@contextmanager
def compiled_once() -> Generator[None]:
    """Let each node of a campaign use the codecs compiled for the first one: a play takes half of the time."""
    fields_once, compile_once = lru_cache(None)(fields.fields_of), lru_cache(None)(compile)
    with ExitStack() as patches:
        for module in (types, compiler, defaults):
            patches.enter_context(patch.object(module, "fields_of", fields_once))
        patches.enter_context(patch.object(records, "compile", compile_once, create=True))
        yield


def play(scenario: Scenario, *nets: str, is_forgetful: bool = False) -> Played:
    """Play a scenario without some nets, or on a disk that says too early what it has."""
    journal, service = SimulatedJournal(seed=scenario.seed, is_forgetful=is_forgetful), counters.Counters()
    ends_writes = tuple(nets) == ("fence",)
    with clocks_of_other_rates(scenario.seed), without(*nets), standing_still(ends_writes=ends_writes):
        return simulate(scenario, on_node=service.run, main=lambda one: lose_nothing(one, journal), journal=journal)


def main() -> int:
    """Play a range of seeds, and print what is found; 1 when a rule was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", nargs="*", choices=NETS, default=())
    parser.add_argument("--seeds", default="0:100", help="first:end")
    given = parser.parse_args()
    logging.disable(logging.CRITICAL)
    first, last = map(int, given.seeds.split(":"))
    began, broken, nets = time.monotonic(), 0, given.without
    with compiled_once():
        for seed in range(first, last):
            try:
                play(draw(seed, *nets), *nets)
            except InvariantBroken as found:
                broken += 1
                print(f"seed {seed}: {found}", flush=True)  # noqa: T201  # a program
            played = seed - first + 1
            if not played % REPORT_EVERY or seed == last - 1:
                text = f"{played} plays without {' and '.join(nets) or 'nothing'}, {broken} broken, "
                text += f"{sum(PLAYED)} acknowledged writes, none in {PLAYED.count(0)}, "
                text += f"{time.monotonic() - began:.0f} s"
                print(text, flush=True)  # noqa: T201  # a program
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
