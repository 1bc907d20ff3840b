"""Abilities of an actor's code besides answering, and the making of actors."""

from __future__ import annotations

import logging
import math
from collections.abc import Awaitable, Callable, Hashable, MutableMapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Generic, Never, TypeVar, TypeVarTuple, cast, overload

import trio

from casty.config import Mailbox
from casty.errors import ActorStoppedError
from casty.refs import ActorRef, EntityKey, EntityRef, check_ref
from casty.runtime.actor.actor_ports import Heir
from casty.runtime.actor.cell import Cell
from casty.runtime.actor.child_end import child_of, stopped
from casty.runtime.actor.children import Children
from casty.runtime.actor.fast_shared_tasks import SharedQueue, SharedTasks
from casty.runtime.actor.sharing_cell import SharingCell
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.actor.watching import Watching, watching
from casty.runtime.behavior.arguments import (
    check_once,
    check_reply_error,
    check_spawn,
    check_timer_key,
    first_delay,
    refuse_own_watch,
)
from casty.runtime.behavior.behavior import Behavior, check_composed
from casty.runtime.behavior.signatures import (
    check_adapter,
    check_async_function,
    check_piped,
    expect_awaitable,
)
from casty.runtime.deadlines import check_delay
from casty.runtime.messaging import ask as asking
from casty.runtime.messaging.entity_ref import entity_ref, singleton_ref
from casty.runtime.messaging.mailbox import MessageQueue
from casty.runtime.messaging.named_refs import AdapterRef
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.messaging.requests import forward

if TYPE_CHECKING:
    from casty.runtime.system.system import ActorSystem

M = TypeVar("M")
N = TypeVar("N")
O = TypeVar("O")  # noqa: E741  # the message type of another actor
R = TypeVar("R")
T = TypeVar("T")
Ts = TypeVarTuple("Ts")

CLUSTER_PATH: Final = "/_cluster"
"""Home of the actors of the cluster: their messages are the cluster's, not those of an actor of the user's."""

logger = logging.getLogger("casty.actor")
cluster_logger = logging.getLogger("casty.cluster")

OWN_MAILBOX = Mailbox()
"""For casty's own actors: a bound meant for the users' must not starve a cluster."""


class LogLine(str):
    """Line of a log, with a pattern in its place where there are arguments."""

    __slots__ = ("pattern",)

    pattern: str

    def __str__(self) -> str:
        return self

    def __mod__(self, arguments: object, /) -> str:
        return str.__mod__(self.pattern, arguments)


class ActorLog(logging.LoggerAdapter[logging.Logger]):
    """A logger whose lines begin with the actor's path; ``extra`` holds it as ``actor_path``."""

    def __init__(self, path: str) -> None:
        super().__init__(cluster_logger if path.startswith(CLUSTER_PATH) else logger, {"actor_path": path})
        self._path = path

    def __repr__(self) -> str:
        return f"<ActorLog {self.logger.name} of {self._path}>"

    def process(self, msg: object, kwargs: MutableMapping[str, object]) -> tuple[object, MutableMapping[str, object]]:
        line = f"[{self._path}] {msg}"
        if "%" in self._path:  # of an entity's id: it is no part of the format
            line = LogLine(line)
            line.pattern = f"[{self._path.replace('%', '%%')}] {msg}"
        return line, {**kwargs, "extra": self.extra}


