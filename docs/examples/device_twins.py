"""Device twins. Look at `twin`: the last word of each device, and how old it is, whichever node asks."""

from __future__ import annotations

from dataclasses import dataclass

import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, EntityKey, Inbox, MemoryNetwork


@casty.message("example.Measured")
@dataclass(frozen=True)
class Measured:
    """A device says its temperature."""

    celsius: float


@casty.message("example.Look")
@dataclass(frozen=True)
class Look:
    """Ask for the last word of a device."""

    reply_to: ActorRef[str]


SILENCE, TWINS = 0.3, EntityKey[Measured | Look]("twins")


def twin(device: str) -> Behavior[Measured | Look]:
    async def live(ctx: ActorContext[Measured | Look], inbox: Inbox[Measured | Look]) -> None:
        word, said_at = "has said nothing", trio.current_time()
        async for message in inbox:
            match message:
                case Measured(celsius):
                    word, said_at = f"has {celsius:.1f} degrees", trio.current_time()
                case Look(reply_to):
                    is_silent = trio.current_time() - said_at > SILENCE
                    reply_to.tell(f"{device} {word}{', and is silent' if is_silent else ''}")

    return Behaviors.task(live)


async def main() -> None:
    net = MemoryNetwork()
    one = ClusteredActorSystem(name="iot", host="a", port=1, node_id="a", network=net.host("a"))
    two = ClusteredActorSystem(name="iot", host="b", port=1, node_id="b", seed_nodes=[("a", 1)], network=net.host("b"))
    async with one, two:
        one.spawn(Behaviors.sharded(twin, TWINS, num_shards=16), "twins")  # the other node only calls
        two.entity(TWINS, "device-1").tell(Measured(21.0))
        for pause in (0.1, 2 * SILENCE):
            await trio.sleep(pause)
            print(await two.ask(two.entity(TWINS, "device-1"), Look))


if __name__ == "__main__":
    trio.run(main)
