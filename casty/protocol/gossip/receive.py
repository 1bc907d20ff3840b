"""Rules for a state received from a peer.

Owns the rules of receiving and acknowledging: same, newer, older and concurrent versions; states of another cluster and
of members given up change nothing. It does not know how this node came to its state, what follows from the new one
(`membership.machine`), or what a peer behind it lacks (`gossip.machine`, told to see to it).
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from typing import assert_never

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.effects import Note, Rng, Send, Severity
from casty.protocol.gossip.confirmation import (
    ASKED_ABOUT_MAX,
    Confirmation,
    ConfirmationEffect,
    GossipMessage,
    standing_of,
)
from casty.protocol.gossip.handover import SeenOfOther, SendLacking, SendVersions
from casty.protocol.gossip.hearsay import check_known, checked, has_word, newer, speaks_for_itself
from casty.protocol.gossip.state_on_wire import changes_from, from_wire, seen_on_wire, to_wire
from casty.protocol.gossip.versions import RecentVersions
from casty.protocol.messages.membership import (
    AntiEntropyMessage,
    GossipDelta,
    GossipSeen,
    GossipState,
    StandingAnswer,
    StandingQuestion,
)
from casty.protocol.split_brain.strategies import KeepMajority, Strategy
from casty.protocol.state.leader import leader_of
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import MEMBERS_MAX, TOMBSTONES_MAX, Gossip, Relation
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.runs import check_runs

FOREIGN_NOTED_MAX = 64
UNHEARD_ASKED_MAX = 64
TELL_EVERY = 0.5
"""Seconds between two states for one down or removed run that goes on talking."""
TOLD_MAX = 64
ASK_VOTER_EVERY = 0.05
"""Seconds between two questions to voters for one version told by members not up."""

ExchangeMessage = GossipMessage | StandingQuestion | StandingAnswer
ReceiveEffect = ConfirmationEffect | SendLacking | SendVersions | SeenOfOther


@dataclass(frozen=True, slots=True)
class Outcome:
    """Knowledge of a node after a message, and its answers."""

    state: Gossip
    effects: tuple[ReceiveEffect, ...] = ()
    taken: bool = False
    """The state is the sender's newer one: it was acknowledged and needs no push of this node."""


