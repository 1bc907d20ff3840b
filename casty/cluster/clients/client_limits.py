"""Bounds of clients at one node."""

from __future__ import annotations

from typing import Final

CONNECTIONS_PER_HOST_MAX: Final = 64
CONNECTIONS_MAX: Final = 1_024
ASKS_MAX: Final = 1_000
"""Asks of one client without an answer yet."""
CLIENT_BYTES_MAX: Final = 8 * 1024 * 1024
"""Bytes of one client's unanswered asks; and of its unread replies."""
PUBLISHED_BYTES_MAX: Final = 4 * 1024 * 1024
"""Bytes that one client has not read, from which on messages of topics are dropped: what is above is for replies."""
ALL_BYTES_MAX: Final = 64 * 1024 * 1024
"""Bytes of both, of all clients of the node; above it whoever has left most unread has to go."""
ALL_ASKED_BYTES_MAX: Final = ALL_BYTES_MAX * 3 // 4
"""Bytes of unanswered asks of all clients: the rest is for replies."""
TELLS_PER_SECOND: Final = 1_000
"""Tells, and refused messages, of one client: faster ones wait, and what it sends behind them, too. Of neither anybody
hears when it was handled."""
TURN_FRAMES_MAX: Final = 8
"""Frames of one client's turn, after which all others that wait have theirs: who has more than one frame to be read
waits for so much of each of those that never pause, measured beside 60 of them for 24 to 62 ms by the median."""
TURN_SECONDS: Final = 0.001
"""Seconds after which a turn ends, also before so many frames: some of them are large."""
UNTURNED_BYTES_MAX: Final = 4 * 1024
"""Bytes of a frame that waits for no turn where it is the first one of a read: reading has let all others run. Who asks
one thing at a time waits beside 60 floods for 2 to 10 ms by the median, and 64 of these pay nothing for turns, where
waiting for one each took 1.3 times the processor time."""
LARGE_BYTES: Final = 16 * 1024
"""Bytes from which on a message may take long to decode: 64 KiB of empty maps take 20 ms and more."""
LARGE_SECONDS: Final = 0.005
"""Seconds of that from which on the loop is left to others for as long, before the next large one that waits."""
GIVEN_MAX: Final = 1_024
"""Refs given to one client; with more, the oldest one leads nowhere any more."""
CONTACTS_INTERVAL: Final = 1.0
"""Seconds between two lists of contact points, which tell as well that the node is there."""
REFUSALS_LOGGED: Final = "a client's message is not taken: "
LEAVE_PATIENCE: Final = 5.0
"""Seconds for which a node that leaves its cluster waits for the replies to open asks of clients."""
LEAVE_GRACE: Final = 1.0
"""Seconds, of those, for clients without open asks: one may be on its way."""
LEAVE_MARGIN: Final = 0.25
"""Seconds by which the patience with clients ends before all of the node's, which would cancel their last frames."""
