"""A run that tells a version of the membership is answered: with the part it lacks, or with a question for the rest.

Owns the memory of owed answers, until the end of the event of the telling. The cost of a change until all know it is
for `spreading`: rounds repair in the end any missing answer, so only this rule sees it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.membership import GossipDelta, GossipState, GossipVersions
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

Answer = tuple[type, ...]


@dataclass(slots=True)
class Answered(Rule):
    """The rule: a run telling an older version is told the newer one, before the tasks of the other rest.

    A run that only says how far it is, is asked for a newer version, and sent the whole state beside a version that
    neither contains. Down members are told now and then, others than members nothing.
    """

    kinds = (GossipState, GossipVersions, GossipDelta)
    _owed: dict[tuple[UniqueAddress, UniqueAddress], tuple[str, Answer]] = field(
        init=False, default_factory=lambda: dict[tuple[UniqueAddress, UniqueAddress], "tuple[str, Answer]"]()
    )
    """By debtor and creditor: the message to answer, and the classes of messages that are an answer."""

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        # How far a node is, gossip answers by what was published to it; the owner of the state may be ahead of that.
        state = run.gossip.state if isinstance(message, GossipVersions) else run.topology.state
        if state is None or run.topology.gone or not isinstance(message, GossipState | GossipVersions):
            return
        member = state.members.get(sender)
        if message.cluster_id != state.cluster_id or member is None or member.status is MemberStatus.down:
            return
        told, answer = _answer_to(state, message)
        if answer:
            self._owed[run.node, sender] = told, answer
            self.look_at = -math.inf

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        owed = self._owed.get((run.node, to))
        if owed is not None and isinstance(message, owed[1]):
            del self._owed[run.node, to]

    def look(self) -> None:
        self.look_at = -math.inf if self._owed else math.inf
        for (node, to), (told, _) in self._owed.items():
            if self.cluster.every[node].is_busy:
                continue  # it may be about to say it
            text = f"{node.address.host} was told {told} by {to.address.host}, and said nothing"
            raise InvariantBroken("who tells a version is answered", f"{text}, at {self.cluster.now:.4f}")


def _answer_to(state: Gossip, message: GossipState | GossipVersions) -> tuple[str, Answer]:
    """Return the told message, in words, and the classes of its answers: none where nothing is due."""
    mine, theirs = state.version.versions, dict(message.version)
    has_more = any(count > theirs.get(node, 0) for node, count in mine.items())
    lacks = any(count > mine.get(node, 0) for node, count in theirs.items())
    if has_more and not lacks:
        return "an older version", (GossipState, GossipDelta)
    if isinstance(message, GossipState):
        return "", ()
    if lacks and not has_more:
        return "a newer version", (GossipVersions,)
    return ("another version", (GossipState,)) if lacks else ("", ())
