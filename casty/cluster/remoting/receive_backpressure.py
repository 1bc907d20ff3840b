"""Messages from other nodes for actors unable to keep up, and the nodes asked to hold back.

Owns the messages for an actor with a full, long or heavy mailbox, from the moment of its notice: a node filling it is
asked to pause, and messages under way meanwhile wait, in order. Once there is room again the node is asked to go on. So
a sender's ``await ref.send(...)`` waits for room in a mailbox on another node, and other actors, of the same link too,
notice nothing. Drops are left to local policies.

Each member has a queue of its own at an actor: see `FairQueue`. Its messages wait in the mailbox (`MessageQueue.flows`)
or, where that is small, here, until they find room. So a node sending more than an actor handles waits for itself, and
is asked to pause alone.

All strangers have one queue together in each mailbox, the `Crowd`, whatever its policy, and all of these queues
together hold no more than a part of the room for strangers on a node. A message beyond it is a dead letter. Strangers
are not asked to pause: their links are read at a bounded pace anyway, nobody answers for their promises, and reading a
link no further would keep back messages for actors that keep up.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Final, Never

import trio

from casty.address import UniqueAddress
from casty.config import TransportLimits
from casty.runtime.events import ACTOR_STOPPED, MAILBOX_FULL
from casty.runtime.messaging.mailbox import MessageQueue
from casty.runtime.messaging.queueing.crowd import Allowance, Origin
from casty.runtime.messaging.queueing.fair_queue import FairQueue
from casty.runtime.messaging.queueing.weights import QueuedBytes
from casty.runtime.messaging.ref import LocalRef
from casty.runtime.system.kernel import Kernel
from casty.transport.limits.shares import shares
from casty.transport.limits.token_bucket import FRAME_COST_BYTES
from casty.transport.manager.peers import RemoteTransport
from casty.wire.control.pause import pause_frame, resume_frame
from casty.wire.frame import Lane

LONG = 16_384
"""Messages in a mailbox beyond which other nodes hold back."""
SHORT = 8_192
"""Messages, or half of a smaller mailbox, at which they go on: a round trip's work is left."""
LARGE_BYTES_MIN = 4_096
"""Messages from here on are counted in bytes too. `LONG` smaller ones are at most 64 MiB, and cost nothing more."""
HEAVY_LOOKS = 8
"""Looks through the large messages of a mailbox until they can be too many bytes."""
LOOKED_AT_EVERY = 64
"""Messages between two looks at how long a mailbox is; looking at each would cost 1 % of its way."""
LOOK_AGAIN = 0.01
"""Seconds between two looks at a mailbox that has to become shorter, as long as it does."""
LOOK_AGAIN_MAX = 0.32
"""Seconds between them while nothing is taken: twice as long each time. 500 actors taking a message a second each cost
a quarter of a core for the looks at them.
"""
ASK_AGAIN = 0.5
"""Seconds before a node still sending is asked to pause once more."""

BACKLOG_BYTES_MAX = 32 * 1024 * 1024
"""Bytes of messages of one sender waiting for one actor after it was asked to pause, or twice as many as a message may
have: room for what is under way by then, queued and written at its node, or large, here already, and behind that in its
turn. Large messages overtaking a stuck ordinary lane by far can be more.
"""
BACKLOGS_SHARE: Final = 2
"""For all actors together, so many times as many."""


@dataclass(slots=True, eq=False)
class _Backlog:
    """Messages waiting for one actor, with their size by sender, and the pausing nodes."""

    ref: LocalRef[Never]
    waiting: FairQueue[tuple[Hashable, object, int]] = field(
        default_factory=lambda: FairQueue[tuple[Hashable, object, int]]()
    )
    bytes: dict[Hashable, int] = field(default_factory=lambda: dict[Hashable, int]())
    """Of messages waiting here, and of those in the mailbox from senders asked to pause."""
    paused: dict[UniqueAddress, float] = field(default_factory=lambda: dict[UniqueAddress, float]())
    """Time of the last question to each of them."""


