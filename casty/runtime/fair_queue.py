"""Fair queueing: what several senders have sent, a queue for each, taken from in turn.

Source: Nagle 1987, "On packet switches with infinite storage" (RFC 970). Deviations: a turn is up to `QUANTUM`
messages, because one each would cost a tenth of a message's way; and senders that nobody answers for are one.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterator
from typing import Final, Generic, TypeVar

QUANTUM: Final = 64
"""Messages of one sender in a turn: as many as an actor handles between two checkpoints."""

T = TypeVar("T")


class Flow(Generic[T]):
    """What one sender has sent, in order, in chunks that are handed out whole."""

    __slots__ = ("chunks", "members")

    def __init__(self) -> None:
        self.chunks: deque[deque[T]] = deque()
        self.members: set[Hashable] = set()
        """Who shares it, for one that is shared."""

    def __len__(self) -> int:
        chunks = self.chunks
        if len(chunks) < 2:
            return len(chunks[0]) if chunks else 0
        return len(chunks[0]) + (len(chunks) - 2) * QUANTUM + len(chunks[-1])


class FairQueue(Generic[T]):
    """The flows of all senders, in the order of their turns. None is empty.

    >>> queue = FairQueue()
    >>> for number in range(130):
    ...     queue.tail("flood").append(number)
    >>> queue.tail("other").append("hello")
    >>> [len(queue.turn()) for _ in range(4)], len(queue)
    ([64, 1, 64, 2], 0)
    """

    __slots__ = ("_flows",)

    def __init__(self) -> None:
        self._flows: dict[Hashable, Flow[T]] = {}

    def tail(self, sender: Hashable) -> deque[T]:
        """Return where the next message of a sender goes; it is to be put there at once, or chunks could be empty."""
        flow = self._flows.get(sender)
        if flow is None:
            flow = self._flows[sender] = Flow()
        if not flow.chunks or len(flow.chunks[-1]) >= QUANTUM:
            flow.chunks.append(deque())
        return flow.chunks[-1]

    def turn(self) -> deque[T]:
        """Return the messages of the next turn; the sender's others wait for all other senders. KeyError for none."""
        sender = next(iter(self._flows))
        flow = self._flows.pop(sender)
        chunk = flow.chunks.popleft()
        if flow.chunks:
            self._flows[sender] = flow
        return chunk

    def head(self) -> T:
        """Return the message whose turn it is, by turns of one message. KeyError for none."""
        return self._flows[next(iter(self._flows))].chunks[0][0]

    def pop(self) -> T:
        """Take that message out; the next of its sender waits for all other senders. KeyError for none."""
        sender = next(iter(self._flows))
        flow = self._flows.pop(sender)
        message = flow.chunks[0].popleft()
        if not flow.chunks[0]:
            flow.chunks.popleft()
        if flow.chunks:
            self._flows[sender] = flow
        return message

    def count(self, sender: Hashable) -> int:
        """Return how many messages of a sender wait."""
        flow = self._flows.get(sender)
        return 0 if flow is None else len(flow)

    def flow(self, sender: Hashable) -> Flow[T] | None:
        """Return the flow of a sender, if anything of it waits."""
        return self._flows.get(sender)

    def senders(self) -> list[Hashable]:
        """Return those of whom something waits, in the order of their turns."""
        return list(self._flows)

    def chunks(self) -> Iterator[deque[T]]:
        """Yield all that waits, sender by sender."""
        for flow in self._flows.values():
            yield from flow.chunks

    def __len__(self) -> int:
        return sum(map(len, self._flows.values()))

    def __bool__(self) -> bool:
        return bool(self._flows)

    def __repr__(self) -> str:
        return f"<FairQueue senders={len(self._flows)} messages={len(self)}>"
