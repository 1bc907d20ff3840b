"""Messages to entities beside the placement, by hand or in the model: each node sends numbered ones, and runs its own.

Owns what stands for links and actors: messages and markers of two nodes keep their order, as on one connection, and get
lost only as it breaks; a link has room for a drawn number of held messages at a time; an entity starts, handles one
message after another, ends, fails. What is held back, refused and started is up to the machines (`ShardRoutes`,
`EntityTable`). It holds these rules: of each sender the numbers handled by an entity grow; a message has one fate;
activations of an entity never overlap, and each begins with everything that was acknowledged before. Nothing is sent to
an owner out of reach, or waits for one in reach but for room, or goes past what waits.
"""

from __future__ import annotations

import math
import random
from collections import Counter, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, cast

from casty.address import UniqueAddress
from casty.protocol.effects import PublishEvent, StartTimer, TimerFired
from casty.protocol.messages.shard_rows import Owned
from casty.protocol.messages.sharding import Marker
from casty.protocol.sharding.entities.entity_cell import EntityPhase
from casty.protocol.sharding.entities.entity_events import (
    CancelEntity,
    DeliverToEntity,
    EntityEnded,
    EntityEvent,
    EntityMessage,
    EntityStarted,
    RefuseAsk,
    RefuseMessage,
    StartEntity,
    StopEntity,
)
from casty.protocol.sharding.entities.entity_limits import EntityLimits
from casty.protocol.sharding.entities.entity_table import EntityTable
from casty.protocol.sharding.placement_events import (
    CloseShard,
    OpenShard,
    PlacementCame,
    PlacementEvent,
    SendMarker,
    ServesUntil,
    ShardClosed,
    ShardTableChanged,
)
from casty.protocol.sharding.shard_routes import (
    CHECK_EVERY,
    DropMessage,
    LookForRoom,
    MessageGivenBack,
    MessageTaken,
    OwnersInReach,
    RoutedMessage,
    RouteEvent,
    RouteLimits,
    RouteOpened,
    SendToOwner,
    ShardHasRoom,
    ShardRoutes,
)
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation import InvariantBroken

ENTITIES_OF_A_SHARD = 2
LOOK_AGAIN = 0.05


class SendersNode(Protocol):
    """One run, as senders and entities see it."""

    @property
    def run(self) -> UniqueAddress: ...
    @property
    def alive(self) -> bool: ...
    @property
    def paused(self) -> bool: ...
    @property
    def local_now(self) -> float:
        """Time by its own clock."""
        ...

    @property
    def serves(self) -> bool:
        """Whether it has the serving lease, by its own clock."""
        ...

    @property
    def cluster_id(self) -> int:
        """Number of its cluster."""
        ...

    @property
    def rate(self) -> float:
        """Seconds of its clock for each second of time."""
        ...


class SendersWorld(Protocol):
    """Where the nodes are, and the time."""

    @property
    def key(self) -> str: ...
    @property
    def closes_after(self) -> float:
        """Seconds that a shard takes to close, beyond its entities."""
        ...

    @property
    def now(self) -> float: ...
    @property
    def nodes(self) -> Mapping[str, SendersNode]: ...
    @property
    def names(self) -> Mapping[UniqueAddress, str]: ...
    def later(self, delay: float, act: Callable[[], None]) -> None:
        """Act after a while, whatever becomes of any node."""
        ...

    def tell(self, name: str, event: PlacementEvent) -> None:
        """Let the placement of a node take an event."""
        ...


@dataclass(frozen=True)
class Told:
    """A message of a user."""

    sender: str
    entity: str
    number: int


@dataclass
class Activation:
    """A running entity: what stands for its task and mailbox."""

    node: str
    entity: str
    number: int
    epoch: int
    cluster_id: int
    state: list[Told] = field(default_factory=list)
    """All that was acknowledged before, and by it."""
    mailbox: deque[EntityMessage] = field(default_factory=deque)
    is_busy: bool = False
    is_stopping: bool = False
    has_ended: bool = False


@dataclass
class EntityNode:
    """The machines of one node."""

    routes: ShardRoutes
    entities: EntityTable
    running: dict[int, Activation] = field(default_factory=dict)
    timers: Counter[str] = field(default_factory=Counter)
    """How often each timer was started: the last start counts, as on a real node."""


