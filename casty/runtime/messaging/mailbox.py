"""Mailbox: the layer of an actor on the queue of its channel.

Owns the policy for a full queue, the withdrawn requests, the messages in stashes, the notices among the messages and
the queues of other nodes. The queue itself, its sleeping task and the line of senders waiting for room are
`casty.runtime.messaging.queueing.channel_queue`; its ends as channels are `casty.runtime.messaging.channel`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from itertools import chain
from typing import TYPE_CHECKING, Final

from casty.address import UniqueAddress, in_words
from casty.config import Mailbox, MailboxOverflowStrategy
from casty.runtime.messaging.queueing.channel_queue import NO_MESSAGES, ChannelQueue
from casty.runtime.messaging.queueing.crowd import Allowance, Origin
from casty.runtime.messaging.queueing.fair_queue import QUANTUM, FairQueue
from casty.runtime.messaging.queueing.notices import TerminatedNotice, sender_of
from casty.runtime.ports import FarRef, Recipient

if TYPE_CHECKING:
    from casty.runtime.events import DeadLetterReason
    from casty.runtime.messaging.queueing.weights import QueuedBytes

BATCH_MESSAGES: Final = 64
"""Messages of one actor between two checkpoints: more is faster, and makes other actors wait longer. With a
checkpoint after each, a tell takes 7 times the processor time, and a forwarded message 2.4 times."""
BATCH_SECONDS: Final = 0.0005
"""Time of one actor between two checkpoints, looked at every eighth message."""


FAR_TOLD_MAX: Final = 8
"""Actors of other nodes named by the text of a time-out."""

DIRECT_MAX: Final = 64
"""Messages in a mailbox up to which those of other members are queued behind all others. Beyond, each member has its
own queue: fewer cost a single sender a needless queue, more are the wait of an honest one. Messages of non-members wait
apart from the first one on.
"""

WITHDRAWN_MAX: Final = 256
"""Withdrawn requests left in a mailbox until the actor comes to them, as long as they are fewer than half."""


class Nothing:
    """Type of `NOTHING`, the mark for no message: None can be one."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "<NOTHING>"


NOTHING: Final = Nothing()


class AskerRequests(dict[int, "Request"]):
    """Requests of one node waiting for actors here, by the numbers of its asks."""

    __slots__ = ("asker",)

    def __init__(self, asker: UniqueAddress) -> None:
        super().__init__()
        self.asker = asker


