"""Refs to actors of other nodes: a message told to one becomes a frame at once, and is queued for its node."""

from __future__ import annotations

from threading import get_ident
from typing import Final, Never, Protocol, TypeVar

import trio

from casty.address import ASK_PREFIX, ActorAddress, NodeAddress, UniqueAddress, WireRef, serial_of
from casty.cluster.remoting.paused_sends import PausedSends
from casty.errors import AskFailed, CastyError, MailboxFull, NotSent
from casty.refs import ActorRef
from casty.runtime.events import NODE_STOPPED, NOT_SENT, OUTBOUND_FULL, MessageSummary
from casty.runtime.messaging.ask import ErrorReply, describe
from casty.runtime.messaging.channel import ChannelStatistics
from casty.runtime.messaging.mailbox import Nothing, Request, payload
from casty.runtime.messaging.ref import AskableRef, UnsentRequest, refuse_thread
from casty.runtime.ports import KernelPort
from casty.transport.manager.link_handle import LinkHandle
from casty.wire.chunking.buffers import Buffer
from casty.wire.codec.codec import Codec
from casty.wire.control.cancel_request import withdraw_frame
from casty.wire.encoded import EncodedMessage
from casty.wire.envelope import encode_slot, encode_wait
from casty.wire.framing import Write

M_contra = TypeVar("M_contra", contravariant=True)
T = TypeVar("T")

REPLY_LOST: Final = (
    f"the reply was not sent, {OUTBOUND_FULL} at the node that was asked: reply there with "
    "`await reply_to.send(reply)`, which waits for room"
)

NOTHING_TOLD: tuple[type, Write] = (Nothing, bytes)
"""Initial value, before anything was told: no message is of this class."""


class RefNode(Protocol):
    """The own node, for refs to others."""

    paused_sends: PausedSends | None
    """Frames that are large or are held back; None where the node has no links."""

    @property
    def thread(self) -> int:
        """Identity of the thread that the node runs in."""
        ...

    @property
    def kernel(self) -> KernelPort:
        """Kernel of the system, shared by its actors."""
        ...

    @property
    def codec(self) -> Codec:
        """The codec of messages between actors."""
        ...

    @property
    def frame_bytes_max(self) -> int:
        """Bytes of the longest frame that travels as one."""
        ...

    def reply_writer(self, message: object, type_form: object) -> Write:
        """Return what makes frames of replies of this one's class."""
        ...

    def knows(self, run: UniqueAddress) -> bool:
        """Whether this node has to do with a run."""
        ...

    def unreachable_since(self, address: NodeAddress) -> float | None:
        """Return since when a member has been unreachable; None for one that is not."""
        ...


