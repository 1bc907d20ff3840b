"""The failure detection and what waits for it."""

from __future__ import annotations

from casty.cluster.membership.availability import AvailabilityDriver
from casty.protocol.effects import TimerFired
from casty.protocol.failure_detector.monitor import CHECK, Availability, Heard, MarkUnreachable, WatchMembers
from casty.protocol.messages.liveness import HeartbeatAck
from casty.runtime.system.context import ActorContext
from casty.testing.samples import run_of

A, B, C = (run_of(name) for name in "abc")


async def test_check_takes_the_answers_that_have_come_and_accuses_nobody_who_gave_them(autojump_clock, nodes) -> None:
    node = (await nodes.start("a")).node
    machine = Availability(A)
    driver = AvailabilityDriver(node, machine, ActorContext)  # the context performs effects, and none is performed
    machine.handle(WatchMembers((A, B, C)), 0.0)
    for beat in range(15):
        node.availability_mail.put(B, Heard(B, HeartbeatAck(beat), beat * 0.5), 60)
    effects = driver.handle(TimerFired(CHECK), 7.0)
    assert [effect.subjects for effect in effects if isinstance(effect, MarkUnreachable)] == [(C,)]
    assert node.availability_mail.waiting == 0
