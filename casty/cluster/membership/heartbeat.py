"""The driver of failure detection: the actor ``_heartbeat``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from casty.address import NodeAddress
from casty.cluster.commands import GetSuspicions, HeartbeatCmd, Suspicions
from casty.cluster.node import ClusterNode
from casty.protocol.effects import Dial, Send, SendIfUp, StartTimer, TimerFired
from casty.protocol.failure_detector.monitor import (
    Availability,
    AvailabilityEffect,
    Heard,
    MarkReachable,
    MarkUnreachable,
)
from casty.runtime.behavior.behavior import Behavior, task
from casty.runtime.drive import drive
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext


@dataclass(frozen=True, slots=True)
class SuspicionsReply:
    """Effect: answer a `GetSuspicions`."""

    query: GetSuspicions
    suspicions: Suspicions


Effect: TypeAlias = AvailabilityEffect | SuspicionsReply


class HeartbeatDriver:
    """The machine with its query, and what performs its effects."""

    def __init__(self, node: ClusterNode, machine: Availability, ctx: ActorContext[HeartbeatCmd]) -> None:
        self._node = node
        self._machine = machine
        self._ctx = ctx
        node.cluster_metrics.suspicions = self._suspicions

    def handle(self, event: HeartbeatCmd, now: float) -> Sequence[Effect]:
        """Take a query or an event of the machine."""
        machine = self._machine
        if isinstance(event, GetSuspicions):
            return (SuspicionsReply(event, Suspicions(self._suspicions())),)
        if not isinstance(event, Heard):
            return machine.handle(event, now)
        try:
            return machine.handle(event, now)
        except Exception as error:  # the boundary of one message of a peer, which must not end this node
            self._node.refuse(event.sender, event.message, error)
        return ()

    def perform(self, effect: Effect) -> None:
        """Do what the machine asks for."""
        match effect:
            case Send(to, message):
                self._node.send_control(to, message)
            case SendIfUp(to, message):
                if not self._node.send_control(to, message, if_up=True):
                    self._node.dial(to.address)
            case Dial(address):
                self._node.dial(address)
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case MarkUnreachable(subjects, held_for):
                self._node.cluster_metrics.accusations += 0 if held_for else len(subjects)
                self._node.subsystems.topology.tell(effect)
            case MarkReachable():
                self._node.subsystems.topology.tell(effect)
            case SuspicionsReply(query, suspicions):
                query.reply_to.tell(suspicions)
            case _ as never:
                assert_never(never)

    def _suspicions(self) -> dict[NodeAddress, float]:
        now, machine = self._node.kernel.now(), self._machine
        return {node.address: machine.suspicion(node, now) for node in machine.monitored}


def heartbeat_behavior(node: ClusterNode, machine: Availability) -> Behavior[HeartbeatCmd]:
    """Return the behaviour of ``_heartbeat``."""

    async def main(ctx: ActorContext[HeartbeatCmd], inbox: Inbox[HeartbeatCmd]) -> None:
        driver = HeartbeatDriver(node, machine, ctx)
        await drive(driver, inbox, driver.perform)

    return task(main)
