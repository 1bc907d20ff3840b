"""Listeners to the messages and effects of the simulated nodes.

Owns the lists of listeners. It does not know their purpose (`casty.testing.simulation.invariants`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.testing.simulation.model.run import Run

Tap = Callable[[Run, UniqueAddress, object], None]


@dataclass(slots=True)
class Taps:
    """Listeners to messages: called with a run and the other one and the message, or with the effect."""

    sent: list[Tap] = field(default_factory=lambda: list[Tap]())
    """Each message with its receiver, also when it gets lost."""
    sent_of: dict[type, list[Tap]] = field(default_factory=lambda: dict[type, "list[Tap]"]())
    """Those of `sent`, by the class of the message."""
    received_of: dict[type, list[Tap]] = field(default_factory=lambda: dict[type, "list[Tap]"]())
    """Each message of a class with its sender, before the task of the run takes it."""
    performed_of: dict[type, list[Callable[[Run, object], None]]] = field(
        default_factory=lambda: dict[type, "list[Callable[[Run, object], None]]"]()
    )
    """Each effect of a class of the machines of a run, before it is performed."""
