"""Ask: a slot for one reply or refusal.

A slot is the ref for the asked actor's reply. The asking task sleeps on it directly; any end of the wait (the reply,
the time-out, a cancellation) closes the slot in the same step, so a later reply is a dead letter and nothing stays
behind.

A request is refused once nobody will answer it any more: its handler has failed, or it became a dead letter. Nothing is
kept for it while all is well; the slots are found in the fields of the message.

An actor takes no message while its handler asks, or waits for the end of a child. So actors waiting in a circle are
found by going from each to the next, through the slot or the `EndWait` under its sleeping task; see `_refuse_circle`.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields, is_dataclass
from functools import partial
from threading import get_ident
from typing import Final, Never, Protocol, TypeVar, cast

import trio

from casty.address import ASK_PREFIX, ENTITY_MARK, serial_of
from casty.errors import AskFailed, AskFailure, AskTimeoutError, failed_ask
from casty.refs import ActorRef, check_ref
from casty.runtime.events import ASK_FINISHED, NOT_AN_ASK, REQUEST_EXPIRED, REQUEST_WITHDRAWN
from casty.runtime.messaging.ask_wheel import AskWheel, Bucket
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, LocalRef, OwnRef, UnsentRequest, refuse_thread
from casty.runtime.ports import KernelPort, Recipient
from casty.runtime.waking import WOKEN
from casty.schema.names import message

M = TypeVar("M")
R = TypeVar("R")
R_contra = TypeVar("R_contra", contravariant=True)

logger = logging.getLogger("casty.runtime")

REASON_LENGTH_MAX: Final = 1_024
TRAIL_MAX: Final = 16
"""Actors looked at in a row, each waiting for the next."""


class Unanswered:
    """Type of the marks for a slot without a reply."""

    __slots__ = ()


class AskRefused(Unanswered):
    """Mark for a slot with an error in place of a reply."""

    __slots__ = ("error",)

    def __init__(self, error: AskFailed | AskTimeoutError) -> None:
        self.error = error


@message("casty.ErrorReply")
@dataclass(frozen=True, slots=True)
class ErrorReply:
    """Message to the slot of an ask on another node in place of a reply."""

    reason: str
    failure: AskFailure = "failed"


UNANSWERED: Final = frozenset({Unanswered, AskRefused})
"""The classes of marks. Looking here, and asking for the usual class of ref first, spares two climbs of `isinstance`
through base classes: 0.4 % of an ask.
"""

WAITING: Final = Unanswered()
EXPIRED: Final = Unanswered()
CLOSED: Final = Unanswered()


class AskKernel(KernelPort, Protocol):
    """The kernel, for asks: their slots and time-outs besides."""

    @property
    def asks(self) -> dict[int, AskRef[Never]]:
        """Slots waiting for a reply, by serial number."""
        ...

    @property
    def wheel(self) -> AskWheel[AskRef[Never]]:
        """Their time-outs."""
        ...


class AskRef(OwnRef[R_contra]):
    """The ref of one ask. The first message is the reply; there is no second."""

    __slots__ = ("_kernel", "_serial", "_uid", "answer", "asked", "bucket", "promised", "task", "trail")

    def __init__(self, kernel: AskKernel, serial: int, uid: int) -> None:
        self._kernel = kernel
        self._serial = serial
        self._uid = uid
        self.answer: object = WAITING
        self.promised: tuple[object, ...] = ()
        """Types of the reply as told to other nodes."""
        self.task: trio.lowlevel.Task | None = None
        self.bucket: Bucket[AskRef[Never]] | None = None
        self.asked: Request | None = None
        """The request, until the end of the wait: its message holds this slot, and a circle of the two would keep both
        until Python's collector comes by: 3 % of an ask.
        """
        self.trail = ""
        """The waits of the asked actor itself when the time was up, or where the request went, or did not go."""

    @property
    def kernel(self) -> KernelPort:
        return self._kernel

    @property
    def path(self) -> str:
        return f"{ASK_PREFIX}{self._serial}"

    @property
    def serial(self) -> int:
        """Number of the slot in the table of all asks."""
        return self._serial

    @property
    def uid(self) -> int:
        """A random number: the path can be guessed, and whoever was not asked must not answer."""
        return self._uid

    def tell(self, message: object) -> None:
        if get_ident() != self._kernel.thread:
            refuse_thread(self)
        if self.answer is not WAITING:
            self._kernel.dead_letter(message, self, ASK_FINISHED)
            return
        self.answer_with(message)

    def answer_with(self, message: object) -> None:
        """End the wait, still open, with a reply."""
        self.close(message)
        if self.task is not None:
            trio.lowlevel.reschedule(self.task, WOKEN)

    async def send(self, message: R_contra) -> None:
        self.tell(message)
        await trio.lowlevel.checkpoint()

    def put_nowait(self, message: R_contra) -> None:
        if self.answer is not WAITING:
            raise trio.BrokenResourceError("the ask has its reply, or nobody waits for it any more")
        self.tell(message)

    async def put_wait(self, message: R_contra) -> None:
        self.put_nowait(message)
        await trio.lowlevel.checkpoint()

    def deliver(self, message: object) -> bool:
        if type(message) is ErrorReply:
            self.refuse(failed_ask(message.reason[:REASON_LENGTH_MAX], message.failure))
        else:
            self.tell(message)
        return True

    def refuse(self, error: AskFailed) -> None:
        """End the wait with an error, if nothing else has ended it."""
        if self.answer is WAITING:
            self.close(AskRefused(error))
            if self.task is not None:
                trio.lowlevel.reschedule(self.task, WOKEN)

    def close(self, answer: object) -> None:
        """Take an answer, or a mark for none, and leave the table and the wheel."""
        asked = self.asked
        if asked is not None and asked.taken is not None:
            asked.taken.pop(self._uid, None)
        self.answer, self.asked = answer, None
        del self._kernel.asks[self._serial]
        bucket = self.bucket
        if bucket is not None:
            del bucket.slots[self._serial]
            if not bucket.slots and bucket is not bucket.wheel.newest:
                bucket.wheel.drop_unused(bucket)

    def expire(self) -> None:
        """End the wait without a reply."""
        asked = self.asked
        if asked is not None:
            self.trail = _trail(asked.cell) or asked.sent_to()
        self.close(EXPIRED)
        if asked is not None:
            asked.withdraw(REQUEST_EXPIRED)
        if self.task is not None:
            trio.lowlevel.reschedule(self.task, WOKEN)

    def abort(self, _raise_cancel: Callable[[], object]) -> trio.lowlevel.Abort:
        """Close the slot because the asking task was cancelled."""
        asked = self.asked
        self.close(CLOSED)
        if asked is not None:
            asked.withdraw(REQUEST_WITHDRAWN)
            for ref in asked.far:
                ref.withdraw(asked.ask)
        return trio.lowlevel.Abort.SUCCEEDED


class EntityAskRef(AskRef[R_contra]):
    """The ref of an ask of an entity: a reply of this node waits for its serving lease."""

    __slots__ = ()

    @property
    def path(self) -> str:
        return f"{ASK_PREFIX}{ENTITY_MARK}{self._serial}"

    def tell(self, message: object) -> None:
        if get_ident() != self._kernel.thread:
            refuse_thread(self)
        gate = self._kernel.hooks.reply_gate
        if gate is None or gate.is_open:
            super().tell(message)
        else:
            gate.hold(partial(super().tell, message), message, cast("ActorRef[Never]", self))

    def deliver(self, message: object) -> bool:
        if type(message) is ErrorReply:
            return super().deliver(message)
        super().tell(message)  # the replying node has looked at its own lease
        return True


class EndWait:
    """Watcher of an actor, to wake one task at the actor's end: the task sleeps on it."""

    __slots__ = ("cell", "task")

    def __init__(self, cell: Recipient, task: trio.lowlevel.Task) -> None:
        self.cell = cell
        self.task = task

    def __repr__(self) -> str:
        return f"<EndWait for {self.cell.path}>"

    def signal(self, _: object) -> None:
        trio.lowlevel.reschedule(self.task, WOKEN)


