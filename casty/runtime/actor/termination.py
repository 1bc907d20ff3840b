"""The end of an actor, and the end of one of its lives before a restart.

A life begins when the actor takes on its behaviour and ends with exactly one of two hooks: with ``pre_restart`` when
another life follows, with ``post_stop`` when none does. Both run after the children ending with it, innermost hook
first, shielded from cancellation and bounded in time.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final

import trio

from casty.runtime.actor.life import FailureDecision
from casty.runtime.actor.stash import put_back_all
from casty.runtime.actor.supervisor import escalate, fail_late, report_cut
from casty.runtime.events import ACTOR_STOPPED, ActorStopped, Terminated
from casty.runtime.messaging.signals import STOP

if TYPE_CHECKING:
    from casty.runtime.actor.cell import Cell

DEAD_LETTERS_AT_ONCE: Final = 256
"""Dead letters of a stopping actor between two checkpoints."""


async def end_life(cell: Cell, verdict: FailureDecision) -> Exception | None:
    """End the failed life and wait out the pause before the next; return a failure in a hook.

    The ref, the mailbox, the watchers of the actor and, by choice, its children stay.
    """
    keep_children = verdict.decision.keep_children
    cell.mailbox.parked = False
    ended = cell.drop_life()
    error: Exception | None = None
    with trio.CancelScope(shield=True):
        if cell.family is not None:
            await cell.family.clear(keep_children=keep_children)
        ending = ended.before_restart(cell.context, verdict.error)
        if ending:
            error = await _bounded(cell, ending)
        if cell.family is not None:  # what the hooks have started
            await cell.family.clear(keep_children=keep_children)
        _drop_timers(cell)
        _drop_adapters(cell)
        if cell.watches is not None:
            cell.watches.clear()
    try:
        if error is None:  # not shielded: once SystemExit or its kin ends the system, no life follows
            await _pause(cell, verdict.decision.delay)
    finally:
        if cell.control:
            cell.control = deque(signal for signal in cell.control if signal is STOP)  # a stop counts for all lives
        put_back_all(cell)
    return error


async def finish(cell: Cell) -> None:
    """End the actor for good, whatever is raised on the way. The last step of its task."""
    cell.stopping = True
    if cell.cut is not None:
        cell.kernel.timer_queue.finish(cell.cut)
    _drop_timers(cell)
    waiting = cell.mailbox.close()
    try:
        if cell.family is not None or len(waiting) > DEAD_LETTERS_AT_ONCE:
            with trio.CancelScope(shield=True):
                await _finish_others(cell, waiting)
        else:
            _make_dead_letters(cell, waiting)
    finally:
        try:
            ending = cell.life.at_end(cell.context)
            if ending:
                with trio.CancelScope(shield=True):
                    await _bounded(cell, ending)
        finally:  # the parent waits for it, and nothing bounds that wait
            _end(cell)


async def _bounded(cell: Cell, hooks: Sequence[Callable[[], Awaitable[None]]]) -> Exception | None:
    """Run all hooks, in order, for at most ``stop_timeout`` seconds; return the first failure.

    Once the shutdown is over its bound, they are cancelled at their first checkpoint. SystemExit and
    its kin are raised, after all hooks had their turn.
    """
    failed: Exception | None = None
    leaving: list[BaseException] = []
    is_late = cell.kernel.is_cut_off(cell)
    with trio.CancelScope() as cell.cleanup_scope:
        if is_late:
            cell.cleanup_scope.cancel()
        bound = cell.kernel.timer_queue.call_later(cell.kernel.config.stop_timeout, cell.cleanup_scope.cancel)
        for hook in hooks:
            try:
                await hook()
            except Exception as error:  # the supervisor's boundary, once more
                if failed is None and not cell.stopping:
                    failed = error
                else:
                    fail_late(cell, error)
            except BaseException as error:  # raised below, inside the scope, which knows its own Cancelled
                leaving.append(error)
                if cell.cleanup_scope.cancel_called:
                    break
        cell.kernel.timer_queue.finish(bound)
        if leaving:
            raise leaving[0] if len(leaving) == 1 else BaseExceptionGroup(f"hooks of {cell.path}", leaving)
    if cell.cleanup_scope.cancelled_caught:
        report_cut(cell, "the clean-up", is_late=is_late)
    return failed


async def _pause(cell: Cell, delay: float) -> None:
    """Wait before a restart; a stop ends the wait. A checkpoint, whatever the delay."""
    if delay <= 0 or cell.stop_requested:
        await trio.lowlevel.checkpoint()
        return
    cell.pause_scope = trio.CancelScope()
    entry = cell.kernel.timer_queue.call_later(delay, cell.pause_scope.cancel)
    with cell.pause_scope:
        await trio.sleep_forever()
    cell.kernel.timer_queue.finish(entry)


def _drop_timers(cell: Cell) -> None:
    if cell.timers is not None:
        cell.timers.drop()


def _drop_adapters(cell: Cell) -> None:
    for path in cell.adapters or ():
        cell.kernel.event_stream.forget(cell.kernel.targets.pop(path))
    cell.adapters = None


async def _finish_others(cell: Cell, waiting: list[object]) -> None:
    try:
        for first in range(0, len(waiting), DEAD_LETTERS_AT_ONCE):
            _make_dead_letters(cell, waiting[first : first + DEAD_LETTERS_AT_ONCE])
            await trio.lowlevel.checkpoint()
    finally:
        if cell.family is not None:
            await cell.family.stop()


def _make_dead_letters(cell: Cell, messages: list[object]) -> None:
    if cell.heir is not None:
        cell.heir.inherit(messages)
        return
    for message in messages:
        cell.kernel.dead_letter(message, cell.ref, ACTOR_STOPPED)


def _end(cell: Cell) -> None:
    """Give the name back and tell everybody in need of the news. Nothing here waits."""
    kernel = cell.kernel
    cell.ended = True
    kernel.counters.actors -= 1
    _drop_adapters(cell)
    del kernel.targets[cell.path]
    if cell.family is not None:
        cell.family.release()
    kernel.event_stream.forget(cell.ref)
    if cell.watches is not None:
        cell.watches.clear()
    try:
        if cell.started and kernel.listeners.entries:
            kernel.listeners.stopped(cell.ref, cell.failure)
        if cell.started and kernel.event_stream.wants(ActorStopped):
            kernel.event_stream.publish(ActorStopped(cell.ref))
    finally:  # an adapter that hears of it may raise SystemExit, and so may the parent's strategy
        watchers = list((cell.watchers or {}).values())
        for watcher in watchers if cell.heir is None else [cell.heir, *watchers]:
            watcher.signal(Terminated(cell.ref, cell.failure))
        if cell.waiters is not None:
            cell.waiters.set()
        cell.home.remove(cell)
        try:
            escalate(cell)
        finally:
            cell.forget_all()
