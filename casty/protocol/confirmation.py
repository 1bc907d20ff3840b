"""Whether this node believes a state by which members go: leave, are down, or are removed.

Owns the questions that it asks before it does, and how they end. It does not know how a state is made of a message
(`exchange`) or what follows from one that is believed (`topology`, `leaving`).

How it works: a state is passed on by others than those who made it, so the name of whoever decided would prove
nothing. What a node knows by itself does. A member may go that somebody else than the teller has accused for
`PROVEN_AFTER`, long enough for whoever did not say so to take it back; and so may one that says it of itself. Any other
was heard a moment ago: of these a voter may say that one goes, as an operator's node does, one in
`UNPROVEN_EVERY`. Where a state says more, or says it of this node, or comes from who is no voter, this node asks the
voters that it hears whom they hold for staying members. While a majority of all voters, those included that are down
and not yet removed, acknowledges one of those, the state is not believed: it counts as if it had not come, and will
come again. This node itself goes nevertheless where
those who acknowledge it might be a side that is lost by the strategy (`Strategy.rules_out_others`); one that never
rules that out, as a lease outside, believes every voter. The question ends after `CONFIRM_WITHIN`: who is alone goes.

Source: the refutation of a suspicion in SWIM (Das, Gupta, Motivala 2002, section 4.2); deviation: those who could
refute are asked.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer
from casty.protocol.gossip import Gossip
from casty.protocol.membership import GOING, Member, MemberStatus
from casty.protocol.messages import (
    TOKEN_BITS,
    GossipDelta,
    GossipDigest,
    GossipSeen,
    GossipState,
    GossipVersions,
    RegistrySlots,
    StandingAnswer,
    StandingQuestion,
)
from casty.protocol.reachability import ObserverRow, Rows
from casty.protocol.split_brain import Partition, Strategy
from casty.protocol.verdicts import before_down

CONFIRM = "confirm"
CONFIRM_WITHIN = 1.0
"""Seconds for a question and its answers; then the state is believed."""
ASK_EVERY = 1.0
"""Seconds after a state was not believed in which others like it are not looked at."""
PROVEN_AFTER = 3.0
"""Seconds after which an accusation is a reason: half of the time that a decision takes, and some rounds of gossip."""
UNPROVEN_EVERY = 10.0
"""Seconds between two members that a voter has go without a reason that is known here."""
ASKED_ABOUT_MAX = 64
"""Members in a question: whoever lies about more of them lies about these."""

STAYING = frozenset({MemberStatus.joining, MemberStatus.up})

GossipMessage = GossipState | GossipDelta | GossipSeen | GossipDigest | GossipVersions | RegistrySlots
ConfirmationEffect = Send | StartTimer | Note


@dataclass(slots=True)
class _Doubt:
    """One question, and the message that waits for its end."""

    token: int
    teller: UniqueAddress
    has_vote: bool
    """Whether the teller was a voter when it told."""
    message: GossipMessage
    about: tuple[UniqueAddress, ...]
    waiting: set[UniqueAddress]
    """Who has not answered yet."""
    staying: dict[UniqueAddress, set[UniqueAddress]]
    """Who acknowledges each of those that it is about, and who does so here."""


@dataclass(slots=True)
class Confirmation:
    """The machine of one node."""

    self_node: UniqueAddress
    strategy: Strategy | None
    rng: Rng
    _doubt: _Doubt | None = field(init=False, default=None)
    _deaf_until: float = field(init=False, default=0.0)
    _unproven_at: float | None = field(init=False, default=None)
    _rows: Rows | None = field(init=False, default=None)
    _accused: dict[UniqueAddress, dict[UniqueAddress, float]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, dict[UniqueAddress, float]]()
    )
    """Since when each is accused, by whom."""
    _believed: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Who goes, as the others have confirmed or nobody could deny."""

    def observe(self, mine: Gossip, now: float) -> None:
        """Take note of who accuses whom."""
        if mine.rows is self._rows:
            return
        before, self._accused, self._rows = self._accused, {}, mine.rows
        for observer, row in mine.rows.items():
            for node in row.accused:
                since = before.get(node, {}).get(observer, now)
                self._accused.setdefault(node, {})[observer] = since

    def judge(
        self, mine: Gossip, told: Gossip, teller: UniqueAddress, message: GossipMessage, now: float
    ) -> list[ConfirmationEffect] | None:
        """Return None where what ``teller`` has told is believed, and what follows where it is not, or not yet."""
        self._believed &= mine.present
        going = _going(mine, told) - self._believed - {teller}
        unproven = frozenset(node for node in going if not self._is_proven(mine, node, teller, now))
        if not self._is_doubtful(mine, told, teller, unproven, now):
            if any(_is_given_up(mine, told, node) for node in unproven):
                self._unproven_at = now
            return None
        if self._doubt is not None or now < self._deaf_until:
            return []
        own = [self.self_node] if self.self_node in unproven else []
        about = (*own, *sorted(unproven.difference(own)))[:ASKED_ABOUT_MAX]
        return self._ask(mine, teller, message, about)

    def answered(self, mine: Gossip, sender: UniqueAddress, answer: StandingAnswer) -> None:
        """Take whom another voter acknowledges; an answer to no question changes nothing."""
        doubt = self._doubt
        if doubt is None or answer.token != doubt.token or sender not in doubt.waiting:
            return
        doubt.waiting.discard(sender)
        for node in answer.staying:
            if node in doubt.staying:
                doubt.staying[node].add(sender)

    def settle(
        self, mine: Gossip, now: float, *, is_over: bool = False
    ) -> tuple[tuple[UniqueAddress, GossipMessage] | None, list[ConfirmationEffect]]:
        """Return the message that is believed by now, with its sender, and what follows where it is not."""
        doubt = self._doubt
        if doubt is None:
            return None, []
        if self._is_denied(mine, doubt, ()):
            self._doubt, self._deaf_until = None, now + ASK_EVERY
            names = ", ".join(str(node.address) for node in doubt.about)
            text = (
                f"{doubt.teller.address} says that {names} must go, and a majority of the voters does not: not believed"
            )
            return None, [Note(Severity.warning, text, about=doubt.teller.address)]
        if not is_over and self._is_denied(mine, doubt, doubt.waiting):
            return None, []
        self._doubt = None
        self._believed |= frozenset(doubt.about)
        return (doubt.teller, doubt.message), []

    def _is_proven(self, mine: Gossip, node: UniqueAddress, teller: UniqueAddress, now: float) -> bool:
        """Whether a member has been accused for long enough, and not only by the one who says that it goes."""
        return node != self.self_node and any(
            observer != teller and observer not in mine.unheeded and since + PROVEN_AFTER <= now
            for observer, since in self._accused.get(node, {}).items()
        )

    def _is_doubtful(
        self, mine: Gossip, told: Gossip, teller: UniqueAddress, unproven: Collection[UniqueAddress], now: float
    ) -> bool:
        if not unproven:
            return False
        given_up = [node for node in unproven if _is_given_up(mine, told, node)]
        if self.self_node in given_up or (mine.voters and teller not in mine.voters):
            return True
        if len(unproven) > 1 and 2 * len(unproven) >= len(mine.voters):
            return True
        return bool(given_up) and self._unproven_at is not None and now < self._unproven_at + UNPROVEN_EVERY

    def _ask(
        self, mine: Gossip, teller: UniqueAddress, message: GossipMessage, about: tuple[UniqueAddress, ...]
    ) -> list[ConfirmationEffect]:
        token = self.rng.getrandbits(TOKEN_BITS)
        # What others say of whom they hear is no reason not to ask.
        asked = mine.voters - mine.rows.get(self.self_node, ObserverRow()).accused - {self.self_node, teller}
        staying = {node: {self.self_node} for node in about}
        self._doubt = _Doubt(token, teller, teller in mine.voters, message, about, set(asked), staying)
        question = StandingQuestion(mine.cluster_id, token, about)
        return [*(Send(node, question) for node in sorted(asked)), StartTimer(CONFIRM, CONFIRM_WITHIN)]

    def _is_denied(self, mine: Gossip, doubt: _Doubt, besides: Collection[UniqueAddress]) -> bool:
        """Whether enough acknowledge those who are to go, if those ``besides`` do too."""
        if self.self_node not in doubt.about:
            return any(_is_majority(mine, acknowledging.union(besides)) for acknowledging in doubt.staying.values())
        acknowledging = doubt.staying[self.self_node].union(besides)
        if not _is_majority(mine, acknowledging):
            return False
        if not doubt.has_vote:
            return True
        members = [member for member in mine.ordered if member.status not in GOING]
        here = tuple(member for member in members if member.unique in acknowledging)
        there = (*(member for member in members if member.unique not in acknowledging), *_down_before(mine))
        return self.strategy is not None and self.strategy.rules_out_others(Partition(here, there))


