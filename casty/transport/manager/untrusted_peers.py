"""Bounds of all peers outside of the cluster together on one node.

Owns the transport's knowledge of members, and the bounds on everybody else: links, dials, and bytes waiting to be
written. A stranger names addresses without end, in hellos and in the refs of its messages, and each of them would have
a queue and a dial of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import trio

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.limits.shares import shares
from casty.transport.limits.token_bucket import STRANGER_SHARES, FairTokenBucket, control_credit, stranger_credit
from casty.transport.links.link import Link
from casty.transport.links.link_table import LinkTable
from casty.transport.links.send_queue import ByteQuota
from casty.transport.links.session import Session
from casty.transport.manager.holdings import Holdings
from casty.wire.frame import Lane
from casty.wire.handshake import Hello

STAY_GRANTED = 1.0
"""Seconds in which the link of a stranger is not given to another: a joining node needs some round trips."""

RUNS_WAITED_FOR_MAX = 4
"""Runs of one address, on one lane, with frames waiting at one time while none of them is linked."""


class UntrustedPeers:
    """Bounds of one transport. ``dials`` are all those under way, ``sessions`` all those up."""

    __slots__ = (
        "_addresses",
        "_dials",
        "_kept",
        "_limits",
        "_links",
        "_members",
        "_paces",
        "_queued",
        "_sessions",
        "_shared",
        "holdings",
        "turn",
    )

    def __init__(
        self,
        limits: TransportLimits,
        links: LinkTable,
        dials: Collection[tuple[NodeAddress, Lane]],
        sessions: Collection[Session],
    ) -> None:
        self._limits = limits
        self._links = links
        self._dials = dials
        self._sessions = sessions
        self._kept: frozenset[UniqueAddress] = frozenset()
        self._addresses: frozenset[NodeAddress] = frozenset()
        self._members = ByteQuota()
        share = shares(limits)
        self._queued = ByteQuota(bytes_max=share.outbound)
        self.holdings = Holdings(share.links)
        """Bytes held by their connections."""
        self.turn = trio.Lock()
        self._paces: dict[tuple[str, Lane], FairTokenBucket] = {}
        self._shared: dict[Lane, FairTokenBucket] = {}

    def keep(self, nodes: Iterable[UniqueAddress]) -> None:
        """Take these runs for members, and only these; nobody is one at first."""
        self._kept = frozenset(nodes)
        self._addresses = frozenset(node.address for node in self._kept)
        for link in self._links:
            link.send_queue.count_in(self.tally_of(link.peer))
            if link.session is not None:
                self.enter(link.session)

    def enter(self, session: Session) -> None:
        """Take note of a new session, or of its peer's new standing."""
        is_stranger = self.is_one(session.link.peer)
        session.set_standing(is_stranger=is_stranger)
        if is_stranger:
            self.holdings.note(session)
        else:
            self.holdings.release(session)

    def is_one(self, peer: UniqueAddress) -> bool:
        """Whether this run is no member."""
        return peer not in self._kept

    def is_member_at(self, address: NodeAddress) -> bool:
        """Whether some run at this address is a member."""
        return address in self._addresses

    def tally_of(self, peer: UniqueAddress) -> ByteQuota:
        """Return the quota for frames waiting for a peer."""
        return self._members if peer in self._kept else self._queued

    def may_queue(self, link: Link) -> bool:
        """Whether one more frame may wait on this link."""
        return link.send_queue.quota is self._members or self._has_room

    def may_wait_for(self, node: UniqueAddress, lane: Lane) -> bool:
        """Whether frames may begin to wait for a run without a link."""
        if node in self._kept:
            return True
        if not self._has_room:
            return False
        waited_for = len(self._links.at(node.address, lane))
        return waited_for < RUNS_WAITED_FOR_MAX and (waited_for > 0 or self.may_dial(node.address))

    @property
    def _has_room(self) -> bool:
        return self._queued.bytes < self._queued.bytes_max

    def may_dial(self, address: NodeAddress) -> bool:
        """Whether one more dial may begin."""
        return address in self._addresses or len(self._dials) < self._limits.unauthenticated_max + len(self._kept)

    def pace(self, session: Session) -> FairTokenBucket:
        """Return the pace of a stranger's session: one for its host and lane."""
        return self.pace_of(session.remote, session.link.lane, trio.current_time())

    def pace_of(self, host: str, lane: Lane, now: float) -> FairTokenBucket:
        """Return the pace shared by all strangers of a host on a lane, a part of the one for all hosts."""
        pace = self._paces.get((host, lane))
        if pace is None:
            make = control_credit if lane is Lane.control else stranger_credit
            shared = self._shared.get(lane)
            if shared is None:
                shared = self._shared[lane] = FairTokenBucket(make(now, shares=STRANGER_SHARES))
            pace = self._paces[host, lane] = FairTokenBucket(make(now), beyond=shared)
        return pace

    def note(self, session: Session) -> None:
        """Take note of the bytes held by a stranger's session now; above the bound the largest holder has to go."""
        self.holdings.note(session)

    def leave(self, session: Session) -> None:
        """Forget an ended session."""
        self.holdings.release(session)

    def review(self, now: float) -> None:
        """Look at all of them now and then, and drop those to be made anew just the same."""
        self.holdings.review()
        self._paces = {place: pace for place, pace in self._paces.items() if not pace.is_rested(now)}

    def has_room(self, node: UniqueAddress, remote: str) -> bool:
        """Whether a node may have one more link from this host, if need be in the place of another one."""
        places = self._crowd(remote)
        return not self.is_one(node) or places is None or self._longest_of(places) is not None

    def displaced_by(self, hello: Hello, remote: str) -> Link | None:
        """Return the link displaced by the one a hello leads to, if there is any.

        It is the oldest one of the strangers of its host, or of the host with the most: so nobody can keep others out
        by staying.
        """
        known = self._links.by_peer[hello.lane].get(hello.node)
        if not self.is_one(hello.node) or (known is not None and known.session is not None):
            return None
        session = self._longest_of(self._crowd(remote) or [])
        return None if session is None else session.link

    def _crowd(self, remote: str) -> list[Session] | None:
        """Return the sessions of which one must go for a stranger from this host; None when there is room."""
        by_host: dict[str, list[Session]] = {}
        for session in self._sessions:
            if self.is_one(session.link.peer):
                by_host.setdefault(session.remote, []).append(session)
        there = by_host.get(remote, [])
        if len(there) >= self._limits.strangers_per_host_max:
            return there
        if sum(map(len, by_host.values())) >= self._limits.strangers_max:
            return max(by_host.values(), key=len)
        return None

    def _longest_of(self, sessions: list[Session]) -> Session | None:
        latest = trio.current_time() - STAY_GRANTED
        return next((found for found in sessions if found.since <= latest and not found.was_dialled), None)

    def __repr__(self) -> str:
        held = self.holdings.bytes
        return f"<UntrustedPeers members={len(self._kept)} queued={self._queued.bytes} held={held}>"
