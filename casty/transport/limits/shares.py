"""Division of a node's memory for all peers outside of the cluster."""

from __future__ import annotations

from typing import Final, NamedTuple

from casty.config import TransportLimits

PARTS: Final = 8
"""Of ``strangers_bytes_max``. One is left for the overhead of memory: growing buffers, gaps."""

OUTBOUND_PEERS: Final = 2
"""The queues of all strangers together hold at most as much as those of so many members."""


class Shares(NamedTuple):
    """Bytes for each kind of memory kept for strangers; fixed, so that a flood of one kind costs no other its room."""

    links: int
    """For their connections."""
    outbound: int
    """For frames waiting to be written to them."""
    mailboxes: int
    """For their messages waiting for actors."""


def shares(limits: TransportLimits) -> Shares:
    """Return how the bytes for strangers are divided.

    >>> [share // 2**20 for share in shares(TransportLimits())]
    [24, 16, 16]
    """
    part = limits.strangers_bytes_max // PARTS
    return Shares(3 * part, min(OUTBOUND_PEERS * limits.outbound_bytes_max, 2 * part), 2 * part)
