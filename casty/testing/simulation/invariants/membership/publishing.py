"""No seen bit leaves a node for a version before the owner of its membership has published it.

Owns the versions published by each run. A seen bit lets a leader act, and lets others count the seconds until work may
be taken over: sent too early, it counts a voter as aware of an accusation while it still grants to the accused.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.gossip.handover import StatePublished
from casty.protocol.messages.membership import GossipDelta, GossipSeen, GossipState, GossipVersions
from casty.protocol.state.membership_state import Gossip
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
        if not _tells_one_of(self._published.get(run.node, ()), message):
            text = f"{run.name} tells {to.address.host} by a {type(message).__name__} that it has seen another"
            raise InvariantBroken("only what was published is seen", f"{text}, at {self.cluster.now:.4f}")


def _tells_one_of(published: Sequence[Gossip], message: object) -> bool:
    """Return whether the version in a message is one of these, and was reached from one of them."""
    match message:
        case GossipSeen(version=digest):
            return _called(published, digest) is not None
        case GossipState(version=entries) | GossipVersions(version=entries):
            counts = dict(entries)
        case GossipDelta(base=digest, version=entries):
            base = _called(published, digest)
            if base is None:
                return False
            counts = {**base.version.versions, **dict(entries)}
        case _:
            return False
    return any(state.version.versions == counts for state in reversed(published))


def _called(published: Sequence[Gossip], digest: bytes) -> Gossip | None:
    return next((state for state in reversed(published) if state.version_digest == digest), None)
