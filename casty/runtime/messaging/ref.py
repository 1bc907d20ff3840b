"""Refs to the actors of the own system: their common part, and the one to a single actor.

``tell`` is the hottest call of the library: one comparison tells the usual case from all others. The
check up front is for the thread, because a message from a foreign thread would wake nobody.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import replace
from threading import get_ident
from typing import TYPE_CHECKING, Final, Never, NoReturn, TypeVar, cast

import trio

from casty.address import ActorAddress
from casty.config import MailboxOverflowStrategy
from casty.errors import AskFailed, AskTimeoutError, MailboxFull
from casty.refs import ActorRef
from casty.runtime.events import ACTOR_STOPPED, MAILBOX_FULL, STRANGERS_FULL
from casty.runtime.messaging.channel import ChannelStatistics, statistics_of
from casty.runtime.messaging.queueing.crowd import CROWD
from casty.runtime.ports import KernelPort, Recipient

if TYPE_CHECKING:
    from casty.runtime.messaging.mailbox import MessageQueue, Request

M_contra = TypeVar("M_contra", contravariant=True)
N = TypeVar("N")


def check_thread(ref: OwnRef[Never]) -> None:
    """Raise the error of a ``tell`` from a thread other than the system's."""
    if get_ident() != ref.kernel.thread:
        refuse_thread(ref)


def refuse_thread(ref: ActorRef[Never]) -> NoReturn:
    """Raise RuntimeError for a ``tell`` from another thread."""
    raise RuntimeError(
        f"tell() to {ref.path} was called from a foreign thread, expected the thread that runs the actor system; "
        "use system.tell_threadsafe(ref, message) there"
    )


NO_TYPES: Final[frozenset[type]] = frozenset()


class UnsentRequest(ABC):
    """Request to an actor of another node, without a way to go at once; `tell` or `send` is to be called."""

    __slots__ = ()

    @abstractmethod
    def tell(self) -> None:
        """Hand it over; it is a dead letter where there is no room."""

    def offer(self) -> bool:
        """Do as `tell`, unless there is no room now: then return False."""
        self.tell()
        return True

    @abstractmethod
    async def send(self) -> None:
        """Hand it over, waiting for room; cancelled, it was not handed over."""

    @abstractmethod
    def give_up(self, timeout: float) -> AskFailed | AskTimeoutError:
        """Return the error for its sender, cancelled in `send` since its time is over."""


class AskableRef(ActorRef[M_contra]):
    """Ref able to hand over how long the sender of a request waits for the reply."""

    __slots__ = ()

    @abstractmethod
    def request(self, request: Request) -> UnsentRequest | None:
        """Tell the message of ``request``, with its deadline where it can be taken; return the rest to do."""

    def is_known(self) -> bool:
        """Whether this node has to do with the node of the actor, beyond its name in a message."""
        return True

    def trouble(self) -> str:
        """Say the known trouble with the node of the actor, as the end of a sentence; "" for nothing."""
        return ""

    def put_nowait(self, message: M_contra) -> None:
        """Hand over a message, under every policy only if there is room.

        Raises WouldBlock where there is none, BrokenResourceError where nobody will ever take it.
        """
        tell_nowait(self, message)

    async def put_wait(self, message: M_contra) -> None:
        """Hand over a message, under every policy waiting for room; cancelled, it was not handed over.

        Raises BrokenResourceError where nobody will ever take it.
        """
        await self.send(message)

    def channel_statistics(self) -> ChannelStatistics | None:
        """Return how much waits where messages for the actor go from here; None where none ever does."""
        return None

    def has_told(self) -> bool:
        """Whether something was told by way of this ref, as far as it knows: of one for a reply, the reply."""
        return False

    def withdraw(self, ask: int) -> None:
        """Withdraw a request at the node of the actor; one of the own node is withdrawn itself."""


