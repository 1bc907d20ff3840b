"""Treatment of lastingly unreachable members: the decision of `downing`, carried out.

Owns who acts on a decision, the knowledge required before the other side is downed, and the claim to an outside lease.
It does not know when a decision is due (`downing`), which side goes on (`strategies`) or how the lease is kept (a
driver asks it).

How it works: a lost side downs itself, each node by itself. The other side is downed by the leader, and only when every
member in its count is known to know of the accusations: an ignorant one would go on granting leases to the lost side
(`serving_lease`). A leader accused by a member of its side waits: that member has another leader, and both see the same
accusations. With `LeaseMajority` the leader of each side claims the lease, that of the smaller-looking side after a
delay: the winner downs the others, the loser its own side. This is Pekko's LeaseMajority; deviation: the lease is no
matter of time, it remembers who lost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.lease import LeaseClaim
from casty.protocol.effects import StartTimer
from casty.protocol.split_brain.downing import Downing
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.serving_lease import ServingEffect
from casty.protocol.split_brain.strategies import LeaseMajority
from casty.protocol.state.leader import leader_of
from casty.protocol.state.membership_state import Gossip

DOWNING = "downing"
CLAIM = "claim"
DOWNING_RETRY = 0.5


@dataclass(frozen=True, slots=True)
class AcquireLease:
    """Effect: claim the lease; the outcome comes back as `LeaseAnswered`, whatever happens."""

    claim: LeaseClaim


@dataclass(frozen=True, slots=True)
class LeaseAnswered:
    """Event: whether the claim got the lease; ``why`` says why not, in words."""

    claim: LeaseClaim
    held: bool
    why: str = ""


@dataclass(frozen=True, slots=True)
class DowningDecision:
    """Members to down now, and further effects; ``given_up`` says why this node is among them."""

    lost: frozenset[UniqueAddress] = frozenset()
    given_up: str = ""
    effects: tuple[ServingEffect | AcquireLease, ...] = ()

    @property
    def words(self) -> str:
        """Text on the downed members for the operator."""
        names = ", ".join(str(node.address) for node in sorted(self.lost))
        cause = f"this node gives itself up: {self.given_up}" if self.given_up else "unreachable for too long"
        return f"{cause}: declared down: {names}"


@dataclass(frozen=True, slots=True)
class _Claimed:
    claim: LeaseClaim
    side: frozenset[UniqueAddress]
    """Members that go down if the claim fails, those on no side among them."""
    others: frozenset[UniqueAddress]


@dataclass(slots=True)
class SplitBrainResolver:
    """The machine of one node."""

    self_node: UniqueAddress
    downing: Downing
    seen_tracker: SeenTracker
    _waiting: _Claimed | None = field(init=False, default=None)
    """Claim of the smaller-looking side, until its delay is over."""
    _claimed: _Claimed | None = field(init=False, default=None)
    """Claim not answered by the lease yet."""

    def observe(self, state: Gossip, now: float) -> list[StartTimer]:
        """Take note of a new state; the decision is due after it."""
        due = self.downing.observe(state, self.self_node, now)
        return [] if due is None else [StartTimer(DOWNING, due)]

    def timer(self, state: Gossip, key: str, now: float) -> DowningDecision:
        """Decide, when it is due."""
        waited = self._waiting if key == CLAIM else None
        if key == CLAIM:
            self._waiting = None
        lost = self.downing.decide(state, self.self_node, now)
        strategy = self.downing.strategy
        if not lost:
            return self._again(state, now)
        has_side = self.downing.partition(state, self.self_node).reachable
        if isinstance(strategy, LeaseMajority) and has_side and self.downing.is_settled(state, now):
            return self._contend(strategy, state, waited, now)
        if self.self_node in lost:
            return DowningDecision(lost, self.downing.why(state, self.self_node, now))
        is_doubted = self.downing.is_doubted(state, self.self_node)
        if not is_doubted and leader_of(state, self.self_node) == self.self_node and self._is_known(state, lost):
            return DowningDecision(lost)
        return self._again(state, now)

    def answered(self, state: Gossip, answer: LeaseAnswered) -> DowningDecision:
        """Take the lease's answer: the others are lost, or this side is."""
        claimed = self._claimed
        if claimed is None or claimed.claim != answer.claim:
            return DowningDecision()
        self._claimed = None
        if answer.held:
            # Also those answering again by now: they were ruled out, and would never get the lease any more.
            return DowningDecision(claimed.others & state.members.keys())
        return DowningDecision(claimed.side & state.members.keys(), f"it did not get the lease: {answer.why}")

    def _contend(self, strategy: LeaseMajority, state: Gossip, waited: _Claimed | None, now: float) -> DowningDecision:
        partition = self.downing.partition(state, self.self_node)
        mine, others, indirect = (
            frozenset(member.unique for member in part)
            for part in (partition.reachable, partition.unreachable, partition.indirect)
        )
        leads = leader_of(state, self.self_node) == self.self_node
        if self._claimed is not None or not leads or not self._is_known(state, others):
            return self._again(state, now)
        claim = LeaseClaim(f"{state.cluster_id:016x}", frozenset(map(str, mine)), frozenset(map(str, others)))
        claimed = _Claimed(claim, mine | indirect, others)
        again = self._again(state, now).effects
        if strategy.against(partition) and claimed != waited:
            if claimed == self._waiting:
                return DowningDecision(effects=again)
            self._waiting = claimed
            return DowningDecision(effects=(StartTimer(CLAIM, strategy.minority_delay), *again))
        self._claimed = claimed
        return DowningDecision(effects=(AcquireLease(claim), *again))

    def _is_known(self, state: Gossip, lost: frozenset[UniqueAddress]) -> bool:
        """Whether all members in this side's count are known to know its losses."""
        partition = self.downing.partition(state, self.self_node)
        side = [member.unique for member in partition.reachable if member.unique not in lost]
        return all(self.seen_tracker.known_since(node, side) is not None for node in lost)

    def _again(self, state: Gossip, now: float) -> DowningDecision:
        due = self.downing.observe(state, self.self_node, now)
        if due is None:
            self._waiting = None
            return DowningDecision()
        return DowningDecision(effects=(StartTimer(DOWNING, max(due, DOWNING_RETRY)),))