class Request:
    """A message whose sender waits for a reply, for as long as it waits in a mailbox itself.

    Or any message of a non-member, with its origin: then a tell is one, too.
    """

    __slots__ = ("ask", "cell", "deadline", "far", "listed", "message", "origin", "taken", "timeout", "waits")

    def __init__(
        self,
        message: object,
        deadline: float,
        ask: int,
        listed: AskerRequests | None = None,
        *,
        timeout: float | None = None,
    ) -> None:
        self.message = message
        """NOTHING once it was withdrawn."""
        self.deadline = deadline
        """Time at which the sender gives up, on the clock of this system; infinity if it never does."""
        self.timeout = timeout
        """Seconds until then, for a hand-over in the step of its making."""
        self.ask = ask
        """Number of the ask, known to the receivers of the ref for its reply alone; 0 of a tell."""
        self.listed = listed
        """Table of a waiting request of another node, by that number; None for one of this node."""
        self.origin: Origin | None = None
        """Its origin, if that is no member: handed on, it waits as such, too."""
        self.cell: Recipient | None = None
        self.waits = False
        self.taken: dict[int, Request] | None = None
        """Notes of a main by the numbers of asks, to be told of the end of the ask of this node."""
        self.far: tuple[FarRef, ...] = ()
        """Refs to its receivers on other nodes."""

    def __repr__(self) -> str:
        return f"<Request {self.message!r}>"

    def sent_to(self) -> str:
        """Name its receivers on other nodes, for the text of a time-out; the text names the asked actor itself."""
        said = ", ".join(self._where(ref) + ref.trouble() for ref in self.far[:FAR_TOLD_MAX])
        return f": it was sent to {said}" if said else ""

    def _where(self, ref: FarRef) -> str:
        """Name the node alone where no actor of this one, such as a router, has chosen the actor there."""
        return in_words(ref.address) if self.cell is not None else str(ref.address.node)

    @property
    def asker(self) -> UniqueAddress | None:
        """Asking node; None for this one."""
        return None if self.listed is None else self.listed.asker

    def copy(self) -> Request:
        """Return another one of the same message, impossible to withdraw."""
        copied = Request(self.message, self.deadline, self.ask)
        copied.origin = self.origin
        return copied

    def queue(self, cell: Recipient) -> None:
        """Take note of its wait in the mailbox, or in a stash, of ``cell``."""
        self.cell = cell
        self.waits = True
        if self.listed is not None:
            self.listed[self.ask] = self

    def leave(self) -> None:
        """Take note of the end of its wait."""
        self.waits = False
        if self.listed is not None and self.listed.get(self.ask) is self:
            del self.listed[self.ask]

    def take(self) -> object:
        """Return the message, from now on impossible to withdraw; NOTHING if it was withdrawn."""
        if self.message is NOTHING and self.cell is not None:
            self.cell.mailbox.withdrawn_taken()
        self.leave()
        return self.message

    def withdraw(self, reason: DeadLetterReason) -> None:
        """Make a dead letter of the message if nobody has taken it."""
        if self.waits and self.cell is not None:
            self.leave()
            message, self.message = self.message, NOTHING
            self.cell.mailbox.note_withdrawn()
            kernel = self.cell.kernel
            kernel.dead_letter(message, self.cell.ref, reason, shown=kernel.summary_of(message, self.asker))


def payload(message: object) -> object:
    """Return the handler's view of a message in a mailbox."""
    if isinstance(message, Request):
        return message.message
    return message.terminated if isinstance(message, TerminatedNotice) else message


