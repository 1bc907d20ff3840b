"""Common part of all actors of one system: names, counters, the timer queue, the event stream, the hooks."""

from __future__ import annotations

import contextvars
import random
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from threading import get_ident
from typing import Final, NamedTuple, Never, cast

import trio

from casty.address import ASK_PREFIX, ENTITY_PREFIX, UniqueAddress, in_words, serial_of
from casty.config import SystemConfig
from casty.errors import ActorStoppedError, AskFailed, AskFailure, EncodeError, MailboxFull
from casty.protocol.effects import Rng
from casty.refs import ActorRef
from casty.runtime.actor.children import Children
from casty.runtime.counters import Counters
from casty.runtime.deadlines import TimerQueue
from casty.runtime.events import (
    ACTOR_STOPPED,
    HELD_TOO_LONG,
    ILL_TYPED,
    MAILBOX_FULL,
    NO_ROUTEE,
    NO_SUCH_ACTOR,
    NODE_STOPPED,
    NOT_ENCODABLE,
    NOT_SENT,
    OUTBOUND_FULL,
    REQUEST_WITHDRAWN,
    SHARD_BUFFER_FULL,
    SHARD_MOVED,
    STRANGERS_FULL,
    DeadLetter,
    DeadLetterReason,
    EventStreamCmd,
    MessageSummary,
    Terminated,
)
from casty.runtime.hooks import KernelHooks
from casty.runtime.journaling.system_journal import SystemJournal
from casty.runtime.listeners import LifecycleListeners
from casty.runtime.messaging.ask import AskRef, refuse, refuse_asks
from casty.runtime.messaging.ask_wheel import AskWheel
from casty.runtime.messaging.mailbox import NOTHING, AskerRequests, Request
from casty.runtime.messaging.named_refs import InlineRef, PathRef
from casty.runtime.messaging.ref import LocalRef, OwnRef
from casty.runtime.messaging.timers import Scheduler, SchedulerCmd
from casty.runtime.ports import FarRef, Recipient
from casty.runtime.system.event_stream import EventStream
from casty.runtime.system.shutdown import Hook, Shutdown
from casty.runtime.system.statistics import SystemStatistics
from casty.runtime.system.watchdog import Watchdog
from casty.runtime.tokens import Tokens

LOST_REQUESTS: dict[DeadLetterReason, type[Exception]] = {
    ACTOR_STOPPED: ActorStoppedError,
    NO_SUCH_ACTOR: ActorStoppedError,
    NO_ROUTEE: ActorStoppedError,
    MAILBOX_FULL: MailboxFull,
    STRANGERS_FULL: MailboxFull,
    ILL_TYPED: TypeError,
    OUTBOUND_FULL: MailboxFull,
    NODE_STOPPED: ActorStoppedError,
    NOT_SENT: ActorStoppedError,
    NOT_ENCODABLE: EncodeError,
    SHARD_MOVED: ActorStoppedError,
    SHARD_BUFFER_FULL: MailboxFull,
    HELD_TOO_LONG: ActorStoppedError,
}
"""Error for the asker of a request that became a dead letter, by the reason. A message written to a broken link is no
dead letter: nobody knows if it arrived. Those asks end when the node is removed, or time out.
"""

ENTITY_FAILURES: Final[dict[DeadLetterReason, AskFailure]] = {SHARD_MOVED: "moved", SHARD_BUFFER_FULL: "buffer_full"}
"""Failure of an ask to an entity, by the reason of its dead letter."""

NOT_SENT_AT_ALL: Final = frozenset[DeadLetterReason](
    {OUTBOUND_FULL, NODE_STOPPED, NOT_SENT, NOT_ENCODABLE, HELD_TOO_LONG}
)
"""Reasons by which a request has not left this node."""

RELAYED_MAX: Final = 4_096
"""Requests of other nodes with a remembered hand-over: the latest."""


class Relayed(NamedTuple):
    """Request of another node, handed on by an actor here."""

    far: tuple[FarRef, ...]
    """Receivers of it."""
    asker: UniqueAddress
    """Asking node; it alone can withdraw the request."""
    reply_to: ActorRef[Never] | None
    """Receiver of its reply."""


inside: contextvars.ContextVar[Kernel | None] = contextvars.ContextVar("casty_inside", default=None)
"""The kernel whose actor the current task belongs to."""


