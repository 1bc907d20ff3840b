"""A block that must leave nothing behind: no task, actor, timer, ask or socket."""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import trio
import trio.testing

from casty import ActorSystem
from casty.runtime.system.system import kernel_of

SETTLE_TIMEOUT = 1.0
"""Seconds that tasks have to end after the block, for example those that close a connection."""
SETTLE_INTERVAL = 0.01
DESCRIPTORS = Path("/dev/fd")
"""Folder in which the system lists the open files of a process; without it, sockets are not looked at."""


@asynccontextmanager
async def no_leaks(system: ActorSystem | None = None, *, settle: float = SETTLE_TIMEOUT) -> AsyncGenerator[None]:
    """Check that a block leaves nothing new behind.

    Looks at the tasks of this Trio run and the sockets of this process. An error of the block leaves as it is, without
    a check.

    >>> from casty.testing import no_leaks
    >>> async with no_leaks():
    ...     async with ActorSystem("shop") as shop:
    ...         _ = shop.spawn(Behaviors.ignore(), "cart")

    Parameters:
        system: Running system, whose actors, timers and asks are looked at too; None leaves them out.
        settle: Seconds that what is left has to go away.

    Yields:
        Nothing.

    Raises:
        AssertionError: At the end: something is there that was not before; the message names it.
    """
    with trio.move_on_after(settle):  # what was started before the block is not the block's
        await trio.testing.wait_all_tasks_blocked()
    before = _inventory(system)
    yield
    left = await _settled(before, system, settle)
    if left:
        raise AssertionError("the block left behind:" + "".join(f"\n  {line}" for line in left))


async def _settled(before: dict[object, str], system: ActorSystem | None, settle: float) -> list[str]:
    """Return all new things, once there are none or time is up."""
    deadline = trio.current_time() + settle
    await trio.lowlevel.checkpoint()
    while True:
        left = [line for key, line in _inventory(system).items() if key not in before]
        if not left or trio.current_time() >= deadline:
            return left
        await trio.sleep(SETTLE_INTERVAL)


def _inventory(system: ActorSystem | None) -> dict[object, str]:
    """Return a text for each existing thing, under a key of its own."""
    return {**_tasks(), **_sockets(), **({} if system is None else _inside(system))}


def _tasks() -> dict[object, str]:
    found: dict[object, str] = {}
    root = trio.lowlevel.current_root_task()
    waiting = [] if root is None else [root]
    while waiting:
        task = waiting.pop()
        found[task] = f"task {task.name}"
        waiting.extend(child for nursery in task.child_nurseries for child in nursery.child_tasks)
    return found


def _sockets() -> dict[object, str]:
    found: dict[object, str] = {}
    if DESCRIPTORS.is_dir():
        for entry in os.listdir(DESCRIPTORS):
            try:
                status = os.fstat(int(entry))
            except (OSError, ValueError):  # closed since, like the one that listed them
                continue
            if stat.S_ISSOCK(status.st_mode):
                found[f"socket {status.st_dev} {status.st_ino}"] = f"socket (descriptor {entry})"
    return found


def _inside(system: ActorSystem) -> dict[object, str]:
    kernel = kernel_of(system)  # names are not among the public statistics
    statistics = system.statistics()
    found: dict[object, str] = {(path, ref.uid): f"{path} of {system.name}" for path, ref in kernel.targets.items()}
    for number in range(statistics.timers):
        found[f"timer {number}"] = f"a timer of {system.name} (one of {statistics.timers})"
    for number in range(statistics.asks_pending):
        found[f"ask {number}"] = f"an ask of {system.name} (one of {statistics.asks_pending})"
    return found