class MessageQueue(ChannelQueue[object]):
    """The messages of one actor, bounded. Only the actor takes; it parks only when there is nothing to take."""

    __slots__ = (
        "_holds_own_end",
        "_is_own_turn",
        "_stashed",
        "_takes_turns",
        "_turn_of",
        "_withdrawn_elsewhere",
        "flows",
        "front",
        "is_fair",
        "notices",
        "overflow",
        "weights",
        "withdrawn",
    )

    def __init__(self, settings: Mailbox) -> None:
        super().__init__(settings.capacity)
        self.overflow = settings.overflow
        self.front: deque[object] | None = None
        """Messages put back, or in their turn, to be taken before ``messages``, beyond the bound."""
        self.is_fair = self.capacity > DIRECT_MAX and self.lets_wait
        """Whether other members have queues of their own here: not where the oldest message makes room."""
        self.flows: FairQueue[object] | None = None
        """Those queues, and the one of all non-members; None where there never was one."""
        self._turn_of: FairQueue[object] | None = None
        """Queue with its turn in ``front``, if ``front`` is nothing else."""
        self._is_own_turn = False
        self._takes_turns = False
        """Whether the actor has come to their content: all earlier messages were in ``messages``."""
        self._stashed: dict[object, deque[object]] | None = None
        self.notices = 0
        """Ends of watched actors among the messages: beyond the bound, in their place."""
        self.withdrawn = 0
        """Requests among the messages without anybody waiting for them any more."""
        self.weights: QueuedBytes | None = None
        """Of the large messages from other nodes among the messages; None where none ever came."""
        self._holds_own_end = False
        self._withdrawn_elsewhere = 0
        """Number of those that may be in a stash, where looking through the queue again would be in vain."""

    @property
    def lets_wait(self) -> bool:
        """Whether a sender may wait for room."""
        match self.overflow:
            case MailboxOverflowStrategy.drop_new | MailboxOverflowStrategy.back_pressure:
                return True
            case MailboxOverflowStrategy.drop_oldest | MailboxOverflowStrategy.reject:
                return False

    @property
    def stashed(self) -> dict[object, deque[object]]:
        """The messages in the actor's stashes, by stash; only those with messages are in it."""
        if self._stashed is None:
            self._stashed = {}
        return self._stashed

    # Putting in

    def push_out_oldest(self, message: object) -> object:
        """Put ``message`` into a full queue and return the oldest one; it made room for the new one.

        A message behind the own end is never handled: it pushes nothing out, and is returned itself.
        """
        if self._holds_own_end:
            return message
        notices: list[object] = []
        while type(oldest := self.messages.popleft()) is TerminatedNotice:
            notices.append(oldest)
        self.messages.extendleft(reversed(notices))
        self.messages.append(message)
        return oldest

    def put_notice(self, notice: object) -> None:
        """Queue the end of a watched actor, or the own end, always with room for it, unless it is closed."""
        if self.closed:
            return
        if not self.limit:
            self.open()
        if not isinstance(notice, TerminatedNotice):
            self._holds_own_end = True
        self.notices += 1
        self.limit += 1
        sender = sender_of(notice, self.flows) if self.flows and isinstance(notice, TerminatedNotice) else None
        if self.flows and sender is not None:
            self.flows.promote(sender)
        (self.messages if sender is None or self.flows is None else self.flows.tail(sender)).append(notice)
        self.wake()

    def queue_for(self, sender: Hashable) -> tuple[deque[object], int]:
        """Return where the next messages of a member go, and how many there may be in it: 0 where there is none.

        Valid as long as the actor does not run and nothing else is put in.
        """
        flows = self.flows
        if flows is not None and flows.by_sender and self.is_fair:
            return flows.tail(sender), QUANTUM
        if not self.limit and not self.closed:
            self.open()
        room = min(self.limit, DIRECT_MAX) if self.is_fair else self.limit
        if not self.is_fair or self.closed or len(self.messages) < room:
            return self.messages, room
        return self._own_queues().tail(sender), QUANTUM

    def put_in_crowd(self, sender: Hashable, message: object, cost: int, allowance: Allowance) -> bool:
        """Queue a message of a non-member, apart from all others; False when ``allowance`` has no room for it."""
        if self.closed or not allowance.has_room(cost):
            return False
        self._own_queues().put_in_crowd(sender, message, cost, allowance)
        self.wake()
        return True

    def _own_queues(self) -> FairQueue[object]:
        """Return the queues of other nodes here, marking the place of their beginning."""
        if self.flows:
            return self.flows
        if not self.limit:
            self.open()
        self.flows, self._takes_turns = FairQueue(), not self.messages
        if self.messages:
            self.put_notice(TerminatedNotice(None))
        return self.flows

    @property
    def is_crowded(self) -> bool:
        """Whether messages of other nodes wait, or are to wait, in queues of their own."""
        return bool(self.flows) or (self.is_fair and len(self.messages) >= DIRECT_MAX)

    def notice_taken(self) -> None:
        """Take note of the actor's arrival at the end of another."""
        self.notices -= 1
        self.limit -= 1

    def put_back(self, messages: list[object]) -> None:
        """Put ``messages`` first, in this order, whatever the bound."""
        if self.front is None:
            self.front = deque()
        self.front.extendleft(reversed(messages))
        self._turn_of = None

    # Taking out

    def source(self) -> deque[object]:
        """Return where the next message is, if there is any; valid until it is empty or something is put back.

        Once nothing of a turn is left, it is the turn of ``messages``, and then of the next of the other nodes.
        """
        flows = self.flows
        while flows is not None and flows.by_sender and not self.front and (self._takes_turns or not self.messages):
            self._is_own_turn = not self._is_own_turn
            if self._is_own_turn and self.messages:
                return self.messages
            self.front, self._turn_of = flows.turn(), flows
        return self.front or self.messages

    def next_turn(self) -> deque[object]:
        """Return where the next message is, as `source`, after a batch: with it the turn ends, whatever is left of it.

        Not where the sender's newer messages may be in ``messages``: its queue was empty since.
        """
        flows = self.flows
        if self.front and flows is not None and flows.by_sender and self._turn_of is flows:
            if flows.is_turn_of_crowd or (not self.messages and flows.waits_alone):
                return self.front  # it would be given back at once
            flows.put_back(self.front)
            self.front = None
        return self.source()

    def put_before(self, last: object) -> bool:
        """Put the messages in queues of members first, and ``last`` behind them; False where those came first.

        A non-member cannot put it off.
        """
        if not self.flows or not self._takes_turns:
            return False
        waiting = self.flows.take_all_but_crowd()
        if waiting:
            self._takes_turns = False
            self.put_back([*waiting, last])
        return bool(waiting)

    def take_turns(self) -> None:
        """Take note of the actor's arrival at the place from which on other nodes have queues of their own."""
        self._takes_turns = True

    @property
    def has_next(self) -> bool:
        """Whether there is something to take."""
        return bool(self.front or self.messages or self.flows)

    def take(self) -> object:
        """Return the next message; NOTHING if there is none."""
        source = self.front or self.messages
        if not source and self.flows:
            source = self.source()
        message = source.popleft() if source else NOTHING
        if self.senders:
            self.admit(message)
        return message

    def admit(self, taken: object) -> None:
        """Let senders waiting for room in, first come first served, with ``taken`` out of the queue."""
        if type(taken) is TerminatedNotice:
            return  # it took no room
        self.let_in()

    # The end, and the remains of requests

    def empty_stashes(self) -> list[object]:
        """Take every message out of the stashes."""
        stashes = list((self._stashed or {}).values())
        messages = [message for stash in stashes for message in stash]
        for stash in stashes:
            stash.clear()
        self._stashed = None
        return messages

    def close(self) -> list[object]:
        """Refuse messages from now on and return the waiting ones: stashed, put back, in the queue."""
        waiting = [*self.empty_stashes(), *self.queued()]
        if self.flows:
            self.flows.clear()
        self.shut()
        self.front = self.flows = self.weights = self._turn_of = None
        self.messages = NO_MESSAGES
        return [message for message in waiting if not isinstance(message, TerminatedNotice)]

    def queued(self) -> Iterator[object]:
        """Yield all messages waiting outside of the stashes."""
        return chain(self.front or (), self.messages, *(self.flows.chunks() if self.flows else ()))

    def __len__(self) -> int:
        stashed = sum(map(len, (self._stashed or {}).values()))
        waiting = len(self.messages) + len(self.front or ()) + len(self.flows or ()) + stashed
        return max(0, waiting - self.withdrawn - self.notices)  # those of a closed queue are counted off later

    def withdrawn_taken(self) -> None:
        """Take note of a withdrawn request in none of the queues any more."""
        self.withdrawn -= 1
        self._withdrawn_elsewhere = min(self._withdrawn_elsewhere, self.withdrawn)

    def note_withdrawn(self) -> None:
        """Count a request withdrawn during its wait, and make room when there are many."""
        self.withdrawn += 1
        here = self.withdrawn - self._withdrawn_elsewhere
        if here > WITHDRAWN_MAX and here * 2 > len(self.messages):
            self.make_room()

    def make_room(self) -> bool:
        """Take withdrawn requests out of the queue; False when it made no room."""
        if self.withdrawn <= self._withdrawn_elsewhere:
            return False
        waiting, used = list(self.messages), len(self.messages)
        self.messages.clear()
        for message in waiting:
            if isinstance(message, Request) and message.message is NOTHING:
                message.take()
            else:
                self.messages.append(message)
        self._withdrawn_elsewhere = self.withdrawn
        self.admit(NOTHING)
        return len(self.messages) < used
