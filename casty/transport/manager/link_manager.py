"""Decision on the connection that is the link to a peer, and on the frames waiting for one.

Synchronous half of `casty.transport.manager.peers`: each method is one whole change, without a checkpoint inside, and
its reports are made when the change is complete. It starts no task itself, it asks for one through ``start``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import trio

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.transport.limits.rate_limited_log import RateLimitedLog
from casty.transport.links.handover import LATE
from casty.transport.links.hello import LEAVING, SIMULTANEOUS_DIAL
from casty.transport.links.link import IdleClose, Link
from casty.transport.links.link_table import LinkTable
from casty.transport.links.owner import SessionOwner
from casty.transport.links.session import Session
from casty.transport.links.succession import REPLACED
from casty.transport.manager.aliases import Aliases
from casty.transport.manager.dialling import DialPhase, DialTask
from casty.transport.manager.handovers import Arrival, Handovers
from casty.transport.manager.identity import LANES_ASKING, Identity, LocalNode, new_secret
from casty.transport.manager.inbound import InboundHandler, Reports
from casty.transport.manager.untrusted_peers import UntrustedPeers
from casty.transport.network.interface import Connection
from casty.wire.frame import FrameDecoder, Lane
from casty.wire.handshake import (
    CAN_HAND_OVER,
    Hello,
    HelloAck,
    Refused,
    can_hand_over,
    encode_hello_ack,
    is_for_an_heir,
)

SHORT_LIFE = 1.0
"""Seconds below which a lost link counts as a failure for the pace of redialling."""

TOO_MANY = "it is no member, and too much waits for such"


class LinkManager:
    """All links and dials of one run of this node."""

    def __init__(
        self,
        own: LocalNode,
        handler: InboundHandler,
        limits: TransportLimits,
        *,
        complaints: RateLimitedLog,
        start: Callable[[DialTask], None],
    ) -> None:
        self.local = own.run
        self.handler = handler
        self.limits = limits
        self.reports = Reports()
        self.links = LinkTable()
        self.dials: dict[tuple[NodeAddress, Lane], DialTask] = {}
        self.sessions: dict[Session, None] = {}
        self.seeds: frozenset[NodeAddress] = frozenset()
        self.is_closing = False
        self.frames_rejected = 0
        self.changed = trio.lowlevel.ParkingLot()
        """Unparked whenever a session or a dial is over."""
        self.strangers = UntrustedPeers(limits, self.links, self.dials, self.sessions)
        """Peers that are no members, and their bounds."""
        self.identity = Identity(own, self.links, self.dials)
        """Evidence of identities."""
        self.aliases = Aliases(self.links, self.strangers)
        """Other addresses of nodes."""
        self.handovers = Handovers(self.identity, self.links, self.sessions, self.strangers, self._make)
        """Links that get other connections while they are up."""
        self._start = start
        self._owner = SessionOwner(
            frame=handler.frame,
            envelopes=handler.envelopes,
            ended=self.session_ended,
            bounds=self.strangers,
            asking=handler.asking,
            complaints=complaints,
            moved=self.handovers.moved,
        )

    def link_for(self, to: UniqueAddress, lane: Lane) -> Link | str:
        """Return where frames for a peer are queued, or why none are taken, however much room there is."""
        if self.is_closing:
            return "this node is leaving"
        link = self.links.by_peer[lane].get(to)
        if link is None:
            link = self.links.established(to.address if to.incarnation else self.aliases.own_of(to.address), lane)
            if link is not None and to.incarnation not in (0, link.peer.incarnation):
                return "another run of the node is there"
        if link is None:
            return self._add_link(to, lane) if self.strangers.may_wait_for(to, lane) else TOO_MANY
        return link if self.strangers.may_queue(link) else TOO_MANY

    def reach(self, link: Link) -> None:
        """See to it that a link with frames gets a connection."""
        address = link.peer.address
        if link.session is None and (address, link.lane) not in self.dials:
            failures = link.failures or self.aliases.missed(address)
            self._dial(DialTask(address, link.lane, failures=failures, is_requested=False))

    def undelivered(self, to: UniqueAddress, frames: list[bytes], reason: str) -> None:
        """Report frames stopped before any queue."""
        with self.reports:
            self.links.gone.frames_undelivered += len(frames)
            self.reports.add(self.handler.undelivered, to, frames, reason)

    def dial(self, address: NodeAddress, lane: Lane, *, is_redirected: bool = False) -> None:
        """Start an attempt now, unless there is a link or an attempt."""
        if self.is_closing or self.links.established(self.aliases.own_of(address), lane) is not None:
            return
        dial = self.dials.get((address, lane))
        if dial is not None:
            dial.request()
        elif self.strangers.may_dial(address):
            self._dial(DialTask(address, lane, failures=0, is_requested=True, is_redirected=is_redirected))
        else:
            with self.reports:
                self.reports.add(self.handler.dial_failed, address, lane, False, "this node dials too many others")

    def acknowledged(
        self, dial: DialTask, ack: HelloAck, connection: Connection, decoder: FrameDecoder
    ) -> Session | None:
        """Make a dialled connection the link; None when it is not wanted any more, or leads to another address.

        A link is made only with a node answering at the address it calls its own: any dialled node could name another
        one.
        """
        if dial.is_given_up:
            return None
        if ack.node == self.local:
            self.attempt_failed(dial, refused=False, reason=f"{dial.address} is this node itself", is_hopeless=True)
            with self.reports:
                self.reports.add(self.handler.self_dialled, dial.address)
            return None
        with self.reports:
            if ack.node.address != dial.address:
                self._redirect(dial, ack.node)
                return None
            del self.dials[dial.address, dial.lane]
            session = self._establish(ack.node, dial.lane, Arrival(connection, decoder, dial.begun), ack.secret)
            session.was_dialled = True
            session.can_hand_over = can_hand_over(ack)
        return session

    def attempt_failed(self, dial: DialTask, *, refused: bool, reason: str, is_hopeless: bool = False) -> bool:
        """Report a failed attempt; whether the dial goes on trying."""
        if dial.is_given_up:
            return False
        with self.reports:
            again = self._attempt_over(dial, reason, is_hopeless=is_hopeless)
            self.reports.add(self.handler.dial_failed, dial.address, dial.lane, refused, reason)
        return again and not dial.is_given_up

    def attempt_mistrusted(self, dial: DialTask, reason: str) -> bool:
        """Report an attempt that ended in TLS; whether the dial goes on trying. Nobody is dead for it."""
        if dial.is_given_up:
            return False
        with self.reports:
            self.reports.add(self.handler.mistrusted, dial.address, reason)
            return self.attempt_failed(dial, refused=False, reason=reason)

    def attempt_refused(self, dial: DialTask, refusal: Refused) -> bool:
        """Report the refusal of a peer; return whether the dial goes on trying."""
        if dial.is_given_up:
            return False
        with self.reports:
            again = self._attempt_over(dial, f"refused: {refusal.reason}", is_hopeless=refusal.final)
            self.reports.add(self.handler.dial_refused, dial.address, refusal)
        return again and not dial.is_given_up

    def abandon(self, dial: DialTask) -> None:
        """Clean up after a dial whose task has failed."""
        if self.dials.get((dial.address, dial.lane)) is dial:
            self.attempt_failed(dial, refused=False, reason="an error in this node, see its log", is_hopeless=True)

    def answer(self, hello: Hello, arrival: Arrival) -> Session | HelloAck | Refused:
        """Decide on a hello: a session, a refusal, or, for a mere question and for this node itself, a bare
        acknowledgement.

        Whose hello it is must be known by now (`casty.transport.manager.identity_verifier`).
        """
        answer = self.objection(hello, arrival.connection.remote) or self.identity.negotiate(hello)
        if isinstance(answer, Refused) or hello.node == self.local:
            return answer
        if self.identity.only_asks(hello):
            return self.identity.answer(hello, answer)
        if is_for_an_heir(hello):
            return self.handovers.answer(hello, answer, arrival)
        with self.reports:
            if (link := self.strangers.displaced_by(hello, arrival.connection.remote)) is not None:
                self._drop(link, "it is no member, and others have come", graceful=True)
            session = self._establish(hello.node, hello.lane, arrival, new_secret())
            session.can_hand_over = can_hand_over(hello)
            session.preface = encode_hello_ack(replace(answer, secret=session.secret, features=CAN_HAND_OVER))
        return session

    def session_ended(self, session: Session, reason: str, graceful: bool) -> None:
        """Take a session out; its queue waits for the next one, or its frames are given back."""
        link = session.link
        with self.reports:
            if session.predecessor is not None:
                session.predecessor.end(REPLACED, graceful=False)
            del self.sessions[session]
            self.strangers.leave(session)
            self.handovers.ended(session)
            if session.is_spare:
                self.changed.unpark_all()
                return
            self.reports.add(self.handler.link_lost, link.peer, link.lane, reason, graceful)
            if session.successor is not None:
                self.reports.add(self.handler.link_up, link.peer, link.lane)
            if session.is_superseded:
                return
            link.session = None
            lifetime = trio.current_time() - session.since
            link.failures = link.failures + 1 if lifetime < SHORT_LIFE else 0
            is_kept = session.rest is not IdleClose.no  # ended because it was idle: what has come since is not lost
            if self.is_closing or (not is_kept and (graceful or link.lane is not Lane.ordinary)):
                self._give_back(link, reason)
            if not link.send_queue.is_idle:
                self.reach(link)
            if session.is_peer_waiting:
                self.dial(link.peer.address, link.lane)
            self.links.remove_if_idle(link)
            self.changed.unpark_all()

    def forget(self, node: UniqueAddress, reason: str = "the node was removed") -> None:
        """Drop links, dials and frames of one run of a node."""
        with self.reports:
            for lane in Lane:
                link = self.links.by_peer[lane].get(node)
                if link is not None:
                    self._drop(link, reason, graceful=True)
                dial = self.dials.get((node.address, lane))
                if dial is not None and not dial.is_requested and not self.links.is_wanted(node.address, lane):
                    self._give_up(dial)
            if not self.links.at(node.address):
                self.aliases.forget(node.address)

    def give_up(self, address: NodeAddress, reason: str) -> None:
        """Stop dialling an address for messages between actors and give back the frames waiting for it."""
        with self.reports:
            for lane in (Lane.ordinary, Lane.large):
                dial = self.dials.get((address, lane))
                if dial is not None:
                    self._give_up(dial)
                    self._give_back_at(dial, reason)

    def knows(self, address: NodeAddress) -> bool:
        """Whether an address is known to be that of a member or a seed, so that no stranger has made it up."""
        is_of_seed = any(self.aliases.own_of(seed) == address for seed in self.seeds)
        return address in self.seeds or is_of_seed or self.strangers.is_member_at(address)

    def is_of_members(self, to: UniqueAddress) -> bool:
        """Whether a run is a member; with incarnation 0 any run at an address, also a seed not met yet."""
        if to.incarnation:
            return not self.strangers.is_one(to)
        address = self.aliases.own_of(to.address)
        link = self.links.established(address, Lane.ordinary)
        return self.knows(address) if link is None else not self.strangers.is_one(link.peer)

    def is_doubtful(self, hello: Hello) -> bool:
        """Whether a link could come of a hello without evidence yet of the node named in it."""
        only_asks = hello.node == self.local or self.identity.only_asks(hello)
        return not only_asks and not self.identity.is_shown(hello)

    def objection(self, hello: Hello, remote: str) -> Refused | None:
        """Return the refusal of a hello, None where nothing speaks against it."""
        answer = self.identity.negotiate(hello)
        if isinstance(answer, Refused):
            return answer
        is_outside = hello.node == self.local or hello.lane in LANES_ASKING
        return None if is_outside else self._objection(hello, remote)

    def close_idle(self) -> None:
        """Offer to end links idle for long, and hang up on those that do not answer."""
        now, idle_max = trio.current_time(), self.limits.idle_timeout
        self.strangers.review(now)
        with self.reports:
            for session in list(self.sessions):
                if now >= session.closes_at:
                    is_late = session.is_moving
                    reason = LATE if is_late else f"nothing has crossed it for {idle_max:g} s"
                    session.end(reason, graceful=not is_late)
                else:
                    session.keep_house(now, idle_max)

    def finish(self) -> None:
        """Take nothing more, write the queues, and say goodbye on every link."""
        with self.reports:
            self.is_closing = True
            for session in self.sessions:
                session.finish()
            for dial in list(self.dials.values()):
                if not self.links.is_wanted(dial.address, dial.lane) or dial.phase is DialPhase.pausing:
                    self._give_up(dial)
                    self._give_back_at(dial, LEAVING.reason)

    def close(self, reason: str) -> None:
        """Drop everything."""
        with self.reports:
            self.is_closing = True
            for dial in list(self.dials.values()):
                self._give_up(dial)
            for link in self.links:
                self._drop(link, reason, graceful=True)

    def _redirect(self, dial: DialTask, node: UniqueAddress) -> None:
        """Move frames queued for the dialled address to the node that answered there, and connect to it, if this may be
        followed.

        Frames there for a certain run are given back.
        """
        lane, reason = dial.lane, f"another node answers at {dial.address}: {node}"
        del self.dials[dial.address, lane]
        self.changed.unpark_all()
        link: Link | None = None
        if self.aliases.may_redirect(dial):
            link = self.links.established(node.address, lane) or self.links.by_peer[lane].get(node)
            if link is None and self.strangers.may_wait_for(node, lane):
                link = self._add_link(node, lane)
        for other in self.links.at(dial.address, lane):
            if link is not None and not other.peer.incarnation:
                link.send_queue.extend(other.send_queue.drain())
            else:
                self._give_back(other, reason)
            self.links.remove_if_idle(other)
        if link is None:
            self.reports.add(self.handler.dial_failed, dial.address, lane, False, reason)
            return
        self.aliases.note(dial.address, node.address)
        if dial.is_requested:
            self.dial(node.address, lane, is_redirected=True)
        if not link.send_queue.is_idle:
            self.reach(link)
        self.links.remove_if_idle(link)

    def _dial(self, dial: DialTask) -> None:
        self.dials[dial.address, dial.lane] = dial
        self._start(dial)

    def _give_up(self, dial: DialTask) -> None:
        del self.dials[dial.address, dial.lane]
        dial.give_up()
        self.changed.unpark_all()

    def _attempt_over(self, dial: DialTask, reason: str, *, is_hopeless: bool) -> bool:
        dial.failures += 1
        dial.is_requested = False
        dial.phase = DialPhase.pausing
        is_pursued = dial.lane is not Lane.control and not is_hopeless and not self.is_closing
        again = is_pursued and self.links.is_wanted(dial.address, dial.lane)
        if not again:
            self._give_back_at(dial, reason)
            del self.dials[dial.address, dial.lane]
            self.changed.unpark_all()
        if dial.is_peer_waiting and not is_hopeless:
            self.dial(dial.address, dial.lane)
        return again

    def _objection(self, hello: Hello, remote: str) -> Refused | None:
        """Return why a well-formed hello of this system is refused all the same."""
        node, lane = hello.node, hello.lane
        if node.address == self.local.address:
            return Refused(f"{node.address} is the address of this node", final=True)
        if self.is_closing:
            return LEAVING
        if self.identity.only_asks(hello):
            return None
        if is_for_an_heir(hello):
            return self.handovers.objection(hello)
        link = self.links.by_peer[lane].get(node)
        session = None if link is None else link.session
        if session is None and len(self.sessions) >= self.limits.links_max:
            return Refused(f"this node has as many links as it may: {self.limits.links_max}", final=False)
        if session is None and not self.strangers.has_room(node, remote):
            return Refused("this node has as many links to nodes that are no members as it may", final=False)
        if node < self.local:
            return None
        dial = self.dials.get((node.address, lane))
        if dial is not None and dial.phase is DialPhase.greeting:
            dial.is_peer_waiting = True
            return SIMULTANEOUS_DIAL
        if session is not None and session.was_dialled:
            # Two dials have crossed and ours has won already, or the peer has lost the link before us:
            # then this end will notice soon, and dials at once because the peer waits for it.
            if trio.current_time() - session.since < self.limits.dial_timeout:
                session.is_peer_waiting = True
                return SIMULTANEOUS_DIAL
        return None

    def _add_link(self, node: UniqueAddress, lane: Lane) -> Link:
        link = Link(node, lane, self.limits, self.dials, self.strangers.tally_of(node))
        self.links.add(link)
        return link

    def _make(self, link: Link, arrival: Arrival, secret: bytes) -> Session:
        session = Session(link, arrival.connection, arrival.decoder, limits=self.limits, owner=self._owner)
        session.secret = secret
        session.renew_at = self.handovers.renewal_time(arrival)
        self.sessions[session] = None
        if self.is_closing:
            session.finish()
        return session

    def _establish(self, node: UniqueAddress, lane: Lane, arrival: Arrival, secret: bytes) -> Session:
        self.reports.add(self.handler.incarnation_seen, node)
        self.aliases.settle(node.address)
        for other in self.links.at(node.address):
            if other.peer.incarnation not in (0, node.incarnation):
                self._drop(other, f"another run of the node has come: {node}", graceful=False)
        dial = self.dials.get((node.address, lane))
        if dial is not None:
            self._give_up(dial)
        link = self.links.by_peer[lane].get(node)
        if link is None:
            link = self._add_link(node, lane)
        old = link.session
        session = link.session = self._make(link, arrival, secret)
        if old is None:
            self.reports.add(self.handler.link_up, node, lane)
        else:
            session.follow(old)  # and is told to be up when that is over
        self._adopt(link)
        self.strangers.enter(session)  # last: it can end sessions, this one and the old one too
        return session

    def _adopt(self, link: Link) -> None:
        """Give a new link the frames waiting for any run at its address, and give back those waiting for other runs."""
        for other in self.links.at(link.peer.address, link.lane):
            if other is link or other.session is not None:
                continue
            if other.peer.incarnation in (0, link.peer.incarnation):
                link.send_queue.extend(other.send_queue.drain())
            else:
                self._give_back(other, f"another run answers there: {link.peer}")
            self.links.remove_if_idle(other)

    def _drop(self, link: Link, reason: str, *, graceful: bool) -> None:
        session, link.session = link.session, None
        if session is not None:
            session.is_superseded = True
            session.end(reason, graceful=graceful)
        self._give_back(link, reason)
        self.links.remove_if_idle(link)
        self.changed.unpark_all()

    def _give_back(self, link: Link, reason: str) -> None:
        frames = link.send_queue.drain()
        if frames:
            link.traffic.frames_undelivered += len(frames)
            self.reports.add(self.handler.undelivered, link.peer, frames, reason)

    def _give_back_at(self, dial: DialTask, reason: str) -> None:
        for link in self.links.at(dial.address, dial.lane):
            if link.session is None:
                self._give_back(link, reason)
                self.links.remove_if_idle(link)

    def __repr__(self) -> str:
        return f"<LinkManager {self.local} links={len(self.sessions)} dials={len(self.dials)}>"
