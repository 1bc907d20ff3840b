"""How a node finds or forms its cluster.

Owns the time before a node is a member: whom it asks, how often, and when it may form a cluster
itself. It does not know what a member does with a `Join` (`admission`).

How it works: every seed is probed, again and again with a growing, jittered delay, nobody is ever
blacklisted. The first that answers "in a cluster" is asked to let this node in. The candidates to
form a cluster are the listed seeds, and this node when another one seeds from it. The lowest
address of those that answered forms: at once when all candidates have answered "not in a cluster",
after `FORM_AFTER` with answers from more than half of them; the first listed seed may form after
`FORM_AFTER` of silence. A refused dial is silence, not an answer.

An answer speaks for `ANSWER_COUNTS` only, and what a lower or settled candidate said holds this node
back for `FORM_AFTER`. A probe of a candidate holds back like an answer: whoever is told "not in a
cluster" may form next, so the teller must not. The first is the shorter, so that a node stops
counting on another before that one stops holding back.

Who was not asked is not believed: an answer carries the token of the probe that it answers, which
only the node behind the dialled seed has got; only a member that was asked may welcome this node.
A seed counts under the name it was dialled by, and sorts by the address it says it has.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer
from casty.protocol.membership import Member
from casty.protocol.messages import TOKEN_BITS, Join, JoinAnswer, JoinProbe, JoinSettings, JoinState, JoinWithdrawn

PROBE = "join probe"
PROBE_DELAY_MIN = 0.05
PROBE_DELAY_MAX = 1.0
PROBE_DELAY_GROWTH = 1.5
PROBE_JITTER = 0.2
FORM_AFTER = 5.0
ANSWER_COUNTS = 3.0
ASKED_MAX = 64


@dataclass(frozen=True, slots=True)
class Form:
    """Effect: this node forms a new cluster."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Effect: a seed refused this node for good."""

    by: NodeAddress
    reason: str


@dataclass(slots=True)
class _Seed:
    """What is known of one seed; ``address`` is where it was dialled until it says where it is."""

    address: NodeAddress
    token: int
    answer: JoinState = JoinState.not_in_cluster
    answered_at: float = -math.inf
    heard_at: float = -math.inf


JoiningEffect = Send | StartTimer | Note | Form | Refused


@dataclass(slots=True)
class Joining:
    """The machine of a node that is not yet a member."""

    member: Member
    settings: JoinSettings
    seeds: tuple[NodeAddress, ...]
    rng: Rng
    _seeds: dict[NodeAddress, _Seed] = field(init=False)
    _asked: dict[UniqueAddress, None] = field(init=False, default_factory=lambda: dict[UniqueAddress, None]())
    _aliases: set[NodeAddress] = field(init=False, default_factory=lambda: set[NodeAddress]())
    _seeded_from: bool = field(init=False, default=False)
    _delay: float = field(init=False, default=PROBE_DELAY_MIN)
    _started_at: float = field(init=False, default=0.0)
    _has_asked: bool = field(init=False, default=False)
    _last_reason: str = field(init=False, default="")

    def __post_init__(self) -> None:
        self._seeds = {seed: _Seed(seed, self.rng.getrandbits(TOKEN_BITS)) for seed in self.seeds}

    def start(self, now: float) -> list[JoiningEffect]:
        """Ask every seed; without a seed, or with this node as the only one, form at once."""
        self._started_at = now
        return self._form_or_probe(now)

    def tick(self, now: float) -> list[JoiningEffect]:
        """Ask again: the probe timer fired."""
        return self._form_or_probe(now)

    def probed(self, sender: UniqueAddress, now: float) -> list[JoiningEffect]:
        """Take note that another node seeds from this one."""
        self._seeded_from = True
        for name, seed in self._seeds.items():
            if sender.address in (name, seed.address):
                seed.heard_at = now
        return [Form()] if self._may_form(now) else []

    def alias(self, address: NodeAddress, now: float) -> list[JoiningEffect]:
        """Take note that ``address`` leads back to this node, under another name of its host."""
        self._aliases.add(address)
        return [Form()] if self._may_form(now) else []

    def answered(self, sender: UniqueAddress, answer: JoinAnswer, now: float) -> list[JoiningEffect]:
        """Take a seed's answer. Whoever was not asked changes nothing."""
        seed = next((seed for seed in self._seeds.values() if seed.token == answer.token), None)
        if seed is None:
            return []
        if answer.state is JoinState.refused:
            return [Refused(sender.address, answer.reason)]
        seed.address, seed.answer = sender.address, answer.state
        seed.answered_at = seed.heard_at = now
        if answer.state is JoinState.in_cluster:
            if self._has_asked:
                return []  # one member lets this node in; more would only make versions to merge
            self._has_asked = True
            self._remember_asked(sender)
            return [Send(sender, Join(self.member, self.settings, answer.token))]
        if answer.state is JoinState.retry and answer.reason != self._last_reason:
            self._last_reason = answer.reason
            return [Note(Severity.info, f"{sender.address} asks this node to wait: {answer.reason}")]
        return [Form()] if self._may_form(now) else []

    def may_welcome(self, sender: UniqueAddress) -> bool:
        """Whether ``sender`` was asked to let this node in."""
        return sender in self._asked

    def withdraw(self) -> list[Send]:
        """Tell whoever was asked to let this node in that it has ended."""
        return [Send(node, JoinWithdrawn()) for node in self._asked]

    def _remember_asked(self, node: UniqueAddress) -> None:
        self._asked[node] = None
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    def _form_or_probe(self, now: float) -> list[JoiningEffect]:
        if self._may_form(now):
            return [Form()]
        self._has_asked = False
        probes = [
            Send(UniqueAddress(name, 0), JoinProbe(self.member, self.settings, seed.token))
            for name, seed in self._others().items()
        ]
        delay = self._delay * (1 + PROBE_JITTER * self.rng.random())
        self._delay = min(self._delay * PROBE_DELAY_GROWTH, PROBE_DELAY_MAX)
        return [*probes, StartTimer(PROBE, delay)]

    def _others(self) -> dict[NodeAddress, _Seed]:
        own = self._aliases | {self.member.address}
        return {name: seed for name, seed in self._seeds.items() if name not in own}

    def _may_form(self, now: float) -> bool:
        others = self._others()
        listed = len(others) < len(self._seeds)
        if not self.seeds or (listed and not others):
            return True
        if not listed and not self._seeded_from:
            return False
        lately = [seed for seed in others.values() if now - seed.heard_at < FORM_AFTER]
        if any(seed.answer is not JoinState.not_in_cluster or seed.address < self.member.address for seed in lately):
            return False
        answered = [seed for seed in others.values() if now - seed.answered_at < ANSWER_COUNTS]
        if len(answered) == len(others):
            return True
        if now - self._started_at < FORM_AFTER:
            return False
        first = self.seeds[0] in self._aliases | {self.member.address}
        return 2 * (len(answered) + 1) > len(others) + 1 or (first and not lately)