class OwnRef(AskableRef[M_contra]):
    """The common part: a ref without a node, equal to every other ref with its path and uid."""

    __slots__ = ()

    admitted: frozenset[type] = NO_TYPES
    """Classes of messages known to be of the actor's type, for bringers of some from the network."""

    @property
    @abstractmethod
    def kernel(self) -> KernelPort:
        """Common part of the system's actors."""

    @property
    @abstractmethod
    def uid(self) -> int:
        """The number of the actor, 64 random bits; 0 means whoever has the path."""

    def owner(self) -> Recipient | None:
        """Return the actor behind the ref; None when it is not there, or the ref never had one."""
        return None

    def message_type(self) -> object | None:
        """Return the message type of the ref; None where nothing says so."""
        return None

    @property
    def address(self) -> ActorAddress:
        return ActorAddress(self.kernel.name, self.path, uid=self.uid)

    def request(self, request: Request) -> None:
        cast("OwnRef[object]", self).tell(request.message)

    def request_of_stranger(self, request: Request) -> None:
        """Hand over a non-member's message handed on by an actor of this node; it waits where such messages wait."""
        self.request(request)

    def deliver(self, message: object) -> bool | None:
        """Hand over a message from the network; False when there is nobody. Never raises MailboxFull.

        None when there is no room now, and senders may wait for it: then the message was not taken.
        """
        cast("OwnRef[object]", self).tell(message)
        return True

    def deliver_request(self, request: Request) -> bool | None:
        """Hand over a request from the network, as `deliver`."""
        return self.deliver(request.message)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, OwnRef):
            return NotImplemented
        return self is other or (self.uid == other.uid and self.path == other.path and self.kernel is other.kernel)

    def __hash__(self) -> int:
        return hash((self.path, self.uid))


