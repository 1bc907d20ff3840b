"""Finding or founding of a node's cluster.

Owns the time before a node is a member: the nodes it asks, how often, and when it may form a cluster itself. It does
not know what a member does with a `Join` (`admission`).

How it works: every seed is probed, again and again with a growing, jittered delay, nobody is ever blacklisted. The
first to answer "in a cluster" is asked to let this node in. The candidates to found a cluster are the listed seeds, and
this node when another one seeds from it. The lowest address among the answers founds it: at once when all candidates
have answered "not in a cluster", after `FORM_AFTER` with answers from more than half of them (`founding`). A sole seed
founds at once. Nobody founds in silence, unless an operator lets this node do it. A refused dial is silence, not an
answer.

An answer speaks for `ANSWER_COUNTS` only, and one of a lower or settled candidate holds this node back for
`FORM_AFTER`. A probe of a candidate holds back like an answer: a node told "not in a cluster" may found next, so the
teller must not. The first is the shorter, so that a node stops counting on another before that one stops holding back.

A node that remembers a former membership asks all nodes known to it then, too. It founds nothing, and is no answer for
others about to found, until more than half of them, of its voters and of all, say that they were in that cluster and
are in none any more: any of them still going on could not have so many against it. Or until a node in no cluster
answers at the address of each of them: all of those runs have ended.

An unasked answer is not believed: each carries the token of its probe, known only to the node behind the dialled seed;
only a member that was asked may welcome this node. A seed counts under the name it was dialled by, and sorts by its own
address in its answer.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field

from casty.address import LastMembership, NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Rng, Send, Severity, StartTimer
from casty.protocol.membership.founding import Founding
from casty.protocol.membership.inputs import JoinFailed
from casty.protocol.messages.membership import (
    TOKEN_BITS,
    Join,
    JoinAnswer,
    JoinProbe,
    JoinSettings,
    JoinState,
    JoinWithdrawn,
)
from casty.protocol.state.member import Member

MISTRUSTS_MIN = 3
"""Attempts in a row that one end of a dial does not believe the other: a node that ends may look so once."""
PROBE = "join probe"
PROBE_DELAY_MIN = 0.05
PROBE_DELAY_MAX = 1.0
PROBE_DELAY_GROWTH = 1.5
PROBE_JITTER = 0.2
FORM_AFTER = 5.0
ANSWER_COUNTS = 3.0
ASKED_MAX = 64
KNOWN_MAX = 256
"""Former members asked besides the seeds."""
IN_NONE = (JoinState.not_in_cluster, JoinState.waiting)
OTHER_STORE = (
    "This node opened {}, and the members share another store: an entity that moved here would be without its events. "
    "Give it their store: the same database and schema of PostgreSQL, or, on their host, the same file of SQLite"
)


@dataclass(frozen=True, slots=True)
class FormCluster:
    """Effect: this node forms a new cluster."""


@dataclass(slots=True)
class _Seed:
    """Record of one seed, or of another node asked like one."""

    token: int
    answer: JoinState = JoinState.not_in_cluster
    former: UniqueAddress | None = None
    """Its run in the cluster of this node's former membership, as it says."""
    mistrusts: int = 0
    """Attempts in a row that ended because one end did not believe the other."""
    mistrust: str = ""
    """Reason of the last time."""
    answered_at: float = -math.inf
    heard_at: float = -math.inf


JoiningEffect = Send | StartTimer | Note | FormCluster | JoinFailed


