"""A node's treatment of unreachable members, and its right to exclusive work meanwhile.

Owns the two machines in need of the same notes on each member's knowledge: `resolver` downs one side of a partition,
`serving_lease` keeps both from doing the same work.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.effects import StartTimer
from casty.protocol.messages.membership import ServingGrant, ServingRequest
from casty.protocol.split_brain.downing import Downing
from casty.protocol.split_brain.resolver import CLAIM, DOWNING, DowningDecision, LeaseAnswered, SplitBrainResolver
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.serving_lease import SERVING, ServingEffect, ServingLeaseMachine
from casty.protocol.split_brain.strategies import Strategy
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow

SIDE_TIMERS = frozenset({DOWNING, CLAIM, SERVING})


@dataclass(slots=True)
class SplitBrain:
    """The machines of one node."""

    self_node: UniqueAddress
    strategy: Strategy | None
    stable_after: float | None = None
    resolver: SplitBrainResolver = field(init=False)
    serving: ServingLeaseMachine = field(init=False)
    _seen_tracker: SeenTracker = field(init=False, default_factory=SeenTracker)

    def __post_init__(self) -> None:
        downing = Downing(self.strategy, self.stable_after, self._seen_tracker)
        self.resolver = SplitBrainResolver(self.self_node, downing, self._seen_tracker)
        self.serving = ServingLeaseMachine(self.self_node, self.strategy, self._seen_tracker)

    def observe(self, state: Gossip, now: float) -> list[StartTimer | ServingEffect]:
        """Take a new state."""
        self._seen_tracker.observe(state, now)
        return [*self.resolver.observe(state, now), *self.serving.observe(state, now)]

    def accuse(self, state: Gossip, subjects: Sequence[UniqueAddress], until: float) -> Gossip:
        """Return the state with accusations of ``subjects`` by this node; it may take them back ``until`` then."""
        lost = [subject for subject in subjects if subject in state.members]
        for subject in lost:
            self.resolver.downing.hold(subject, until)
        return self._observing(state, lambda row: row.accusing(*lost))

    def absolve(self, state: Gossip, subject: UniqueAddress) -> Gossip:
        """Return the state without an accusation of ``subject`` by this node."""
        return self._observing(state, lambda row: row.absolving(subject))

    def _observing(self, state: Gossip, change: Callable[[ObserverRow], ObserverRow]) -> Gossip:
        before = state.rows.get(self.self_node, ObserverRow())
        return state if (after := change(before)) is before else state.with_row(self.self_node, after)

    def is_waiting(self, now: float) -> bool:
        """Whether this node has stood still, and has to hear of other clusters before it serves alone."""
        return self.serving.is_waiting(now)

    def received(
        self, state: Gossip, sender: UniqueAddress, message: ServingRequest | ServingGrant
    ) -> list[ServingEffect]:
        """Take a request or a grant of another member."""
        if isinstance(message, ServingRequest):
            return self.serving.asked(state, sender, message)
        return self.serving.granted(state, sender, message)

    def timer(self, state: Gossip, key: str, now: float) -> DowningDecision:
        """Do the planned step."""
        if key == SERVING:
            return DowningDecision(effects=tuple(self.serving.tick(state, now)))
        return self.resolver.timer(state, key, now)

    def answered(self, state: Gossip, answer: LeaseAnswered) -> DowningDecision:
        """Take the answer of the outside lease."""
        return self.resolver.answered(state, answer)