class ReceiveBackpressure:
    """Backlogs of one node. ``start`` runs a function in a task that ends with the node's links."""

    def __init__(
        self,
        kernel: Kernel,
        transport: RemoteTransport,
        limits: TransportLimits,
    ) -> None:
        self._kernel = kernel
        self._transport = transport
        self._heavy = max(limits.message_bytes_max, limits.outbound_bytes_max)
        """Bytes of large messages in a mailbox beyond which other nodes hold back; they go on at half of it."""
        self._backlog_max = max(BACKLOG_BYTES_MAX, 2 * self._heavy)
        self._start: Callable[[_Backlog], None] | None = None
        self.by_path: dict[str, _Backlog] = {}
        """Empty while every actor keeps up; looked at for each message."""
        self.bytes = 0
        self.sender: UniqueAddress | None = None
        """Sender of the frame being handed over, noted ahead of each."""
        self.size = 0
        """Bytes of that frame."""
        self.cost = 0
        """Room of its message while it waits; 0 for one of a member, charged to nobody."""
        self.strangers = Allowance(shares(limits).mailboxes)
        """Room of strangers' messages in all mailboxes."""

    def run_in(self, nursery: trio.Nursery) -> None:
        """Run the feeding tasks of actors in this nursery."""
        self._start = lambda backlog: nursery.start_soon(self._feed, backlog)

    def queue_for(self, mailbox: MessageQueue, member: UniqueAddress) -> tuple[deque[object], int]:
        """Return where the next messages of a member go, as `MessageQueue.queue_for`; 0 where the long way knows."""
        flows = mailbox.flows
        if flows is not None and flows.by_sender and not flows.takes_more(member, _longest(mailbox)):
            return mailbox.messages, 0
        return mailbox.queue_for(member)

    def origin(self) -> Origin:
        """Return the origin of a stranger's message, with its cost."""
        return Origin(self.sender, self.cost, self.strangers)

    def take(self, ref: LocalRef[Never], message: object) -> None:
        """Take a message for an actor with a backlog, or without room or with other messages, and so with one from now
        on.
        """
        peer, mailbox = self.sender, ref.mailbox
        if peer is not None and mailbox.flows:
            self._promote(ref, peer)
        if peer is not None and mailbox.is_fair and not mailbox.closed:
            self._take_fair(ref, message, peer)
            return
        known = self.by_path.get(ref.path)
        if known is None and ref.deliver(message):  # it was crowded by strangers alone
            self._note_size(mailbox, message, self.size)
            return
        self._take_aside(ref, message, self.size)

    def _take_aside(self, ref: LocalRef[Never], message: object, size: int) -> None:
        """Queue a message for room in a small mailbox, behind waiting ones."""
        backlog, peer, mailbox = self._of(ref), self.sender, ref.mailbox
        self._pause(peer, backlog)
        if not backlog.waiting and mailbox.offer(message):
            self._note_size(mailbox, message, size)
            return
        cost = self._charge(backlog, peer, size)
        if cost:
            backlog.waiting.tail(peer).append((peer, message, cost))
        else:
            self._kernel.dead_letter(message, ref, MAILBOX_FULL)

    def _promote(self, ref: LocalRef[Never], member: UniqueAddress) -> None:
        """Queue messages sent by a member as a stranger as its own, ahead of all from now on."""
        mailbox = ref.mailbox
        if mailbox.flows is None:
            return
        if mailbox.is_fair:
            mailbox.flows.promote(member)
            return
        for message in mailbox.flows.part_with(member):
            if ref.path in self.by_path or not ref.deliver(message):
                self._take_aside(ref, message, size=0)

    def _take_fair(self, ref: LocalRef[Never], message: object, peer: UniqueAddress) -> None:
        """Queue a message where its sender has a queue of its own, and have the sender pause when that is long."""
        mailbox = ref.mailbox
        flows = mailbox.flows
        known = self.by_path.get(ref.path)
        is_long = flows is not None and flows.count(peer) >= _longest(mailbox)
        if is_long or (known is not None and known.ref.mailbox is mailbox and peer in known.paused):
            backlog = self._of(ref)
            self._pause(peer, backlog)
            if not self._charge(backlog, peer, self.size):
                self._kernel.dead_letter(message, ref, MAILBOX_FULL)
                return
        queue, _ = mailbox.queue_for(peer)
        queue.append(message)
        mailbox.wake()
        if self.size >= LARGE_BYTES_MIN:
            self.weigh(ref, message)

    def _charge(self, backlog: _Backlog, sender: Hashable, size: int) -> int:
        """Count the cost of a message, and return it; 0 where its sender has no room for it."""
        cost, used = size + FRAME_COST_BYTES, backlog.bytes.get(sender, 0)
        if used + cost > self._backlog_max or self.bytes + cost > BACKLOGS_SHARE * self._backlog_max:
            return 0
        backlog.bytes[sender] = used + cost
        self.bytes += cost
        return cost

    def _discharge(self, backlog: _Backlog, sender: Hashable, cost: int | None = None) -> None:
        """Count off a cost charged to a sender, or all of them."""
        used = backlog.bytes.pop(sender, 0)
        left = 0 if cost is None else used - cost
        if left > 0:
            backlog.bytes[sender] = left
        self.bytes -= used - left

    def look(self, ref: LocalRef[Never]) -> None:
        """Pause the sender whose messages have made a mailbox long."""
        if len(ref.mailbox.messages) > LONG and ref.path not in self.by_path:
            self._pause(self.sender, self._open(ref))

    def weigh(self, ref: LocalRef[Never], message: object) -> None:
        """Count a large message with room, and have its sender pause when the waiting ones are too many bytes."""
        mailbox = ref.mailbox
        self._note_size(mailbox, message, self.size)
        if mailbox.weights is not None and mailbox.weights.unseen * HEAVY_LOOKS > self._heavy:
            if self._is_long(mailbox, messages=LONG, size=self._heavy):
                self._pause(self.sender, self._of(ref))

    def link_up(self, peer: UniqueAddress) -> None:
        """Ask again: the pauses asked on the old link ended with it."""
        for backlog in self.by_path.values():
            if peer in backlog.paused:
                del backlog.paused[peer]
                self._pause(peer, backlog)

    def _of(self, ref: LocalRef[Never]) -> _Backlog:
        """Return the backlog of an actor. That of an earlier actor with its path hands over its pausing nodes."""
        known = self.by_path.get(ref.path)
        if known is not None and known.ref.mailbox is ref.mailbox:
            return known
        backlog = self._open(ref)
        if known is not None:
            backlog.paused, known.paused = known.paused, backlog.paused
        return backlog

    def _open(self, ref: LocalRef[Never]) -> _Backlog:
        backlog = self.by_path[ref.path] = _Backlog(ref)
        if self._start is not None:
            self._start(backlog)
        return backlog

    def _pause(self, peer: UniqueAddress | None, backlog: _Backlog) -> None:
        # Again while its messages come: a node does not listen to a peer not heard of yet as a member.
        now = self._kernel.now()
        if peer is not None and now >= backlog.paused.get(peer, -math.inf) + ASK_AGAIN:
            if self._transport.send_if_up(peer, Lane.ordinary, pause_frame(backlog.ref.path)):
                backlog.paused[peer] = now

    async def _feed(self, backlog: _Backlog) -> None:
        """Hand the actor its waiting messages as it finds room, until there is plenty again, then let all go on."""
        try:
            await self._drain(backlog)
            while not (backlog.ref.mailbox.closed or self._resumed(backlog)):
                await trio.sleep(LOOK_AGAIN)  # the queue of a link is full, and nothing tells when it has room
                await self._drain(backlog)
        finally:
            if self.by_path.get(backlog.ref.path) is backlog:
                del self.by_path[backlog.ref.path]
            while backlog.waiting:
                self._kernel.dead_letter(self._popped(backlog), backlog.ref, ACTOR_STOPPED)
            for sender in list(backlog.bytes):
                self._discharge(backlog, sender)
        while not self._resumed(backlog):  # noqa: ASYNC110  # as above, for an actor that has stopped
            await trio.sleep(LOOK_AGAIN)

    async def _drain(self, backlog: _Backlog) -> None:
        mailbox = backlog.ref.mailbox
        short, light = min(SHORT, mailbox.capacity // 2), self._heavy // 2
        pause, length = LOOK_AGAIN, len(mailbox)
        while not mailbox.closed and (backlog.waiting or self._is_long(mailbox, messages=short, size=light)):
            if not backlog.waiting:
                await trio.sleep(pause)
                self._let_go_on(backlog, messages=short, size=light)
                before, length = length, len(mailbox)
                pause = LOOK_AGAIN if length < before else min(2 * pause, LOOK_AGAIN_MAX)
                continue
            _, message, cost = backlog.waiting.head()
            if await mailbox.put(message):
                self._note_size(mailbox, message, cost - FRAME_COST_BYTES)
                self._popped(backlog)

    def _let_go_on(self, backlog: _Backlog, *, messages: int, size: int) -> None:
        """Ask those to go on whose own queues have become short, though those of others are long."""
        mailbox = backlog.ref.mailbox
        flows = mailbox.flows
        if not flows or len(mailbox.messages) > messages or _is_heavy(mailbox, size):
            return
        for peer in list(backlog.paused):
            if flows.count(peer) <= messages and self._has_resumed(backlog, peer):
                self._discharge(backlog, peer)

    def _is_long(self, mailbox: MessageQueue, *, messages: int, size: int) -> bool:
        """Whether more than so many messages of one sender, or bytes of large ones, wait in a mailbox."""
        flows = mailbox.flows
        longest = max(map(flows.count, flows.senders()), default=0) if flows else 0
        return max(longest, len(mailbox.messages)) > messages or _is_heavy(mailbox, size)

    def _note_size(self, mailbox: MessageQueue, message: object, size: int) -> None:
        if size >= LARGE_BYTES_MIN:
            if mailbox.weights is None:
                mailbox.weights = QueuedBytes()
            mailbox.weights.add(message, size)

    def _popped(self, backlog: _Backlog) -> object:
        sender, message, cost = backlog.waiting.pop()
        self._discharge(backlog, sender, cost)
        return message

    def _resumed(self, backlog: _Backlog) -> bool:
        """Ask all to go on; return whether every one in reach was."""
        return all([self._has_resumed(backlog, peer) for peer in list(backlog.paused)])

    def _has_resumed(self, backlog: _Backlog, peer: UniqueAddress) -> bool:
        """Ask one to go on; False where it has to be asked again."""
        if not self._transport.send_if_up(peer, Lane.ordinary, resume_frame(backlog.ref.path)):
            if self._transport.is_up(peer, Lane.ordinary, or_awaited=True):
                return False
            # The link is lost, and with it the question, unless it waits for the next one: then so does this.
        del backlog.paused[peer]
        return True

    def __repr__(self) -> str:
        return f"<ReceiveBackpressure actors={len(self.by_path)} bytes={self.bytes}>"


def _longest(mailbox: MessageQueue) -> int:
    """Return how many messages of one sender may wait in a mailbox before the sender is to pause."""
    return min(LONG, mailbox.capacity)


def _is_heavy(mailbox: MessageQueue, size: int) -> bool:
    return mailbox.weights is not None and mailbox.weights.waiting(mailbox.queued()) > size
