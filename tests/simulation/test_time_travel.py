"""Replays of journals that were written under faults and crashes: each told state is that of its event."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing
from helpers.ledgers import numbers
from helpers.travelled import Note, Numbers, hosted_ledgers, ledger_entity

from casty import AskFailed, AskTimeoutError, ClusteredActorSystem, EntityKey
from casty.runtime.sourcing.time_travel import Replay
from casty.testing import SimulatedJournal
from casty.testing.simulation import Crash, JournalFault, Restart, Scenario, Simulation, simulate
from casty.wire.storing.stored_codec import StoredCodec

LEDGERS = EntityKey[Note]("ledgers")
FAULTS = (
    (0.0, JournalFault("a", "uncertain", 0.2)),
    (0.0, JournalFault("b", "unavailable", 0.1)),
    (12.0, Crash("a")),
    (13.0, Restart("a")),
    (20.0, Crash("b")),
    (20.5, Restart("b")),
)


async def host(node: ClusteredActorSystem) -> None:
    node.spawn(hosted_ledgers(), "ledgers")


async def write(simulation: Simulation, told: dict[str, set[Numbers]]) -> None:
    for number in range(90):
        await trio.sleep(0.3)
        name = f"l{number % 3}"
        for node in list(simulation.systems.values())[number % 2 :][:1]:
            try:
                after: Numbers = await node.ask(
                    node.entity(LEDGERS, name), partial(Note, (number, number)), timeout=1.0
                )
            except (AskFailed, AskTimeoutError):
                continue
            told.setdefault(name, set()).add(after)


@pytest.mark.parametrize("seed", range(3))
def test_each_told_state_is_the_replay_to_its_event(seed: int) -> None:
    journal, told = SimulatedJournal(seed=seed), dict[str, set[Numbers]]()
    scenario = Scenario(seed, ("a", "b"), FAULTS)
    simulate(scenario, on_node=host, main=lambda one: write(one, told), journal=journal)
    assert sum(map(len, told.values())) > 40

    async def travel() -> None:
        handle, codec = journal.handle(), StoredCodec()
        async with handle.open():
            for name, states in told.items():
                way = Replay(ledger_entity(name), f"ledgers/{name}", codec, handle)  # type: ignore[arg-type]  # made by event_sourced
                last = numbers((await way.to()).state)
                for state in states:
                    assert numbers((await way.to(len(state))).state) == state == last[: len(state)]

    trio.run(travel, clock=trio.testing.MockClock(autojump_threshold=0))
