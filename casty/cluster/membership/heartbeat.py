"""Driver of this node's signs of life: the actor ``_heartbeat``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never

from casty.cluster.commands import HeartbeatCmd
from casty.cluster.node import ClusterNode
from casty.cluster.peer_queue import PeerReady
from casty.protocol.effects import SendIfUp
from casty.protocol.failure_detector.heartbeat import HeartbeatSender, SendHeartbeats
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import drive
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext


class HeartbeatDriver:
    """Driver of the machine: the performance of its effects. Peers take turns, so none delays the answer to another."""

    def __init__(self, node: ClusterNode, machine: HeartbeatSender) -> None:
        self._node = node
        self._machine = machine

    def handle(self, event: HeartbeatCmd, now: float) -> Sequence[SendIfUp]:
        """Take an order of the failure detection, or the next heartbeat of a peer."""
        match event:
            case SendHeartbeats():
                return self._machine.handle(event, now)
            case PeerReady():
                asked = self._node.heartbeat_mail.take(event)
                return () if asked is None else self._machine.handle(asked, now)
            case _ as never:
                assert_never(never)

    def perform(self, effect: SendIfUp) -> None:
        """Send over the present link, and have it dialled where there is none."""
        if not self._node.send_control(effect.to, effect.message, if_up=True):
            self._node.dial(effect.to.address)


def heartbeat_behavior(node: ClusterNode, machine: HeartbeatSender) -> Behavior[HeartbeatCmd]:
    """Return the behaviour of ``_heartbeat``."""

    async def main(ctx: ActorContext[HeartbeatCmd], inbox: Inbox[HeartbeatCmd]) -> None:
        driver = HeartbeatDriver(node, machine)
        await drive(driver, inbox, driver.perform)

    return task(main)
