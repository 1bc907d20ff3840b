"""Hand-over of the work of this node alone, before it leaves.

Owns the order of leaving: others take over first, while this node is a member with all of its actors; it says that it
goes only afterwards. It does not know the work, which its parts hand over.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import trio

from casty.cluster.membership.membership_status import MembershipStatus

logger = logging.getLogger("casty.cluster")


@dataclass(frozen=True, slots=True)
class WorkPart:
    """Part of the node with work to hand over."""

    hand_over: Callable[[], Awaitable[object]]
    """Return once it is handed over. Cancelled when the time is over, or this node is no member any more."""
    rest: Callable[[], str]
    """Return in words what is left."""


class WorkHandover:
    """The hand-over of one node: it takes place once."""

    def __init__(self, board: MembershipStatus) -> None:
        self._board = board
        self._parts: list[WorkPart] = []
        self._is_begun = False
        self._over = trio.Event()

    def add(self, part: WorkPart) -> None:
        """Add a part with work."""
        self._parts.append(part)

    async def run(self, seconds: float) -> None:
        """Hand all work over, at most for so long; called again, wait for the end of it."""
        if self._is_begun:
            await self._over.wait()
            return
        self._is_begun = True
        try:
            if self._board.joined and not self._board.ended:
                await self._run(seconds)
        finally:
            self._over.set()

    async def _run(self, seconds: float) -> None:
        with trio.move_on_after(seconds) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._cancel_at_end, nursery.cancel_scope)
                for part in self._parts:
                    await part.hand_over()
                nursery.cancel_scope.cancel()
        if scope.cancelled_caught:
            rest = ", ".join(part.rest() for part in self._parts)
            logger.error("the hand-over did not end within %g s, and the node leaves with %s", seconds, rest)

    async def _cancel_at_end(self, scope: trio.CancelScope) -> None:
        await self._board.wait_ended()
        scope.cancel()

    def __repr__(self) -> str:
        state = "over" if self._over.is_set() else "under way" if self._is_begun else "not begun"
        return f"<WorkHandover {state}>"
