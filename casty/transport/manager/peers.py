"""The links of one node to all its peers: one connection for each peer and lane, dialled or accepted.

Moves whole frames between runs of nodes and reports events to an `InboundHandler`; it knows nothing of members and
messages. Decisions are taken in `casty.transport.manager.link_manager`; here are the tasks, and all they do is wait:
for a connection, for a hello, for the next attempt.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from random import Random, SystemRandom

import trio

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.errors import ProtocolError
from casty.schema.names import printable
from casty.transport.clients.client_port import ClientPort, ClientRun
from casty.transport.limits.descriptors import links_affordable
from casty.transport.limits.handshake_slots import HandshakeSlots
from casty.transport.limits.rate_limited_log import RateLimitedLog
from casty.transport.links.hello import HUNG_UP, SIMULTANEOUS_DIAL, HandshakeRefused, client_handshake, server_handshake
from casty.transport.links.link import GOODBYE_FRAME, Link
from casty.transport.links.link_table import TransportStatistics
from casty.transport.links.session import Session
from casty.transport.manager.dialling import DialPhase, DialTask
from casty.transport.manager.handovers import Arrival
from casty.transport.manager.identity import LocalNode
from casty.transport.manager.identity_verifier import IdentityVerifier
from casty.transport.manager.inbound import InboundHandler
from casty.transport.manager.link_manager import LinkManager
from casty.transport.manager.renewing import Renewing
from casty.transport.manager.status_responder import StatusResponder
from casty.transport.network.interface import (
    CLOSE_TIMEOUT,
    ConnectFailed,
    Connection,
    ConnectionLost,
    Listener,
    Network,
    TlsRefused,
    close,
)
from casty.transport.network.tls import TlsNetwork
from casty.wire.frame import Lane
from casty.wire.handshake import CLIENT, Hello, HelloAck, Refused, encode_hello_ack, encode_refused

DEFAULT_LIMITS = TransportLimits()

SENDS_BEFORE_YIELD = 64
"""Calls of `send_wait` between two that let other tasks run, the writer among them; as many as an actor handles at
once. Giving way each time, every frame was a write of its own: 7 times the processor time.
"""

HOUSEKEEPING_INTERVAL = 1.0

REFS = "refs"
"""Source of a dialled address where it is unknown: a ref does not tell its sender."""

NO_LINKS = "this node has no links any more"
CROWDED = Refused("too many connections have not said hello", final=False)

logger = logging.getLogger("casty.transport")


class RemoteTransport:
    """Carries frames between this node and its peers over a network.

    Call `bind`, then `run` in a task of its own; the other methods are for the time in between. Nothing is dropped
    silently: a frame once taken is written, or given to ``handler.undelivered``, or was inside a write when its
    connection broke. Frames written since the peer was last heard, when it breaks, `statistics` counts as
    ``frames_unknown``. A frame is never written twice, and frames of one lane to one run of a node are written in the
    order of their sending.

    Parameters:
        network: Network to listen and dial with, such as ``TcpNetwork()``.
        limits: Bounds against hostile and broken peers.
        rng: Source of jitter and nonces, for simulations; None draws from the operating system.
    """

    def __init__(
        self, network: Network, *, limits: TransportLimits = DEFAULT_LIMITS, rng: Random | None = None
    ) -> None:
        self.complaints: RateLimitedLog = RateLimitedLog(logger, trio.current_time)
        """For log lines caused by peers."""
        self._network = network
        self._limits = limits
        self._rng = rng or SystemRandom()
        self._identity_verifier = IdentityVerifier(network, limits)
        self._status_responder = StatusResponder()
        self._renewing = Renewing(network, limits, self.complaints)
        self._credentials_seen = 0
        self._handshake_slots = HandshakeSlots(
            total_max=limits.unauthenticated_max, per_host_max=limits.unauthenticated_per_host_max
        )
        self._listener: Listener | None = None
        self._exchange: LinkManager | None = None
        self._scope = trio.CancelScope()
        self._is_closed = False
        self.seeds: frozenset[NodeAddress] = frozenset()
        """Addresses for finding this node's cluster: their names are looked up as those of members are."""
        self.clients: ClientPort | None = None
        """Taker of the connections of clients; None, and they are refused."""
        self.sends: int = 0
        """Calls of `send_wait` so far."""

    async def bind(self, host: str, port: int) -> NodeAddress:
        """Open the port.

        Parameters:
            host: Address to bind.
            port: TCP port; 0 takes a free one.

        Returns:
            Address of the listener, with the real port.

        Raises:
            BindError: The port cannot be had.
            ConfigError: The network must not listen on that host.
            RuntimeError: It is bound already, or was closed.
        """
        if self._is_closed:
            raise RuntimeError("the transport was closed: make another one")
        if self._listener is not None:
            raise RuntimeError(f"the transport is already bound to {self._listener.address}")
        self._listener = await self._network.listen(host, port)
        return self._listener.address

    async def run(
        self,
        local: UniqueAddress,
        system_name: str,
        handler: InboundHandler,
        node_id: str = "",
        *,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Serve until cancelled or closed; then every connection is closed and the port is free.

        Frames still queued at the end are given to ``handler.undelivered``.

        Parameters:
            local: Run of this node, as peers are told; its address may differ from the bound one.
            system_name: Name of the system; peers with another one are refused.
            handler: Receiver of frames, and of the events of links and refusals.
            node_id: Name of this node, as peers are told.
            task_status: For ``nursery.start``: it returns when links can be made.

        Raises:
            RuntimeError: `bind` was not called, or `run` was before.
        """
        listener = self._listener
        if self._is_closed:
            task_status.started()  # by whoever gave up meanwhile: no error of this task
            return
        if listener is None or self._exchange is not None:
            raise RuntimeError("call bind() first, and run() only once")
        limits = replace(self._limits, links_max=links_affordable(self._limits.links_max))
        try:
            with self._scope:
                async with trio.open_nursery() as nursery:
                    start = partial(self._start, nursery)
                    own = LocalNode(local, system_name, node_id)
                    exchange = self._exchange = LinkManager(
                        own, handler, limits, complaints=self.complaints, start=start
                    )
                    exchange.seeds = self.seeds
                    task_status.started()
                    nursery.start_soon(listener.serve, self._accept)
                    nursery.start_soon(self._keep_house, exchange, nursery)
                    try:
                        await trio.sleep_forever()
                    finally:
                        exchange.close("the transport was closed")
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Free the port and close every connection, in any state of the transport; `run` returns.

        Peers are not told: use `goodbye` for it. Idempotent, and bounded in time when the caller is cancelled.
        """
        self._is_closed = True
        self._scope.cancel()
        with trio.move_on_after(CLOSE_TIMEOUT, shield=True):
            if self._listener is not None:
                await self._listener.aclose()

    def send(self, to: UniqueAddress, lane: Lane, frame: bytes) -> bool:
        """Queue a whole frame, dialling where there is no link. For the cluster.

        Parameters:
            to: Run of a node; incarnation 0 is any run at that address.
            lane: Lane to send on.
            frame: The bytes.

        Returns:
            False when it was not taken: the queue is full, or that of all strangers; another run is known to be there;
            or the transport does not run.
        """
        exchange = self._exchange
        if exchange is None:
            return False
        link = exchange.link_for(to, lane)
        if isinstance(link, str) or not link.send_queue.put_nowait(frame):
            exchange.frames_rejected += 1
            return False
        if link.session is None:
            exchange.reach(link)
        return True

    def refusal(self, to: UniqueAddress, lane: Lane) -> str | None:
        """Say why nothing is queued for a peer, however much room there is. For the cluster.

        Parameters:
            to: Run of a node.
            lane: Lane to send on.

        Returns:
            The reason; None where something is.
        """
        link = NO_LINKS if self._exchange is None else self._exchange.link_for(to, lane)
        return link if isinstance(link, str) else None

    async def send_wait(self, to: UniqueAddress, lane: Lane, frame: bytes, deadline: float | None = None) -> None:
        """Queue a whole frame, waiting for room first in, first out.

        Cancelled: the frame was not taken. Where `send` would return False for good, the frame is
        given to ``handler.undelivered``. Always a point of cancellation; other tasks run at every
        SENDS_BEFORE_YIELD-th call, and while it waits. For ``deadline`` see `SendQueue.put`.

        Parameters:
            to: Run of a node.
            lane: Lane to send on.
            frame: The bytes.
            deadline: When the sender of a request gives up, on Trio's clock; None for a plain message.

        Raises:
            RuntimeError: The transport does not run.
        """
        self.sends += 1
        if self.sends % SENDS_BEFORE_YIELD:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await trio.lowlevel.checkpoint()
        await self.queue(to, lane, frame, deadline)

    async def queue(self, to: UniqueAddress, lane: Lane, frame: bytes, deadline: float | None) -> None:
        """Queue a whole frame as `send_wait` does, and suspend only once the frame has its place in the line.

        Parameters:
            to: Run of a node.
            lane: Lane to send on.
            frame: The bytes.
            deadline: When the sender of a request gives up, on Trio's clock; None for a plain message.

        Raises:
            RuntimeError: The transport does not run.
        """
        exchange = self._running()
        link = exchange.link_for(to, lane)
        if isinstance(link, str):
            exchange.undelivered(to, [frame], link)
            return
        send_queue = link.send_queue
        if (deadline is None or not send_queue.line) and send_queue.put_nowait(frame):
            if link.session is None:
                exchange.reach(link)
            return
        await send_queue.put(frame, deadline)

    def send_held(self, to: UniqueAddress, lane: Lane, frames: list[bytes]) -> None:
        """Queue whole frames taken already and held elsewhere since: no bound holds for them.

        Parameters:
            to: Run of a node.
            lane: Lane to send on.
            frames: The bytes of each.

        Raises:
            RuntimeError: The transport does not run.
        """
        exchange = self._running()
        link = exchange.link_for(to, lane)
        if isinstance(link, str):
            exchange.undelivered(to, frames, link)
            return
        link.send_queue.extend(frames)
        if link.session is None:
            exchange.reach(link)

    def send_if_up(self, to: UniqueAddress, lane: Lane, frame: bytes) -> bool:
        """Queue a frame only where a link is up; for frames worthless when they come late.

        Parameters:
            to: Run of a node.
            lane: Lane to send on.
            frame: The bytes.

        Returns:
            False when it was not taken.
        """
        link = self.link_up(to, lane)
        return link is not None and link.send_queue.put_nowait(frame)

    def link_up(self, to: UniqueAddress, lane: Lane) -> Link | None:
        """Find the link to a run, if it is up and something may be sent. For the cluster.

        Parameters:
            to: Run of a node.
            lane: Lane of the link.

        Returns:
            The link; None where there is none.
        """
        exchange = self._exchange
        return None if exchange is None or exchange.is_closing else exchange.links.up(to, lane)

    def queued(self, to: UniqueAddress, lane: Lane) -> tuple[int, int]:
        """Count what waits for a peer, whose link may be up or not. For the cluster.

        Parameters:
            to: Run of a node.
            lane: Lane of the link.

        Returns:
            The frames in the queue, and the senders that wait for room in it.
        """
        link = self._queueing(to, lane)
        return (0, 0) if link is None else (len(link.send_queue), link.send_queue.waiting)

    def has_spare_room(self, to: UniqueAddress, lane: Lane) -> bool:
        """Look whether the queue to a peer has room for one who sends many messages at once. For the cluster.

        Parameters:
            to: Run of a node.
            lane: Lane of the link.

        Returns:
            Whether it has, beyond the part left to others.
        """
        link = self._queueing(to, lane)
        return link is None or link.send_queue.has_spare_room

    def _queueing(self, to: UniqueAddress, lane: Lane) -> Link | None:
        exchange = self._exchange
        return None if exchange is None else exchange.links.by_peer[lane].get(to) or exchange.links.up(to, lane)

    def is_up(self, node: UniqueAddress, lane: Lane, *, or_awaited: bool = False) -> bool:
        """Look whether there is a link with a run of a node.

        Parameters:
            node: Run of a node.
            lane: Lane of the link.
            or_awaited: Whether frames waiting for a link count for one.

        Returns:
            Whether there is.
        """
        link = None if self._exchange is None else self._exchange.links.by_peer[lane].get(node)
        return link is not None and (or_awaited or link.session is not None)

    def dial(self, address: NodeAddress, lane: Lane) -> None:
        """Start one attempt now, unless there is a link or an attempt; the handler hears the outcome.

        Parameters:
            address: Where to connect to.
            lane: Lane of the link.

        Raises:
            RuntimeError: The transport does not run.
        """
        self._running().dial(address, lane)

    async def identify(self, address: NodeAddress) -> UniqueAddress | None:
        """Ask for the run at an address, over a connection of its own.

        Parameters:
            address: Where to ask.

        Returns:
            The run; None for nobody.

        Raises:
            RuntimeError: The transport does not run.
        """
        found = await self._identity_verifier.probe(address, self._running(), timeout=self._limits.dial_timeout)
        return found.node if isinstance(found, HelloAck) else None

    def add_seeds(self, addresses: Iterable[NodeAddress]) -> None:
        """Know where seeds are: they are dialled and looked up as members are.

        Parameters:
            addresses: Addresses of seeds, as they are dialled.
        """
        self.seeds |= frozenset(addresses)
        if self._exchange is not None:
            self._exchange.seeds = self.seeds

    def forget(self, node: UniqueAddress) -> None:
        """Drop the links and queues of a removed run; queued frames are undelivered.

        Parameters:
            node: The removed run.
        """
        if self._exchange is not None:
            self._exchange.forget(node)

    def take_back(self, node: UniqueAddress, is_wanted: Callable[[bytes], bool]) -> list[bytes]:
        """Take queued frames for actors of a run back, while there is no link to it.

        Parameters:
            node: Run of a node.
            is_wanted: Whether a frame is to be taken back.

        Returns:
            The frames, none of which was written, in the order of their sending.
        """
        link = None if self._exchange is None else self._exchange.links.by_peer[Lane.ordinary].get(node)
        return [] if link is None or link.session is not None else link.send_queue.take_out(is_wanted)

    def keep(self, nodes: Iterable[UniqueAddress]) -> None:
        """Keep the links to these runs, and only to these, when nothing crosses them; nobody is kept at first.

        Links to all other runs are closed after a while without traffic, and their number is bounded apart, so that
        there is always room for those to keep.

        Parameters:
            nodes: Runs of nodes, as a rule the members.
        """
        if self._exchange is not None:
            self._exchange.strangers.keep(nodes)

    def is_of_members(self, to: UniqueAddress) -> bool:
        """Look whether frames go to one of those to keep, or to a seed still to be met.

        Parameters:
            to: Run of a node; incarnation 0 is any run at that address.

        Returns:
            Whether they do; True where nothing is sent, as the transport does not run.
        """
        return self._exchange is None or self._exchange.is_of_members(to)

    def give_up(self, address: NodeAddress, reason: str) -> None:
        """Stop dialling an address for messages between actors; frames waiting for it are undelivered.

        Parameters:
            address: Where nobody answers.
            reason: Why, for the dead letters.
        """
        if self._exchange is not None:
            self._exchange.give_up(address, reason)

    async def goodbye(self, timeout: float) -> None:
        """Write the queues, say goodbye on every link and close it, within ``timeout`` seconds.

        From its start nothing is taken and nobody is let in any more. A transport bound and not running yet is closed.

        Parameters:
            timeout: Seconds for all of it.
        """
        exchange = self._exchange
        if exchange is None:
            if self._listener is not None:
                await self.aclose()
            return
        with trio.move_on_after(timeout):
            exchange.finish()
            while exchange.sessions or exchange.dials:
                await exchange.changed.park()
        exchange.close("this node has left")

    def renew_links(self, spread: float | None = None) -> None:
        """Hand each link with a member that is up over to a new connection: nothing is lost or delayed by it.

        Parameters:
            spread: Seconds over which they begin; None makes it 5, or more where there are many links.

        Raises:
            RuntimeError: The transport does not run.
        """
        self._running().handovers.schedule(self._rng, spread)

    @property
    def link_manager(self) -> LinkManager:
        """The machine that decides over the links, for `casty.testing.inspect`.

        Raises:
            RuntimeError: The transport does not run.
        """
        return self._running()

    @property
    def certificate_seconds_left(self) -> float | None:
        """Seconds until the certificate of this node ends; None without TLS."""
        return self._network.seconds_left if isinstance(self._network, TlsNetwork) else None

    @property
    def is_running(self) -> bool:
        """Whether `run` has begun, so that there are statistics."""
        return self._exchange is not None

    def statistics(self) -> TransportStatistics:
        """Count the traffic of the links, and the frames waiting.

        Returns:
            The state of each link and the counters of all.

        Raises:
            RuntimeError: The transport does not run.
        """
        exchange = self._running()
        return exchange.links.statistics(
            dials=len(exchange.dials),
            unauthenticated=self._handshake_slots.inside,
            frames_rejected=exchange.frames_rejected,
        )

    def _running(self) -> LinkManager:
        if self._exchange is None:
            raise RuntimeError("the transport does not run: call bind() and run() first")
        return self._exchange

    def _start(self, nursery: trio.Nursery, dial: DialTask) -> None:
        nursery.start_soon(self._pursue, dial)

    async def _keep_house(self, exchange: LinkManager, nursery: trio.Nursery) -> None:
        while True:
            await trio.sleep(HOUSEKEEPING_INTERVAL)
            self.complaints.flush()
            exchange.close_idle()
            seen = self._network.reloads if isinstance(self._network, TlsNetwork) else 0
            if seen != self._credentials_seen:
                self._credentials_seen = seen
                self.renew_links()
            for renewal in exchange.handovers.begin(self._rng):
                nursery.start_soon(self._renewing.run, renewal, exchange.handovers)

    async def _accept(self, connection: Connection) -> None:
        exchange = self._running()
        host, session = connection.remote, None
        place = self._handshake_slots.enter(host, trio.current_time())
        try:
            if place is not None:
                with place.scope:
                    session = await self._let_in(connection, exchange)
        finally:
            if place is not None:
                self._handshake_slots.leave(place)
            if place is None or place.scope.cancelled_caught:
                with exchange.reports:
                    exchange.reports.add(exchange.handler.peer_refused, host, None, CROWDED)
            if session is None:
                await close(connection)
        if session is not None:
            await session.run()

    async def _let_in(self, connection: Connection, exchange: LinkManager) -> Session | ClientRun | None:
        """Return the session made from a hello; every other peer is turned away."""
        hello: Hello | None = None
        begun = trio.current_time()
        try:
            with trio.fail_after(self._limits.hello_timeout):
                said, decoder = await server_handshake(connection, self._limits)
                if isinstance(said, Refused):
                    answer: Session | ClientRun | HelloAck | Refused = said
                elif said.role == CLIENT and said.lane is Lane.ordinary and self.clients is not None:
                    hello, answer = said, self.clients.accept(said, connection, decoder)
                else:
                    hello, host = said, connection.remote
                    doubt = exchange.objection(hello, host) or await self._identity_verifier.doubt(
                        hello, host, exchange
                    )
                    answer = doubt or exchange.answer(hello, Arrival(connection, decoder, begun))
                if isinstance(answer, HelloAck):
                    is_asked = hello is not None and hello.lane is Lane.status
                    more = await self._status_responder.report(connection.remote, exchange) if is_asked else b""
                    if not isinstance(more, Refused):
                        await connection.send(encode_hello_ack(answer) + more)
                        return None
                    answer = more
                if not isinstance(answer, Refused):
                    return answer
                refusal = answer
                await connection.send(encode_refused(answer))
        except trio.TooSlowError:
            what = "no hello" if hello is None else "no decision about the hello"
            refusal = Refused(f"{what} within {self._limits.hello_timeout:g} s", final=False)
        except (ConnectionLost, ProtocolError) as error:
            if hello is not None:
                return None  # the dialler has given up: it has got another link, or it ends
            is_gone = isinstance(error, ConnectionLost)
            refusal = HUNG_UP if is_gone else Refused(printable(str(error)), final=False)
        if refusal is not SIMULTANEOUS_DIAL:
            with exchange.reports:
                exchange.reports.add(exchange.handler.peer_refused, connection.remote, hello, refusal)
        return None

    @trio.lowlevel.enable_ki_protection
    async def _pursue(self, dial: DialTask) -> None:
        """Try until there is a session, then run it; or until nobody wants one."""
        exchange = self._running()
        session = None
        try:
            with dial.scope:
                again = not dial.is_given_up
                while again and session is None:
                    if dial.failures:
                        await dial.pause(self._rng)
                    dial.begin(self._rng)
                    session, again = await self._try(dial, exchange)
            if session is not None:
                await session.run()
        except Exception as error:
            # A bug here costs one link, never the others: this is the error boundary of the task.
            self.complaints.error(dial.address, "the link failed", error)
            exchange.abandon(dial)

    async def _try(self, dial: DialTask, exchange: LinkManager) -> tuple[Session | None, bool]:
        """Make one attempt and report it; a session, or whether to go on."""
        try:
            with trio.fail_after(self._limits.dial_timeout):
                return await self._attempt(dial, exchange), False
        except ConnectFailed as error:
            return None, exchange.attempt_failed(dial, refused=error.refused, reason=str(error))
        except TlsRefused as error:
            return None, exchange.attempt_mistrusted(dial, printable(str(error)))
        except ConnectionLost as error:
            return None, exchange.attempt_failed(dial, refused=False, reason=printable(str(error)))
        except ProtocolError as error:
            reason = f"{dial.address} does not answer like a casty node: {printable(str(error))}"
            return None, exchange.attempt_failed(dial, refused=False, reason=reason)
        except trio.TooSlowError:
            return None, exchange.attempt_failed(dial, refused=False, reason=dial.lateness(self._limits.dial_timeout))
        except HandshakeRefused as error:
            return None, exchange.attempt_refused(dial, error.refusal)

    async def _attempt(self, dial: DialTask, exchange: LinkManager) -> Session | None:
        """Connect and exchange hellos; None when the outcome is settled otherwise."""
        named_by = None if exchange.knows(dial.address) else REFS
        connection = await self._network.connect(dial.address, named_by=named_by)
        session = None
        try:
            if dial.is_given_up:  # a hello now would replace the link that this node has accepted meanwhile
                return None
            dial.phase = DialPhase.greeting
            answer, decoder = await client_handshake(connection, exchange.identity.hello(dial), self._limits)
            if isinstance(answer, HelloAck):
                session = exchange.acknowledged(dial, answer, connection, decoder)
                if session is None:
                    with suppress(ConnectionLost):
                        await connection.send(GOODBYE_FRAME)
                return session
        finally:
            if session is None:
                await close(connection)
        if answer == SIMULTANEOUS_DIAL:
            dial.phase = DialPhase.yielding
            await trio.sleep_forever()
        raise HandshakeRefused(answer)
