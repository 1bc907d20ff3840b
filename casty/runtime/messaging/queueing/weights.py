"""Bytes of large messages waiting in a mailbox, found out only when it matters.

Owns the sizes of the large messages in a mailbox. Nobody tells it when a message is taken, as it would be on the way of
all messages: it looks for those still there, when it is asked. It keeps no message alive, so it knows them by their
places in memory. Another message may have the place of a taken one; if it is small and waits too, it counts with the
size of the gone one until it is taken itself. So too much can be counted for a while, and never too little.
"""

from __future__ import annotations

from collections.abc import Iterable


class QueuedBytes:
    """The large messages of one mailbox.

    >>> weights, messages = QueuedBytes(), ["large", "small"]
    >>> weights.add(messages[0], 5_000)
    >>> weights.unseen, weights.waiting(messages), weights.unseen
    (5000, 5000, 0)
    >>> weights.waiting(messages[1:])
    0
    """

    __slots__ = ("_sizes", "unseen")

    def __init__(self) -> None:
        self._sizes: dict[int, int] = {}
        self.unseen = 0
        """Bytes added since the last call of `waiting`."""

    def add(self, message: object, size: int) -> None:
        """Take note of a message of ``size`` bytes in the mailbox now."""
        self._sizes[id(message)] = size
        self.unseen += size

    def waiting(self, messages: Iterable[object]) -> int:
        """Return the bytes of those still among ``messages``, all the waiting ones, and forget all others."""
        sizes = self._sizes
        self._sizes = {key: sizes[key] for key in map(id, messages) if key in sizes}
        self.unseen = 0
        return sum(self._sizes.values())

    def __repr__(self) -> str:
        return f"<QueuedBytes messages={len(self._sizes)} unseen={self.unseen}>"
