"""The one loop between a pure machine and its task."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Callable, Sequence
from typing import Protocol, TypeVar

import trio

from casty.schema.names import printable

logger = logging.getLogger("casty.runtime")

E = TypeVar("E")
F = TypeVar("F")
E_contra = TypeVar("E_contra", contravariant=True)
F_co = TypeVar("F_co", covariant=True)


class Machine(Protocol[E_contra, F_co]):
    """Maker of decisions: events in, effects out, the time handed in, nothing awaited."""

    def handle(self, event: E_contra, now: float) -> Sequence[F_co]:
        """Take one event and return the effects of it, in order."""
        ...


async def drive(machine: Machine[E, F], inbox: AsyncIterable[E], perform: Callable[[F], None]) -> None:
    """Feed a machine from ``inbox`` until its end, performing each effect before the next event.

    ``perform`` must not block; an effect with an outcome of interest brings it back as an event. An exception of
    ``handle`` ends the actor: a driver of peers' messages refuses there the ones it cannot take.
    """
    async for event in inbox:
        for effect in machine.handle(event, trio.current_time()):
            attempt(perform, effect)


def attempt(act: Callable[[F], object], value: F) -> None:
    """Call ``act(value)``; an exception of it is logged and costs this one effect, not the actor.

    Effects carry values from peers and refs of users: a full mailbox or a message too large to write
    must not end a node.
    """
    try:
        act(value)
    except Exception as error:  # the boundary of one effect
        logger.error("%s failed: %s", type(value).__name__, printable(f"{type(error).__name__}: {error}"))
