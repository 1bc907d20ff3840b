"""One node of two: it counts words for whoever asks. Start front.py first."""

from __future__ import annotations

import os
from dataclasses import dataclass

import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, ServiceKey

PORT = int(os.environ.get("WORDS_PORT", "2551"))


@casty.message("words.Count")
@dataclass(frozen=True)
class Count:
    """Tell ``reply_to`` how many words the text has."""

    text: str
    reply_to: ActorRef[int]


COUNTER = ServiceKey[Count]("counter")


async def counter(ctx: ActorContext[Count], message: Count) -> Behavior[Count]:
    """Count the words of one text."""
    print("counting:", message.text, flush=True)
    message.reply_to.tell(len(message.text.split()))
    return Behaviors.same()


async def main() -> None:
    """Join the cluster that front.py has formed, offer the counter, and stay."""
    async with ClusteredActorSystem(
        name="words", host="127.0.0.1", port=0, node_id="worker", seed_nodes=[("127.0.0.1", PORT)]
    ) as system:
        system.spawn(Behaviors.discoverable(Behaviors.receive(counter), key=COUNTER), "counter")
        print("worker at", system.self_node, flush=True)
        await system.wait_stopped()


if __name__ == "__main__":
    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("worker has left")
