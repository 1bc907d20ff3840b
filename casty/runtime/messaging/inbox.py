"""The inbox of a task-style actor: ``async for message in inbox``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Generic, TypeVar, cast

import trio

from casty.runtime.messaging.mailbox import BATCH_MESSAGES, BATCH_SECONDS, NOTHING
from casty.runtime.messaging.requests import opened
from casty.runtime.messaging.signals import PILL, STOP

if TYPE_CHECKING:
    from casty.runtime.actor.cell import Cell

M = TypeVar("M")


class Inbox(Generic[M]):
    """The messages of one actor, signals first; ends when the actor is to stop.

    One task reads it. After the end, the actor's ``main`` has ``stop_timeout`` seconds to return.
    Made by casty, which hands it to ``main``.
    """

    __slots__ = ("_cell", "_count", "_ended", "_started", "used")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._count = 0
        self._started = 0.0
        self._ended = False
        self.used: bool = False
        """Whether the inbox was read; a task that never did is cancelled at once when it is to stop."""

    def __repr__(self) -> str:
        state = "ended" if self._ended else f"queued={len(self._cell.mailbox)}"
        return f"<{type(self).__name__} of {self._cell.path} {state}>"

    def __aiter__(self) -> Inbox[M]:
        return self

    async def __anext__(self) -> M:
        cell, mailbox = self._cell, self._cell.mailbox
        if mailbox.parked:
            raise RuntimeError(f"two tasks read the inbox of {cell.path} at once; let one read and hand out")
        self.used = True
        cell.request = None
        await self._end_of_batch()
        while True:
            if cell.control:
                if cell.is_failing:
                    cell.in_hand = NOTHING
                    await trio.lowlevel.checkpoint()  # where main is cancelled
                message = cell.take_signal()
                if message is STOP or self._ended:
                    self._ended = True
                    break
                if message is not NOTHING:
                    cell.kernel.signals += 1
                    return self._taken(message)
            if self._ended:
                break
            message = mailbox.take()
            if message is NOTHING:
                await self._park()
            elif message is PILL and mailbox.flows and mailbox.put_before(PILL):
                continue
            elif message is PILL:
                self._ended = True
                cell.kernel.delivered += 1
            else:
                message = opened(cell, message)
                if message is NOTHING:
                    self._count += 1
                    await self._end_of_batch()
                if message is not NOTHING:
                    return self._taken(message)
        cell.in_hand = NOTHING
        await trio.lowlevel.checkpoint()
        raise StopAsyncIteration

    async def _park(self) -> None:
        mailbox = self._cell.mailbox
        self._cell.in_hand = NOTHING
        if self._cell.idle is not None:
            self._cell.idle.rest()
        try:
            await trio.lowlevel.wait_task_rescheduled(mailbox.park(trio.lowlevel.current_task()))
        finally:
            mailbox.parked = False
        self._count = 0

    async def _end_of_batch(self) -> None:
        if self._count & 7 or not self._count:
            return
        now = self._cell.kernel.now
        if self._count >= BATCH_MESSAGES or now() - self._started > BATCH_SECONDS:
            self._cell.in_hand = NOTHING
            await trio.lowlevel.checkpoint()
            self._count = 0
            self._cell.mailbox.next_turn()  # it may be another's turn

    def _taken(self, message: object) -> M:
        if not self._count:
            self._started = self._cell.kernel.now()
        self._count += 1
        self._cell.in_hand = message
        self._cell.kernel.delivered += 1
        return cast("M", message)
