"""Fair queueing: messages of several senders, a queue for each, taken from in turn.

Source: Nagle 1987, "On packet switches with infinite storage" (RFC 970). Deviations: a turn is up to `QUANTUM`
messages, because one each would cost a tenth of a message's way, or fewer where their actor takes long for them; and
senders without anybody to answer for them are one, the `Crowd`, with a turn of one message.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Hashable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from casty.runtime.messaging.queueing.crowd import CROWD, Allowance, Crowd

QUANTUM: Final = 64
"""Messages of one sender in a turn: as many as an actor handles between two checkpoints."""

T = TypeVar("T")


class Flow(Generic[T]):
    """Messages of one sender, in order, in chunks handed out whole; the first and the last may be short."""

    __slots__ = ("chunks",)

    def __init__(self) -> None:
        self.chunks: deque[deque[T]] = deque()

    def turn(self) -> deque[T]:
        """Return the messages of the next turn."""
        return self.chunks.popleft()

    def head(self) -> T:
        """Return the oldest message."""
        return self.chunks[0][0]

    def pop(self) -> T:
        """Take the oldest message out."""
        message = self.chunks[0].popleft()
        if not self.chunks[0]:
            self.chunks.popleft()
        return message

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

    __slots__ = ("_latest", "by_sender")

    def __init__(self) -> None:
        self.by_sender: dict[Hashable, Flow[T] | Crowd[T]] = {}
        """Waiting messages, by sender. A look at each batch goes here: `bool` of a queue is a call."""
        self._latest: Hashable = None
        """Sender of the last turn."""

    def tail(self, sender: Hashable) -> deque[T]:
        """Return where the next message of a sender goes; it is to be put there at once, or chunks could be empty."""
        flow = self.by_sender.get(sender)
        if not isinstance(flow, Flow):
            flow = self.by_sender[sender] = Flow()
        if not flow.chunks or len(flow.chunks[-1]) >= QUANTUM:
            flow.chunks.append(deque())
        return flow.chunks[-1]

    def takes_more(self, sender: Hashable, count_max: int) -> bool:
        """Whether fewer messages of a sender wait than this count, and none of them in the crowd."""
        flow, crowd = self.by_sender.get(sender), self.crowd
        return (flow is None or len(flow) < count_max) and (crowd is None or sender not in crowd.senders)

    def put_in_crowd(self, sender: Hashable, message: T, cost: int, allowance: Allowance) -> None:
        """Queue a message of a stranger, with room for it."""
        crowd = self.crowd
        if crowd is None:
            crowd = self.by_sender[CROWD] = Crowd()
        crowd.put(sender, message, cost, allowance)

    def promote(self, sender: Hashable) -> bool:
        """Move the messages of a sender out of the crowd into a queue of its own; return whether there were any."""
        found = self.part_with(sender)
        for message in found:
            self.tail(sender).append(message)
        return bool(found)

    def part_with(self, sender: Hashable) -> list[T]:
        """Take all of one sender out of the crowd."""
        crowd = self.crowd
        if crowd is None or sender not in crowd.senders:
            return []
        found = crowd.part_with(sender)
        if not crowd:
            del self.by_sender[CROWD]
        return found

    def turn(self) -> deque[T]:
        """Return the messages of the next turn; the sender's others wait for all other senders. KeyError for none."""
        self._latest = sender = self._next()
        flow = self.by_sender.pop(sender)
        if isinstance(flow, Crowd):
            return deque((self._pop_for(flow),))
        chunk = flow.turn()
        if flow:
            self.by_sender[sender] = flow
        return chunk

    @property
    def waits_alone(self) -> bool:
        """Whether nobody waits but the sender whose turn the last one was."""
        return len(self.by_sender) == 1 and self._latest in self.by_sender

    @property
    def is_turn_of_crowd(self) -> bool:
        """Whether the last turn was one message of a stranger, charged no more and never put back."""
        return self._latest is CROWD

    def put_back(self, chunk: deque[T]) -> None:
        """Take back the rest of the last turn of a member, to come first in its next one."""
        flow = self.by_sender.get(self._latest)
        if not isinstance(flow, Flow):
            flow = self.by_sender[self._latest] = Flow()
        flow.chunks.appendleft(chunk)

    def head(self) -> T:
        """Return the message whose turn it is, by turns of one message. KeyError for none."""
        flow = self.by_sender[self._next()]
        return (self._elder_of(flow) if isinstance(flow, Crowd) else flow).head()

    def pop(self) -> T:
        """Take the message of the turn out; the next of its sender waits for all other senders. KeyError for none."""
        sender = self._next()
        flow = self.by_sender.pop(sender)
        if isinstance(flow, Crowd):
            return self._pop_for(flow)
        message = flow.pop()
        if flow:
            self.by_sender[sender] = flow
        return message

    def drop_oldest_of_crowd(self) -> T:
        """Take the oldest message of the crowd out. KeyError for none."""
        crowd = self.by_sender[CROWD]
        message = crowd.pop()
        if not crowd:
            del self.by_sender[CROWD]
        return message

    def count(self, sender: Hashable) -> int:
        """Return how many messages of a sender wait."""
        flow = self.by_sender.get(sender)
        return 0 if flow is None else len(flow)

    @property
    def crowd(self) -> Crowd[T] | None:
        """Waiting messages of strangers; None without any."""
        found = self.by_sender.get(CROWD)
        return found if isinstance(found, Crowd) else None

    def senders(self) -> list[Hashable]:
        """Return those with a queue of their own, in the order of their turns."""
        return [sender for sender in self.by_sender if sender is not CROWD]

    def chunks(self) -> Iterator[Iterable[T]]:
        """Yield all waiting messages, sender by sender, the crowd last."""
        for flow in self.by_sender.values():
            if isinstance(flow, Flow):
                yield from flow.chunks
        if (crowd := self.crowd) is not None:
            yield crowd

    def take_all_but_crowd(self) -> list[T]:
        """Take out the messages of all senders with a queue of their own, sender by sender."""
        flows, crowd = self.by_sender, self.crowd
        self.by_sender = {} if crowd is None else {CROWD: crowd}
        return [
            message for flow in flows.values() if isinstance(flow, Flow) for chunk in flow.chunks for message in chunk
        ]

    def clear(self) -> None:
        """Forget all waiting messages."""
        if (crowd := self.crowd) is not None:
            crowd.clear()
        self.by_sender.clear()

    def _elder_of(self, crowd: Crowd[T]) -> Flow[T] | Crowd[T]:
        """Return where the message is whose turn it is with the crowd's.

        It is the crowd's oldest one, or first the messages sent by its sender as a member: so the order of a removed
        run holds, and it gets no turns beside those it had.
        """
        elder = self.by_sender.get(crowd.first_sender)
        return crowd if elder is None else elder

    def _pop_for(self, crowd: Crowd[T]) -> T:
        """Take the message of the crowd's turn out; the rest waits for all other senders."""
        sender, source = crowd.first_sender, self._elder_of(crowd)
        message = source.pop()
        if source is not crowd and not source:
            del self.by_sender[sender]
        if crowd:
            self.by_sender[CROWD] = crowd
        return message

    def _next(self) -> Hashable:
        for sender in self.by_sender:
            return sender
        raise KeyError("nothing waits")

    def __len__(self) -> int:
        return sum(map(len, self.by_sender.values()))

    def __bool__(self) -> bool:
        return bool(self.by_sender)

    def __repr__(self) -> str:
        return f"<FairQueue senders={len(self.by_sender)} messages={len(self)}>"
