"""Signs of life of this node: answers to heartbeats of others, and heartbeats of its own.

Owns nothing but its promptness: it has no queue of work before it and no decision to take, so an answer never waits for
a verdict about somebody else. It does not know who is monitored, the meaning of a number, or the worth of an answer
(`monitor` gives it each number, and its receiver).

Source: the heartbeat sender and receiver of Akka Cluster; deviation: one task is both, and a schedule is none of its
business.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import assert_never

from casty.address import UniqueAddress
from casty.protocol.effects import SendIfUp
from casty.protocol.messages.liveness import Heartbeat, HeartbeatAck


@dataclass(frozen=True, slots=True)
class SendHeartbeats:
    """Event: ask these members, with a heartbeat of this number, whether they are there."""

    to: tuple[UniqueAddress, ...]
    sequence: int


@dataclass(frozen=True, slots=True)
class HeartbeatCame:
    """Event: a node asks with a heartbeat of this number."""

    sender: UniqueAddress
    sequence: int


HeartbeatEvent = SendHeartbeats | HeartbeatCame


@dataclass(frozen=True, slots=True)
class HeartbeatSender:
    """The machine; feed it `HeartbeatEvent` values. Whoever asks is answered, members or not."""

    def handle(self, event: HeartbeatEvent, now: float) -> Sequence[SendIfUp]:
        """Return the messages due after one event, over present links."""
        match event:
            case SendHeartbeats(to, sequence):
                beat = Heartbeat(sequence)
                return [SendIfUp(node, beat) for node in to]
            case HeartbeatCame(sender, sequence):
                return [SendIfUp(sender, HeartbeatAck(sequence))]
            case _ as never:
                assert_never(never)
