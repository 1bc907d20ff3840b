"""One actor from spawn to end: a task, a kill scope, a channel, and the loop between them.

The loop drains the mailbox in bounded batches with one checkpoint each. Signals (stop, Terminated,
timers, failures of tasks) wait on a list of their own that the loop looks at before each message, so
they overtake the mailbox; a parked loop is woken by a WAKE in its channel.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Never

import trio

from casty.config import MailboxOverflowStrategy
from casty.runtime import behavior as forms
from casty.runtime.behavior import SAME, STOPPED, UNHANDLED, Behavior
from casty.runtime.events import ACTOR_STOPPED, MAILBOX_FULL, ActorStarted, ActorStopped, Terminated, UnhandledMessage
from casty.runtime.family import Family
from casty.runtime.inbox import Inbox
from casty.runtime.mailbox import BATCH_MESSAGES, BATCH_SECONDS, WAKE, MailboxChannel
from casty.runtime.ref import LocalRef
from casty.runtime.signals import STOP, ActorTimer, Failure
from casty.runtime.supervisor import report_cut, report_failure
from casty.runtime.timers import Entry
from casty.runtime.watching import unwatch_all

if TYPE_CHECKING:
    from casty.refs import ActorRef, ServiceKey
    from casty.runtime.context import ActorContext
    from casty.runtime.kernel import Kernel

BEHAVIOR_DEPTH_MAX: Final = 64
"""Wrappers and set-ups around one behaviour; beyond it, they are taken for an endless chain."""
DEAD_LETTERS_AT_ONCE: Final = 256
"""Dead letters of a stopping actor between two checkpoints."""


@dataclass(slots=True, eq=False, repr=False)
class Cell:
    """The state of one actor. Only its own task runs its code."""

    home: Family
    path: str
    behavior: Behavior[Never]
    mailbox: MailboxChannel
    kernel: Kernel
    uid: int
    ref: LocalRef[object] = field(init=False)
    context: ActorContext[object] = field(init=False)
    control: list[object] = field(default_factory=list[object])
    held: object = WAKE
    """A message that was taken and not handled yet, because a signal goes first."""
    family: Family | None = None
    timers: dict[Hashable, ActorTimer] | None = None
    adapters: list[str] | None = None
    watchers: dict[int, Cell] | None = None
    watching: dict[ActorRef[Never], None] | None = None
    waiters: trio.Event | None = None
    failure: BaseException | None = None
    stopping: bool = False
    ended: bool = False
    _handler: forms.Handler | None = None
    _main: forms.Main | None = None
    _inbox: Inbox[object] | None = None
    _hooks: list[forms.Lifecycle] | None = None
    _services: list[ServiceKey[Never]] | None = None
    _started: bool = False
    _stop_requested: bool = False
    _task: trio.lowlevel.Task | None = None
    _kill_scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    _cleanup_scope: trio.CancelScope | None = None
    _cut: Entry | None = None

    def __post_init__(self) -> None:
        self.ref = LocalRef(self, self.mailbox.sender.send_nowait, self.kernel.thread)
        self.kernel.actors += 1

    def __repr__(self) -> str:
        state = "ended" if self.ended else "stopping" if self.stopping else "running" if self._started else "starting"
        return f"<Cell {self.path} {state} queued={len(self.mailbox)}>"

    # What others ask of it

    def signal(self, signal: object) -> None:
        """Have the actor see ``signal`` before its next message."""
        if not self.stopping:
            self.control.append(signal)
            self.mailbox.wake()

    def stop(self) -> None:
        """Have the actor stop after the message in hand, which has ``stop_timeout`` to finish."""
        if self._stop_requested or self.stopping:
            return
        self._stop_requested = True
        if self._inbox is not None and not self._inbox.used:
            self._kill_scope.cancel()
        elif self._inbox is not None or not self.mailbox.parked:
            self._cut_later()
        self.signal(STOP)

    def kill(self) -> None:
        """Cancel whatever the actor does, its clean-up included."""
        self._kill_scope.cancel()
        if self._cleanup_scope is not None:
            self._cleanup_scope.cancel()

    def fail_from_outside(self, error: Exception) -> None:
        """Make ``error``, of a task or an adapter of the actor, the actor's failure."""
        if self.stopping:
            report_failure(self, error)
        elif self._inbox is None:
            self._cut_later()
            self.signal(Failure(error))
        else:
            self._fail(error)
            self._kill_scope.cancel()

    def overflow(self, message: object) -> bool:
        """Deal with a message that found the mailbox full; False when the sender must be told."""
        match self.mailbox.overflow:
            case MailboxOverflowStrategy.drop_new:
                self.drop_full(message)
            case MailboxOverflowStrategy.drop_oldest:
                oldest = self.mailbox.push_out_oldest(message)
                if oldest is not WAKE:
                    self.drop_full(oldest)
            case MailboxOverflowStrategy.reject:
                return False
        return True

    def drop_full(self, message: object) -> None:
        """Make a dead letter of a message that found no room."""
        self.kernel.dead_letter(message, self.ref, MAILBOX_FULL)

    async def until_ended(self) -> None:
        """Wait until the actor has ended."""
        if self.waiters is None:
            self.waiters = trio.Event()
        await self.waiters.wait()

    def own_family(self) -> Family:
        """Return the family, founding it first where there is none."""
        if self.family is None:
            self.family = Family(self.kernel, self)
            if self.stopping or self._task is None:
                self.family.closed = True
            else:
                self.family.open_beside(self._task)
        return self.family

    # Its life

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Be the actor's task."""
        self._task = trio.lowlevel.current_task()
        try:
            with self._kill_scope:
                if not self._stop_requested and await self._become(self.behavior):
                    if self._main is None:
                        await self._receive()
                    if self._main is not None and not self._stop_requested:
                        self._inbox = Inbox(self)
                        await self._main(self.context, self._inbox)
        except Exception as error:  # the supervisor's boundary: an actor's failure ends here
            self._fail(error)
        finally:
            await self._finish()

    async def _receive(self) -> None:
        """Handle messages and signals until one of them ends it."""
        kernel, mailbox, control, context = self.kernel, self.mailbox, self.control, self.context
        receive_nowait, now = mailbox.receiver.receive_nowait, kernel.now
        message: object = WAKE
        count, started = 0, now()
        while (handler := self._handler) is not None:
            if control:
                self.held = message
                if not await self._handle_signals():
                    return
                message, self.held = self.held, WAKE
                continue
            if message is WAKE:
                try:
                    message = receive_nowait()
                except trio.WouldBlock:
                    kernel.delivered += count
                    mailbox.parked = True
                    message = await mailbox.receiver.receive()
                    mailbox.parked = False
                    count, started = 0, now()
                    continue
                if message is WAKE:
                    continue
            answer = await handler(context, message)
            count += 1
            if answer is not SAME:
                if not await self._follow(answer, message):
                    kernel.delivered += count
                    return
            message = WAKE
            if not count & 7 and (count >= BATCH_MESSAGES or now() - started > BATCH_SECONDS):
                kernel.delivered += count
                await trio.lowlevel.checkpoint()
                count, started = 0, now()

    async def _handle_signals(self) -> bool:
        """Handle every signal there is; False when the actor is to stop."""
        while (message := self.take_signal()) is not WAKE:
            if message is STOP or self._handler is None:
                return False
            self.kernel.delivered += 1
            if not await self._follow(await self._handler(self.context, message), message):
                return False
        return True

    def take_signal(self) -> object:
        """Return the next message among the signals, WAKE for none, STOP; raise a task's failure."""
        control = self.control
        while control:
            signal = control.pop(0)
            match signal:
                case ActorTimer():
                    if self.timers is not None and self.timers.get(signal.key) is signal:
                        signal.pending = False
                        if signal.interval is None:
                            del self.timers[signal.key]
                        return signal.message
                case Terminated():
                    if self.watching is not None and signal.ref in self.watching:
                        del self.watching[signal.ref]
                        return signal
                case Failure():
                    raise signal.error
                case _:
                    return signal
        return WAKE

    async def _follow(self, answer: Behavior[Never], message: object) -> bool:
        """Do what a handler answered; False when the loop is to end."""
        if answer is SAME:
            return True
        if answer is UNHANDLED:
            self.kernel.event_stream.publish(UnhandledMessage(message, self.ref))
            return True
        return await self._become(answer) and self._main is None

    async def _become(self, behavior: Behavior[Never]) -> bool:
        """Take on a behaviour, unwrapping it; False when it says to stop."""
        hooks: list[forms.Lifecycle] | None = None
        for _ in range(BEHAVIOR_DEPTH_MAX):
            match behavior:
                case forms.Receive(handler):
                    self._handler = handler
                    return self._announce()
                case forms.Task(main):
                    self._main = main
                    return self._announce()
                case forms.Setup(factory):
                    behavior = await factory(self.context)
                case forms.Lifecycle(inner, pre_start, _):
                    if pre_start is not None:
                        await pre_start(self.context)
                    if hooks is None:
                        self._hooks = hooks = []
                    hooks.append(behavior)
                    behavior = inner
                case forms.Discoverable(inner, key):
                    self._services = [*(self._services or ()), key]
                    behavior = inner
                case _:
                    return self._become_signal(behavior)
        raise RuntimeError(f"the behaviour of {self.path} has more than {BEHAVIOR_DEPTH_MAX} wrappers or set-ups")

    def _announce(self) -> bool:
        if not self._started:
            self._started = True
            self.kernel.event_stream.publish(ActorStarted(self.ref))
        if self._services is not None:
            for key in self._services:
                if self.kernel.discovery is not None:
                    self.kernel.discovery(key, self.ref)
            self._services = None
        return True

    def _become_signal(self, behavior: object) -> bool:
        if behavior is STOPPED:
            return False
        if behavior is SAME and self._handler is not None:
            return True
        raise TypeError(
            f"{self.path} needs a Behavior here, such as Behaviors.receive(...) or, from a handler, "
            f"Behaviors.same(); got {behavior!r}"
        )

    def _cut_later(self) -> None:
        if self._cut is None:
            self._cut = self.kernel.keeper.after(self.kernel.config.stop_timeout, self._cut_handler)

    def _cut_handler(self) -> None:
        report_cut(self, "the message in hand")
        self._kill_scope.cancel()

    def _fail(self, error: Exception) -> None:
        self.failure = error
        report_failure(self, error)

    # Its end

    async def _finish(self) -> None:
        self.stopping = True
        if self._cut is not None:
            self.kernel.keeper.finish(self._cut)
        for timer in (self.timers or {}).values():
            self.kernel.keeper.finish(timer)
        waiting = self.mailbox.close(self.held)
        if self.family is not None or len(waiting) > DEAD_LETTERS_AT_ONCE:
            with trio.CancelScope(shield=True):
                await self._finish_others(waiting)
        else:
            self._make_dead_letters(waiting)
        if self._hooks is not None:
            await self._clean_up(self._hooks)
        self._end()

    async def _finish_others(self, waiting: list[object]) -> None:
        for first in range(0, len(waiting), DEAD_LETTERS_AT_ONCE):
            self._make_dead_letters(waiting[first : first + DEAD_LETTERS_AT_ONCE])
            await trio.lowlevel.checkpoint()
        if self.family is not None:
            await self.family.stop()

    def _make_dead_letters(self, messages: list[object]) -> None:
        for message in messages:
            self.kernel.dead_letter(message, self.ref, ACTOR_STOPPED)

    async def _clean_up(self, hooks: list[forms.Lifecycle]) -> None:
        """Run post_stop, innermost first, bounded in time and safe from cancellation."""
        with trio.CancelScope(shield=True) as self._cleanup_scope:
            cut = self.kernel.keeper.after(self.kernel.config.stop_timeout, self._cleanup_scope.cancel)
            for hook in reversed(hooks):
                if hook.post_stop is not None:
                    try:
                        await hook.post_stop(self.context)
                    except Exception as error:  # the supervisor's boundary, once more
                        self._fail(error)
            self.kernel.keeper.finish(cut)
        if self._cleanup_scope.cancelled_caught:
            report_cut(self, "the clean-up")

    def _end(self) -> None:
        """Give the name back and tell everybody who wants to know. Nothing here waits."""
        kernel = self.kernel
        self.ended = True
        kernel.actors -= 1
        for path in (self.path, *(self.adapters or ())):
            del kernel.targets[path]
        if self.family is not None:
            self.family.release()
        kernel.event_stream.forget(self.ref)
        unwatch_all(self)
        if self._started:
            kernel.event_stream.publish(ActorStopped(self.ref))
        for watcher in list((self.watchers or {}).values()):
            watcher.signal(Terminated(self.ref, self.failure))
        if self.waiters is not None:
            self.waiters.set()
        self.home.remove(self.path)
        self.control.clear()
        self.behavior, self._inbox = STOPPED, None
        self.timers = self.watchers = self.failure = self._hooks = self._handler = self._main = self._task = None
