"""Driver of gossip: the actor ``_gossip``; it tells peers the knowledge of this node."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from casty.cluster.commands import GossipCmd
from casty.cluster.node import ClusterNode
from casty.cluster.peer_queue import PeerReady
from casty.protocol.effects import Send, StartTimer, TimerFired
from casty.protocol.gossip.handover import (
    GossipCame,
    GossipEffect,
    HandOver,
    RegistryChanged,
    TableChanged,
    UnknownTables,
)
from casty.protocol.gossip.machine import GOSSIP, Dissemination
from casty.protocol.membership.inputs import Received
from casty.protocol.messages.membership import GossipState
from casty.protocol.state.registry import Registry
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import drive
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext

GOSSIP_ROUND = TimerFired(GOSSIP)


class GossipDriver:
    """Driver of the machine: the performance of its effects."""

    def __init__(self, node: ClusterNode, machine: Dissemination, ctx: ActorContext[GossipCmd]) -> None:
        self._node = node
        self._machine = machine
        self._ctx = ctx

    def handle(self, event: GossipCmd, now: float) -> Sequence[GossipEffect]:
        """Take an event of the machine, or the next message of a peer."""
        if isinstance(event, PeerReady):
            came = self._node.gossip_mail.take(event)
            return () if came is None else self._take(came, now)
        self._node.cluster_metrics.gossip_rounds += event == GOSSIP_ROUND
        return self._machine.handle(event, now)

    def _take(self, came: GossipCame, now: float) -> Sequence[GossipEffect]:
        """Take a peer's message."""
        if self._machine.state is not None and came.sender in self._machine.state.members:
            self._node.gossip_heard[came.sender] = now
        return self._node.within_boundary(came.sender, came.message, lambda: self._machine.handle(came, now))

    def perform(self, effect: GossipEffect) -> None:
        """Perform an effect of the machine."""
        match effect:
            case Send(to, GossipState() as state):
                self._node.send_state(to, state)
            case Send(to, message):
                self._node.send_control(to, message)
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case TableChanged(Registry() as registry):
                self._node.subsystems.topology.tell(RegistryChanged(registry))
            case TableChanged():
                pass
            case UnknownTables(_, names):
                for name in names:
                    self._node.cluster_metrics.note_unknown_table(name)
            case HandOver(sender, message):
                self._node.subsystems.topology.tell(Received(sender, message))
            case _ as never:
                assert_never(never)


def gossip_behavior(node: ClusterNode, machine: Dissemination) -> Behavior[GossipCmd]:
    """Return the behaviour of ``_gossip``."""

    async def main(ctx: ActorContext[GossipCmd], inbox: Inbox[GossipCmd]) -> None:
        driver = GossipDriver(node, machine, ctx)
        await drive(driver, inbox, driver.perform)

    return task(main)
