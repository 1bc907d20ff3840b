"""The leak check finds what a block leaves behind, and waits for what is about to go."""

from __future__ import annotations

import gc
import socket

import pytest
import trio
import trio.testing

from casty import ActorRef, ActorSystem, Behaviors
from casty.testing import no_leaks


async def test_a_system_that_ended_leaves_nothing(autojump_clock: object) -> None:
    async with no_leaks(), ActorSystem() as system:
        ref = system.spawn(Behaviors.ignore(), "one")
        ref.tell(1)


async def test_a_task_that_is_left_is_named(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match=r"the block left behind:\s+task .*sleep_forever"):
            async with no_leaks():
                nursery.start_soon(trio.sleep_forever)
        nursery.cancel_scope.cancel()


async def test_a_task_that_ends_soon_is_waited_for(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        async with no_leaks():
            nursery.start_soon(trio.sleep, 0.5)
        with pytest.raises(AssertionError, match="task trio.sleep"):
            async with no_leaks(settle=0.1):
                nursery.start_soon(trio.sleep, 0.5)


async def test_a_socket_that_is_left_is_found(autojump_clock: object) -> None:
    gc.collect()
    left = []
    with pytest.raises(AssertionError, match=r"socket \(descriptor \d+\)"):
        async with no_leaks():
            left.append(socket.socket())
    left.pop().close()
    async with no_leaks():
        socket.socket().close()


async def test_what_is_left_inside_of_a_running_system_is_named(autojump_clock: object) -> None:
    async with ActorSystem("shop") as system:
        silent = system.spawn(Behaviors.ignore(), "silent")
        async with no_leaks(system):
            system.stop(system.spawn(Behaviors.ignore(), "short"))
            await system.ask_or_none(silent, lambda reply_to: reply_to, timeout=0.1)
        async with trio.open_nursery() as nursery:
            with pytest.raises(AssertionError) as raised:
                async with no_leaks(system):
                    system.spawn(Behaviors.ignore(), "long")
                    nursery.start_soon(ask_for_long, system, silent)
                    await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    assert "/long of shop" in str(raised.value)
    assert "a timer of shop (one of 1)" in str(raised.value)
    assert "an ask of shop (one of 1)" in str(raised.value)


async def ask_for_long(system: ActorSystem, ref: ActorRef[object]) -> None:
    await system.ask_or_none(ref, lambda reply_to: reply_to, timeout=60)


async def test_an_error_of_the_block_is_not_covered_by_the_check(autojump_clock: object) -> None:
    async with trio.open_nursery() as nursery:
        with pytest.raises(KeyError):
            async with no_leaks():
                nursery.start_soon(trio.sleep_forever)
                raise KeyError
        nursery.cancel_scope.cancel()