SLEEPS: Final = frozenset({AskRef, EntityAskRef, EndWait})
"""Classes of the objects under the sleep of an actor waiting for another one."""


async def ask(kernel: AskKernel, ref: ActorRef[M], factory: Callable[[ActorRef[R]], M], timeout: float) -> R:
    """Tell ``ref`` the message made by ``factory`` of a reply ref, and wait for the reply."""
    # Hardly any `cast` where every ask comes by: at run time it is a call, and three of them were 1 % of an ask.
    if not isinstance(timeout, (float, int)) or not timeout > 0:  # pyright: ignore[reportUnnecessaryIsInstance]  # unchecked callers
        await _refuse_time(kernel, ref, timeout)
    if not callable(factory):
        refuse_factory(factory)
    if get_ident() != kernel.thread:
        kernel.check_thread("ask")
    task, cell = trio.lowlevel.current_task(), None
    if isinstance(ref, LocalRef):
        cell = ref.cell
        if ref.mailbox.sleeper is None:  # whoever waits for messages waits for no reply
            busy = cell.task
            if busy is task or (busy is not None and type(busy.custom_sleep_data) in SLEEPS):
                _refuse_circle(cell, task)
    kind: object = type(ref)
    counters = kernel.counters
    counters.asks = serial = counters.asks + 1
    number = kernel.tokens.take()
    slot: AskRef[R] = (EntityAskRef if kind is RoutedEntityRef else AskRef)(kernel, serial, number)
    kernel.asks[serial] = slot
    try:
        message = factory(slot)
        deadline = kernel.now() + timeout  # not before: another node is told of the whole time-out, in this step
        slot.asked = request = Request(message, deadline, number, timeout=timeout)
        if type(ref) is LocalRef or isinstance(ref, AskableRef):
            unsent = ref.request(request)
            if unsent is not None:
                await _send_in_time(unsent, slot, timeout, deadline)
            elif cell is None and request.cell is not None:
                _refuse_delivered(request, request.cell, task)
        else:
            check_ref(ref, "ask")
            ref.tell(cast("M", request.message))
        if slot.answer is WAITING and kernel.closed:
            slot.refuse(AskFailed(f"no reply from {ref.path}: the system {kernel.name!r} has ended", "system_ended"))
        if slot.answer is WAITING:
            if timeout != math.inf:
                bucket = kernel.wheel.newest  # nearly always it; the call below is 1.4 % of an ask
                if bucket is None or not bucket.start <= deadline < bucket.end:
                    bucket = kernel.wheel.bucket(deadline)
                slot.bucket = bucket
                bucket.slots[serial] = slot
            slot.task, task.custom_sleep_data = task, slot
            await trio.lowlevel.wait_task_rescheduled(slot.abort)
        else:
            await trio.lowlevel.checkpoint()
    except BaseException:
        if slot.answer is WAITING:
            slot.close(CLOSED)
        raise
    answer = slot.answer
    if type(answer) in UNANSWERED:
        if isinstance(answer, AskRefused):
            raise answer.error
        counters.asks_timed_out += 1
        raise AskTimeoutError(f"no reply from {ref.path} within {timeout} s{slot.trail}")
    return cast("R", answer)


