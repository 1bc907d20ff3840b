"""Ways of a client's messages: one for each kind, service or topic, with its queue.

Owns the queue of each way, and its connection. Messages to one way keep their order; a way without a
connection holds up no other.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Never, Protocol

import trio

from casty.client.client_connection import ClientConnection
from casty.errors import NotSent
from casty.refs import ActorRef
from casty.runtime.messaging.ask import WAITING, AskRef
from casty.runtime.messaging.ref import UnsentRequest

CLOSED_MIN, CLOSED_MAX = 1.0, 30.0
"""Seconds for which a key that no node has open is looked for no more."""


class LetterOwner(Protocol):
    """Link of the client, for its held messages."""

    def withdraw(self, letter: HeldLetter) -> None:
        """Forget a held request."""
        ...

    def trouble(self, way: Way) -> str:
        """Say why nothing can be sent by this way now."""
        ...


class HeldLetter(UnsentRequest):
    """A message on its way by a link: it waits for a connection, or for its place on one."""

    __slots__ = ("_left", "_owner", "message", "ref", "size", "slot", "way")

    def __init__(self, owner: LetterOwner, way: Way, ref: ActorRef[Any], message: object) -> None:
        self._owner = owner
        self._left = trio.Event()
        self.way = way
        self.ref = ref
        self.message = message
        self.size = 0
        self.slot: AskRef[Never] | None = None

    @property
    def is_wanted(self) -> bool:
        """Whether somebody waits for it still; nobody is known to wait for a tell."""
        return self.slot is None or self.slot.answer is WAITING

    @property
    def is_bound(self) -> bool:
        """Whether it goes by one connection, or nowhere."""
        return self.way.is_pinned

    def leave(self) -> None:
        """Take note of its sending, or its end."""
        self._left.set()

    async def left(self) -> None:
        """Wait for its sending, or its end."""
        await self._left.wait()

    def tell(self) -> None:
        """Do nothing: it is held already."""

    async def send(self) -> None:
        try:
            await self._left.wait()
        except trio.Cancelled:
            self._owner.withdraw(self)
            raise

    def give_up(self, timeout: float) -> NotSent:
        return NotSent(f"{self.ref.path} was not asked within {timeout} s: {self._owner.trouble(self.way)}")


class Way:
    """Way of the messages for one key.

    Parameters:
        head: Path on the wire of the kind, service or topic.
        connection: Connection to begin with.
        is_pinned: Whether that one alone is good for it, as for refs that came by it.
    """

    __slots__ = ("_closed_for", "_connection", "closed_until", "head", "held", "is_pinned", "is_shut", "is_sought")

    def __init__(self, head: str, connection: ClientConnection | None = None, *, is_pinned: bool = False) -> None:
        self.head = head
        self.held: deque[HeldLetter] = deque()
        self.is_pinned = is_pinned
        self.is_sought = False
        """Whether a node is looked for that has it open."""
        self.is_shut = False
        """Whether no node had it open when one was last looked for."""
        self.closed_until = 0.0
        """Time until which no node is looked for again."""
        self._closed_for = CLOSED_MIN
        self._connection = connection

    @property
    def connection(self) -> ClientConnection | None:
        """Connection of its messages; None while there is none."""
        if self._connection is not None and self._connection.unusable.is_set():
            self._connection = None
        return self._connection

    def lead(self, connection: ClientConnection) -> None:
        """Lead by a connection, as long as it is usable."""
        self._connection, self._closed_for, self.is_shut = connection, CLOSED_MIN, False

    def shut(self, now: float) -> None:
        """Take note of no node with it open; it is not looked for again for twice as long as the last time."""
        self.is_shut, self.closed_until = True, now + self._closed_for
        self._closed_for = min(2 * self._closed_for, CLOSED_MAX)

    def __repr__(self) -> str:
        return f"<Way {self.head} by {self.connection} held={len(self.held)}>"
