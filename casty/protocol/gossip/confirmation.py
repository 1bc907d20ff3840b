"""Whether this node believes a state by which members go: leave, are down, or are removed.

Owns the questions that it asks before it does, and how they end. It does not know how a state is made of a message
(`exchange`) or what follows from one that is believed (`topology`, `leaving`).

How it works: a state is passed on by others than those who made it, so the name of whoever decided would prove
nothing. What a node knows by itself does. A member may go that somebody else than the teller has accused for
`PROVEN_AFTER`, long enough for whoever did not say so to take it back; and so may one that says it of itself. Any other
was heard a moment ago: of these a voter may say that one goes, as an operator's node does, one in
`UNPROVEN_EVERY`. Where a state says more, or says it of this node, this node asks the
voters that it hears whom they hold for staying members. While a majority of all voters, those included that are down
and not yet removed, acknowledges one of those, the state is not believed: it counts as if it had not come, and will
come again. This node itself goes nevertheless where
those who acknowledge it might be a side that is lost by the strategy (`Strategy.rules_out_others`); one that never
rules that out, as a lease outside, believes every voter. The question ends after `CONFIRM_WITHIN`: who is alone goes.

A member that comes up adds a vote, so members that nobody ever met would outvote all the others. A leader moves nobody
up whom it has not heard itself, and so somebody can vouch for each: while those that are up by what was told here, and
were never heard here, are fewer than half of the other voters, they are believed; of more, each needs one voter beside
the teller that holds it for up, or has heard it join: whoever is let in greets a few, the next on the ring, who are
asked with the leader. Silence vouches for nobody.

Source: the refutation of a suspicion in SWIM (Das, Gupta, Motivala 2002, section 4.2); deviation: those who could
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
    RegistrySlots,
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
"""Seconds after a state was not believed in which others like it are not looked at."""
PROVEN_AFTER = 3.0
"""Seconds after which an accusation is a reason: half of the time that a decision takes, and some rounds of gossip."""
UNPROVEN_EVERY = 10.0
"""Seconds between two members that a voter has go without a reason that is known here."""
ASKED_ABOUT_MAX = 64
"""Members in a question: whoever lies about more of them lies about these."""

HEARD_MAX = 4 * MEMBERS_MAX
"""Runs that are remembered to have said something; of more those that are no members are forgotten."""
VOUCHERS = 3
"""Voters whom a member that was let in greets, so that they can vouch for it."""

STAYING = frozenset({MemberStatus.joining, MemberStatus.up})

GossipMessage = GossipState | GossipDelta | GossipSeen | GossipDigest | GossipVersions | RegistrySlots
ConfirmationEffect = Send | StartTimer | Note


@dataclass(slots=True)
class _Doubt:
    """One question, and the message that waits for its end."""

    token: int
    teller: UniqueAddress
    message: GossipMessage
    waiting: set[UniqueAddress]
    """Who has not answered yet."""
    staying: dict[UniqueAddress, set[UniqueAddress]]
    """Who acknowledges each of those that are to go, and who does so here."""
    coming: set[UniqueAddress]
    """Who is to be up, and nobody has vouched for."""
    vouched: frozenset[UniqueAddress]
    """Who is once nobody is left of those."""

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
    """Since when each is accused, by whom."""
    _believed: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Who goes, as the others have confirmed or nobody could deny."""
    missed: UniqueAddress | None = field(init=False, default=None)
    """Who told something else while this node was asking."""
    _heard: dict[UniqueAddress, None] = field(init=False, default_factory=dict[UniqueAddress, None])
    _vouched: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    _unmet: frozenset[UniqueAddress] = field(init=False, default=frozenset())
    """Who is up by what was told, for whom nobody vouched, and whom this node has not heard."""

    def observe(self, mine: Gossip, now: float) -> None:
        """Take note of who accuses whom."""
        if mine.rows is self._rows:
            return
        before, self._accused, self._rows = self._accused, {}, mine.rows
        for observer, row in mine.rows.items():
            for node in row.accused:
                since = before.get(node, {}).get(observer, now)
                self._accused.setdefault(node, {})[observer] = since

    @property
    def heard(self) -> Collection[UniqueAddress]:
        """Who has said something to this node itself."""
        return self._heard.keys()

    def hear(self, sender: UniqueAddress, mine: Gossip) -> None:
        """Take note that somebody says something; it may become known as a member only later."""
        self._heard[sender] = None
        if len(self._heard) > HEARD_MAX:
            self._heard = {node: None for node in self._heard if node in mine.members}

    def judge(
        self, mine: Gossip, told: Gossip, teller: UniqueAddress, message: GossipMessage, now: float
    ) -> list[ConfirmationEffect] | None:
        """Return None where what ``teller`` has told is believed, and what follows where it is not, or not yet."""
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
        """Take whom another voter acknowledges; an answer to no question changes nothing."""
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
        """Return the message that is believed by now, with its sender, and what follows where it is not."""
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
        """Whether a member has been accused for long enough, and not only by the one who says that it goes."""
        return node != self.self_node and any(
            observer != teller and observer not in mine.unheeded and since + PROVEN_AFTER <= now
            for observer, since in self._accused.get(node, {}).items()
        )

    def _is_too_many(self, mine: Gossip, unmet: Collection[UniqueAddress], teller: UniqueAddress) -> bool:
        """Whether so many are up whom nobody here knows that they could outvote the others, and somebody can be asked.

        Who is not up itself has no voter to lose, and met nobody yet.
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
        # What others say of whom they hear is no reason not to ask.
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
            # Those who are up for longest may have been all that there were when somebody came.
            oldest = sorted((mine.members[node] for node in asked), key=by_age)[:VOUCHERS]
            known = {leader_of(mine, self.self_node), *(member.unique for member in oldest)}
            asked &= known.union(*(vouchers_of(node, mine) for node in coming))
        staying = {node: {self.self_node} for node in going}
        self._doubt = _Doubt(token, teller, message, set(asked), staying, set(coming), frozenset(coming))
        question = StandingQuestion(mine.cluster_id, token, (*going, *coming))
        return [*(Send(node, question) for node in sorted(asked)), StartTimer(CONFIRM, CONFIRM_WITHIN)]

    def _is_denied(self, mine: Gossip, doubt: _Doubt, besides: Collection[UniqueAddress]) -> bool:
        """Whether enough acknowledge those who are to go, if those ``besides`` do too."""
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
    """Return the voters that a member greets once it is let in, the same wherever the voters are known."""
    return successors(node, state.voters, VOUCHERS)


def standing_of(
    state: Gossip, self_node: UniqueAddress, question: StandingQuestion, heard: Collection[UniqueAddress]
) -> StandingAnswer:
    """Return the answer of a node to another one's question.

    It does not stand by whom it accuses, nor by who joins and was not ``heard`` here.
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
    """Return the staying members that do not stay by what was told; whoever is just not there does not, either."""
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
    """Return the members that have a vote by what was told, and had none."""
    if told.voters <= mine.voters:
        return frozenset()
    return told.voters - mine.voters


def _is_given_up(mine: Gossip, told: Gossip, node: UniqueAddress) -> bool:
    """Whether a member goes without a leave of its own."""
    return node not in told.members or told.members[node].status is not MemberStatus.leaving


def _is_majority(state: Gossip, nodes: Collection[UniqueAddress]) -> bool:
    """Whether most voters are among ``nodes``. Who is down votes against: it may be the side that goes on."""
    against = sum(member.status is not MemberStatus.joining for member in _down_before(state))
    return 2 * len(state.voters.intersection(nodes)) > len(state.voters) + against


def _down_before(state: Gossip) -> list[Member]:
    return [before_down(member) for member in state.ordered if member.status is MemberStatus.down]
