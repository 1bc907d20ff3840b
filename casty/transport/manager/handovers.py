"""Decisions on handing links over to new connections, at both ends.

Owns when a link gets another connection, and which hello is believed to be for it: one with the proof of the secret
that the two ends of the old connection share, from a member. So nobody can name the connection of others, or one that
is gone; and at most one new connection stands beside each old one, whatever its peer does.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from random import Random

import trio

from casty.transport.links.handover import Handover
from casty.transport.links.hello import SIMULTANEOUS_DIAL
from casty.transport.links.link import IdleClose, Link
from casty.transport.links.link_table import LinkTable
from casty.transport.links.session import Session
from casty.transport.manager.identity import Identity, new_secret
from casty.transport.manager.untrusted_peers import UntrustedPeers
from casty.transport.network.interface import Connection
from casty.wire.frame import FrameDecoder
from casty.wire.handshake import (
    CAN_HAND_OVER,
    HANDOVER,
    NONCE_BITS,
    Hello,
    HelloAck,
    Refused,
    encode_hello_ack,
    heirs_proof,
    is_heirs_proof,
    proof_of,
)

RENEWAL_SPREAD = 5.0
"""Seconds over which a node gives its links new connections, or more: a handshake of TLS takes each end 4 ms."""
RENEWAL_SPREAD_EACH = 0.02
"""Seconds of that for each link."""
RENEW_AGAIN = 10.0
"""Seconds until the next attempt after one that failed; the link goes on meanwhile."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """Connection over which hellos were exchanged, and the bytes behind them; ``begun`` before any handshake."""

    connection: Connection
    decoder: FrameDecoder
    begun: float


class Renewal:
    """Attempt to give the link of a session another connection; ``nonce`` is that of its hello."""

    __slots__ = ("begun", "is_greeting", "nonce", "scope", "session")

    def __init__(self, session: Session, nonce: int) -> None:
        self.session = session
        self.nonce = nonce
        self.begun = trio.current_time()
        self.scope = trio.CancelScope()
        self.is_greeting = False

    def __repr__(self) -> str:
        return f"<Renewal {self.session!r}{' greeting' if self.is_greeting else ''}>"


class Handovers:
    """Handovers of one run of a node. ``make`` makes the session of a link on another connection."""

    __slots__ = ("_identity", "_links", "_local", "_make", "_renewals", "_scheduled_at", "_sessions", "_strangers")

    def __init__(
        self,
        identity: Identity,
        links: LinkTable,
        sessions: dict[Session, None],
        strangers: UntrustedPeers,
        make: Callable[[Link, Arrival, bytes], Session],
    ) -> None:
        self._identity = identity
        self._local = identity.local
        self._links = links
        self._sessions = sessions
        self._strangers = strangers
        self._make = make
        self._renewals: dict[Session, Renewal] = {}
        self._scheduled_at = -math.inf

    def schedule(self, rng: Random, spread: float | None = None) -> None:
        """Let each link that is up have another connection soon, at a time of its own."""
        now = trio.current_time()
        if spread is None:
            spread = max(RENEWAL_SPREAD, RENEWAL_SPREAD_EACH * len(self._sessions))
        for session in self._sessions:
            session.renew_at = now + spread * rng.random()
        self._scheduled_at = now

    def renewal_time(self, arrival: Arrival) -> float:
        """Return when the link on a connection is to have another one: at once where a handshake was under way as all
        others were scheduled, since it may have shown a certificate of before.
        """
        return trio.current_time() if arrival.begun <= self._scheduled_at else math.inf

    def begin(self, rng: Random) -> list[Renewal]:
        """Return the attempts due now."""
        now = trio.current_time()
        due = [session for session in self._sessions if session.renew_at <= now and self._may_begin(session)]
        for session in due:
            session.renew_at = now + RENEW_AGAIN  # the new connection has no such time
            self._renewals[session] = Renewal(session, rng.getrandbits(NONCE_BITS) or 1)
        return [self._renewals[session] for session in due]

    def hello(self, renewal: Renewal) -> Hello:
        """Return the hello on the new connection, with the proof that the old one is of the same two ends."""
        link, session = renewal.session.link, renewal.session
        hello = self._identity.hello_on(link.lane, renewal.nonce, link.peer.address)
        # Of the secret of this very connection: that of another lane can be moving itself, and not be shared now.
        hello = replace(hello, proof=proof_of(hello, link.peer, session.secret))
        return replace(hello, features=((HANDOVER, heirs_proof(hello, link.peer, session.secret)),))

    def acknowledged(self, renewal: Renewal, ack: HelloAck, arrival: Arrival) -> Session | None:
        """Begin to hand over to a dialled connection; None when that is not wanted any more."""
        old = renewal.session
        if ack.node != old.link.peer or not ack.secret or not self._may_begin(old, renewal):
            return None
        heir = self._make(old.link, arrival, ack.secret)
        heir.was_dialled = heir.can_hand_over = True
        old.hand_over(heir, Handover(renewal.nonce, is_dialler=True))
        return heir

    def over(self, renewal: Renewal) -> None:
        """Forget an attempt."""
        if self._renewals.get(renewal.session) is renewal:
            del self._renewals[renewal.session]

    def objection(self, hello: Hello) -> Refused | None:
        """Return why no link is handed over to the connection of this hello."""
        link = self._links.by_peer[hello.lane].get(hello.node)
        old = None if link is None else link.session
        if old is None or not is_heirs_proof(hello, self._local, old.secret):
            return Refused("it names a connection that is not up here", final=False)
        if self._strangers.is_one(hello.node):
            return Refused("only members hand links over", final=False)
        if _is_ending(old):
            return Refused("the connection that it names is ending", final=False)
        if old.is_moving and (old.handover is None or old.heir is None or not old.handover.may_be_replaced):
            return Refused("the connection that it names is being handed over", final=False)
        renewal = self._renewals.get(old)
        if renewal is not None and renewal.is_greeting and self._local < hello.node:
            return SIMULTANEOUS_DIAL
        return None

    def answer(self, hello: Hello, ack: HelloAck, arrival: Arrival) -> Session:
        """Begin to hand over to an accepted connection, to which nothing is objected."""
        link = self._links.by_peer[hello.lane][hello.node]
        old = link.session
        assert old is not None, "there was no objection"
        self.ended(old)
        heir = self._make(link, arrival, new_secret())
        heir.can_hand_over = True
        heir.preface = encode_hello_ack(replace(ack, secret=heir.secret, features=CAN_HAND_OVER))
        old.hand_over(heir, Handover(hello.nonce, is_dialler=False))
        return heir

    def moved(self, heir: Session) -> None:
        """Take a session for that of its link, from now on."""
        heir.link.session = heir
        self._strangers.enter(heir)

    def ended(self, session: Session) -> None:
        """Stop the attempt for a session that is over, or has another connection by now.

        One whose hello is not said yet goes on until then: the other end would wonder at a broken handshake of TLS.
        """
        if (renewal := self._renewals.pop(session, None)) is not None and renewal.is_greeting:
            renewal.scope.cancel()

    def is_wanted(self, renewal: Renewal) -> bool:
        """Whether the hello of an attempt is still to be said."""
        return self._renewals.get(renewal.session) is renewal

    def _may_begin(self, session: Session, renewal: Renewal | None = None) -> bool:
        link = session.link
        is_up = link.session is session and session.can_hand_over and session.secret != b""
        is_free = self._renewals.get(session) is renewal and not (session.is_moving or _is_ending(session))
        return is_up and is_free and not self._strangers.is_one(link.peer)

    def __repr__(self) -> str:
        return f"<Handovers renewing={len(self._renewals)}>"


def _is_ending(session: Session) -> bool:
    """Whether nothing new begins on a session."""
    return session.is_deaf or session.is_superseded or session.is_finishing or session.rest is not IdleClose.no
