"""Effects asked by machines of their drivers.

Owns the effects that several machines share. A machine never acts: it returns these values, and the
driver performs them in order. Machines get `now` (monotonic float seconds) and an `Rng` as
arguments; they must not know a clock, a task or a log.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeVar

from casty.address import NodeAddress, UniqueAddress

T = TypeVar("T")


class Rng(Protocol):
    """Part of ``random.Random`` used by machines."""

    def random(self) -> float: ...

    def getrandbits(self, k: int, /) -> int: ...

    def sample(self, population: Sequence[T], k: int) -> list[T]: ...


class Severity(Enum):
    """Level of the log for a `Note`."""

    info = "info"
    warning = "warning"
    error = "error"


@dataclass(frozen=True, slots=True)
class Send:
    """Hand a control message to the transport; may be lost, so the machine repeats what matters.

    ``to`` with incarnation 0 means whichever run answers at the address.
    """

    to: UniqueAddress
    message: object


@dataclass(frozen=True, slots=True)
class SendIfUp:
    """Send over an established link only, and dial when there is none: for heartbeats."""

    to: UniqueAddress
    message: object


@dataclass(frozen=True, slots=True)
class Dial:
    """Try once to connect the control lane; the outcome comes back as an event."""

    address: NodeAddress


@dataclass(frozen=True, slots=True)
class StartTimer:
    """Deliver ``TimerFired(key)`` after ``delay`` seconds; replaces a running timer of that key."""

    key: str
    delay: float


@dataclass(frozen=True, slots=True)
class TimerFired:
    """Event of a timer at its end."""

    key: str


@dataclass(frozen=True, slots=True)
class PublishEvent:
    """Put an event on the system's event stream."""

    event: object


@dataclass(frozen=True, slots=True)
class Note:
    """One line for the operator's log; ``about`` names the peer that causes it and can cause many."""

    severity: Severity
    text: str
    about: NodeAddress | None = None
