"""Checks of runs and counts told by a peer.

Owns their bounds. It does not know what they are told for.

How it works: a check raises DecodeError before a value is kept, or becomes a key.
"""

from __future__ import annotations

from collections.abc import Sequence

from casty.address import INCARNATION_MAX, UniqueAddress
from casty.errors import DecodeError

COUNT_MAX = 2**62
"""Largest version or number taken from a peer: additions to it still fit the wire."""
JUMP_MAX = 2**32
"""Bound on how far a version or number told by a peer may be ahead of the known one: more changes than a node makes in
a year, and too few to come near to `COUNT_MAX` by telling.
"""


def check_runs(nodes: Sequence[UniqueAddress], most: int, what: str) -> None:
    """Raise DecodeError unless there are at most ``most`` runs, no incarnation twice, and each of 64 bits.

    To be called before they become keys: runs of one incarnation share one hash, and a table of
    thousands of them would hold the loop for seconds.
    """
    incarnations = {node.incarnation for node in nodes}
    if len(nodes) > most or len(incarnations) != len(nodes):
        raise DecodeError(f"gossip: {what} must be distinct runs, at most {most}, got {len(nodes)}")
    if incarnations and not 0 <= min(incarnations) <= max(incarnations) <= INCARNATION_MAX:
        raise DecodeError(f"gossip: {what} must have incarnations from 0 to {INCARNATION_MAX}")
