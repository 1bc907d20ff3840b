"""How what all peers that are no members may take up of a node is divided."""

from __future__ import annotations

from typing import Final, NamedTuple

from casty.config import TransportLimits

PARTS: Final = 8
"""Of ``strangers_bytes_max``. One is left, for what memory costs beyond what it holds: buffers that grow, gaps."""

OUTBOUND_PEERS: Final = 2
"""What waits for all strangers together is at most as much as what may wait for so many members."""


class Shares(NamedTuple):
    """Bytes for each kind of what is kept for strangers; fixed, so that a flood of one kind costs no other its room."""

    links: int
    """What their connections hold."""
    outbound: int
    """What waits to be written to them."""
    mailboxes: int
    """Their messages that wait for actors."""


def shares(limits: TransportLimits) -> Shares:
    """Return how the bytes for strangers are divided.

    >>> [share // 2**20 for share in shares(TransportLimits())]
    [24, 16, 16]
    """
    part = limits.strangers_bytes_max // PARTS
    return Shares(3 * part, min(OUTBOUND_PEERS * limits.outbound_bytes_max, 2 * part), 2 * part)
