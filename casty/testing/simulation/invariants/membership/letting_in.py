"""Requests to be let in: one run of a node at a time, and none that has taken its request back.

Owns the memory of the consequences due for a request, until the end of its event, or until an address was dialled. It
does not know when a member comes up (`agreeing`).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.membership.admission import VerifyAddress
from casty.protocol.messages.membership import JoinAnswer, JoinProbe, JoinState, JoinWithdrawn
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import CLOCKS_APART, GOING
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

SETTLED = (MemberStatus.joining, MemberStatus.up)
ROUNDED = 0.001
FOUNDED_AFTER = 5.0
"""Seconds after its start in which a seed founds a cluster only with the answers of all."""
ANSWER_COUNTS = 3.0


@dataclass(slots=True)
class OneRunJoins(Rule):
    """The rules of asking to be let in.

    A request from the address of a staying member has the address dialled; if the newcomer answers there, the member is
    down at once. After a withdrawn request a run is down at once where it was let in.
    """

    kinds = (JoinProbe, JoinWithdrawn, VerifyAddress)
    _withdrawn: dict[UniqueAddress, UniqueAddress] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, UniqueAddress]()
    )
    _asks: dict[UniqueAddress, UniqueAddress] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, UniqueAddress]()
    )
    """By the run due to dial: the newcomer."""
    _dialled: list[tuple[float, UniqueAddress, UniqueAddress]] = field(
        init=False, default_factory=lambda: list[tuple[float, UniqueAddress, UniqueAddress]]()
    )
    """A time, a dialler, and the newcomer known to it by then."""

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        state = run.topology.state
        if state is None or run.topology.gone:
            return
        if isinstance(message, JoinWithdrawn):
            if sender in state.members:
                self._withdrawn[run.node] = sender
                self.look_at = -math.inf
        elif sender not in state.members and sender not in state.tombstones:
            if any(one.address == sender.address and one.status in SETTLED for one in state.ordered):
                self._asks[run.node] = sender
                self.look_at = -math.inf

    def performed(self, run: Run, effect: object) -> None:
        if not isinstance(effect, VerifyAddress):
            return
        self._asks.pop(run.node, None)
        cluster, there = self.cluster, self.cluster.every[effect.joiner]
        if there.alive and not there.paused and not cluster.is_cut(run.name, there.name):
            self._dialled.append((cluster.now + cluster.delay + ROUNDED, run.node, effect.joiner))
            self.look_at = -math.inf

    def look(self) -> None:
        now = self.cluster.now
        for node, joiner in self._asks.items():
            if self.cluster.every[node].alive:
                self._fail("an address is dialled before its run is replaced", f"by {node.address.host}, for {joiner}")
        self._asks.clear()
        for node, gone in self._withdrawn.items():
            if self._stays(node, gone):
                self._fail("who withdraws is not let in", f"{gone} is a member for {node.address.host}")
        self._withdrawn.clear()
        due = [one for one in self._dialled if now > one[0]]
        self._dialled = [one for one in self._dialled if now <= one[0]]
        for _, node, joiner in due:
            state = self.cluster.every[node].topology.state
            runs = set[UniqueAddress]() if state is None else state.runs_at(joiner.address) - {joiner}
            for older in runs:
                if self._stays(node, older):
                    self._fail("the run that a newcomer replaces is down", f"{older} stays for {node.address.host}")
        self.look_at = min((at for at, _, _ in self._dialled), default=math.inf)

    def _stays(self, node: UniqueAddress, member: UniqueAddress) -> bool:
        """Return whether a run still going has another as a member that is there to stay."""
        run = self.cluster.every[node]
        state = run.topology.state
        if state is None or not run.alive or run.paused or member not in state.members:
            return False
        return state.members[member].status in SETTLED

    def _fail(self, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f}")


@dataclass(slots=True)
class Founded(Rule):
    """The rules of a new cluster.

    Of the seeds that answer the one with the lowest address founds it: at once when all others have said that they are
    in none, after five seconds when more than half have just said so. And it begins, with the first members up, when
    more than half of the seeds are members with its state. An operator may let a node do without the others.
    """

    kinds = (JoinAnswer,)
    _answered: dict[UniqueAddress, dict[str, float]] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, dict[str, float]]()
    )
    """Time at which each seed last told a run that it is in no cluster."""
    _founded: set[int] = field(init=False, default_factory=set[int])
    _begun: set[int] = field(init=False, default_factory=set[int])

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        if isinstance(message, JoinAnswer) and message.state is JoinState.not_in_cluster:
            self._answered.setdefault(run.node, {})[sender.address.host] = self.cluster.now

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if self.cluster.settings.allow_new_cluster or (before is not None and after.members is before.members):
            return
        if after.cluster_id not in self._founded:
            self._founded.add(after.cluster_id)
            self._found(run)
        if after.cluster_id not in self._begun and any(member.up_number for member in after.members.values()):
            self._begun.add(after.cluster_id)
            self._begin(run, after)

    def _found(self, run: Run) -> None:
        now, answered = self.cluster.now, self._answered.get(run.node, {})
        others = set(run.seeds) - {run.name}
        lately = {name for name in others if now - answered.get(name, -math.inf) < ANSWER_COUNTS / (1 - CLOCKS_APART)}
        silent = others - lately
        is_late = now - run.started_at > FOUNDED_AFTER * (1 - CLOCKS_APART)
        if silent and not (is_late and 2 * (len(lately) + 1) > len(others) + 1):
            text = f"{run.name} does after {now - run.started_at:.3f} s, without an answer of {sorted(silent)}"
            self._fail("who founds a cluster has asked the others", text)
        lower = {
            name for name in lately if name < run.name and now - answered[name] < ANSWER_COUNTS * (1 - CLOCKS_APART)
        }
        if lower:
            self._fail("the lowest seed founds a cluster", f"{run.name} does, and {min(lower)} has answered")

    def _begin(self, run: Run, state: Gossip) -> None:
        counted = {node for node, member in state.members.items() if member.status not in GOING}
        known = [(one, one.topology.state) for one in map(self.cluster.every.__getitem__, counted)]
        there = {one.name for one, theirs in known if theirs is not None and theirs.cluster_id == state.cluster_id}
        seeds = set(run.seeds)
        if seeds - {run.name} and not any(2 * len(there & of) > len(of) for of in (seeds, seeds | {run.name})):
            text = f"{run.name} moves the first up, with {sorted(there)} of {sorted(seeds)}"
            self._fail("a cluster begins with more than half of its seeds", text)

    def _fail(self, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f}")
