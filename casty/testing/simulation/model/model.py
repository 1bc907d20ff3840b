"""A cluster of machines on a heap of events: no Trio, no sockets, virtual time, one seed.

Owns the simulated nodes, their starts and their faults. Each run of a node is a set of machines, those of the
membership first (`membership`), each with a task of its own (`engine`); further ones come from outside (`machine`).
Faults are methods: `crash`, `cut`, `heal`, `pause`, `resume`, `skew`; loss and delay are fields. The same seed and the
same calls give the same history.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.failure_detector.monitor import LinkLost
from casty.protocol.gossip.handover import TableWritten
from casty.protocol.gossip.tables import tables_told
from casty.protocol.membership.inputs import DownMember, LeaveMember, SeedsFound, TopologySettings
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.registry import REGISTRY, ServiceEntry
from casty.testing.samples import service_of
from casty.testing.simulation.model.machine import ModelMachine, ModelNode
from casty.testing.simulation.model.membership import MEMBERSHIP, PORT, MembershipEngine
from casty.testing.simulation.model.run import GOSSIP, Run

RECEPTIONIST = "receptionist"
"""Machine that takes the services of its node first, where a node has one."""


@dataclass(frozen=True, slots=True)
class ServicesOffered:
    """Event for the receptionist of a node: these are all services on it."""

    services: frozenset[ServiceEntry]


class ModelCluster(MembershipEngine):
    """Simulated nodes by name; ``run_for`` lets virtual time pass.

    >>> cluster = ModelCluster(seed=1)
    >>> for name in ("a", "b", "c"):
    ...     _ = cluster.start(name, seeds=("a",))
    >>> cluster.run_for(1.0)
    >>> sorted(cluster.runs["b"].statuses.values())
    ['up', 'up', 'up']

    Parameters:
        seed: Number behind all delays, losses and addresses.
        settings: Settings of the membership; None means the defaults.
        delay: Seconds of each message's travel.
        machines: Further machines of each node, beside those of the membership.

    Raises:
        ConfigError: Two machines of a node have one name, or take one class of message.
    """

    def __init__(
        self,
        seed: int,
        *,
        settings: TopologySettings | None = None,
        delay: float = 0.001,
        machines: Iterable[ModelMachine[Any]] = (),
    ) -> None:
        super().__init__(seed, settings or TopologySettings(), delay)
        self.clock_spread: float = 0.0
        """Monotonic clocks of new runs differ by up to so many seconds, as those of machines do."""
        self.machines: tuple[ModelMachine[Any], ...] = tuple(machines)
        """Further machines of each node started from now on."""
        self.downed_by_hand: set[UniqueAddress] = set()
        """Runs declared down by an operator."""
        self.past: list[Run] = []
        """Replaced runs."""
        self.every: dict[UniqueAddress, Run] = {}
        """All runs ever started."""
        self.standing_still: set[str] = set()
        """Paused nodes."""
        self._parts: dict[tuple[ModelMachine[Any], ...], ModelNode] = {}
        self._behind: tuple[Run, Gossip | None, int] | None = None
        """Last run found not yet up, in which state, and of how many."""
        self._parts_of(self.machines)

    def start(
        self,
        name: str,
        *,
        seeds: Iterable[str] = (),
        node_id: str | None = None,
        roles: Iterable[str] = (),
        remembers: bool = False,
        machines: Iterable[ModelMachine[Any]] | None = None,
    ) -> Run:
        """Start a run of a node; a run alive there is replaced.

        Parameters:
            name: Name of the node, and its host.
            seeds: Names of the nodes to ask for entry.
            node_id: Its node_id; None takes the name.
            roles: Its roles.
            remembers: Whether it knows the knowledge of the run before it at its downing, as a rejoining one does.
            machines: Further machines of this node; None takes those of the cluster. A node without one of them is as
                one of an older release.

        Returns:
            The run.

        Raises:
            ConfigError: Two machines have one name, or take one class of message.
            TypeError: One of ``machines`` is no `ModelMachine`.
        """
        parts = self._parts_of(self.machines if machines is None else tuple(machines))
        last = self.runs[name].last if remembers else None
        if name in self.runs:
            self.crash(name)
            self.past.append(self.runs[name])
        address, incarnation = NodeAddress(name, PORT), self.rng.getrandbits(63) | 1
        status, identity = MemberStatus.joining, node_id or name
        told = tables_told(table.name for table in self.tables(name))
        member = Member(address, status, frozenset(roles), identity, incarnation=incarnation, extra=told)
        node = member.unique  # the very object that all views have: the fastest to compare
        rng = random.Random(self.rng.getrandbits(64))
        run = Run(name, node, member, parts, seeds=tuple(seeds), started_at=self.now, last=last)
        self._equip(run, rng)
        if self.clock_spread:
            run.clock_offset = self.rng.uniform(0.0, self.clock_spread)
        self.runs[name] = self.every[node] = run
        self.standing_still.discard(name)
        for task in run.tasks.values():
            for event in task.kind.starts_with:
                self.handle(task, event)
        return run

    def form(self, names: Iterable[str], *, within: float = 10.0) -> None:
        """Start these nodes, the first three of them as seeds, and let them all come up.

        Parameters:
            names: Names of the nodes.
            within: Seconds of virtual time for it.
        """
        every = list(names)
        for name in every:
            self.start(name, seeds=every[:3])
        self.run_for(within, until=lambda: self.all_up(len(every)))

    def crash(self, name: str) -> None:
        """End a run at once; the others' links to it break. Nothing follows if it has ended already.

        Parameters:
            name: Name of the node.
        """
        run = self.runs[name]
        if not run.alive:
            return
        run.alive, run.paused, run.outcome, run.ended_at = False, False, "crashed", self.now
        run.held.clear()
        self.standing_still.discard(name)
        self.ended.append(run)
        for other in self._others(run):
            if self.passes(name, other.name):
                self.call_later(self.delay, other, self.link_says, other, LinkLost(run.node))

    def leave(self, name: str) -> None:
        """Let a node leave gracefully, with its work finished.

        Parameters:
            name: Name of the node.
        """
        run = self.runs[name]
        self.call(run, self.finish_work, run)

    def send_away(self, at: str, name: str) -> None:
        """Let one node ask another to leave; the other has ``work`` seconds to do before.

        Parameters:
            at: Name of the asking node.
            name: Name of the node to leave.
        """
        self.tell(self.runs[at], LeaveMember(NodeAddress(name, PORT)))

    def down(self, at: str, name: str) -> None:
        """Let the operator at one node declare another down.

        Parameters:
            at: Name of the operator's node.
            name: Name of the node to be declared down.
        """
        self.downed_by_hand.add(self.runs[name].node)
        self.tell(self.runs[at], DownMember(NodeAddress(name, PORT)))

    def find_seeds(self, name: str, *addresses: str) -> None:
        """Tell a node of further places where others may be.

        Parameters:
            name: Name of the node.
            *addresses: Names of nodes possibly there.
        """
        run = self.runs[name]
        self.tell(run, SeedsFound(tuple(NodeAddress(each, PORT) for each in addresses)))

    def pause(self, name: str) -> None:
        """Stop a run's loop; messages arriving meanwhile wait.

        Parameters:
            name: Name of the node.
        """
        self.runs[name].paused = True
        self.standing_still.add(name)

    def resume(self, name: str) -> None:
        """Let a paused run go on with the waiting messages, oldest first, each an event of its own as in its loop.

        Parameters:
            name: Name of the node.
        """
        run = self.runs[name]
        run.paused = False
        self.standing_still.discard(name)
        held, run.held = run.held, []
        for action in held:
            self.call_later(0.0, run, action)

    def skew(self, name: str, rate: float) -> None:
        """Let the clock of a run go ``rate`` times as fast as time from now on.

        Parameters:
            name: Name of the node.
            rate: Seconds of its clock for each second of time.
        """
        run = self.runs[name]
        shown = run.clock(self.now)
        run.clock_rate = rate
        run.clock_offset = shown - rate * self.now

    def offer(self, name: str, *keys: str) -> None:
        """Let a node run exactly these services.

        Parameters:
            name: Name of the node.
            *keys: Names of the services.
        """
        run = self.runs[name]
        services = frozenset(service_of(run.node, key) for key in keys)
        run.offered, run.offered_at = frozenset(keys), self.now
        receptionist = run.tasks.get(RECEPTIONIST)
        if receptionist is None:
            self.call(run, self.handle, run.tasks[GOSSIP], TableWritten(REGISTRY, services))
        else:
            self.call(run, self.handle, receptionist, ServicesOffered(services))

    def write(self, name: str, table: str, content: object) -> None:
        """Let a node say just this in one of its tables.

        Parameters:
            name: Name of the node.
            table: Name of the table.
            content: Content of the kind taken by the table.
        """
        run = self.runs[name]
        self.call(run, self.handle, run.tasks[GOSSIP], TableWritten(table, content))

    def is_unheard(self, subject: UniqueAddress, by: Run) -> bool:
        """Look whether a run cannot answer another: it has ended or stands still, or the path is cut.

        Parameters:
            subject: The run to answer.
            by: The run to hear it.

        Returns:
            Whether it cannot.
        """
        run = self.runs.get(subject.address.host)
        gone = run is None or run.node != subject or not run.alive or run.paused
        return gone or self.is_cut(by.name, subject.address.host)

    @property
    def handover(self) -> float:
        """Longest time, in seconds, until a task of a run takes an event from another one."""
        return max(self.handover_max.values(), default=0.0)

    @property
    def sent(self) -> int:
        """Messages sent so far."""
        return sum(self.said.values())

    @property
    def living(self) -> list[Run]:
        """Runs neither ended nor crashed."""
        return [run for run in self.runs.values() if run.alive]

    def all_up(self, count: int, among: Collection[Run] | None = None) -> bool:
        """Look whether every living run sees the same number of members, all up and nobody unreachable.

        Parameters:
            count: Number of members.
            among: The runs to look at; None for all living ones.

        Returns:
            Whether it is so.
        """
        if self._behind is not None and self._behind[0].alive:
            # Asked before each event: whoever was behind and has the same state still is.
            run, state, of = self._behind
            if run.topology.state is state and of == count and (among is None or run in among):
                return False
        behind = next((run for run in among or self.living if not _sees_all_up(run.topology.state, count)), None)
        self._behind = None if behind is None else (behind, behind.topology.state, count)
        return behind is None

    def _parts_of(self, machines: tuple[ModelMachine[Any], ...]) -> ModelNode:
        if machines not in self._parts:
            self._parts[machines] = ModelNode((*MEMBERSHIP, *machines), self.standard())
        return self._parts[machines]

    def _others(self, run: Run) -> list[Run]:
        return [other for other in self.living if other is not run]


def _sees_all_up(state: Gossip | None, count: int) -> bool:
    return (
        state is not None
        and len(state.members) == count
        and all(member.status is MemberStatus.up for member in state.ordered)
        and not state.unreachable
    )
