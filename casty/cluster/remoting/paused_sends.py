"""Messages waiting at this node for their turn at an actor of another node.

Owns the order between large messages and all others to the same actor: while a large message is on its way over the
large lane, later ones wait here, and only they. It decides what to send and when; the bytes of slices are made in
`casty.wire.chunking.chunks`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import trio

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.runtime.messaging.channel import ChannelStatistics
from casty.transport.links.send_queue import REQUEST_PARTS
from casty.transport.manager.peers import RemoteTransport
from casty.wire.chunking.chunks import KEPT_SECONDS, ChunkOutcome, cut, large_frame, number_of
from casty.wire.control.deadline import with_time_left
from casty.wire.frame import HEADER_BYTES, LENGTH_BYTES, FrameKind, Lane

PAUSED_MAX = 4_096
"""Actors for which other nodes may have this one hold messages back."""

OVER_WITHIN = 5.0
"""Seconds after which written slices are lost with the link, however politely that has ended."""

STALE_AFTER = KEPT_SECONDS / 2
"""Seconds before a large message, arrived at the other node, goes there once more, before its LARGE: the actor has
asked to hold back meanwhile, and the node may have dropped it. The half is for LARGE to get there.
"""

REASONS = {
    ChunkOutcome.no_room: "the other node has no room for more large messages",
    ChunkOutcome.too_large: "it is larger than the other node takes",
}

FOR_MEMBERS: Final = "the node there is no member, and a message that is larger than a frame goes to members alone"
"""A node puts together no slices of strangers, so it cuts none for them either: each of them could ask for megabytes,
read them, and never say that they have arrived. 120 had a node keep 700 MiB.
"""

TakeDead = Callable[[UniqueAddress, Sequence[bytes], str], None]


class LargeFrame(bytes):
    """Placeholder of a large message on the ordinary lane, with its frame."""

    envelope: bytes

    @classmethod
    def of(cls, number: int, envelope: bytes) -> LargeFrame:
        """Return the placeholder of the message in ``envelope``, by the number of its slices."""
        frame = cls(large_frame(number))
        frame.envelope = envelope
        return frame


@dataclass(slots=True, eq=False)
class _Large:
    """A large message still to arrive whole at the other node."""

    number: int
    to: UniqueAddress
    frame: bytes
    since: float
    """Time at which its slices were made, or, once they have arrived, at which that was heard."""
    has_arrived: bool = False
    hold: _Hold | None = None


@dataclass(slots=True, eq=False)
class _Hold:
    """Messages waiting for one actor: all those sent since a large message, or since its node asked to pause."""

    to: UniqueAddress
    path: str
    since: float
    paused_by: UniqueAddress | None = None
    """The run that asked to hold back; it alone ends that."""
    waiting: deque[bytes | _Large] = field(default_factory=lambda: deque[bytes | _Large]())


@dataclass(slots=True, eq=False)
class _Peer:
    """Messages waiting for all actors of one node, and the senders waiting for room."""

    messages: int = 0
    bytes: int = 0
    room: trio.lowlevel.ParkingLot = field(default_factory=trio.lowlevel.ParkingLot)
    senders: int = 0
    """Number of those without a request and without a look since they were woken: nobody is refused because of one."""


class PausedSends:
    """The holds of one node."""

    def __init__(
        self,
        transport: RemoteTransport,
        limits: TransportLimits,
        now: Callable[[], float],
        undelivered_frames: TakeDead,
    ) -> None:
        self._transport = transport
        self._limits = limits
        self._now = now
        self._dead_frames = undelivered_frames
        self._number = 0
        self.by_actor: dict[tuple[NodeAddress, str], _Hold] = {}
        """Empty unless large messages are under way or an actor cannot keep up; looked at for each message."""
        self.by_peer: dict[NodeAddress, _Peer] = {}
        """Messages and bytes counted against the room of each node; no entry for a node without any."""
        self.large: dict[int, _Large] = {}
        """Large messages with slices under way, by their numbers."""

    def has(self, to: UniqueAddress, path: str) -> bool:
        """Whether messages to an actor have to wait."""
        return (to.address, path) in self.by_actor

    def channel_statistics(self, to: UniqueAddress, path: str) -> ChannelStatistics:
        """Return what waits here for an actor, and in the queue to its node for all actors there."""
        hold, peer = self.by_actor.get((to.address, path)), self.by_peer.get(to.address)
        frames, senders = self._transport.queued(to, Lane.ordinary)
        return ChannelStatistics(
            current_buffer_used=frames + (0 if hold is None else len(hold.waiting)),
            max_buffer_size=self._limits.outbound_messages_max,
            open_send_channels=1,
            open_receive_channels=1,
            tasks_waiting_send=senders + (0 if peer is None else peer.senders),
            tasks_waiting_receive=0,
        )

    def is_before(self, to: UniqueAddress, age_max: float) -> bool:
        """Whether something waits for an actor of a node, for no longer than ``age_max`` seconds."""
        since = [hold.since for (address, _), hold in self.by_actor.items() if address == to.address]
        return bool(since) and self._now() - max(since) <= age_max

    def refusal(self, to: UniqueAddress, frame: bytes) -> str | None:
        """Return why a frame is not taken for a node, however much room there is; None where it is."""
        return FOR_MEMBERS if self._is_large(frame) and not self._transport.is_of_members(to) else None

    def tell(self, to: UniqueAddress, path: str, frame: bytes) -> bool:
        """Queue a frame behind a large or paused one to the same actor; return False without room, or where it is
        refused.
        """
        peer = self.by_peer.get(to.address)
        if self.refusal(to, frame) or (peer is not None and (peer.senders or not self._has_room(peer, frame))):
            return False
        if not self._is_large(frame):
            self._append(to, path, frame, frame)
            return True
        large = self._new(to, frame)
        if not self._transport.send(to, Lane.large, self._slices(large)):
            del self.large[large.number]
            return False
        self._append(to, path, large, frame)
        return True

    def follow(self, to: UniqueAddress, path: str, frame: bytes) -> None:
        """Put a small frame behind those waiting for an actor, however many: there is one for each ask at most."""
        if self.has(to, path):
            self._append(to, path, frame, frame)

    async def send(self, to: UniqueAddress, path: str, frame: bytes, deadline: float | None = None) -> None:
        """Take such a frame, waiting for room; cancelled, it was not taken. For ``deadline`` see `SendQueue.put`.

        A frame refused by then becomes a dead letter.
        """
        is_first, is_request = True, deadline is not None
        while (peer := self.by_peer.get(to.address)) is not None:
            is_behind = is_first and (peer.room if is_request else peer.senders)
            parts = REQUEST_PARTS if is_request and not is_first and not peer.senders else 1
            if not is_behind and self._has_room(peer, frame, parts=parts):
                break
            is_first = False
            peer.senders += not is_request
            try:
                await peer.room.park()
            finally:
                peer.senders -= not is_request
        if deadline is not None and not is_first:
            frame = with_time_left(frame, deadline - self._now())
        refusal = self.refusal(to, frame)
        if refusal is not None:
            await trio.lowlevel.checkpoint_if_cancelled()
            self._dead_frames(to, [frame], refusal)
        elif self._is_large(frame):
            large = self._new(to, frame)
            try:
                await self._transport.send_wait(to, Lane.large, self._slices(large), deadline)
            except BaseException:  # Ctrl-C too
                self.large.pop(large.number, None)
                raise
            if large.has_arrived or large.number in self.large:
                self._append(to, path, large, frame)
                self._advance(large.hold)
        else:
            await trio.lowlevel.checkpoint_if_cancelled()
            if (to.address, path) in self.by_actor:
                self._append(to, path, frame, frame)
            else:
                await self._transport.send_wait(to, Lane.ordinary, frame, deadline)

    def pause(self, peer: UniqueAddress, path: str) -> None:
        """Hold back messages for an actor of a node, until that node says otherwise or its link is lost."""
        key = peer.address, path
        if key in self.by_actor or len(self.by_actor) < PAUSED_MAX:
            self._hold(peer, path).paused_by = peer

    def resume(self, peer: UniqueAddress, path: str) -> None:
        """Go on with one actor."""
        hold = self.by_actor.get((peer.address, path))
        if hold is not None and hold.paused_by == peer:
            hold.paused_by = None
            self._advance(hold)

    def resume_all(self, peer: UniqueAddress) -> None:
        """Go on with all actors of a node."""
        for address, path in list(self.by_actor):
            if address == peer.address:
                self.resume(peer, path)

    def arrived(self, peer: UniqueAddress, number: int, fate: ChunkOutcome) -> None:
        """Take note that a node has all slices of a message, or has dropped it."""
        large = self.large.get(number)
        if large is None or not peer.is_named(large.to):
            return
        if fate is ChunkOutcome.complete:
            del self.large[number]
            large.has_arrived, large.since = True, self._now()
            self._advance(large.hold)
        else:
            self._fail(large, REASONS[fate])

    def undelivered(self, slices: bytes, reason: str) -> None:
        """Give up the message whose slices will never be written."""
        large = self.large.get(number_of(slices))
        if large is not None:
            self._fail(large, reason)

    def link_lost(self, peer: UniqueAddress, reason: str, *, graceful: bool) -> None:
        """Give up the messages whose slices were written to an ended link.

        An idle link ends gracefully while slices for the next one may wait already.
        """
        latest = self._now() - (OVER_WITHIN if graceful else 0.0)
        for large in [one for one in self.large.values() if one.to.address == peer.address and one.since <= latest]:
            self._fail(large, reason)

    def forget(self, node: UniqueAddress, reason: str) -> None:
        """Make dead letters of messages waiting for a removed run."""
        runs = 0, node.incarnation
        for hold in [one for one in self.by_actor.values() if one.to.address == node.address]:
            if hold.to.incarnation in runs:
                self._drop(hold, reason)

    def close(self, reason: str) -> None:
        """Make dead letters of all waiting messages."""
        for hold in list(self.by_actor.values()):
            self._drop(hold, reason)

    async def wait_empty(self) -> None:
        """Return when nothing waits here."""
        while self.by_peer:
            await next(iter(self.by_peer.values())).room.park()

    def _is_large(self, frame: bytes) -> bool:
        return len(frame) - LENGTH_BYTES > self._limits.frame_bytes_max

    def _has_room(self, peer: _Peer, frame: bytes, *, parts: int = 1) -> bool:
        """Whether there is room, in one of so many parts of the whole."""
        if not peer.messages:
            return True
        messages_max, bytes_max = self._limits.outbound_messages_max // parts, self._limits.outbound_bytes_max // parts
        return peer.messages < messages_max and peer.bytes + len(frame) <= bytes_max

    def _new(self, to: UniqueAddress, frame: bytes) -> _Large:
        self._transport.dial(to.address, Lane.ordinary)  # it is needed the moment the slices have arrived
        self._number += 1
        large = self.large[self._number] = _Large(self._number, to, frame, self._now())
        return large

    def _slices(self, large: _Large) -> bytes:
        return cut(large.number, memoryview(large.frame)[HEADER_BYTES:])

    def _append(self, to: UniqueAddress, path: str, item: bytes | _Large, frame: bytes) -> None:
        hold = self._hold(to, path)
        hold.waiting.append(item)
        if isinstance(item, _Large):
            item.hold = hold
        peer = self.by_peer.setdefault(to.address, _Peer())
        peer.messages += 1
        peer.bytes += len(frame)

    def _hold(self, to: UniqueAddress, path: str) -> _Hold:
        key = to.address, path
        hold = self.by_actor.get(key)
        if hold is None:
            hold = self.by_actor[key] = _Hold(to, path, self._now())
        return hold

    def _fail(self, large: _Large, reason: str) -> None:
        self.large.pop(large.number, None)
        hold = large.hold
        if hold is not None:
            hold.waiting.remove(large)
            self._release(hold.to.address, 1, len(large.frame))
        self._dead_frames(large.to, [large.frame], reason)
        self._advance(hold)

    def _drop(self, hold: _Hold, reason: str) -> None:
        self.by_actor.pop((hold.to.address, hold.path), None)
        while hold.waiting:
            item = hold.waiting.popleft()
            if isinstance(item, _Large):
                self.large.pop(item.number, None)
                item.hold = None
            frame = item.frame if isinstance(item, _Large) else item
            self._release(hold.to.address, 1, len(frame))
            self._dead_frames(hold.to, [frame], reason)

    def _advance(self, hold: _Hold | None) -> None:
        """Send the messages held back by no large one any more."""
        if hold is None or hold.paused_by is not None:
            return
        frames: list[bytes] = []
        size, oldest = 0, self._now() - STALE_AFTER
        while hold.waiting:
            head = hold.waiting[0]
            if isinstance(head, _Large):
                if not head.has_arrived or head.since < oldest:
                    break
                size += len(head.frame)
                frames.append(LargeFrame.of(head.number, head.frame))
            else:
                size += len(head)
                frames.append(head)
            hold.waiting.popleft()
        if not hold.waiting:
            self.by_actor.pop((hold.to.address, hold.path), None)
        if frames:
            self._release(hold.to.address, len(frames), size)
            self._transport.send_held(hold.to, Lane.ordinary, frames)
        self._send_again(hold, oldest)

    def _send_again(self, hold: _Hold, oldest: float) -> None:
        """Send slices again once they have arrived and waited here for so long that the node may have dropped them.

        No LARGE has gone out for them, so they are delivered once at most. The number stays: the slices still held by
        the node give their room to the new ones.
        """
        stale = [one for one in hold.waiting if isinstance(one, _Large) and one.has_arrived and one.since < oldest]
        for large in stale:
            large.has_arrived, large.since = False, self._now()
            self.large[large.number] = large
        if stale:
            self._transport.send_held(hold.to, Lane.large, [self._slices(large) for large in stale])

    def _release(self, address: NodeAddress, messages: int, size: int) -> None:
        peer = self.by_peer[address]
        peer.messages -= messages
        peer.bytes -= size
        peer.room.unpark_all()
        if not peer.messages:
            del self.by_peer[address]

    def __repr__(self) -> str:
        return f"<PausedSends actors={len(self.by_actor)} large={len(self.large)}>"


def envelopes_of(frames: Sequence[bytes]) -> list[bytes]:
    """Return the frames of messages to actors among these, those of large messages whole.

    >>> envelopes_of([large_frame(1)])
    []
    """
    kept = [frame.envelope if isinstance(frame, LargeFrame) else frame for frame in frames]
    return [frame for frame in kept if frame[HEADER_BYTES - 1] == FrameKind.ENVELOPE]
