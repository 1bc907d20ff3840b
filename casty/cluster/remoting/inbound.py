"""Entry of frames and news of links: decode, then tell the responsible actor."""

from __future__ import annotations

from collections.abc import Sequence

from casty.address import ASK_PREFIX, NodeAddress, UniqueAddress
from casty.cluster.access import ANYONE, RESTRICTED, RULES, AccessRule, ForeignRefError, admits, is_internal, rule_of
from casty.cluster.node import ClusterNode
from casty.cluster.observability.status_report import report_frames
from casty.cluster.remoting.fast_receive import FastReceive
from casty.cluster.remoting.local_transport import LocalTransport
from casty.errors import ActorStoppedError, AskFailed, DecodeError, UnknownTypeError
from casty.protocol.failure_detector.monitor import DialFailed, LinkLost, RunSeen
from casty.protocol.membership.inputs import HelloRefused, Mistrusted, SelfAlias
from casty.runtime.events import NO_SUCH_ACTOR, DeadLetterReason, MessageSummary
from casty.runtime.messaging.ask import AskRef, refuse_asks
from casty.schema.names import LOG_TEXT_MAX, printable
from casty.transport.limits.charges import kept
from casty.transport.links.hello import HUNG_UP, LEAVING
from casty.wire.chunking.chunks import arrived_frame, decode_arrived, decode_large
from casty.wire.control.cancel_request import decode_withdraw
from casty.wire.control.pause import decode_path
from casty.wire.envelope import Envelope, Notice, NoticeCode, control_head
from casty.wire.frame import HEADER_BYTES, FrameKind, Lane
from casty.wire.handshake import Hello, Refused

NOT_DELIVERED: dict[NoticeCode, DeadLetterReason] = {
    "no_actor": "not delivered: no_actor",
    "unknown_type": "not delivered: unknown_type",
    "ill_typed": "not delivered: ill_typed",
    "refused": "not delivered: refused",
}

UNANSWERABLE: dict[NoticeCode, str] = {
    "unknown_type": "that node does not know this type of message, and has to import the module that declares it",
    "ill_typed": "that node could not read this message, and its log says why",
    "refused": "only members of its cluster may send it this message, of actors of their own",
}
"""Answers to an ask whose request another node cannot read, or does not take from this one."""


