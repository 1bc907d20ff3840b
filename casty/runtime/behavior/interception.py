"""Interceptors: functions between an actor's mailbox and its behaviour, outermost first.

A handler is wrapped once, when the actor takes it on; an actor without interceptors pays nothing. A task-style
behaviour gets an inbox to ask the interceptors about each message.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Never, Protocol, TypeVar, cast

import trio

from casty.errors import CastyError
from casty.refs import ActorRef
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import SAME, STOPPED, Behavior, ReceiveTarget
from casty.runtime.messaging.channel import ChannelStatistics
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import NOTHING
from casty.runtime.messaging.ref import tell_or_drop

M = TypeVar("M")


class LoggingContext(Protocol):
    """Context by its log: all needs of a spy."""

    @property
    def log(self) -> logging.LoggerAdapter[logging.Logger]:
        """Logger with the name of the actor."""
        ...


class HandlerGuard(ABC):
    """Interceptor in front of a handler, not around it: a message let through at once costs no coroutine."""

    __slots__ = ()

    @abstractmethod
    async def __call__(self, ctx: object, message: object, target: ReceiveTarget[object]) -> Behavior[object]:
        """Pass a message on, as every interceptor."""

    @abstractmethod
    def before(self, handler: forms.Handler) -> InterceptedHandler:
        """Return a handler that passes messages on to the given one."""


def intercept_handler(handler: forms.Handler, interceptors: Sequence[forms.Interceptor], ctx: object) -> forms.Handler:
    """Return a handler to ask ``interceptors``, outermost first, and then the given one."""
    intercepted: forms.Handler = handler
    for interceptor in reversed(interceptors):
        if isinstance(interceptor, HandlerGuard):
            intercepted = interceptor.before(intercepted)
            continue
        intercepted = _around(interceptor, cast("ReceiveTarget[object]", partial(intercepted, ctx)))
    if not interceptors or (isinstance(intercepted, InterceptedHandler) and intercepted.bare is handler):
        return intercepted
    return InterceptedHandler(intercepted, handler)


class InterceptedHandler:
    """A handler behind interceptors, by the outermost of them, and the one that they are around."""

    __slots__ = ("_outermost", "bare")

    def __init__(self, outermost: forms.Handler, bare: forms.Handler) -> None:
        self._outermost = outermost
        self.bare = bare
        """The behaviour's own handler."""

    def __repr__(self) -> str:
        return f"<InterceptedHandler of {self.bare!r}>"

    def __call__(self, ctx: object, message: object) -> Awaitable[Behavior[Never]]:
        return self._outermost(ctx, message)


def bare(handler: forms.Handler) -> forms.Handler:
    """Return a behaviour's own handler, without the interceptors around it."""
    return handler.bare if isinstance(handler, InterceptedHandler) else handler


def _around(interceptor: forms.Interceptor, target: ReceiveTarget[object]) -> forms.Handler:
    async def around(ctx: object, message: object) -> Behavior[object]:
        return await interceptor(ctx, message, target)

    return around


def intercept_main(main: forms.Main, interceptors: Sequence[forms.Interceptor], path: str) -> forms.Main:
    """Return a main with an inbox behind ``interceptors``; ``path`` names the actor in errors."""

    async def behind(ctx: object, inbox: Inbox[object]) -> object:
        return await main(ctx, InterceptedInbox(inbox, interceptors, ctx, path))

    return behind


class InterceptedInbox(Inbox[M]):
    """Inbox of the messages passed on by its interceptors."""

    __slots__ = ("_chain", "_ctx", "_done", "_inner", "_passed", "_path", "_unfinished")

    def __init__(self, inner: Inbox[M], interceptors: Sequence[forms.Interceptor], ctx: object, path: str) -> None:
        self._inner = inner
        self._path = path
        self._ctx = ctx
        self._passed: deque[object] = deque()
        self._chain = intercept_handler(self._pass, interceptors, ctx)
        self._done = False
        self._unfinished: object = NOTHING
        """Message with an interceptor at the cancellation of a read: the next read begins with it."""

    def __repr__(self) -> str:
        return repr(self._inner)

    async def __anext__(self) -> M:
        while not self._passed:
            if self._done:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            await self._intercept(self._inner.__anext__)
        return cast("M", self._passed.popleft())

    async def receive(self) -> M:
        if self._passed or self._unfinished is not NOTHING:
            await trio.lowlevel.checkpoint()
        while not self._passed:
            if self._done:
                raise trio.EndOfChannel
            await self._intercept(self._inner.receive)
        return cast("M", self._passed.popleft())

    def receive_nowait(self) -> M:
        raise RuntimeError(
            f"receive_nowait() does not wait, and the interceptors of {self._path} may: use `await inbox.receive()`"
        )

    async def take_ready(self) -> object:
        if not self._passed and not self._done:
            await self._intercept(self._inner.take_ready)
        return self._passed.popleft() if self._passed else NOTHING

    def close(self) -> None:
        self._inner.close()
        unread, self._unfinished = [self._unfinished, *self._passed], NOTHING
        self._passed.clear()
        self._inner._drop(message for message in unread if message is not NOTHING)

    def statistics(self) -> ChannelStatistics:
        return self._inner.statistics()

    async def _intercept(self, read: Callable[[], Awaitable[object]]) -> None:
        message, self._unfinished = self._unfinished, NOTHING
        if message is NOTHING:
            message = await read()
        if message is NOTHING:
            return
        try:
            answer = await self._chain(self._ctx, message)
        except BaseException as error:
            if not (isinstance(error, Exception) or self._passed):  # it was cancelled
                self._unfinished = message
            raise
        if answer is STOPPED:
            self._done = True
        elif answer is not SAME:
            raise TypeError(
                f"an interceptor of {self._path} must answer Behaviors.same() or Behaviors.stopped(), "
                f"because the behaviour is a task; got {answer!r}"
            )

    async def _pass(self, ctx: object, message: object) -> Behavior[object]:
        self._passed.append(message)
        return SAME


def spying_for(ref: ActorRef[M]) -> Callable[[LoggingContext, M, ReceiveTarget[M]], Awaitable[Behavior[M]]]:
    """Return an interceptor to tell ``ref`` every message before it is handled."""

    async def see(ctx: LoggingContext, message: M, target: ReceiveTarget[M]) -> Behavior[M]:
        try:
            tell_or_drop(ref, message)
        except CastyError as error:  # not to be written as bytes: the actor must not suffer from it
            ctx.log.warning("the spy %s was not told of a message: %s", ref.path, error)
        return await target(message)

    return see
