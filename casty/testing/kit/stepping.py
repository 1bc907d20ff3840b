"""Coroutines driven by hand: to their end or to a place of choice, without waiting for anything.

Trio's checkpoints pass. A sleep of the task is an error, and unwound by cancellation: nothing runs at the same time to
wake it up. Each step has a Trio loop of its own, with a jumping clock, so that cancel scopes and checkpoints work; in a
Trio test it is in a thread.
"""

from __future__ import annotations

import contextvars
import math
import os
import threading
import types
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Final, Generic, NoReturn, TypeVar, cast

import trio
import trio.testing

import casty

T = TypeVar("T")

LIBRARIES: Final = tuple(str(Path(file).parent) + os.sep for file in (trio.__file__, casty.__file__))
"""Places of code out of a user's hands."""
OPEN: Final = "keeps a cancel scope or a nursery open while it waits for messages"
CHECKPOINTS_MAX: Final = 10_000
"""Checkpoints in one step; beyond it, the code is taken for a polling loop."""


class WouldWait(AssertionError):
    """The code under test waits for something impossible in a synchronous test."""


class PauseMark:
    """The type of `PAUSE`: where code driven by hand gives way until it is given something."""

    __slots__ = ()


PAUSE: Final = PauseMark()


class Wait:
    """Yielded by code of the kit to say that it would wait, and for what."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class _Passed:
    """Value expected back by Trio's checkpoints."""

    def unwrap(self) -> None:
        """Return at once: nobody was cancelled."""


@types.coroutine
def pause() -> Generator[object, object, object]:
    """Give way to the test; return its gift to the next step."""
    return (yield PAUSE)


@types.coroutine
def would_wait(reason: str) -> Generator[object, object, NoReturn]:
    """Fail the step, because the code waits for ``reason``."""
    yield Wait(reason)
    raise AssertionError("a wait was resumed: this is a bug in casty")


def _checkpoint_trap() -> object:
    """Return the value yielded by Trio's checkpoints to their run."""
    probe = trio.lowlevel.cancel_shielded_checkpoint  # called by hand, for what it yields
    coroutine = probe()
    trap: object = coroutine.send(None)
    coroutine.close()
    return trap


_CHECKPOINT: Final = _checkpoint_trap()


class _GivenUp(BaseException):
    """Thrown into paused code, to have it clean up."""


class Stepper(Generic[T]):
    """A coroutine on its way. After a step it is paused, or has ended."""

    def __init__(self, coroutine: Coroutine[object, object, T]) -> None:
        self._coroutine = coroutine
        self._refusal = ""
        self.is_done = False
        self._result: T | None = None

    @property
    def result(self) -> T:
        """Result of the coroutine; only when it is done."""
        return cast("T", self._result)

    def step(self, given: object = None) -> None:
        """Run up to the next pause or the end. WouldWait if it waits; its exceptions leave here."""
        if trio.lowlevel.in_trio_run():
            _in_a_thread(self._run, given)
        else:
            self._run(given)

    def close(self) -> None:
        """Give the coroutine up."""
        self.is_done = True
        with suppress(RuntimeError):  # a clean-up that waits: there is nobody to wait for it
            self._coroutine.close()

    def _run(self, given: object) -> None:
        trio.run(self._step, given, clock=trio.testing.MockClock(autojump_threshold=0))

    async def _step(self, given: object) -> None:
        scope = trio.CancelScope()
        scope.__enter__()
        try:
            await self._advance(scope, given)
        except BaseException as error:
            self.is_done = True
            with suppress(RuntimeError, BaseExceptionGroup):  # the error is the news, not an open scope
                scope.__exit__(type(error), error, None)
            if not self._refusal:
                raise
        if not self._refusal:
            self._leave(scope)
        if self._refusal:
            self.close()
            raise WouldWait(self._refusal) from None

    def _leave(self, scope: trio.CancelScope) -> None:
        """Leave the scope around a step; Trio refuses where the code has left one of its own open."""
        try:
            scope.__exit__(None, None, None)
        except RuntimeError:
            self._refuse(OPEN)

    @types.coroutine
    def _advance(self, scope: trio.CancelScope, given: object) -> Generator[object, object, None]:
        """Send and pass on: to the code the value it waits for, to Trio's loop only the unwinding."""
        trap: object = None
        for _ in range(CHECKPOINTS_MAX):
            try:
                trap = self._coroutine.send(given)
            except StopIteration as end:
                self.is_done, self._result = True, cast("T", end.value)
                return
            if trap is _CHECKPOINT:
                given = _Passed()
            elif hasattr(trap, "abort_func") and trio.current_effective_deadline() == -math.inf:
                given = yield trap  # cancelled by the code itself: Trio ends the wait at once
            else:
                break
        nurseries = trio.lowlevel.current_task().child_nurseries
        if trap is PAUSE and not nurseries:
            return
        self._refuse_trap(trap)
        scope.cancel()
        if not hasattr(trap, "abort_func") and trap is not _CHECKPOINT:
            trap = self._coroutine.throw(_GivenUp())
        while True:
            given = yield trap
            trap = self._coroutine.send(given)

    def _refuse_trap(self, trap: object) -> None:
        if trap is PAUSE:
            self._refuse(OPEN)
        elif trap is _CHECKPOINT:
            self._refuse(f"passes {CHECKPOINTS_MAX} checkpoints without an end: it polls for something")
        elif isinstance(trap, Wait):
            self._refuse(f"waits for {trap.reason}")
        else:
            self._refuse(f"waits in {_place(self._coroutine)[1]}")

    def _refuse(self, what: str) -> None:
        self._refusal = (
            f"{_place(self._coroutine)[0]} {what}; a synchronous kit cannot wait: give the reply beforehand, or test "
            "the behaviour in an ActorSystem with a TestProbe"
        )


def _in_a_thread(fn: Callable[[object], None], given: object) -> None:
    """Call a function where no Trio loop runs yet, and wait for it; its exception is raised here."""
    errors: list[BaseException] = []

    def call() -> None:
        try:
            fn(given)
        except BaseException as error:  # raised again, in the test's own thread
            errors.append(error)

    thread = threading.Thread(target=contextvars.copy_context().run, args=(call,), name="casty test kit")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]


def _place(awaitable: object) -> tuple[str, str]:
    """Return the innermost place in the user's code of a chain of awaits, and the awaitable there."""
    place, inside = "the behaviour", ""
    while isinstance(awaitable, types.CoroutineType):
        coroutine = cast("types.CoroutineType[object, object, object]", awaitable)
        if not coroutine.cr_code.co_filename.startswith(LIBRARIES):
            place, inside = coroutine.__qualname__, ""
            if coroutine.cr_frame is not None:
                place += f" (line {coroutine.cr_frame.f_lineno})"
        elif not inside:
            inside = coroutine.__qualname__
        awaitable = coroutine.cr_await
    return place, inside or "a foreign awaitable"


def run_now(coroutine: Coroutine[object, object, T]) -> T:
    """Return the result of a coroutine, if it has one without waiting; WouldWait otherwise."""
    stepper = Stepper(coroutine)
    stepper.step()
    return stepper.result
