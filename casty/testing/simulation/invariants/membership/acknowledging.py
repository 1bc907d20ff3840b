"""A run that takes a version says so, a node that has seen one is not forgotten, and a run given up is told.

Owns the memory of owed consequences of a message, until the tasks of its receiver rest. Answers to a version unknown
or outdated here are for `answering`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.membership import (
    AntiEntropyMessage,
    GossipDelta,
    GossipDigest,
    GossipSeen,
    GossipState,
    GossipVersions,
)
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import RegistrySlots
from casty.protocol.state.rows import TableRows
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import VOTERS, lost_in, voters_in
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

TOLD_EVERY = 0.6
"""Seconds in which a run given up is told once, by the slowest clock."""

Pair = tuple[UniqueAddress, UniqueAddress]
Versions = dict[int, int]


@dataclass(slots=True)
class _Came:
    """Messages received by a run in this event, and the runs it has acknowledged since."""

    sender: UniqueAddress
    versions: Versions
    """The newer version told by the sender."""
    seen: frozenset[UniqueAddress] = frozenset()
    """Nodes that have seen the own version, by the sender's word."""
    told: set[UniqueAddress] = field(default_factory=lambda: set[UniqueAddress]())


@dataclass(slots=True)
class Acknowledged(Rule):
    """The rules of receiving gossip.

    The taker of a newer version tells its sender and the leader so. A node with the own version, by the word of a
    voter, is remembered. A down or removed run still talking is told so, now and then.
    """

    kinds = (GossipState, GossipDelta, GossipSeen, GossipDigest, GossipVersions, RegistrySlots, TableRows)
    _came: dict[UniqueAddress, _Came] = field(init=False, default_factory=lambda: dict[UniqueAddress, _Came]())
    _given_up: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())
    """Time at which a run was last told that it was given up, by teller and run."""
    _owed: set[Pair] = field(init=False, default_factory=lambda: set[Pair]())

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        # What changes no membership, gossip judges by what was published to it, or leaves it to the owner of the state.
        state = run.gossip.state if isinstance(message, AntiEntropyMessage) else run.topology.state
        if state is None or run.topology.gone or getattr(message, "cluster_id", 0) != state.cluster_id:
            return
        member = state.members.get(sender)
        if sender in state.tombstones or (member is not None and member.status is MemberStatus.down):
            if self.cluster.now - self._given_up.get((run.node, sender), -math.inf) > TOLD_EVERY:
                self._owed.add((run.node, sender))
                self.look_at = -math.inf
        elif member is not None and member.status in VOTERS and member.up_number:
            self._note(run, state, sender, message)

    def _note(self, run: Run, state: Gossip, sender: UniqueAddress, message: object) -> None:
        mine = dict(state.version.versions)
        if isinstance(message, GossipSeen):
            versions = mine if message.version == state.version_digest else {}
        elif isinstance(message, GossipState | GossipVersions):
            versions = dict(message.version)
        else:
            return
        if versions == mine:
            assert isinstance(message, GossipSeen | GossipState | GossipVersions)
            self._came[run.node] = _Came(sender, mine, state.named_by(message.seen))
        elif isinstance(message, GossipState) and all(versions.get(node, 0) >= count for node, count in mine.items()):
            self._came[run.node] = _Came(sender, versions)
        self.look_at = -math.inf

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        if isinstance(message, GossipState):
            self._given_up[run.node, to] = self.cluster.now
            self._owed.discard((run.node, to))
        elif isinstance(message, GossipSeen) and run.node in self._came:
            self._came[run.node].told.add(to)

    def look(self) -> None:
        every = self.cluster.every
        for node, to in [pair for pair in self._owed if not every[pair[0]].is_busy] if self._owed else ():
            self._owed.discard((node, to))
            if not every[node].alive:
                continue
            text = f"{node.address.host} was told something by {to.address.host}, and said nothing"
            raise InvariantBroken("who was given up is told", f"{text}, at {self.cluster.now:.4f}")
        for node in [node for node in self._came if not every[node].is_busy]:
            run, one = every[node], self._came.pop(node)
            state = run.topology.state
            if state is not None and run.alive and state.version.versions == one.versions:
                self._follows(run, state, one)
        if not self._owed and not self._came:
            self.look_at = math.inf

    def _follows(self, run: Run, state: Gossip, came: _Came) -> None:
        forgotten = (came.seen & state.present) - state.seen
        if forgotten:
            names = ", ".join(node.address.host for node in sorted(forgotten))
            text = f"{run.name} was told by {came.sender.address.host} that {names} has seen its version, and forgot it"
            raise InvariantBroken("who has seen a version is remembered", f"{text}, at {self.cluster.now:.4f}")
        if came.seen:
            return
        leader = min(voters_in(state) - lost_in(state, run.node), default=came.sender)
        silent = [node for node in (came.sender, leader) if node not in came.told and node != run.node]
        if silent:
            text = f"{run.name} took a version of {came.sender.address.host}, and has not told {silent[0].address.host}"
            raise InvariantBroken("who takes a version says so", f"{text}, at {self.cluster.now:.4f}")