async def _send_in_time(unsent: UnsentRequest, slot: AskRef[Never], timeout: float, deadline: float) -> None:
    """Hand over a request to another node; close its slot if there is no room before ``deadline``."""
    with trio.CancelScope(deadline=deadline) as scope:
        await unsent.send()
    if scope.cancelled_caught and slot.answer is WAITING:
        slot.kernel.counters.asks_timed_out += 1
        slot.close(AskRefused(unsent.give_up(timeout)))


async def _refuse_time(kernel: KernelPort, ref: ActorRef[Never], timeout: object) -> None:
    """Raise AskTimeoutError for an ask whose time is over already: the rest of a deadline can be below 0."""
    over = refused_time(ref, timeout)
    await trio.lowlevel.checkpoint()
    kernel.counters.asks_timed_out += 1
    if over is not None:
        raise over


def refused_time(ref: ActorRef[Never], timeout: object) -> AskTimeoutError | None:
    """Return the error for an ask in no time, None where there is some; ValueError where ``timeout`` is no number."""
    if not isinstance(timeout, (float, int)) or math.isnan(timeout):
        raise ValueError(f"timeout must be a number of seconds, math.inf for no limit, got {timeout!r}")
    check_ref(ref, "ask")
    if timeout > 0:
        return None
    was = f"over {-timeout:.3g} s before" if timeout < 0 else "0 s"
    return AskTimeoutError(f"{ref.path} was not asked: the time for its reply was {was}")