class ActorContext(Generic[M]):
    """An actor's view of itself. For use in its own handlers and tasks only.

    Made by casty, and handed to the actor's code.
    """

    __slots__ = ("_cell", "_log")

    def __init__(self, cell: Cell) -> None:
        self._cell = cell
        self._log: ActorLog | None = None

    def __repr__(self) -> str:
        return f"<ActorContext of {self._cell.path}>"

    @property
    def self(self) -> ActorRef[M]:
        """The actor's own ref."""
        return self._cell.ref

    @property
    def system(self) -> ActorSystem:
        """System of the actor."""
        return cast("ActorSystem", self._cell.kernel.system)

    @property
    def deadline(self) -> float:
        """Time at which the sender of the message in hand gives up its ask, on Trio's clock; infinity for a plain tell.

        It comes with the request, from other nodes too. For ``trio.fail_at(ctx.deadline)``, or to see how
        much time an ask of one's own may take.
        """
        request = self._cell.life.request_in_hand
        return math.inf if request is None else request.deadline

    @property
    def log(self) -> ActorLog:
        """Logger with the name of the actor."""
        if self._log is None:
            self._log = ActorLog(self._cell.path)
        return self._log

    @property
    def parent(self) -> ActorRef[Never] | None:
        """Spawner of this actor; None at the root."""
        parent = self._cell.home.parent
        return None if parent is None else parent.ref

    @property
    def children(self) -> tuple[ActorRef[Never], ...]:
        """The living children in the order of their spawns."""
        family = self._cell.family
        return () if family is None else tuple(child.ref for child in family.children.values())

    def spawn(self, behavior: Behavior[N], name: str, *, mailbox: Mailbox | None = None) -> ActorRef[N]:
        """Start a child and return its ref; it runs as soon as this actor waits for anything.

        Parameters:
            behavior: Behaviour of the child.
            name: Name among its siblings, text without ``/?#`` and not beginning with ``_``.
            mailbox: Bound of its mailbox; None takes the one in the system's config for its path.

        Returns:
            The child's ref.

        Raises:
            ValueError: The name is bad, or an actor yet to finish stopping has it.
            ActorStoppedError: This actor is stopping.
            TypeError: ``behavior`` is no behaviour.
            ConfigError: ``mailbox`` is no `Mailbox`.
        """
        return spawn(self._cell.own_family(), behavior, name, mailbox, internal=self._cell.path.startswith("/_"))

    def stop(self, ref: ActorRef[Never]) -> None:
        """Stop a local actor after its message in hand: a child, another, or this one.

        Parameters:
            ref: An actor of this system: a child, another, or this one.

        Raises:
            TypeError: ``ref`` is no ref.
            ValueError: ``ref`` belongs to another node.
        """
        self.system.stop(ref)

    async def stopped(self, child: ActorRef[Never], *, drain: float = 0.0) -> None:
        """Stop a child and wait until it has ended, with all below it: then its name is free for another one.

        In a handler, the actor takes no message while it waits: messages for the child wait with the rest, and go to
        the next child of that name. A request of the ending child to this actor fails at once. Work left unfinished by
        the child is cut off after ``stop_timeout``, so the wait is bounded unless something shields itself.

        Parameters:
            child: A child of this actor; an ended one, or one stopped before, is waited for all the same.
            drain: Seconds for the child to first handle the messages waiting in its mailbox. At 0 it stops after its
                message in hand. The rest becomes dead letters.

        Raises:
            TypeError: ``child`` is no ref.
            ValueError: ``child`` is no child of this actor, or ``drain`` is negative or not finite.
        """
        cell = child_of(self._cell, child)
        if cell is not None and trio.lowlevel.current_task() is self._cell.task and not self._cell.is_task_style:
            asking.refuse_waiting(self._cell, cell)
        await stopped(cell, drain)

    def watch(self, ref: ActorRef[Never]) -> None:
        """Send this actor Terminated when the one behind ``ref`` ends, or if it has ended.

        It comes once, like a message, after everything told before the end, and names ``ref`` itself.

        Parameters:
            ref: Actor to watch, on another node too where the system is in a cluster. Watching it again changes
                nothing.

        Raises:
            TypeError: ``ref`` is no ref.
            ValueError: ``ref`` is this actor's own, is no actor, or belongs to another node and there is no cluster.
        """
        self._cell.kernel.check_thread(f"watch {ref!r}")
        self._cell.own_watches().watch(ref)

    def unwatch(self, ref: ActorRef[Never]) -> None:
        """Forget a watch: its Terminated does not arrive any more, though it may be on its way.

        Parameters:
            ref: The watched ref; one not watched changes nothing.

        Raises:
            TypeError: ``ref`` is no ref.
        """
        check_ref(ref, "unwatch")
        if self._cell.watches is not None:
            self._cell.watches.unwatch(ref)

    def watching(self, ref: ActorRef[Never]) -> AbstractAsyncContextManager[Watching]:
        """Watch for the time of a block, ``async with ctx.watching(ref) as block``, cancelled on the death.

        After such an end ``block.terminated`` is the Terminated, otherwise None; the actor gets no
        message of it. Cancelled at its first checkpoint when the actor has ended before.

        Parameters:
            ref: Actor to watch, on another node too where the system is in a cluster.

        Returns:
            An async context manager; it yields a `Watching`.

        Raises:
            TypeError: ``ref`` is no ref.
            ValueError: ``ref`` is this actor's own; on entering, also where it cannot be watched.
        """
        check_ref(ref, "watching")
        if isinstance(ref, OwnRef) and ref.owner() is self._cell:
            refuse_own_watch(self._cell.path)
        return watching(self._cell.kernel, ref)

    def start_soon(self, async_fn: Callable[[*Ts], Awaitable[object]], *args: *Ts) -> None:
        """Run an async function beside the handlers: cancelled when the actor stops or is restarted.

        An exception out of it is a failure of the actor.

        Parameters:
            async_fn: Async function; not a coroutine.
            *args: Its positional arguments.

        Raises:
            TypeError: ``async_fn`` is no async function.
            ActorStoppedError: This actor is stopping.
        """
        check_async_function(async_fn, "start_soon")
        self._cell.own_family().start_task(async_fn, args)

    @overload
    def pipe_to_self(
        self,
        async_fn: Callable[[*Ts], Awaitable[M]],
        *args: *Ts,
        mapper: None = None,
        on_failure: Callable[[Exception], M] | None = None,
    ) -> None: ...

    @overload
    def pipe_to_self(
        self,
        async_fn: Callable[[*Ts], Awaitable[T]],
        *args: *Ts,
        mapper: Callable[[T], M],
        on_failure: Callable[[Exception], M] | None = None,
    ) -> None: ...

    def pipe_to_self(
        self,
        async_fn: Callable[..., Awaitable[object]],
        *args: object,
        mapper: Callable[..., object] | None = None,
        on_failure: Callable[[Exception], object] | None = None,
    ) -> None:
        """Run an async function beside the handlers and get its result as a message.

        Parameters:
            async_fn: Async function; not a coroutine.
            *args: Its positional arguments.
            mapper: Plain function from the result to a message; None takes the result as it is.
            on_failure: Plain function from an exception to a message; None makes the exception a failure of the
                actor.

        Raises:
            TypeError: ``async_fn`` is no async function, or ``mapper`` or ``on_failure`` no plain one.
            ActorStoppedError: This actor is stopping.
        """
        check_piped(async_fn, mapper, on_failure)
        self._cell.own_family().start_task(_pipe, (self._cell, async_fn, args, mapper, on_failure))

    def schedule_once(self, message: M, delay: float, *, key: Hashable = None) -> Hashable:
        """Get ``message`` once, in ``delay`` seconds, ahead of the mailbox.

        A timer replaces the one with the same key; the replaced one never arrives. Keys are private to the actor. All
        timers end with the life of the actor.

        Parameters:
            message: Message to get.
            delay: Seconds, at least 0.
            key: Name of the timer; None makes it a timer of its own.

        Returns:
            The key, for `cancel_timer`.

        Raises:
            ValueError: ``delay`` is no finite number of at least 0.
            TypeError: ``key`` is not hashable.
        """
        check_once(delay, key)
        return self._cell.own_timers().once(key, message, delay)

    def schedule_tick(
        self, message: M, interval: float, *, initial_delay: float | None = None, key: Hashable = None
    ) -> Hashable:
        """Get ``message`` again and again at a fixed rate; otherwise as `schedule_once`.

        An actor too slow for its ticks sees one, not all the due ones.

        Parameters:
            message: Message to get.
            interval: Seconds from tick to tick, above 0.
            initial_delay: Seconds until the first tick, at least 0; None is one interval.
            key: Name of the timer; None makes it a timer of its own.

        Returns:
            The key, for `cancel_timer`.

        Raises:
            ValueError: ``interval`` or ``initial_delay`` makes no sense.
            TypeError: ``key`` is not hashable.
        """
        first = first_delay("interval", interval, initial_delay, key)
        return self._cell.own_timers().tick(key, message, interval, first)

    def schedule_with_fixed_delay(
        self, message: M, delay: float, *, initial_delay: float | None = None, key: Hashable = None
    ) -> Hashable:
        """Get ``message`` again and again, each time a delay after the actor took the one before.

        A slow actor is given its pause in full; otherwise as `schedule_tick`.

        Parameters:
            message: Message to get.
            delay: Seconds of pause, above 0.
            initial_delay: Seconds until the first message, at least 0; None is one delay.
            key: Name of the timer; None makes it a timer of its own.

        Returns:
            The key, for `cancel_timer`.

        Raises:
            ValueError: ``delay`` or ``initial_delay`` makes no sense.
            TypeError: ``key`` is not hashable.
        """
        first = first_delay("delay", delay, initial_delay, key)
        return self._cell.own_timers().with_fixed_delay(key, message, delay, first)

    def cancel_timer(self, key: Hashable) -> None:
        """Cancel a timer: it does not arrive any more, though it may be due already.

        Parameters:
            key: Key returned at the start of the timer; an unknown key changes nothing.

        Raises:
            TypeError: ``key`` is not hashable.
        """
        check_timer_key(key)
        if self._cell.timers is not None:
            self._cell.timers.cancel(key)

    def cancel_all_timers(self) -> None:
        """Cancel every timer of the actor; the receive time-out stays."""
        if self._cell.timers is not None:
            self._cell.timers.cancel_all()

    def is_timer_active(self, key: Hashable) -> bool:
        """Look whether a timer will still arrive.

        Parameters:
            key: Key returned at the start of the timer.

        Returns:
            False for one already arrived, cancelled, or never started.

        Raises:
            TypeError: ``key`` is not hashable.
        """
        check_timer_key(key)
        return self._cell.timers is not None and self._cell.timers.is_active(key)

    def set_receive_timeout(self, seconds: float, message: M) -> None:
        """Get ``message`` whenever the actor has waited for so long for a message, until it is cancelled.

        The wait begins anew after each message and signal handled by the actor, this one too, so it comes again while
        nothing else does. Setting it replaces the one before; the replaced one never arrives. A restart cancels it.

        Parameters:
            seconds: Seconds of quiet, above 0.
            message: Message to get.

        Raises:
            ValueError: ``seconds`` is no finite number above 0.
        """
        check_delay("seconds", seconds, zero=False)
        self._cell.own_timers().set_receive_timeout(message, seconds)

    def cancel_receive_timeout(self) -> None:
        """Cancel the receive time-out: it does not arrive any more."""
        if self._cell.timers is not None:
            self._cell.timers.cancel_receive_timeout()

    def stash_buffer(self, capacity: int) -> StashBuffer[M]:
        """Make an empty stash of this actor, as ``Behaviors.with_stash`` gives one, for tasks and setups.

        Parameters:
            capacity: Bound of its messages, at least 1.

        Returns:
            The stash.

        Raises:
            ValueError: ``capacity`` is below 1.
        """
        return StashBuffer(self._cell, capacity)

    def message_adapter(self, fn: Callable[[N], M], message_type: type[N] | None = None) -> ActorRef[N]:
        """Make a second ref of this actor, for messages turned into its own by a function.

        Make it once, in the setup: it lives as long as the actor.

        Parameters:
            fn: Plain function from a message to one of the actor's own. It runs when the message is told and must not
                wait or look at the actor's state; its exception is a failure of this actor.
            message_type: Type of the adapter's messages, where the annotation of ``fn`` does not say it.

        Returns:
            The second ref.

        Raises:
            TypeError: ``fn`` cannot be called, or is an async function.
            ActorStoppedError: This actor is stopping.
        """
        check_adapter(fn)
        cell = self._cell
        if cell.stopping:
            raise ActorStoppedError(f"cannot make an adapter of {cell.path}: it is stopping")
        uid = cell.kernel.next_uid()
        path = f"{cell.path}/_adapter-{cell.kernel.next_serial()}"
        ref: AdapterRef[N] = AdapterRef(cell.ref, path, uid, fn, message_type)
        cell.add_adapter(cast("AdapterRef[Never]", ref))
        return ref

    async def ask(self, ref: ActorRef[O], factory: Callable[[ActorRef[R]], O], *, timeout: float = 5.0) -> R:
        """Ask as with ``system.ask``. The actor takes no message while it waits in a handler.

        Parameters:
            ref: Actor to ask, on any node.
            factory: Function of the ref for the reply; it returns the request.
            timeout: Seconds to wait for the reply; ``math.inf`` is no limit.

        Returns:
            The reply.

        Raises:
            AskTimeoutError: No reply came within ``timeout``.
            AskFailed: No reply will come; at once where the actor asks itself, or would be the last in a circle of
                actors waiting for each other.
            TypeError: ``factory`` is the message itself, or ``ref`` no ref.
            ValueError: ``timeout`` is no number.
        """
        return await asking.ask(self._cell.kernel, ref, factory, timeout)

    def entity(self, key: EntityKey[O], entity_id: str) -> EntityRef[O]:
        """Return the ref of an entity, wherever it lives; nothing is sent.

        Parameters:
            key: Kind of the entity.
            entity_id: Its id, 1 to 255 characters.

        Returns:
            The ref.

        Raises:
            ValueError: The id is no text, of another length, or with a lone surrogate.
            TypeError: ``key`` is no `EntityKey`.
            ConfigError: ``key`` is that of a singleton.
            RuntimeError: The system is no node of a cluster.
            ActorStoppedError: The node has ended.
        """
        return entity_ref(self._cell.kernel, key, entity_id)

    def singleton(self, key: EntityKey[O]) -> EntityRef[O]:
        """Return the ref of a singleton, wherever it lives; nothing is sent.

        Parameters:
            key: Key given to ``Behaviors.singleton``.

        Returns:
            The ref.

        Raises:
            TypeError: ``key`` is no `EntityKey`.
            ConfigError: ``key`` is that of entities.
            RuntimeError: The system is no node of a cluster.
            ActorStoppedError: The node has ended.
        """
        return singleton_ref(self._cell.kernel, key)

    def forward(self, ref: ActorRef[O], message: O) -> None:
        """Tell ``ref`` the message in hand, along with the asker's deadline.

        The request can still be withdrawn there. A full mailbox with the policy to raise makes a dead letter, and so
        does a message impossible to encode for another node: a forwarder has nobody to tell. Another message is told as
        it is.

        Parameters:
            ref: Actor to handle it, on any node.
            message: The message in hand.

        Raises:
            TypeError: ``ref`` is no ref.
        """
        check_ref(ref, "forward")
        forward(self._cell.kernel, ref, message, self._cell.request_of(message))

    def reply_error(self, reply_to: ActorRef[Never], error: Exception | str) -> None:
        """Answer an ask with an error: the asker gets AskFailed with this text, and this exception as its cause.

        Parameters:
            reply_to: The ref in the request.
            error: The fault. Of an exception, the name of the type and the text travel to other nodes; a text is at
                most 1,024 characters of one.

        Raises:
            TypeError: ``reply_to`` is no ref, or ``error`` neither an exception nor a text.
        """
        check_reply_error(reply_to, error)
        asking.refuse(self._cell.kernel, reply_to, error)