@dataclass
class Senders:
    """The senders and entities of all nodes. ``failures`` and ``endings`` are shares of the messages handled."""

    world: SendersWorld
    passes: Callable[[str, str], bool] = lambda sender, to: True
    travels: Callable[[], float] = lambda: 0.001
    rooms: Callable[[], int] = lambda: 1_000
    """How many held messages of each shard a link has room for, each time that a node looks."""
    starts_for: Callable[[], float] = lambda: 0.0
    handles_for: Callable[[], float] = lambda: 0.0
    failures: float = 0.0
    endings: float = 0.0
    entity_limits: EntityLimits = EntityLimits()
    route_limits: RouteLimits = RouteLimits()
    chance: random.Random = field(default_factory=lambda: random.Random(1))
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    handled: dict[tuple[str, str], int] = field(default_factory=dict)
    fates: dict[Told, str] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    journal: dict[str, list[Told]] = field(default_factory=dict)
    """What was acknowledged, by entity."""
    nodes: dict[str, EntityNode] = field(default_factory=dict)
    reach: dict[str, frozenset[UniqueAddress]] = field(default_factory=dict)
    """Runs in reach of each node, as it was told."""
    _owners: dict[str, dict[int, UniqueAddress]] = field(default_factory=dict)
    """Owner of each shard that has one, by the table of each node."""
    _epochs: dict[tuple[int, str], int] = field(default_factory=dict)
    """Newest epoch of each entity, by cluster: where all members of one have ended, the next one begins anew."""
    _latest: dict[str, Activation] = field(default_factory=dict)
    _asleep: dict[str, deque[Callable[[], None]]] = field(default_factory=dict)
    """What waits for a node that stands still."""
    _arrives: dict[tuple[str, str], float] = field(default_factory=dict)
    _unsent: dict[tuple[str, UniqueAddress], list[EntityMessage]] = field(default_factory=dict)
    """What a link could not carry yet, by sender and owner, in order."""
    _touched: dict[str, None] = field(default_factory=dict)
    """Nodes with a step since the last look."""
    _sent: int = 0
    _looked_at: float = -math.inf
    """Time of the last look at all nodes."""

    def node(self, name: str) -> EntityNode:
        """Return the machines of a node, made when they are asked for first."""
        if name not in self.nodes:
            routes = ShardRoutes(self.world.key, self.route_limits)
            entities = EntityTable(self.world.key, random.Random(name), self.entity_limits)
            self.nodes[name] = EntityNode(routes, entities)
        return self.nodes[name]

    def held(self, name: str, shard: int) -> int:
        """Return how many messages a node holds back for a shard."""
        return len(self.node(name).routes.held.get(shard, ()))

    def send(self, sender: str, shard: int) -> None:
        """Send the next message of a node to one of the entities of a shard."""
        entity = f"{shard}.{self.chance.randrange(ENTITIES_OF_A_SHARD)}"
        number = self.sent[sender, entity] = self.sent[sender, entity] + 1
        self._sent += 1
        self._route(sender, RoutedMessage(shard, Told(sender, entity, number)))

    def changed(self, name: str, change: ShardTableChanged) -> None:
        """Let a node take a table."""
        owners, changed = self._owners.setdefault(name, {}), change.changed
        if changed is None:
            owners.clear()
        for shard, row in (change.table.rows if changed is None else changed).items():
            if isinstance(row, Owned):
                owners[shard] = row.owner
            else:
                owners.pop(shard, None)
        self._route(name, change)

    def saw(self, name: str, state: Gossip) -> None:
        """Let a node know whom its messages reach, by the membership that it sees."""
        runs = frozenset(state.members.keys() - state.down - state.lost_to(self.world.nodes[name].run))
        if runs != self.reach.get(name):
            self.reach[name] = runs
            self._route(name, OwnersInReach(runs))
            for link in [link for link in self._unsent if link[0] == name and link[1] not in runs]:
                for came in self._unsent.pop(link):
                    self.counts["given back"] += 1
                    self._route(name, MessageGivenBack(RoutedMessage(came.shard, came.message)))

    def mark(self, sender: str, effect: SendMarker) -> None:
        """Send a marker behind all messages to that owner."""
        came = PlacementCame(self.world.nodes[sender].run, Marker(effect.key, effect.shard, effect.move))
        to = self.world.names[effect.to]
        self._write(sender, effect.to)
        self._travel(sender, to, partial(self.world.tell, to, came))

    def shard(self, name: str, event: OpenShard | CloseShard | ServesUntil) -> None:
        """Let the entities of a node hear of a shard, or of the lease."""
        self._act(name, event)

    def crashed(self, name: str) -> None:
        """End all that is at a node."""
        node = self.nodes.pop(name, None)
        if node is not None:
            held = [one.message.message for waiting in node.routes.held.values() for one in waiting]
            came = [one.message for cell in node.entities.cells.values() for one in cell.waiting or ()]
            taken = [one.message for activation in node.running.values() for one in activation.mailbox]
            links = [link for link in self._unsent if link[0] == name]
            unsent = [one.message for link in links for one in self._unsent.pop(link)]
            for told in (*held, *came, *taken, *unsent):
                self._fate(cast(Told, told), "unknown")
            for activation in node.running.values():
                activation.has_ended = True

    def look(self) -> None:
        """Hold the bounds, and that nothing waits without a reason: where something has happened, and as time passes.

        A node without a step since the last look is as it was. Only what waits there can have become late.
        """
        touched, self._touched = self._touched, {}
        for name in touched:
            node = self.nodes.get(name)
            if node is not None:
                self._keeps_bounds(name, node)
                self._waits_with_reason(name, node)
        if self.world.now >= self._looked_at + LOOK_AGAIN:
            self._looked_at = self.world.now
            for name, node in self.nodes.items():
                if name not in touched:
                    self._waits_with_reason(name, node)

    def _keeps_bounds(self, name: str, node: EntityNode) -> None:
        routes, table = node.routes, node.entities
        if routes.held_count > routes.limits.held_max or table.waiting > 2 * table.limits.waiting_max:
            raise InvariantBroken("buffers keep their bounds", f"{name}: {routes.held_count}, {table.waiting}")
        if routes.held:
            owners, reach = self._owners.get(name, {}), self.reach.get(name)
            ready = [shard for shard in routes.held if shard in owners and (reach is None or owners[shard] in reach)]
            if ready != [shard for shard in routes.held if shard in routes.releasing]:
                raise InvariantBroken("what is held goes to owners in reach, and to no others", name)
            if not routes.held.keys().isdisjoint(routes.routes):
                raise InvariantBroken("nothing goes past what is held for its shard", name)
        waiting = 0
        for cell in table.cells.values():
            waiting += len(cell.waiting or ())
        if table.waiting != waiting:
            raise InvariantBroken("what waits is counted", name)

    def _waits_with_reason(self, name: str, node: EntityNode) -> None:
        routes, table, at = node.routes, node.entities, self.world.nodes[name]
        if not (routes.held or table.waiting) or not at.alive or at.paused or self._asleep.get(name):
            return
        now = at.local_now
        late = now - CHECK_EVERY - LOOK_AGAIN - 0.001
        for held in routes.held.values():
            for one in held:
                if one.deadline < late:
                    raise InvariantBroken("nothing is held beyond its deadline", name)
        if table.waiting and now < table.serves_until:
            idle = [cell for cell in table.cells.values() if cell.phase is EntityPhase.active and cell.waiting]
            if idle:
                raise InvariantBroken("nothing waits for an entity that runs", f"{name}: {idle[0]}")

    def accounted(self) -> None:
        """Hold that every message has a fate, once all is at rest."""
        if self.is_accounted():
            return
        for (sender, entity), number in self.sent.items():
            for each in range(1, number + 1):
                if Told(sender, entity, each) not in self.fates:
                    raise InvariantBroken("every message has a fate", f"{Told(sender, entity, each)} has none")

    def is_accounted(self) -> bool:
        """Whether every message has a fate."""
        return len(self.fates) == self._sent  # none has two, and only what was sent has one

    @property
    def is_done(self) -> bool:
        """Whether everything sent was handled."""
        return self.counts["handled"] == self.sent.total()

    def _fate(self, told: Told, fate: str) -> None:
        if told in self.fates:
            raise InvariantBroken("a message has one fate", f"{told} is {self.fates[told]}, and {fate}")
        self.fates[told] = fate
        self.counts[fate] += 1

    def _route(self, name: str, event: RouteEvent) -> None:
        at = self.world.nodes[name]
        if not at.alive:
            return
        self._touched[name] = None
        for effect in self.node(name).routes.handle(event, at.local_now):
            match effect:
                case SendToOwner():
                    self._post(name, effect.to, effect.epoch, effect.message)
                    if isinstance(event, ShardHasRoom):
                        self._route(name, MessageTaken(effect.message))
                case LookForRoom():
                    for shard in tuple(self.node(name).routes.releasing):
                        for _ in range(self.rooms()):
                            self._route(name, ShardHasRoom(shard))
                case RouteOpened():
                    pass  # the machine sends the next one itself
                case StartTimer():
                    self._start_timer(name, effect, self._route)
                case DropMessage():
                    self._fate(cast(Told, effect.message.message), "dead")

    def _post(self, sender: str, run: UniqueAddress, epoch: int, message: RoutedMessage) -> None:
        told, to = cast(Told, message.message), self.world.names[run]
        came = EntityMessage(told.entity, message.shard, epoch, told)
        if self.world.nodes[to].run not in self.reach.get(sender, (self.world.nodes[to].run,)):
            raise InvariantBroken("nothing is sent to an owner out of reach", f"{told} from {sender} to {to}")
        self._write(sender, run)
        if (sender, run) in self._unsent:
            self._unsent[sender, run].append(came)
        elif not self._travel(sender, to, partial(self._arrive, to, came)):
            if told.number % 4 == 1:
                self._fate(told, "unknown")  # it was on its way
            else:
                self._unsent[sender, run] = [came]
                self.world.later(LOOK_AGAIN, partial(self._write_later, sender, run))

    def _write(self, sender: str, run: UniqueAddress) -> None:
        """Let what waits at a link go, where it passes again."""
        to = self.world.names[run]
        if (sender, run) in self._unsent and self.world.nodes[to].run == run and self.passes(sender, to):
            for came in self._unsent.pop((sender, run)):
                self._travel(sender, to, partial(self._arrive, to, came))

    def _write_later(self, sender: str, run: UniqueAddress) -> None:
        self._write(sender, run)
        if (sender, run) in self._unsent:
            self.world.later(LOOK_AGAIN, partial(self._write_later, sender, run))

    def _travel(self, sender: str, to: str, arrive: Callable[[], None]) -> bool:
        if sender == to:
            arrive()
            return True
        if not self.passes(sender, to):
            return False
        now, link = self.world.now, (sender, to)
        at = self._arrives[link] = max(now + self.travels(), self._arrives.get(link, 0.0))
        self.world.later(at - now, arrive)
        return True

    def _arrive(self, name: str, came: EntityMessage) -> None:
        if not self.world.nodes[name].alive:
            self._fate(cast(Told, came.message), "unknown")
        else:
            self._later(name, partial(self._act, name, came))

    def _later(self, name: str, act: Callable[[], None]) -> None:
        """Act when the node does not stand still, in the order in which things came."""
        waiting = self._asleep.get(name)
        if waiting is None:
            waiting = self._asleep[name] = deque()
        waiting.append(act)
        if len(waiting) == 1:
            self._wake(name, waiting)

    def _wake(self, name: str, waiting: deque[Callable[[], None]]) -> None:
        if self.world.nodes[name].paused:
            self.world.later(LOOK_AGAIN, partial(self._wake, name, waiting))
            return
        while waiting:
            waiting[0]()
            waiting.popleft()

    def _start_timer(self, name: str, timer: StartTimer, take: Callable[[str, TimerFired], None]) -> None:
        """Start a timer in place of the one with its name, by the clock of the node."""
        timers = self.node(name).timers
        timers[timer.key] += 1
        fires = partial(self._fire, name, timer.key, timers[timer.key], take)
        self.world.later(timer.delay / self.world.nodes[name].rate, partial(self._later, name, fires))

    def _fire(self, name: str, timer: str, start: int, take: Callable[[str, TimerFired], None]) -> None:
        node = self.nodes.get(name)
        if node is not None and node.timers[timer] == start:
            take(name, TimerFired(timer))

    def _act(self, name: str, event: EntityEvent) -> None:
        at = self.world.nodes[name]
        if not at.alive:
            if isinstance(event, EntityMessage):
                self._fate(cast(Told, event.message), "unknown")
            return
        node = self.node(name)
        self._touched[name] = None
        for effect in node.entities.handle(event, at.local_now):
            match effect:
                case DeliverToEntity():
                    activation = node.running[effect.activation]
                    activation.mailbox.append(effect.message)
                    self._work(activation)
                case StartTimer():
                    self._start_timer(name, effect, self._act)
                case StartEntity():
                    self._start(name, effect)
                case StopEntity():
                    node.running[effect.activation].is_stopping = True
                    self._work(node.running[effect.activation])
                case CancelEntity():
                    self._end(node.running[effect.activation])
                case RefuseMessage() | RefuseAsk():
                    self._fate(cast(Told, effect.message.message), "refused")
                case ShardClosed():
                    self.world.later(self.world.closes_after, partial(self.world.tell, name, effect))
                case PublishEvent():
                    self.counts["failed"] += 1

    def _start(self, name: str, effect: StartEntity) -> None:
        last, entity = self._latest.get(effect.entity_id), effect.entity_id
        if last is not None and not last.has_ended:
            there = self.world.nodes[last.node]
            if there.alive and not there.paused and there.serves:
                raise InvariantBroken("activations never overlap", f"{entity} at {last.node} and {name}")
        place = self.world.nodes[name].cluster_id, entity
        if effect.epoch < self._epochs.get(place, 0):
            raise InvariantBroken("epochs of an entity never shrink", f"{entity} at {name}: {effect.epoch:#x}")
        self._epochs[place] = effect.epoch
        activation = Activation(name, entity, effect.activation, effect.epoch, place[0])
        self._latest[entity] = self.node(name).running[effect.activation] = activation
        self.world.later(self.starts_for(), partial(self._later, name, partial(self._started, activation)))

    def _started(self, activation: Activation) -> None:
        if not activation.has_ended:
            activation.state = list(self.journal.get(activation.entity, ()))
            self._act(activation.node, EntityStarted(activation.entity, activation.number))

    def _work(self, activation: Activation) -> None:
        """Handle the next message, or end if that is wanted; under the lease, and after a while."""
        if activation.is_busy or activation.has_ended:
            return
        if activation.mailbox:
            activation.is_busy = True
            self.world.later(self.handles_for(), partial(self._later, activation.node, partial(self._done, activation)))
        elif activation.is_stopping:
            self._end(activation)

    def _done(self, activation: Activation) -> None:
        if activation.has_ended:
            return
        if not self.world.nodes[activation.node].serves:
            self.world.later(LOOK_AGAIN, partial(self._later, activation.node, partial(self._done, activation)))
            return
        activation.is_busy = False
        self._handle(activation, cast(Told, activation.mailbox.popleft().message))
        draw = self.chance.random()
        if draw < self.failures + self.endings:
            self._end(activation, has_failed=draw < self.failures)
        else:
            self._work(activation)

    def _handle(self, activation: Activation, told: Told) -> None:
        if activation.epoch < self._epochs[activation.cluster_id, activation.entity]:
            raise InvariantBroken("nothing is acknowledged by a stale owner", f"{told} at {activation.node}")
        if told.number <= (last := self.handled.get((told.sender, told.entity), 0)):
            text = f"{told} after {last}, at {activation.node}"
            raise InvariantBroken("messages of one sender to one entity are handled in order", text)
        journal = self.journal.setdefault(activation.entity, [])
        if activation.state != journal:
            text = f"{activation.entity} at {activation.node} has {len(activation.state)} of {len(journal)}"
            raise InvariantBroken("what was acknowledged is in every later activation", text)
        activation.state.append(told)
        journal.append(told)
        self.handled[told.sender, told.entity] = told.number
        self._fate(told, "handled")

    def _end(self, activation: Activation, *, has_failed: bool = False) -> None:
        if activation.has_ended:
            return
        activation.has_ended = True
        left, node = tuple(activation.mailbox), self.node(activation.node)
        activation.mailbox.clear()
        node.running.pop(activation.number)
        self._act(activation.node, EntityEnded(activation.entity, activation.number, has_failed, left))


def draw_entities(senders: Senders, chance: random.Random) -> None:
    """Draw how fast and how well entities work."""
    starts, handles = chance.choice((0.0, 0.05, 0.5)), chance.choice((0.0, 0.1, 0.4))
    senders.starts_for = lambda: starts * chance.random()
    senders.handles_for = lambda: handles * chance.random()
    senders.failures, senders.endings = chance.choice((0.0, 0.05, 0.2)), chance.choice((0.0, 0.1))
    passivates, entities_max = chance.choice((0.3, 2.0, 120.0)), chance.choice((1, 2, 100))
    senders.entity_limits = EntityLimits(passivate_after=passivates, entities_max=entities_max)
    draws = random.Random()
    draws.setstate(chance.getstate())  # of its own, so that the runs of all seeds stay as they were
    rooms = draws.choice(((1_000,), (0, 0, 1, 2, 1_000)))
    senders.rooms = lambda: draws.choice(rooms)
