"""Private messages. Look at the types of `worker` and `service`: others know less than the actor takes."""

from dataclasses import dataclass
from io import StringIO

import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, Inbox, MemoryNetwork


@casty.message("example.Measure")
@dataclass(frozen=True)
class Measure:  # what others tell
    reply_to: ActorRef[float]


@dataclass(frozen=True)
class Opened:  # private: what is open in a process cannot travel
    device: StringIO


THERMOMETERS = casty.ServiceKey[Measure]("thermometers")


async def open_device() -> Opened:
    return Opened(StringIO("21.5\n"))


async def run(ctx: ActorContext[Measure | Opened], inbox: Inbox[Measure | Opened]) -> None:
    ctx.pipe_to_self(open_device)
    device = StringIO()  # nothing to read yet
    async for message in inbox:
        if isinstance(message, Opened):
            device = message.device
        else:
            message.reply_to.tell(float(device.readline() or "nan"))


def worker() -> Behavior[Measure | Opened]:
    return Behaviors.task(run)


def service() -> Behavior[Measure]:
    return Behaviors.discoverable(worker(), key=THERMOMETERS)


async def main() -> None:
    net = MemoryNetwork()
    one = ClusteredActorSystem(name="home", host="a", port=1, node_id="a", network=net.host("a"))
    two = ClusteredActorSystem(name="home", host="b", port=1, node_id="b", network=net.host("b"), seed_nodes=[("a", 1)])
    async with one, two:
        one.spawn(service(), "thermometer")
        listing = await two.find(THERMOMETERS, at_least=1)
        print(await two.ask(listing.refs[0], Measure), "degrees on the other node")


if __name__ == "__main__":
    trio.run(main)
