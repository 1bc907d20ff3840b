"""Messages of all non-members in one mailbox, in order, with their senders and their costs.

Owns the charge for them: all messages of strangers waiting on a node, in any mailbox, are counted in one `Allowance`. A
message is charged when it is put in, and counted off when it leaves, by any way. A turn is one message, so nobody waits
for more than one call of a handler that takes milliseconds.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Hashable, Iterator, KeysView
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

T = TypeVar("T")


class _Crowd:
    """The type of `CROWD`."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "CROWD"


CROWD: Final = _Crowd()
"""Sender standing for all non-members, where turns are taken."""


@dataclass(slots=True, eq=False)
class Allowance:
    """Bytes held by several crowds together, and their bound."""

    bytes_max: int
    bytes: int = 0

    def has_room(self, cost: int) -> bool:
        """Whether so much more may wait."""
        return self.bytes + cost <= self.bytes_max


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Origin of a message of a non-member, and its charge wherever it waits on this node."""

    sender: Hashable
    cost: int
    allowance: Allowance

    @property
    def fault(self) -> str:
        """Reason for which the message can never wait; empty where it can, once there is room."""
        most = self.allowance.bytes_max
        return f"this one counts as {self.cost} bytes, and all together may be {most}" if self.cost > most else ""


class Crowd(Generic[T]):
    """The messages of one crowd.

    >>> crowd, allowance = Crowd(), Allowance(1_000)
    >>> for word in ("one", "two"):
    ...     crowd.put("stranger", word, 400, allowance)
    >>> allowance.bytes, allowance.has_room(400)
    (800, False)
    >>> crowd.pop(), len(crowd), allowance.bytes
    ('one', 1, 400)
    """

    __slots__ = ("_entries", "_senders")

    def __init__(self) -> None:
        self._entries: deque[tuple[Hashable, T, int, Allowance]] = deque()
        self._senders: Counter[Hashable] = Counter()

    def put(self, sender: Hashable, message: T, cost: int, allowance: Allowance) -> None:
        """Take a message with room for it."""
        allowance.bytes += cost
        self._entries.append((sender, message, cost, allowance))
        self._senders[sender] += 1

    def head(self) -> T:
        """Return the oldest message. IndexError for none."""
        return self._entries[0][1]

    @property
    def first_sender(self) -> Hashable:
        """Sender of the oldest message. IndexError for none."""
        return self._entries[0][0]

    def pop(self) -> T:
        """Take the oldest message out. IndexError for none."""
        sender, message, cost, allowance = self._entries.popleft()
        allowance.bytes -= cost
        self._senders[sender] -= 1
        if not self._senders[sender]:
            del self._senders[sender]
        return message

    def part_with(self, sender: Hashable) -> list[T]:
        """Take out all of one sender, no stranger any more, in order."""
        found: list[T] = []
        for entry in [self._entries.popleft() for _ in range(len(self._entries))]:
            if entry[0] == sender:
                entry[3].bytes -= entry[2]
                found.append(entry[1])
            else:
                self._entries.append(entry)
        del self._senders[sender]
        return found

    def clear(self) -> None:
        """Count everything off."""
        while self._entries:
            self.pop()

    @property
    def senders(self) -> KeysView[Hashable]:
        """Senders of the waiting messages."""
        return self._senders.keys()

    def __iter__(self) -> Iterator[T]:
        return (message for _, message, _, _ in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Crowd messages={len(self)} senders={len(self._senders)}>"
