"""Plays a scenario with the protocol alone, and holds it to the rules.

Owns the order of a play: the nodes come up, the faults happen while services come and go and every event is checked,
the faults end, all living nodes agree, the rest is started again, there is one cluster, and it is idle. It does not
know what a rule is (`invariants`) or how a failing scenario shrinks (`shrinking`).
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, assert_never

from casty.errors import ConfigError
from casty.protocol.assembly import availability_of, topology_settings
from casty.schema.names import message
from casty.testing.simulation.invariants.failure_detector.hearing import AccusedRightly
from casty.testing.simulation.invariants.failure_detector.holding import Held
from casty.testing.simulation.invariants.failure_detector.probing import Probed
from casty.testing.simulation.invariants.failure_detector.returning import ReturnHeard
from casty.testing.simulation.invariants.failure_detector.silence import SilenceNoticed, StallWithheld
from casty.testing.simulation.invariants.invariants import InvariantBroken, Watch, check_events, check_snapshots
from casty.testing.simulation.invariants.membership.acknowledging import Acknowledged
from casty.testing.simulation.invariants.membership.agreeing import Agreed
from casty.testing.simulation.invariants.membership.answering import Answered
from casty.testing.simulation.invariants.membership.ending import CrashSeen, LeavesInOrder
from casty.testing.simulation.invariants.membership.letting_in import Founded, OneRunJoins
from casty.testing.simulation.invariants.membership.publishing import SeenWhenPublished
from casty.testing.simulation.invariants.membership.spreading import NewsTravel, Weather
from casty.testing.simulation.invariants.rules import Rule, Rules
from casty.testing.simulation.invariants.split_brain.claiming import Claimed, KnownToAll
from casty.testing.simulation.invariants.split_brain.cutting import CutDecided
from casty.testing.simulation.invariants.split_brain.deciding import Decided
from casty.testing.simulation.invariants.split_brain.exclusive import OneOwner
from casty.testing.simulation.invariants.split_brain.granting import GrantsHold
from casty.testing.simulation.model.machine import ModelMachine
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import TASKS, Run
from casty.testing.simulation.model.trace import Show, Trace
from casty.testing.simulation.scenario.faults import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Fault,
    Heal,
    JournalFault,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Wake,
)
from casty.testing.simulation.scenario.scenario import Scenario
from casty.testing.simulation.search.further import Further, Invariant, Workload, further_parts, is_settled

FORM_WITHIN = 10.0
AGREE_WITHIN = 45.0
"""After the last fault: a silence is noticed, downing decides twice at worst, the leader removes."""
STABLE_AFTER = 10.0
"""Room in these bounds; settings with more take longer."""
REJOIN_WITHIN = 60.0
RESTART_EVERY = 5.0
WORK_WITHIN = 10.0
"""Seconds until exclusive work is done once everybody is there: work of a removed run has to become free."""
SETTLING, ROUNDS = 1.0, 2
IDLE = {"GossipDigest", "Heartbeat", "HeartbeatAck", "ServingRequest", "ServingGrant", "JoinProbe", "JoinAnswer"}
"""Messages of an idle cluster; the last two where a node was and is gone."""
DELAY = 0.001
CLOCK_SPREAD = 1000.0
OFFER_EVERY = 1.0
WORK = (0.0, 0.5, 3.0)
"""Seconds for which a node works on when asked to leave."""
LATE_JOINS, LATE_JOINS_BY = 0.5, 40.0
HANDOVERS_MAX = (0.0, 0.002, 0.05)
"""Seconds, at most, until a task of a node takes what another one hands it; one of these in each scenario."""
LEASE_TAKES_MAX = 2.0
"""Seconds for a store to answer a claim to the lease of a strategy."""
SERVICES = ("cart", "stock", "mail", "search")


@message("casty.testing.simulation.Played")
@dataclass(frozen=True, slots=True)
class Played:
    """Record of a scenario without a broken rule."""

    seconds: float
    """Virtual time."""
    messages: int
    """Messages sent."""
    digest: str
    """Fingerprint of the course: one for one scenario, everywhere; another for a scenario with another course."""


def play(
    scenario: Scenario,
    *,
    exclusive: bool = True,
    machines: Iterable[ModelMachine[Any]] = (),
    invariants: Iterable[Invariant] = (),
    workload: Workload | None = None,
    show: Show | None = None,
) -> Played:
    """Play a scenario once, with the protocol alone.

    Parameters:
        scenario: Scenario to play.
        exclusive: Whether every node wants to do exclusive work, for one node alone, so that `OneOwner` and
            `GrantsHold` are rules too.
        machines: Further machines of each node, such as that of an extension.
        invariants: Rules beside those of `every_rule`: subclasses of `Rule`, or functions that make one for a cluster.
        workload: Function to use the cluster, called at first and about once a second while the faults happen, with the
            cluster and a generator for its draws. It hands events to machines with `ModelCluster.hand`.
        show: Function called with each event; None shows nothing.

    Returns:
        Record of the play.

    Raises:
        InvariantBroken: A rule does not hold.
        ConfigError: Two machines have one name, or take one class of message; or the scenario has a `JournalFault`.
        TypeError: A machine, a rule or the workload is none, or takes other parameters. Their own exceptions leave
            the call with a note of whose they are.

    >>> from casty.testing.simulation import Crash, Scenario
    >>> scenario = Scenario(seed=7, nodes=("a", "b", "c"), faults=((1.5, Crash("b")),))
    >>> play(scenario) == play(scenario)
    True
    """
    for _, fault in scenario.faults:
        if isinstance(fault, JournalFault):
            raise ConfigError(f"{fault!r}: the protocol alone has no journal; only simulate() gives nodes one")
    further = further_parts(machines, invariants, workload)
    stage = _Stage(scenario, Trace(show), further, exclusive=exclusive)
    cluster = stage.cluster
    try:
        stage.form()
        stage.suffer()
        stage.recover()
    except InvariantBroken:
        raise
    except Exception as error:
        further.blame(error, stage.further, cluster.now)
        raise
    for run in [*cluster.past, *cluster.runs.values()]:
        check_events(run)
        check_snapshots(run)
    return Played(cluster.now, cluster.sent, stage.trace.digest)


def every_rule(cluster: ModelCluster, owner: OneOwner | None, *, one_cluster: bool) -> list[Rule]:
    """List all rules for a cluster.

    Parameters:
        cluster: The nodes to look at.
        owner: The rule that exclusive work has one owner; None leaves out those of exclusive work.
        one_cluster: Whether a second cluster is a fault.

    Returns:
        The rules, for `Rules`.
    """
    weather = Weather(cluster)
    rules: list[Rule] = [
        weather,
        NewsTravel(cluster, weather),
        Watch(cluster, one_cluster=one_cluster),
        SilenceNoticed(cluster),
        StallWithheld(cluster),
        ReturnHeard(cluster),
        AccusedRightly(cluster),
        Held(cluster),
        CrashSeen(cluster),
        Founded(cluster),
        Agreed(cluster),
        Decided(cluster),
        CutDecided(cluster),
        KnownToAll(cluster),
        Claimed(cluster),
        LeavesInOrder(cluster),
        Answered(cluster),
        Acknowledged(cluster),
        SeenWhenPublished(cluster),
        OneRunJoins(cluster),
        Probed(cluster),
    ]
    return rules if owner is None else [*rules, owner, GrantsHold(cluster)]


class _Stage:
    """One play of a scenario."""

    def __init__(self, scenario: Scenario, trace: Trace, further: Further, *, exclusive: bool) -> None:
        self.scenario = scenario
        self.trace = trace
        settings = topology_settings(scenario.settings)
        self.cluster = ModelCluster(scenario.seed, settings=settings, delay=DELAY, machines=further.machines)
        self.cluster.clock_spread = CLOCK_SPREAD
        self.cluster.late_joins, self.cluster.late_joins_by = LATE_JOINS, LATE_JOINS_BY
        self.cluster.lease_takes_max = LEASE_TAKES_MAX
        longest = random.Random(scenario.seed).choice(HANDOVERS_MAX)
        self.cluster.handover_max = (
            dict.fromkeys((*TASKS, *(one.name for one in further.machines)), longest) if longest else {}
        )
        self.cluster.availability = partial(availability_of, settings=scenario.settings)
        self.cluster.trace = self.trace
        self.owner = OneOwner(self.cluster) if exclusive else None
        restarts = any(isinstance(fault, Restart) for _, fault in scenario.faults)
        # Nodes started anew may found a cluster that never begins, or begin one after the last one has ended.
        rules = every_rule(self.cluster, self.owner, one_cluster=not restarts)
        self.further = further.rules(self.cluster)
        self.rules = Rules(self.cluster, [*rules, *self.further])
        self.offered: dict[str, tuple[str, ...]] = {}
        self._idle = IDLE | {kind.__name__ for one in further.machines for kind in one.idle}
        self._workload = further.workload
        self._rng, self._draws = random.Random(scenario.seed), random.Random(f"workload {scenario.seed}")

    def form(self) -> None:
        """Start all nodes and let them come up."""
        for name in self.scenario.nodes:
            self._start(name, self.scenario.nodes)
        self._pass(FORM_WITHIN, until=lambda: self.cluster.all_up(len(self.scenario.nodes)))
        if not self.cluster.all_up(len(self.scenario.nodes)):
            self._fail("nodes without faults come up", FORM_WITHIN)

    def suffer(self) -> None:
        """Let the faults happen at their times, while services come and go."""
        began, offer_at = self.cluster.now, 0.0
        self._use()
        for at, fault in self.scenario.faults:
            while offer_at < at:
                self._pass(began + offer_at - self.cluster.now)
                self._offer_something()
                self._use()
                offer_at += OFFER_EVERY * (0.5 + self._rng.random())
            self._pass(began + at - self.cluster.now)
            self._apply(fault)

    def recover(self) -> None:
        """End the faults; the living must agree, and with everybody started again there is one cluster."""
        cluster = self.cluster
        under_way = cluster.delay + cluster.jitter + (cluster.held_up_for if cluster.held_up else 0.0)
        self._end_faults()
        self._pass(under_way)
        within = AGREE_WITHIN + 2 * max((self.scenario.settings.stable_after or 0.0) - STABLE_AFTER, 0.0)
        self._pass(within, until=self._is_agreed)
        if not self._is_agreed():
            self._fail("the living agree after the faults", within)
        deadline = cluster.now + REJOIN_WITHIN
        while not self._is_whole() and cluster.now < deadline:
            members = [run.name for run in cluster.living if run.topology.state is not None]
            for name in self.scenario.nodes:
                if not cluster.runs[name].alive:
                    self._start(name, tuple(dict.fromkeys((*members, *self.scenario.nodes))))
            self._pass(RESTART_EVERY, until=self._is_whole)
        if not self._is_whole():
            self._fail("everybody comes back into one cluster", REJOIN_WITHIN)
        if self.owner is not None:
            self._pass(WORK_WITHIN, until=lambda: self.owner is None or bool(self.owner.acting), by_time=True)
            if not self.owner.acting:
                self._fail("exclusive work is done again", WORK_WITHIN)
        for rule in self.further:
            if not is_settled(rule):
                self._pass(rule.settle_within, until=rule.is_settled, by_time=True)
                if not rule.is_settled():
                    rule.at_rest()  # says what it is
                    self._fail(f"{type(rule).__name__} settles", rule.settle_within)
        self._rest()
        for rule in self.further:
            rule.at_rest()

    def _rest(self) -> None:
        """Let a cluster be idle: after a few rounds of gossip nothing changes any more, and nobody has news."""
        interval = self.cluster.settings.gossip_interval
        self._pass(SETTLING + ROUNDS * interval)
        before, said = [run.topology.state for run in self.cluster.living], dict(self.cluster.said)
        self._pass(ROUNDS * interval)
        after = [run.topology.state for run in self.cluster.living]
        news = sorted(
            {kind.__name__ for kind, count in self.cluster.said.items() if count > said.get(kind, 0)} - self._idle
        )
        if news or any(one is not other for one, other in zip(before, after, strict=True)):
            raise InvariantBroken("an idle cluster changes nothing", f"it says {news} or changes")

    def _start(self, name: str, seeds: tuple[str, ...]) -> None:
        self.cluster.start(name, seeds=seeds, roles=self.scenario.roles.get(name, ()))
        self.offered[name] = ()

    def _use(self) -> None:
        if self._workload is not None:
            self._workload(self.cluster, self._draws)

    def _offer_something(self) -> None:
        name = self._rng.choice(sorted(self.cluster.runs))
        keys = tuple(key for key in SERVICES if self._rng.random() < 0.5)
        if self.cluster.runs[name].alive:
            self.offered[name] = keys
            self.cluster.offer(name, *keys)

    def _apply(self, fault: Fault) -> None:
        cluster = self.cluster
        self.trace.add(cluster.now, repr(fault))
        match fault:
            case Crash(node):
                cluster.crash(node)
            case Restart(node):
                self._start(node, self.scenario.nodes)
            case Pause(node):
                if cluster.runs[node].alive:
                    cluster.pause(node)
            case Wake(node):
                cluster.resume(node)
            case Leave(node):
                self._leave(node)
            case Cut(one, other, one_way=one_way):
                cluster.cut(one, other, one_way=one_way)
            case Heal():
                cluster.heal()
            case Loss(share):
                cluster.loss = share
            case Delay(seconds, jitter=jitter):
                cluster.delay, cluster.jitter = max(seconds, DELAY), jitter
            case Reorder(share, by=by):
                cluster.held_up, cluster.held_up_for = share, by
            case Duplicate(share):
                cluster.duplicated = share
            case ClockSkew(node, rate):
                cluster.skew(node, rate)
            case JournalFault():
                pass  # refused by `play`
            case _ as never:
                assert_never(never)
        self.rules.check()

    def _leave(self, name: str) -> None:
        """Let a node leave: by itself, or asked by another, when it has work to finish first."""
        members = [run.name for run in self.cluster.living if run.statuses and run.name != name]
        if not members or self._rng.random() < 0.5:
            self.cluster.leave(name)
        else:
            self.cluster.work = self._rng.choice(WORK)
            self.cluster.send_away(self._rng.choice(members), name)

    def _end_faults(self) -> None:
        cluster = self.cluster
        cluster.heal()
        cluster.delay, cluster.jitter = DELAY, 0.0
        cluster.loss = cluster.held_up = cluster.duplicated = cluster.late_joins = 0.0
        for name in cluster.runs:
            cluster.resume(name)
            cluster.skew(name, 1.0)

    def _pass(self, seconds: float, *, until: Callable[[], bool] | None = None, by_time: bool = False) -> None:
        """Let time pass, ``until`` it holds: asked when a membership did something, ``by_time`` always."""
        cluster, check, is_asked = self.cluster, self.rules.check, True

        def is_over() -> bool:
            nonlocal is_asked
            is_asked = is_asked or by_time or bool(cluster.acted)
            check()
            asked, is_asked = is_asked, False
            return asked and until is not None and until()

        cluster.run_for(max(seconds, 0.0), until=is_over if until is not None else check)

    def _is_agreed(self) -> bool:
        """Return whether all living nodes are in one cluster with nobody else; true when no member is left.

        A node in none waits for its own seeds, and may wait as long as no member is one of them; the founder of one
        waits until more than half of them are there, and as many members as the settings ask for.
        """
        living = self.cluster.living
        members = [run for run in living if _has_begun(run)]
        if members and not self.cluster.all_up(len(members), members):
            return False  # which the cluster remembers; the rest is asked once it is so
        are_few = self._are_few(living)
        places, there = ({run.node.address for run in runs} for runs in (members, living))
        for run in living:
            seeds = {*run.topology.seeds}
            may_begin = run.topology.state is not None and 2 * len(seeds & there) > len(seeds) and not are_few
            if (run not in members and may_begin) or (run not in members and seeds & places):
                return False
        return not members or self._are_one(members)

    def _are_few(self, runs: list[Run]) -> bool:
        settings, roles = self.cluster.settings, [role for run in runs for role in run.topology.member.roles]
        needed = settings.min_members_per_role
        return len(runs) < settings.min_members or any(roles.count(role) < count for role, count in needed)

    def _is_whole(self) -> bool:
        living = self.cluster.living
        return {run.name for run in living} >= {*self.scenario.nodes} and self._are_one(living)

    def _are_one(self, runs: list[Run]) -> bool:
        if not self.cluster.all_up(len(runs), runs):
            return False
        states = [run.topology.state for run in runs]
        snapshots = [run.topology.view.snapshot for run in runs]
        offered = {(run.name, key) for run in runs for key in self.offered[run.name]}
        return len({state.digest for state in states if state is not None}) == 1 and all(
            snapshot is not None and {(entry.node.host, entry.key) for entry in snapshot.registry} == offered
            for snapshot in snapshots
        )

    def _fail(self, rule: str, seconds: float) -> None:
        views = "; ".join(
            f"{run.name} {run.outcome or ('paused' if run.paused else 'alive')} sees {_in_words(run)}"
            for run in self.cluster.runs.values()
        )
        raise InvariantBroken(rule, f"not so after {seconds:g} s, at {self.cluster.now:.4f}: {views}")


def _has_begun(run: Run) -> bool:
    state = run.topology.state
    if state is not None:
        for member in state.members.values():
            if member.up_number:
                return True
    return False


def _in_words(run: Run) -> str:
    return ", ".join(f"{address.host} {status}" for address, status in run.statuses.items()) or "nobody"
