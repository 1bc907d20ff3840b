"""One actor from spawn to end: a task, a kill scope, a mailbox, and the loop between them.

The loop drains the mailbox in bounded batches with one checkpoint each. Signals (stop, timers, failures of tasks) wait
on a list of their own, looked at before each message, so they overtake the mailbox. The end of a watched actor waits in
the mailbox, behind the messages sent by that actor.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import InitVar, dataclass, field
from typing import Final, Never

import trio

from casty.errors import RestartRequested
from casty.protocol.actor.supervision import Directive, RestartBudget
from casty.refs import ServiceKey
from casty.runtime.actor.actor_ports import ActorKernel, Heir
from casty.runtime.actor.actor_timers import ActorTimer, ActorTimers
from casty.runtime.actor.children import Children
from casty.runtime.actor.fast_shared_tasks import SharedTasks
from casty.runtime.actor.life import FailureDecision, Life
from casty.runtime.actor.supervisor import (
    decide_failure,
    fail_late,
    refuse_in_hand,
    report_cut,
    restart_by_choice,
    tell_restart,
)
from casty.runtime.actor.termination import end_life, finish
from casty.runtime.actor.watching import Watches
from casty.runtime.behavior.behavior import SAME, STOPPED, Behavior, Main
from casty.runtime.behavior.signatures import check_end
from casty.runtime.deadlines import TimerEntry
from casty.runtime.events import ActorStarted, Terminated, UnhandledMessage
from casty.runtime.messaging.checked_ref import ref_to
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import BATCH_MESSAGES, BATCH_SECONDS, NOTHING, MessageQueue, Request
from casty.runtime.messaging.named_refs import AdapterRef
from casty.runtime.messaging.queueing.notices import TerminatedNotice
from casty.runtime.messaging.ref import LocalRef
from casty.runtime.messaging.requests import open_request
from casty.runtime.messaging.signals import PILL, STOP, Failure, Wakeup
from casty.runtime.ports import Recipient, WatchedBy, Watcher

ENDED: Final = Life()
"""Life of all ended actors."""


@dataclass(slots=True, eq=False, repr=False)
class Cell(WatchedBy):
    """The state of one actor. Only its own task runs its code."""

    home: Children
    path: str
    behavior: Behavior[Never]
    mailbox: MessageQueue
    kernel: ActorKernel
    uid: int
    make_context: InitVar[Callable[[Cell], object]]
    tasks: SharedTasks | None = None
    """Tasks shared with its siblings; None: it has one of its own from the beginning."""
    heir: Heir | None = None
    """Taker of the messages left at the end, in place of dead letters, and the first to be told of it."""
    ref: LocalRef[object] = field(init=False)
    context: object = field(init=False)
    """Context for the behaviour's functions."""
    life: Life = field(init=False)
    """Everything replaced by a restart."""
    control: deque[object] | None = None
    """Signals waiting. Made for the first one: an empty deque is a tenth of an actor."""
    family: Children | None = None
    timers: ActorTimers | None = None
    adapters: list[str] | None = None
    watchers: dict[int, Watcher] | None = None
    watches: Watches | None = None
    waiters: trio.Event | None = None
    failure: Exception | None = None
    """Failure of the actor, once it is to stop."""
    escalated: list[Exception] | None = None
    stopping: bool = False
    ended: bool = False
    started: bool = False
    stop_requested: bool = False
    budget: RestartBudget | None = None
    task: trio.lowlevel.Task | None = None
    kill_scope: trio.CancelScope | None = None
    cleanup_scope: trio.CancelScope | None = None
    pause_scope: trio.CancelScope | None = None
    cut: TimerEntry | None = None

    def __post_init__(self, make_context: Callable[[Cell], object]) -> None:
        self.ref = ref_to(self, self.mailbox)
        self.context = make_context(self)
        self.life = Life()
        self.kernel.counters.actors += 1

    def __repr__(self) -> str:
        state = "ended" if self.ended else "stopping" if self.stopping else "running" if self.started else "starting"
        return f"<Cell {self.path} {state} queued={len(self.mailbox)}>"

    # Requests of others to it

    def signal(self, signal: object) -> None:
        """Queue ``signal`` before the next message; the end of an actor behind those there are."""
        if isinstance(signal, Terminated):
            self.mailbox.put_notice(TerminatedNotice(signal))
        elif not self.stopping:
            if self.control is None:
                self.control = deque()
            self.control.append(signal)
            self.mailbox.wake()

    def stop(self) -> None:
        """Stop the actor after the message in hand; its handler has ``stop_timeout`` to finish."""
        if self.stop_requested or self.stopping:
            return
        self.stop_requested = True
        inbox = self.life.inbox
        if inbox is not None and not inbox.used:
            self._cancel_life()
        elif inbox is not None or not self.mailbox.parked:
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
        if self.kill_scope is None:
            self.mailbox.wake()

    def fail_from_outside(self, error: Exception) -> None:
        """Make ``error``, of a task, an adapter or a child, the actor's failure; ends the message in hand."""
        if self.stopping or self.is_failing:
            fail_late(self, error)
            return
        verdict = decide_failure(self, error)
        if verdict.decision.directive is not Directive.resume:
            self.life.verdict = verdict
            self.signal(Failure(verdict.error))
            if self.life.inbox is not None or not self.mailbox.parked:
                self._cancel_life()

    @property
    def is_internal(self) -> bool:
        """Whether the actor is one of casty's own."""
        return self.path.startswith("/_")

    @property
    def waits_for_children(self) -> bool:
        """Whether the actor is ending, kept from it by its children alone."""
        return self.stopping and self.family is not None and bool(self.family.children)

    @property
    def is_failing(self) -> bool:
        """Whether the present life has failed already and only has to end."""
        return self.life.verdict is not None

    @property
    def is_condemned(self) -> bool:
        """Whether no life follows the present one."""
        verdict = self.life.verdict
        return verdict is not None and verdict.is_final

    @property
    def parent(self) -> Recipient | None:
        """Spawner of the actor; None at the root."""
        return self.home.parent

    @property
    def is_task_style(self) -> bool:
        """Whether the actor's code reads an inbox, and so may take messages while it waits."""
        return self.life.main is not None

    def is_read_by(self, inbox: object) -> bool:
        """Return whether an inbox is the one of the present life."""
        return self.life.inbox is inbox

    def message_type(self) -> object | None:
        """Return the message type of the actor; None where no annotation says so."""
        return self.behavior.message_type()

    def request_of(self, message: object) -> Request | None:
        """Return the request of a message taken by the actor, if its sender waits for a reply."""
        return self.life.request_of(message)

    async def until_ended(self) -> None:
        """Wait until the actor has ended."""
        if self.waiters is None:
            self.waiters = trio.Event()
        await self.waiters.wait()

    # Its parts, made where they are needed first

    def own_family(self) -> Children:
        """Return the family, founding it first where there is none."""
        if self.family is None:
            self.kernel.check_thread(f"found a family of {self.path}")
            self.family = Children(self.kernel, self)
            if self.stopping or (self.task is None and self.tasks is None):
                self.family.closed = True
            else:
                self.family.open_beside(self, self.home)
        return self.family

    def own_timers(self) -> ActorTimers:
        """Return the timers of the actor."""
        if self.timers is None:
            self.timers = ActorTimers(self)
        return self.timers

    def own_watches(self) -> Watches:
        """Return the watches of the actor."""
        if self.watches is None:
            self.watches = Watches(self)
        return self.watches

    def own_budget(self) -> RestartBudget:
        """Return how often the actor may still be restarted."""
        if self.budget is None:
            self.budget = RestartBudget()
        return self.budget

    def add_adapter(self, ref: AdapterRef[Never]) -> None:
        """Let messages for an adapter in, until the life ends."""
        self.adapters = [*(self.adapters or ()), ref.path]
        self.kernel.targets[ref.path] = ref

    def announce(self, services: list[ServiceKey[Never]]) -> None:
        """Publish the start of the actor, once, and offer it under its service keys."""
        kernel = self.kernel
        if not self.started:
            self.started = True
            if kernel.listeners.entries:
                kernel.listeners.started(self.ref)
            if kernel.event_stream.wants(ActorStarted):
                kernel.event_stream.publish(ActorStarted(self.ref))
        for key in services:
            kernel.listeners.offered(self.ref, key)

    def record_failure(self, verdict: FailureDecision) -> None:
        """Keep the failure of a stopping actor, for the watchers and for the parent."""
        if isinstance(verdict.error, RestartRequested):
            return
        self.failure = self.failure or verdict.error
        if verdict.decision.directive is Directive.escalate:
            self.escalated = [*(self.escalated or ()), verdict.error]

    def drop_life(self) -> Life:
        """Put an empty life in place of the present one and return that: it has ended but for its hooks."""
        ended = self.life
        self.life = Life(ended.strategies, ended.verdict)
        return ended

    # Its life

    @trio.lowlevel.enable_ki_protection
    async def run(self) -> None:
        """Run the actor as its task: one life after another, as the strategies decide."""
        self.task = trio.lowlevel.current_task()
        try:
            await self._live_on(await self._live(True, None))
        finally:
            await finish(self)

    async def _live_on(self, verdict: FailureDecision | None) -> None:
        """Live behind a life until the last one."""
        cause: Exception | None = None
        while verdict is not None:
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
                self.record_failure(verdict)
                break
            verdict = await self._live(begins, cause)

    async def _live(self, begins: bool, cause: Exception | None) -> FailureDecision | None:
        """Live until a failure, returned and judged, or until the actor is to stop."""
        life = self.life
        life.verdict = None
        self.kill_scope = trio.CancelScope()
        try:
            with self.kill_scope:
                if self.stop_requested or (begins and not await self._begin(cause)):
                    return None
                if life.main is None:
                    await self._receive(self.kernel.now())
                if life.main is not None and not self.stop_requested:
                    await self._read(life.main)
        except Exception as error:  # the supervisor's boundary: an actor's failure ends here
            self.note_failure(error)
        return self._ended_life()

    async def _read(self, main: Main) -> None:
        """Run the function of a whole life."""
        self.life.inbox = Inbox(self, self.mailbox)
        check_end(await main(self.context, self.life.inbox), self.path)

    def note_failure(self, error: Exception) -> None:
        """Judge the failure of the present life."""
        verdict = self.life.verdict
        if verdict is None:
            self.life.verdict = decide_failure(self, error)
        elif error is not verdict.error:
            fail_late(self, error)

    def _ended_life(self) -> FailureDecision | None:
        """Return the decision on the failure of a life, refusing what it leaves."""
        verdict = self.life.verdict
        if verdict is not None or (self.kill_scope is not None and self.kill_scope.cancelled_caught):
            refuse_in_hand(self, verdict)
        return verdict

    async def _begin(self, cause: Exception | None) -> bool:
        """Take on the behaviour given at the spawn; False when it says to stop."""
        if not await self.life.become(self.behavior, self):
            return False
        if cause is not None:
            self.kernel.counters.restarts += 1
            await self.life.after_restart(self.context)
            tell_restart(self, cause)
        return True

    async def _receive(self, started: float) -> None:
        """Handle messages and signals until one of them ends it; its task was at work already since ``started``."""
        life, mailbox, context, counters = self.life, self.mailbox, self.context, self.kernel.counters
        now, source = self.kernel.now, mailbox.source() if mailbox.flows else mailbox.front or mailbox.messages
        task, shared = self.task or trio.lowlevel.current_task(), self.tasks
        message: object = NOTHING
        count = 0
        answer: Behavior[Never]
        try:
            while (handler := life.handler) is not None:
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
                    if self.timers is not None:
                        self.timers.rest()
                    if shared is not None and shared.may_rest(self):
                        return
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
                    message = self._opened(message)
                    if message is NOTHING:
                        counters.delivered -= 1  # counted with the batch
                        answer = SAME
                    else:
                        answer = await handler(context, message)
                        life.request = None
                else:
                    answer = await handler(context, message)
                if answer is not SAME:
                    if not await life.follow(answer, message, self):
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
            life.in_hand, life.request = message, None
            raise
        finally:
            counters.delivered += count

    def _opened(self, wrapped: object) -> object:
        """Return the message of a request or notice; NOTHING for one not to be handled."""
        if type(wrapped) is not Request:
            return self.open_end(wrapped) if isinstance(wrapped, TerminatedNotice) else wrapped
        message = open_request(self, wrapped)
        if message is not NOTHING:
            self.life.request = wrapped
        return message

    def open_end(self, notice: TerminatedNotice) -> object:
        """Return the Terminated to be handled now; NOTHING when the watch was given up meanwhile."""
        self.mailbox.notice_taken()
        if notice.terminated is None:
            self.mailbox.take_turns()
            return NOTHING
        told = None if self.watches is None else self.watches.awaited(notice.terminated)
        if told is None:
            return NOTHING
        self.kernel.counters.signals += 1
        return told

    def begin_wait(self) -> None:
        """Take note of main's waiting for a message."""
        if self.timers is not None:
            self.timers.rest()

    async def _handle_signals(self) -> bool:
        """Handle every signal there is, in batches as messages; False when the actor is to stop."""
        counters, now = self.kernel.counters, self.kernel.now
        count, started = 0, now()
        while (message := self.take_signal()) is not NOTHING:
            if message is STOP or (handler := self.life.handler) is None:
                return False
            counters.delivered += 1
            counters.signals += 1
            if not await self.life.follow(await handler(self.context, message), message, self):
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
                        return STOP if message is PILL else message
                case Failure():
                    raise signal.error
                case Wakeup():
                    pass
                case _:
                    return signal
        return NOTHING

    def choose_restart(self) -> None:
        """Take note of the answer ``restart``: the present life ends with it."""
        self.life.verdict = restart_by_choice(self)

    def note_unhandled(self, message: object) -> None:
        """Publish a message answered with ``unhandled``."""
        if self.kernel.event_stream.wants(UnhandledMessage):
            self.kernel.event_stream.publish(UnhandledMessage(message, self.ref))

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
        """Let go of everything, because refs keep the cell of an ended actor."""
        self.behavior = STOPPED
        self.life = ENDED
        self.heir = self.control = self.task = self.watchers = self.timers = self.watches = None
        self.failure = self.escalated = self.budget = None
        self.kill_scope = self.cleanup_scope = self.pause_scope = None
