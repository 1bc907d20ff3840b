"""Two nodes over real sockets, cancelled before a step of any task, leave no task and no socket, in bounded time."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest
import trio
from helpers.messages import Get

from casty import (
    ActorContext,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterSettings,
    ServiceKey,
    SystemConfig,
)
from casty.testing import no_leaks

ENDS_WITHIN = 20.0
"""Seconds for one run, a busy machine included: the bounds of its phases add up to less."""
STEPS_MAX = 100_000
CONFIG = SystemConfig(stop_timeout=1.0, shutdown_timeout=3.0)
SETTINGS = ClusterSettings(gossip_interval=0.1, heartbeat_interval=0.1, leave_timeout=1.0)


COUNTER = ServiceKey[Get]("counter")


async def count(ctx: ActorContext[Get], message: Get) -> Behavior[Get]:
    message.reply_to.tell(1)
    return Behaviors.same()


def node(node_id: str, *seeds: tuple[str, int]) -> ClusteredActorSystem:
    return ClusteredActorSystem(
        name="shop", host="127.0.0.1", port=0, node_id=node_id, seed_nodes=seeds, config=CONFIG, settings=SETTINGS
    )


async def two_nodes() -> None:
    async with node("a") as first:
        first.spawn(Behaviors.discoverable(Behaviors.receive(count), key=COUNTER), "counter")
        async with node("b", ("127.0.0.1", first.self_node.port)) as second:
            (found,) = (await second.find(COUNTER, at_least=1)).instances
            counted: int = await second.ask(found.ref, Get)
            assert counted == 1


def steps() -> Iterator[int]:
    """Every step at the beginning, where sockets are opened; then fewer and fewer, to the end."""
    step = 1
    while step < STEPS_MAX:
        yield step
        step = max(step + 1, step * 21 // 20)


async def test_two_nodes_that_are_cancelled_anywhere_leave_no_task_and_no_socket(cancel_at) -> None:
    walked = 0
    for step in steps():
        complete, began = False, time.monotonic()
        async with no_leaks(settle=ENDS_WITHIN):
            with trio.CancelScope() as scope, cancel_at(step, scope):
                await two_nodes()
                complete = True
        assert time.monotonic() - began < ENDS_WITHIN, step
        if complete and not scope.cancel_called:
            break
        walked += 1
    else:
        pytest.fail(f"not over after {STEPS_MAX} steps")
    assert walked > 50
