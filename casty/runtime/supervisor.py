"""What follows from an actor's failure.

Today there is one answer: the actor stops, its failure is logged with path and traceback, published
as `ActorFailed`, and its watchers are told the cause. Strategies that restart belong here.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from casty.runtime.events import ActorFailed

if TYPE_CHECKING:
    from casty.runtime.cell import Cell

logger = logging.getLogger("casty.actor")


def report_failure(cell: Cell, error: Exception) -> None:
    """Log and publish that an exception left the code of an actor, which will stop."""
    logger.error("actor %s failed and stops: %s", cell.path, type(error).__name__, exc_info=error)
    cell.kernel.event_stream.publish(ActorFailed(cell.ref, error))


def report_cut(cell: Cell, what: str) -> None:
    """Log that something of a stopping actor took longer than it may and was cancelled."""
    seconds = cell.kernel.config.stop_timeout
    logger.error("%s of actor %s did not end within %s s and was cancelled", what, cell.path, seconds)
