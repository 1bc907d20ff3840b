"""Shared state of the actors of one clustered node: its identity, its codecs, its transport, its refs.

Owns the translation between refs and addresses and the hand-over of frames. It decides nothing
about the cluster.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Final, Never, TypeVar

import trio

from casty.address import (
    ASK_PREFIX,
    ENTITY_MARK,
    ENTITY_PREFIX,
    LastMembership,
    NodeAddress,
    UniqueAddress,
    WireRef,
    entity_of_path,
    in_words,
    serial_of,
)
from casty.cluster.access import OPEN_PATHS, ForeignRefError, OpenPaths, as_of, may_name
from casty.cluster.commands import ResolveNode, SubscribeTopology, Subsystems, UnsubscribeTopology
from casty.cluster.control_registry import ControlEntry, ControlRegistry
from casty.cluster.leases.serving import ServingLease
from casty.cluster.membership.membership_status import MembershipStatus
from casty.cluster.membership.seed_status import SeedStatus
from casty.cluster.observability.cluster_metrics import ClusterMetrics
from casty.cluster.peer_queue import PeerQueue
from casty.cluster.remoting.gated_reply import GatedReplyRef
from casty.cluster.remoting.open_asks import OpenAsks
from casty.cluster.remoting.paused_sends import PausedSends
from casty.cluster.remoting.receive_backpressure import ReceiveBackpressure
from casty.cluster.remoting.remote_ref import RemoteRef
from casty.cluster.remoting.undelivered_frames import DeadFrame, UndeliveredFrames, is_for_entity
from casty.cluster.work_handover import WorkHandover
from casty.config import ClusterSettings
from casty.errors import (
    ActorStoppedError,
    CastyError,
    ConfigError,
    DecodeError,
    ProtocolError,
    UnsupportedTypeError,
)
from casty.protocol.failure_detector.heartbeat import HeartbeatCame
from casty.protocol.failure_detector.monitor import Heard
from casty.protocol.gossip.handover import GossipCame
from casty.protocol.gossip.state_pages import StateAssembler, StateCutter
from casty.protocol.membership.inputs import Received
from casty.protocol.membership.status import REPORT_TYPES
from casty.protocol.messages.membership import GossipState
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.registry import ServiceEntry
from casty.protocol.state.shard_allocation import ShardAllocation
from casty.refs import ActorRef, EntityKey, made_key
from casty.runtime.events import NOT_SENT, EventStreamCmd, MessageSummary
from casty.runtime.messaging.ask import AskRef, ErrorReply, refuse, reply_refs
from casty.runtime.messaging.entity_ref import RoutedEntityRef
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import OwnRef
from casty.runtime.system.kernel import Kernel
from casty.runtime.system.system import ActorSystem, fail_system, kernel_of
from casty.schema.names import check_declared
from casty.transport.limits.rate_limited_log import RateLimitedLog
from casty.transport.manager.link_handle import LinkHandle
from casty.transport.manager.peers import RemoteTransport
from casty.wire.chunking.chunks import Assembler
from casty.wire.codec.codec import Codec
from casty.wire.envelope import FOREIGN, HAS_ENTITY, HAS_TAIL, Envelope, decode_head, decode_wait, entity_behind
from casty.wire.frame import HEADER_BYTES, LENGTH_BYTES, Lane
from casty.wire.framing import Write

E = TypeVar("E")

REMOTE_TYPES: Final[tuple[type, ...]] = (
    NodeAddress,
    Member,
    MemberStatus,
    ServiceEntry,
    ShardAllocation,
    TopologySnapshot,
    ResolveNode,
    SubscribeTopology,
    UnsubscribeTopology,
    ErrorReply,
)
"""Types exchanged by the cluster actor with actors of other nodes, and the refusal of an ask."""

MARK_AT = slice(len(ASK_PREFIX), len(ASK_PREFIX) + 1)
"""Place of the mark in the path of an ask: hardly a look for all others."""

ROUTES_MAX = 4_096
"""Runs of nodes with a remembered route for the refs naming them."""

REPLY_WRITERS_MAX = 4_096
"""Types of replies, and classes of theirs, whose writers are kept."""

CLOSED_PREFIX = "/_closed"
"""Nothing lives there: a message to a closed actor is a dead letter."""

LOCAL_ONLY_MAX = 4_096
"""Message types remembered as unable to travel; more are looked at again at each spawn."""

END_WAITS_MAX = 3.0
"""Seconds for which the end of an actor waits at most for large messages sent before it."""

CONTROL_ELEMENTS_MAX = 57_344
"""Values in one control message, whatever users set for theirs: the largest tells a version of as many members and
tombstones as there may be, with those of all tables. States and slots travel in pages."""

logger = logging.getLogger("casty.cluster")


class ClusterNode:
    """One node's shared context. ``subsystems`` is set by the cluster actor before any of them runs."""

    subsystems: Subsystems

    def __init__(
        self,
        system: ActorSystem,
        member: Member,
        *,
        system_name: str,
        settings: ClusterSettings,
        transport: RemoteTransport | None,
        event_stream: ActorRef[EventStreamCmd] | None = None,
    ) -> None:
        self.system = system
        self.lease_id = self.journal_id = ""
        """Identities of the lease between the sides of a partition, and of the store, where there are such."""
        self.last: LastMembership | None = None
        """Knowledge of the last run of this node, where it is remembered."""
        self.kernel: Kernel = kernel_of(system)
        self.kernel.hooks.is_stranger = self._is_stranger
        self.thread = self.kernel.thread
        self.member = member
        self.self_node: UniqueAddress = member.unique
        self._own_node = (member.unique.address.host, member.unique.address.port, member.unique.incarnation)
        self.system_name, self.settings, self.transport = system_name, settings, transport
        self.complaints = RateLimitedLog(logger, trio.current_time) if transport is None else transport.complaints
        """For log lines caused by frames of peers."""
        self.cluster_complaints = self.complaints.under(logger)
        """For those caused by what peers say of the cluster."""
        self.board = MembershipStatus()
        self.serving, self.handover = ServingLease(self.board), WorkHandover(self.board)
        self.contacts = SeedStatus()
        self.cluster_metrics = ClusterMetrics()
        self.event_stream = event_stream
        self.may_welcome: Callable[[UniqueAddress], bool] = _nobody
        """Whether a node was asked to let this one in."""
        self.is_leaving = False
        """Whether the actors of the cluster end because they are to."""
        limits, own, checked = settings.limits, system.wire_types, self._import_checked
        self.codec = Codec(export_ref=self.export_ref, import_ref=checked, limits=limits, wire_types=own)
        control_limits = replace(limits, elements_max=CONTROL_ELEMENTS_MAX)
        self.control_codec = Codec(export_ref=self.export_ref, import_ref=self.import_ref, limits=control_limits)
        self.control = ControlRegistry(self.control_codec)
        """Messages between nodes; the rooms of the cluster add theirs before the transport runs."""
        self._register_types()
        self.open_paths: OpenPaths = {path: dict(rules) for path, rules in OPEN_PATHS.items()}
        """Actors under ``/_`` that other nodes may send to, and what."""
        self.gossip_heard: dict[UniqueAddress, float] = {}
        """Time of the last word of each member about the cluster; it goes when the member is removed."""
        self._state_cutter, self.state_pages = StateCutter(), StateAssembler()
        self.topology_mail: PeerQueue[Received] = PeerQueue(lambda mail: self.subsystems.topology.tell(mail))
        self.gossip_mail: PeerQueue[GossipCame] = PeerQueue(lambda mail: self.subsystems.gossip.tell(mail))
        self.heartbeat_mail: PeerQueue[HeartbeatCame] = PeerQueue(lambda mail: self.subsystems.heartbeat.tell(mail))
        self.availability_mail: PeerQueue[Heard] = PeerQueue(lambda mail: self.subsystems.availability.tell(mail))
        self.frame_bytes_max = limits.frame_bytes_max + LENGTH_BYTES
        """Longer frames travel in slices."""
        self.undelivered_frames = UndeliveredFrames(self._show_dead, self._count_dead)
        self.open_asks = OpenAsks(self.kernel, self.is_member)
        self.paused_sends = (
            None if transport is None else PausedSends(transport, limits, self.kernel.now, self.undelivered_frames.take)
        )
        self.receive_backpressure = None if transport is None else ReceiveBackpressure(self.kernel, transport, limits)
        self.assembler = Assembler(limits.message_bytes_max)
        self._framed: tuple[object, bytes] = (None, b"")
        """The last control message and its frame: a push goes to many peers."""
        self._local_only: set[object] = set()
        self._reply_writers: dict[tuple[object, type], Write] = {}
        self._routes: dict[tuple[str | None, int | None, int], LinkHandle] = {}
        """One for each run named by refs: a ref comes with every ask, and finds its link looked up."""
        self._stranger: UniqueAddress | None = None
        """The stranger whose message is being decoded."""
        self._foreign: WireRef | None = None
        """The first actor named in that message against the rule."""

    @property
    def is_started(self) -> bool:
        """Whether ``subsystems`` is set."""
        return hasattr(self, "subsystems")

    def begin(self, *, lease_id: str, journal_id: str, last: LastMembership | None) -> None:
        """Take note of the lease that decides, of the journal, and of what the run before this one knew."""
        self.lease_id, self.journal_id, self.last = lease_id, journal_id, last

    def run_with(self, subsystems: Subsystems) -> None:
        """Deliver from now on to the actors of the cluster."""
        self.subsystems = subsystems

    def welcome_if(self, may_welcome: Callable[[UniqueAddress], bool]) -> None:
        """Be let in by those nodes alone of which ``may_welcome`` says that they were asked."""
        self.may_welcome = may_welcome

    def begin_leave(self) -> None:
        """Take note that the actors of the cluster end from now on because they are to."""
        self.is_leaving = True

    def _register_types(self) -> None:
        """Let the codecs know what a node says beside control messages: reports, and what ``_cluster`` takes."""
        for report_type, name in REPORT_TYPES.items():
            self.control_codec.register(report_type, name=name)
        for public_type in REMOTE_TYPES:
            self.codec.register(public_type)

    def fail(self, ref: ActorRef[Never], cause: BaseException | None) -> None:
        """Fail the block of the system: one of the cluster's actors has ended, with its cause."""
        self.fail_by(ref.path, cause)

    def fail_by(self, part: str, cause: BaseException | None) -> None:
        """Fail the block of the system: a part of the cluster has ended, with its cause."""
        error = cause if isinstance(cause, ConfigError) else CastyError(f"{part} has ended, and the node with it")
        if error is not cause:
            error.__cause__ = cause
        self.board.end(error)
        fail_system(self.system, error)

    def export_ref(self, ref: ActorRef[Never], type_form: object) -> WireRef:
        """Return the place of ``ref`` for other nodes; an ask notes the promised type."""
        if isinstance(ref, AskRef):
            if not ref.promised:
                ref.promised = (type_form,)
            elif type_form not in ref.promised:
                ref.promised = (*ref.promised, type_form)
        elif isinstance(ref, RoutedEntityRef):
            return ref.place
        elif not isinstance(ref, OwnRef):
            return ref.address.place
        return (self.system_name, ref.path, *self._own_node, ref.uid)

    def import_ref(self, place: WireRef, type_form: object) -> ActorRef[Never]:
        """Return a ref to an actor of this or of another node."""
        _, path, host, port, incarnation, uid = place
        key = host, port, incarnation
        route = self._routes.get(key)
        if route is None:
            if host is None and path.startswith(ENTITY_PREFIX):
                return self._entity(path, type_form)
            if host is None or port is None or key == self._own_node or key == (*self._own_node[:2], 0):
                return self._local(path, uid)
            if self.transport is not None:
                if len(self._routes) >= ROUTES_MAX:
                    self._routes.clear()
                route = LinkHandle(self.transport, UniqueAddress(NodeAddress(host, port), incarnation), Lane.ordinary)
                self._routes[key] = route
        if path[MARK_AT] == ENTITY_MARK and path.startswith(ASK_PREFIX):
            return GatedReplyRef[Never](self, place, route, type_form)
        return RemoteRef(self, place, route, type_form)

    def route_to(self, run: UniqueAddress) -> LinkHandle | None:
        """Return the route of messages to a run; None where this node has no links."""
        ref = self.import_ref((self.system_name, "/", run.address.host, run.address.port, run.incarnation, 0), Never)
        return ref.route if isinstance(ref, RemoteRef) else None

    def _import_checked(self, place: WireRef, type_form: object) -> ActorRef[Never]:
        """Return a ref in a message to an actor; only refs from a peer are checked for the actors they may name."""
        if (stranger := self._stranger) is not None:
            if not may_name(stranger, place):
                return self._import_foreign(place)
            place = as_of(stranger, place)
        return self.import_ref(place, type_form)

    def _import_foreign(self, place: WireRef) -> ActorRef[Never]:
        """Return a ref given by a stranger to an actor here; note any other actor it names, to be refused."""
        _, path, host, port, incarnation, uid = place
        is_here = (host, port) in ((None, None), self._own_node[:2]) and incarnation in (0, self._own_node[2])
        if not (is_here and uid and self.kernel.target(path, uid)):
            self._foreign = place
        return self._local(path, uid)

    def decode_of_stranger(self, peer: UniqueAddress, body: bytes | memoryview) -> Envelope:
        """Return the message of a stranger. DecodeError, as of the codec, also for refs against the rule."""
        self._stranger, self._foreign = peer, None
        try:
            envelope = self.codec.decode_envelope(body)
        finally:
            self._stranger = None
        if self._foreign is not None:
            error = ForeignRefError(envelope.name, self._foreign)
            error.path, error.uid, error.name = envelope.path, envelope.uid, envelope.name
            error.ask = 0 if envelope.wait is None else envelope.wait[1]
            raise error
        return envelope

    def _local(self, path: str, uid: int) -> ActorRef[Never]:
        """Return a ref to an actor here; the library's own actors take no replies directed by a peer."""
        if path.startswith("/_") and not path.startswith(ASK_PREFIX):
            return self.kernel.ref_for(CLOSED_PREFIX + path, uid)
        return self.kernel.ref_for(path, uid)

    def _entity(self, path: str, type_form: object) -> ActorRef[Never]:
        """Return the ref of an entity; one to nobody where the path is none."""
        found, make = entity_of_path(path), self.kernel.hooks.entity_ref
        if found is None or make is None:
            return self.kernel.ref_for(CLOSED_PREFIX + path, 0)
        cls: type[EntityKey[Never]] = EntityKey
        return make(made_key(cls, found[0], type_form), found[1])

    def knows(self, run: UniqueAddress) -> bool:
        """Whether this node has to do with a run: its address is a member's, or there is a link to it."""
        if self.transport is None:
            return False
        is_member = any(member.address == run.address for member in self.board.members)
        return is_member or self.transport.link_up(run, Lane.ordinary) is not None

    def unreachable_since(self, address: NodeAddress) -> float | None:
        """Return since when a member has been unreachable, on Trio's clock; None for one that is not."""
        return self.board.unreachable_since.get(address)

    def is_member(self, run: UniqueAddress) -> bool:
        """Whether this node knows the run as a member."""
        return run in self.board.runs

    def _is_stranger(self, run: UniqueAddress) -> bool:
        return run not in self.board.runs

    def register_spawned(self, message_type: object) -> None:
        """Let other nodes send to a spawned actor, if its message type can travel at all.

        Raises UnsupportedTypeError for a declared message that holds a class which this system was not taught, or is
        too deep: it was declared to travel. An actor of other messages stays local.
        """
        if message_type in self._local_only:
            return
        try:
            self.codec.register(message_type)
        except (CastyError, TypeError, ValueError) as error:
            if check_declared(message_type, self.codec.taught) and isinstance(error, UnsupportedTypeError):
                raise
            if len(self._local_only) < LOCAL_ONLY_MAX:
                self._local_only.add(message_type)

    def reply_writer(self, message: object, type_form: object) -> Write:
        """Return the writer of reply frames of this one's class, made once for all asks: a sixth of a reply's way."""
        key = type_form, type(message)
        write = self._reply_writers.get(key)
        if write is None:
            if len(self._reply_writers) >= REPLY_WRITERS_MAX:
                self._reply_writers.clear()
            write = self.codec.writer(ASK_PREFIX, 0, message, type_form, has_tail=True)
            self._reply_writers[key] = write
        return write

    def remote(self, path: str, node: NodeAddress, *, incarnation: int = 0) -> ActorRef[Never]:
        """Return a ref to the actor at ``path`` on another node."""
        return self.import_ref((self.system_name, path, node.host, node.port, incarnation, 0), Never)

    def send_control(self, to: UniqueAddress, message: object, *, if_up: bool = False) -> bool:
        """Hand a control message to the transport; False when it was not taken."""
        entry = self.control.entry_of(message)
        if entry.lane is Lane.ordinary and self.paused_sends is not None:
            if self.paused_sends.is_before(to, END_WAITS_MAX):
                return True  # it comes again in a second, behind what is held
        return self.send_entry(to, entry, self.frame_control(message), if_up=if_up)

    def frame_control(self, message: object) -> bytes:
        """Return the frame of a control message, made once where it goes to many. Raises EncodeError."""
        if message is not self._framed[0]:
            self._framed = message, self.control_codec.frame_control(message)
        return self._framed[1]

    def send_entry(self, to: UniqueAddress, entry: ControlEntry, frame: bytes, *, if_up: bool = False) -> bool:
        """Hand the frame of a control message to the transport, whatever is held; False when it was not taken."""
        if self.transport is None:
            return False
        send = self.transport.send_if_up if if_up else self.transport.send
        is_taken = send(to, entry.lane, frame)
        if is_taken:
            self.cluster_metrics.note_sent(entry.wire_name, len(frame))
        return is_taken

    def send_state(self, to: UniqueAddress, state: GossipState) -> None:
        """Hand a whole state to the transport, in pages where it is too large for one frame."""
        for message in self._state_cutter.messages(state):
            self.send_control(to, message)

    def dial(self, address: NodeAddress, lane: Lane = Lane.control) -> None:
        """Dial an address on a lane."""
        if self.transport is not None:
            self.transport.dial(address, lane)

    def forget(self, gone: UniqueAddress) -> None:
        """Drop the links of a removed run, frames waiting for it, and its messages received in part."""
        self.assembler.forget(gone)
        if self.transport is not None and self.paused_sends is not None:
            self.paused_sends.forget(gone, "the node was removed")
            if self.transport.is_up(gone, Lane.ordinary):
                self.open_asks.link_lost(gone)  # it is about to be, and the node is no member any more then
            self.transport.forget(gone)
            self.undelivered_frames.then(partial(self.open_asks.fail, gone))

    def within_boundary(self, peer: UniqueAddress, message: object, hear: Callable[[], Sequence[E]]) -> Sequence[E]:
        """Return the effects of a message of a peer; none where ``hear`` raises, which is reported and ends nothing."""
        try:
            return hear()
        except Exception as error:  # the boundary of one message of a peer, which must not end this node
            self.refuse(peer, message, error)
        return ()

    def refuse(self, peer: UniqueAddress, message: object, error: Exception) -> None:
        """Report a message of a peer that a machine of this node raised for, without further consequences.

        A ProtocolError says what is wrong with the message; any other error is a fault of casty.
        """
        if isinstance(error, MemoryError):
            raise error
        if isinstance(error, ProtocolError):
            text = f"an impossible {type(message).__name__}, ignored: {error}"
            self.cluster_complaints.warning(peer.address, text)
            return
        what = f"its {type(message).__name__} made this node fail, and is ignored"
        self.cluster_complaints.error(peer.address, what, error)

    def _show_dead(self, to: UniqueAddress, frame: bytes, reason: str) -> None:
        """Make a dead letter of a frame to an actor; one to an entity may wait for its next owner."""
        try:
            envelope = self.codec.decode_envelope(frame[HEADER_BYTES:])
        except ProtocolError as error:
            self.complaints.warning(to.address, f"a frame to it is lost ({reason}) and cannot be shown: {error}")
            return
        message, wait = envelope.message, envelope.wait
        if wait is not None:
            message = Request(message, self.kernel.now() + wait[0], wait[1])
        if envelope.path.startswith(ENTITY_PREFIX) and self._give_back(envelope.path, message):
            return
        ref = self.remote(envelope.path, to.address, incarnation=to.incarnation)
        self.kernel.dead_letter(message, ref, NOT_SENT, reason)

    def take_back_of(self, run: UniqueAddress) -> None:
        """Take back the messages to entities queued for a run without a link; they wait for the next owners."""
        if self.transport is not None:
            for frame in self.transport.take_back(run, is_for_entity):
                self._show_dead(run, frame, "the node is out of reach")

    def _give_back(self, path: str, message: object) -> bool:
        """Let a message to an entity wait for its next owner; False where it cannot."""
        give_back = self.kernel.hooks.entity_given_back
        if give_back is None:
            return False
        if not isinstance(message, Request):
            return give_back(path, message)
        slots = (self.kernel.asks.get(serial_of(ref.path) or 0) for ref in reply_refs(message.message))
        asked = next((slot.asked for slot in slots if slot is not None and slot.uid == message.ask), None)
        request = asked or message
        if not give_back(path, request):
            return False
        request.far, request.timeout = (), None  # nobody has it, and it goes with the rest of its time
        return True

    def _count_dead(self, frames: Sequence[DeadFrame]) -> None:
        """Make dead letters of frames to actors by their heads; an asker waiting for a reply to one of them is told."""
        slots: dict[int, AskRef[Never]] | None = None
        for to, frame, reason in frames:
            body = memoryview(frame)[HEADER_BYTES:]
            try:
                end, path, _, name, parts = decode_head(body)
                if parts & HAS_ENTITY:
                    path, _ = entity_behind(body, end, path, parts)
                is_request = bool(parts & HAS_TAIL) and path != ASK_PREFIX
                ask = decode_wait(body, end)[1] if is_request else 0
            except (DecodeError, *FOREIGN) as error:
                self.complaints.warning(to.address, f"a frame to it is lost ({reason}) and cannot be shown: {error}")
                continue
            ref = self.remote(path, to.address, incarnation=to.incarnation)
            self.kernel.dead_letter(None, ref, NOT_SENT, reason, shown=MessageSummary(name, len(frame)))
            if ask and slots is None:
                slots = {slot.uid: slot for slot in self.kernel.asks.values()}
            slot = None if slots is None else slots.get(ask)
            if slot is not None:
                text = f"{in_words(ref.address)} did not get the request: {NOT_SENT}: {reason}"
                refuse(self.kernel, slot, ActorStoppedError(text), "not_sent")


def _nobody(_: UniqueAddress) -> bool:
    return False
