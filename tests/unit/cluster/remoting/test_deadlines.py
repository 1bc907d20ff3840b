"""The deadline of an ask goes with it to another node."""

from __future__ import annotations

import pytest
import trio
from helpers.behaviors import answering
from helpers.messages import Busy, Left

from casty import AskTimeoutError


async def test_the_deadline_travels_and_an_expired_request_is_not_started(autojump_clock, nodes):
    first, second = await nodes.join("a", "b")
    started = []
    first.system.spawn(answering(started), "slow")
    ref = second.system.remote("/slow", "a").of(Left | Busy)
    left = await second.system.ask(ref, Left, timeout=3.0)
    assert left == pytest.approx(3.0, abs=0.2)
    ref.tell(Busy(2.0))
    with pytest.raises(AskTimeoutError):
        await second.system.ask(ref, Left, timeout=1.0)
    await trio.sleep(3)
    assert started == ["Left", "Busy"]
    assert first.system.statistics().dead_letters == {"request expired": 1}


async def test_the_time_out_begins_when_the_message_was_made_on_both_nodes(autojump_clock, nodes):
    first, second = await nodes.join("a", "b")
    started = []
    first.system.spawn(answering(started), "slow")
    ref = second.system.remote("/slow", "a").of(Left | Busy)

    def make(reply_to):
        autojump_clock.jump(2.0)  # what a slow function takes
        return Left(reply_to)

    assert await second.system.ask(ref, make, timeout=1.0) == pytest.approx(1.0, abs=0.2)
    ref.tell(Busy(1.5))
    with pytest.raises(AskTimeoutError):
        await second.system.ask(ref, make, timeout=1.0)
    await trio.sleep(3)
    assert started == ["Left", "Busy"]
