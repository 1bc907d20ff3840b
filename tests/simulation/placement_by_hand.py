"""Placement machines moved by hand: a test says which members a node knows, which message is late, and who may serve.

Owns the time, the messages under way and the timers. The membership is what a test shows each node: it may show what
the real one would show in a narrow window only.
"""

from __future__ import annotations

import heapq
import math
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cache, partial

from placement_rules import PlacementRules
from placement_senders import Senders

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.effects import PublishEvent, Send, StartTimer, TimerFired
from casty.protocol.messages.shard_rows import Owned
from casty.protocol.messages.sharding import PlacementMessage
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.placement_events import (
    CloseShard,
    HandedOver,
    HostsSeen,
    MembersSeen,
    NodesDrained,
    OpenShard,
    PlacementCame,
    PlacementEvent,
    RegionStarted,
    SendMarker,
    ServesUntil,
    ShardTableChanged,
    TermBegun,
    WorkIsFree,
)
from casty.protocol.sharding.shard_coordinator import Enlisting, HasRetired, Leading
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.simulation import InvariantBroken

DELAY, LOOK_AGAIN = 0.001, 0.05
PORT = 2551
FREE_AFTER = 4.4


@cache
def run_of(name: str) -> UniqueAddress:
    """Return the run of a node by hand: its incarnation follows its name, its address the first letter of it."""
    return UniqueAddress(NodeAddress(name[0], PORT), 1 + sum(ord(letter) << 8 * at for at, letter in enumerate(name)))


@dataclass
class Letter:
    """A message under way."""

    sender: str
    to: UniqueAddress
    message: PlacementMessage

    def __repr__(self) -> str:
        return f"{self.sender} -> {self.to.address.host}: {self.message}"


@dataclass
class HandNode:
    """One node."""

    name: str
    machine: ShardPlacement
    world: ByHand
    state: Gossip = field(default_factory=lambda: Gossip(1))
    alive: bool = True
    paused: bool = False
    timers: dict[str, float] = field(default_factory=dict)
    events: list[object] = field(default_factory=list)
    handed_over: bool = False
    drained: frozenset[UniqueAddress] = frozenset()
    """Runs that are to have no shards, as it was told."""
    rate: float = 1.0
    """Seconds of its clock for each second of time."""
    offset: float = 0.0
    cluster_id: int = 1
    asleep: deque[PlacementEvent] = field(default_factory=deque)
    """What has come while it stood still."""

    @property
    def run(self) -> UniqueAddress:
        return self.machine.self_node

    @property
    def runs_now(self) -> bool:
        return self.alive and not self.paused

    @property
    def local_now(self) -> float:
        return self.offset + self.rate * self.world.now

    @property
    def serves(self) -> bool:
        return self.local_now < self.machine.region.serves_until

    @property
    def leads(self) -> bool:
        return isinstance(self.machine.coordinator.phase, Leading)

    @property
    def enlists(self) -> bool:
        return isinstance(self.machine.coordinator.phase, Enlisting)

    @property
    def has_retired(self) -> bool:
        return isinstance(self.machine.coordinator.phase, HasRetired)

    @property
    def open(self) -> set[int]:
        """Shards held, of the only key."""
        return {shard for _, shard in self.machine.region.held}


