"""A system in a thread of its own, used by an asyncio application."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
import trio
import trio.testing
from helpers.behaviors import recording
from helpers.messages import GetNth
from helpers.systems import Downed, shop

from casty import (
    ActorContext,
    ActorStoppedError,
    ActorSystem,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    embed,
)
from casty.runtime.system.system import fail_system


async def square(ctx: ActorContext[GetNth], message: GetNth) -> Behavior[GetNth]:
    message.reply_to.tell(message.number**2)
    return Behaviors.same()


def test_an_application_asks_many_at_once_and_its_loop_stays_free() -> None:
    before = set(threading.enumerate())  # Trio keeps threads for a while that tests before this one have used

    async def main() -> list[int]:
        async with embed.start_async(shop) as app:
            ref = await app.spawn(Behaviors.receive(square), "squares")
            asks = [app.ask(ref, lambda reply_to, n=n: GetNth(n, reply_to)) for n in range(100)]
            return await asyncio.gather(*asks)

    assert asyncio.run(main()) == [n**2 for n in range(100)]
    assert set(threading.enumerate()) <= before


def test_a_block_of_the_wrong_kind_says_which_is_right() -> None:
    untyped: Any = embed

    async def asynchronous() -> None:
        async with untyped.start(shop):
            pass

    async def awaited() -> None:
        await untyped.start_async(shop)

    told = r"write `with embed.start\(...\)`; on asyncio `async with embed.start_async\(...\)`, which does not block"
    with pytest.raises(TypeError, match=told):
        asyncio.run(asynchronous())
    told = r"write `async with embed.start_async\(...\)`; in a program without a loop `with embed.start\(...\)`"
    with pytest.raises(TypeError, match=told):
        asyncio.run(awaited())
    with pytest.raises(TypeError, match=told):
        with untyped.start_async(shop):
            pass


def test_messages_of_one_task_arrive_in_order() -> None:
    seen: list[int] = []

    async def main() -> None:
        async with embed.start_async(shop) as app:
            ref = await app.spawn(recording(seen), "notes")
            tells = [asyncio.ensure_future(app.tell(ref, number)) for number in range(100)]
            await asyncio.gather(*tells)
            await app.run(trio.lowlevel.checkpoint)

    asyncio.run(main())
    assert seen == list(range(100))


def test_cancelling_an_ask_withdraws_it() -> None:
    async def main() -> int:
        async with embed.start_async(shop) as app:
            ref = await app.spawn(Behaviors.ignore(), "silent")
            ask = asyncio.ensure_future(app.ask(ref, lambda reply_to: GetNth(1, reply_to), timeout=60))
            while not (await app.call(app.system.statistics)).asks_pending:
                pass
            ask.cancel()
            with pytest.raises(asyncio.CancelledError):
                await ask
            while pending := (await app.call(app.system.statistics)).asks_pending:
                pass
            return pending

    assert asyncio.run(asyncio.wait_for(main(), 10)) == 0


def test_asyncio_timeouts_work_on_what_runs_in_the_other_thread() -> None:
    cleaned = threading.Event()

    async def slow() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cleaned.set()

    async def main() -> None:
        async with embed.start_async(shop) as app:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await app.run(slow)
            assert cleaned.wait(5)

    asyncio.run(main())


def test_errors_cross_to_the_caller() -> None:
    async def main() -> None:
        async with embed.start_async(shop) as app:
            with pytest.raises(ValueError, match="must not begin"):
                await app.spawn(Behaviors.ignore(), "_mine")
            ref = await app.spawn(Behaviors.ignore(), "silent")
            with pytest.raises(AskTimeoutError):
                await app.ask(ref, lambda reply_to: GetNth(1, reply_to), timeout=0.01)
            raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        asyncio.run(main())


def test_an_error_of_the_system_surfaces_at_the_end_and_can_be_awaited() -> None:
    async def main() -> None:
        async with embed.start_async(shop) as app:
            ref = await app.spawn(Behaviors.ignore(), "silent")
            ask = asyncio.ensure_future(app.ask(ref, lambda reply_to: GetNth(1, reply_to), timeout=60))
            await asyncio.gather(app.wait_stopped(), app.call(fail_system, app.system, Downed()))
            # It depends on who is quicker: the end of the actor answers the ask, or that of the system.
            with pytest.raises((ActorStoppedError, AskFailed)):
                await ask
            with pytest.raises(ActorStoppedError):
                await app.tell(ref, 1)

    with pytest.raises(Downed):
        asyncio.run(main())


def test_a_cancelled_block_stops_the_system_and_stays_cancelled() -> None:
    systems: list[ActorSystem] = []

    async def block(entered: asyncio.Event) -> None:
        async with embed.start_async(shop) as app:
            systems.append(app.system)
            entered.set()
            await app.wait_stopped()

    async def main() -> None:
        entered = asyncio.Event()
        task = asyncio.ensure_future(block(entered))
        await entered.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert "stopped" in repr(systems[0])


def test_an_entry_that_hangs_can_be_cancelled() -> None:
    class Hanging(ActorSystem):
        async def __aenter__(self) -> Hanging:
            await trio.sleep_forever()
            return self

    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05), embed.start_async(Hanging):
                pytest.fail("entered")

    asyncio.run(main())


def test_a_cancellation_while_the_system_stops_waits_for_the_stop() -> None:
    stopping = threading.Event()
    ended = threading.Event()

    async def clean_up(ctx: ActorContext[int]) -> None:
        stopping.set()
        with trio.CancelScope(shield=True):
            await trio.to_thread.run_sync(ended.wait, 5)

    async def block() -> None:
        async with embed.start_async(shop) as app:
            await app.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=clean_up), "slow")
            await app.run(trio.testing.wait_all_tasks_blocked)

    async def main() -> None:
        task = asyncio.ensure_future(block())
        await asyncio.to_thread(stopping.wait, 5)
        task.cancel()
        await asyncio.wait([task], timeout=0.05)
        assert not task.done()
        ended.set()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())


async def test_on_trio_the_error_says_to_enter_the_system_itself() -> None:
    with pytest.raises(RuntimeError, match="on Trio write `async with ActorSystem"):
        async with embed.start_async(shop):
            pytest.fail("entered")


def test_on_asyncio_a_system_says_how_to_embed_it() -> None:
    async def main() -> None:
        async with ActorSystem():
            pytest.fail("entered")

    with pytest.raises(RuntimeError, match=r"casty\.embed"):
        asyncio.run(main())