class LocalRef(OwnRef[M_contra]):
    """A ref to one spawned actor of the own system."""

    __slots__ = ("_mailbox", "_thread", "admitted", "cell")

    def __init__(self, cell: Recipient, mailbox: MessageQueue, thread: int) -> None:
        self.admitted = NO_TYPES
        self._mailbox = mailbox
        self._thread = thread
        self.cell = cell

    @property
    def kernel(self) -> KernelPort:
        return self.cell.kernel

    @property
    def path(self) -> str:
        return self.cell.path

    @property
    def uid(self) -> int:
        return self.cell.uid

    def owner(self) -> Recipient | None:
        return None if self.cell.ended else self.cell

    def message_type(self) -> object | None:
        return self.cell.message_type()

    @trio.lowlevel.enable_ki_protection
    def tell(self, message: M_contra) -> None:
        if get_ident() != self._thread:
            refuse_thread(self)
        mailbox = self._mailbox
        if len(mailbox.messages) < mailbox.limit:
            mailbox.messages.append(message)
            if mailbox.sleeper is not None:
                mailbox.wake()
        else:
            self._hand_in(message)

    @trio.lowlevel.enable_ki_protection
    def request(self, request: Request) -> None:
        if get_ident() != self._thread:
            refuse_thread(self)
        request.cell, request.waits = self.cell, True
        mailbox = self._mailbox
        if len(mailbox.messages) < mailbox.limit:  # not by `tell`: a call less for each ask, 0.3 %
            mailbox.messages.append(request)
            if mailbox.sleeper is not None:
                mailbox.wake()  # an actor that shares a task has nobody asleep
        else:
            self._hand_in(request)

    def request_of_stranger(self, request: Request) -> None:
        if self._mailbox.closed:
            self.cell.kernel.dead_letter(request, self, ACTOR_STOPPED)
        else:
            self.take_of_stranger(request)

    def take_of_stranger(self, request: Request) -> None:
        """Queue a message of a non-member; a dead letter where too many wait here, or too much on the node."""
        mailbox, kernel, origin = self._mailbox, self.cell.kernel, request.origin
        waiting = mailbox.flows.count(CROWD) if mailbox.flows else 0
        is_full = waiting >= mailbox.capacity and not mailbox.lets_wait
        request.queue(self.cell)
        if is_full and mailbox.overflow is not MailboxOverflowStrategy.drop_oldest:
            kernel.dead_letter(request, self, MAILBOX_FULL)
        elif origin is None or not mailbox.put_in_crowd(origin.sender, request, origin.cost, origin.allowance):
            kernel.dead_letter(request, self, STRANGERS_FULL, "" if origin is None else origin.fault)
        elif is_full and mailbox.flows:
            kernel.dead_letter(mailbox.flows.drop_oldest_of_crowd(), self, MAILBOX_FULL)

    @trio.lowlevel.enable_ki_protection
    def put_nowait(self, message: M_contra) -> None:
        if get_ident() != self._thread:
            refuse_thread(self)
        mailbox = self._mailbox
        if not mailbox.offer(message) and not (mailbox.make_room() and mailbox.offer(message)):
            if mailbox.closed:
                raise self._broken()
            raise trio.WouldBlock

    async def put_wait(self, message: M_contra) -> None:
        if get_ident() != self._thread:
            refuse_thread(self)
        if self._mailbox.is_full and self._is_own_handler():
            raise MailboxFull(self._own_refusal())
        if not await self._mailbox.put(message):
            raise self._broken()

    def channel_statistics(self) -> ChannelStatistics:
        mailbox = self._mailbox
        return replace(statistics_of(mailbox, is_open=True), current_buffer_used=len(mailbox))

    def _broken(self) -> trio.BrokenResourceError:
        return trio.BrokenResourceError(f"{self.path} has stopped")

    async def send(self, message: M_contra) -> None:
        if get_ident() != self._thread:
            refuse_thread(self)
        if self._mailbox.overflow is MailboxOverflowStrategy.reject:
            self.tell(message)
            await trio.lowlevel.checkpoint()
        elif self._mailbox.is_full and self._mailbox.lets_wait and self._is_own_handler():
            self.cell.kernel.counters.rejected += 1
            raise MailboxFull(self._own_refusal())
        else:
            await self.put(message)

    def _is_own_handler(self) -> bool:
        """Whether the present sender is an actor in its own handler, and would wait for the end of it."""
        return not self.cell.is_task_style and trio.lowlevel.current_task() is self.cell.task

    def _own_refusal(self) -> str:
        return (
            f"the mailbox of {self.path} is full, and only its own handler, which sends, can make room: "
            "tell, or send in a task of its own, with ctx.start_soon"
        )

    async def put(self, message: object) -> None:
        """Hand over a message of the actor's own, waiting for room whatever its policy says of others."""
        if self._mailbox.overflow is MailboxOverflowStrategy.drop_oldest:  # beside it there always is room
            cast("LocalRef[object]", self).tell(message)
        elif await self._mailbox.put(message):
            return
        else:
            self.cell.kernel.dead_letter(message, self, ACTOR_STOPPED)
        await trio.lowlevel.checkpoint()

    @property
    def mailbox(self) -> MessageQueue:
        """Mailbox of the actor."""
        return self._mailbox

    @trio.lowlevel.enable_ki_protection
    def deliver(self, message: object) -> bool | None:
        mailbox = self._mailbox
        if len(mailbox.messages) < mailbox.limit:
            mailbox.messages.append(message)
            if mailbox.sleeper is not None:
                mailbox.wake()
        elif mailbox.closed:
            return False
        elif not mailbox.offer(message) and not (mailbox.make_room() and mailbox.offer(message)):
            if mailbox.lets_wait:
                return None
            if not self._overflow(message):
                self.drop_full(message)
        return True

    def deliver_request(self, request: Request) -> bool | None:
        request.queue(self.cell)
        taken = self.deliver(request)
        if taken is False:
            request.leave()
        return taken

    def _hand_in(self, message: object) -> None:
        """Tell the first message, or one without room, or without its actor any more."""
        if self._mailbox.closed:
            self.cell.kernel.dead_letter(message, self, ACTOR_STOPPED)
        elif not self._mailbox.offer(message) and not self._overflow(message):
            self.cell.kernel.counters.rejected += 1
            raise MailboxFull(self._refusal())

    def _overflow(self, message: object) -> bool:
        """Deal with a message before a full mailbox; False when the sender must be told."""
        mailbox = self._mailbox
        if mailbox.make_room() and mailbox.offer(message):
            return True
        match mailbox.overflow:
            case MailboxOverflowStrategy.drop_new:
                self.drop_full(message)
            case MailboxOverflowStrategy.drop_oldest:
                self.drop_full(mailbox.push_out_oldest(message))
            case MailboxOverflowStrategy.reject | MailboxOverflowStrategy.back_pressure:
                return False
        return True

    def drop_full(self, message: object) -> None:
        """Make a dead letter of a message without room."""
        self.cell.kernel.dead_letter(message, self, MAILBOX_FULL)

    def _refusal(self) -> str:
        full = f"the mailbox of {self.path} is full"
        if self._mailbox.overflow is MailboxOverflowStrategy.reject:
            return f"{full} and rejects"
        return f"{full}: use `await ref.send(message)`, which waits for room"


def tell_nowait(ref: ActorRef[M_contra], message: M_contra) -> None:
    """Tell for code that knows of no other way. Raises WouldBlock where the mailbox refuses."""
    try:
        ref.tell(message)
    except MailboxFull:
        raise trio.WouldBlock from None


def tell_or_drop(ref: ActorRef[M_contra], message: M_contra) -> None:
    """Tell where no sender can take a refusal: a message without room is a dead letter."""
    try:
        ref.tell(message)
    except MailboxFull:
        if not isinstance(ref, OwnRef):
            raise
        ref.kernel.counters.rejected -= 1
        ref.kernel.dead_letter(message, ref, MAILBOX_FULL)


def request_or_drop(ref: AskableRef[Never], request: Request) -> None:
    """Hand a request over where no sender can take a refusal: one without room is a dead letter."""
    try:
        unsent = ref.request(request)
        if unsent is not None:
            unsent.tell()
    except MailboxFull:
        if not isinstance(ref, OwnRef):
            raise
        ref.kernel.counters.rejected -= 1
        ref.kernel.dead_letter(request, ref, MAILBOX_FULL)
