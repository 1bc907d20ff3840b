"""What waits in one mailbox of all who are no members, in order, with its senders and its costs.

Owns the charge for it: everything that strangers have waiting on a node, in whatever mailboxes, is counted in one
`Allowance`. A message is charged when it is put in, and counted off when it leaves, whichever way that is. A turn is
one message, so that nobody waits for more than one call of a handler that takes milliseconds.
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
"""The sender that all who are no members are, where turns are taken."""


@dataclass(slots=True, eq=False)
class Allowance:
    """How many bytes several crowds hold together, and how many they may."""

    bytes_max: int
    bytes: int = 0

    def has_room(self, cost: int) -> bool:
        """Whether so much more may wait."""
        return self.bytes + cost <= self.bytes_max


@dataclass(frozen=True, slots=True, eq=False)
class Origin:
    """Where a message of who is no member comes from, and what it is charged wherever it waits on this node."""

    sender: Hashable
    cost: int
    allowance: Allowance

    @property
    def fault(self) -> str:
        """Why the message can never wait; empty where it can, once there is room."""
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
        """Take a message for which there is room."""
        allowance.bytes += cost
        self._entries.append((sender, message, cost, allowance))
        self._senders[sender] += 1

    def head(self) -> T:
        """Return the oldest message. IndexError for none."""
        return self._entries[0][1]

    @property
    def first_sender(self) -> Hashable:
        """Whose message is the oldest. IndexError for none."""
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
        """Take out all of one sender, who is no stranger any more, in order."""
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
        """Those of whom something waits."""
        return self._senders.keys()

    def __iter__(self) -> Iterator[T]:
        return (message for _, message, _, _ in self._entries)

    def __len__(self) -> int:
        return len(self._entries)

    def __repr__(self) -> str:
        return f"<Crowd messages={len(self)} senders={len(self._senders)}>"
