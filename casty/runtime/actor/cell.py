"""One actor from spawn to end: a task, a kill scope, a mailbox, and the loop between them.

The loop drains the mailbox in bounded batches with one checkpoint each. Signals (stop, timers,
failures of tasks) wait on a list of their own that the loop looks at before each message, so they
overtake the mailbox. The end of a watched actor waits in the mailbox, behind what that actor has sent.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Never

import trio

from casty.config import MailboxOverflowStrategy
from casty.errors import DeathPactError
from casty.protocol.actor.supervision import Directive, RestartBudget, SupervisionStrategy
from casty.runtime.actor.becoming import become
from casty.runtime.actor.children import Children
from casty.runtime.actor.supervisor import (
    FailureDecision,
    decide_failure,
    fail_late,
    record_failure,
    refuse_in_hand,
    report_cut,
    restart_by_choice,
)
from casty.runtime.actor.termination import end_life, finish
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import RESTART, SAME, STOPPED, UNHANDLED, Behavior
from casty.runtime.behavior.signatures import check_end
from casty.runtime.deadlines import TimerEntry
from casty.runtime.events import MAILBOX_FULL, ActorRestarted, Terminated, UnhandledMessage
from casty.runtime.messaging.checked_ref import ref_to
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import BATCH_MESSAGES, BATCH_SECONDS, NOTHING, MessageQueue, Request, payload
from casty.runtime.messaging.queueing.notices import TerminatedNotice
from casty.runtime.messaging.ref import LocalRef
from casty.runtime.messaging.requests import opened
from casty.runtime.messaging.signals import PILL, STOP, ActorTimer, Failure, IdleTimer, Wakeup

if TYPE_CHECKING:
    from casty.refs import ActorRef, ServiceKey
    from casty.runtime.actor.watching import Watcher
    from casty.runtime.messaging.ref import LocalRef
    from casty.runtime.system.context import ActorContext
    from casty.runtime.system.kernel import Kernel


@dataclass(slots=True, eq=False, repr=False)
class Cell:
    """The state of one actor. Only its own task runs its code."""

    home: Children
    path: str
    behavior: Behavior[Never]
    mailbox: MessageQueue
    kernel: Kernel
    uid: int
    ref: LocalRef[object] = field(init=False)
    context: ActorContext[object] = field(init=False)
    control: deque[object] | None = None
    """Signals that wait. Made for the first one: an empty deque is a tenth of an actor."""
    in_hand: object = NOTHING
    """The message that was being handled when the life ended, or that main took last."""
    request: Request | None = None
    """What brought the message in hand, if its sender waits for a reply."""
    family: Children | None = None
    timers: dict[Hashable, ActorTimer] | None = None
    idle: IdleTimer | None = None
    """The receive time-out among the timers."""
    adapters: list[str] | None = None
    watchers: dict[int, Watcher] | None = None
    watching: dict[ActorRef[Never], ActorRef[Never]] | None = None
    """The refs that Terminated will name, and those that they were watched by."""
    waiters: trio.Event | None = None
    failure: Exception | None = None
    """What the actor failed with, once it is to stop."""
    escalated: list[Exception] | None = None
    stopping: bool = False
    ended: bool = False
    started: bool = False
    stop_requested: bool = False
    handler: forms.Handler | None = None
    main: forms.Main | None = None
    inbox: Inbox[object] | None = None
    hooks: list[forms.Lifecycle] | None = None
    """Those of the present life whose pre_start has succeeded, outermost first."""
    strategies: list[SupervisionStrategy] | None = None
    interceptors: list[forms.Interceptor] | None = None
    budget: RestartBudget | None = None
    services: list[ServiceKey[Never]] | None = None
    task: trio.lowlevel.Task | None = None
    kill_scope: trio.CancelScope | None = None
    cleanup_scope: trio.CancelScope | None = None
    pause_scope: trio.CancelScope | None = None
    cut: TimerEntry | None = None
    _verdict: FailureDecision | None = None
    """The failure that ends the present life, from when it is known until the next life begins."""

    def __post_init__(self) -> None:
        self.ref = ref_to(self, self.kernel.config)
        self.kernel.counters.actors += 1

    def __repr__(self) -> str:
        state = "ended" if self.ended else "stopping" if self.stopping else "running" if self.started else "starting"
        return f"<Cell {self.path} {state} queued={len(self.mailbox)}>"

    # What others ask of it

    def signal(self, signal: object) -> None:
        """Have the actor see ``signal`` before its next message; the end of an actor after those there are."""
        if isinstance(signal, Terminated):
            self.mailbox.put_notice(TerminatedNotice(signal))
        elif not self.stopping:
            if self.control is None:
                self.control = deque()
            self.control.append(signal)
            self.mailbox.wake()

    def stop(self) -> None:
        """Have the actor stop after the message in hand, which has ``stop_timeout`` to finish."""
        if self.stop_requested or self.stopping:
            return
        self.stop_requested = True
        if self.inbox is not None and not self.inbox.used:
            self._cancel_life()
        elif self.inbox is not None or not self.mailbox.parked:
            self._cut_later()
        if self.pause_scope is not None:
            self.pause_scope.cancel()
        self.signal(STOP)

    def kill(self) -> None:
        """Cancel whatever the actor does, its clean-up included."""
        self.stop_requested = True
        self._cancel_life()
        for scope in (self.cleanup_scope, self.pause_scope):
            if scope is not None:
                scope.cancel()

    def fail_from_outside(self, error: Exception) -> None:
        """Make ``error``, of a task, an adapter or a child, the actor's failure; ends the message in hand."""
        if self.stopping or self._verdict is not None:
            fail_late(self, error)
            return
        verdict = decide_failure(self, error)
        if verdict.decision.directive is not Directive.resume:
            self._verdict = verdict
            self.signal(Failure(verdict.error))
            if self.inbox is not None or not self.mailbox.parked:
                self._cancel_life()

    @property
    def is_internal(self) -> bool:
        """Whether the actor is one of casty's own."""
        return self.path.startswith("/_")

    @property
    def waits_for_children(self) -> bool:
        """Whether the actor is ending, and only its children keep it from that."""
        return self.stopping and self.family is not None and bool(self.family.children)

    @property
    def is_failing(self) -> bool:
        """Whether the present life has failed already and only has to end."""
        return self._verdict is not None

    @property
    def is_condemned(self) -> bool:
        """Whether no life follows the present one."""
        return self._verdict is not None and self._verdict.is_final

    def overflow(self, message: object) -> bool:
        """Deal with a message that found the mailbox full; False when the sender must be told."""
        if self.mailbox.make_room() and self.mailbox.offer(message):
            return True
        match self.mailbox.overflow:
            case MailboxOverflowStrategy.drop_new:
                self.drop_full(message)
            case MailboxOverflowStrategy.drop_oldest:
                self.drop_full(self.mailbox.push_out_oldest(message))
            case MailboxOverflowStrategy.reject | MailboxOverflowStrategy.back_pressure:
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

    def own_family(self) -> Children:
        """Return the family, founding it first where there is none."""
        if self.family is None:
            self.kernel.check_thread(f"found a family of {self.path}")
            self.family = Children(self.kernel, self)
            if self.stopping or self.task is None:
                self.family.closed = True
            else:
                self.family.open_beside(self.task)
        return self.family

    # Its life

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Be the actor's task: one life after another, as the strategies decide."""
        self.task = trio.lowlevel.current_task()
        begins, cause = True, None
        try:
            while (verdict := await self._live(begins, cause)) is not None:
                directive = verdict.decision.directive
                while directive is Directive.restart and not self.stop_requested:
                    cause = verdict.error
                    error = await end_life(self, verdict)
                    if error is None:
                        break
                    verdict = decide_failure(self, error)
                    directive = verdict.decision.directive
                begins = directive is Directive.restart
                if verdict.is_final:
                    break
                if begins and self.stop_requested:
                    record_failure(self, verdict)
                    break
        finally:
            await finish(self)

    async def _live(self, begins: bool, cause: Exception | None) -> FailureDecision | None:
        """Live until something fails, which is returned and judged, or until the actor is to stop."""
        self._verdict = None
        self.kill_scope = trio.CancelScope()
        try:
            with self.kill_scope:
                if self.stop_requested or (begins and not await self._begin(cause)):
                    return None
                if self.main is None:
                    await self._receive()
                if self.main is not None and not self.stop_requested:
                    self.inbox = Inbox(self)
                    check_end(await self.main(self.context, self.inbox), self.path)
        except Exception as error:  # the supervisor's boundary: an actor's failure ends here
            if self._verdict is None:
                self._verdict = decide_failure(self, error)
            elif error is not self._verdict.error:
                fail_late(self, error)
        if self._verdict is not None or self.kill_scope.cancelled_caught:
            refuse_in_hand(self, self._verdict)
        return self._verdict

    async def _begin(self, cause: Exception | None) -> bool:
        """Take on the behaviour that the actor was spawned with; False when it says to stop."""
        if not await become(self, self.behavior):
            return False
        if cause is not None:
            self.kernel.counters.restarts += 1
            for hook in list(self.hooks or ()):
                if hook.post_restart is not None:
                    await hook.post_restart(self.context)
            if self.kernel.event_stream.wants(ActorRestarted):
                self.kernel.event_stream.publish(ActorRestarted(self.ref, cause))
        return True

    async def _receive(self) -> None:
        """Handle messages and signals until one of them ends it."""
        mailbox, context, counters = self.mailbox, self.context, self.kernel.counters
        task, now, source = trio.lowlevel.current_task(), self.kernel.now, mailbox.source()
        message: object = NOTHING
        count, started = 0, now()
        answer: Behavior[Never]
        try:
            while (handler := self.handler) is not None:
                if self.control:
                    message = NOTHING
                    if not await self._handle_signals():
                        return
                    source = mailbox.source()
                    continue
                if not source:
                    source = mailbox.front or mailbox.messages
                    if source:
                        continue
                    if mailbox.flows is not None and mailbox.flows.by_sender:
                        source = mailbox.source()
                        continue
                    counters.delivered += count
                    count = 0
                    if self.idle is not None:
                        self.idle.rest()
                    await trio.lowlevel.wait_task_rescheduled(mailbox.park(task))
                    mailbox.parked = False
                    started = now()
                    continue
                message = source.popleft()
                if mailbox.senders:
                    mailbox.admit(message)
                count += 1
                if message is PILL:
                    if mailbox.flows and mailbox.put_before(PILL):
                        source = mailbox.source()
                        continue
                    return
                kind = type(message)
                if kind is Request or kind is TerminatedNotice:
                    message = opened(self, message)
                    if message is NOTHING:
                        counters.delivered -= 1  # counted with the batch
                        answer = SAME
                    else:
                        answer = await handler(context, message)
                        self.request = None
                else:
                    answer = await handler(context, message)
                if answer is not SAME:
                    if not await self._follow(answer, message):
                        return
                message = NOTHING
                if not count & 7 and (count >= BATCH_MESSAGES or now() - started > BATCH_SECONDS):
                    counters.delivered += count
                    count = 0
                    await trio.lowlevel.checkpoint()
                    started = now()
                    if mailbox.flows is not None and mailbox.flows.by_sender:
                        source = mailbox.next_turn()
        except BaseException:
            self.in_hand, self.request = message, None
            raise
        finally:
            counters.delivered += count

    async def _handle_signals(self) -> bool:
        """Handle every signal there is, in batches as messages; False when the actor is to stop."""
        counters, now = self.kernel.counters, self.kernel.now
        count, started = 0, now()
        while (message := self.take_signal()) is not NOTHING:
            if message is STOP or self.handler is None:
                return False
            counters.delivered += 1
            counters.signals += 1
            if not await self._follow(await self.handler(self.context, message), message):
                return False
            count += 1
            if not count & 7 and (count >= BATCH_MESSAGES or now() - started > BATCH_SECONDS):
                await trio.lowlevel.checkpoint()
                count, started = 0, now()
        return True

    def take_signal(self) -> object:
        """Return the next message among the signals, NOTHING for none, STOP; raise a task's failure."""
        while self.control:
            signal = self.control.popleft()
            match signal:
                case ActorTimer():
                    message = signal.take()
                    if message is not NOTHING:
                        return message
                case Failure():
                    raise signal.error
                case Wakeup():
                    pass
                case _:
                    return signal
        return NOTHING

    async def _follow(self, answer: Behavior[Never], message: object) -> bool:
        """Do what a handler answered; False when the loop is to end."""
        if answer is SAME:
            return True
        if answer is RESTART:
            self._verdict = restart_by_choice(self)
            return False
        if answer is UNHANDLED:
            message = payload(message)
            if isinstance(message, Terminated):
                raise DeathPactError(f"{self.path} has no answer to the end of {message.ref.path}") from message.cause
            if self.kernel.event_stream.wants(UnhandledMessage):
                self.kernel.event_stream.publish(UnhandledMessage(message, self.ref))
            return True
        return await become(self, answer) and self.main is None

    def _cancel_life(self) -> None:
        if self.kill_scope is not None:
            self.kill_scope.cancel()

    def _cut_later(self) -> None:
        if self.cut is None:
            self.cut = self.kernel.timer_queue.call_later(self.kernel.config.stop_timeout, self._cut_handler)

    def _cut_handler(self) -> None:
        report_cut(self, "the message in hand")
        self._cancel_life()

    def forget_all(self) -> None:
        """Let go of everything, because refs keep the cell of an actor that has ended."""
        self.behavior = STOPPED
        self.control = None
        self.handler = self.main = self.inbox = self.hooks = self.task = self.watchers = None
        self.failure = self.escalated = self._verdict = self.strategies = self.interceptors = self.budget = None
        self.request = self.kill_scope = self.cleanup_scope = self.pause_scope = None
