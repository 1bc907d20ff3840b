"""The driver of failure detection: the actor ``_availability``."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, assert_never

from casty.address import NodeAddress
from casty.cluster.commands import AvailabilityCmd, GetSuspicions, Suspicions
from casty.cluster.node import ClusterNode
from casty.cluster.peer_queue import PeerReady
from casty.protocol.effects import Dial, Send, StartTimer, TimerFired
from casty.protocol.failure_detector.custom_detectors import DetectorFailed
from casty.protocol.failure_detector.heartbeat import SendHeartbeats
from casty.protocol.failure_detector.monitor import (
    CHECK,
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


class AvailabilityDriver:
    """Driver of the machine: its query, and the performance of its effects."""

    def __init__(self, node: ClusterNode, machine: Availability, ctx: ActorContext[AvailabilityCmd]) -> None:
        self._node = node
        self._machine = machine
        self._ctx = ctx
        node.cluster_metrics.suspicions = self._suspicions

    def handle(self, event: AvailabilityCmd, now: float) -> Sequence[Effect]:
        """Take a query or an event of the machine; before a check, all waiting answers."""
        match event:
            case GetSuspicions():
                return (SuspicionsReply(event, Suspicions(self._suspicions())),)
            case PeerReady():
                heard = self._node.availability_mail.take(event)
                return () if heard is None else self._take(heard, now)
            case TimerFired(key) if key == CHECK:
                waiting = self._node.availability_mail.take_all()
                effects = [effect for heard in waiting for effect in self._take(heard, now)]
                return [*effects, *self._machine.handle(event, now)]
            case _:
                return self._machine.handle(event, now)

    def _take(self, heard: Heard, now: float) -> Sequence[Effect]:
        """Take a peer's message."""
        return self._node.within_boundary(heard.sender, heard.message, lambda: self._machine.handle(heard, now))

    def perform(self, effect: Effect) -> None:
        """Perform an effect of the machine."""
        match effect:
            case Send(to, message):
                self._node.send_control(to, message)
            case SendHeartbeats():
                self._node.subsystems.heartbeat.tell(effect)
            case Dial(address):
                self._node.dial(address)
            case StartTimer(key, delay):
                self._ctx.schedule_once(TimerFired(key), delay, key=key)
            case MarkUnreachable(subjects, held_for):
                self._node.cluster_metrics.accusations += 0 if held_for else len(subjects)
                self._node.subsystems.topology.tell(effect)
            case MarkReachable():
                self._node.subsystems.topology.tell(effect)
            case DetectorFailed(node, text):
                self._node.cluster_metrics.detector_failures += 1
                said = f"its failure detector is at fault, phi accrual judges it now: {text}"
                self._node.cluster_complaints.say(logging.ERROR, node.address, said, length_max=len(said))
            case SuspicionsReply(query, suspicions):
                query.reply_to.tell(suspicions)
            case _ as never:
                assert_never(never)

    def _suspicions(self) -> dict[NodeAddress, float]:
        now, machine = self._node.kernel.now(), self._machine
        return {node.address: machine.suspicion(node, now) for node in machine.monitored}


def availability_behavior(node: ClusterNode, machine: Availability) -> Behavior[AvailabilityCmd]:
    """Return the behaviour of ``_availability``."""

    async def main(ctx: ActorContext[AvailabilityCmd], inbox: Inbox[AvailabilityCmd]) -> None:
        driver = AvailabilityDriver(node, machine, ctx)
        await drive(driver, inbox, driver.perform)

    return task(main)