async def _pipe(
    cell: Cell,
    async_fn: Callable[..., Awaitable[object]],
    args: tuple[object, ...],
    mapper: Callable[[object], object] | None,
    on_failure: Callable[[Exception], object] | None,
) -> None:
    try:
        result = await expect_awaitable(async_fn(*args), async_fn, "pipe_to_self")
    except Exception as error:  # handed to the function that the actor gave for it
        if on_failure is None:
            raise
        message = on_failure(error)
    else:
        message = result if mapper is None else mapper(result)
    await cell.ref.put(message)


@dataclass(frozen=True, slots=True)
class ActorParts:
    """Parts of an actor that the layers above may choose."""

    make_context: Callable[[Cell], object] = ActorContext
    tasks: SharedTasks | None = None
    """Tasks to be shared with others of the family; None gives it its own."""
    heir: Heir | None = None
    """Taker of the messages left at its end, told of it first; None makes dead letters of them."""


def spawn(home: Children, behavior: Behavior[M], name: str, mailbox: Mailbox | None, *, internal: bool) -> ActorRef[M]:
    """Start an actor in ``home`` and return its ref; names beginning with ``_`` are internal."""
    return cast("ActorRef[M]", spawn_cell(home, behavior, name, mailbox, ActorParts(), internal=internal).ref)


