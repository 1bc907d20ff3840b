"""The membership of one node: the owner of the cluster's state here.

Owns the phase of this node and the replicated state: merges, seen bits, acknowledgements, the welcome and the last
words. It does not know how messages travel, the monitoring of members (`monitor`), when peers are told of a state
(`gossip.machine`, with each state published here), or the time of day; the rules are in its parts, `joining`,
`admission` and the others.

A version is published before any word of its being seen here leaves this node (`_publish`). A seen bit lets a leader
act and work be taken over; were it to leave any earlier, this node would count as aware of a version without going by
it yet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from casty.address import LastMembership, NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer, TimerFired
from casty.protocol.failure_detector.monitor import MarkReachable, MarkUnreachable
from casty.protocol.gossip.anti_entropy import HURRY
from casty.protocol.gossip.confirmation import CONFIRM, vouchers_of
from casty.protocol.gossip.handover import RegistryChanged, SendVersions, StatePublished, StopGossip
from casty.protocol.gossip.hearsay import has_word
from casty.protocol.gossip.receive import GossipReceiver, Outcome, acknowledgements
from casty.protocol.gossip.state_on_wire import from_wire, seen_on_wire, to_wire
from casty.protocol.membership.admission import ADMITTED, answered_at, judge
from casty.protocol.membership.cluster_merge import ASK_EVERY, REUNION, ClusterMerge, Dissolve
from casty.protocol.membership.founding import Founding, cluster_id_of
from casty.protocol.membership.inputs import (
    AddressAnswered,
    BeginLeave,
    Downed,
    DownMember,
    GiveTerm,
    HelloRefused,
    Joined,
    JoinFailed,
    LeaveMember,
    Left,
    Mistrusted,
    Received,
    SeedsFound,
    SelfAlias,
    Start,
    TopologyEffect,
    TopologyEvent,
    TopologySettings,
    WantServing,
    WorkFinished,
)
from casty.protocol.membership.joining import PROBE, FormCluster, Joining, JoiningEffect
from casty.protocol.membership.leaving import LEAVE, OwnEnd, OwnLeave, last_membership, last_words, own_sentence
from casty.protocol.membership.orders import Orders
from casty.protocol.membership.view import View
from casty.protocol.messages.membership import (
    AntiEntropyMessage,
    ExitingConfirmed,
    GossipDigest,
    GossipSeen,
    GossipState,
    GossipVersions,
    Join,
    JoinAnswer,
    JoinProbe,
    JoinWithdrawn,
    ServingGrant,
    ServingRequest,
    TopologyMessage,
)
from casty.protocol.split_brain.machine import SIDE_TIMERS, SplitBrain
from casty.protocol.split_brain.resolver import DowningDecision, LeaseAnswered
from casty.protocol.split_brain.serving_lease import SERVING, frees_first
from casty.protocol.state.leader import LeaderActions
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import Registry

UNHEARD = "unheard"
"""The timer by which a leader asks joining members not heard here for a word; its moves allowed by time follow, too."""
_ANSWERED = (ServingRequest, ServingGrant, GossipDigest, GossipSeen, GossipVersions)
"""Messages that change the state, the registry, or who was heard, or nothing of consequence here."""


@dataclass(slots=True)
class Topology:
    """The machine; feed it `TopologyEvent` values."""

    member: Member
    seeds: tuple[NodeAddress, ...]
    settings: TopologySettings
    rng: Rng
    last: LastMembership | None = None
    state: Gossip | None = field(init=False, default=None)
    registry: Registry = field(init=False, default=Registry())
    view: View = field(init=False)
    gone: bool = field(init=False, default=False)
    _node: UniqueAddress = field(init=False)
    joining: Joining = field(init=False)
    _founding: Founding = field(init=False)
    _cluster_merge: ClusterMerge = field(init=False)
    _leading: LeaderActions = field(init=False)
    _split_brain: SplitBrain = field(init=False)
    _confirmed: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    _exchange: GossipReceiver = field(init=False)
    _published: Gossip | None = field(init=False, default=None)
    _leave: OwnLeave = field(init=False)
    _orders: Orders = field(init=False)
    _given_up: str = field(init=False, default="")

    def __post_init__(self) -> None:
        settings = self.settings
        self._node = self.member.unique
        self._founding = Founding(self._node, self.seeds, settings.allow_new_cluster)
        self.joining = Joining(self.member, settings.shared, self._founding, self.rng, self.last, settings.store)
        self._cluster_merge = ClusterMerge(self.member, settings.shared, self._founding, self.rng)
        self._exchange = GossipReceiver(self._node, self.rng, settings.downing)
        self._leading = LeaderActions(settings.min_members, settings.min_members_per_role)
        self._split_brain = SplitBrain(self._node, settings.downing, settings.stable_after)
        self._leave = OwnLeave(self._node, settings.leave_timeout)
        self._orders = Orders(self._node)
        self.view = View(self._node)

    def handle(self, event: TopologyEvent, now: float) -> Sequence[TopologyEffect]:
        """Return the effects of one event; none once this node is gone.

        An error leaves the state as it was before.
        """
        if self.gone:
            return ()
        before, registry, given_up, heard = self.state, self.registry, self._given_up, len(self._exchange.heard)
        try:
            effects = self._before_membership(event, now) if before is None else self._as_member(before, event, now)
            if isinstance(event, Received) and isinstance(event.message, _ANSWERED):
                if self.state is before and self.registry is registry and len(self._exchange.heard) == heard:
                    return effects  # most messages tell nothing new, and nothing follows from the same state again
            return frees_first([*effects, *self._settle(before, now)])
        except Exception:
            self.state, self.registry, self._given_up, self.gone = before, registry, given_up, False
            self._published = before
            raise

    def _before_membership(self, event: TopologyEvent, now: float) -> list[TopologyEffect]:
        match event:
            case Start():
                return self._joining_step(self.joining.start(now), now)
            case TimerFired(key):
                return self._joining_step(self.joining.tick(now), now) if key == PROBE else []
            case Received(sender, JoinProbe(joiner, _, token, is_to_seed)) if joiner.unique == sender:
                answer = Send(sender, self.joining.answer(token, now))
                return [answer, *self._joining_step(self.joining.probed(sender, now, is_to_seed=is_to_seed), now)]
            case Received(sender, JoinAnswer() as answer):
                return self._joining_step(self.joining.answered(sender, answer, now), now)
            case Received(sender, GossipState(welcome=True) as welcome) if self.joining.may_welcome(sender):
                return self._welcomed(sender, welcome, now)
            case SelfAlias(address):
                return self._joining_step(self.joining.alias(address, now), now)
            case SeedsFound(addresses):
                return self._joining_step(self.joining.found(addresses), now)
            case HelloRefused(by, reason):
                return [JoinFailed(f"{by} refused the connection: {reason}")] if by in self.seeds else []
            case Mistrusted(address, reason):
                return self._joining_step(self.joining.mistrusted(address, reason), now)
            case RegistryChanged(registry):
                self.registry = registry
            case WorkFinished() | LeaveMember(self.member.address) | DownMember(self.member.address):
                self.gone = True
                return [*self.joining.withdraw(), Left()]
            case WantServing():
                return [*self._split_brain.serving.want(None, now)]
            case Received() | MarkUnreachable() | MarkReachable() | AddressAnswered() | GiveTerm() | LeaseAnswered():
                pass
            case LeaveMember() | DownMember() | BeginLeave():
                pass
            case _ as never:
                assert_never(never)
        return []

    def _joining_step(self, effects: list[JoiningEffect], now: float) -> list[TopologyEffect]:
        done: list[TopologyEffect] = []
        for effect in effects:
            match effect:
                case FormCluster():
                    self.state = Gossip(cluster_id_of(self._node)).with_member(self._node, self.member)
                    done += self._begin(None)
                case _:
                    done.append(effect)
        return done

    def _begin(self, let_in_by: UniqueAddress | None) -> list[TopologyEffect]:
        return [Joined(let_in_by), StartTimer(UNHEARD, self.settings.gossip_interval), StartTimer(REUNION, ASK_EVERY)]

    def _publish(self, *, is_spread: bool = False) -> list[StatePublished]:
        """Let gossip know of the state, unless it does; goes before any message saying that it was seen here."""
        state = self.state
        if state is None or state is self._published:
            return []
        self._published = state
        self._exchange.recent.note(state)
        return [StatePublished(state, is_spread)]

    def _welcomed(self, sender: UniqueAddress, welcome: GossipState, now: float) -> list[TopologyEffect]:
        state = from_wire(welcome, now)
        if self._node not in state.members:
            return []
        self.state = state.seen_by(self._node)
        return [
            *self._begin(sender),
            *self._publish(),
            *acknowledgements(self.state, self._node, sender),
            SendVersions(sender),
            *(Send(node, seen_on_wire(self.state)) for node in vouchers_of(self._node, self.state) if node != sender),
        ]

    def _as_member(self, state: Gossip, event: TopologyEvent, now: float) -> list[TopologyEffect]:
        match event:
            case Received(sender, message):
                return self._received(state, sender, message, now)
            case TimerFired(key):
                return self._timer(state, key, now)
            case MarkUnreachable(subjects, held_for, suspected):
                self.view.doubt(suspected)
                self.state = self._split_brain.accuse(state, subjects, now + held_for)
            case MarkReachable(subject):
                self.view.trust(subject)
                self.state = self._split_brain.absolve(state, subject)
            case AddressAnswered(question, found):
                self.state, answers = answered_at(state, self._node, question, found)
                return [*answers]
            case LeaveMember() | DownMember():
                self.state, notes = self._orders.give(state, event)
                return [*notes]
            case BeginLeave() | WorkFinished():
                self._leave.begin(is_finished=isinstance(event, WorkFinished))
                self.state = state.with_moved(self._node, {self._node}, MemberStatus.leaving)
            case RegistryChanged(registry):
                self.registry = registry
            case WantServing():
                return [*self._split_brain.serving.want(state, now)]
            case GiveTerm(number):
                self.state = state.with_term(self._node, number)
            case LeaseAnswered():
                return self._rule(state, self._split_brain.answered(state, event))
            case SelfAlias(address):
                self._cluster_merge.alias(address)
            case SeedsFound(addresses):
                self._founding.find(addresses)
            case Start() | HelloRefused() | Mistrusted():
                pass
            case _ as never:
                assert_never(never)
        return []

    def _received(
        self, state: Gossip, sender: UniqueAddress, message: TopologyMessage | AntiEntropyMessage, now: float
    ) -> list[TopologyEffect]:
        match message:
            case JoinProbe(joiner, settings, token) | Join(joiner, settings, token):
                verdict = judge(state, joiner, sender, self.settings.shared, settings, self._node)
                if isinstance(message, JoinProbe) or verdict is not ADMITTED:
                    return [*verdict.answer(state, joiner, sender, token)]
                if sender not in state.members:
                    self.state = state = state.with_member(self._node, joiner)
                return [*self._publish(), Send(sender, to_wire(state, now, welcome=True))]
            case JoinWithdrawn():
                if has_word(state, self._node):
                    self.state = state.with_moved(self._node, {sender}, MemberStatus.down)
                return []
            case ExitingConfirmed():
                if sender in state.members and state.members[sender].status.rank >= MemberStatus.leaving.rank:
                    self._confirmed.add(sender)
                return []
            case ServingRequest() | ServingGrant():
                return [*self._split_brain.received(state, sender, message)]
            case JoinAnswer():
                return self._met(state, self._cluster_merge.answered(state, sender, message))
            case _:
                return self._exchanged(self._exchange.receive(state, sender, message, now))

    def _exchanged(self, outcome: Outcome) -> list[TopologyEffect]:
        self.state = outcome.state
        return [*self._publish(is_spread=outcome.taken), *outcome.effects] if outcome.effects else []

    def _met(self, state: Gossip, found: Sequence[Dissolve | Note]) -> list[TopologyEffect]:
        for one in found:
            if isinstance(one, Dissolve):
                self._given_up = one.reason
                gone = state.present if one.with_all else {self._node}
                self.state = state.with_moved(self._node, gone, MemberStatus.down)
        return [one for one in found if isinstance(one, Note)]

    def _timer(self, state: Gossip, key: str, now: float) -> list[TopologyEffect]:
        if key == UNHEARD:
            delay = self.settings.gossip_interval / (HURRY if 2 * len(state.seen) < len(state.members) else 1)
            return [*self._exchange.ask_unheard(state), StartTimer(UNHEARD, delay)]
        if key == REUNION:
            return [*self._cluster_merge.ask(state)]
        if key == CONFIRM:
            return self._exchanged(self._exchange.settle(state, now, is_over=True))
        if key == LEAVE:
            self.gone = True
            return [*last_words(state, self._node, now), StopGossip(), Left()]
        asks = self._cluster_merge.ask_all(state) if key == SERVING and self._split_brain.is_waiting(now) else []
        return [*self._rule(state, self._split_brain.timer(state, key, now)), *asks] if key in SIDE_TIMERS else []

    def _rule(self, state: Gossip, ruling: DowningDecision) -> list[TopologyEffect]:
        if not ruling.lost:
            return [*ruling.effects]
        self._given_up = ruling.given_up
        self.state = state.with_moved(self._node, ruling.lost, MemberStatus.down)
        return [Note(Severity.warning, ruling.words)]

    def _settle(self, before: Gossip | None, now: float) -> list[TopologyEffect]:
        if (state := self.state) is None or self.gone:
            return []
        steps = [state := self._orders.carried_out(state)]
        while (moved := self._lead(state, now)) is not state:
            steps.append(state := moved)
        self.state = state
        sides = list[TopologyEffect]()
        if state is not before:
            self._confirmed &= state.members.keys()
            sides = [*self._split_brain.observe(state, now), *self._cluster_merge.observe(before or state, state)]
        end = self._own_end(state, before or state, now)
        # Last, when nothing else can fail: news noted by the view are told. And step by step: subscribers here see
        # every state that a leader leaves at once, as others do.
        told = [effect for step in steps for effect in self.view.update(step, self.registry)]
        return [*sides, *told, *self._publish(), *end]  # sides before anybody hears of a removal

    def _lead(self, state: Gossip, now: float) -> Gossip:
        may_begin, heard = self._founding.may_begin(state), self._exchange.heard
        return self._leading.apply(state, self._node, self._confirmed, now, may_begin=may_begin, heard=heard)

    def _own_end(self, state: Gossip, before: Gossip, now: float) -> list[TopologyEffect]:
        end, effects = self._leave.settle(state)
        if end is OwnEnd.stays or end is OwnEnd.leaving:
            return [*effects]
        self.gone = True
        if end is OwnEnd.downed:
            words = own_sentence(state, self._node, now, self.rng) if self._given_up else []
            return [*words, StopGossip(), Downed(self._given_up, last_membership(state, before.members[self._node]))]
        return [*last_words(state, self._node, now), StopGossip(), Left()]
