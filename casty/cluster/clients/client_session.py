"""Session of one client at its node: its asks without an answer, its topics, and the refs given to it.

All frames of a client come through `ClientSession._take`: messages for open paths, the question whether a path is open,
and the withdrawal of an ask. There is no other way in: a client has no link, so no frame of its reaches the protocol of
the nodes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, Protocol

import trio

from casty.address import key_in_words
from casty.cluster.clients.client_commands import OWN_NAMES
from casty.cluster.clients.client_door import ClientDoor
from casty.cluster.clients.client_limits import (
    ALL_ASKED_BYTES_MAX,
    ALL_BYTES_MAX,
    ASKS_MAX,
    CLIENT_BYTES_MAX,
    CONTACTS_INTERVAL,
    LARGE_BYTES,
    LARGE_SECONDS,
    PUBLISHED_BYTES_MAX,
    TELLS_PER_SECOND,
    TURN_FRAMES_MAX,
    TURN_SECONDS,
    UNTURNED_BYTES_MAX,
)
from casty.cluster.clients.followed_topics import FollowedTopics
from casty.cluster.clients.given_refs import GivenRefs
from casty.cluster.clients.relayed_ask import RelayedAsk, error_reply
from casty.cluster.clients.spoken import ClientSpoken, ForeignPlaceError
from casty.errors import AskFailed, CastyError, DecodeError, ProtocolError
from casty.refs import ActorRef, Topic
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef
from casty.schema.names import printable
from casty.transport.clients.frame_pipe import FramePipe
from casty.transport.limits.token_bucket import TokenBucket
from casty.transport.links.link import GOODBYE_FRAME
from casty.transport.network.interface import ConnectionLost
from casty.wire.control.cancel_request import decode_withdraw
from casty.wire.control.open_question import decode_open_question, open_answer_frame
from casty.wire.envelope import FOREIGN, HAS_TAIL, Notice, NoticeCode, Wait, decode_head, decode_wait
from casty.wire.frame import FrameKind
from casty.wire.handshake import Hello

TELL_COST_BYTES: Final = CLIENT_BYTES_MAX // TELLS_PER_SECOND


class ClientHost(Protocol):
    """The node, for the session of a client."""

    @property
    def spoken(self) -> ClientSpoken:
        """Codec between clients and this node."""
        ...

    held_bytes: int
    """Bytes held for all clients."""

    asked_bytes: int
    """Those of asks among them."""

    is_leaving: bool
    """Whether the clients were sent to other nodes, and end once all that they have sent is taken."""

    turn: trio.Lock
    """Turn of one client to have frames handled."""

    large_turn: trio.Lock
    """Turn of one client to have a large message decoded."""

    large_due: float
    """Time from which on the next one may be."""

    @property
    def door(self) -> ClientDoor:
        """Door of the node for all clients."""
        ...

    def make_room(self, session: ClientSession, size: int) -> None:
        """Hang up on clients with the most unread bytes, until so many more may wait for this one."""
        ...

    def refused(self, session: ClientSession, what: str, particulars: str) -> None:
        """Count a refusal, and name it in the log."""
        ...

    def contacts(self) -> bytes:
        """Return the frame with the contact points."""
        ...

    def leave_session(self, session: ClientSession) -> None:
        """Forget an ended session."""
        ...


class ClientSession:
    """One client of this node, on one connection."""

    def __init__(self, host: ClientHost, hello: Hello, pipe: FramePipe) -> None:
        self.client = hello.node
        """Run of the client: the place of its own refs."""
        self.name = printable(hello.node_id)
        self.pipe = pipe
        self.given = GivenRefs()
        self.asks: dict[int, RelayedAsk] = {}
        """Those without an answer, by the numbers that the client has given them."""
        self._host = host
        self._asked_bytes = 0
        self._queued_before = 0
        self._scope = trio.CancelScope()
        self._is_over = False
        self._due = 0.0
        """Seconds to wait before anything more is taken."""
        self._turn_frames = 0
        self._turn_end = 0.0
        self._pace = TokenBucket(per_second=CLIENT_BYTES_MAX, burst=CLIENT_BYTES_MAX, now=trio.current_time())
        self._followed = FollowedTopics(host.spoken.kernel, self)
        self._nursery: trio.Nursery | None = None

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Serve the client until either end is done, then close the connection."""
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    self._nursery = nursery
                    nursery.start_soon(self._write)
                    nursery.start_soon(self._tell_contacts)
                    await self._read()
                    nursery.cancel_scope.cancel()
        finally:
            self._is_over = True
            self._followed.close()
            for slot in list(self.asks.values()):
                slot.withdraw_request()
            self.note_queued()
            self._host.leave_session(self)
            self.pipe.drop()
            await self.pipe.aclose()

    def say_goodbye(self) -> None:
        """Send the client to another node with new messages; replies to open asks come by this connection still."""
        self.pipe.put(GOODBYE_FRAME)

    def finish(self) -> None:
        """Write the rest, and nothing more: its open asks are lost."""
        self.pipe.finish(GOODBYE_FRAME)

    def end(self, what: str, reason: str) -> None:
        """Hang up on a client for breaking a rule."""
        if not self._is_over:
            self._is_over = True
            self.note_queued()
            self._host.refused(self, what, f"{reason}; the connection is closed")
            self._scope.cancel()

    def end_unread(self) -> None:
        """Hang up on a client that leaves too much unread."""
        self.end("unread", f"it does not read what it is told: {self.pipe.bytes} bytes wait for it")

    def answered(self, slot: RelayedAsk, reply: object) -> None:
        """Send the reply to an ask of the client, if there is one."""
        if self.asks.pop(slot.client_ask, None) is None:
            return
        self._asked_bytes -= slot.size
        self._host.asked_bytes -= slot.size
        self._host.held_bytes -= slot.size
        if reply is None and not self._is_over:
            self._charge(TELL_COST_BYTES)  # as a tell: else asks with no wait, or withdrawn at once, would cost nothing
        if reply is None or self._is_over:
            return
        try:
            frame = self._host.spoken.reply_frame(self.given, slot, reply)
        except (CastyError, ValueError, TypeError) as error:
            failed = AskFailed(f"the reply cannot be told to a client: {error}", "reply_lost")
            frame = self._host.spoken.reply_frame(self.given, slot, error_reply(failed))
        self._put(frame)

    def take_published(self, topic: Topic[Any], message: object) -> None:
        """Send a message of a followed topic; drop it where too much waits to be read already."""
        if self._is_over:
            return
        try:
            frame = self._host.spoken.published_frame(self.given, topic, message)
        except (CastyError, ValueError, TypeError) as error:
            self._host.refused(self, "unpublished", printable(f"a message of {topic!r} cannot be told to it: {error}"))
            return
        if (
            self.pipe.bytes + len(frame) > PUBLISHED_BYTES_MAX
            or self._host.held_bytes + len(frame) > ALL_BYTES_MAX // 2
        ):
            self._host.refused(self, "unpublished", f"it reads too slowly for {topic!r}: a message is dropped")
            return
        self._put(frame)

    def start(self, run: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run a task as long as the session."""
        assert self._nursery is not None
        self._nursery.start_soon(run, *args)

    def _put(self, frame: bytes) -> None:
        self._host.make_room(self, len(frame))
        if not self._is_over and not self.pipe.put(frame):
            self.end_unread()
        self.note_queued()

    @property
    def unread(self) -> int:
        """Bytes that it has not read, by the last look."""
        return self._queued_before

    def note_queued(self) -> None:
        """Look how many bytes it has not read."""
        queued = 0 if self._is_over else self.pipe.bytes
        self._host.held_bytes += queued - self._queued_before
        self._queued_before = queued

    @trio.lowlevel.enable_ki_protection
    async def _write(self) -> None:
        try:
            await self.pipe.write()
        except ConnectionLost:
            self._scope.cancel()

    @trio.lowlevel.enable_ki_protection
    async def _tell_contacts(self) -> None:
        while True:
            self.note_queued()
            self.pipe.put(self._host.contacts())
            await trio.sleep(CONTACTS_INTERVAL)

    async def _read(self) -> None:
        try:
            while True:
                for number, (kind, body) in enumerate(await self.pipe.read()):
                    if kind is FrameKind.GOODBYE:
                        return
                    if number or len(body) > UNTURNED_BYTES_MAX:
                        await self._wait_turn()
                    await self._take(kind, body)
                    due, self._due = self._due, 0.0
                    if due and not self._host.is_leaving:  # then nothing is read that comes too late
                        await trio.sleep(due)
        except ConnectionLost:
            return
        except ProtocolError as error:
            self.end("bad_frame", printable(str(error)))

    async def _wait_turn(self) -> None:
        """Return when one more frame may be handled: answered asks cost nothing, and would else keep the loop busy."""
        if not self._turn_frames or trio.current_time() >= self._turn_end:
            async with self._host.turn:  # fair: who waits longest has the next turn
                await trio.lowlevel.checkpoint()
            self._turn_frames, self._turn_end = TURN_FRAMES_MAX, trio.current_time() + TURN_SECONDS
        self._turn_frames -= 1

    async def _wait_large_turn(self) -> None:
        """Return when a large message may be decoded: some take so long that a few at once would stop the loop."""
        async with self._host.large_turn:
            await trio.sleep_until(self._host.large_due)

    def _decode(self, body: bytes, ask: int) -> tuple[str, object, RelayedAsk | None]:
        """Decode a message; where that takes long, and others wait with large ones, these have to wait for as long."""
        if len(body) <= LARGE_BYTES:
            return self._host.spoken.decode(self, body, ask)
        began = perf_counter()
        try:
            return self._host.spoken.decode(self, body, ask)
        finally:
            took = perf_counter() - began
            if took > LARGE_SECONDS and self._host.large_turn.locked():
                self._host.large_due = trio.current_time() + took

    async def _take(self, kind: FrameKind, body: bytes) -> None:
        match kind:
            case FrameKind.ENVELOPE:
                try:
                    await self._envelope(body)
                except DecodeError as error:
                    self._refuse("undecodable", printable(str(error)), error.path, error.name, error.ask, "ill_typed")
            case FrameKind.CONTROL:
                self._answer(decode_open_question(body))
            case FrameKind.WITHDRAW:
                slot = self.asks.get(decode_withdraw(body))
                if slot is None:
                    self._charge(TELL_COST_BYTES)  # answered meanwhile, or a flood
                else:
                    slot.withdraw_request()
            case _:
                raise ProtocolError(f"{kind.name} is not for clients")

    async def _envelope(self, body: bytes) -> None:
        """Take a message for what is open to clients; nothing of any other is decoded but its head."""
        if len(body) > LARGE_BYTES:
            await self._wait_large_turn()
        try:
            end, path, _, name, parts = decode_head(body)
        except FOREIGN as error:
            raise DecodeError(f"not valid msgpack ({type(error).__name__})") from None
        wait = decode_wait(body, end) if parts & HAS_TAIL else None
        ask = 0 if wait is None else wait[1]
        opened = self.given.at(path) or self._host.door.type_at(path)
        if opened is None:
            self._refuse("not_open", _not_open(path), path, name, ask)
            return
        if not self._host.spoken.is_of(opened, name):
            what = f"{printable(path)} takes no {printable(name)} of a client"
            if name.startswith(OWN_NAMES):
                what = f"{printable(key_in_words(path))} has another type of messages here than its key at the client"
            self._refuse("ill_typed", what, path, name, ask, "ill_typed")
            return
        if wait is not None and not self._has_room(len(body)):
            self._refuse("too_many", f"{len(self.asks)} of its asks wait for answers", path, name, ask)
            return
        try:
            path, message, slots = self._decode(body, ask)
        except ForeignPlaceError as error:
            self._refuse("foreign_ref", str(error), path, name, ask)
            return
        await self._deliver(path, message, slots, wait, len(body))

    def _charge(self, cost: int) -> None:
        """Let the next frames wait until this is paid for: a message without an answer, or a refused one."""
        self._due = self._pace.take(cost, now=trio.current_time())

    def _has_room(self, size: int) -> bool:
        return (
            len(self.asks) < ASKS_MAX
            and self._asked_bytes + size <= CLIENT_BYTES_MAX
            and self._host.asked_bytes + size <= ALL_ASKED_BYTES_MAX
        )

    async def _deliver(self, path: str, message: object, slot: RelayedAsk | None, wait: Wait | None, size: int) -> None:
        ref = self._ref(path)
        if ref is None:
            if slot is not None:
                slot.refuse(AskFailed(_not_open(path), "not_delivered"))
            self._host.refused(self, "not_open", _not_open(path))
            return
        if slot is None or wait is None:
            await self._tell(ref, message, size)
            return
        slot.size = size
        self._host.make_room(self, size)
        self._asked_bytes += size
        self._host.asked_bytes += size
        self._host.held_bytes += size
        self._ask(ref, message, slot, wait)

    def _ref(self, path: str) -> ActorRef[Any] | None:
        return self.given.ref(path) or self._host.door.taker(path, self._followed)

    def _answer(self, path: str) -> None:
        """Say whether a path is open."""
        is_open = self._host.door.type_at(path) is not None
        self._charge(TELL_COST_BYTES)
        if not is_open:
            self._host.refused(self, "not_open", _not_open(path))
        self._put(open_answer_frame(path, is_open=is_open))

    def _ask(self, ref: ActorRef[Any], message: object, slot: RelayedAsk, wait: Wait) -> None:
        kernel = self._host.spoken.kernel
        deadline = kernel.now() + wait[0]
        slot.asked = request = Request(message, deadline, slot.uid)
        if wait[0] < float("inf"):
            slot.bucket = kernel.wheel.bucket(deadline)
            slot.bucket.slots[slot.serial] = slot
        try:
            if isinstance(ref, AskableRef):
                unsent = ref.request(request)
                if unsent is not None:
                    unsent.tell()
            else:
                ref.tell(message)
        except (CastyError, ValueError, TypeError) as error:
            slot.refuse(AskFailed(f"{ref.path} did not get the request: {error}", "not_delivered"))

    async def _tell(self, ref: ActorRef[Any], message: object, size: int) -> None:
        self._charge(max(size, TELL_COST_BYTES))
        try:
            await ref.send(message)
        except (CastyError, ValueError, TypeError) as error:
            self._host.refused(self, "not_delivered", printable(str(error)))

    def _refuse(
        self, what: str, particulars: str, path: str, name: str, ask: int, code: NoticeCode = "refused"
    ) -> None:
        self._charge(TELL_COST_BYTES)
        self._host.refused(self, what, particulars)
        self._put(self._host.spoken.notice_frame(Notice(code, path, 0, name, ask)))

    def __repr__(self) -> str:
        return f"<ClientSession {self.name} asks={len(self.asks)} queued={self.pipe.bytes} B>"


def _not_open(path: str) -> str:
    return f"{printable(key_in_words(path))} is not open to clients here"
