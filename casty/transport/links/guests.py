"""Restrictions of one session while its peer is no member.

Owns the waits of such a peer, and their length: its bytes are paid for as they come, whether they make a frame yet or
not; a frame allowed to members alone waits until the peer is one; and a frame once begun has to end in time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final, Generic, Protocol, TypeVar

import trio

from casty.transport.limits.charges import JOINED_LOOK, charge
from casty.transport.limits.token_bucket import FRAME_COST_BYTES, SECOND_COST_BYTES, STRANGER_PATIENCE, FairTokenBucket
from casty.transport.links.reading import Frames

BEGUN_FRAME_SECONDS: Final = 10.0
"""Seconds for a frame to come, from its first byte: the part that has come is kept meanwhile."""

WORK_SECONDS_MAX: Final = 0.001
"""Seconds for handling frames, one after the other, before the next one waits until that is paid for."""

LATE: Final = f"a frame that it began, as no member, did not come whole within {BEGUN_FRAME_SECONDS:g} s"
SLOW: Final = "strangers of its host send too much"
TOO_LARGE: Final = "it is no member, and sends a message that is too large for such"


class GuestSession(Protocol):
    """Needs of a guest from its session."""

    @property
    def is_over(self) -> bool:
        """Whether it has ended, or is about to."""
        ...

    @property
    def is_deaf(self) -> bool:
        """Whether no frame is taken any more."""
        ...

    def end(self, reason: str, *, graceful: bool) -> None:
        """End the session."""
        ...


S = TypeVar("S", bound=GuestSession)
S_contra = TypeVar("S_contra", bound=GuestSession, contravariant=True)


class Bounds(Protocol[S_contra]):
    """Bounds shared by all strangers."""

    def pace(self, session: S_contra) -> FairTokenBucket:
        """Return the pace for reading the session at this moment."""
        ...

    turn: trio.Lock
    """Its holder has waited for one round of the loop, and for all earlier waiters."""

    def note(self, session: S_contra) -> None:
        """Take note of the bytes held by the session now, and perhaps end it, or others."""
        ...


class Guest(Generic[S]):
    """Part of one session that is over once its peer is a member."""

    __slots__ = ("_bounds", "_clock", "_paid", "_scope", "_session", "_taken", "_worked", "has_left", "in_hand")

    def __init__(self, session: S, scope: trio.CancelScope, bounds: Bounds[S], clock: Callable[[], float]) -> None:
        self.in_hand = 0
        """Bytes of frames waiting for their turn."""
        self.has_left = False
        self._session = session
        self._scope = scope
        self._bounds = bounds
        self._clock = clock
        """Seconds of processor time of this thread."""
        self._taken = 0
        self._paid = 0.0
        """Bytes paid for and not used yet."""
        self._worked = 0.0
        """Seconds taken by the frames of this turn so far."""

    def note(self) -> None:
        """Count the bytes held by the session."""
        self._bounds.note(self._session)

    def leave(self) -> None:
        """End all restrictions of strangers."""
        self.has_left = True
        self._scope.deadline = math.inf

    def begin(self, begun: int, *, is_new: bool) -> None:
        """Take note of the bytes at hand of a frame still to be completed, and whether that is another than before."""
        if not begun:
            self._scope.deadline = math.inf
        elif is_new or self._scope.deadline == math.inf:
            self._scope.deadline = trio.current_time() + BEGUN_FRAME_SECONDS

    async def take_in(self, count: int, frames: Frames, begun: int) -> None:
        """Return when the bytes just received are paid for."""
        self.in_hand = sum(len(body) for _, body in frames)
        self.begin(begun, is_new=bool(frames))
        self.note()
        if not self._session.is_over:
            await self._wait(count, is_for_members=False)

    async def wait_turn(self, frames: Frames) -> None:
        """Return when these frames may be handed over."""
        await self._take_turn()  # to count values takes some milliseconds, too
        began = self._clock()
        cost, is_for_members = charge(frames)
        worked = self._clock() - began
        await self._wait(cost, is_for_members=is_for_members)
        await self._take_turn()
        self._paid, self._worked = cost + sum(len(body) for _, body in frames), 0.0
        self._note_work(worked)

    async def hand_over(self, frames: Frames, take: Callable[[Frames], None]) -> None:
        """Take one frame after another, and charge their cost beyond the price paid.

        The cost of their values is known before, the cost of the objects made by a class only now. Behind a slow one,
        the next one waits until it is paid for.
        """
        for one in frames:
            if self._session.is_deaf:
                return
            if self._worked > WORK_SECONDS_MAX and not self.has_left:
                await self._wait(FRAME_COST_BYTES, is_for_members=False)
                await self._take_turn()
                self._worked = 0.0
            began = self._clock()
            try:
                take((one,))
            finally:
                self._note_work(self._clock() - began)

    def _note_work(self, seconds: float) -> None:
        self._worked += seconds
        self._paid -= seconds * SECOND_COST_BYTES
        if self._paid < 0 and not self.has_left:  # to the host, at once: a link that is over now pays nothing more
            self._bounds.pace(self._session).charge(-self._paid)
            self._paid = 0.0

    async def _take_turn(self) -> None:
        """Wait until no other stranger's frames are handled in the same round of the loop."""
        async with self._bounds.turn:
            await trio.lowlevel.checkpoint()

    async def _wait(self, cost: int, *, is_for_members: bool) -> None:
        self._taken += cost
        reason = SLOW
        with trio.move_on_after(STRANGER_PATIENCE) as scope:
            await self._bounds.pace(self._session).take(cost, rank=self._taken)
            reason = TOO_LARGE
            while is_for_members and not self.has_left:  # noqa: ASYNC110  # nothing waits for it but this
                await trio.sleep(JOINED_LOOK)
        if scope.cancelled_caught:
            self._session.end(reason, graceful=False)

    def __repr__(self) -> str:
        return f"<Guest in_hand={self.in_hand}>"
