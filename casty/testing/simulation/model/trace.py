"""History of a simulation, as 16 bytes: two runs with any difference have different ones."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

Fact = str | bytes | int | float
Show = Callable[[tuple[Fact, ...]], object]
"""Told of each moment: the time, and the facts."""


BATCH = 1_000


class Trace:
    """Takes facts in their order, and hands them to ``show`` if given; ``digest`` is over all of them.

    >>> one, other = Trace(), Trace()
    >>> one.add(0.5, "a", "sends")
    >>> other.add(0.5, "b", "sends")
    >>> one.digest == other.digest, len(one.digest), one.count
    (False, 32, 1)
    """

    def __init__(self, show: Show | None = None) -> None:
        self.count = 0
        self._show = show
        self._hasher = blake2b(digest_size=16)
        self._waiting: list[tuple[Fact, ...]] = []
        """Facts not in the digest yet: many are written and hashed at one time."""

    def add(self, *facts: Fact) -> None:
        """Take the facts of one moment; they must not depend on hashes or identities."""
        self.count += 1
        self._waiting.append(facts)
        if len(self._waiting) >= BATCH:
            self._hash()
        if self._show is not None:
            self._show(facts)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over everything so far."""
        self._hash()
        return self._hasher.hexdigest()

    def _hash(self) -> None:
        self._hasher.update("".join(map(repr, self._waiting)).encode())
        self._waiting.clear()

    def __repr__(self) -> str:
        return f"<Trace {self.digest} of {self.count} facts>"
