"""Actor that only listens, for a test to look at its messages."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Generic, Never, TypeVar, cast, overload

import trio

from casty import ActorContext, ActorRef, ActorSystem, Inbox, Terminated
from casty.config.validation import check_callable
from casty.runtime.behavior import behavior as forms
from casty.runtime.messaging.ref import LocalRef

M = TypeVar("M")
T = TypeVar("T")

EXPECT_TIMEOUT = 3.0
"""Seconds that a probe waits for what is expected, unless told otherwise."""
NO_MESSAGE_FOR = 0.1
"""Seconds of silence that a probe takes for no message, unless told otherwise."""

_serials = itertools.count(1)


class TestProbe(Generic[M]):
    """A real actor in a real system, whose messages a test awaits one by one.

    ``ref`` goes wherever an ``ActorRef[M]`` is wanted. Times are seconds of the Trio clock: with an
    autojump clock no test waits for real.

    >>> from casty.testing import TestProbe
    >>> probe = TestProbe(system, int)
    >>> probe.ref.tell(1)
    >>> await probe.expect(1)
    1

    Parameters:
        system: Running system in which the probe lives.
        message_type: Type of its messages; it makes the probe known to the cluster for messages from other nodes.
        name: Name of its actor; "" makes one up.

    Raises:
        ValueError: The name is bad, or in use.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, system: ActorSystem, message_type: type[M] | None = None, *, name: str = "") -> None:
        self._messages: deque[M] = deque()
        self._ends: dict[ActorRef[Never], Terminated] = {}
        self._arrived = trio.Event()
        behavior = _Listen(cast("forms.Main", self._listen), message_type)
        self._ref: ActorRef[M] = system.spawn(behavior, name or f"probe-{next(_serials)}")

    def __repr__(self) -> str:
        return f"<TestProbe {self._ref.path} messages={len(self._messages)}>"

    @property
    def ref(self) -> ActorRef[M]:
        """The probe's address, to be given to the actors under test."""
        return self._ref

    @property
    def messages(self) -> tuple[M, ...]:
        """Messages that have arrived and were not expected yet, oldest first."""
        return tuple(self._messages)

    async def receive(self, *, timeout: float = EXPECT_TIMEOUT) -> M:
        """Take the next message, whatever it is.

        Parameters:
            timeout: Seconds to wait.

        Returns:
            The message.

        Raises:
            AssertionError: None came within ``timeout``.
        """
        return await self._next("a message", timeout)

    @overload
    async def expect(self, expected: type[T], *, timeout: float = EXPECT_TIMEOUT) -> T: ...

    @overload
    async def expect(self, expected: M, *, timeout: float = EXPECT_TIMEOUT) -> M: ...

    async def expect(self, expected: object, *, timeout: float = EXPECT_TIMEOUT) -> object:
        """Take the next message, which has to be of a type, or equal to a value.

        Parameters:
            expected: A class, or a message.
            timeout: Seconds to wait.

        Returns:
            The message.

        Raises:
            AssertionError: It is another one, or none came within ``timeout``.
        """
        message = await self._next(_wanted(expected), timeout)
        if not (isinstance(message, expected) if isinstance(expected, type) else message == expected):
            raise AssertionError(f"{self._ref.path} expected {_wanted(expected)}, got {message!r}")
        return message

    async def expect_no_message(self, for_: float = NO_MESSAGE_FOR) -> None:
        """Wait, and check that no message is there or arrives.

        Parameters:
            for_: Seconds of silence.

        Raises:
            AssertionError: There is one.
        """
        with trio.move_on_after(for_):
            while not self._messages:
                await self._arrival()
        if self._messages:
            raise AssertionError(f"{self._ref.path} expected no message for {for_:g} s, got {self._messages[0]!r}")

    async def fish_for(self, predicate: Callable[[M], bool], *, timeout: float = EXPECT_TIMEOUT) -> M:
        """Take the first message for which a predicate holds; drop those before it.

        Parameters:
            predicate: Plain function of a message; it returns a bool.
            timeout: Seconds to wait.

        Returns:
            The message.

        Raises:
            AssertionError: None came within ``timeout``; the message tells what was dropped.
            TypeError: ``predicate`` cannot be called, or is an async function.
        """
        check_callable("fish_for", predicate, "a function of a message, which makes a bool")
        dropped: list[M] = []
        with trio.move_on_after(timeout):
            while True:
                while self._messages:
                    message = self._messages.popleft()
                    if predicate(message):
                        return message
                    dropped.append(message)
                await self._arrival()
        raise AssertionError(f"{self._ref.path} fished for {timeout:g} s and caught nothing but {dropped!r}")

    def watch(self, ref: ActorRef[Never]) -> None:
        """Watch an actor from now on, for `expect_terminated`.

        Parameters:
            ref: An actor, on any node.

        Raises:
            ValueError: ``ref`` cannot be watched.
        """
        assert isinstance(self._ref, LocalRef)
        # The cell has its context before the actor runs, and hands it to the handler later.
        cast("ActorContext[object]", self._ref.cell.context).watch(ref)

    async def expect_terminated(self, ref: ActorRef[Never], *, timeout: float = EXPECT_TIMEOUT) -> Terminated:
        """Take the end of an actor, with its cause; one that is not watched is watched from now on.

        Parameters:
            ref: The actor.
            timeout: Seconds to wait.

        Returns:
            The end. Its cause is None for a normal stop, and for an end before the watch.

        Raises:
            AssertionError: The actor lives after ``timeout``.
        """
        if self._end_of(ref) is None:
            self.watch(ref)
        with trio.move_on_after(timeout):
            while self._end_of(ref) is None:
                await self._arrival()
        end = self._end_of(ref)
        if end is None:
            raise AssertionError(f"{self._ref.path} expected the end of {ref.path}, which lives after {timeout:g} s")
        return self._ends.pop(end.ref)

    def _end_of(self, ref: ActorRef[Never]) -> Terminated | None:
        if ref in self._ends:
            return self._ends[ref]
        ends = (end for end in self._ends.values() if end.ref.path == ref.path)
        return next((end for end in ends if 0 in (ref.address.uid, end.ref.address.uid)), None)  # one is a name

    async def _next(self, wanted: str, timeout: float) -> M:
        with trio.move_on_after(timeout):
            while not self._messages:
                await self._arrival()
        if not self._messages:
            raise AssertionError(f"{self._ref.path} expected {wanted}, got nothing for {timeout:g} s")
        return self._messages.popleft()

    async def _arrival(self) -> None:
        if self._arrived.is_set():
            self._arrived = trio.Event()
        await self._arrived.wait()

    async def _listen(self, ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        async for message in inbox:
            if isinstance(message, Terminated):
                self._ends[message.ref] = message
            else:
                self._messages.append(cast("M", message))
            self._arrived.set()


@dataclass(frozen=True, slots=True, eq=False)
class _Listen(forms.Task):
    """A task whose message type is given, not annotated."""

    kind: object | None

    def message_type(self) -> object | None:
        return self.kind


def _wanted(expected: object) -> str:
    return f"a message of type {expected.__name__}" if isinstance(expected, type) else repr(expected)
