"""The words of counters.py: commands, the event, and what is told when it is stored."""

from __future__ import annotations

from dataclasses import dataclass

import casty
from casty import ActorRef


@casty.event("example.Added")
@dataclass(frozen=True)
class Added:
    """The counter has grown."""

    amount: int


@casty.message("example.Add")
@dataclass(frozen=True)
class Add:
    """Add an amount, and say the new total."""

    amount: int
    reply_to: ActorRef[int]


@casty.message("example.Total")
@dataclass(frozen=True)
class Total:
    """Say the total."""

    reply_to: ActorRef[int]


@casty.message("example.Receipt")
@dataclass(frozen=True)
class Receipt:
    """An addition that cannot be taken back any more."""

    counter: str
    total: int


COUNTERS = casty.EntityKey[Add | Total]("counters")
