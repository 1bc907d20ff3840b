"""Knowledge of other members about the subscribers of this node: asked for, and waited for.

Owns the two messages, and the wait. A member that has said once to know of a topic's actor knows it for as long as that
actor is there.

How it works: each member without an answer is asked again every `ASKED_EVERY` seconds, and answers as soon as its
receptionist lists the actor. So a lost message costs one more of them, and a member need not remember who has asked.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import trio

from casty.cluster.node import ClusterNode
from casty.cluster.pubsub.topic_actor import LocalTopic, service_of
from casty.errors import ClusterTimeoutError
from casty.protocol.state.member import Member, MemberStatus
from casty.schema.names import message

ASKED_EVERY = 0.1
"""Seconds between two questions to one member."""
NAMED_MAX = 16
"""Members named in an error."""


@message("casty.pubsub.IsTopicKnown")
@dataclass(frozen=True, slots=True)
class IsTopicKnown:
    """Question to a member: is this actor of the sender's listed under this name?"""

    service: str
    uid: int


@message("casty.pubsub.TopicKnown")
@dataclass(frozen=True, slots=True)
class TopicKnown:
    """Answer: it is."""

    service: str
    uid: int


async def wait_known(node: ClusterNode, local: LocalTopic, uid: int, timeout: float) -> None:
    """Wait until all other members that are up and reachable know of a topic's actor. ClusterTimeoutError else."""
    question = IsTopicKnown(service_of(local.topic), uid)
    if not _unaware(node, local):
        await trio.lowlevel.checkpoint()
        return  # whatever the time
    with trio.move_on_after(timeout):
        await trio.lowlevel.checkpoint()
        while waiting := _unaware(node, local):
            for member in waiting:
                node.send_control(member.unique, question)
            with trio.move_on_after(ASKED_EVERY):
                while _unaware(node, local):
                    await local.changed.wait()
        return
    missing = ", ".join(f"{member.id} at {member.address}" for member in _unaware(node, local)[:NAMED_MAX])
    raise ClusterTimeoutError(f"after {timeout:g} s not known of the subscribers of {local.topic!r}: {missing}")


def _unaware(node: ClusterNode, local: LocalTopic) -> list[Member]:
    return [one for one in _others(node) if one.unique not in local.known_by]


def _others(node: ClusterNode) -> Iterable[Member]:
    """Yield the other members that may publish, by address."""
    able = (MemberStatus.up, MemberStatus.leaving)
    found = [one for one in node.board.members if one.status in able and one.unique != node.self_node]
    found.sort(key=lambda member: member.unique)
    return (one for one in found if node.unreachable_since(one.address) is None)
