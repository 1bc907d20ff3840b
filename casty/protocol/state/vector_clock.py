"""Vector clocks: which of two versions has seen the other.

Owns nothing but the comparison. Source: Fidge 1988 and Mattern 1989; entries count local changes
per key, an absent key counts 0.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from casty.schema.names import message

K = TypeVar("K", bound=Hashable)


@message("casty.VectorClock")
@dataclass(frozen=True)
class VectorClock(Generic[K]):
    """An immutable vector clock.

    >>> a = VectorClock[str]().increment("a")
    >>> b = a.increment("b")
    >>> a.is_before(b), b.is_before(a), b.version_of("b")
    (True, False, 1)
    >>> a.increment("a").is_concurrent_with(b)
    True
    """

    versions: Mapping[K, int] = field(default_factory=lambda: dict[K, int]())
    """Changes seen, by the node of their origin; an absent node counts 0."""

    def version_of(self, node: K) -> int:
        """Count the changes of a node seen by this version.

        Parameters:
            node: Node of their origin.

        Returns:
            The count; 0 for a node not in it.
        """
        return self.versions.get(node, 0)

    def increment(self, node: K) -> VectorClock[K]:
        """Count one more change.

        Parameters:
            node: Node of the change.

        Returns:
            The version after it; this one stays as it is.
        """
        return VectorClock({**self.versions, node: self.version_of(node) + 1})

    def merge(self, other: VectorClock[K]) -> VectorClock[K]:
        """Find the least version that has seen both.

        Parameters:
            other: Another version.

        Returns:
            The least version.
        """
        merged = dict(self.versions)
        for node, version in other.versions.items():
            if version > merged.get(node, 0):
                merged[node] = version
        return VectorClock(merged)

    def without(self, node: K) -> VectorClock[K]:
        """Drop an entry, when its owner is gone for good.

        Parameters:
            node: Whose entry.

        Returns:
            The version without it.
        """
        return VectorClock({key: version for key, version in self.versions.items() if key != node})

    def covers(self, other: VectorClock[K]) -> bool:
        """Compare: has this version seen everything seen by another?

        Parameters:
            other: Another version.

        Returns:
            True also where both are the same.
        """
        mine, theirs = self.versions, other.versions
        if mine is theirs or mine == theirs:
            return True  # which Python finds out in a tenth of the time
        return all(mine.get(node, 0) >= version for node, version in theirs.items())

    def is_before(self, other: VectorClock[K]) -> bool:
        """Compare: has another version seen all of this and more?

        Parameters:
            other: Another version.

        Returns:
            False where both are the same.
        """
        return other.covers(self) and not self.covers(other)

    def is_concurrent_with(self, other: VectorClock[K]) -> bool:
        """Compare: has each seen a change not seen by the other?

        Parameters:
            other: Another version.

        Returns:
            True where neither covers the other.
        """
        return not self.covers(other) and not other.covers(self)

    def __hash__(self) -> int:
        return hash(frozenset(self.versions.items()))
