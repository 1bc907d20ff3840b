"""The state of reaching one address on one lane: where the attempt stands, and when the next comes."""

from __future__ import annotations

from enum import Enum
from random import Random

import trio

from casty.address import NodeAddress
from casty.wire.frame import Lane
from casty.wire.handshake import NONCE_BITS

RETRY_DELAY_FIRST = 0.05
RETRY_DELAY_MAX = 1.0
RETRY_JITTER = 0.1
"""Random part of a delay: nodes with the same lost peer must not return in step."""

_DOUBLINGS_MAX = 16


class DialPhase(Enum):
    """Progress of an attempt."""

    connecting = "connecting"
    greeting = "greeting"
    """The hello is on its way: from here on the peer knows of the attempt."""
    yielding = "yielding"
    """The peer dials as well and its connection was preferred: it is waited for."""
    pausing = "pausing"
    """Between two attempts."""


class DialTask:
    """Task trying to reach an address on one lane.

    ``is_requested``: somebody asked for the outcome, so it is not given up when no frame waits. ``is_redirected``: the
    node dialled before has named the address, and nobody leads on from it. ``is_peer_waiting``: the peer dialled too
    and was told to wait for this attempt. ``is_given_up``: the outcome does not matter any more, and nothing is
    reported. ``nonce``: the number of the hello of this attempt.
    """

    __slots__ = (
        "_resumed",
        "address",
        "begun",
        "failures",
        "is_given_up",
        "is_peer_waiting",
        "is_redirected",
        "is_requested",
        "lane",
        "nonce",
        "phase",
        "scope",
    )

    def __init__(
        self, address: NodeAddress, lane: Lane, *, failures: int, is_requested: bool, is_redirected: bool = False
    ) -> None:
        self.address = address
        self.begun = 0.0
        self.lane = lane
        self.failures = failures
        self.is_requested = is_requested
        self.is_redirected = is_redirected
        self.is_given_up = False
        self.is_peer_waiting = False
        self.nonce = 0
        self.phase = DialPhase.pausing if failures else DialPhase.connecting
        self.scope = trio.CancelScope()
        self._resumed = trio.Event()

    def give_up(self) -> None:
        """Stop trying, quietly."""
        self.is_given_up = True
        self.scope.cancel()

    def request(self) -> None:
        """Ask for an outcome, and for an attempt now if none is under way."""
        self.is_requested = True
        self._resumed.set()

    async def pause(self, rng: Random) -> None:
        """Wait until the next attempt is due or asked for."""
        self.phase = DialPhase.pausing
        with trio.move_on_after(retry_delay(self.failures, rng)):
            await self._resumed.wait()

    def begin(self, rng: Random) -> None:
        """Start an attempt."""
        self.begun = trio.current_time()
        self.is_peer_waiting = False
        self.nonce = rng.getrandbits(NONCE_BITS) or 1
        self.phase = DialPhase.connecting
        self._resumed = trio.Event()

    def lateness(self, timeout: float) -> str:
        """Name the step missing after so many seconds."""
        match self.phase:
            case DialPhase.yielding:
                what = f"{self.address} said that it dials this node, but no connection came"
            case DialPhase.greeting:
                what = f"{self.address} did not answer the hello"
            case DialPhase.connecting | DialPhase.pausing:
                what = f"{self.address} did not answer the dial"
        return f"{what} within {timeout:g} s"

    def __repr__(self) -> str:
        return f"<DialTask {self.address} {self.lane.name} {self.phase.value} failures={self.failures}>"


def retry_delay(failures: int, rng: Random) -> float:
    """Return the wait after so many failures in a row: doubling, capped, jittered."""
    doublings = min(max(failures - 1, 0), _DOUBLINGS_MAX)
    delay = min(RETRY_DELAY_MAX, RETRY_DELAY_FIRST * 2.0**doublings)
    return delay * (1 - RETRY_JITTER * rng.random())
