"""What a node does with the state that a peer sends.

Owns the rules of receiving: same, newer, older and concurrent versions, slots of services, state of
another cluster. It does not know how this node came to its state or what follows from the new one
(`topology`).
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import assert_never

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.anti_entropy import AntiEntropy
from casty.protocol.effects import Note, Send, Severity
from casty.protocol.gossip import MEMBERS_MAX, Gossip, Relation
from casty.protocol.messages import (
    GossipDigest,
    GossipSeen,
    GossipState,
    RegistrySlots,
    RegistryVersions,
    check_runs,
    clock_from,
    from_wire,
    seen_on_wire,
    to_wire,
)
from casty.protocol.registry import Registry

FOREIGN_NOTED_MAX = 64

ExchangeMessage = GossipState | GossipSeen | GossipDigest | RegistryVersions | RegistrySlots


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a node knows after a message, and what it answers."""

    state: Gossip
    registry: Registry
    effects: tuple[Send | Note, ...] = ()
    taken: bool = False
    """The state is the sender's newer one: it was acknowledged and needs no push of this node."""


@dataclass(slots=True)
class Exchange:
    """The rules, for one node."""

    self_node: UniqueAddress
    spread: AntiEntropy
    _foreign: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())

    def receive(
        self, state: Gossip, registry: Registry, sender: UniqueAddress, message: ExchangeMessage, now: float
    ) -> Outcome:
        """Return what follows. DecodeError for a state that contradicts itself; nothing changed."""
        outcome = Outcome(state, registry)
        if message.cluster_id != state.cluster_id:
            return replace(outcome, effects=self._foreign_note(sender, message.cluster_id))
        if sender in state.tombstones:
            # A removed run that still talks has to learn that it is removed.
            return replace(outcome, effects=(Send(sender, to_wire(state, now)),))
        if sender not in state.members:
            return outcome
        match message:
            case GossipState():
                return self._state(outcome, sender, message, now)
            case GossipSeen():
                return self._seen(outcome, sender, message, now)
            case GossipDigest():
                return replace(outcome, effects=tuple(self.spread.compare(state, registry, message, sender, now)))
            case RegistryVersions():
                return self._versions(outcome, sender, message)
            case RegistrySlots():
                check_runs([page.owner for page in message.pages], MEMBERS_MAX, "owners")
                # Nobody but this node writes its own slot, whatever a peer says.
                merged = registry.taking(message.pages, {self.self_node, *state.tombstones})
                pushes = self.spread.push_slots(state, merged, registry.versions, sender)
                return replace(outcome, registry=merged, effects=tuple(pushes))
            case _ as never:
                assert_never(never)

    def _foreign_note(self, sender: UniqueAddress, cluster_id: int) -> tuple[Note, ...]:
        if sender in self._foreign or len(self._foreign) >= FOREIGN_NOTED_MAX:
            return ()
        self._foreign.add(sender)
        text = (
            f"{sender.address} gossips for another cluster ({cluster_id:016x}); two clusters share seeds or addresses"
        )
        return (Note(Severity.error, text),)

    def _state(self, outcome: Outcome, sender: UniqueAddress, message: GossipState, now: float) -> Outcome:
        mine, theirs = outcome.state, from_wire(message, now)
        match mine.relation_of(theirs):
            case Relation.same:
                joined = mine.seen_by_all(theirs.seen)
                return replace(outcome, state=joined, effects=self._more_seen(joined, theirs, sender))
            case Relation.older:
                return replace(outcome, effects=(Send(sender, to_wire(mine, now)),))
            case Relation.newer:
                if self.self_node not in theirs.members and self.self_node not in theirs.tombstones:
                    raise DecodeError(f"gossip from {sender}: newer, and this node is neither member nor removed in it")
                taken = theirs.seen_by(self.self_node)
                return replace(outcome, state=taken, effects=tuple(self.spread.taken(taken, sender, now)), taken=True)
            case Relation.concurrent:
                # The merged version is new to the sender too; the push that follows brings it back.
                return replace(outcome, state=mine.merge(theirs).seen_by(self.self_node))
            case _ as never:
                assert_never(never)

    def _seen(self, outcome: Outcome, sender: UniqueAddress, message: GossipSeen, now: float) -> Outcome:
        check_runs(message.seen, MEMBERS_MAX, "seen")
        mine, theirs = outcome.state, clock_from(message.version)
        if mine.version == theirs:
            return replace(outcome, state=mine.seen_by_all(frozenset(message.seen)))
        if mine.version.covers(theirs):
            return outcome  # the push that is on its way, or the next round, brings the newer one
        return replace(outcome, effects=(Send(sender, to_wire(mine, now)),))

    def _more_seen(self, mine: Gossip, theirs: Gossip, sender: UniqueAddress) -> tuple[Send, ...]:
        if mine.seen == theirs.seen:
            return ()
        return (Send(sender, seen_on_wire(mine)),)

    def _versions(self, outcome: Outcome, sender: UniqueAddress, message: RegistryVersions) -> Outcome:
        state, registry = outcome.state, outcome.registry
        check_runs([owner for owner, _ in message.versions], MEMBERS_MAX, "owners")
        versions = dict(message.versions)
        sends = self.spread.send_slots(state, registry.kept(state.members.keys()), versions, sender)
        if registry.lacks(versions, state.members.keys()):
            sends.append(Send(sender, self.spread.versions(state, registry)))
        return replace(outcome, effects=tuple(sends))
