"""Bounds on the traffic of a node's extensions: bytes on the control lane, and messages waiting for their actors.

Owns the bounds and their counts. Heartbeats, gossip and the leases of exclusive work travel on the control lane, read
by a receiver at a certain number of bytes a second (`CONTROL_BYTES_PER_SECOND` of the transport): the traffic of an
extension there is taken from theirs, so it is refused at its sender before they are late.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from casty.address import UniqueAddress
from casty.transport.limits.token_bucket import FRAME_COST_BYTES, TokenBucket

CONTROL_LANE_BYTES_MAX: Final = 16 * 1024
"""Bytes of one frame of an extension on the control lane: a heartbeat behind it waits 13 ms at 10 Mbit/s."""
CONTROL_LANE_BYTES_PER_SECOND: Final = 64 * 1024
CONTROL_LANE_BYTES_BURST: Final = 256 * 1024
"""Allowance of all extensions of a node together for one other node on the control lane, each frame counted as 64 bytes
more: a quarter of the receiver's rate, and an eighth of its burst. The membership needs less than 6 kB/s, and the pages
of a whole state, 256 KiB each."""
PEERS_MAX: Final = 4_096
"""Nodes counted apart; messages to more of them at a time are refused."""

WAITING_MESSAGES_MAX: Final = 16_384
WAITING_BYTES_MAX: Final = 16 * 1024 * 1024
"""Control messages waiting for the actors of one extension, and the bytes of their frames. More are dropped."""
STRANGERS_PART: Final = 4
"""Divisor of these bounds for senders outside of the cluster, so that members find room."""


class ControlLaneBudget:
    """Allowances of the extensions of one node for each other node on the control lane."""

    def __init__(self) -> None:
        self._by_peer: dict[UniqueAddress, TokenBucket] = {}

    def take(self, to: UniqueAddress, size: int, *, now: float) -> bool:
        """Take a frame of ``size`` bytes for a node; False, and take nothing, where the allowance is too small."""
        bucket = self._by_peer.get(to)
        if bucket is None:
            if len(self._by_peer) >= PEERS_MAX:
                self._by_peer = {peer: each for peer, each in self._by_peer.items() if not each.is_full(now)}
            if len(self._by_peer) >= PEERS_MAX:
                return False
            bucket = TokenBucket(per_second=CONTROL_LANE_BYTES_PER_SECOND, burst=CONTROL_LANE_BYTES_BURST, now=now)
            self._by_peer[to] = bucket
        return bucket.take_if_held(size + FRAME_COST_BYTES, now=now)

    def __repr__(self) -> str:
        return f"<ControlLaneBudget peers={len(self._by_peer)}>"


class WaitingMessages:
    """Sizes of the control messages possibly waiting for the actors of one extension: the last ones delivered.

    An actor takes messages in their order, so only the last ones can wait, as many as its mailbox holds. With an empty
    mailbox nothing waits, as in an extension without actors.

    >>> waiting = WaitingMessages()
    >>> waiting.take(100, waiting=0, part=1), waiting.take(200, waiting=1, part=1), waiting.take(5, waiting=1, part=1)
    (True, True, True)
    >>> waiting
    <WaitingMessages messages=2 bytes=205>
    """

    def __init__(self) -> None:
        self._sizes: deque[int] = deque()
        self._bytes = 0

    def take(self, size: int, *, waiting: int, part: int) -> bool:
        """Count an arriving message; False where it finds no room.

        ``waiting``: messages of any kind in the mailboxes of the extension's actors, before this one is told.
        ``part``: divisor of the room for this sender: 1 leaves all of it, 4 a quarter.
        """
        while len(self._sizes) > waiting:
            self._bytes -= self._sizes.popleft()
        if len(self._sizes) >= WAITING_MESSAGES_MAX // part or self._bytes + size > WAITING_BYTES_MAX // part:
            return False
        self._sizes.append(size)
        self._bytes += size
        return True

    def __repr__(self) -> str:
        return f"<WaitingMessages messages={len(self._sizes)} bytes={self._bytes}>"
