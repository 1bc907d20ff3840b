"""Times and receivers of gossip: rounds, pushes, digests, pages.

Owns the versions each peer is believed to have, the times of rounds and pushes, and the tables spread without a
leader's agreement: today the slots of services. It does not know how a state comes about: the owner of the membership
(`membership.machine`) merges, acknowledges and publishes, and only published states are told here. So no peer learns of
a version as seen by this node before the owner of the membership has taken it, with all consequences there, such as a
grant no longer given (`serving_lease`).

How it works: each published state is pushed by the rules of `anti_entropy`. A peer's digest or versions are answered
from the last published state; their news of a version goes to the owner of the membership, and so does every message
from a sender without living membership here, or never heard: the owner judges those. Messages between the two keep
their order. This machine may be behind the owner, and then asks or answers once more than it had to.

Source: anti-entropy and rumor mongering, Demers et al. 1987; the dissemination component of SWIM, Das, Gupta and
Motivala 2002, section 4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import assert_never

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.effects import Rng, Send, StartTimer, TimerFired
from casty.protocol.gossip.anti_entropy import HURRY, PUSH, AntiEntropy, Pushes
from casty.protocol.gossip.handover import (
    GossipCame,
    GossipEffect,
    GossipEvent,
    HandOver,
    OwnServices,
    RegistryChanged,
    SeenOfOther,
    SendLacking,
    SendVersions,
    StatePublished,
    StopGossip,
)
from casty.protocol.gossip.hearsay import has_word
from casty.protocol.gossip.state_on_wire import check_runs, clock_from, seen_on_wire, to_wire
from casty.protocol.messages.membership import GossipDigest, GossipSeen, GossipVersions, RegistrySlots
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import MEMBERS_MAX, Gossip
from casty.protocol.state.registry import Registry

GOSSIP = "gossip"


def is_gossip_timer(key: str) -> bool:
    """Return whether a timer of this key was started by `Dissemination`."""
    return key in (GOSSIP, PUSH)


@dataclass(slots=True)
class Dissemination:
    """The machine; feed it `GossipEvent` values."""

    self_node: UniqueAddress
    interval: float
    """Seconds between two rounds."""
    fanout: int
    rng: Rng
    state: Gossip | None = field(init=False, default=None)
    """Last published state; None while this node is no member."""
    registry: Registry = field(init=False, default=Registry())
    _spread: AntiEntropy = field(init=False)
    _pushes: Pushes = field(init=False)
    _introduced: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    """Members known to the owner of the membership to talk."""
    _is_over: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._spread = AntiEntropy(self.self_node, self.fanout, self.rng)
        self._pushes = Pushes(self._spread)

    def handle(self, event: GossipEvent, now: float) -> Sequence[GossipEffect]:
        """Return the effects of one event. DecodeError for a message contradicting itself; nothing changed."""
        if self._is_over:
            return ()
        registry = self.registry
        effects = self._happen(event, now)
        return effects if self.registry is registry else [*effects, RegistryChanged(self.registry)]

    def _happen(self, event: GossipEvent, now: float) -> Sequence[GossipEffect]:
        state = self.state
        match event:
            case StatePublished(published, is_spread):
                return self._published(state, published, now, is_spread=is_spread)
            case StopGossip():
                self._is_over = True
                return ()
            case OwnServices(services):
                versions, self.registry = self.registry.versions, self.registry.with_own(self.self_node, services)
                return () if state is None else self._spread.push_slots(state, self.registry, versions, self.self_node)
            case _ if state is None:
                return ()  # nobody is told anything by who is no member
            case GossipCame(sender, message):
                return self._came(state, sender, message, now)
            case SendLacking(to, version):
                return [Send(to, self._spread.lacking(state, version, now))]
            case SendVersions(to):
                return [Send(to, self._spread.versions(state, self.registry))]
            case SeenOfOther(sender, message):
                if self._spread.recent.was_seen(message.version, message.seen):
                    return ()  # the push that is on its way, or the next round, brings the newer one
                # A newer version or another: the sender learns the versions of this node, and brings the missing ones.
                return [Send(sender, self._spread.versions(state, self.registry))]
            case TimerFired(key):
                return self._timer(state, key, now)
            case _ as never:
                assert_never(never)

    def _published(
        self, before: Gossip | None, state: Gossip, now: float, *, is_spread: bool
    ) -> Sequence[Send | StartTimer | RegistryChanged]:
        self.state = state
        if is_spread:
            self._pushes.take(state)
        self._introduced &= state.members.keys()
        pushes = self._pushes.settle(state, self.registry, now)
        if before is not None:
            return pushes
        services = self._spread.push_slots(state, self.registry, {}, self.self_node)
        return [StartTimer(GOSSIP, self.interval), *pushes, *services]

    def _timer(self, state: Gossip, key: str, now: float) -> list[Send | StartTimer]:
        if key == PUSH:
            return self._pushes.push(state, self.registry, now)
        if key != GOSSIP:
            return []
        self.registry = self.registry.kept(state.members.keys())
        delay = self.interval / (HURRY if 2 * len(state.seen) < len(state.members) else 1)
        return [*self._spread.round(state, self.registry, now), StartTimer(GOSSIP, delay)]

    def _came(
        self, state: Gossip, sender: UniqueAddress, message: GossipDigest | GossipVersions | RegistrySlots, now: float
    ) -> Sequence[Send | HandOver]:
        member = state.members.get(sender)
        if message.cluster_id != state.cluster_id or member is None or member.status is MemberStatus.down:
            return [HandOver(sender, message)]
        first = [] if sender in self._introduced else [HandOver(sender, message)]
        answers = self._answers(state, sender, message, now)
        self._introduced.add(sender)
        return [*first, *answers]

    def _answers(
        self, state: Gossip, sender: UniqueAddress, message: GossipDigest | GossipVersions | RegistrySlots, now: float
    ) -> Sequence[Send | HandOver]:
        match message:
            case GossipDigest():
                return self._spread.compare(state, self.registry, message, sender)
            case GossipVersions():
                return self._versions(state, sender, message, now)
            case RegistrySlots():
                return self._slots(state, sender, message)
            case _ as never:
                assert_never(never)

    def _versions(
        self, state: Gossip, sender: UniqueAddress, message: GossipVersions, now: float
    ) -> list[Send | HandOver]:
        if len(message.slots) > MEMBERS_MAX:
            raise DecodeError(f"gossip: at most {MEMBERS_MAX} slots have versions, got {len(message.slots)}")
        theirs, slots = clock_from(message.version), dict(message.slots)
        covers, is_covered = state.version.covers(theirs), theirs.covers(state.version)
        effects: list[Send | HandOver] = []
        if covers and is_covered:
            effects = self._same(state, sender, message.seen)
        elif covers:
            version = Gossip(state.cluster_id, version=theirs).version_digest
            self._spread.recent.was_seen(version, message.seen)
            effects = [Send(sender, self._spread.lacking(state, version, now))]
        elif not is_covered:
            effects = [Send(sender, to_wire(state, now))]
        versions = {owner: slots[owner.incarnation] for owner in state.members if owner.incarnation in slots}
        if has_word(state, sender):
            self.registry = self.registry.with_own_beyond(self.self_node, versions.get(self.self_node, 0))
        kept = self.registry.kept(state.members.keys())
        effects.extend(self._spread.send_slots(state, kept, versions, sender))
        if (is_covered and not covers) or self.registry.lacks(versions, state.members.keys()):
            effects.append(Send(sender, self._spread.versions(state, self.registry)))
        return effects

    def _same(self, state: Gossip, sender: UniqueAddress, bits: bytes) -> list[Send | HandOver]:
        """Hand over the nodes that have seen the common version, and tell the sender those it does not know of."""
        named = state.named_by(bits)
        if not has_word(state, sender):
            named &= {sender}  # it speaks for itself
        told = (
            [] if named <= state.seen else [HandOver(sender, GossipSeen(state.cluster_id, state.version_digest, bits))]
        )
        return [*told, *([] if state.seen <= named else [Send(sender, seen_on_wire(state))])]

    def _slots(self, state: Gossip, sender: UniqueAddress, message: RegistrySlots) -> list[Send]:
        """Take the news of service slots: of that of the sender, and of others if it is up; never of the own one."""
        check_runs([page.owner for page in message.pages], MEMBERS_MAX, "owners")
        is_heeded = has_word(state, sender)
        pages = [page for page in message.pages if is_heeded or page.owner == sender]
        before = self.registry
        merged = before.taking(pages, {self.self_node, *state.tombstones})
        for page in pages:
            if page.owner == self.self_node:
                merged = merged.with_own_beyond(page.owner, page.upto)
        pushes = self._spread.push_slots(state, merged, before.versions, sender)
        self.registry = merged
        return pushes
