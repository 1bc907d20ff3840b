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
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer
from casty.protocol.membership import Member
from casty.protocol.messages import Join, JoinAnswer, JoinProbe, JoinSettings, JoinState

PROBE = "join probe"
PROBE_DELAY_MIN = 0.05
PROBE_DELAY_MAX = 1.0
PROBE_DELAY_GROWTH = 1.5
PROBE_JITTER = 0.2
FORM_AFTER = 5.0
ANSWER_COUNTS = 3.0
_ALONE = JoinState.not_in_cluster


@dataclass(frozen=True, slots=True)
class Form:
    """Effect: this node forms a new cluster."""


@dataclass(frozen=True, slots=True)
class Refused:
    """Effect: a seed refused this node for good."""

    by: NodeAddress
    reason: str


JoiningEffect = Send | StartTimer | Note | Form | Refused


@dataclass(slots=True)
class Joining:
    """The machine of a node that is not yet a member."""

    member: Member
    settings: JoinSettings
    seeds: tuple[NodeAddress, ...]
    rng: Rng
    _answers: dict[NodeAddress, JoinState] = field(init=False, default_factory=lambda: dict[NodeAddress, JoinState]())
    _answered_at: dict[NodeAddress, float] = field(init=False, default_factory=lambda: dict[NodeAddress, float]())
    _heard_at: dict[NodeAddress, float] = field(init=False, default_factory=lambda: dict[NodeAddress, float]())
    _aliases: set[NodeAddress] = field(init=False, default_factory=lambda: set[NodeAddress]())
    _seeded_from: bool = field(init=False, default=False)
    _delay: float = field(init=False, default=PROBE_DELAY_MIN)
    _started_at: float = field(init=False, default=0.0)
    _asked: bool = field(init=False, default=False)
    _last_reason: str = field(init=False, default="")

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
        if sender.address in self.seeds:
            self._heard_at[sender.address] = now
        return [Form()] if self._may_form(now) else []

    def alias(self, address: NodeAddress, now: float) -> list[JoiningEffect]:
        """Take note that ``address`` leads back to this node, under another name of its host."""
        self._aliases.add(address)
        return [Form()] if self._may_form(now) else []

    def answered(self, sender: UniqueAddress, answer: JoinAnswer, now: float) -> list[JoiningEffect]:
        """Take a seed's answer."""
        if answer.state is JoinState.refused:
            return [Refused(sender.address, answer.reason)]
        self._answers[sender.address] = answer.state
        self._answered_at[sender.address] = self._heard_at[sender.address] = now
        if answer.state is JoinState.in_cluster:
            if self._asked:
                return []  # one member lets this node in; more would only make versions to merge
            self._asked = True
            return [Send(sender, Join(self.member, self.settings))]
        if answer.state is JoinState.retry and answer.reason != self._last_reason:
            self._last_reason = answer.reason
            return [Note(Severity.info, f"{sender.address} asks this node to wait: {answer.reason}")]
        return [Form()] if self._may_form(now) else []

    def _form_or_probe(self, now: float) -> list[JoiningEffect]:
        if self._may_form(now):
            return [Form()]
        self._asked = False
        probe = JoinProbe(self.member, self.settings)
        probes = [Send(UniqueAddress(seed, 0), probe) for seed in self._others()]
        delay = self._delay * (1 + PROBE_JITTER * self.rng.random())
        self._delay = min(self._delay * PROBE_DELAY_GROWTH, PROBE_DELAY_MAX)
        return [*probes, StartTimer(PROBE, delay)]

    def _others(self) -> list[NodeAddress]:
        own = self._aliases | {self.member.address}
        return [seed for seed in dict.fromkeys(self.seeds) if seed not in own]

    def _may_form(self, now: float) -> bool:
        others = self._others()
        listed = len(others) < len(dict.fromkeys(self.seeds))
        if not self.seeds or (listed and not others):
            return True
        if not listed and not self._seeded_from:
            return False
        lately = [address for address, at in self._heard_at.items() if now - at < FORM_AFTER]
        if any(self._answers.get(address, _ALONE) is not _ALONE for address in lately):
            return False
        if any(address < self.member.address for address in lately if address in others):
            return False
        answered = [seed for seed in others if now - self._answered_at.get(seed, -math.inf) < ANSWER_COUNTS]
        if len(answered) == len(others):
            return True
        if now - self._started_at < FORM_AFTER:
            return False
        first = self.seeds[0] in self._aliases | {self.member.address}
        return 2 * (len(answered) + 1) > len(others) + 1 or (first and not lately)
