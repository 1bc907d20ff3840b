"""Reports for strangers that only ask, and their rate.

Owns the bounds: hosts asking too often wait, and all who ask within a moment get the same bytes, so that asking costs a
node little however many ask.
"""

from __future__ import annotations

import math

import trio

from casty.errors import CastyError
from casty.schema.names import printable
from casty.transport.manager.link_manager import LinkManager
from casty.wire.frame import Lane
from casty.wire.handshake import Refused

REPORT_COST_BYTES_MIN = 64 * 1024
"""Price of a report, however small it is: with the credit of strangers, 16 at once and 16 a second."""

REPORT_AGE_MAX = 0.1
"""Seconds for which a report is told again."""


class StatusResponder:
    """Reports given by one transport."""

    __slots__ = ("_made", "_making", "_report")

    def __init__(self) -> None:
        self._making = trio.Lock()
        self._report = b""
        self._made = -math.inf

    async def report(self, host: str, exchange: LinkManager) -> bytes | Refused:
        """Return the node's report, or why there is none now, once it is this host's turn."""
        pace = exchange.strangers.pace_of(host, Lane.status, trio.current_time())
        await pace.take(max(len(self._report), REPORT_COST_BYTES_MIN))
        async with self._making:
            if trio.current_time() - self._made >= REPORT_AGE_MAX:
                try:
                    self._report = await exchange.handler.report()
                except CastyError as error:
                    return Refused(f"this node cannot tell its status now: {printable(str(error))}", final=False)
                self._made = trio.current_time()
            return self._report

    def __repr__(self) -> str:
        return f"<StatusResponder last={len(self._report)} B>"
