"""Stash: messages set aside by an actor, to take them again later.

Set aside, a message still waits: whatever ends the actor makes a dead letter of it, and a restart puts
it back in front of the mailbox, where the next life takes it first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar, cast, overload

from casty.errors import StashOverflowError
from casty.runtime.actor.actor_ports import ActorPort
from casty.runtime.behavior.behavior import SAME, Behavior
from casty.runtime.events import ACTOR_STOPPED
from casty.runtime.messaging.mailbox import NOTHING, Request, payload
from casty.runtime.messaging.signals import WAKEUP

M = TypeVar("M")


class StashBuffer(Generic[M]):
    """Messages set aside while an actor cannot handle them, oldest first; at most ``capacity``.

    Made by ``Behaviors.with_stash`` or ``ctx.stash_buffer``; only its actor uses it. It belongs to one
    life: at a restart the messages go back in front of the mailbox, when the actor stops they are dead
    letters.
    """

    __slots__ = ("_capacity", "_cell", "_messages")

    def __init__(self, cell: ActorPort, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"the capacity of a stash must be at least 1, got {capacity!r}")
        self._cell = cell
        self._capacity = capacity
        self._messages: deque[object] = deque()

    def __repr__(self) -> str:
        return f"<StashBuffer of {self._cell.path} {len(self)}/{self._capacity}>"

    @property
    def capacity(self) -> int:
        """Most messages that it holds."""
        return self._capacity

    @property
    def is_full(self) -> bool:
        """Whether `stash` would raise."""
        if len(self._messages) >= self._capacity:
            self._drop_withdrawn()
        return len(self._messages) >= self._capacity

    def __len__(self) -> int:
        return len(self._messages)

    def __bool__(self) -> bool:
        return bool(self._messages)

    def __iter__(self) -> Iterator[M]:
        """Look at the messages, oldest first; they stay."""
        messages = [message for message in map(payload, self._messages) if message is not NOTHING]
        return iter(cast("list[M]", messages))

    def stash(self, message: M) -> None:
        """Set a message aside.

        Parameters:
            message: The message in hand, as a rule.

        Raises:
            StashOverflowError: There is no room; the message was not taken.
        """
        if self.is_full:
            raise StashOverflowError(
                f"the stash of {self._cell.path} is full ({self._capacity} messages): unstash sooner, make it larger, "
                "or look at is_full and refuse the message"
            )
        self._keep(message)

    @overload
    def unstash_all(self) -> Behavior[object]: ...

    @overload
    def unstash_all(self, behavior: Behavior[M]) -> Behavior[M]: ...

    def unstash_all(self, behavior: Behavior[M] = SAME) -> Behavior[M]:
        """Put back every message, to be taken in the order of the stash, before all other waiting ones.

        Messages stashed from now on stay until the next call.

        Parameters:
            behavior: Behaviour to answer them; the default keeps the present one.

        Returns:
            ``behavior``, for a handler to return: ``return stash.unstash_all(open_behavior)``.
        """
        return self.unstash(len(self._messages), behavior)

    @overload
    def unstash(self, count: int) -> Behavior[object]: ...

    @overload
    def unstash(self, count: int, behavior: Behavior[M]) -> Behavior[M]: ...

    def unstash(self, count: int, behavior: Behavior[M] = SAME) -> Behavior[M]:
        """Put back the oldest messages, or as many as there are; as `unstash_all`.

        Parameters:
            count: Messages to take.
            behavior: Behaviour to answer them; the default keeps the present one.

        Returns:
            ``behavior``, for a handler to return.
        """
        self._give_back([self._messages.popleft() for _ in range(min(count, len(self._messages)))])
        return behavior

    def _drop_withdrawn(self) -> None:
        messages = list(self._messages)
        self._messages.clear()
        for message in messages:
            if isinstance(message, Request) and message.message is NOTHING:
                message.take()
            else:
                self._messages.append(message)

    def _keep(self, message: object) -> None:
        if self._cell.stopping:
            self._cell.kernel.dead_letter(message, self._cell.ref, ACTOR_STOPPED)
            return
        request = self._cell.request_of(message)
        if request is not None:  # so that it can be withdrawn, or expire, here too
            request.queue(self._cell)
            message = request
        self._messages.append(message)
        self._cell.kernel.counters.delivered -= 1  # it waits again
        self._cell.mailbox.stashed[self] = self._messages

    def _give_back(self, messages: list[object]) -> None:
        if not self._messages:
            self._cell.mailbox.stashed.pop(self, None)
        put_back(self._cell, messages)


def put_back(cell: ActorPort, messages: list[object]) -> None:
    """Put ``messages`` first in the queue of an actor, in this order."""
    if messages:
        cell.mailbox.put_back(messages)
        cell.signal(WAKEUP)


def put_back_all(cell: ActorPort) -> None:
    """Empty every stash of an ended life, for the next one."""
    put_back(cell, cell.mailbox.empty_stashes())
