"""The driver of death watch between nodes: the actor ``_watch``.

It joins the machine of the watches to the actors: a watcher here is told through the kernel; an actor here, watched by
a peer, gets one more watcher in place of that peer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Never, TypeAlias, assert_never

from casty.address import UniqueAddress
from casty.cluster.commands import SubscribeTopology
from casty.cluster.control_registry import ControlRegistry, Deliver
from casty.cluster.death_watch.watch_commands import LocalEnded, PeerSaid, UnwatchRemote, WatchCmd, WatchRemote
from casty.cluster.extension import ClusterExtension, ExtensionNode
from casty.cluster.node import ClusterNode
from casty.cluster.peer_queue import PeerQueue, PeerReady
from casty.errors import RemoteFailure
from casty.protocol.death_watch.machine import Attach, DeathWatch, Detach, Target, TellEnd, WatchEffect
from casty.protocol.effects import Send, SendIfUp, StartTimer, TimerFired
from casty.protocol.messages.watching import (
    ActorTerminated,
    ActorUnwatched,
    ActorWatched,
    TerminatedNoted,
    UnwatchActor,
    WatchActor,
    WatchMessage,
)
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import drive
from casty.runtime.events import Terminated
from casty.runtime.messaging.ask import describe
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.ports import Recipient
from casty.runtime.system.context import ActorContext
from casty.wire.frame import Lane

Watch: TypeAlias = tuple[ActorRef[Never], ActorRef[Never]]
"""A watcher of this node, and the ref of another node's actor as it knows it."""


class PeerWatcher:
    """Local watcher that forwards a termination to a remote watcher."""

    __slots__ = ("_peer", "_serial", "_watch", "actor", "uid")

    def __init__(self, watch: ActorRef[WatchCmd], peer: UniqueAddress, serial: int, actor: Recipient) -> None:
        self._watch = watch
        self._peer = peer
        self._serial = serial
        self.actor = actor
        self.uid = actor.kernel.next_uid()

    def signal(self, signal: object) -> None:
        if isinstance(signal, Terminated):
            reason = describe(signal.cause) if isinstance(signal.cause, Exception) else None
            self._watch.tell(LocalEnded(self._peer, self._serial, reason))


class WatchDriver:
    """The machine, its inputs, and the performer of its effects."""

    def __init__(self, node: ClusterNode, ctx: ActorContext[WatchCmd], mail: PeerQueue[PeerSaid]) -> None:
        self._node = node
        self._ctx = ctx
        self._mail = mail
        self._machine: DeathWatch[Watch] = DeathWatch(frozenset({node.self_node}))
        self._attached: dict[tuple[UniqueAddress, int], PeerWatcher] = {}

    def handle(self, event: WatchCmd, now: float) -> Sequence[WatchEffect[Watch]]:
        """Take a wish of this node or a message of another one."""
        machine = self._machine
        match event:
            case WatchRemote(watcher, ref):
                return machine.watch((watcher, ref), _target(ref), now)
            case UnwatchRemote(watcher, ref):
                return machine.unwatch((watcher, ref))
            case PeerReady():
                said = self._mail.take(event)
                if said is None:
                    return ()
                peer, message = said.peer, said.message
                return self._node.within_boundary(
                    peer, message, lambda: machine.hear(peer, message, exists=self._exists(message))
                )
            case LocalEnded(peer, serial, reason):
                self._attached.pop((peer, serial), None)
                return machine.ended(peer, serial, reason)
            case TopologySnapshot(members):
                return machine.members_changed(frozenset(member.unique for member in members))
            case TimerFired():
                return machine.resend(now)
            case _ as never:
                assert_never(never)

    def perform(self, effect: WatchEffect[Watch]) -> None:
        """Do the effect asked for by the machine."""
        match effect:
            case Send(to, message):
                self._node.send_control(to, message)
            case SendIfUp(to, message):
                if not self._node.send_control(to, message, if_up=True):
                    self._node.dial(to.address, self._node.control.entry_of(message).lane)
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case Attach(peer, serial, path, uid):
                actor = self._actor(path, uid)
                if actor is not None:
                    watcher = self._attached[peer, serial] = PeerWatcher(self._ctx.self, peer, serial, actor)
                    actor.add_watcher(watcher.uid, watcher)
            case Detach(peer, serial):
                self._detach(self._attached.pop((peer, serial), None))
            case TellEnd((watcher, ref), reason):
                cause = None if reason is None else RemoteFailure(reason)
                self._node.kernel.terminated(watcher, ref, cause)
            case _ as never:
                assert_never(never)

    def close(self) -> None:
        """Take back every watcher: nobody is there any more to pass an end on."""
        for watcher in self._attached.values():
            self._detach(watcher)
        self._attached.clear()

    def _detach(self, watcher: PeerWatcher | None) -> None:
        if watcher is not None:
            watcher.actor.remove_watcher(watcher.uid)

    def _exists(self, message: WatchMessage) -> bool:
        return isinstance(message, WatchActor) and self._actor(message.path, message.uid) is not None

    def _actor(self, path: str, uid: int) -> Recipient | None:
        target = self._node.kernel.target(path, uid)
        return None if target is None else target.owner()


