"""What must hold in a simulated cluster after every single event.

Owns the memory of what each run has shown so far. Give `Watch.check` to `ModelCluster.run_for` as
its ``until``: it never stops the run, it fails with the time and the node.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.protocol.gossip import Gossip
from casty.protocol.membership import VOTING, MemberStatus
from casty.testing.simulation.model import ModelCluster, Run


class InvariantBroken(AssertionError):
    """Raised when a simulated cluster shows what it must never show."""


@dataclass(slots=True)
class _Shown:
    run: Run
    state: Gossip | None = None
    status: dict[UniqueAddress, MemberStatus] = field(default_factory=lambda: dict[UniqueAddress, MemberStatus]())
    gone: set[UniqueAddress] = field(default_factory=lambda: set[UniqueAddress]())


@dataclass(slots=True)
class Watch:
    """The rules, over the views of all runs of one cluster.

    A status only moves on; a removed run never comes back; one cluster; one up run per address and
    one up member per node_id; numbers of up members differ.
    """

    cluster: ModelCluster
    one_cluster: bool = True
    _shown: dict[str, _Shown] = field(init=False, default_factory=lambda: dict[str, _Shown]())
    _cluster_id: int = field(init=False, default=0)

    def check(self) -> bool:
        """Look at every living run whose state has changed; always False, so that time goes on."""
        for name, run in self.cluster.runs.items():
            state = run.topology.state
            shown = self._shown.get(name)
            if shown is None or shown.run is not run:
                shown = self._shown[name] = _Shown(run)
            if state is not None and state is not shown.state:
                self._members(run, state, shown)
                self._identities(run, state)
                shown.state = state
        return False

    def path(self, at: str, subject: UniqueAddress) -> list[str]:
        """Return the statuses in which the run at node ``at`` has shown ``subject``, in order."""
        path: list[str] = []
        for snapshot in self.cluster.runs[at].snapshots:
            found = [member.status.name for member in snapshot.members if member.unique == subject]
            status = found[0] if found else "removed"
            if (found or path) and (not path or path[-1] != status):
                path.append(status)
        return path

    def _members(self, run: Run, state: Gossip, shown: _Shown) -> None:
        for unique, member in state.members.items():
            before = shown.status.get(unique)
            if before is member.status:
                continue
            if unique in shown.gone:
                self._fail(run, f"{unique} came back as {member.status.name}")
            if before is not None and before.rank > member.status.rank:
                self._fail(run, f"{unique} went from {before.name} back to {member.status.name}")
            shown.status[unique] = member.status
        shown.gone.update(shown.status.keys() - state.members.keys())

    def _identities(self, run: Run, state: Gossip) -> None:
        voters = [member for member in state.ordered if member.status in VOTING]
        for what, values in (
            ("address", [str(member.address) for member in voters]),
            ("node_id", [member.id for member in voters if member.status is MemberStatus.up]),
        ):
            twice = [value for value, count in Counter(values).items() if count > 1]
            if twice:
                self._fail(run, f"two members are up with the {what} {twice[0]}")
        if self.one_cluster and run.alive:
            self._cluster_id = self._cluster_id or state.cluster_id
            if state.cluster_id != self._cluster_id:
                self._fail(run, "is in a second cluster")

    def _fail(self, run: Run, what: str) -> None:
        raise InvariantBroken(f"at {self.cluster.now:.4f} in the view of {run.name}: {what}")


def check_events(run: Run) -> None:
    """Fail unless ``run`` has told each change once: up before left, reachable after unreachable."""
    told: dict[UniqueAddress, list[str]] = {}
    for _, event in run.events:
        match event:
            case MemberUp(member) | MemberLeft(member) | UnreachableMember(member) | ReachableMember(member):
                told.setdefault(member.unique, []).append(type(event).__name__)
            case _:
                raise InvariantBroken(f"{run.name} published {event!r}")
    for unique, kinds in told.items():
        count = Counter(kinds)
        edges = [kind for kind in kinds if kind.endswith("Member")]
        alternating = all(kind == ("UnreachableMember", "ReachableMember")[at % 2] for at, kind in enumerate(edges))
        left_last = "MemberLeft" not in kinds or ("MemberUp" in kinds and kinds[-1] == "MemberLeft")
        if count["MemberUp"] > 1 or count["MemberLeft"] > 1 or not alternating or not left_last:
            raise InvariantBroken(f"{run.name} told of {unique}: {kinds}")
