"""Nobody is moved, let in or removed without the agreement of the voters.

Owns the memory of each run's furthest status in anybody's view: the first to show it further along is the moving
leader. It does not ask who is known to have seen what (`Gossip.seen`): it looks at the real knowledge of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from casty.address import UniqueAddress
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.promises import GOING, VOTERS, lost_in
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

REQUIRED = {
    MemberStatus.up: MemberStatus.joining,
    MemberStatus.exiting: MemberStatus.leaving,
    MemberStatus.removed: MemberStatus.exiting,
}
"""Status of a run, as known to everybody, before a leader moves it: at least so far along was it."""


@dataclass(slots=True)
class Agreed(Rule):
    """The rules of a leader.

    A run that moves another to up or exiting, or removes it, is the first by address of those in its reach and up, or
    leaving and up before; all of these know of the status before; and it holds nobody for unreachable that stays. The
    first of a cluster come up once there are as many as the settings ask for.
    """

    _furthest: dict[UniqueAddress, MemberStatus] = field(
        init=False, default_factory=lambda: dict[UniqueAddress, MemberStatus]()
    )

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        if before is not None and after.members is before.members and after.tombstones is before.tombstones:
            return
        moved: dict[UniqueAddress, MemberStatus] = {}
        old: Mapping[UniqueAddress, Member] = {} if before is None else before.members
        for node, member in after.members.items():
            if old.get(node) is not member:
                self._note(node, member.status, moved)
        for node in after.tombstones.keys() - (set[UniqueAddress]() if before is None else before.tombstones.keys()):
            self._note(node, MemberStatus.removed, moved)
        led = {node: status for node, status in moved.items() if status in REQUIRED}
        if led:
            self._judge(run, old, after, led)

    def _note(self, node: UniqueAddress, status: MemberStatus, moved: dict[UniqueAddress, MemberStatus]) -> None:
        known = self._furthest.get(node)
        if known is None or known.rank < status.rank:
            self._furthest[node] = moved[node] = status

    def _judge(
        self, run: Run, old: Mapping[UniqueAddress, Member], state: Gossip, led: dict[UniqueAddress, MemberStatus]
    ) -> None:
        lost = lost_in(state, run.node)
        before = [_before(member, led) for member in state.members.values()]
        missing = [m for m in before if m.unique in lost and m.status not in GOING]
        what = ", ".join(f"{node.address.host} {status.name}" for node, status in sorted(led.items()))
        if missing:
            self._fail(run, "nobody is moved while somebody is missing", f"{what}, without {missing[0].id}")
        counted = [m.unique for m in before if m.status in VOTERS and m.up_number and m.unique not in lost]
        if counted and run.node != min(counted):
            self._fail(run, "only the leader moves members", f"{what}, and {min(counted)} leads")
        for node in counted:
            if old and (node not in old or old[node].status not in VOTERS):
                continue  # it came up in this very step, though another side had it up before
            known = self.cluster.every[node].topology.state
            for subject, status in led.items():
                if known is None or not _knows(known, subject, REQUIRED[status]):
                    text = f"{what}, though {node.address.host} did not know what came before of {subject}"
                    self._fail(run, "a leader moves nobody without agreement", text)
        # A cluster that has lost its last voter goes on with the rest.
        if not counted and not state.tombstones and not any(member.up_number for member in before):
            self._enough(run, [m for m in before if m.status is MemberStatus.joining], led)

    def _enough(self, run: Run, joining: list[Member], led: dict[UniqueAddress, MemberStatus]) -> None:
        settings = self.cluster.settings
        roles = Counter(role for member in joining for role in member.roles)
        lacking = [role for role, least in settings.min_members_per_role if roles[role] < least]
        if MemberStatus.up in led.values() and (len(joining) < settings.min_members or lacking):
            text = f"{len(joining)} of at least {settings.min_members}, and too few with {lacking or 'no role'}"
            self._fail(run, "nobody is up before enough have joined", text)

    def _fail(self, run: Run, rule: str, what: str) -> None:
        raise InvariantBroken(rule, f"{what}, at {self.cluster.now:.4f} by {run.name}")


def _before(member: Member, led: dict[UniqueAddress, MemberStatus]) -> Member:
    """Return a member as it was before this step: a moved one was one status behind."""
    match led.get(member.unique):
        case MemberStatus.up:
            return replace(member, status=MemberStatus.joining, up_number=0)
        case MemberStatus.exiting:
            return replace(member, status=MemberStatus.leaving)
        case _:
            return member


def _knows(state: Gossip, node: UniqueAddress, least: MemberStatus) -> bool:
    member = state.members.get(node)
    return node in state.tombstones or (member is not None and member.status.rank >= least.rank)
