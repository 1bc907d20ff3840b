"""Ring of members.

Owns the order: by a hash of address and incarnation, the same in every process and unlike any order of names or of
starts. It does not know what neighbours do for each other (`monitor`).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection
from hashlib import blake2b

from casty.address import UniqueAddress


def ring_position(node: UniqueAddress) -> bytes:
    """Return where a node stands on the ring: a hash, the same in every process."""
    return blake2b(str(node).encode(), digest_size=8).digest()


def successors(self_node: UniqueAddress, members: Collection[UniqueAddress], count: int) -> list[UniqueAddress]:
    """Return the next ``count`` members after ``self_node`` on the ring, without itself."""
    ring = sorted((ring_position(node), node) for node in members if node != self_node)
    start = bisect_right(ring, (ring_position(self_node), self_node))
    return [node for _, node in (ring[start:] + ring[:start])[:count]]