class RemoteRef(AskableRef[M_contra]):
    """A ref to an actor of another node; ``tell`` writes the message as bytes at once."""

    __slots__ = ("_address", "_asked", "_node", "_place", "_route", "_tail", "_told", "_type_form")

    def __init__(self, node: RefNode, place: WireRef, route: LinkHandle | None, type_form: object) -> None:
        self._node = node
        self._place = place
        self._address: ActorAddress | None = None
        self._route = route
        self._type_form = type_form
        self._told: tuple[type, Write] = NOTHING_TOLD
        """Class of the last message told, and the writer of its frames: half of the encoding."""
        self._asked: tuple[type, Write] = NOTHING_TOLD
        self._tail = b""
        """Of the ref for a reply: the number of its ask, since all replies of a class have one head."""

    @property
    def address(self) -> ActorAddress:
        if self._address is None:
            self._address = ActorAddress(*self._place)
        return self._address

    @property
    def path(self) -> str:
        return self._place[1]

    @property
    def route(self) -> LinkHandle | None:
        """Route to its node; None where the own node has no links."""
        return self._route

    @property
    def run(self) -> UniqueAddress | None:
        """Run of a node with the actor, incarnation 0 for any; None where the node has no links."""
        return None if self._route is None else self._route.to

    def of(self: ActorRef[Never], message_type: type[T]) -> ActorRef[T]:
        if not isinstance(self, RemoteRef):
            return ActorRef.of(self, message_type)
        self._node.codec.register(message_type)
        return RemoteRef(self._node, self._place, self._route, message_type)

    @trio.lowlevel.enable_ki_protection  # as of `LocalRef`
    def tell(self, message: M_contra) -> None:
        node, (cls, write) = self._node, self._told
        if get_ident() != node.thread:
            refuse_thread(self)
        if cls is not type(message):
            write = self._writer(message)
        try:
            frame, route, holds = write(message, self._tail, self), self._route, node.paused_sends
        except BaseException:
            self._told = NOTHING_TOLD  # see `has_told`
            raise
        if not frame:
            return  # it was large, and `write_now` has taken it
        if route is None or holds is None or holds.by_actor or len(frame) > node.frame_bytes_max:
            self.post(message, frame)
        elif not (route.put(frame) or route.send(frame)):  # the usual case of `post`, without two calls
            self._drop(message, frame)

    @trio.lowlevel.enable_ki_protection
    def request(self, request: Request) -> UnsentRequest | None:
        node, message, (cls, write) = self._node, request.message, self._asked
        if get_ident() != node.thread:
            refuse_thread(self)
        request.far += (self,)
        if cls is not type(message):
            write = node.codec.writer(self._place[1], self._place[5], message, self._type_form, has_tail=True)
            self._asked = type(message), write
        remaining = request.timeout  # of a request that has waited nowhere: no look at the clock
        if remaining is None or request.cell is not None:
            remaining = max(request.deadline - node.kernel.now(), 0.0)
        frame, route, holds = write(message, encode_wait(remaining, request.ask), self), self._route, node.paused_sends
        if not frame:
            return None
        if route is None or holds is None or holds.by_actor or len(frame) > node.frame_bytes_max:
            is_taken = route is not None and not self.has_to_wait(frame) and route.put_request(frame)
        else:
            is_taken = route.put_request(frame)  # as in `tell`
        return None if is_taken else UnsentFrame(self, request, frame)

    def write_now(self, pieces: list[Buffer]) -> bool:
        """Write a large frame from where its pieces lie, if nothing is to go before it and it needs no slices."""
        node, route, holds = self._node, self._route, self._node.paused_sends
        if route is None or holds is None or (holds.by_actor and holds.has(route.to, self._place[1])):
            return False
        return sum(map(len, pieces)) <= node.frame_bytes_max and route.write_now(pieces)

    def is_known(self) -> bool:
        return self._route is not None and self._node.knows(self._route.to)

    def has_told(self) -> bool:
        return self._told is not NOTHING_TOLD

    def trouble(self) -> str:
        address = self.address.node
        since = None if address is None else self._node.unreachable_since(address)
        return "" if since is None else f", which has been unreachable for {trio.current_time() - since:.1f} s"

    def withdraw(self, ask: int) -> None:
        node, route, path, frame = self._node, self._route, self._place[1], withdraw_frame(ask)
        if route is None or node.paused_sends is None:
            return
        # Where there is no room for it, the deadline sent with the request ends it.
        route.send(frame)
        node.paused_sends.follow(route.to, path, frame)  # the request may wait here too: then once more, behind it

    def _writer(self, message: object) -> Write:
        node, (_, path, _, _, _, uid) = self._node, self._place
        serial = serial_of(path)
        if serial is None:
            write = node.codec.writer(path, uid, message, self._type_form)
        else:
            write, self._tail = node.reply_writer(message, self._type_form), encode_slot(serial, uid)
        self._told = type(message), write
        return write

    def has_to_wait(self, frame: bytes) -> bool:
        """Whether a frame goes by way of the holds: it is large, or its actor has one."""
        node, route, holds = self._node, self._route, self._node.paused_sends
        if route is None or holds is None:
            return False
        return len(frame) > node.frame_bytes_max or (bool(holds.by_actor) and holds.has(route.to, self._place[1]))

    def post(self, message: object, frame: bytes) -> None:
        """Queue a frame where it has to wait, or make a dead letter of its message."""
        route, holds = self._route, self._node.paused_sends
        if route is None or holds is None or not self._put(frame, route, holds):
            self._drop(message, frame)

    def offer(self, message: object, frame: bytes) -> bool:
        """Do as `post`, unless nothing but room is missing: then return False."""
        route, holds = self._route, self._node.paused_sends
        if route is not None and holds is not None:
            if self._put(frame, route, holds):
                return True
            if route.refusal() is None and holds.refusal(route.to, frame) is None:
                return False
        self._drop(message, frame)
        return True

    async def post_in_time(self, message: object, frame: bytes, deadline: float) -> None:
        """Post a request, waiting for room where nothing else is missing."""
        route, holds = self._route, self._node.paused_sends
        if route is None or holds is None:
            self.post(message, frame)
        elif self.has_to_wait(frame):
            await holds.send(route.to, self._place[1], frame, deadline)
        else:
            await route.queue(frame, deadline)

    def _drop(self, message: object, frame: bytes) -> None:
        """Make a dead letter of a message not taken."""
        kernel, route, holds = self._node.kernel, self._route, self._node.paused_sends
        if route is None or holds is None:
            kernel.dead_letter(message, self, NODE_STOPPED)
        elif (refusal := holds.refusal(route.to, frame)) is not None:
            kernel.dead_letter(message, self, NOT_SENT, refusal, shown=_summary(message, frame))
            self._refuse_ask(message, route, AskFailed(f"the reply was not sent: {refusal}"))
        elif (refusal := route.refusal()) is not None:
            kernel.dead_letter(message, self, NOT_SENT, refusal)
        else:
            kernel.dead_letter(message, self, OUTBOUND_FULL)
            self._refuse_ask(message, route, MailboxFull(REPLY_LOST))

    def _refuse_ask(self, message: object, route: LinkHandle, error: CastyError) -> None:
        """Tell the asker why its request was not sent; the time-out ends it where there is no room for this."""
        node, (_, path, _, _, _, uid) = self._node, self._place
        serial = serial_of(path)
        if serial is not None and type(message) is not ErrorReply:
            refusal = ErrorReply(describe(error), "reply_lost")
            route.send(node.reply_writer(refusal, ErrorReply)(refusal, encode_slot(serial, uid)))

    async def send(self, message: M_contra) -> None:
        node, route, holds, (cls, write) = self._node, self._route, self._node.paused_sends, self._told
        if route is None or holds is None:
            node.kernel.dead_letter(message, self, NODE_STOPPED)
            await trio.lowlevel.checkpoint()
            return
        if cls is not type(message):
            write = self._writer(message)
        try:
            frame = write(message, self._tail)
            if len(frame) > node.frame_bytes_max and holds.refusal(route.to, frame):
                self._drop(message, frame)
                await trio.lowlevel.checkpoint()
            else:
                await self._queue(frame, route, holds)
        except BaseException:
            self._told = NOTHING_TOLD
            raise

    def put_nowait(self, message: M_contra) -> None:
        if get_ident() != self._node.thread:
            refuse_thread(self)
        try:
            route, holds, frame = self._channel_frame(message)
            if not self._put(frame, route, holds):
                self._check_route(route)
                raise trio.WouldBlock
        except BaseException:
            self._told = NOTHING_TOLD
            raise

    async def put_wait(self, message: M_contra) -> None:
        try:
            route, holds, frame = self._channel_frame(message)
            self._check_route(route)
            await self._queue(frame, route, holds)
            self._check_route(route)
        except BaseException:
            self._told = NOTHING_TOLD
            raise

    def channel_statistics(self) -> ChannelStatistics | None:
        route, holds = self._route, self._node.paused_sends
        return None if route is None or holds is None else holds.channel_statistics(route.to, self._place[1])

    def _channel_frame(self, message: M_contra) -> tuple[LinkHandle, PausedSends, bytes]:
        """Return what a message for the channel of this ref goes by, and its frame."""
        route, holds, (cls, write) = self._route, self._node.paused_sends, self._told
        if route is None or holds is None:
            raise trio.BrokenResourceError(f"this node, which has no links, cannot reach {self.address}")
        if cls is not type(message):
            write = self._writer(message)
        frame = write(message, self._tail)
        if len(frame) > self._node.frame_bytes_max and (refusal := holds.refusal(route.to, frame)) is not None:
            raise trio.BrokenResourceError(f"nothing as large is taken for {self.address}: {refusal}")
        return route, holds, frame

    def _check_route(self, route: LinkHandle) -> None:
        refusal = route.refusal()
        if refusal is not None:
            raise trio.BrokenResourceError(f"nothing is taken for {self.address}: {refusal}")

    async def send_encoded(self, message: EncodedMessage) -> None:
        """Send a message to many, encoded once for all of them, waiting for room."""
        route, holds, frame = self._route, self._node.paused_sends, self._frame_of(message)
        if route is not None and holds is not None:
            await self._queue(frame, route, holds)

    def post_encoded(self, message: object, encoded: EncodedMessage) -> None:
        """Tell a message to many, encoded once for all of them."""
        self.post(message, self._frame_of(encoded))

    def _frame_of(self, message: EncodedMessage) -> bytes:
        _, path, _, _, _, uid = self._place
        serial = serial_of(path)
        if serial is None:
            return message.frame(path, uid)
        return message.frame(ASK_PREFIX, 0, encode_slot(serial, uid))

    def _put(self, frame: bytes, route: LinkHandle, holds: PausedSends) -> bool:
        if self.has_to_wait(frame):
            return holds.tell(route.to, self._place[1], frame)
        return route.send(frame)

    async def _queue(self, frame: bytes, route: LinkHandle, holds: PausedSends) -> None:
        path = self._place[1]
        if len(frame) > self._node.frame_bytes_max or (holds.by_actor and holds.has(route.to, path)):
            await holds.send(route.to, path, frame)
        else:
            await route.send_wait(frame)


def _summary(message: object, frame: bytes) -> MessageSummary:
    """Return the summary shown of a large message: strangers can ask for many of them, and a slow subscriber keeps
    them.
    """
    return MessageSummary(type(payload(message)).__name__, len(frame))


class UnsentFrame(UnsentRequest):
    """A request with its frame, and without room yet."""

    __slots__ = ("_frame", "_ref", "_request")

    def __init__(self, ref: RemoteRef[Never], request: Request, frame: bytes) -> None:
        self._ref = ref
        self._request = request
        self._frame = frame

    def tell(self) -> None:
        self._ref.post(self._request, self._frame)

    def offer(self) -> bool:
        return self._ref.offer(self._request, self._frame)

    async def send(self) -> None:
        await self._ref.post_in_time(self._request, self._frame, self._request.deadline)

    def give_up(self, timeout: float) -> NotSent:
        ref = self._ref
        where = f"for lack of room in the queue it was not sent to {ref.address.node}"
        return NotSent(f"no reply from {ref.path} within {timeout} s: {where}")
