"""Frames to actors, never to be written, on their way to becoming dead letters.

Owns those still waiting. Each is decoded again, since its sender may have asked for a reply in it and an observer wants
to see it, and a queue holds megabytes: all at once held the loop for 14 ms with simple messages, and for 160 ms with
2,600 small objects in each. So many frames are taken in turns, in their order. The oldest ones beyond the bound are
counted by their heads alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import trio

from casty.address import ENTITY_PREFIX, UniqueAddress
from casty.cluster.remoting.paused_sends import envelopes_of
from casty.errors import DecodeError
from casty.transport.limits.token_bucket import FRAME_COST_BYTES
from casty.wire.envelope import FOREIGN, decode_head
from casty.wire.frame import HEADER_BYTES, FrameKind

TURN_BYTES_MAX = 64 * 1024
"""Bytes decoded before other tasks run, each frame with the cost of handling it; a larger one comes alone."""

WAITING_BYTES_MAX = 32 * 1024 * 1024
"""Bytes waiting for their turn at most. A node still sending to a silent one is faster than the turns, at 100 kB a
message a hundred times.
"""

DeadFrame = tuple[UniqueAddress, bytes, str]
"""Addressee of the frame, the frame, and why it will not be written."""


@dataclass(frozen=True, slots=True)
class _Then:
    """A call made once everything before it has become dead letters."""

    call: Callable[[], None]


class UndeliveredFrames:
    """The dead frames of one node.

    ``show`` makes a dead letter of one, with the reason; ``count`` does so of many, without the messages in them.
    """

    def __init__(
        self, show: Callable[[UniqueAddress, bytes, str], None], count: Callable[[Sequence[DeadFrame]], None]
    ) -> None:
        self._show = show
        self._count = count
        self.waiting: deque[DeadFrame | _Then] = deque()
        """Frames waiting for their turn, and the calls between them."""
        self.cost = 0
        """Of those together."""
        self._start: Callable[[], None] | None = None
        self._is_running = False

    def run_in(self, nursery: trio.Nursery) -> None:
        """Take turns in this nursery from now on."""
        self._start = lambda: nursery.start_soon(self._run)

    def end(self) -> None:
        """Take all waiting frames, and from now on each new one at once."""
        self._start = None
        self._take_all()

    def take(self, to: UniqueAddress, frames: Sequence[bytes], reason: str) -> None:
        """Take frames for one peer, as they were given to the transport; few of them become dead letters at once."""
        for frame in envelopes_of(frames):
            self.waiting.append((to, frame, reason))
            self.cost += len(frame) + FRAME_COST_BYTES
        self._make_room()
        if self._is_running:
            return
        self._take_turn()
        if self.waiting and self._start is not None:
            self._is_running = True
            self._start()
        else:
            self._take_all()

    def then(self, call: Callable[[], None]) -> None:
        """Call once all frames waiting now have become dead letters; at once where there are none."""
        if self.waiting:
            self.waiting.append(_Then(call))
        else:
            call()

    def _make_room(self) -> None:
        over: list[DeadFrame] = []
        while self.cost > WAITING_BYTES_MAX:
            item = self.waiting.popleft()
            if isinstance(item, _Then):
                self._count(over)
                over = []
                item.call()
            else:
                over.append(item)
                self.cost -= len(item[1]) + FRAME_COST_BYTES
        if over:
            self._count(over)

    async def _run(self) -> None:
        try:
            while self.waiting:
                await trio.lowlevel.checkpoint()
                self._take_turn()
        finally:
            self._is_running = False
            self._take_all()  # also when this is cancelled: none may be lost

    def _take_turn(self) -> None:
        cost = 0
        while self.waiting:
            item = self.waiting[0]
            if isinstance(item, _Then):
                self.waiting.popleft()
                item.call()
                continue
            to, frame, reason = item
            if cost and cost + len(frame) > TURN_BYTES_MAX:
                return
            self.waiting.popleft()
            cost += len(frame) + FRAME_COST_BYTES
            self.cost -= len(frame) + FRAME_COST_BYTES
            self._show(to, frame, reason)

    def _take_all(self) -> None:
        while self.waiting:
            self._take_turn()

    def __repr__(self) -> str:
        return f"<UndeliveredFrames waiting={len(self.waiting)}>"


def is_for_entity(frame: bytes) -> bool:
    """Return whether a frame holds a message to an entity, and no slice of one."""
    if frame[HEADER_BYTES - 1] != FrameKind.ENVELOPE:
        return False
    try:
        return decode_head(memoryview(frame)[HEADER_BYTES:])[1].startswith(ENTITY_PREFIX)
    except (DecodeError, *FOREIGN):
        return False