@dataclass(slots=True)
class GossipReceiver:
    """The rules, for one node."""

    self_node: UniqueAddress
    rng: Rng
    strategy: Strategy | None = KeepMajority()
    recent: RecentVersions = field(default_factory=RecentVersions)
    """Published versions, the bases of differences; noted by the publisher."""
    _confirmation: Confirmation = field(init=False)
    _foreign: dict[UniqueAddress, None] = field(init=False, default_factory=lambda: dict[UniqueAddress, None]())
    _ask_at: float = field(init=False, default=-math.inf)
    _asked_for: bytes = field(init=False, default=b"")
    _told: dict[UniqueAddress, float] = field(init=False, default_factory=lambda: dict[UniqueAddress, float]())

    def __post_init__(self) -> None:
        self._confirmation = Confirmation(self.self_node, self.strategy, self.rng)

    @property
    def heard(self) -> Collection[UniqueAddress]:
        """Runs heard by this node itself."""
        return self._confirmation.heard

    def receive(self, state: Gossip, sender: UniqueAddress, message: ExchangeMessage, now: float) -> Outcome:
        """Return the outcome. DecodeError for a state contradicting itself; nothing changed."""
        if message.cluster_id != state.cluster_id:
            return Outcome(state, self._foreign_note(sender, message.cluster_id))
        match message:
            case StandingQuestion(nodes=nodes):
                check_runs(nodes, ASKED_ABOUT_MAX, "members that are asked about")
                is_known = sender in state.members or sender in state.tombstones
                answer = Send(sender, standing_of(state, self.self_node, message, self.heard))
                return Outcome(state, (answer,) if is_known else ())
            case StandingAnswer(staying=nodes):
                check_runs(nodes, ASKED_ABOUT_MAX, "members that stay")
                self._confirmation.hear(sender, state)
                self._confirmation.answered(state, sender, message)
                return self.settle(state, now)
            case _:
                self._confirmation.observe(state, now)
                outcome = self._received(Outcome(state), sender, message, now)
        if not has_word(state, sender) and not self._is_own(state, outcome.state, sender):
            # Its claim to know all known here is its own word, too: news told to it alone must hold up nobody.
            knows_all = outcome.taken and sender in outcome.state.seen
            asked = self._ask_voter(state, outcome.state, now)
            return Outcome(state.seen_by(sender) if knows_all else state, asked)
        outcome = self._with_own_row(state, outcome)
        if outcome.state.members is state.members:
            return outcome
        doubt = self._confirmation.judge(state, outcome.state, sender, message, now)
        if doubt is None:
            return outcome
        settled = self.settle(state, now)
        return settled if settled.state is not state else replace(settled, effects=(*doubt, *settled.effects))

    def ask_unheard(self, state: Gossip) -> list[Send]:
        """Ask something of joiners never heard here, if this node moves them up once they were."""
        if leader_of(state, self.self_node) != self.self_node:
            return []
        joining = [m.unique for m in state.others(self.self_node) if m.status is MemberStatus.joining]
        question = StandingQuestion(state.cluster_id, 0, ())
        return [Send(node, question) for node in joining if node not in self.heard][:UNHEARD_ASKED_MAX]

    def settle(self, state: Gossip, now: float, *, is_over: bool = False) -> Outcome:
        """Return the outcome of the answers come by now; ``is_over``: no more are waited for."""
        believed, effects = self._confirmation.settle(state, now, is_over=is_over)
        if believed is None:
            return Outcome(state, tuple(effects))
        teller, message = believed
        missed, self._confirmation.missed = self._confirmation.missed, None
        try:
            outcome = self.receive(state, teller, message, now)
            if missed is None or self.self_node not in outcome.state.members:
                return outcome
            return replace(outcome, effects=(*outcome.effects, SendVersions(missed)))
        except DecodeError as error:  # it was sound when it came, and what it was to change is another since
            text = f"what {teller.address} had said is believed too late, and ignored: {error}"
            return Outcome(state, (Note(Severity.warning, text, about=teller.address),))

    def _with_own_row(self, state: Gossip, outcome: Outcome) -> Outcome:
        """Repeat the accusations of this node where others tell different ones of it."""
        own, told = (one.rows.get(self.self_node, ObserverRow()) for one in (state, outcome.state))
        if told.accused == own.accused & outcome.state.members.keys() or self.self_node not in outcome.state.members:
            return outcome
        row = ObserverRow(told.version + 1, own.accused & outcome.state.members.keys())
        return replace(outcome, state=outcome.state.with_row(self.self_node, row), taken=False)

    def _received(self, outcome: Outcome, sender: UniqueAddress, message: GossipMessage, now: float) -> Outcome:
        state = outcome.state
        member = state.members.get(sender)
        self._confirmation.hear(sender, state)
        if sender in state.tombstones or (member is not None and member.status is MemberStatus.down):
            # Its word on others is void, and it has to learn of being down or removed.
            return replace(outcome, effects=self._tell_given_up(state, sender, now))
        if member is None:
            return outcome
        if isinstance(message, AntiEntropyMessage):
            return outcome  # it says that its sender is there; what it asks, `gossip.machine` answers
        match message:
            case GossipState():
                return self._state(outcome, sender, message, now)
            case GossipDelta():
                return self._delta(outcome, sender, message, now)
            case GossipSeen():
                return self._seen(outcome, sender, message)
            case _ as never:
                assert_never(never)

    def _is_own(self, state: Gossip, told: Gossip, sender: UniqueAddress) -> bool:
        return told.version is state.version or speaks_for_itself(state, told, sender)

    def _ask_voter(self, state: Gossip, told: Gossip, now: float) -> tuple[SendVersions, ...]:
        """Ask a voter for the news missing here: a member not up knows of something newer, or says so."""
        version = told.version_digest
        if now < self._ask_at and version == self._asked_for:
            return ()
        heard = state.voters - state.lost_to(self.self_node) - {self.self_node}
        who = sorted(heard & told.seen) or sorted(heard)
        self._ask_at, self._asked_for = now + ASK_VOTER_EVERY, version
        return tuple(SendVersions(node) for node in self.rng.sample(who, min(1, len(who))))

    def _tell_given_up(self, state: Gossip, sender: UniqueAddress, now: float) -> tuple[Send, ...]:
        """Send the whole state, now and then: it is large, and an endless talker need not read it."""
        if now - self._told.get(sender, -math.inf) < TELL_EVERY:
            return ()
        self._told.pop(sender, None)
        self._told[sender] = now
        while len(self._told) > TOLD_MAX:
            del self._told[next(iter(self._told))]
        return (Send(sender, to_wire(state, now)),)

    def _foreign_note(self, sender: UniqueAddress, cluster_id: int) -> tuple[Note, ...]:
        if sender in self._foreign:
            return ()
        self._foreign[sender] = None
        while len(self._foreign) > FOREIGN_NOTED_MAX:
            del self._foreign[next(iter(self._foreign))]
        text = (
            f"{sender.address} gossips for another cluster ({cluster_id:016x}); two clusters share seeds or addresses"
        )
        return (Note(Severity.error, text, about=sender.address),)

    def _state(self, outcome: Outcome, sender: UniqueAddress, message: GossipState, now: float) -> Outcome:
        mine, theirs = outcome.state, from_wire(message, now)
        check_known(theirs)
        theirs = checked(mine, theirs, sender)
        match mine.relation_of(theirs):
            case Relation.same:
                return self._same(outcome, sender, theirs.seen)
            case Relation.older:
                return self._behind(outcome, sender, theirs.version_digest)
            case Relation.newer:
                if self.self_node not in theirs.members and self.self_node not in theirs.tombstones:
                    raise DecodeError(f"gossip from {sender}: newer, and this node is neither member nor removed in it")
                return self._take(outcome, sender, newer(mine, theirs, self.self_node), theirs)
            case Relation.concurrent:
                # The merged version is new to the sender too; the following push brings it back.
                return replace(outcome, state=mine.merge(theirs).seen_by(self.self_node))
            case _ as never:
                assert_never(never)

    def _delta(self, outcome: Outcome, sender: UniqueAddress, message: GossipDelta, now: float) -> Outcome:
        mine, base = outcome.state, self.recent.find(message.base)
        if base is None or not base.tombstones.keys() <= mine.tombstones.keys():
            # Never had, forgotten, or pruned since: the sender learns where this node stands.
            return replace(outcome, effects=(SendVersions(sender),))
        theirs = checked(mine, changes_from(message, base, now), sender)
        merged = mine.merge(theirs)
        check_known(merged)
        if len(merged.members) > MEMBERS_MAX or len(merged.tombstones) > 2 * TOMBSTONES_MAX:
            raise DecodeError(f"gossip from {sender}: its changes lead to more than {MEMBERS_MAX} members")
        if theirs.version == merged.version:
            seen = merged.named_by(message.seen)
            if merged.version == mine.version:
                return self._same(outcome, sender, seen)
            return self._take(outcome, sender, merged.seen_by_all(seen), merged)
        if merged.version == mine.version:
            return self._behind(outcome, sender, theirs.version_digest)
        return replace(outcome, state=merged.seen_by(self.self_node))

    def _same(self, outcome: Outcome, sender: UniqueAddress, seen: frozenset[UniqueAddress]) -> Outcome:
        if not has_word(outcome.state, sender):
            seen &= {sender}  # it speaks for itself
        joined = outcome.state.seen_by_all(seen)
        effects = () if joined.seen == seen else (Send(sender, seen_on_wire(joined)),)
        return replace(outcome, state=joined, effects=effects)

    def _take(self, outcome: Outcome, sender: UniqueAddress, theirs: Gossip, told: Gossip) -> Outcome:
        if theirs.version != told.version:
            return replace(outcome, state=theirs)
        taken = theirs.seen_by(self.self_node)
        return replace(outcome, state=taken, effects=tuple(acknowledgements(taken, self.self_node, sender)), taken=True)

    def _behind(self, outcome: Outcome, sender: UniqueAddress, digest: bytes) -> Outcome:
        return replace(outcome, effects=(SendLacking(sender, digest),))

    def _seen(self, outcome: Outcome, sender: UniqueAddress, message: GossipSeen) -> Outcome:
        mine = outcome.state
        if message.version == mine.version_digest:
            named = mine.named_by(message.seen)
            return replace(outcome, state=mine.seen_by_all(named if has_word(mine, sender) else named & {sender}))
        return replace(outcome, effects=(SeenOfOther(sender, message),))


def acknowledgements(state: Gossip, self_node: UniqueAddress, sender: UniqueAddress) -> list[Send]:
    """Return the messages of a node after a newer version from ``sender``: to that one, and to the leader."""
    seen = seen_on_wire(state)
    leader = leader_of(state, self_node)
    informed = [sender] if leader in (None, self_node, sender) else [sender, leader]
    return [Send(node, seen) for node in informed]
