"""Placement under a membership told by one hand, and under random faults: thousands of runs in minutes.

Owns a log of memberships, and how far each node has read it. It grants what the real membership grants, and no more:
who comes up was a member in the view of every voter before, a removed run was known down (or exiting and lost) by all
who stay, its work is free 4.4 s after all who stay knew that it is lost, and grants of the lease end when they know.
Within that each node is as far behind as chance says.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial

from placement_by_hand import ByHand, Letter, run_of
from placement_rules import PlacementRules
from placement_senders import draw_entities

from casty.address import UniqueAddress
from casty.protocol.sharding.placement_events import (
    HostsSeen,
    MembersSeen,
    NodesDrained,
    RegionEnded,
    ServesUntil,
    WorkIsFree,
)
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.simulation import InvariantBroken

SERVING_TIME, TAKEOVER_AFTER = 4.0, 4.4
RATES, OFFSET_MAX = (0.97, 1.03), 1_000.0
"""Clocks: how fast they go, and how far apart they are. The margin of the lease bears a tenth."""
TICK = 0.25
RENEW_AFTER = 0.7
"""Seconds until a lease is renewed."""
REST_MIN = 5.0
"""Seconds at rest before nothing more is waited for."""
JOINING, UP, LEAVING, EXITING, DOWN = (
    MemberStatus.joining,
    MemberStatus.up,
    MemberStatus.leaving,
    MemberStatus.exiting,
    MemberStatus.down,
)


@dataclass(frozen=True)
class Truth:
    """One membership of the log."""

    members: dict[str, tuple[MemberStatus, int]]
    lost: frozenset[str] = frozenset()
    removed: dict[str, float] = field(default_factory=dict)
    """When the work of each removed run is free."""
    terms: int = 0
    """Highest number of a term that anybody has given."""

    def to_gossip(self, now: float, terms: int = 0) -> Gossip:
        """Return the state, as read by one that has given numbers up to ``terms`` itself."""
        shown: dict[UniqueAddress, Member] = {}
        for name, (status, number) in self.members.items():
            run = run_of(name)
            shown[run] = Member(run.address, status, frozenset(), name, incarnation=run.incarnation, up_number=number)
        lost = frozenset(run_of(name) for name in self.lost)
        rows = {run_of(name): ObserverRow(1, lost) for name in self.members if name not in self.lost}
        members, removed = {run: shown[run] for run in sorted(shown)}, {run_of(name): now for name in self.removed}
        return Gossip(1, members, removed, rows, terms_given=max(terms, self.terms))


class PlacementFate:
    """One random run: nodes are called a1, a2 for the runs at address a."""

    def __init__(self, seed: int, *, shards: int = 3) -> None:
        self.rng = rng = random.Random(seed)
        self.world = ByHand(num_shards=shards)
        self.world.rules = PlacementRules(lambda: self.world.nodes.values())
        self.world.closes_after = rng.choice((0.0, 0.2, 3.0))
        self.world.lose = self._is_lost
        self.world.lateness = self._lateness
        self.world.given = self._give
        self.world.senders.passes = lambda sender, to: (sender in self.cut) == (to in self.cut)
        self.world.senders.travels = lambda: 0.3 * rng.random() ** 3
        self.world.senders.chance.seed(rng.getrandbits(63))
        draw_entities(self.world.senders, self.world.senders.chance)
        self.is_calm = False
        self.loss = rng.choice((0.0, 0.0, 0.1, 0.3))
        self.late = rng.choice((0.0, 0.0, 0.1, 0.3))
        self.lag = rng.choice((0.01, 0.3, 2.0))
        self.has_skew = rng.random() < 0.5
        self.log: list[Truth] = [Truth({})]
        self.read: dict[str, int] = {}
        self.cut: frozenset[str] = frozenset()
        """Nodes that the others do not reach; they are the fewer."""
        self.silent_since: dict[str, float] = {}
        self.known_lost: dict[str, float] = {}
        """Since when all who stay know that a run is lost."""
        self.down_at: dict[str, float] = {}
        self.leaves_at: dict[str, float] = {}
        self.hosting: set[str] = set()
        self.faults = rng.randint(4, 12)
        self.stable_after = rng.choice((0.2, 3.0, 7.0))
        self.handover_timeout = rng.choice((0.0, 3.0, 30.0))
        self.generation: dict[str, int] = {}
        self.terms: dict[str, int] = {}
        """Highest number that each node has given itself."""
        self._reads = 0
        """Number of steps in which a node has read on."""
        self._all_read_at = (0, 0), False
        """What was found when the log was so long, after so many of these steps."""
        self.drains = random.Random(f"{seed} drains")
        self.drained: set[str] = set()

    def play(self) -> PlacementRules:
        """Form, suffer, and hold the rules at rest."""
        world, rng = self.world, self.rng
        names = "abcde"[: rng.choice((3, 4, 5))]
        for name in names:
            self._join(name)
        self._go(6.0)
        for _ in range(self.faults):
            self._fault()
            self._drain()
            self._go(rng.choice((0.05, 0.5, 2.0, 4.0, 9.0, 15.0)) * rng.uniform(0.5, 1.0))
        self.loss = self.late = 0.0
        self.cut = frozenset()
        for name in self.world.nodes:
            self.world.nodes[name].paused = False
        is_hurried = rng.random() < 0.8  # the others play on, for letters that come late
        self._go(50.0, until=self._is_at_rest if is_hurried else None)
        for name in self._alive():
            self._host(name, True)
        world.senders.failures = 0.0
        # three shards move one after the other, each for up to 15 s: it waits for failed entities
        self._go(45.0, until=self._is_at_rest if is_hurried else None)
        self._at_rest()
        self._go(40.0, sends=False, until=world.senders.is_accounted if is_hurried else None)
        world.senders.accounted()
        return world.rules

    def _at_rest(self) -> None:
        self.world.rules.settled({self.world.key: self.world.num_shards})
        self.world.rules.rows_are_true()

    def _is_at_rest(self) -> bool:
        """Whether the membership is one that stays, everybody knows it, and every shard is open."""
        if self.truth.lost or not self._all_read():
            return False
        if any(status is not UP for status, _ in self.truth.members.values()):
            return False
        try:
            self._at_rest()
        except InvariantBroken:
            return False
        return True

    @property
    def truth(self) -> Truth:
        return self.log[-1]

    def _alive(self) -> list[str]:
        members = self.truth.members
        return [name for name, node in self.world.nodes.items() if node.alive and name in members]

    def _staying(self) -> list[str]:
        """Members whose view counts: not lost, nor going."""
        truth = self.truth
        return [n for n, (status, _) in truth.members.items() if n not in truth.lost and status not in (EXITING, DOWN)]

    def _all_read(self) -> bool:
        """Whether all who stay have read the whole log."""
        place = len(self.log), self._reads
        if self._all_read_at[0] != place:
            last = len(self.log) - 1
            self._all_read_at = place, all(self.read[name] >= last for name in self._staying())
        return self._all_read_at[1]

    def _has_read(self, name: str, index: int) -> None:
        self.read[name] = index
        self._reads += 1

    def _join(self, address: str) -> None:
        number = self.generation[address] = self.generation.get(address, 0) + 1
        name = f"{address}{number}"
        node = self.world.start(name, hosts=False)
        if self.has_skew:
            node.rate, node.offset = self.rng.uniform(*RATES), OFFSET_MAX * self.rng.random()
        self.world.tell(name, ServesUntil(node.local_now - 1.0))
        self._write(members={**self.truth.members, name: (JOINING, 0)})
        self._tell_drained(name)
        self._has_read(name, 0)
        if self.is_calm or self.rng.random() < 0.85:
            self._host(name, True)

    def _host(self, name: str, hosts: bool) -> None:
        (self.hosting.add if hosts else self.hosting.discard)(name)
        if hosts:
            self.world.host_here(name)
        else:
            self.world.tell(name, RegionEnded(self.world.key))
        for other in self._alive():
            self.world.later(self.rng.random() * self.lag, partial(self._tell_hosts, other))

    def _tell_hosts(self, name: str) -> None:
        if self.world.nodes[name].alive:
            hosts = frozenset(run_of(host) for host in self.hosting if self.world.nodes[host].alive)
            self.world.tell(name, HostsSeen(self.world.key, self.world.num_shards, hosts))

    def _drain(self) -> None:
        """Drain a node now and then, or undrain one, and let all hear of it after a while."""
        rng, alive = self.drains, self._alive()
        if alive and rng.random() < 0.25:
            self.drained ^= {rng.choice(alive)}
            for name in alive:
                self.world.later(rng.random() * self.lag, partial(self._tell_drained, name))

    def _tell_drained(self, name: str) -> None:
        self.world.tell(name, NodesDrained(frozenset(map(run_of, self.drained))))

    def _write(self, **changes: object) -> None:
        self.log.append(replace(self.truth, **changes))  # type: ignore[arg-type]  # checked by replace

    def _moved(self, name: str, status: MemberStatus) -> None:
        number = self.truth.members[name][1]
        if status is UP:
            given = [number for _, number in self.truth.members.values()]
            number = max([0, *given]) + (0 if self.rng.random() < 0.1 and max(given) else 1)
        self._write(members={**self.truth.members, name: (status, number)})

    def _fault(self) -> None:
        rng, alive = self.rng, self._alive()
        running = [name for name in alive if not self.world.nodes[name].paused]
        kinds = ["join", "join", "join", "leave"] if self.is_calm else ["join", "join", "host"]
        if len(running) > 2 and not self.is_calm:
            kinds += ["crash", "crash", "pause", "leave", "leave", "cut", "cut", "cut", "restart"]
        if self.cut:
            kinds += ["heal"] * 3
        if len(running) < len(alive):
            kinds += ["wake"] * 3
        match rng.choice(kinds):
            case "join":
                free = [address for address in "abcdefg" if not any(name[0] == address for name in alive)]
                if free:
                    self._join(rng.choice(free))
            case "host":
                if alive:
                    name = rng.choice(alive)
                    self._host(name, name not in self.hosting)
            case "crash":
                self.world.crash(rng.choice(running))
            case "restart":
                name = rng.choice(running)
                self.world.crash(name)
                self._join(name[0])
            case "pause":
                self.world.nodes[rng.choice(running)].paused = True
            case "wake":
                self.world.nodes[next(name for name in alive if name not in running)].paused = False
            case "leave":
                name = rng.choice(running)
                if len(running) > 2 and self.truth.members[name][0] is UP:
                    self._moved(name, LEAVING)
                    self.leaves_at[name] = self.world.now
            case "cut":
                self.cut = frozenset(rng.sample(running, rng.randint(1, (len(running) - 1) // 2)))
            case "heal":
                self.cut = frozenset()

    def _go(self, seconds: float, *, sends: bool = True, until: Callable[[], bool] | None = None) -> None:
        end, least = self.world.now + seconds, self.world.now + REST_MIN
        while self.world.now < end:
            if until is not None and self.world.now > least and until():
                return
            self._membership()
            members = self.truth.members
            for name in self._alive() if sends else ():
                has_actors = members[name][0] is not EXITING
                if self.is_calm and members[name][0] is JOINING:
                    continue  # an owner may not know it yet, and wait for no marker of it: what it sends can be refused
                if self.rng.random() < 0.5 and has_actors and not self.world.nodes[name].paused:
                    self.world.senders.send(name, self.rng.randrange(self.world.num_shards))
            self.world.pass_time(TICK)
            self.world.senders.look()

    def _membership(self) -> None:
        """Take a step of the membership: read, notice, decide, grant."""
        now, rng = self.world.now, self.rng
        running = [(name, node) for name, node in self.world.nodes.items() if node.alive and not node.paused]
        for name, _ in running:
            reads = name not in self.cut and self.read.get(name, 0) < len(self.log) - 1
            if reads and rng.random() < TICK / max(self.lag, TICK):
                self._read(name)
        for name in list(self.truth.members):
            self._decide(name, now)
        for name, node in running:
            local_now = node.local_now
            if node.machine.region.serves_until > local_now + SERVING_TIME - RENEW_AFTER or not node.runs_now:
                continue  # it has just got one, or has ended in this step
            status = self.truth.members.get(name, (DOWN, 0))[0]
            granted = status in (UP, LEAVING, EXITING) and name not in self.known_lost
            # those who do not know yet that a run is lost may grant to it, where it still reaches them
            if granted and ((name not in self.truth.lost and name not in self.cut) or rng.random() < 0.3):
                self.world.tell(name, ServesUntil(local_now + SERVING_TIME))

    def _read(self, name: str) -> None:
        index = self.rng.randint(self.read[name] + 1, len(self.log) - 1) if self.read[name] else len(self.log) - 1
        now, before, truth = self.world.now, self.log[self.read[name]], self.log[index]
        self._has_read(name, index)
        if name not in truth.members:
            self.world.crash(name)
            return
        for gone, at in truth.removed.items():
            if at > now and (gone not in before.removed):
                self.world.tell(name, WorkIsFree(run_of(gone), self.world.nodes[name].local_now + at - now))
        self.world.tell(name, MembersSeen(truth.to_gossip(now, self.terms.get(name, 0))))
        status = truth.members[name][0]
        if status is DOWN or (status is EXITING and name in self.leaves_at):
            self.world.crash(name)

    def _give(self, name: str, number: int) -> None:
        """Let a node know a number that it gives at once, and the others when they read of it."""
        if self.world.nodes[name].alive:
            self.terms[name] = number
            self._write(terms=max(number, self.truth.terms))
            state = self.log[self.read[name]].to_gossip(self.world.now, number)
            self.world.tell(name, MembersSeen(state))

    def _decide(self, name: str, now: float) -> None:
        node, (status, _) = self.world.nodes[name], self.truth.members[name]
        silent = not node.runs_now or name in self.cut
        if silent:
            since = self.silent_since.setdefault(name, now)
            if name not in self.truth.lost and now > since + 0.5 + 3.0 * self.rng.random():
                self._write(lost=self.truth.lost | {name})
        else:
            self.silent_since.pop(name, None)
            if name in self.truth.lost and status not in (DOWN, EXITING):
                self.known_lost.pop(name, None)
                self._write(lost=self.truth.lost - {name})
        if name in self.truth.lost:
            if name not in self.known_lost and self._all_read():
                self.known_lost[name] = now
            known = self.known_lost.get(name)
            if known is not None:
                if status is EXITING:
                    self._remove(name, known + TAKEOVER_AFTER)
                elif status is not DOWN and now > known + self.stable_after:
                    self._moved(name, DOWN)
                elif status is DOWN and self._all_read():
                    self._remove(name, known + TAKEOVER_AFTER)
            return
        if not self._all_read():
            return
        if status is JOINING and not self.truth.lost:
            if not any(other != name and other[0] == name[0] for other in self.truth.members):
                self._moved(name, UP)
        elif status is LEAVING:
            is_done = node.handed_over and not self.world.senders.node(name).routes.held_count
            if is_done or now > self.leaves_at.get(name, now) + self.handover_timeout:
                self._moved(name, EXITING)
        elif status is EXITING and not node.alive:
            self._remove(name, now + TAKEOVER_AFTER)

    def _remove(self, name: str, free_at: float) -> None:
        members = {other: row for other, row in self.truth.members.items() if other != name}
        self._write(members=members, lost=self.truth.lost - {name}, removed={**self.truth.removed, name: free_at})

    def _is_lost(self, letter: Letter) -> bool:
        sender, to = letter.sender, self.world.names[letter.to]
        return (sender in self.cut) != (to in self.cut) or self.rng.random() < self.loss

    def _lateness(self, letter: Letter) -> list[float]:
        rng = self.rng
        delays = [0.001 + 0.01 * rng.random()]
        if rng.random() < self.late:
            delays[0] += rng.choice((0.5, 5.0, 30.0)) * rng.random()
        if rng.random() < self.late:
            delays.append(rng.choice((0.5, 30.0)) * rng.random())
        return delays

    def be_calm(self) -> None:
        """Let members only join and leave, and no message of placement be lost or late."""
        self.is_calm, self.loss, self.late, self.handover_timeout = True, 0.0, 0.0, 30.0
        self.lag = min(self.lag, 0.3)
        self.world.senders.failures = min(self.world.senders.failures, 0.05)  # a pause may outlast a move


def play_calm(seed: int) -> PlacementFate:
    """Play one run without deaths and cuts: everything sent is handled, nothing is refused."""
    fate = PlacementFate(seed)
    fate.be_calm()
    fate.play()
    senders = fate.world.senders
    if not senders.is_done:
        raise InvariantBroken("in calm times everything is handled", f"{senders.counts} of {senders.sent.total()}")
    return fate


def play_fate(seed: int) -> PlacementRules:
    """Play one random run; InvariantBroken when a rule does not hold."""
    return PlacementFate(seed).play()