def _target(ref: ActorRef[Never]) -> Target:
    address = ref.address
    if address.node is None:
        raise ValueError(f"an actor of another node has the address of a node, got {address}")
    return Target(UniqueAddress(address.node, address.incarnation), address.path, address.uid)


def add_watch_messages(registry: ControlRegistry, said: Deliver[WatchMessage]) -> None:
    """Add the messages between the death watches of two nodes."""
    registry.add(WatchActor, "casty.watch", Lane.control, said)
    registry.add(ActorWatched, "casty.watch.ack", Lane.control, said)
    registry.add(UnwatchActor, "casty.unwatch", Lane.control, said)
    registry.add(ActorUnwatched, "casty.unwatch.ack", Lane.control, said)
    # Behind the messages of the actor; all else goes apart from them.
    registry.add(ActorTerminated, "casty.terminated", Lane.ordinary, said)
    registry.add(TerminatedNoted, "casty.terminated.ack", Lane.control, said)


def watch_behavior(node: ClusterNode, mail: PeerQueue[PeerSaid]) -> Behavior[WatchCmd]:
    """Return the behaviour of ``_watch``."""

    async def main(ctx: ActorContext[WatchCmd], inbox: Inbox[WatchCmd]) -> None:
        driver = WatchDriver(node, ctx, mail)
        node.subsystems.topology.tell(SubscribeTopology(ctx.self))
        try:
            await drive(driver, inbox, driver.perform)
        finally:
            driver.close()

    return task(main)


class DeathWatchExtension(ClusterExtension):
    """Death watch as a part of a node: its messages, its actor, and its hooks in the runtime."""

    name = "death_watch"

    def __init__(self) -> None:
        self._actor: ActorRef[WatchCmd] | None = None
        self.mail: PeerQueue[PeerSaid] = PeerQueue(self._tell)
        """Messages of peers, each peer with a queue of its own."""

    def attach(self, node: ExtensionNode) -> None:
        """Know the messages of death watch."""
        add_watch_messages(node.inside.control, self._said)

    def start(self, node: ExtensionNode) -> None:
        """Spawn the actor, and have the watches of actors here on those of other nodes led to it."""
        inside = node.inside
        self._actor = node.spawn(watch_behavior(inside, self.mail), "_watch")
        if inside.transport is not None:
            inside.kernel.hooks.watch_remote = lambda watcher, ref: self._tell(WatchRemote(watcher, ref))
            inside.kernel.hooks.unwatch_remote = lambda watcher, ref: self._tell(UnwatchRemote(watcher, ref))

    def ended(self) -> None:
        """End all watches on actors of other nodes."""
        if self.node is not None:
            hooks = self.node.inside.kernel.hooks
            hooks.watch_remote = hooks.unwatch_remote = None

    def _said(self, peer: UniqueAddress, message: WatchMessage, size: int) -> None:
        self.mail.put(peer, PeerSaid(peer, message), size)

    def _tell(self, command: WatchRemote | UnwatchRemote | PeerReady) -> None:
        if self._actor is not None:
            self._actor.tell(command)