def spawn_cell(
    home: Children,
    behavior: Behavior[Never],
    name: str,
    mailbox: Mailbox | None,
    parts: ActorParts,
    *,
    internal: bool,
) -> Cell:
    """Start an actor in ``home``, with a context of its own kind."""
    kernel = home.kernel
    check_spawn(behavior, name, mailbox, internal=internal)
    path = f"{'' if home.parent is None else home.parent.path}/{name}"
    home.check_open(f"spawn {path}")
    if path in kernel.targets:
        raise ValueError(
            f"there is an actor at {path} already; its name is free again when it has stopped: "
            "a parent stops a child and waits with `await ctx.stopped(child)`"
        )
    check_composed(behavior, has_journal=kernel.config.journal is not None)
    if kernel.hooks.on_spawn is not None:
        message_type = behavior.message_type()
        if message_type is not None:
            kernel.hooks.on_spawn(message_type)
    if mailbox is None:
        mailbox = OWN_MAILBOX if internal else kernel.config.mailbox_for(path)
    uid, tasks, make_context = kernel.next_uid(), parts.tasks, parts.make_context
    if tasks is None:
        cell = Cell(home, path, behavior, MessageQueue(mailbox), kernel, uid, make_context, None, parts.heir)
        kernel.targets[path] = cell.ref
        home.add(cell, cell.run)
        return cell
    queue = SharedQueue(mailbox, tasks)
    sharing = SharingCell(home, path, behavior, queue, kernel, uid, make_context, tasks, parts.heir)
    kernel.targets[path] = sharing.ref
    tasks.adopt(sharing)
    return sharing