class Inbound:
    """Handler of the reports of one node's transport."""

    def __init__(self, node: ClusterNode, local: LocalTransport) -> None:
        self._node = node
        self._local = local
        self._complaints = node.complaints
        self._fast_receive = FastReceive(
            node, local, take_frame=self._envelope, deliver=self._deliver, refuse=self._refuse
        )

    def envelopes(self, peer: UniqueAddress, frames: Sequence[tuple[FrameKind, bytes]], start: int) -> int:
        """Take the messages from ``start`` on, up to a frame of another kind, and return its place."""
        return self._fast_receive.take(peer, frames, start)

    def frame(self, peer: UniqueAddress, lane: Lane, kind: FrameKind, body: bytes | memoryview) -> None:
        """Take one frame. A message impossible to decode is counted and answered; the link lives."""
        try:
            match kind:
                case _ if kind in RESTRICTED and not self._admits(peer, RULES[kind], kind, kind.name):
                    return
                case FrameKind.ENVELOPE if isinstance(body, memoryview):
                    self._fast_receive.take_view(peer, body)
                case FrameKind.ENVELOPE:
                    self._envelope(peer, body)
                case _ if isinstance(body, memoryview):
                    self.frame(peer, lane, kind, bytes(body))
                case FrameKind.CONTROL:
                    self._control(peer, lane, body)
                case FrameKind.NOTICE:
                    self._notice(peer, self._node.codec.decode_notice(body))
                case FrameKind.SLICE:
                    self._slice(peer, body)
                case FrameKind.LARGE:
                    self._large(peer, decode_large(body))
                case FrameKind.ARRIVED if self._node.paused_sends is not None:
                    self._node.paused_sends.arrived(peer, *decode_arrived(body))
                case FrameKind.PAUSE if self._node.paused_sends is not None:
                    self._node.paused_sends.pause(peer, decode_path(body))
                case FrameKind.RESUME if self._node.paused_sends is not None:
                    self._node.paused_sends.resume(peer, decode_path(body))
                case FrameKind.WITHDRAW:
                    self._node.kernel.withdraw(peer, decode_withdraw(body))
                case _:
                    raise DecodeError(f"a frame of kind {kind.name} on an established link")
        except DecodeError as error:
            self._complain(peer, error)

    def asking(self) -> int:
        """Return how many asks of this node are open."""
        return len(self._node.kernel.asks)

    def link_up(self, peer: UniqueAddress, lane: Lane) -> None:
        """Ask a node to pause again, as on the link before; all else is queued already."""
        if lane is Lane.ordinary and self._node.receive_backpressure is not None:
            self._node.receive_backpressure.link_up(peer)

    def link_lost(self, peer: UniqueAddress, lane: Lane, reason: str, graceful: bool) -> None:
        """Redial a lost control link: refusals are evidence."""
        if lane is Lane.ordinary:
            self._fast_receive.link_lost(peer)
            self._node.open_asks.link_lost(peer)
            if self._node.paused_sends is not None:
                self._node.paused_sends.resume_all(peer)
        elif lane is Lane.large:
            self._node.assembler.link_lost(peer, self._node.kernel.now())
            if self._node.paused_sends is not None:
                self._node.paused_sends.link_lost(peer, reason, graceful=graceful)
        elif lane is Lane.control:
            self._node.state_pages.forget(peer)
            if not graceful:
                self._node.subsystems.availability.tell(LinkLost(peer))

    def dial_failed(self, address: NodeAddress, lane: Lane, refused: bool, reason: str) -> None:
        """Pass on that nobody answered; messages for strangers do not wait for another attempt."""
        node = self._node
        node.contacts.failed(address, reason)
        if lane is Lane.control:
            node.subsystems.availability.tell(DialFailed(address, refused))
        elif node.transport is not None and all(member.address != address for member in node.board.members):
            node.transport.give_up(address, f"no member is at {address}")

    def mistrusted(self, address: NodeAddress, reason: str) -> None:
        """Pass on that the node there and this one do not believe each other, which says nothing on who is alive."""
        self._complaints.warning(address, f"no link with it: {reason}")
        self._node.subsystems.topology.tell(Mistrusted(address, printable(reason)))

    def dial_refused(self, address: NodeAddress, refusal: Refused) -> None:
        """Pass on that the node there wants nothing to do with this one."""
        say = self._complaints.info if refusal == LEAVING else self._complaints.warning
        say(address, f"refused the connection: {refusal.reason}")
        self._node.contacts.refused(address, refusal.reason)
        if refusal.final:
            self._node.subsystems.topology.tell(HelloRefused(address, printable(refusal.reason)))

    def peer_refused(self, host: str, hello: Hello | None, refusal: Refused) -> None:
        """Log a peer refused by this node."""
        if refusal == HUNG_UP:  # a check of the port, or a node that was stopped: none of them is in the wrong
            self._complaints.debug(host, f"a connection from there ended: {refusal.reason}")
            return
        who, say = "", self._complaints.info if refusal == LEAVING else self._complaints.warning
        if hello is not None and hello.lane is Lane.status:  # whom its own line on a terminal has told
            who, say = f" (casty status of system {hello.system})", self._complaints.info
        elif hello is not None:
            who = f" ({printable(hello.node_id)} at {hello.node.address} of system {hello.system})"
        say(host, f"a connection from there was refused: {refusal.reason}{who}")

    def incarnation_seen(self, node: UniqueAddress) -> None:
        """Pass on the run answering at an address."""
        if node == self._node.self_node:
            return
        self._node.subsystems.availability.tell(RunSeen(node))

    def self_dialled(self, address: NodeAddress) -> None:
        """Pass on that an address leads back to this node."""
        self._node.contacts.is_self(address)
        self._node.subsystems.topology.tell(SelfAlias(address))

    async def report(self) -> bytes:
        """Tell how this node and its cluster are doing."""
        return await report_frames(self._node)

    def undelivered(self, to: UniqueAddress, body_frames: Sequence[bytes], reason: str) -> None:
        """Make dead letters of messages for actors; control messages are repeated by their machines."""
        if self._node.paused_sends is not None:
            for frame in body_frames:
                if frame[HEADER_BYTES - 1] == FrameKind.SLICE:
                    self._node.paused_sends.undelivered(frame, reason)
        self._node.undelivered_frames.take(to, body_frames, reason)

    def _control(self, peer: UniqueAddress, lane: Lane, body: bytes) -> None:
        """Judge a control message by its name, then make it and hand it over."""
        node, size = self._node, len(body)
        _, name = control_head(body)
        entry = node.control.by_name.get(name)
        if entry is None:
            self._unknown(peer, name)
            return
        node.cluster_metrics.note_received(name, HEADER_BYTES + size)
        if lane is not entry.lane:
            raise DecodeError(f"{name} on the {lane.name} lane")
        if entry.rule is not ANYONE and not self._admits(peer, entry.rule, None, name):
            return
        message = node.control_codec.decode_control(body)
        try:
            entry.deliver(peer, message, size)
        except Exception as error:  # the boundary of one message of a peer, which must not end its link
            node.refuse(peer, message, error)

    def _unknown(self, peer: UniqueAddress, name: str) -> None:
        """Ignore and count a control message unknown to this node: its sender may be newer."""
        if self._node.cluster_metrics.note_unknown(name if self._node.is_member(peer) else ""):
            self._complaints.info(peer.address, f"sends {printable(name)}, which this node does not know and ignores")

    def _admits(self, peer: UniqueAddress, rule: AccessRule, message: object, name: str) -> bool:
        """Return whether a peer may send a message; another one is counted and named in the log."""
        node = self._node
        is_inviter = not node.board.runs and node.may_welcome(peer)
        if admits(rule, peer, message, is_member=node.is_member(peer), is_inviter=is_inviter):
            return True
        node.cluster_metrics.refused[name] += 1
        # In the order of things too: a member talks before it is known here as one, and after it was removed.
        self._complaints.info(peer.address, f"{name} is not taken from there: only {rule.sender.value} may send it")
        return False

    def _envelope(self, peer: UniqueAddress, body: bytes | memoryview) -> None:
        is_member = self._node.is_member(peer)
        try:
            if is_member:
                envelope = self._node.codec.decode_envelope(body)
            else:
                envelope = self._node.decode_of_stranger(peer, body)
        except DecodeError as error:
            self._refuse(peer, error)
            return
        if not is_member:  # nothing is remembered of its heads, and what waits of it is charged
            entry = self._node.codec.entry_of(envelope.name)
            self._deliver(peer, envelope, len(body), kept(body, 0 if entry is None else entry.defaults_max))
        elif self._deliver(peer, envelope, len(body)):
            self._fast_receive.learn(body, envelope)

    def _refuse(self, peer: UniqueAddress, error: DecodeError) -> None:
        """Tell the sender of a message that it cannot be made here, and log the reason on this node."""
        self._not_delivered(peer, Notice(_code_of(error), error.path, error.uid, error.name, error.ask))
        self._complain(peer, error)
        slot = self._node.kernel.target(error.path, error.uid)
        if isinstance(slot, AskRef):
            slot.refuse(AskFailed(f"the reply of {peer.address} cannot be read: {error}", "reply_lost"))

    def _complain(self, peer: UniqueAddress, error: DecodeError) -> None:
        if isinstance(error, ForeignRefError):  # in the order of things too, as where one is not admitted
            self._node.cluster_metrics.refused[error.name] += 1
            self._complaints.info(peer.address, str(error))
            return
        self._node.cluster_metrics.decode_errors += 1
        self._complaints.warning(peer.address, str(error))

    def _deliver(self, peer: UniqueAddress, envelope: Envelope, size: int, cost: int = 0) -> bool:
        """Hand a message over, or have its sender told why not; whether somebody got it.

        ``cost`` is the room of a stranger's message while it waits.
        """
        path, uid, message, name, wait, _ = envelope
        if is_internal(path):
            rule = rule_of(self._node.open_paths, path, message)
            if rule is not None and not self._admits(peer, rule, message, name):
                self._not_delivered(peer, Notice("refused", path, uid, name, 0 if wait is None else wait[1]))
                return False
        receive_backpressure = self._node.receive_backpressure
        if receive_backpressure is not None:
            receive_backpressure.sender, receive_backpressure.size, receive_backpressure.cost = peer, size, cost
        kernel = self._node.kernel
        if cost:
            kernel.begin_arrival(message, size)
        try:
            refusal = self._local.deliver(path, uid, message, name, wait, asker=peer)
        finally:
            kernel.end_arrival()
        if refusal is not None:
            self._not_delivered(peer, Notice(refusal, path, uid, name))
            if refusal == "no_actor" and not path.startswith(ASK_PREFIX) and self._node.is_member(peer):
                # Members only: a stranger could have this node dial the addresses of its choice.
                whom = f"{path} on {self._node.self_node.address}"
                error = ActorStoppedError(f"{whom} did not get the request: {NO_SUCH_ACTOR}")
                refuse_asks(self._node.kernel, message, error, "lost" if wait is None else "not_delivered")
        return refusal is None

    def _slice(self, peer: UniqueAddress, body: bytes) -> None:
        node = self._node
        whole = node.assembler.take(peer, body, node.kernel.now())
        if whole is not None and node.transport is not None and node.transport.is_up(peer, Lane.large):
            # Also behind large messages that fill the queue: the peer waits for it, and may fill its own with them.
            node.transport.send_held(peer, Lane.large, [arrived_frame(*whole)])

    def _large(self, peer: UniqueAddress, number: int) -> None:
        body = self._node.assembler.claim(peer, number)
        if body is None:
            raise DecodeError("the place of a large message came, and the message is not here any more")
        self._envelope(peer, body)

    def _not_delivered(self, peer: UniqueAddress, notice: Notice) -> None:
        """Ask the sender's node for a dead letter; where its link has no room for the notice, it is one here."""
        node = self._node
        if not notice.path or node.transport is None:
            return
        # A node gone since is not dialled for this: the address may be a stranger's invention.
        if not node.transport.send_if_up(peer, Lane.ordinary, node.codec.frame_notice(notice)):
            self._bury(peer, notice, node.self_node.address)

    def _bury(self, peer: UniqueAddress, notice: Notice, at: NodeAddress, *, incarnation: int = 0) -> None:
        """Make a dead letter of a message undelivered at a node, or sent by ``peer``.

        One about a stranger holds the beginnings of its texts alone: those are charged to nobody.
        """
        path, shown = notice.path, None
        if not self._node.is_member(peer):
            path, shown = _beginning(path), MessageSummary(_beginning(notice.name), 0)
        ref = self._node.remote(path, at, incarnation=incarnation)
        self._node.kernel.dead_letter(notice, ref, NOT_DELIVERED[notice.code], shown=shown)

    def _notice(self, peer: UniqueAddress, notice: Notice) -> None:
        self._bury(peer, notice, peer.address, incarnation=peer.incarnation)
        if not notice.path.startswith(ASK_PREFIX):  # a late reply is nothing to warn of, and each has a path of its own
            self._complaints.warning(peer.address, f"could not deliver {notice.name} to {notice.path}: {notice.code}")
        if notice.ask and notice.code in UNANSWERABLE and self._node.is_member(peer):
            whom = f"{notice.path} on {peer.address}"
            told = f"{whom} did not get the request: {UNANSWERABLE[notice.code]}: {notice.name}"
            self._refuse_ask(notice.ask, AskFailed(told, "not_delivered"))

    def _refuse_ask(self, number: int, error: AskFailed) -> None:
        """Fail an ask of this node by its number, known only to the receivers of its request."""
        for slot in self._node.kernel.asks.values():
            if slot.uid == number:
                slot.refuse(error)
                break


def _beginning(text: str) -> str:
    return text if len(text) <= LOG_TEXT_MAX else text[: LOG_TEXT_MAX - 3] + "..."


def _code_of(error: DecodeError) -> NoticeCode:
    """Return the reason, for the sender of a message, why it cannot be made here."""
    match error:
        case UnknownTypeError():
            return "unknown_type"
        case ForeignRefError():
            return "refused"
        case _:
            return "ill_typed"
