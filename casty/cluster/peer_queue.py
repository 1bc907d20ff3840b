"""Messages of peers to one of the node's own actors: a bounded queue for each peer, taken in turn.

Owns fairness between peers: the actor's mailbox holds at most one `PeerReady` for each peer, and after each letter the
peer's next one waits behind everybody else's. A peer talking without end waits for itself only; letters beyond its own
queue are lost, and the protocols repeat important ones.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from casty.address import UniqueAddress

LETTERS_MAX = 256
LETTER_BYTES_MAX = 1_048_576
"""Of one peer, as they were on the wire; one letter is taken whatever its size."""

L = TypeVar("L")


@dataclass(frozen=True, slots=True)
class PeerReady:
    """There is a letter of this peer."""

    peer: UniqueAddress


class PeerQueue(Generic[L]):
    """Queues of one actor; ``ring`` tells it that there is `PeerReady`."""

    def __init__(self, ring: Callable[[PeerReady], None]) -> None:
        self._ring = ring
        self._letters: dict[UniqueAddress, deque[tuple[L, int]]] = {}
        self._bytes: dict[UniqueAddress, int] = {}
        self.lost = 0

    def put(self, peer: UniqueAddress, letter: L, size: int) -> None:
        """Take a letter of ``size`` bytes on the wire, or count it as lost."""
        queue = self._letters.get(peer)
        if queue is None:
            self._letters[peer], self._bytes[peer] = deque([(letter, size)]), size
            self._ring(PeerReady(peer))
        elif len(queue) < LETTERS_MAX and self._bytes[peer] + size <= LETTER_BYTES_MAX:
            queue.append((letter, size))
            self._bytes[peer] += size
        else:
            self.lost += 1

    def take(self, mail: PeerReady) -> L | None:
        """Return the peer's oldest letter, and ring again for the next one; None where `take_all` has been here."""
        queue = self._letters[mail.peer]
        letter, size = queue.popleft() if queue else (None, 0)
        self._bytes[mail.peer] -= size
        if queue:
            self._ring(mail)
        else:
            del self._letters[mail.peer], self._bytes[mail.peer]
        return letter

    def take_all(self) -> list[L]:
        """Return all letters, those of each peer in their order; nobody rings again for what comes meanwhile.

        The mails that are under way stay the only ones of their peers, and find what has come by then, or nothing.
        """
        letters = [letter for queue in self._letters.values() for letter, _ in queue]
        for peer, queue in self._letters.items():
            queue.clear()
            self._bytes[peer] = 0
        return letters

    @property
    def waiting(self) -> int:
        """Number of waiting letters."""
        return sum(map(len, self._letters.values()))

    def __repr__(self) -> str:
        return f"<PeerQueue peers={len(self._letters)} lost={self.lost}>"
