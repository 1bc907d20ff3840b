"""Each state within reach of a replay is the state that the live entity had after that event."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from helpers.ledgers import numbers
from helpers.travelled import Life, Numbers, ledger
from hypothesis import given, settings
from hypothesis import strategies as st

from casty import Every, MemoryJournal
from casty.runtime.sourcing.time_travel import NoSuchState, Replay
from casty.wire.storing.stored_codec import StoredCodec

writes = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple), max_size=8)
policies = st.one_of(
    st.none(),
    st.builds(Every, st.integers(1, 4), keep=st.integers(1, 3), forget=st.booleans()),
)


async def travel(lives: Sequence[Sequence[Numbers]], snapshots: Every | None) -> None:
    journal, life = MemoryJournal(), Life()
    behavior = ledger("ledger-1", snapshots)
    for one in lives:
        await life.live(journal, behavior, one)
    last = max(life.seen, default=0)
    async with journal.open():
        way = Replay(behavior, "ledger-1", StoredCodec(), journal)  # type: ignore[arg-type]  # made by event_sourced
        first = [stored.seq async for stored in journal.read("ledger-1")][:1]
        kept = [one.seq for one in await journal.load("ledger-1")]
        earliest = 0 if first == [1] or not last else min(seq for seq in kept if seq >= (first or [0])[0] - 1)
        for seq in range(last + 1):
            if seq < earliest:
                with pytest.raises(NoSuchState, match=f"its earliest state is the one after event {earliest}, got"):
                    await way.to(seq)
                continue
            machine = await way.to(seq)
            state = numbers(machine.state)
            assert (machine.seq, len(state)) == (seq, seq)
            assert state == life.seen.get(seq, state)
            assert state == life.seen[last][:seq]
        assert numbers((await way.to()).state) == life.seen[last]
        with pytest.raises(NoSuchState, match=f"the last event of 'ledger-1' is {last}, got {last + 1}"):
            await way.to(last + 1)


@settings(max_examples=60, deadline=None)
@given(st.lists(writes, min_size=1, max_size=3), policies)
def test_every_prefix_is_the_state_that_the_live_entity_had(
    lives: list[list[Numbers]], snapshots: Every | None
) -> None:
    trio.run(travel, lives, snapshots)
