"""Clients of one node: who is let in, and what is open to them.

Owns the door: keys made with ``clients=True`` and used on this node, and nothing else. A client never becomes a member,
and has no link; so nothing that nodes say to each other is within its reach.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Final

import trio

from casty.cluster.clients.client_door import ClientDoor
from casty.cluster.clients.client_limits import (
    ALL_BYTES_MAX,
    CLIENT_BYTES_MAX,
    CONNECTIONS_MAX,
    CONNECTIONS_PER_HOST_MAX,
    LEAVE_GRACE,
    LEAVE_MARGIN,
    LEAVE_PATIENCE,
    REFUSALS_LOGGED,
)
from casty.cluster.clients.client_session import ClientSession
from casty.cluster.clients.spoken import ClientSpoken
from casty.cluster.extension import ClusterExtension, ExtensionNode
from casty.cluster.node import ClusterNode
from casty.cluster.receptionist.receptionist import ReceptionistExtension
from casty.protocol.state.member import MemberStatus
from casty.transport.clients.frame_pipe import FramePipe
from casty.transport.links.hello import LEAVING
from casty.transport.network.interface import Connection
from casty.wire.control.contact_points import contacts_frame
from casty.wire.frame import FrameDecoder
from casty.wire.handshake import MEMBER, Hello, Refused, encode_hello_ack, negotiate

CLIENTS: Final = "casty.clients"
NOT_UP: Final = Refused("this node is no member of its cluster yet: try another one", final=False)


class Clients(ClusterExtension):
    """Takes the connections of clients at one node."""

    name = CLIENTS

    def __init__(self, receptionist: ReceptionistExtension) -> None:
        self._receptionist = receptionist
        self.sessions: dict[ClientSession, None] = {}
        self.held_bytes = 0
        """Bytes held for all clients: their asks without an answer, and what they have not read."""
        self.asked_bytes = 0
        """Those of asks among them."""
        self._node: ClusterNode | None = None
        self._spoken: ClientSpoken | None = None
        self._door: ClientDoor | None = None
        self.is_leaving = False
        """Whether the clients were sent to other nodes, and end once all that they have sent is taken."""
        self.turn = trio.Lock()
        """Turn of one client to have frames handled."""
        self.large_turn = trio.Lock()
        """Turn of one client to have a large message decoded."""
        self.large_due = 0.0
        """Time from which on the next one may be."""
        self._changed = trio.Event()

    @property
    def spoken(self) -> ClientSpoken:
        """Codec between clients and this node."""
        assert self._spoken is not None
        return self._spoken

    @property
    def door(self) -> ClientDoor:
        """Door of the node for all clients."""
        assert self._door is not None
        return self._door

    def start(self, node: ExtensionNode) -> None:
        """Take the connections of clients from now on."""
        inside = self._node = node.inside
        self._spoken = ClientSpoken(
            inside.kernel,
            inside.self_node,
            system_name=inside.system_name,
            limits=inside.settings.limits,
            wire_types=inside.system.wire_types,
        )
        self._door = ClientDoor(inside.kernel, self._receptionist)
        inside.kernel.handing_over.insert(0, self._send_away)  # before anything moves: new asks go elsewhere
        if inside.transport is not None:
            inside.transport.clients = self

    async def leave(self) -> None:
        """Wait for the replies to open asks of clients; new ones go to other nodes meanwhile."""
        await self._send_away()
        began = trio.current_time()
        patience_end = min(began + LEAVE_PATIENCE, trio.current_effective_deadline() - LEAVE_MARGIN)
        try:
            with trio.CancelScope(deadline=patience_end):
                while self.sessions:
                    is_grace_over = trio.current_time() >= began + LEAVE_GRACE
                    if is_grace_over and not any(session.asks for session in self.sessions):
                        break
                    self._changed = trio.Event()
                    with trio.move_on_after(LEAVE_GRACE):
                        await self._changed.wait()
        finally:  # also where the node's patience is over first, on a busy machine
            for session in list(self.sessions):
                session.finish()

    async def _send_away(self) -> None:
        """Say goodbye to the clients, and let none in any more."""
        if not self.is_leaving:
            self.is_leaving = True
            for session in list(self.sessions):
                session.say_goodbye()

    def ended(self) -> None:
        """Let no client in any more."""
        if self._node is not None and self._node.transport is not None:
            self._node.transport.clients = None

    def accept(self, hello: Hello, connection: Connection, decoder: FrameDecoder) -> ClientSession | Refused:
        """Take a connection of a client, or say why not."""
        node = self._node
        if node is None or self.is_leaving or node.is_leaving:
            return LEAVING
        answer = negotiate(
            replace(hello, role=MEMBER), own=node.self_node, system=node.system_name, node_id=node.member.id
        )
        if isinstance(answer, Refused):
            return answer
        if not node.is_member(node.self_node):
            return NOT_UP
        hosts = Counter(session.pipe.remote for session in self.sessions)
        if hosts[connection.remote] >= CONNECTIONS_PER_HOST_MAX or len(self.sessions) >= CONNECTIONS_MAX:
            node.cluster_metrics.refused["client: too_many_connections"] += 1
            reason = f"a host may have {CONNECTIONS_PER_HOST_MAX} clients here, all together {CONNECTIONS_MAX}"
            return Refused(reason, final=False)
        limits = node.settings.limits
        pipe = FramePipe(connection, decoder, bytes_max=CLIENT_BYTES_MAX, write_timeout=limits.write_timeout)
        pipe.put(encode_hello_ack(answer))
        session = ClientSession(self, hello, pipe)
        self.sessions[session] = None
        return session

    def make_room(self, session: ClientSession, size: int) -> None:
        """Hang up on clients with the most unread bytes, until so many more may wait for this one.

        The largest holder goes, and not the next one with a reply: else a few who do not read cut off all the others.
        """
        if self.held_bytes + size <= ALL_BYTES_MAX:
            return
        for one in self.sessions:
            one.note_queued()
        while self.held_bytes + size > ALL_BYTES_MAX:
            largest = max(self.sessions, key=lambda one: one.unread)
            if not largest.unread:
                return  # one frame may be larger than all that is left beside the asks
            largest.end_unread()
            if largest is session:
                return

    def refused(self, session: ClientSession, what: str, particulars: str) -> None:
        """Count a refusal, and name it in the log."""
        node = self._node
        if node is not None:
            node.cluster_metrics.refused[f"client: {what}"] += 1
            node.complaints.info(session.pipe.remote, f"{REFUSALS_LOGGED}{particulars} (client {session.name})")

    def contacts(self) -> bytes:
        """Return the frame with the members open to clients."""
        members = () if self._node is None else self._node.board.members
        up = sorted(member.address for member in members if member.status is MemberStatus.up)
        return contacts_frame(up)

    def leave_session(self, session: ClientSession) -> None:
        """Forget an ended session."""
        self.sessions.pop(session, None)
        self._changed.set()

    def __repr__(self) -> str:
        return f"<Clients {len(self.sessions)} held={self.held_bytes} B>"
