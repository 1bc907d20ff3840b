"""Claims of one side of a partition."""

from __future__ import annotations

from casty import LeaseClaim


def claim(side: str, others: str, cluster: str = "shop") -> LeaseClaim:
    """Return the claim of a side against others, a letter for each member."""
    return LeaseClaim(cluster, frozenset(side), frozenset(others))
