"""No seen bit leaves a node for a version before the owner of its membership has published it.

Owns the versions published by each run. A seen bit lets a leader act, and lets others count the seconds until work may
be taken over: sent too early, it counts a voter as aware of an accusation while it still grants to the accused.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.gossip.handover import StatePublished
from casty.protocol.messages.membership import GossipDelta, GossipSeen, GossipState, GossipVersions
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.vector_clock import VectorClock
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

REMEMBERED_MAX = 256
"""Versions of one run; it tells no older ones."""


@dataclass(slots=True)
class SeenWhenPublished(Rule):
    """The rule: a run tells of a version after its publication there, and never before."""

    kinds = (StatePublished, GossipState, GossipDelta, GossipSeen, GossipVersions)
    _published: dict[UniqueAddress, deque[Gossip]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, "deque[Gossip]"]()
    )

    def performed(self, run: Run, effect: object) -> None:
        if isinstance(effect, StatePublished):
            self._published.setdefault(run.node, deque(maxlen=REMEMBERED_MAX)).append(effect.state)

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        version = self._version_of(run, message)
        if version is None or not any(state.version_digest == version for state in self._known_to(run)):
            text = f"{run.name} tells {to.address.host} by a {type(message).__name__} that it has seen another"
            raise InvariantBroken("only what was published is seen", f"{text}, at {self.cluster.now:.4f}")

    def _known_to(self, run: Run) -> list[Gossip]:
        return [*reversed(self._published.get(run.node, ()))]

    def _version_of(self, run: Run, message: object) -> bytes | None:
        """Return the digest of the version in a message; None where its base was not published."""
        match message:
            case GossipSeen(version=version):
                return version
            case GossipState(version=entries) | GossipVersions(version=entries):
                return _digest(dict(entries))
            case GossipDelta(base=base, version=entries):
                known = (state for state in self._known_to(run) if state.version_digest == base)
                return next((_digest({**state.version.versions, **dict(entries)}) for state in known), None)
            case _:
                return None


def _digest(counts: dict[int, int]) -> bytes:
    return Gossip(0, version=VectorClock(counts)).version_digest