class Kernel:
    """Inside of an `ActorSystem`. Made inside of Trio, in the thread it stays in."""

    def __init__(
        self,
        system: object,
        name: str,
        config: SystemConfig,
        on_escalation: Callable[[Exception], None],
        journal: SystemJournal | None = None,
    ) -> None:
        self.roots = Children(self, None)
        self.counters = Counters()
        self.hooks = KernelHooks()
        """Hooks of the cluster."""
        self.listeners = LifecycleListeners(self.counters)
        self.shutdown = Shutdown(self)
        self.handing_over: list[Hook] = []
        """Steps before the end of the users' actors."""
        self.closing: list[Hook] = []
        """Steps between the end of the users' actors and that of casty's own."""
        self.on_escalation: Callable[[Exception], None] = on_escalation
        """Called with a failure escalated by an actor at the root."""
        self.rng: Rng = random.Random(config.seed)
        self.tokens = Tokens(config.seed)
        self.system = system
        """For the contexts of actors."""
        self.name = name
        self.config = config
        self.journal = journal
        """Journal of the event-sourced actors, open."""
        self.thread = get_ident()
        self.token = trio.lowlevel.current_trio_token()
        self.now: Callable[[], float] = trio.lowlevel.current_clock().current_time
        self.context = contextvars.Context()
        self.context.run(inside.set, self)
        self.timer_queue = TimerQueue()
        self.asks: dict[int, AskRef[Never]] = {}
        self.wheel: AskWheel[AskRef[Never]] = AskWheel(self.timer_queue, self.asks)
        self.requests: dict[UniqueAddress, AskerRequests] = {}
        """Requests of asks on other nodes waiting for actors here: by node, and by the numbers of those asks."""
        self._askers_gone: dict[UniqueAddress, None] = {}
        """Nodes without a link whose requests still wait."""
        self._relayed: OrderedDict[int, Relayed] = OrderedDict()
        self.event_stream = EventStream()
        self.scheduler = Scheduler(self.timer_queue)
        self.targets: dict[str, OwnRef[Never]] = {}
        """All targets of messages by path, asks excepted."""
        self.readers: dict[int, Callable[[], None]] = {}
        self.closed = False
        self.watchdog = Watchdog(self)
        """Its sightings are told when the system has ended."""
        self._arriving: tuple[object, int] | None = None
        """Message being handed over, with its bytes, where it is of a non-member."""
        self._serial = 0
        self.event_stream_ref = self._well_known("/_event_stream", self.event_stream.handle)
        self.scheduler_ref = self._well_known_scheduler("/_scheduler", self.scheduler.handle)

    def _well_known(self, path: str, take: Callable[[EventStreamCmd], None]) -> ActorRef[EventStreamCmd]:
        ref = InlineRef(self, path, self.next_uid(), take)
        self.targets[path] = ref
        return ref

    def _well_known_scheduler(self, path: str, take: Callable[[SchedulerCmd], None]) -> ActorRef[SchedulerCmd]:
        ref = InlineRef(self, path, self.next_uid(), take)
        self.targets[path] = ref
        return ref

    def is_cut_off(self, actor: Recipient) -> bool:
        """Whether the time of an actor is over, so its clean-up gets none."""
        return self.shutdown.is_cut_off(actor)

    def check_thread(self, what: str) -> None:
        """Raise RuntimeError when a foreign thread does something reserved to the loop's own thread."""
        if get_ident() != self.thread:
            raise RuntimeError(
                f"{what} in a foreign thread, expected the thread that runs the actor system; go through casty.embed "
                "there, or tell with system.tell_threadsafe(ref, message)"
            )

    def next_uid(self) -> int:
        """Return the uid of a ref: 64 random bits, since whoever can name an actor exactly can speak of it."""
        return self.tokens.take()

    def next_serial(self) -> int:
        """Return a number unique in this system, for objects never named outside of it."""
        self._serial += 1
        return self._serial

    def start(
        self, nursery: trio.Nursery, async_fn: Callable[..., Awaitable[object]], args: tuple[object, ...], name: str
    ) -> None:
        """Start a task of an actor, in a context of its own instead of the caller's."""
        self.context.run(nursery.start_soon, async_fn, *args, name=name)

    def target(self, path: str, uid: int) -> OwnRef[Never] | None:
        """Return the holder of the path, if it is the one with ``uid``; 0 is any, except for the slot of an ask."""
        if path.startswith(ASK_PREFIX):
            serial = serial_of(path)
            slot = None if serial is None else self.asks.get(serial)
            return slot if slot is not None and uid == slot.uid else None
        if path.startswith(ENTITY_PREFIX):
            ask = self.hooks.entity_target
            return None if ask is None else cast("OwnRef[Never] | None", ask(path, uid))
        found = self.targets.get(path)
        return found if found is not None and uid in (0, found.uid) else None

    def ref_for(self, path: str, uid: int) -> ActorRef[Never]:
        """Return a ref to the actor with ``uid``, or to whoever has the path for 0."""
        found = self.target(path, uid) if uid else None
        return found if found is not None else PathRef(self, path, uid)

    def dead_letter(
        self,
        message: object,
        ref: ActorRef[Never],
        reason: DeadLetterReason,
        particulars: str = "",
        *,
        shown: MessageSummary | None = None,
    ) -> None:
        """Count a message that nobody will handle, publish it or its summary, and refuse the asks in it.

        Subscribers get no message of a non-member: a slow one would keep memory charged to nobody.
        """
        failure: AskFailure = "lost"
        if isinstance(message, Request):
            if message.ask:
                failure = "not_sent" if reason in NOT_SENT_AT_ALL else ENTITY_FAILURES.get(reason, "not_delivered")
            asker, message = message.asker, message.take()
            shown = shown or self.summary_of(message, asker)
            if message is NOTHING:  # it was a dead letter when it was withdrawn
                return
        self.counters.note_dead_letter(reason)
        said = f"{reason}: {particulars}" if particulars else reason
        if not self.event_stream.publishing and self.event_stream.wants(DeadLetter):
            if self._arriving is not None:
                shown = MessageSummary(type(message).__name__, self._arriving[1] if message is self._arriving[0] else 0)
            self.event_stream.publish(DeadLetter(message if shown is None else shown, ref, said))
        error = LOST_REQUESTS.get(reason)
        if error is not None:
            whom = ref.path if isinstance(ref, OwnRef) else in_words(ref.address)
            refuse_asks(self, message, error(f"{whom} did not get the request: {said}"), failure)

    def begin_arrival(self, message: object, size: int) -> None:
        """Show a message by its bytes alone if it is a dead letter now: it is of a non-member."""
        self._arriving = message, size

    def end_arrival(self) -> None:
        """Take note of the end of its hand-over."""
        self._arriving = None

    def summary_of(self, message: object, asker: UniqueAddress | None) -> MessageSummary | None:
        """Return a dead letter's view of a request; None for the message itself, as its asker is a member."""
        is_strange = asker is not None and self.hooks.is_stranger(asker)
        return MessageSummary(type(message).__name__, 0) if is_strange else None

    def note_relayed(
        self, ask: int, far: tuple[FarRef, ...], asker: UniqueAddress, reply_to: ActorRef[Never] | None
    ) -> None:
        """Remember for some time the receivers of another node's request handed on by an actor here."""
        self._relayed[ask] = Relayed(far, asker, reply_to)
        if len(self._relayed) > RELAYED_MAX:
            self._relayed.popitem(last=False)

    def fail_relayed(self, is_lost: Callable[[FarRef], bool], error: AskFailed) -> None:
        """Refuse those asks of other nodes with requests handed on to lost actors alone."""
        for ask, (far, _, reply_to) in list(self._relayed.items()):
            if reply_to is not None and all(map(is_lost, far)):
                del self._relayed[ask]
                refuse(self, reply_to, error, error.failure)

    def requests_of(self, asker: UniqueAddress) -> AskerRequests:
        """Return where the waiting requests of a node are found by the numbers of its asks."""
        waiting = self.requests.get(asker)
        if waiting is None:
            waiting = self.requests[asker] = AskerRequests(asker)
        elif self._askers_gone:
            self._askers_gone.pop(asker, None)
        return waiting

    def forget_asker(self, asker: UniqueAddress) -> None:
        """Drop the table of a node whose link was lost, once no request of it waits."""
        self._askers_gone[asker] = None
        for gone in [gone for gone in self._askers_gone if not self.requests.get(gone)]:
            del self._askers_gone[gone]
            self.requests.pop(gone, None)

    def withdraw(self, asker: UniqueAddress, ask: int) -> None:
        """Do not start the request of a node's ask, if it waits here or where it was handed on to."""
        listed, relayed = self.requests.get(asker), self._relayed.get(ask)
        waiting = None if listed is None else listed.get(ask)
        if waiting is not None:
            waiting.withdraw(REQUEST_WITHDRAWN)
        if relayed is not None and relayed.asker == asker:
            del self._relayed[ask]
            for ref in relayed.far:
                ref.withdraw(ask)

    def terminated(self, watcher: ActorRef[Never], ref: ActorRef[Never], cause: BaseException | None = None) -> None:
        """Tell a local watcher the end of the watched actor ``ref`` of another node."""
        told = Terminated(ref, cause)
        if isinstance(watcher, InlineRef):
            cast("InlineRef[Terminated]", watcher).tell(told)
        elif isinstance(watcher, OwnRef) and (cell := watcher.owner()) is not None:
            cell.signal(told)

    def close(self) -> None:
        """End the iterations of ``system.events()`` and the asks, those begun later too."""
        self.closed = True
        for close in list(self.readers.values()):
            close()
        self.readers.clear()
        # Tasks outside of the system may ask through it, and nobody is left to end their wait.
        for slot in list(self.asks.values()):
            slot.refuse(AskFailed(f"no reply in time: the system {self.name!r} has ended", "system_ended"))

    def statistics(self) -> SystemStatistics:
        """Return the counters as they are now; looks at every mailbox."""
        counters = self.counters
        waiting = {ref.path: len(ref.mailbox) for ref in self.targets.values() if isinstance(ref, LocalRef)}
        return SystemStatistics(
            actors=counters.actors,
            messages_delivered=counters.delivered,
            dead_letters=dict[str, int](counters.dead_letters.items()),
            asks_pending=len(self.asks),
            timers=len(self.timer_queue),
            signals_delivered=counters.signals,
            messages_rejected=counters.rejected,
            asks=counters.asks,
            asks_timed_out=counters.asks_timed_out,
            restarts=counters.restarts,
            listener_failures=counters.listener_failures,
            mailboxes={path: count for path, count in waiting.items() if count},
        )
