"""SystemExit in a call of an embedded system, whose caller waits in another thread."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable

import pytest
import trio
from helpers.systems import shop

from casty import ActorSystem, embed


def leave() -> None:
    raise SystemExit(3)


async def leave_later() -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.sleep_forever)
        leave()


@pytest.mark.parametrize("kind", ["sync", "asyncio"])
def test_system_exit_in_a_call_reaches_the_caller_and_the_system_lives_on(kind: str) -> None:
    done: list[object] = []

    def use(fn: Callable[[embed.Embedded[ActorSystem]], object]) -> None:
        with embed.start(shop) as app:
            try:
                fn(app)
            except SystemExit as error:
                done.append(error.code)
            except BaseExceptionGroup as group:
                done.append(group.subgroup(SystemExit) is not None)
            done.append(app.call(app.system.lookup, "/nobody"))

    async def use_async() -> None:
        async with embed.start_async(shop) as app:
            for call in (app.call(leave), app.run(leave_later)):
                try:
                    await call
                except SystemExit as error:
                    done.append(error.code)
                except BaseExceptionGroup as group:
                    done.append(group.subgroup(SystemExit) is not None)
                done.append(await app.call(app.system.lookup, "/nobody"))

    def go() -> None:
        if kind == "asyncio":
            asyncio.run(use_async())
        else:
            use(lambda app: app.call(leave))
            use(lambda app: app.run(leave_later))

    thread = threading.Thread(target=go, daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "the caller was never answered"
    assert done == [3, None, True, None]