@dataclass(slots=True)
class Joining:
    """Machine of a node that is not yet a member."""

    member: Member
    settings: JoinSettings
    founding: Founding
    rng: Rng
    last: LastMembership | None = None
    """Knowledge of the last run, if this node remembers it."""
    store: str = ""
    """Store of the journal in words: its identity, known to the seeds, says nothing to whoever runs the node."""
    _seeds: dict[NodeAddress, _Seed] = field(init=False)
    _asked: dict[UniqueAddress, None] = field(init=False, default_factory=lambda: dict[UniqueAddress, None]())
    _delay: float = field(init=False, default=PROBE_DELAY_MIN)
    _started_at: float | None = field(init=False, default=None)
    _has_asked: bool = field(init=False, default=False)
    _last_reason: str = field(init=False, default="")

    def __post_init__(self) -> None:
        known = () if self.last is None else sorted(self.last.addresses)[:KNOWN_MAX]
        asked = dict.fromkeys((*self.founding.seeds, *known))
        self._seeds = {seed: _Seed(self.rng.getrandbits(TOKEN_BITS)) for seed in asked}

    def start(self, now: float) -> list[JoiningEffect]:
        """Ask every seed; without a seed, or with this node as the only one, found a cluster at once."""
        self._started_at = now
        return self._form_or_probe(now)

    def tick(self, now: float) -> list[JoiningEffect]:
        """Ask again: the probe timer fired."""
        return self._form_or_probe(now)

    def answer(self, token: int, now: float) -> JoinAnswer:
        """Return the answer to the question whether this node is in a cluster."""
        state = JoinState.not_in_cluster if self._is_free_to_found(now) else JoinState.waiting
        if self.last is None:
            return JoinAnswer(token, state)
        return JoinAnswer(token, state, cluster_id=self.last.cluster_id, former=self.last.run)

    def probed(self, sender: UniqueAddress, now: float, *, is_to_seed: bool = True) -> list[JoiningEffect]:
        """Take note of a probe by another node, and whether it seeds from this one."""
        self.founding.is_seeded_from = self.founding.is_seeded_from or is_to_seed
        for name, seed in self._seeds.items():
            if sender.address in (name, self.founding.address_of(name)):
                seed.heard_at = now
        return [FormCluster()] if self._may_form(now) else []

    def found(self, addresses: Iterable[NodeAddress]) -> list[JoiningEffect]:
        """Ask the new ones of the addresses, from now on as the seeds; no cluster is founded for them."""
        new = {address: _Seed(self.rng.getrandbits(TOKEN_BITS)) for address in self.founding.find(addresses)}
        new = {address: seed for address, seed in new.items() if address not in self._seeds}
        self._seeds |= new
        return [self._probe(address, seed) for address, seed in new.items()] if self._started_at is not None else []

    def alias(self, address: NodeAddress, now: float) -> list[JoiningEffect]:
        """Take note that ``address`` leads back to this node, under another name of its host."""
        self.founding.note(address, self.member.address)
        return [FormCluster()] if self._may_form(now) else []

    def mistrusted(self, address: NodeAddress, reason: str) -> list[JoiningEffect]:
        """Take note that one end of a dial does not believe the other; it ends where that is so at every seed."""
        seed = self._seeds.get(address)
        if seed is None:
            return []
        seed.mistrusts, seed.mistrust = seed.mistrusts + 1, reason
        others = {name: self._seeds[name] for name in self.founding.others}
        if not others or any(one.mistrusts < MISTRUSTS_MIN for one in others.values()):
            return []
        said = "; ".join(f"{name}: {one.mistrust}" for name, one in others.items())
        return [JoinFailed(f"no seed has a link with this node: {said}")]

    def answered(self, sender: UniqueAddress, answer: JoinAnswer, now: float) -> list[JoiningEffect]:
        """Take a seed's answer. One without a question changes nothing."""
        name = next((name for name, seed in self._seeds.items() if seed.token == answer.token), None)
        if name is None:
            return []
        if answer.state is JoinState.refused:
            return self._refused(name, sender, answer)
        self.founding.note(name, sender.address)
        seed = self._seeds[name]
        seed.mistrusts = 0
        seed.answer, seed.former = answer.state, self._former_of(answer)
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
        return [FormCluster()] if self._may_form(now) else []

    def may_welcome(self, sender: UniqueAddress) -> bool:
        """Whether ``sender`` was asked to let this node in."""
        return sender in self._asked

    def withdraw(self) -> list[Send]:
        """Tell every node asked to let this one in that it has ended."""
        return [Send(node, JoinWithdrawn()) for node in self._asked]

    def _remember_asked(self, node: UniqueAddress) -> None:
        self._asked[node] = None
        if len(self._asked) > ASKED_MAX:
            del self._asked[next(iter(self._asked))]

    def _form_or_probe(self, now: float) -> list[JoiningEffect]:
        if self._may_form(now):
            return [FormCluster()]
        self._has_asked = False
        probes = [
            self._probe(name, seed)
            for name, seed in self._seeds.items()
            if self.founding.address_of(name) != self.member.address
        ]
        delay = self._delay * (1 + PROBE_JITTER * self.rng.random())
        self._delay = min(self._delay * PROBE_DELAY_GROWTH, PROBE_DELAY_MAX)
        return [*probes, StartTimer(PROBE, delay)]

    def _probe(self, name: NodeAddress, seed: _Seed) -> Send:
        is_to_seed = name in self.founding.seeds
        return Send(UniqueAddress(name, 0), JoinProbe(self.member, self.settings, seed.token, is_to_seed))

    def _refused(self, name: NodeAddress, sender: UniqueAddress, answer: JoinAnswer) -> list[JoiningEffect]:
        """Return the effects of a refusal: of a seed it is for good; elsewhere another cluster may be."""
        reason = answer.reason
        if self.settings.is_refused_for_journal(reason):
            reason = f"{reason}. {OTHER_STORE.format(self.store or self.settings.journal)}"
        if name in self.founding.seeds:
            return [JoinFailed(f"{sender.address} refused this node: {reason}")]
        if name not in self.founding.found or reason == self._last_reason:
            return []
        self._last_reason = reason
        return [Note(Severity.warning, f"{sender.address}, which was found, refuses this node: {reason}")]

    def _former_of(self, answer: JoinAnswer) -> UniqueAddress | None:
        """Return the run, in the cluster of this node's former membership, of an answering node now in none."""
        is_of_it = self.last is not None and answer.cluster_id == self.last.cluster_id
        return answer.former if is_of_it and answer.state in IN_NONE else None

    def _is_free_to_found(self, now: float) -> bool:
        """Whether the former members cannot go on without this node: more than half of them are in no cluster."""
        if self.last is None or self.founding.is_free:
            return True
        lately = {n: one for n, one in self._seeds.items() if one.answer in IN_NONE and self._counts(one, now)}
        ended = {self.last.run, *(seed.former for seed in lately.values())}
        if all(2 * len(ended & group) > len(group) for group in (self.last.voters, self.last.members) if group):
            return True
        # A run started anew has forgotten with whom it went on after this node, so all must be accounted for.
        anew = {self.last.run.address, *lately, *map(self.founding.address_of, lately)}
        return all(run in ended or run.address in anew for run in self.last.members)

    def _counts(self, seed: _Seed, now: float) -> bool:
        return now - seed.answered_at < ANSWER_COUNTS

    def _may_form(self, now: float) -> bool:
        founding = self.founding
        if not founding.is_candidate or not self._is_free_to_found(now):
            return False
        if founding.is_alone:
            return True
        others = {founding.address_of(name): self._seeds[name] for name in founding.others}
        lately = {address: seed for address, seed in others.items() if now - seed.heard_at < FORM_AFTER}
        if any(seed.answer not in IN_NONE for seed in lately.values()):
            return False
        if any(at < self.member.address and one.answer is not JoinState.waiting for at, one in lately.items()):
            return False
        agreed = JoinState.not_in_cluster
        answered = {address for address, seed in others.items() if seed.answer is agreed and self._counts(seed, now)}
        if len(answered) == len(others):
            return True
        if self._started_at is None or now - self._started_at < FORM_AFTER:
            return False
        return founding.is_majority(answered | {self.member.address}) or (founding.is_free and not lately)
