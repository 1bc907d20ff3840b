"""Those who hear of a session: a value of functions, so that a session knows no node and no other session."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Generic

from casty.address import UniqueAddress
from casty.transport.limits.rate_limited_log import RateLimitedLog
from casty.transport.links.guests import Bounds, S
from casty.transport.links.reading import Places
from casty.wire.frame import FrameKind, Lane


@dataclass(frozen=True, slots=True)
class SessionOwner(Generic[S]):
    """Recipient of a session's reports: each frame of the lane, and, once, the moment at which it is over."""

    frame: Callable[[UniqueAddress, Lane, FrameKind, bytes | memoryview], None]
    envelopes: Callable[[UniqueAddress, Sequence[tuple[FrameKind, bytes]], int], int]
    """Takes consecutive envelopes from a place on, and returns the next place: 0.1 us less for each."""
    ended: Callable[[S, str, bool], None]
    bounds: Bounds[S]
    """For those whose peers are no members."""
    asking: Callable[[], int]
    complaints: RateLimitedLog
    moved: Callable[[S], None]
    """Told of a session that writes for its link from now on, in the place of the one handed over to it."""
    places: Places = field(default_factory=Places)
