"""Needs of refs, asks and mailboxes towards the kernel, an actor and a far ref, as Protocols.

Owns no behaviour. `casty.runtime.system.kernel.Kernel` is the kernel, `casty.runtime.actor.cell.Cell` the actor, and
refs to other nodes are the cluster's; messaging stands below all three and names none of them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Never, Protocol

import trio

from casty.address import ActorAddress, UniqueAddress
from casty.config import SystemConfig
from casty.refs import ActorRef
from casty.runtime.counters import Counters
from casty.runtime.deadlines import TimerQueue
from casty.runtime.events import DeadLetterReason, MessageSummary
from casty.runtime.hooks import KernelHooks
from casty.runtime.tokens import Tokens


class Publisher(Protocol):
    """Event stream, for publishers."""

    def wants(self, event_type: type[object]) -> bool:
        """Return whether anybody is told events of exactly this type."""
        ...

    def publish(self, event: object) -> None:
        """Tell all subscribers; never raises."""
        ...

    def forget(self, handler: ActorRef[Never]) -> None:
        """End every subscription of a stopped actor."""
        ...


class FarRef(Protocol):
    """Ref to an actor of another node, for a request sent there."""

    @property
    def address(self) -> ActorAddress:
        """Address of the actor."""
        ...

    def is_known(self) -> bool:
        """Whether this node has to do with the node of the actor."""
        ...

    def trouble(self) -> str:
        """Return the known trouble with the node of the actor, in words; "" for nothing."""
        ...

    def withdraw(self, ask: int) -> None:
        """Withdraw a request at the node of the actor."""
        ...


class KernelPort(Protocol):
    """The kernel, for refs, asks and mailboxes."""

    @property
    def name(self) -> str:
        """Name of the system."""
        ...

    @property
    def config(self) -> SystemConfig:
        """Settings of the system."""
        ...

    @property
    def thread(self) -> int:
        """Identity of the thread of the system."""
        ...

    @property
    def closed(self) -> bool:
        """Whether the system has ended."""
        ...

    @property
    def now(self) -> Callable[[], float]:
        """Trio's clock."""
        ...

    @property
    def tokens(self) -> Tokens:
        """Source of numbers beyond anybody's guess."""
        ...

    @property
    def hooks(self) -> KernelHooks:
        """Hooks of the cluster."""
        ...

    @property
    def counters(self) -> Counters:
        """Totals, for the parts of the system that add to them."""
        ...

    @property
    def timer_queue(self) -> TimerQueue:
        """Every deadline of the system."""
        ...

    @property
    def event_stream(self) -> Publisher:
        """Event stream of the system."""
        ...

    def check_thread(self, what: str) -> None:
        """Raise RuntimeError in a foreign thread."""
        ...

    def next_uid(self) -> int:
        """Return a new number of 64 random bits."""
        ...

    def next_serial(self) -> int:
        """Return a number unique in this system."""
        ...

    def target(self, path: str, uid: int) -> ActorRef[Never] | None:
        """Return the ref behind a path, if it is the one with ``uid``; 0 is any."""
        ...

    def dead_letter(
        self,
        message: object,
        ref: ActorRef[Never],
        reason: DeadLetterReason,
        particulars: str = "",
        *,
        shown: MessageSummary | None = None,
    ) -> None:
        """Count and publish a message that nobody will handle, and refuse the asks in it."""
        ...

    def summary_of(self, message: object, asker: UniqueAddress | None) -> MessageSummary | None:
        """Return a dead letter's view of a request; None for the message itself."""
        ...

    def note_relayed(
        self, ask: int, far: tuple[FarRef, ...], asker: UniqueAddress, reply_to: ActorRef[Never] | None
    ) -> None:
        """Remember for some time where a request of another node was handed on to."""
        ...


class MailboxPort(Protocol):
    """Mailbox, for users that do not put messages into it."""

    @property
    def sleeper(self) -> trio.lowlevel.Task | None:
        """Task waiting for a message and not woken yet."""
        ...

    @property
    def closed(self) -> bool:
        """Whether it takes no messages any more."""
        ...

    def put_notice(self, notice: object) -> None:
        """Queue the end of a watched actor, or the own end."""
        ...

    def note_withdrawn(self) -> None:
        """Count a request withdrawn during its wait."""
        ...

    def withdrawn_taken(self) -> None:
        """Take note of a withdrawn request out of the queue."""
        ...

    def __len__(self) -> int: ...


class Watcher(Protocol):
    """Receiver of the news of an actor's end."""

    def signal(self, signal: object, /) -> None:
        """Take the end."""
        ...


class WatchedBy:
    """Watchers of one actor, by a number of each; no dict before the first."""

    __slots__ = ("watchers",)

    watchers: dict[int, Watcher] | None

    def add_watcher(self, uid: int, watcher: Watcher) -> None:
        """Add ``watcher``, under a number of its own, to those told of the actor's end."""
        if self.watchers is None:
            self.watchers = {}
        self.watchers[uid] = watcher

    def remove_watcher(self, uid: int) -> None:
        """Forget a watcher."""
        if self.watchers is not None:
            self.watchers.pop(uid, None)


class Recipient(Protocol):
    """Actor, for its refs and for others naming it."""

    @property
    def kernel(self) -> KernelPort:
        """Common part of the actors of its system."""
        ...

    @property
    def path(self) -> str:
        """Path of it."""
        ...

    @property
    def uid(self) -> int:
        """The number of this actor, 64 random bits."""
        ...

    @property
    def ref(self) -> ActorRef[object]:
        """Its own ref."""
        ...

    @property
    def context(self) -> object:
        """Context of its code."""
        ...

    @property
    def parent(self) -> Recipient | None:
        """Spawner of it; None at the root."""
        ...

    @property
    def mailbox(self) -> MailboxPort:
        """Messages waiting for it."""
        ...

    @property
    def task(self) -> trio.lowlevel.Task | None:
        """Task of its code."""
        ...

    @property
    def watchers(self) -> dict[int, Watcher] | None:
        """Watchers of its end, by number; None where there never was one."""
        ...

    @property
    def ended(self) -> bool:
        """Whether it has ended."""
        ...

    @property
    def stop_requested(self) -> bool:
        """Whether it is to stop."""
        ...

    @property
    def is_internal(self) -> bool:
        """Whether it is one of casty's own."""
        ...

    @property
    def is_task_style(self) -> bool:
        """Whether its code reads an inbox, and so may take messages while it waits."""
        ...

    @property
    def waits_for_children(self) -> bool:
        """Whether only its children keep it from ending."""
        ...

    def message_type(self) -> object | None:
        """Return its message type; None where nothing says so."""
        ...

    def signal(self, signal: object) -> None:
        """Queue ``signal`` before its next message; the end of another behind those there are."""
        ...

    def stop(self) -> None:
        """Stop it after the message in hand."""
        ...

    def kill(self) -> None:
        """Cancel whatever it does, its clean-up included."""
        ...

    async def until_ended(self) -> None:
        """Wait until it has ended."""
        ...

    def fail_from_outside(self, error: Exception) -> None:
        """Make ``error`` its failure; ends the message in hand."""
        ...

    def add_watcher(self, uid: int, watcher: Watcher) -> None:
        """Add ``watcher``, under a number of its own, to those told of its end."""
        ...

    def remove_watcher(self, uid: int) -> None:
        """Forget a watcher."""
        ...
