"""Who listens to what the simulated nodes say and do.

Owns the lists of listeners. It does not know what they make of it (`casty.testing.simulation.invariants`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.testing.simulation.model.run import Run

Tap = Callable[[Run, UniqueAddress, object], None]


@dataclass(slots=True)
class Taps:
    """Who listens to what is said: called with a run and the other one and the message, or with the effect."""

    sent: list[Tap] = field(default_factory=lambda: list[Tap]())
    """Each message and to whom it goes, also when it gets lost."""
    sent_of: dict[type, list[Tap]] = field(default_factory=lambda: dict[type, "list[Tap]"]())
    """The same, by the class of the message."""
    received_of: dict[type, list[Tap]] = field(default_factory=lambda: dict[type, "list[Tap]"]())
    """Each message of a class and whose it is, before the task of the run takes it that it is for."""
    performed_of: dict[type, list[Callable[[Run, object], None]]] = field(
        default_factory=lambda: dict[type, "list[Callable[[Run, object], None]]"]()
    )
    """Each effect of a class of the machines of a run, before it is performed."""

    def show_received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        """Show a message that came to a run to who listens for its class.

        Parameters:
            run: The run, whose task is about to take it.
            sender: The run that sent it.
            message: The message.
        """
        for tap in self.received_of.get(type(message), ()):
            tap(run, sender, message)
