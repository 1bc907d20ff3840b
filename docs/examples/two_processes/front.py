"""The other node: it forms the cluster, and asks once a second. Start it first, then worker.py."""

from __future__ import annotations

from typing import TypeAlias

import trio
from worker import COUNTER, PORT, Count

import casty
from casty import ActorContext, AskFailed, AskTimeoutError, Behavior, Behaviors, ClusteredActorSystem

EVENTS = (casty.MemberUp, casty.UnreachableMember, casty.ReachableMember, casty.MemberLeft)
MemberEvent: TypeAlias = casty.MemberUp | casty.UnreachableMember | casty.ReachableMember | casty.MemberLeft


async def print_event(ctx: ActorContext[MemberEvent], event: MemberEvent) -> Behavior[MemberEvent]:
    """Print what happens to the members."""
    print(f"-- {type(event).__name__}: {event.member.id} at {event.member.address}", flush=True)
    return Behaviors.same()


async def ask(system: ClusteredActorSystem, text: str) -> None:
    """Ask the first counter that is listed, if there is one."""
    listing = await system.find(COUNTER)
    if not listing.refs:
        print("no counter is there", flush=True)
        return
    try:
        count: int = await system.ask(listing.refs[0], lambda reply_to: Count(text, reply_to), timeout=2)
        print(f"{text!r} has {count} words", flush=True)
    except (AskFailed, AskTimeoutError) as error:
        print(error, flush=True)


async def main() -> None:
    """Ask for ever; Ctrl-C ends it."""
    async with ClusteredActorSystem(name="words", host="127.0.0.1", port=PORT, node_id="front") as system:
        print("front at", system.self_node, flush=True)
        printer = system.spawn(Behaviors.receive(print_event), "printer")
        for event_type in EVENTS:
            system.event_stream.tell(casty.EventStreamSubscribe(event_type, printer))
        number = 0
        while True:
            number += 1
            await ask(system, f"this is text number {number}")
            await trio.sleep(1)


if __name__ == "__main__":
    try:
        trio.run(main)
    except KeyboardInterrupt:
        print("front has left")
