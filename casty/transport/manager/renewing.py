"""Dial new connections for links that are up, and hand them over.

Waits for a connection and for the answer to its hello, and decides nothing: see `casty.transport.manager.handovers`. A
failed attempt is no failed dial: the link is up, so it says nothing on who is alive, and the next attempt comes soon.
"""

from __future__ import annotations

import trio

from casty.config import TransportLimits
from casty.errors import ProtocolError
from casty.schema.names import printable
from casty.transport.limits.rate_limited_log import RateLimitedLog
from casty.transport.links.hello import SIMULTANEOUS_DIAL, client_handshake
from casty.transport.links.session import Session
from casty.transport.manager.handovers import Arrival, Handovers, Renewal
from casty.transport.network.interface import ConnectFailed, ConnectionLost, Network, close
from casty.wire.handshake import HelloAck


class Renewing:
    """Tasks of one transport that renew the connections of its links."""

    __slots__ = ("_complaints", "_limits", "_network")

    def __init__(self, network: Network, limits: TransportLimits, complaints: RateLimitedLog) -> None:
        self._network = network
        self._limits = limits
        self._complaints = complaints

    @trio.lowlevel.enable_ki_protection
    async def run(self, renewal: Renewal, handovers: Handovers) -> None:
        """Make one attempt, and run the session that comes of it."""
        address = renewal.session.link.peer.address
        try:
            heir = None
            try:
                with renewal.scope, trio.fail_after(self._limits.dial_timeout):
                    heir = await self._attempt(renewal, handovers)
            except trio.TooSlowError:
                self._tell(renewal, f"no answer within {self._limits.dial_timeout:g} s")
            except (ConnectFailed, ConnectionLost, ProtocolError) as error:
                self._tell(renewal, printable(str(error)))
            finally:
                handovers.over(renewal)
            if heir is not None:
                await heir.run()
        except Exception as error:
            # A bug here costs one link, never the others: this is the error boundary of the task.
            self._complaints.error(address, "handing the link over failed", error)
            renewal.session.end("handing it over failed here, see the log", graceful=False)

    async def _attempt(self, renewal: Renewal, handovers: Handovers) -> Session | None:
        connection = await self._network.connect(renewal.session.link.peer.address)
        heir = None
        try:
            if not handovers.is_wanted(renewal):
                return None
            renewal.is_greeting = True
            answer, decoder = await client_handshake(connection, handovers.hello(renewal), self._limits)
            if isinstance(answer, HelloAck):
                heir = handovers.acknowledged(renewal, answer, Arrival(connection, decoder, renewal.begun))
            elif answer != SIMULTANEOUS_DIAL:
                self._tell(renewal, f"refused: {printable(answer.reason)}")
            return heir
        finally:
            if heir is None:
                await close(connection)

    def _tell(self, renewal: Renewal, reason: str) -> None:
        link = renewal.session.link
        self._complaints.info(link.peer.address, f"the {link.lane.name} link has no new connection yet: {reason}")

    def __repr__(self) -> str:
        return f"<Renewing over {self._network!r}>"
