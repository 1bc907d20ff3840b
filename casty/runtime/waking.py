"""What a sleep ends with that has no value: one object for all.

Trio makes an outcome for each task that is woken, and marks it as used when the task takes it. Nearly all that
sleep here are told nothing but to go on. With one outcome for all, a hop between two actors takes 0.86 of the time
and a local ask 0.92.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, cast

if TYPE_CHECKING:
    from outcome import Outcome


class Woken:
    """An outcome of None that can be taken any number of times."""

    __slots__ = ()

    def unwrap(self) -> None:
        """Return None: what the sleeping task gets."""

    def __repr__(self) -> str:
        return "<WOKEN>"


WOKEN: Final = cast("Outcome[object]", Woken())
"""For `trio.lowlevel.reschedule`, which only hands it on to `trio.lowlevel.wait_task_rescheduled`."""
