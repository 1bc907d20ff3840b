"""Chat rooms of a cluster. Look at `room`, of which each lives once, and at `listen`: its lines are a topic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from casty import ActorContext, Behavior, Behaviors, ClusteredActorSystem, EntityKey, Topic, message


@message("chat.Line")
@dataclass(frozen=True)
class Line:
    """Something said in a room; as published, with its number there in front."""

    text: str


ROOMS = EntityKey[Line]("rooms")


def room(name: str) -> Behavior[Line]:
    """Number the lines, in one order for everybody, and publish them."""
    said, lines = list[str](), Topic[Line](name)

    async def handle(ctx: ActorContext[Line], line: Line) -> Behavior[Line]:
        said.append(line.text)
        ctx.system.publish(lines, Line(f"{len(said)} {line.text}"))
        return Behaviors.same()

    return Behaviors.receive(handle)


def host(node: ClusteredActorSystem) -> None:
    """Let a node host its share of the rooms."""
    node.spawn(Behaviors.sharded(room, ROOMS, num_shards=32), "rooms")


def say(node: ClusteredActorSystem, name: str, text: str) -> None:
    """Say something in a room, wherever it lives."""
    node.entity(ROOMS, name).tell(Line(text))


async def listen(node: ClusteredActorSystem, name: str, hear: Callable[[str], object]) -> None:
    """Hear all that is said in a room, from the welcome on."""
    async with node.subscription(Topic[Line](name)) as lines:
        await lines.known()
        hear(f"welcome to {name}")
        async for line in lines:
            hear(line.text)