@dataclass
class ByHand:
    """The nodes by name; ``key`` has ``num_shards`` shards and is hosted by all of them, unless told otherwise."""

    num_shards: int = 1
    key: str = "carts"
    now: float = 100.0
    cluster_id: int = 1
    """Cluster of the nodes to be started."""
    nodes: dict[str, HandNode] = field(default_factory=dict)
    late: list[Letter] = field(default_factory=list)
    """Messages held up by `hold`."""
    hold: Callable[[Letter], bool] = lambda letter: False
    lose: Callable[[Letter], bool] = lambda letter: False
    lateness: Callable[[Letter], list[float]] = lambda letter: [DELAY]
    """When a message arrives, and when once more."""
    names: dict[UniqueAddress, str] = field(default_factory=dict)
    closes_after: float = 0.0
    """Seconds that the entities of a shard take to stop."""
    given: Callable[[str, int], None] | None = None
    """Who takes note that a node has given a number to a term; None for its own membership alone."""
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _count: int = 0

    def __post_init__(self) -> None:
        self.rules = PlacementRules(lambda: self.nodes.values())
        self.senders = Senders(self)

    def form(self, names: Iterable[str], hosts: str | None = None) -> None:
        """Let nodes be up from the beginning, the first the oldest, and wait until all shards are open."""
        every = list(names)
        runs = frozenset(run_of(name) for name in every if hosts is None or name in hosts)
        for name in every:
            self.start(name, hosts=run_of(name) in runs)
        members = {name: MemberStatus.up for name in every}
        numbers = {name: at + 1 for at, name in enumerate(every)}
        for name in every:
            self.show(name, members, numbers)
            self.tell(name, HostsSeen(self.key, self.num_shards, runs))
        self.pass_time(3.0)
        assert self.nodes[every[0]].leads
        self.rules.settled({self.key: self.num_shards})

    def start(self, name: str, *, hosts: bool = True) -> HandNode:
        """Start a node that knows no member yet."""
        node = self.nodes[name] = HandNode(name, ShardPlacement(run_of(name), random.Random(name)), self)
        node.cluster_id = self.cluster_id
        self.names[node.run] = name
        self.tell(name, ServesUntil(math.inf))
        if hosts:
            self.host_here(name)
        return node

    def host_here(self, name: str) -> None:
        """Let a node host the key."""
        self.tell(name, RegionStarted(self.key))

    def show(
        self,
        at: str,
        members: dict[str, MemberStatus] | None = None,
        numbers: dict[str, int] | None = None,
        *,
        removed: str = "",
        unreachable: str = "",
        is_free: bool = False,
    ) -> None:
        """Show a node changed members; removed ones are free after `FREE_AFTER` unless they are at once."""
        node = self.nodes[at]
        shown = dict(node.state.members)
        for name in {**(members or {}), **(numbers or {})}:
            run = run_of(name)
            old = shown.get(run) or Member(
                run.address, MemberStatus.joining, frozenset(), name, incarnation=run.incarnation
            )
            status = (members or {}).get(name, old.status)
            shown[run] = replace(old, status=status, up_number=(numbers or {}).get(name, old.up_number))
        tombstones = dict(node.state.tombstones)
        for name in removed:
            shown.pop(run_of(name), None)
            tombstones[run_of(name)] = self.now
            if not is_free:
                self.tell(at, WorkIsFree(run_of(name), self.now + FREE_AFTER))
        rows = {node.run: ObserverRow(1, frozenset(map(run_of, unreachable)))}
        terms = node.state.terms_given
        before, own = node.state.members.get(node.run), shown.get(node.run)
        if own is not None and (before is None or (before.status is not own.status and own.status is MemberStatus.up)):
            # its welcome, or that it is up: all who agree on that have told what they know
            voters = [one for one in self.nodes.values() if one.alive and one.run in shown]
            terms = max(one.state.terms_given for one in voters)
        node.state = Gossip(1, {run: shown[run] for run in sorted(shown)}, tombstones, rows, terms_given=terms)
        self.tell(at, MembersSeen(node.state))

    def give(self, name: str, number: int) -> None:
        """Let the membership of a node take note of the number of a term."""
        node = self.nodes[name]
        node.state = replace(node.state, terms_given=max(number, node.state.terms_given))
        self.tell(name, MembersSeen(node.state))

    def tell(self, name: str, event: PlacementEvent) -> None:
        """Let a node take an event, unless it has ended; later, if it stands still."""
        node = self.nodes[name]
        if not node.alive:
            return
        if node.paused or node.asleep:
            node.asleep.append(event)
            if len(node.asleep) == 1:
                self.later(LOOK_AGAIN, partial(self._wake, node))
        else:
            self._handle(node, event)

    def _wake(self, node: HandNode) -> None:
        """Let a node that stands still no more take what has come meanwhile, in its order."""
        if node.paused and node.alive:
            self.later(LOOK_AGAIN, partial(self._wake, node))
            return
        waiting, node.asleep = node.asleep, deque()
        for event in waiting if node.alive else ():
            self._handle(node, event)

    def _handle(self, node: HandNode, event: PlacementEvent) -> None:
        name = node.name
        match event:
            case MembersSeen(state):
                self.senders.saw(name, state)
            case NodesDrained(runs):
                node.drained = runs
            case _:
                pass
        effects = node.machine.handle(event, node.local_now)
        for effect in effects:
            match effect:
                case Send(to, message):
                    self._post(Letter(name, to, message))  # type: ignore[arg-type]  # placement sends no others
                case SendMarker():
                    self.senders.mark(name, effect)
                case ShardTableChanged():
                    self.senders.changed(name, effect)
                case StartTimer(timer, delay):
                    at = node.timers[timer] = self.now + delay / node.rate
                    self.later(delay / node.rate, partial(self._fire, node, timer, at))
                case OpenShard() | CloseShard():
                    self.senders.shard(name, effect)
                case PublishEvent(news):
                    node.events.append(news)
                case TermBegun(number):
                    self.later(0.0, partial(self.given or self.give, name, number))
                case HandedOver():
                    node.handed_over = True
                case _:
                    node.events.append(effect)
        self.rules.check(node, effects)
        if isinstance(event, ServesUntil):
            self.senders.shard(name, event)

    def crash(self, name: str) -> None:
        """End a node at once."""
        self.nodes[name].alive = False
        self.senders.crashed(name)

    def release(self, wanted: Callable[[Letter], bool] = lambda letter: True) -> None:
        """Deliver held messages now."""
        ready = [letter for letter in self.late if wanted(letter)]
        self.late = [letter for letter in self.late if not wanted(letter)]
        for letter in ready:
            self._deliver(letter)

    def pass_time(self, seconds: float, until: Callable[[], bool] | None = None) -> None:
        """Let time pass."""
        end, due = self.now + seconds, self._due
        while due and due[0][0] <= end:
            if until is not None and until():
                return
            self.now, _, act = heapq.heappop(due)
            act()
        self.now = end if until is None or not until() else self.now

    def owner(self, shard: int = 0) -> str:
        """Return the node that has a shard open; empty for none."""
        at = [node.name for node in self.nodes.values() if node.runs_now and shard in node.open]
        return at[0] if at else ""

    def owned_row(self, at: str, shard: int = 0) -> str:
        """Return the owner of a shard by the table of one node; empty where it is not owned."""
        table = self.nodes[at].machine.region.tables.get(self.key)
        row = None if table is None else table.row(shard)
        return row.owner.address.host if isinstance(row, Owned) else ""

    def _post(self, letter: Letter) -> None:
        if self.lose(letter):
            return
        if self.hold(letter):
            self.late.append(letter)
        else:
            for delay in self.lateness(letter):
                self.later(delay, partial(self._deliver, letter))

    def _deliver(self, letter: Letter) -> None:
        if letter.to in self.names:
            self.tell(self.names[letter.to], PlacementCame(run_of(letter.sender), letter.message))

    def _fire(self, node: HandNode, timer: str, at: float) -> None:
        if node.timers.get(timer) == at:
            self.tell(node.name, TimerFired(timer))

    def later(self, delay: float, act: Callable[[], None]) -> None:
        """Act after a while."""
        self._count += 1
        heapq.heappush(self._due, (self.now + delay, self._count, act))


__all__ = ["FREE_AFTER", "ByHand", "InvariantBroken", "Letter", "run_of"]
