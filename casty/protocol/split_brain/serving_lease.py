"""Lease for exclusive work, for one node alone, and the take-over of another's work.

Owns the serving lease: the requests of this node, the grants of the others, until when they hold; and from when on the
work of a removed run is free. It does not know what the work is, and what a cluster does with a member that is cut off
(`resolver`).

How it works: every `ASK_EVERY` this node asks as many others as are enough, and `SPARE` more; all of them when the last
round was not enough. Where these are many it asks less often, and looks after the answers in between: then a lease
costs no more messages than the heartbeats. Whom it asks, and how often, is a matter of service alone: what counts are
grants. Nobody grants to a member known as accused or down. A grant holds for `SERVING_TIME`, counted from the sending
of the request it answers: however long the answer or this process stood still, nobody counts on it for longer than the
granter does. The node serves until the latest time at which the granters with valid grants, and itself, are a side kept
by the strategy against all others (`Strategy.rules_out_others`).

The work of a removed run is free `TAKEOVER_AFTER` after every member of this side is known to have known of the
accusation: none of them has granted since. The run may still have grants of members outside of this side, and they are
too few, or this side were not the kept one. `TAKEOVER_AFTER` is longer by a tenth, so clocks may differ by that rate. A
removal without an accusation known to all who stay was agreed on by them, so the age of the tombstone counts: also
where this node had lost some of these and held itself and a few for the side.

After a standstill longer than its grants a node cannot know whether a cluster has begun meanwhile, and asks for others.
Where nobody else has to grant, their answer is waited for: its own grant counts `ALONE_AFTER` later.

Source: leases as in Gray and Cheriton 1989, sec. 2; granted by voters instead of one server, and
counted from the sending by the holder alone, so no clock of one node is compared with another's.
"""

from __future__ import annotations

import math
from bisect import bisect, bisect_left
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import TypeVar

from casty.address import UniqueAddress
from casty.protocol.effects import Send, SendIfUp, StartTimer
from casty.protocol.messages.membership import ServingGrant, ServingRequest
from casty.protocol.split_brain.down_commit import still_counting
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.strategies import Partition, Strategy
from casty.protocol.state.member import GOING, Member, MemberStatus, by_age
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow

SERVING_TIME = 4.0
TAKEOVER_AFTER = 4.4
ALONE_AFTER = 3.0
"""Seconds for answers of other clusters, after a standstill of a node in no need of others' grants."""
ASK_EVERY = 1.0
ASK_EVERY_MAX = 3.0
"""Longest pause between two rounds: a grant holds for a second more."""
ASKED_PER_SECOND_MAX = 18
"""Members asked each second, as long as the pauses allow: as many as have a heartbeat of a node."""
LOOK_AFTER = 0.5
"""Seconds until the answers to a round before a longer pause have to be enough."""
SPARE = 2
"""Members asked beyond those that are enough: that many may be silent without a second round."""
SERVING = "serving"
ROUNDS_MAX = 8
"""Rounds remembered: more than those with grants still valid."""

HOLDING = (MemberStatus.up, MemberStatus.leaving, MemberStatus.exiting)
"""Statuses allowed to serve, until the work is handed over."""


@dataclass(frozen=True, slots=True)
class Serving:
    """Effect: this node serves until then, by its own clock; any earlier one is void."""

    until: float


@dataclass(frozen=True, slots=True)
class WorkFree:
    """Effect: from then on others may take over the work of this removed run."""

    node: UniqueAddress
    at: float


E = TypeVar("E")
ServingEffect = Send | SendIfUp | StartTimer | Serving | WorkFree


@dataclass(frozen=True, slots=True)
class _Doom:
    """Since when all of a side have known of a member that may be removed."""

    since: float
    side: frozenset[UniqueAddress]

    def includes(self, other: _Doom) -> bool:
        """Whether this holds for more members than the other, and from no earlier time."""
        return self.side >= other.side and self.since >= other.since


