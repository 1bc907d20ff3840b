"""Who is sent heartbeats, and whose are answered."""

from __future__ import annotations

from casty.protocol.effects import SendIfUp
from casty.protocol.failure_detector.heartbeat import HeartbeatCame, HeartbeatSender, SendHeartbeats
from casty.protocol.messages.liveness import Heartbeat, HeartbeatAck
from casty.testing.samples import run_of

B, C = run_of("b"), run_of("c")


def test_heartbeat_is_answered_with_its_number_even_to_a_stranger() -> None:
    assert HeartbeatSender().handle(HeartbeatCame(C, 9), 1.0) == [SendIfUp(C, HeartbeatAck(9))]


def test_heartbeats_go_to_whom_the_failure_detection_names() -> None:
    sends = HeartbeatSender().handle(SendHeartbeats((B, C), 4), 1.0)
    assert sends == [SendIfUp(B, Heartbeat(4)), SendIfUp(C, Heartbeat(4))]
