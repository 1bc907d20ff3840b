"""The links of a node, found by peer for sending and by address for everything else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from casty.address import NodeAddress, UniqueAddress
from casty.transport.links.link import Link, LinkState
from casty.transport.links.traffic import Traffic
from casty.wire.frame import Lane


@dataclass(frozen=True, slots=True)
class LinkStatistics:
    """One link at one moment; the counters run since the link was made."""

    peer: UniqueAddress
    lane: Lane
    state: LinkState
    queued_messages: int
    queued_bytes: int
    frames_under_way: int
    waiting_senders: int
    frames_sent: int
    bytes_sent: int
    frames_received: int
    bytes_received: int
    frames_broken: int
    frames_unknown: int
    frames_undelivered: int


@dataclass(frozen=True, slots=True)
class TransportStatistics:
    """A transport at one moment. The counters include links gone by now.

    Each frame taken is sent, undelivered, broken, still queued, or under way in an unfinished write. Of those sent and
    broken at most ``frames_unknown`` have not arrived.
    """

    links: tuple[LinkStatistics, ...]
    dials: int
    unauthenticated: int
    frames_sent: int
    bytes_sent: int
    frames_received: int
    bytes_received: int
    frames_under_way: int
    frames_broken: int
    frames_unknown: int
    frames_undelivered: int
    frames_rejected: int


class LinkTable:
    """All links, at most one for each run of a peer and lane."""

    __slots__ = ("_at", "by_peer", "gone")

    def __init__(self) -> None:
        self.by_peer: tuple[dict[UniqueAddress, Link], ...] = tuple({} for _ in Lane)
        """For each lane, by its number."""
        self.gone = Traffic()
        """Traffic of the removed links."""
        self._at: dict[NodeAddress, list[Link]] = {}

    def __iter__(self) -> Iterator[Link]:
        return (link for links in list(self._at.values()) for link in list(links))

    def at(self, address: NodeAddress, lane: Lane | None = None) -> list[Link]:
        """Return the links to any run at an address, on one lane or on all."""
        return [link for link in self._at.get(address, ()) if lane is None or link.lane is lane]

    def established(self, address: NodeAddress, lane: Lane) -> Link | None:
        """Return the established link there; there is at most one."""
        for link in self._at.get(address, ()):
            if link.lane is lane and link.session is not None:
                return link
        return None

    def up(self, to: UniqueAddress, lane: Lane) -> Link | None:
        """Return the link to a run, to any run for incarnation 0, if it is up."""
        link = self.by_peer[lane].get(to)
        if link is None and not to.incarnation:
            link = self.established(to.address, lane)
        return link if link is not None and link.session is not None else None

    def is_wanted(self, address: NodeAddress, lane: Lane) -> bool:
        """Whether frames wait for a connection to this address."""
        return any(not link.send_queue.is_idle for link in self.at(address, lane))

    def add(self, link: Link) -> None:
        """Take a new link."""
        self.by_peer[link.lane][link.peer] = link
        self._at.setdefault(link.peer.address, []).append(link)

    def remove_if_idle(self, link: Link) -> None:
        """Forget a link without connection and frames; its counters are kept in the sum."""
        known = self.by_peer[link.lane]
        if link.session is not None or not link.send_queue.is_idle or known.get(link.peer) is not link:
            return
        del known[link.peer]
        self.gone.add(link.traffic)
        siblings = self._at[link.peer.address]
        siblings.remove(link)
        if not siblings:
            del self._at[link.peer.address]

    def statistics(self, *, dials: int, unauthenticated: int, frames_rejected: int) -> TransportStatistics:
        """Return all counters as they are now."""
        total = Traffic()
        total.add(self.gone)
        for link in self:
            total.add(link.traffic)
        links = tuple(_statistics_of(link) for link in self)
        return TransportStatistics(
            links=links,
            dials=dials,
            unauthenticated=unauthenticated,
            frames_sent=total.frames_sent,
            bytes_sent=total.bytes_sent,
            frames_received=total.frames_received,
            bytes_received=total.bytes_received,
            frames_under_way=sum(link.frames_under_way for link in links),
            frames_broken=total.frames_broken,
            frames_unknown=total.frames_unknown,
            frames_undelivered=total.frames_undelivered,
            frames_rejected=frames_rejected,
        )


def _statistics_of(link: Link) -> LinkStatistics:
    return LinkStatistics(
        peer=link.peer,
        lane=link.lane,
        state=link.state,
        queued_messages=len(link.send_queue),
        queued_bytes=link.send_queue.bytes,
        frames_under_way=0 if link.session is None else link.session.under_way,
        waiting_senders=link.send_queue.waiting,
        frames_sent=link.traffic.frames_sent,
        bytes_sent=link.traffic.bytes_sent,
        frames_received=link.traffic.frames_received,
        bytes_received=link.traffic.bytes_received,
        frames_broken=link.traffic.frames_broken,
        frames_unknown=link.traffic.frames_unknown,
        frames_undelivered=link.traffic.frames_undelivered,
    )