def frees_first(effects: list[E]) -> list[E]:
    """Return the effects of a step with each `WorkFree` in front.

    A removal told by another node is published as it comes, before this machine has looked at it. Whoever heard of the
    removal first took the work for free at once: entities had two owners for some seconds.
    """
    if not any(isinstance(effect, WorkFree) for effect in effects):
        return effects
    free = [effect for effect in effects if isinstance(effect, WorkFree)]
    return [*free, *(effect for effect in effects if not isinstance(effect, WorkFree))]


@dataclass(slots=True)
class ServingLeaseMachine:
    """The machine of one node. It asks nobody until somebody wants to serve, and grants at all times."""

    self_node: UniqueAddress
    strategy: Strategy | None
    seen_tracker: SeenTracker
    until: float = field(init=False, default=-math.inf)
    _wanted: bool = field(init=False, default=False)
    _sequence: int = field(init=False, default=0)
    _rounds: deque[tuple[int, float]] = field(init=False, default_factory=lambda: deque(maxlen=ROUNDS_MAX))
    _alone_from: float = field(init=False, default=-math.inf)
    """Rounds from then on count without a grant of anybody else."""
    _pause: float = field(init=False, default=ASK_EVERY)
    """Seconds from the last round to the next one, as long as it is enough."""
    _looks: bool = field(init=False, default=False)
    """Whether the timer is due before the end of the pause, for a look at the answers."""
    _granted: dict[UniqueAddress, int] = field(init=False, default_factory=lambda: dict[UniqueAddress, int]())
    _state: Gossip | None = field(init=False, default=None)
    _doomed: dict[UniqueAddress, _Doom] = field(init=False, default_factory=lambda: dict[UniqueAddress, "_Doom"]())

    def want(self, state: Gossip | None, now: float) -> list[ServingEffect]:
        """Begin to ask: there is exclusive work on this node."""
        if self._wanted:
            return [Serving(self.until)]
        self._wanted = True
        return [] if state is None else self.ask(state, now)

    def tick(self, state: Gossip, now: float) -> list[ServingEffect]:
        """Begin the next round, or let the rest of the pause pass where the last one is enough."""
        looks, self._looks = self._looks, False
        if looks and not self._has_failed:
            return [StartTimer(SERVING, self._pause - LOOK_AFTER)]
        return self.ask(state, now)

    def ask(self, state: Gossip, now: float) -> list[ServingEffect]:
        """Ask others for their grants, and again later."""
        if not self._wanted:
            return []
        if self._rounds and now > self._rounds[-1][1] + SERVING_TIME:
            self._alone_from = now + ALONE_AFTER
        others = [member.unique for member in state.others(self.self_node) if member.status not in GOING]
        chosen = others if self._has_failed else self._enough_of(state, others)
        self._sequence += 1
        self._rounds.append((self._sequence, now))
        self._pause = min(max(ASK_EVERY, len(chosen) / ASKED_PER_SECOND_MAX), ASK_EVERY_MAX)
        self._looks = self._pause > ASK_EVERY
        request = ServingRequest(self._sequence)
        asked = [SendIfUp(node, request) for node in chosen]
        again = LOOK_AFTER if self._looks else ASK_EVERY
        return [*asked, StartTimer(SERVING, again), *self._changed(self._latest(state))]

    @property
    def _has_failed(self) -> bool:
        """Whether the answers to the last round are not enough, so far."""
        return bool(self._rounds) and self.until < self._rounds[-1][1] + SERVING_TIME

    def _enough_of(self, state: Gossip, others: list[UniqueAddress]) -> list[UniqueAddress]:
        """Return those to be asked: the oldest, and the next ones in their order, so that each grants to as many."""
        if len(others) <= SPARE:
            return others
        oldest = min((state.members[node] for node in others), key=by_age).unique
        lost = state.unreachable
        around = sorted(others)
        start = bisect(around, self.self_node)
        order = sorted(around[start:] + around[:start], key=lambda node: (node in lost, node != oldest))
        count = bisect_left(range(len(order)), True, key=lambda size: self._suffices(state, order[:size]))
        return sorted(order[: count + SPARE])

    def is_waiting(self, now: float) -> bool:
        """Whether this node has stood still, and has to hear of other clusters before it serves alone."""
        return now < self._alone_from

    def asked(self, state: Gossip, sender: UniqueAddress, request: ServingRequest) -> list[ServingEffect]:
        """Grant, or say nothing: to strangers, and to down or accused members."""
        own, member = state.members.get(self.self_node), state.members.get(sender)
        if own is None or own.status is MemberStatus.down or member is None or member.status not in HOLDING:
            return []
        accused = state.rows.get(self.self_node, ObserverRow()).accused  # by this node, which may be joining still
        return [] if sender in state.unreachable | accused else [Send(sender, ServingGrant(request.sequence))]

    def granted(self, state: Gossip, sender: UniqueAddress, grant: ServingGrant) -> list[ServingEffect]:
        """Take a grant; one without its request changes nothing."""
        if sender not in state.members or not self._granted.get(sender, 0) < grant.sequence <= self._sequence:
            return []
        self._granted[sender] = grant.sequence
        return self._changed(max(self.until, self._latest(state, beyond=self.until)))

    def observe(self, state: Gossip, now: float) -> list[ServingEffect]:
        """Take a new state: the required granters may have changed, and the free work."""
        before, self._state = self._state, state
        self._doom(state)
        if before is not None and before.members is state.members:
            return []
        effects: list[ServingEffect] = []
        stayed = state.members.keys() & (before.members.keys() if before else set()) - state.down
        has_voted = before is not None and self.self_node in before.voters  # else nobody has waited for what it knew
        for node in sorted(state.tombstones.keys() - (before.tombstones.keys() if before else set())):
            removed_at, doom = state.tombstones[node], self._doomed.pop(node, None)
            known = doom.since if doom is not None and has_voted and stayed <= doom.side else removed_at
            at = min(removed_at, known) + TAKEOVER_AFTER
            if at > now:
                effects.append(WorkFree(node, at))
        self._granted = {node: sequence for node, sequence in self._granted.items() if node in state.members}
        until = self._latest(state)
        if until < self.until or not self._rounds:
            # A member just joined was never asked: to wait for the next round would be a gap in the work.
            return [*effects, *self.ask(state, now), *self._changed(self._latest(state))]
        return [*effects, *self._changed(until)]

    def _doom(self, state: Gossip) -> None:
        """Remember since when all of this side have known of each member that may be removed."""
        doomed = state.unreachable | state.down
        if not doomed and not self._doomed:
            return
        side = frozenset(unique for unique in state.members if unique not in doomed)
        gone = {node: doom for node, doom in self._doomed.items() if node not in state.members}
        known = {node: self.seen_tracker.known_since(node, side) for node in sorted(doomed)}
        dooms = {node: _Doom(since, side) for node, since in known.items() if since is not None}
        kept = {n: old for n, old in self._doomed.items() if n in dooms and old.includes(dooms[n])}
        self._doomed = gone | dooms | kept

    def _latest(self, state: Gossip, *, beyond: float = -math.inf) -> float:
        """Return until when enough of the grants hold; rounds over by ``beyond`` are not looked at."""
        own = state.members.get(self.self_node)
        if own is None or own.status not in HOLDING:
            return -math.inf
        for sequence, asked_at in reversed(self._rounds):
            until = asked_at + SERVING_TIME
            if until <= beyond:
                break
            granters = {node for node, answered in self._granted.items() if answered >= sequence}
            if (granters or asked_at >= self._alone_from) and self._suffices(state, granters):
                return until
        return -math.inf

    def _suffices(self, state: Gossip, granters: Collection[UniqueAddress]) -> bool:
        mine: list[Member] = []
        others = [*still_counting(state, self.strategy, self.seen_tracker)]
        here = {*granters, self.self_node}
        for node, member in state.members.items():
            if member.status not in GOING:
                (mine if node in here else others).append(member)
        if not others:
            return True
        return self.strategy is not None and self.strategy.rules_out_others(Partition(tuple(mine), tuple(others)))

    def _changed(self, until: float) -> list[ServingEffect]:
        if until == self.until:
            return []
        self.until = until
        return [Serving(until)]