def refuse_factory(factory: object) -> Never:
    """Refuse a message in the place of its factory."""
    raise TypeError(
        "ask needs a function that makes the message of a ref for the reply, such as Get or "
        f"lambda reply_to: Get('key', reply_to); got the message itself, {factory!r}"
    )


def refused_circle(path: str, trail: str) -> AskFailed:
    """Return the error for an ask in a handler that would have to end first."""
    return AskFailed(
        f"{path} asks {trail}, and takes no message before its handler ends, so no reply can come: "
        "ask in a task of its own, with ctx.pipe_to_self, or tell and answer later",
        "circle",
    )


def _refuse_circle(asked: Recipient, asker: trio.lowlevel.Task) -> None:
    """Raise AskFailed when a request could be taken only after its reply.

    It is so for an actor asking itself in a handler, and for one asking another whose own request waits, directly or
    through others, in its mailbox, or whose wait is for its end. A taken request is no proof: somebody else may answer
    it. Nor is a task-style actor, because another of its tasks may read the inbox; but it cannot end before its main
    does.
    """
    cell, trail, must_read = asked, asked.path, True
    for _ in range(TRAIL_MAX):
        if must_read and cell.is_task_style:
            return
        if cell.task is asker:
            raise refused_circle(cell.path, trail)
        sleep: object = None if cell.task is None else cell.task.custom_sleep_data
        if isinstance(sleep, EndWait):
            cell, must_read = sleep.cell, False
            trail += f", which waits for the end of {cell.path}"
            continue
        request = _waits_for(cell)
        if request is None or request.cell is None or not request.waits:
            return
        cell, must_read = request.cell, True
        trail += f", which waits for {cell.path}"


def refuse_waiting(parent: Recipient, child: Recipient) -> None:
    """Refuse the request for whose reply ``child`` waits, directly or through others, and ``parent`` would answer.

    For an actor about to wait for the end of its child in a handler; it takes no message until then.
    """
    cell = child
    for _ in range(TRAIL_MAX):
        slot: object = None if cell.task is None else cell.task.custom_sleep_data
        asked = slot.asked if isinstance(slot, AskRef) else None
        if asked is None or asked.cell is None or not asked.waits:
            return
        if asked.cell is parent:
            told = f"{parent.path} waits for the end of {child.path}, and takes no message until then"
            cast("AskRef[object]", slot).refuse(AskFailed(told))
            asked.withdraw(REQUEST_WITHDRAWN)
            return
        cell = asked.cell


def _refuse_delivered(request: Request, asked: Recipient, asker: trio.lowlevel.Task) -> None:
    """Do so for a request already delivered: which actor a ref leads to may show only then. It is withdrawn."""
    try:
        _refuse_circle(asked, asker)
    except AskFailed:
        request.withdraw(REQUEST_WITHDRAWN)
        raise


