"""What happened in a simulation, as 16 bytes: two runs that differ anywhere have different ones."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import blake2b

Fact = str | bytes | int | float
Show = Callable[[tuple[Fact, ...]], object]
"""Is told of each moment: the time, and what happened."""


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

    def add(self, *facts: Fact) -> None:
        """Take what happened at one moment; facts must not depend on hashes or identities."""
        self.count += 1
        self._hasher.update(repr(facts).encode())
        if self._show is not None:
            self._show(facts)

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over everything so far."""
        return self._hasher.hexdigest()

    def __repr__(self) -> str:
        return f"<Trace {self.digest} of {self.count} facts>"
