"""What happened in a simulation, as 16 bytes: two runs that differ anywhere have different ones."""

from __future__ import annotations

from hashlib import blake2b

Fact = str | bytes | int | float


class Trace:
    """Takes facts in their order; ``digest`` is over all of them.

    >>> one, other = Trace(), Trace()
    >>> one.add(0.5, "a", "sends")
    >>> other.add(0.5, "b", "sends")
    >>> one.digest == other.digest, len(one.digest), one.count
    (False, 32, 1)
    """

    def __init__(self) -> None:
        self.count = 0
        self._hasher = blake2b(digest_size=16)

    def add(self, *facts: Fact) -> None:
        """Take what happened at one moment; facts must not depend on hashes or identities."""
        self.count += 1
        self._hasher.update(repr(facts).encode())

    @property
    def digest(self) -> str:
        """32 hexadecimal digits over everything so far."""
        return self._hasher.hexdigest()

    def __repr__(self) -> str:
        return f"<Trace {self.digest} of {self.count} facts>"
