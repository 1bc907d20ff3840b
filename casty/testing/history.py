"""Histories of calls and replies of clients: `History`, `Operation`.

Owns the order of calls and replies, and the meaning of an error for its operation. The judgement is
`casty.testing.check_linearizable`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

from casty.errors import AskFailed, AskTimeoutError
from casty.refs import ActorRef, check_ref
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem

M = TypeVar("M")
R = TypeVar("R")

UNSAID = object()
"""Command of an ask whose factory was never called: a mistake in its arguments, and nothing was sent."""


@dataclass(slots=True, eq=False)
class Operation:
    """One call of a client and its outcome.

    Times are numbers of a count over the whole history: earlier calls and replies have smaller ones.
    """

    key: str
    """The called object, such as the address of an entity. Objects are independent of one another."""
    command: object
    """The request."""
    called: int
    """Time of the call."""
    returned: int | None = None
    """Time of the reply; None without one: the outcome is unknown."""
    reply: object = None
    """The reply, where ``returned`` is a number."""

    def __repr__(self) -> str:
        outcome = "unknown" if self.returned is None else f"{self.reply!r}"
        until = "" if self.returned is None else f"{self.returned}"
        return f"[{self.called:>5} to {until:>5}] {self.command!r} -> {outcome}"


@dataclass(slots=True)
class History:
    """Record of asks, for the judgement whether one object could have answered them one after the other.

    All clients of a test share one, on all nodes of a simulation: one process has one order of events. An operation
    that fails and ``certainly_not_handled`` is taken out; any other error, a time-out and a cancellation leave its
    outcome open: it may happen at any time after its call, or never.

    Example:
        >>> history = History()
        >>> async def reply():
        ...     return 1
        >>> await history.call("counter", "increment", reply)
        1
        >>> list(history)
        [[    0 to     1] 'increment' -> 1]
    """

    _operations: list[Operation] = field(default_factory=list[Operation])
    _now: int = 0

    async def ask(
        self,
        asker: ActorSystem | ActorContext[Any],
        ref: ActorRef[M],
        factory: Callable[[ActorRef[R]], M],
        *,
        timeout: float = 5.0,
    ) -> R:
        """Ask as ``asker.ask`` does, and write down the request and its outcome.

        Parameters:
            asker: System or context that asks.
            ref: Actor or entity; its address is the key.
            factory: Function of the ref for the reply; it returns the request.
            timeout: Seconds to wait for the reply.

        Returns:
            The reply.

        Raises:
            AskTimeoutError: As of ``asker.ask``; so are all other errors.
            TypeError: ``ref`` is no ref.
        """
        check_ref(ref, "History.ask")
        operation = self._begin(str(ref.address), UNSAID)

        def recorded(reply_to: ActorRef[R]) -> M:
            message = factory(reply_to)
            operation.command = message
            return message

        async def asked() -> R:
            return await asker.ask(ref, recorded, timeout=timeout)

        return await self._settle(operation, asked)

    async def call(self, key: str, command: object, function: Callable[[], Awaitable[R]]) -> R:
        """Await ``function()``, and write down the command and its outcome.

        For clients of another protocol, such as HTTP.

        Parameters:
            key: The called object.
            command: The request, as the model of `check_linearizable` takes it.
            function: Async function without parameters; it returns the reply.

        Returns:
            The reply.
        """
        return await self._settle(self._begin(key, command), function)

    def __iter__(self) -> Iterator[Operation]:
        return iter(self._operations)

    def __len__(self) -> int:
        return len(self._operations)

    def __repr__(self) -> str:
        unknown = sum(operation.returned is None for operation in self._operations)
        return f"<History operations={len(self._operations)} unknown={unknown}>"

    def _begin(self, key: str, command: object) -> Operation:
        operation = Operation(key, command, self._tick())
        self._operations.append(operation)
        return operation

    async def _settle(self, operation: Operation, function: Callable[[], Awaitable[R]]) -> R:
        try:
            reply = await function()
        except BaseException as error:
            handled = not isinstance(error, AskFailed | AskTimeoutError) or not error.certainly_not_handled
            if operation.command is UNSAID or not handled:
                self._operations.remove(operation)
            raise
        operation.reply = reply
        operation.returned = self._tick()
        return reply

    def _tick(self) -> int:
        self._now += 1
        return self._now - 1