def _waits_for(cell: Recipient) -> Request | None:
    """Return the request whose reply the own task of an actor sleeps for."""
    slot: object = None if cell.task is None else cell.task.custom_sleep_data
    return cast("AskRef[object]", slot).asked if isinstance(slot, AskRef) else None


def _trail(cell: Recipient | None) -> str:
    """Return in words the waits of an actor, and of the one it waits for, for the text of a time-out."""
    trail: list[str] = []
    while cell is not None and cell.path not in trail and len(trail) <= TRAIL_MAX:
        trail.append(cell.path)
        request = _waits_for(cell)
        cell = None if request is None else request.cell
    if cell is not None:
        trail.append(cell.path)
    return f": {', which waits for a reply of '.join(trail)}" if len(trail) > 1 else ""


def refuse(
    kernel: KernelPort,
    reply_to: ActorRef[Never],
    error: Exception | str,
    failure: AskFailure = "failed",
    *,
    said: str = "",
) -> None:
    """Answer an ask, of this or another node, with an error; a dead letter where there is no ask.

    ``said`` is put before the text of the error.
    """
    reason = said + (error if isinstance(error, str) else describe(error))
    if not reply_to.path.startswith(ASK_PREFIX):
        kernel.dead_letter(ErrorReply(reason), reply_to, NOT_AN_ASK)
    elif isinstance(reply_to, OwnRef):
        slot = kernel.target(reply_to.path, reply_to.uid)
        if isinstance(slot, AskRef):
            failed = failed_ask(reason, failure)
            failed.__cause__ = error if isinstance(error, Exception) else None
            slot.refuse(failed)
    elif not isinstance(reply_to, AskableRef) or reply_to.is_known():  # else a stranger could choose whom to dial
        try:
            told = ErrorReply(reason, "not_delivered" if failure == "not_sent" else failure)  # from there it was sent
            reply_to.of(ErrorReply).tell(told)
        except Exception:  # on the way out of a failure, another one must not take its place
            logger.exception("an ask could not be refused: %s", reply_to)


def refuse_asks(
    kernel: KernelPort, message: object, error: Exception, failure: AskFailure = "failed", *, said: str = ""
) -> None:
    """Refuse every ask whose slot is in a field, or at a place, of ``message``."""
    for reply_to in reply_refs(message):
        refuse(kernel, reply_to, error, failure, said=said)


def reply_refs(message: object) -> list[ActorRef[Never]]:
    """Return the refs for replies in a field, or at a place, of a message."""
    refs = [cast("ActorRef[Never]", value) for value in _values_of(message) if isinstance(value, ActorRef)]
    return [ref for ref in refs if ref.path.startswith(ASK_PREFIX)]


def asker_of(request: Request) -> ActorRef[Never] | None:
    """Return the ref for the reply in the request of another node's ask; None where it is in no field of its own."""
    for value in _values_of(request.message):
        if isinstance(value, ActorRef):
            reply_to = cast("ActorRef[Never]", value)
            if serial_of(reply_to.path) is not None and reply_to.address.uid == request.ask:
                return reply_to
    return None


def describe(error: Exception) -> str:
    """Return an exception as one line for the asker, at most `REASON_LENGTH_MAX` long."""
    try:
        text = str(error)
    except Exception:  # the text is made by the user's code
        text = ""
    return f"{type(error).__name__}: {text}"[:REASON_LENGTH_MAX] if text else type(error).__name__


def _values_of(message: object) -> Iterable[object]:
    if isinstance(message, ActorRef):
        return (cast("ActorRef[Never]", message),)
    if isinstance(message, (tuple, list)):
        return cast("Iterable[object]", message)
    if is_dataclass(message):
        return [getattr(message, field.name, None) for field in fields(message)]
    return list(getattr(message, "__dict__", {}).values())
