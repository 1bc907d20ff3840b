"""Death watch on simulated nodes: the real machine, and actors that are no more than numbers.

Owns the actors of a node and their watchers, in place of the driver ``_watch`` and the runtime. Each actor has a number
of its own in the whole simulation.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import TypeAlias, assert_never, get_args

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.death_watch.machine import Attach, DeathWatch, Detach, Target, TellEnd
from casty.protocol.effects import TimerFired
from casty.protocol.membership.view import SnapshotChanged
from casty.protocol.messages.watching import WatchActor, WatchMessage
from casty.testing.simulation.model.machine import ModelMachine
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import ModelTask, Run

WATCHING = "death_watch"


@dataclass(frozen=True, slots=True)
class ActorBegan:
    """Event: an actor with this number runs on this node."""

    uid: int


@dataclass(frozen=True, slots=True)
class ActorEnded:
    """Event: this actor of this node has ended."""

    uid: int


@dataclass(frozen=True, slots=True)
class WatchStarted:
    """Event: ``watcher``, an actor of this node, is to be told the end of an actor of another one."""

    watcher: int
    target: Target


@dataclass(frozen=True, slots=True)
class WatchStopped:
    """Event: ``watcher`` is to be told nothing any more."""

    watcher: int


@dataclass(frozen=True, slots=True)
class WatchSaid:
    """Event: a message of a peer."""

    peer: UniqueAddress
    message: WatchMessage


@dataclass(frozen=True, slots=True)
class EndNoticed:
    """Event, and effect before that: the end of an actor has reached the watcher in place of this peer."""

    peer: UniqueAddress
    serial: int


WatchingEvent: TypeAlias = (
    ActorBegan | ActorEnded | WatchStarted | WatchStopped | WatchSaid | EndNoticed | SnapshotChanged | TimerFired
)


@dataclass(slots=True)
class WatchingNode:
    """Actors of one run of a node, and its watches."""

    node: UniqueAddress
    death_watch: DeathWatch[int] = field(init=False)
    actors: set[int] = field(init=False, default_factory=set[int])
    """Its living actors."""
    attached: dict[tuple[UniqueAddress, int], int] = field(
        init=False, default_factory=dict[tuple[UniqueAddress, int], int]
    )
    """Actors watched by peers, by peer and number of the watch."""
    watched: dict[int, Target] = field(init=False, default_factory=dict[int, Target])
    """Each watcher not told yet, and the actor watched by it."""

    def __post_init__(self) -> None:
        self.death_watch = DeathWatch(frozenset({self.node}))

    def handle(self, event: WatchingEvent, now: float) -> Sequence[object]:
        """Take an event as the driver and the actors do."""
        watch = self.death_watch
        match event:
            case ActorBegan(uid):
                self.actors.add(uid)
                return ()
            case ActorEnded(uid):
                self.actors.discard(uid)
                return [EndNoticed(*key) for key, one in self.attached.items() if one == uid]
            case WatchStarted(watcher, target):
                self.watched[watcher] = target
                return watch.watch(watcher, target, now)
            case WatchStopped(watcher):
                self.watched.pop(watcher, None)
                return watch.unwatch(watcher)
            case WatchSaid(peer, message):
                exists = isinstance(message, WatchActor) and message.uid in self.actors
                return watch.hear(peer, message, exists=exists)
            case EndNoticed(peer, serial):
                self.attached.pop((peer, serial), None)
                return watch.ended(peer, serial, None)
            case SnapshotChanged(snapshot):
                return watch.members_changed(frozenset(member.unique for member in snapshot.members))
            case TimerFired():
                return watch.resend(now)
            case _ as never:
                assert_never(never)


def watching_node(run: Run) -> WatchingNode:
    """Return the actors and watches of a run."""
    return run.machine(WATCHING, WatchingNode)


def _made(cluster: ModelCluster, run: Run, rng: Random) -> WatchingNode:
    return WatchingNode(run.node)


def _said(sender: UniqueAddress, message: WatchMessage, at: float) -> WatchSaid:
    return WatchSaid(sender, message)


def _snapshot(effect: SnapshotChanged) -> SnapshotChanged:
    return effect


def _attach(cluster: ModelCluster, task: ModelTask, effect: Attach) -> None:
    watching_node(task.run).attached[effect.peer, effect.serial] = effect.uid


def _detach(cluster: ModelCluster, task: ModelTask, effect: Detach) -> None:
    watching_node(task.run).attached.pop((effect.peer, effect.serial), None)


def _tell_end(cluster: ModelCluster, task: ModelTask, effect: TellEnd[int]) -> None:
    watching_node(task.run).watched.pop(effect.watcher, None)


def _notice(cluster: ModelCluster, task: ModelTask, effect: EndNoticed) -> None:
    cluster.hand_over(task, effect)  # a message to the actor `_watch`, behind those that wait there


DEATH_WATCH: ModelMachine[WatchingEvent] = ModelMachine(
    name=WATCHING,
    make=_made,
    receives=dict.fromkeys(get_args(WatchMessage), _said),
    hears={SnapshotChanged: _snapshot},
    performs={Attach: _attach, Detach: _detach, TellEnd: _tell_end, EndNoticed: _notice},
    sender="anyone",  # as on a real node: its machine looks who is a member
)
"""Death watch as a machine of each simulated node."""

ANY_RUN_SHARE = 0.2
"""Share of watches of any run at an address."""
ACTORS_MAX = 6


def use_watches(cluster: ModelCluster, rng: Random) -> None:
    """Let actors start, end, and watch those of other nodes; a workload for `play`."""
    for _ in range(rng.randint(1, 4)):
        run = rng.choice(sorted(cluster.living, key=lambda one: one.name)) if cluster.living else None
        if run is None or WATCHING not in run.tasks:
            continue
        here = watching_node(run)
        does = rng.random()
        if does < 0.35 and len(here.actors) < ACTORS_MAX:
            cluster.hand(run, WATCHING, ActorBegan(rng.getrandbits(60)))
        elif does < 0.5 and here.actors:
            cluster.hand(run, WATCHING, ActorEnded(rng.choice(sorted(here.actors))))
        elif does < 0.6 and here.watched:
            cluster.hand(run, WATCHING, WatchStopped(rng.choice(sorted(here.watched))))
        else:
            target = _some_actor(cluster, rng, run)
            if target is not None:
                cluster.hand(run, WATCHING, WatchStarted(rng.getrandbits(60), target))


def _some_actor(cluster: ModelCluster, rng: Random, watching: Run) -> Target | None:
    """Return an actor of another node, mostly of its present run, sometimes one that has ended with a run before."""
    others = [run for run in cluster.every.values() if run.name != watching.name and WATCHING in run.tasks]
    if not others:
        return None
    run = rng.choice(others)
    actors = sorted(watching_node(run).actors)
    if not actors:
        return None
    uid = rng.choice(actors)
    incarnation = 0 if rng.random() < ANY_RUN_SHARE else run.node.incarnation
    return Target(UniqueAddress(NodeAddress(run.name, run.node.address.port), incarnation), f"/{uid}", uid)
