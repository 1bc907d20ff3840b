"""Belief of this node in a state by which members go: leave, are down, or are removed.

Owns the questions asked before such a state is believed, and how they end. It does not know how a state is made of a
message (`receive`) or what follows from a believed one (`machine` and `leaving` of the membership).

How it works: a state is passed on by others than its authors, so the name of the decider would prove nothing. Own
knowledge does. A member may go if a node other than the teller has accused it for `PROVEN_AFTER`, long enough for a
node that never said so to take it back; and so may one that says it of itself. Any other was heard a moment ago: of
these a voter may say that one goes, as an operator's node does, one in `UNPROVEN_EVERY`. Where a state says more, or
says it of this node, this node asks the voters it hears for the members they hold for staying. While a majority of all
voters, those down and not yet removed included, acknowledges one of those, the state is not believed: it counts as if
it had not come, and will come again. This node itself goes nevertheless where the voters that acknowledge it might be a
lost side by the strategy (`Strategy.rules_out_others`); a strategy that never rules them out, as a lease outside,
believes every voter. The question ends after `CONFIRM_WITHIN`: a node alone goes.

A member that comes up adds a vote, so members met by nobody would outvote all the others. A leader moves up only
members it has heard itself, and so somebody can vouch for each: while the members up by the told state and never heard
here are fewer than half of the other voters, they are believed; of more, each needs one voter beside the teller that
holds it for up, or has heard it join: an admitted member greets a few, the next on the ring, and these are asked with
the leader. Silence vouches for nobody.

Source: the refutation of a suspicion in SWIM (Das, Gupta, Motivala 2002, section 4.2); deviation: the nodes able to
refute are asked.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer
from casty.protocol.failure_detector.ring import successors
from casty.protocol.messages.membership import (
    TOKEN_BITS,
    GossipDelta,
    GossipDigest,
    GossipSeen,
    GossipState,
    GossipVersions,
    PageMessage,
    StandingAnswer,
    StandingQuestion,
)
from casty.protocol.split_brain.down_commit import before_down
from casty.protocol.split_brain.strategies import Partition, Strategy
from casty.protocol.state.leader import leader_of
from casty.protocol.state.member import GOING, Member, MemberStatus, by_age
from casty.protocol.state.membership_state import MEMBERS_MAX, Gossip
from casty.protocol.state.reachability import ObserverRow, Rows

CONFIRM = "confirm"
CONFIRM_WITHIN = 1.0
"""Seconds for a question and its answers; then the state is believed."""
ASK_EVERY = 1.0
"""Seconds after a disbelieved state in which others like it are not looked at."""
PROVEN_AFTER = 3.0
"""Seconds after which an accusation is a reason: half of the time of a decision, and some rounds of gossip."""
UNPROVEN_EVERY = 10.0
"""Seconds between two members told gone by one voter without a reason known here."""
ASKED_ABOUT_MAX = 64
"""Members in a question: whoever lies about more of them lies about these."""

HEARD_MAX = 4 * MEMBERS_MAX
"""Runs remembered to have said something; beyond it those without membership are forgotten."""
VOUCHERS = 3
"""Voters greeted by an admitted member, so that they can vouch for it."""

STAYING = frozenset({MemberStatus.joining, MemberStatus.up})

GossipMessage = GossipState | GossipDelta | GossipSeen | GossipDigest | GossipVersions | PageMessage
ConfirmationEffect = Send | StartTimer | Note


@dataclass(slots=True)
class _Doubt:
    """One question, and the message waiting for its end."""

    token: int
    teller: UniqueAddress
    message: GossipMessage
    waiting: set[UniqueAddress]
    """Voters yet to answer."""
    staying: dict[UniqueAddress, set[UniqueAddress]]
    """Acknowledging voters of each member told to go, this node included."""
    coming: set[UniqueAddress]
    """Members told to be up without anybody vouching for them."""
    vouched: frozenset[UniqueAddress]
    """Members vouched for once none of those is left."""

    @property
    def about(self) -> tuple[UniqueAddress, ...]:
        return tuple(self.staying)


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
    """Start of each accusation, by accused and accuser."""
    _believed: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Members believed to go, as confirmed by the others or denied by nobody able to."""
    missed: UniqueAddress | None = field(init=False, default=None)
    """Teller of another state while this node was asking."""
    _heard: dict[UniqueAddress, None] = field(init=False, default_factory=dict[UniqueAddress, None])
    _vouched: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    _unmet: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Members up by told states, without anybody vouching for them, and not heard here."""

    def observe(self, mine: Gossip, now: float) -> None:
        """Take note of the accusations, with accuser and accused."""
        if mine.rows is self._rows:
            return
        before, self._accused, self._rows = self._accused, {}, mine.rows
        for observer, row in mine.rows.items():
            for node in row.accused:
                since = before.get(node, {}).get(observer, now)
                self._accused.setdefault(node, {})[observer] = since

    @property
    def heard(self) -> Collection[UniqueAddress]:
        """Runs heard by this node itself."""
        return self._heard.keys()

    def hear(self, sender: UniqueAddress, mine: Gossip) -> None:
        """Take note of a message from a run; it may become known as a member only later."""
        self._heard[sender] = None
        if len(self._heard) > HEARD_MAX:
            self._heard = {node: None for node in self._heard if node in mine.members}

    def judge(
        self, mine: Gossip, told: Gossip, teller: UniqueAddress, message: GossipMessage, now: float
    ) -> list[ConfirmationEffect] | None:
        """Return None for a believed state of ``teller``, and the effects of one not believed, or not yet."""
        self._believed &= mine.present
        going = _going(mine, told) - self._believed - {teller}
        unproven = frozenset(node for node in going if not self._is_proven(mine, node, teller, now))
        unmet = _coming(mine, told) - self._vouched - self._heard.keys() - {self.self_node}
        self._unmet = (self._unmet & mine.present) - self._heard.keys()
        is_going = self._is_doubtful(mine, told, unproven, now)
        is_coming = bool(unmet) and self._is_too_many(mine, unmet | self._unmet, teller)
        if not is_going and not is_coming:
            if any(_is_given_up(mine, told, node) for node in unproven):
                self._unproven_at = now
            self._unmet |= unmet
            self._vouched = frozenset()
            return None
        if self._doubt is not None or now < self._deaf_until:
            self.missed = teller
            return []
        own = [self.self_node] if self.self_node in unproven else []
        about = (*own, *sorted(unproven.difference(own)))[:ASKED_ABOUT_MAX] if is_going else ()
        coming = sorted(unmet)[: ASKED_ABOUT_MAX - len(about)] if is_coming else ()
        return self._ask(mine, teller, message, about, coming)

    def answered(self, mine: Gossip, sender: UniqueAddress, answer: StandingAnswer) -> None:
        """Take the members acknowledged by another voter; an answer to no question changes nothing."""
        doubt = self._doubt
        if doubt is None or answer.token != doubt.token or sender not in doubt.waiting:
            return
        doubt.waiting.discard(sender)
        doubt.coming.difference_update(answer.staying)
        for node in answer.staying:
            if node in doubt.staying:
                doubt.staying[node].add(sender)

    def settle(
        self, mine: Gossip, now: float, *, is_over: bool = False
    ) -> tuple[tuple[UniqueAddress, GossipMessage] | None, list[ConfirmationEffect]]:
        """Return the message believed by now, with its sender, and the effects of one not believed."""
        doubt = self._doubt
        if doubt is None:
            return None, []
        is_over = is_over or not doubt.waiting
        if (is_denied := self._is_denied(mine, doubt, ())) or (is_over and doubt.coming):
            self._doubt, self._deaf_until = None, now + ASK_EVERY
            names = ", ".join(str(node.address) for node in (doubt.about if is_denied else sorted(doubt.coming)))
            why = "must go, and a majority of the voters does not" if is_denied else "are up, and no other voter does"
            text = f"{doubt.teller.address} says that {names} {why}: not believed"
            return None, [Note(Severity.warning, text, about=doubt.teller.address)]
        if not is_over and (doubt.coming or self._is_denied(mine, doubt, doubt.waiting)):
            return None, []
        self._doubt = None
        self._believed |= frozenset(doubt.about)
        self._vouched = self._vouched | doubt.vouched if len(self._vouched) < MEMBERS_MAX else doubt.vouched
        return (doubt.teller, doubt.message), []

    def _is_proven(self, mine: Gossip, node: UniqueAddress, teller: UniqueAddress, now: float) -> bool:
        """Whether a member has been accused for long enough, and by another node than the teller of its going."""
        return node != self.self_node and any(
            observer != teller and observer not in mine.unheeded and since + PROVEN_AFTER <= now
            for observer, since in self._accused.get(node, {}).items()
        )

    def _is_too_many(self, mine: Gossip, unmet: Collection[UniqueAddress], teller: UniqueAddress) -> bool:
        """Whether so many are up unknown to all here that they could outvote the others, and somebody can be asked.

        A node not up itself has no voter to lose, and met nobody yet.
        """
        if self.self_node not in mine.voters or not self._askable(mine, teller):
            return False
        return len(unmet) > 1 and 2 * len(unmet) >= len(mine.voters.difference(unmet))

    def _is_doubtful(self, mine: Gossip, told: Gossip, unproven: Collection[UniqueAddress], now: float) -> bool:
        if not unproven:
            return False
        given_up = [node for node in unproven if _is_given_up(mine, told, node)]
        if self.self_node in given_up:
            return True
        if len(unproven) > 1 and 2 * len(unproven) >= len(mine.voters):
            return True
        return bool(given_up) and self._unproven_at is not None and now < self._unproven_at + UNPROVEN_EVERY

    def _askable(self, mine: Gossip, teller: UniqueAddress) -> frozenset[UniqueAddress]:
        # The others' word on the members they hear is no reason not to ask.
        return mine.voters - mine.rows.get(self.self_node, ObserverRow()).accused - {self.self_node, teller}

    def _ask(
        self,
        mine: Gossip,
        teller: UniqueAddress,
        message: GossipMessage,
        going: Sequence[UniqueAddress],
        coming: Sequence[UniqueAddress],
    ) -> list[ConfirmationEffect]:
        token = self.rng.getrandbits(TOKEN_BITS)
        asked = self._askable(mine, teller)
        if not going:
            # Those up for longest may have been the only ones when somebody came.
            oldest = sorted((mine.members[node] for node in asked), key=by_age)[:VOUCHERS]
            known = {leader_of(mine, self.self_node), *(member.unique for member in oldest)}
            asked &= known.union(*(vouchers_of(node, mine) for node in coming))
        staying = {node: {self.self_node} for node in going}
        self._doubt = _Doubt(token, teller, message, set(asked), staying, set(coming), frozenset(coming))
        question = StandingQuestion(mine.cluster_id, token, (*going, *coming))
        return [*(Send(node, question) for node in sorted(asked)), StartTimer(CONFIRM, CONFIRM_WITHIN)]

    def _is_denied(self, mine: Gossip, doubt: _Doubt, besides: Collection[UniqueAddress]) -> bool:
        """Whether enough acknowledge the members told to go, if those ``besides`` do too."""
        if self.self_node not in doubt.about:
            return any(_is_majority(mine, acknowledging.union(besides)) for acknowledging in doubt.staying.values())
        acknowledging = doubt.staying[self.self_node].union(besides)
        if not _is_majority(mine, acknowledging):
            return False
        members = [member for member in mine.ordered if member.status not in GOING]
        here = tuple(member for member in members if member.unique in acknowledging)
        there = (*(member for member in members if member.unique not in acknowledging), *_down_before(mine))
        return self.strategy is not None and self.strategy.rules_out_others(Partition(here, there))


def vouchers_of(node: UniqueAddress, state: Gossip) -> list[UniqueAddress]:
    """Return the voters greeted by a member after its admission, the same wherever the voters are known."""
    return successors(node, state.voters, VOUCHERS)


def standing_of(
    state: Gossip, self_node: UniqueAddress, question: StandingQuestion, heard: Collection[UniqueAddress]
) -> StandingAnswer:
    """Return the answer of a node to another one's question.

    It does not stand by members it accuses, nor by joiners not ``heard`` here.
    """
    accused = state.rows.get(self_node, ObserverRow()).accused
    held = (state.members.get(node) for node in question.nodes if node not in accused)
    staying = tuple(
        member.unique
        for member in held
        if member is not None and (member.status is MemberStatus.up or (member.unique in heard and _is_staying(member)))
    )
    return StandingAnswer(state.cluster_id, question.token, staying)


def _going(mine: Gossip, told: Gossip) -> frozenset[UniqueAddress]:
    """Return the members staying here and not by the told state; one absent from it does not stay, either."""
    return frozenset(
        unique
        for unique, member in mine.members.items()
        if (now := told.members.get(unique)) is not member
        and member.status in STAYING
        and (now is None or now.status not in STAYING)
    )


def _is_staying(member: Member) -> bool:
    return member.status in STAYING


def _coming(mine: Gossip, told: Gossip) -> frozenset[UniqueAddress]:
    """Return the members with a vote in the told state, and without one before."""
    if told.voters <= mine.voters:
        return frozenset()
    return told.voters - mine.voters


def _is_given_up(mine: Gossip, told: Gossip, node: UniqueAddress) -> bool:
    """Whether a member goes without a leave of its own."""
    return node not in told.members or told.members[node].status is not MemberStatus.leaving


def _is_majority(state: Gossip, nodes: Collection[UniqueAddress]) -> bool:
    """Whether most voters are among ``nodes``. Down voters vote against: theirs may be the side that goes on."""
    against = sum(member.status is not MemberStatus.joining for member in _down_before(state))
    return 2 * len(state.voters.intersection(nodes)) > len(state.voters) + against


def _down_before(state: Gossip) -> list[Member]:
    return [before_down(member) for member in state.ordered if member.status is MemberStatus.down]
