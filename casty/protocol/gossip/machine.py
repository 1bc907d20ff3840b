"""Times and receivers of gossip: rounds, pushes, digests, pages.

Owns the versions each peer is believed to have, the times of rounds and pushes, and the tables spread without a
leader's agreement (`tables`), whatever they hold. It does not know how a state comes about: the owner of the membership
(`membership.machine`) merges, acknowledges and publishes, and only published states are told here. So no peer learns of
a version as seen by this node before the owner of the membership has taken it, with all consequences there, such as a
grant no longer given (`serving_lease`).

How it works: each published state is pushed by the rules of `anti_entropy`. A peer's digest or versions are answered
from the last published state; their news of a version goes to the owner of the membership, and so does every message
from a sender without living membership here, or never heard: the owner judges those. Messages between the two keep
their order. This machine may be behind the owner, and then asks or answers once more than it had to. Pages of a node
let in elsewhere may come before the news of it: they are refused like those of any stranger, and asked for again once
it is a member here.

Source: anti-entropy and rumor mongering, Demers et al. 1987; the dissemination component of SWIM, Das, Gupta and
Motivala 2002, section 4.1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
    SeenOfOther,
    SendLacking,
    SendVersions,
    StatePublished,
    StopGossip,
    TableChanged,
    TableWritten,
    UnknownTables,
)
from casty.protocol.gossip.hearsay import has_word
from casty.protocol.gossip.state_on_wire import clock_from, seen_on_wire, to_wire
from casty.protocol.gossip.tables import TableSet, Versions
from casty.protocol.messages.membership import AntiEntropyMessage, GossipDigest, GossipSeen, GossipVersions, PageMessage
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import MEMBERS_MAX, Gossip
from casty.protocol.state.slots import PageSource

GOSSIP = "gossip"
EARLY_MAX = 64
"""Senders of pages remembered until they are members here."""


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
    tables: TableSet = TableSet(())
    """Spread tables; which ones stays the same."""
    state: Gossip | None = field(init=False, default=None)
    """Last published state; None while this node is no member."""
    _spread: AntiEntropy = field(init=False)
    _pushes: Pushes = field(init=False)
    _introduced: set[UniqueAddress] = field(init=False, default_factory=lambda: set[UniqueAddress]())
    """Members known to the owner of the membership to talk."""
    _repaired: dict[tuple[UniqueAddress, str], float] = field(
        init=False, default_factory=lambda: dict[tuple[UniqueAddress, str], float]()
    )
    """Time of the last comparison with a member that led to pages or a question, by the table."""
    _early: dict[UniqueAddress, None] = field(init=False, default_factory=lambda: dict[UniqueAddress, None]())
    """Senders of refused pages, no members here yet, in the order of their first pages."""
    _is_over: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self._spread = AntiEntropy(self.self_node, self.fanout, self.rng)
        self._pushes = Pushes(self._spread)

    def handle(self, event: GossipEvent, now: float) -> Sequence[GossipEffect]:
        """Return the effects of one event. DecodeError for a message contradicting itself; nothing changed."""
        if self._is_over:
            return ()
        tables = self.tables
        effects = self._happen(event, now)
        return effects if self.tables is tables else [*effects, *map(TableChanged, self.tables.changed_since(tables))]

    def _happen(self, event: GossipEvent, now: float) -> Sequence[GossipEffect]:
        state = self.state
        match event:
            case StatePublished(published, is_spread):
                return self._published(state, published, now, is_spread=is_spread)
            case StopGossip():
                self._is_over = True
                return ()
            case TableWritten(name, content):
                return self._written(state, name, content)
            case _ if state is None:
                return ()  # nobody is told anything by who is no member
            case GossipCame(sender, message):
                return self._came(state, sender, message, now)
            case SendLacking(to, version):
                return [Send(to, self._spread.lacking(state, version, now))]
            case SendVersions(to):
                return [Send(to, self._spread.versions(state, self.tables, to))]
            case SeenOfOther(sender, message):
                if self._spread.recent.was_seen(message.version, message.seen):
                    return ()  # the push that is on its way, or the next round, brings the newer one
                # A newer version or another: the sender learns the versions of this node, and brings the missing ones.
                return [Send(sender, self._spread.versions(state, self.tables, sender))]
            case TimerFired(key):
                return self._timer(state, key, now)
            case _ as never:
                assert_never(never)

    def _published(
        self, before: Gossip | None, state: Gossip, now: float, *, is_spread: bool
    ) -> Sequence[Send | StartTimer]:
        self.state = state
        if is_spread:
            self._pushes.take(state)
        self._introduced &= state.members.keys()
        pushes = self._pushes.settle(state, self.tables, now)
        if before is not None:
            return [*pushes, *self._ask_early(state)] if self._early else pushes
        own = [send for table in self.tables for send in self._spread.push_table(state, table, {}, self.self_node)]
        return [StartTimer(GOSSIP, self.interval), *pushes, *own]

    def _ask_early(self, state: Gossip) -> list[Send]:
        """Ask new members for the pages that came before the news of them."""
        come = [node for node in self._early if node in state.members]
        for node in [node for node in self._early if node in state.members or node in state.tombstones]:
            del self._early[node]
        return [Send(node, self._spread.versions(state, self.tables, node)) for node in come]

    def _written(self, state: Gossip | None, name: str, content: object) -> list[Send]:
        table = self.tables.get(name)
        if table is None:
            raise ValueError(f"this node has no table {name!r}")
        after = table.written(self.self_node, content)
        self.tables = self.tables.with_table(after)
        return [] if state is None else self._spread.push_table(state, after, table.versions, self.self_node)

    def _timer(self, state: Gossip, key: str, now: float) -> list[Send | StartTimer]:
        if key == PUSH:
            return self._pushes.push(state, self.tables, now)
        if key != GOSSIP:
            return []
        self.tables = self.tables.kept(state.members.keys())
        self._repaired = {pair: at for pair, at in self._repaired.items() if now < at + self.interval}
        delay = self.interval / (HURRY if 2 * len(state.seen) < len(state.members) else 1)
        return [*self._spread.round(state, self.tables, now), StartTimer(GOSSIP, delay)]

    def _came(
        self, state: Gossip, sender: UniqueAddress, message: AntiEntropyMessage, now: float
    ) -> Sequence[GossipEffect]:
        member = state.members.get(sender)
        if message.cluster_id != state.cluster_id or member is None or member.status is MemberStatus.down:
            if member is None and isinstance(message, PageMessage) and message.cluster_id == state.cluster_id:
                self._note_early(sender)
            return [HandOver(sender, message)]
        first = [] if sender in self._introduced else [HandOver(sender, message)]
        answers = self._answers(state, sender, message, now)
        self._introduced.add(sender)
        return [*first, *answers]

    def _note_early(self, sender: UniqueAddress) -> None:
        self._early[sender] = None
        while len(self._early) > EARLY_MAX:
            del self._early[next(iter(self._early))]

    def _answers(
        self, state: Gossip, sender: UniqueAddress, message: AntiEntropyMessage, now: float
    ) -> Sequence[GossipEffect]:
        if isinstance(message, PageMessage):
            return self._pages(state, sender, message)
        match message:
            case GossipDigest():
                return self._spread.compare(state, self.tables, message, sender)
            case GossipVersions():
                return self._versions(state, sender, message, now)
            case _ as never:
                assert_never(never)

    def _versions(
        self, state: Gossip, sender: UniqueAddress, message: GossipVersions, now: float
    ) -> list[GossipEffect]:
        theirs = clock_from(message.version)
        told, unknown = self._told(message)
        covers, is_covered = state.version.covers(theirs), theirs.covers(state.version)
        effects: list[GossipEffect] = []
        if covers and is_covered:
            effects = self._same(state, sender, message.seen)
        elif covers:
            version = Gossip(state.cluster_id, version=theirs).version_digest
            self._spread.recent.was_seen(version, message.seen)
            effects = [Send(sender, self._spread.lacking(state, version, now))]
        elif not is_covered:
            effects = [Send(sender, to_wire(state, now))]
        is_behind = self._compared(state, sender, told, effects, now)
        if (is_covered and not covers) or is_behind:
            effects.append(Send(sender, self._spread.versions(state, self.tables, sender)))
        return [*effects, UnknownTables(sender, unknown)] if unknown else effects

    def _told(self, message: GossipVersions) -> tuple[Mapping[str, Versions], tuple[str, ...]]:
        """Return the versions told of the tables of this node, by name, and the names of all others."""
        known = {name: dict(versions) for name, versions in message.tables if self.tables.get(name) is not None}
        most = max(map(len, known.values()), default=0)
        if most > MEMBERS_MAX:
            raise DecodeError(f"gossip: at most {MEMBERS_MAX} parts of a table have versions, got {most}")
        return known, tuple(name for name, _ in message.tables if name not in known)

    def _compared(
        self,
        state: Gossip,
        sender: UniqueAddress,
        told: Mapping[str, Versions],
        effects: list[GossipEffect],
        now: float,
    ) -> bool:
        """Send a member the news of the tables that it has too; return whether it has news itself.

        Rows of extensions once an interval: their pages travel on a lane of their own, and while they are under way
        two nodes with news for each other would ask and send all of it again with each round trip.
        """
        members, is_behind = state.members.keys(), False
        for table in self.tables.named(self.tables.shared_with(state.members[sender])):
            versions = told.get(table.name, {})
            if has_word(state, sender):
                table = table.beyond(self.self_node, versions.get(self.self_node.incarnation, 0))
                self.tables = self.tables.with_table(table)
            if not table.is_everywhere and now < self._repaired.get((sender, table.name), -math.inf) + self.interval:
                continue
            news = self._spread.send_table(state, table.kept(members), versions, sender)
            lacks = table.lacks(versions, members)
            effects.extend(news)
            is_behind = is_behind or lacks
            if not table.is_everywhere and (news or lacks):
                self._repaired[sender, table.name] = now
        return is_behind

    def _same(self, state: Gossip, sender: UniqueAddress, bits: bytes) -> list[GossipEffect]:
        """Hand over the nodes that have seen the common version, and tell the sender those it does not know of."""
        named = state.named_by(bits)
        if not has_word(state, sender):
            named &= {sender}  # it speaks for itself
        told = (
            [] if named <= state.seen else [HandOver(sender, GossipSeen(state.cluster_id, state.version_digest, bits))]
        )
        return [*told, *([] if state.seen <= named else [Send(sender, seen_on_wire(state))])]

    def _pages(self, state: Gossip, sender: UniqueAddress, message: PageMessage) -> list[GossipEffect]:
        """Take a member's news of a table: of its own part, and of others if it is up; never of this node's own one."""
        before = self.tables.get(message.table)
        if before is None:
            return [UnknownTables(sender, (message.table,))]
        source = PageSource(sender, self.self_node, has_word(state, sender), state.tombstones.keys())
        after = before.merged(source, message)
        self.tables = self.tables.with_table(after)
        return [] if after is before else [*self._spread.push_table(state, after, before.versions, sender)]
