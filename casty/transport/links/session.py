"""One established connection of a link, with its two tasks: the only writer of the socket, and its reader.

Any error inside ends the session, and only it: the `Link` lives on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import cast

import trio

from casty.config import TransportLimits
from casty.errors import ProtocolError
from casty.schema.names import printable
from casty.transport.limits.token_bucket import FRAME_COST_BYTES, control_credit
from casty.transport.links.acknowledging import Acknowledging
from casty.transport.links.guests import LATE, Guest
from casty.transport.links.handover import HANDOVER_MAX, LOST_HEIR, Handover
from casty.transport.links.link import GOODBYE_FRAME, IDLE_FRAME, REST_GRACE, STAY_FRAME, IdleClose, Link
from casty.transport.links.owner import SessionOwner
from casty.transport.links.reading import FrameReader, Frames
from casty.transport.links.succession import REPLACED, read_out
from casty.transport.links.writing import FrameWriter
from casty.transport.network.interface import Connection, ConnectionLost, close
from casty.wire.chunking.buffers import Buffer
from casty.wire.frame import LANE_KINDS, FrameDecoder, FrameKind, Lane

BEHIND = "a frame behind HANDOVER"

FRAMES_BEFORE_YIELD = 64
"""Frames of one link handled before other tasks run: as many as an actor takes at once. With more, messages come faster
than their actor handles them, its mailbox grows until the sender has to pause, and no later message lies in a cache any
more: with 256, tells take 1.25 times the processor time, and `send` twice as long.
"""

CONTROL_SILENCE_MAX = 5.0
"""Seconds for bytes written on the control lane to arrive, or `write_timeout` if that is less. About as long as it
takes to accuse the peer: then the link is dialled anew, and a new connection tries each second where the old one would
wait for twice as long as the cut has lasted.
"""


class Session:
    """One established connection of a link. ``preface`` is written before anything else."""

    def __init__(
        self,
        link: Link,
        connection: Connection,
        decoder: FrameDecoder,
        *,
        limits: TransportLimits,
        owner: SessionOwner[Session],
    ) -> None:
        self.link = link
        self.since = trio.current_time()
        self.used = self.since
        """Time of the last bytes, in or out."""
        self.is_held_up = False
        """Whether received frames wait for their turn, or the reader until it may read on."""
        self.preface = b""
        self.secret = b""
        """Secret shared by the two ends of this link alone, while it is up; b"" for none."""
        self.closes_at = math.inf
        """Time at which the housekeeper ends the session, if it is not over by then."""
        self.was_dialled = False
        """Whether this node dialled, not the peer."""
        self.is_peer_waiting = False
        """Whether the peer was told to wait for a dial of this node."""
        self.is_superseded = False
        self.predecessor: Session | None = None
        """The connection replaced by this one, while it is read to its end."""
        self.successor: Session | None = None
        self.handover: Handover | None = None
        """The last handover of this connection to another, or to it."""
        self.heir: Session | None = None
        """The connection to which this one is handed over."""
        self.forerunner: Session | None = None
        """The connection handed over to this one."""
        self.renew_at = math.inf
        """Time at which the link is to have another connection."""
        self.can_hand_over = False
        """Whether the peer knows HANDOVER."""
        self.is_spare = False
        """Whether its end was none of the link, which has another connection."""
        self.is_over = False
        self.over = trio.Event()
        self.is_finishing = False
        """Whether nothing is taken for it any more."""
        self.rest = IdleClose.no
        self._guest: Guest[Session] | None = None
        """Restrictions while the peer is no member."""
        self._connection = connection
        is_control = link.lane is Lane.control
        connection.bound_silence(min(CONTROL_SILENCE_MAX, limits.write_timeout) if is_control else limits.write_timeout)
        self._reader = FrameReader(connection, decoder, owner.places)
        self._writer = FrameWriter(
            connection, link.send_queue, link.traffic, timeout=limits.write_timeout, asking=owner.asking
        )
        self._owner = owner
        self._credit = control_credit(self.since) if is_control else None
        self._scope = trio.CancelScope()
        self._is_to_stay = False
        self._has_said_goodbye = False
        self._is_parting = False
        """Whether the peer has said goodbye, and needs nothing but the last acknowledgement."""
        self._is_read_out = False
        """Whether the peer has said HANDOVER: nothing may follow."""
        self._may_read, self._may_write = trio.Event(), trio.Event()
        """For an heir, the moments at which the connection before is read to its end, and written."""
        self._acks = Acknowledging(link.lane, link.traffic, self._writer)

    @property
    def remote(self) -> str:
        """The host at the other end of the connection."""
        return self._connection.remote

    @property
    def held_bytes(self) -> int:
        """Bytes held here from and for a stranger, unread ones for it included."""
        in_hand = 0 if self._guest is None else self._guest.in_hand
        return in_hand + self._reader.begun_bytes + self._writer.held_bytes

    @property
    def is_deaf(self) -> bool:
        """Whether none of its frames is handled any more."""
        return self.is_over or self._is_parting

    @property
    def is_moving(self) -> bool:
        """Whether it is being handed over, or another to it."""
        return self.handover is not None and self.handover.is_under_way

    @property
    def under_way(self) -> int:
        """Number of frames inside a write."""
        return self._writer.under_way

    async def run(self) -> None:
        """Write and read until the session is over, then close the connection."""
        try:
            with self._scope:
                if self.predecessor is not None:
                    await self._outlast(self.predecessor)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            is_late = self._scope.deadline <= trio.current_time()
            self.end(LATE if is_late else "this node is closing its links", graceful=True)
            self._reader.drop()
            await close(self._connection)

    def set_standing(self, *, is_stranger: bool) -> None:
        """Take the peer for a stranger, or for a member: nobody is a stranger at first."""
        guest = self._guest
        if is_stranger and guest is None:
            guest = self._guest = Guest(self, self._scope, self._owner.bounds, self._connection.processor_time)
            guest.begin(self._reader.begun_bytes, is_new=True)
            self._writer.on_wait = guest.note
        elif guest is not None and not is_stranger:
            guest.leave()
            self._guest = self._writer.on_wait = None

    def end(self, reason: str, *, graceful: bool) -> None:
        """Let the session be over now. The first reason counts."""
        if self.is_over:
            return
        self.is_over = self._connection.is_done = True
        self.over.set()
        self._writer.give_up()
        handover, other = self.handover, self.heir or self.forerunner
        self.is_spare = handover is not None and not handover.ends_link(is_old=self.heir is not None)
        if not self.is_spare:
            self.link.traffic.frames_unknown += self._acks.settle()
            if other is not None:
                other.end(reason, graceful=graceful)
        self._scope.cancel()
        self._owner.ended(self, reason, graceful)

    def hand_over(self, heir: Session, handover: Handover) -> None:
        """Begin to hand the link over to another connection, up as well; one that was lost before may go."""
        if self.heir is not None:
            self.heir.end(LOST_HEIR, graceful=False)
        self.handover = heir.handover = handover
        self.heir, heir.forerunner = heir, self
        heir.closes_at = trio.current_time() + HANDOVER_MAX
        self.link.send_queue.wake()

    def follow(self, old: Session) -> None:
        """Replace a connection of the same link, up here, but lost by the peer."""
        if old.predecessor is not None:
            old.predecessor.end(REPLACED, graceful=False)
        if old.is_moving:
            old._move_no_further()
        self.predecessor, old.successor = old, self
        old.is_superseded = True
        old._writer.give_up()
        self.link.send_queue.wake()  # for the writer there, which takes nothing any more

    async def _outlast(self, old: Session) -> None:
        """Acknowledge, and wait until nothing more comes on the replaced connection."""
        try:
            await self._writer.write(self.preface)
        except ConnectionLost as error:
            self.end(str(error), graceful=False)
        self.preface = b""
        await read_out(old)
        self._acks.begin()  # what has come meanwhile came on the old one
        self.predecessor = None

    def write_now(self, pieces: list[Buffer]) -> bool:
        """Write a frame from where its pieces lie, past the queue; False when it has to be queued."""
        if (
            self.rest is not IdleClose.no
            or self.is_finishing
            or self._is_parting
            or not self._writer.write_pieces(pieces)
        ):
            return False
        self.used = trio.current_time()
        return True

    def finish(self) -> None:
        """Write all queued frames, say goodbye, and end when the peer has closed."""
        self.is_finishing = True
        self.link.send_queue.wake()

    def retire(self) -> None:
        """Ask the peer whether it needs the link; without an answer it ends after REST_GRACE."""
        if self.rest is IdleClose.no:
            self._rest_as(IdleClose.wanted)

    async def _wait_turn(self, count: int) -> None:
        """Wait until the connection before is read to its end; not with the end of this one, before any HANDOVER."""
        if self.forerunner is not None and self.handover is not None and (count or self.handover.is_committed):
            await self._may_read.wait()

    async def _say_handover(self, heir: Session, handover: Handover) -> None:
        """Write the last frame here, and let the heir write from then on."""
        heir._acks = self._acks
        await self._writer.write(self._acks.frame() + handover.say())
        self._moved(heir, handover)
        heir._may_write.set()

    def _moved(self, heir: Session, handover: Handover) -> None:
        self._acks.go_on(heir._writer)
        handover.said()
        self._owner.moved(heir)
        self._end_if_handed_over(heir, handover)

    def _hear_handover(self, heir: Session, handover: Handover, body: bytes) -> None:
        """Let the heir read on."""
        if not handover.hear(body):
            self.end(LOST_HEIR, graceful=False)
            return
        self._told_to_stay()  # whatever was asked before is answered with it
        self._read_on(heir)
        if self._has_said_goodbye:  # which was the last frame here, in the place of HANDOVER
            heir._has_said_goodbye = True
            self._moved(heir, handover)
        self._end_if_handed_over(heir, handover)

    def _hear_goodbye(self, heir: Session, handover: Handover) -> None:
        """Let the heir part from a peer that said goodbye here before it knew of the handover."""
        handover.hear_goodbye()
        heir._is_parting = True
        self._read_on(heir)
        self._end_if_handed_over(heir, handover)

    def _move_no_further(self) -> None:
        """End the other connection: its peer has begun anew with neither."""
        other = self.heir or self.forerunner
        if self.handover is not None and other is not None:
            self.handover.is_broken = True
            other.end(REPLACED, graceful=False)

    def _read_on(self, heir: Session) -> None:
        self._is_read_out = True
        heir._acks = self._acks
        heir._may_read.set()
        self.link.send_queue.wake()

    def _end_if_handed_over(self, heir: Session, handover: Handover) -> None:
        if handover.is_over:
            heir.handover = heir.forerunner = None
            heir.closes_at = math.inf
            self.end("it was handed over to a newer connection", graceful=True)

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        send_queue, writer = self.link.send_queue, self._writer
        try:
            if self.preface:
                await writer.write(self.preface)
            if self.forerunner is not None:
                await self._may_write.wait()
            while not (self.is_over or self.is_superseded):
                if self._is_parting:
                    if writer.is_idle:  # else half a frame lies there, and nothing can follow it
                        await writer.write(self._acks.frame())
                    self.end("the peer said goodbye", graceful=True)
                    return
                if not writer.is_idle:  # an early write has left something, which goes before all else
                    await writer.write_queued()
                    continue
                if self.rest is not IdleClose.no and not self.is_finishing:
                    if await self._write_rest():
                        return
                    continue
                if self._is_to_stay or self._acks.is_wanted:
                    stay, self._is_to_stay = STAY_FRAME if self._is_to_stay else b"", False
                    await writer.write(self._acks.frame() + stay)
                    continue  # meanwhile it may be over, and what is queued be for the next one
                if self.heir is not None and self.handover is not None and self.handover.may_say:
                    await self._say_handover(self.heir, self.handover)
                    return
                if await writer.write_queued():
                    self.used = trio.current_time()
                    if len(send_queue):
                        await trio.lowlevel.checkpoint()
                elif self.is_finishing:
                    await writer.write(self._acks.frame() + GOODBYE_FRAME)
                    self._has_said_goodbye = True
                    return
                else:
                    await writer.wait()
        except ConnectionLost as error:
            if self.successor is None:  # else it is read to its end, which may come later
                self.end(str(error), graceful=False)

    async def _write_rest(self) -> bool:
        """Write the frames that end an idle link, and nothing else; return whether one was the goodbye."""
        if self.rest is IdleClose.agreed:
            await self._writer.write(self._acks.frame() + GOODBYE_FRAME)
            self._has_said_goodbye = True
            return True
        if self.rest is IdleClose.wanted:
            self.rest = IdleClose.asked
            await self._writer.write(IDLE_FRAME)
        if self.rest is IdleClose.asked:
            await self.link.send_queue.wait(only_woken=True)
        return False

    def keep_house(self, now: float, idle_max: float) -> None:
        """Acknowledge received frames; where nothing has crossed for long, ask the peer whether to end."""
        if now - self.used >= idle_max and not self.is_moving:
            self.retire()
        elif self._acks.is_behind:
            self._acks.is_wanted = True
            self.link.send_queue.wake()

    def _asked_to_rest(self) -> None:
        """Agree to end the link, unless a frame is queued or half written; that crosses it first."""
        if self.rest is IdleClose.no and not (self._writer.is_idle and self.link.send_queue.is_idle):
            self._is_to_stay = True
            self.link.send_queue.wake()
        else:
            self._rest_as(IdleClose.agreed)

    def _rest_as(self, rest: IdleClose) -> None:
        self.rest = rest
        self.closes_at = trio.current_time() + REST_GRACE
        self.link.send_queue.wake()

    def _told_to_stay(self) -> None:
        if self.rest is not IdleClose.agreed:
            self.rest = IdleClose.no
            self.closes_at = math.inf
            self.used = trio.current_time()
            self.link.send_queue.wake()

    async def _read(self) -> None:
        reader = self._reader
        try:
            left = reader.left()
            await self._wait_turn(len(left))
            await self._deliver(left)
            while not self.is_over:
                if self._is_read_out:
                    await self.over.wait()
                    return
                count, frames = await reader.read(is_stranger=self._guest is not None)
                if self.forerunner is not None:
                    await self._wait_turn(count)
                if self.is_over:
                    return
                if not count:
                    self._end_of_stream()
                    return
                self.link.traffic.bytes_received += count
                self.used = trio.current_time()
                if reader.is_only_told:
                    self._writer.pass_over(count)
                else:
                    self._writer.keep_pace(len(frames))
                guest = self._guest
                if guest is not None:
                    self.is_held_up = True
                    await guest.take_in(count, frames, reader.begun_bytes)
                    self.is_held_up = False
                await self._deliver(frames)
                reader.done()
                if self.link.traffic.frames_received >= self._acks.due_at:
                    self._acks.is_wanted = True
                    self.link.send_queue.wake()
                if guest is not None:
                    guest.in_hand = 0
        except ConnectionLost as error:
            self.end(str(error), graceful=self._has_said_goodbye)
        except ProtocolError as error:
            self._fail(error)

    async def _deliver(self, frames: Frames) -> None:
        """Hand frames over, giving way in between; nothing more is read meanwhile."""
        for start in range(0, len(frames), FRAMES_BEFORE_YIELD):
            if start:
                await trio.lowlevel.checkpoint()
            turn = frames if len(frames) <= FRAMES_BEFORE_YIELD else frames[start : start + FRAMES_BEFORE_YIELD]
            guest = self._guest
            if guest is None and self._credit is None:
                self._hand_over(turn)
                continue
            if guest is not None:
                self.is_held_up = True
                await guest.wait_turn(turn)
                await guest.hand_over(turn, self._hand_over)
                self.is_held_up = False
                continue
            self._hand_over(turn)
            if self._credit is not None:
                cost = sum(len(body) for _, body in turn) + FRAME_COST_BYTES * len(turn)
                pause = self._credit.take(cost, now=trio.current_time())
                if pause:
                    self.is_held_up = True
                    await trio.sleep(pause)
                    self.is_held_up = False

    def _hand_over(self, frames: Frames) -> None:
        link = self.link
        peer, lane, allowed = link.peer, link.lane, LANE_KINDS[link.lane]
        position = 0
        if self._is_read_out:
            raise ProtocolError(BEHIND)
        while position < len(frames) and not self.is_over:
            kind, body = frames[position]
            start, position = position, position + 1
            if kind in allowed:
                try:
                    if kind is FrameKind.ENVELOPE and type(body) is bytes:  # a view comes alone
                        position = self._owner.envelopes(peer, cast("Sequence[tuple[FrameKind, bytes]]", frames), start)
                    else:
                        self._owner.frame(peer, lane, kind, body)
                except ProtocolError as error:
                    self._fail(error)
                except Exception as error:
                    self._owner.complaints.error(peer.address, "handling a frame failed; the link is closed", error)
                    self.end(f"handling a {kind.name} frame failed here", graceful=False)
                link.traffic.frames_received += position - start
            elif kind is FrameKind.ACK and lane is Lane.ordinary:
                self._acks.hear(bytes(body))
            elif kind is FrameKind.GOODBYE and not body:
                if self.heir is not None and self.handover is not None and self.handover.is_saying:
                    self._hear_goodbye(self.heir, self.handover)
                elif self._has_said_goodbye or self.is_superseded:
                    self.end("the peer said goodbye", graceful=True)
                else:
                    self._is_parting = True
                    self.link.send_queue.wake()
                return
            elif kind is FrameKind.IDLE and not body:
                self._asked_to_rest()
            elif kind is FrameKind.STAY and not body:
                self._told_to_stay()
            elif kind is FrameKind.HANDOVER and self.heir is not None and self.handover is not None:
                if position < len(frames):
                    raise ProtocolError(BEHIND)
                self._hear_handover(self.heir, self.handover, bytes(body))
            else:
                self._fail(ProtocolError(f"unexpected {kind.name} frame on the {lane.name} lane"))

    def _fail(self, error: ProtocolError) -> None:
        text = printable(str(error))
        reason = f"{type(error).__name__}: {text}"
        self._owner.complaints.warning(self.link.peer.address, f"the {self.link.lane.name} link is closed: {reason}")
        self.end(reason, graceful=False)

    def _end_of_stream(self) -> None:
        if self._has_said_goodbye:
            self.end("this node said goodbye", graceful=True)
        else:
            self.end("the connection was closed by the peer", graceful=False)

    def __repr__(self) -> str:
        return f"<Session {self.link.peer} {self.link.lane.name} {'over' if self.is_over else 'up'}>"
