"""The driver of failure detection: the actor ``_heartbeat``."""

from __future__ import annotations

from typing import assert_never

from casty.cluster.node import ClusterNode
from casty.protocol.availability import Absolve, Accuse, Availability, AvailabilityEffect, AvailabilityEvent
from casty.protocol.effects import Dial, SendIfUp, StartTimer, TimerFired
from casty.runtime.behavior import Behavior, task
from casty.runtime.context import ActorContext
from casty.runtime.inbox import Inbox
from casty.runtime.machine import drive


class HeartbeatDriver:
    """What performs the effects of the availability machine."""

    def __init__(self, node: ClusterNode, ctx: ActorContext[AvailabilityEvent]) -> None:
        self._node = node
        self._ctx = ctx

    def perform(self, effect: AvailabilityEffect) -> None:
        """Do what the machine asks for."""
        match effect:
            case SendIfUp(to, message):
                if not self._node.send_control(to, message, if_up=True):
                    self._node.dial(to.address)
            case Dial(address):
                self._node.dial(address)
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case Accuse() | Absolve():
                self._node.subsystems.topology.tell(effect)
            case _ as never:
                assert_never(never)


def heartbeat_behavior(node: ClusterNode, machine: Availability) -> Behavior[AvailabilityEvent]:
    """Return the behaviour of ``_heartbeat``."""

    async def main(ctx: ActorContext[AvailabilityEvent], inbox: Inbox[AvailabilityEvent]) -> None:
        await drive(machine, inbox, HeartbeatDriver(node, ctx).perform)

    return task(main)