def standing_of(state: Gossip, self_node: UniqueAddress, question: StandingQuestion) -> StandingAnswer:
    """Return the answer of a node to another one's question: whom it accuses it does not stand by."""
    accused = state.rows.get(self_node, ObserverRow()).accused
    held = (state.members.get(node) for node in question.nodes if node not in accused)
    staying = tuple(member.unique for member in held if member is not None and member.status in STAYING)
    return StandingAnswer(state.cluster_id, question.token, staying)


def _going(mine: Gossip, told: Gossip) -> frozenset[UniqueAddress]:
    """Return the staying members that do not stay by what was told; whoever is just not there does not, either."""
    return frozenset(
        unique
        for unique, member in mine.members.items()
        if (now := told.members.get(unique)) is not member
        and member.status in STAYING
        and (now is None or now.status not in STAYING)
    )


def _is_given_up(mine: Gossip, told: Gossip, node: UniqueAddress) -> bool:
    """Whether a member goes without a leave of its own."""
    return node not in told.members or told.members[node].status is not MemberStatus.leaving


def _is_majority(state: Gossip, nodes: Collection[UniqueAddress]) -> bool:
    """Whether most voters are among ``nodes``. Who is down votes against: it may be the side that goes on."""
    against = sum(member.status is not MemberStatus.joining for member in _down_before(state))
    return 2 * len(state.voters.intersection(nodes)) > len(state.voters) + against


def _down_before(state: Gossip) -> list[Member]:
    return [before_down(member) for member in state.ordered if member.status is MemberStatus.down]
