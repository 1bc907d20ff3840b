"""Large messages over real sockets: whole, in order, and once, whatever the sockets take at once."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, MemberUp

WITHIN = 60.0
ROUNDS = 60


@casty.message("tests.over_tcp.Letter")
@dataclass(frozen=True)
class Letter:
    number: int
    text: str
    data: bytes = b""


@casty.message("tests.over_tcp.Echo")
@dataclass(frozen=True)
class Echo:
    letter: Letter
    text: str
    reply_to: ActorRef[str]


def letters(seed: int) -> list[Letter]:
    """Return small and large letters, no two alike; some are more than a socket takes at once."""
    rng = Random(seed)
    units = ["x", "é", "€", "\U0001f600"]
    made: list[Letter] = []
    for number in range(ROUNDS):
        size = rng.choice([1, 100, 65_535, 65_536, 300_000])
        text = f"{number} " + rng.choice(units) * (size // 4)
        made.append(Letter(number, text, rng.randbytes(size) if rng.random() < 0.5 else b""))
    return made


async def test_small_and_large_messages_arrive_whole_in_order_and_once() -> None:
    got: list[Letter] = []

    async def keep(_: ActorContext[Letter | Echo], message: Letter | Echo) -> Behavior[Letter | Echo]:
        if isinstance(message, Echo):
            message.reply_to.tell(message.text)
        else:
            got.append(message)
        return Behaviors.same()

    async with ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="first") as first:
        first.spawn(Behaviors.receive(keep), "sink")
        seeds = [(first.self_node.host, first.self_node.port)]
        async with (
            first.events(MemberUp) as events,
            ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="second", seed_nodes=seeds) as second,
        ):
            with trio.fail_after(WITHIN):
                async for event in events:
                    if event.member.id == "second":
                        break
                ref = second.remote("/sink", first.self_node).of(Letter | Echo)
                sent: list[Letter] = []
                for turn in map(letters, range(3)):
                    for letter in turn:
                        await ref.send(letter)
                    await second.ask(ref, lambda reply_to: Echo(Letter(0, ""), "x" * 1_000_000, reply_to))
                    burst = [Letter(number, "z" * 700_000 + str(number)) for number in range(10)]
                    for letter in burst:  # more than the sockets take, and less than may be queued
                        ref.tell(letter)
                    sent += turn + burst
                    while len(got) < len(sent):  # noqa: ASYNC110  # real time: the mailbox is emptied by then
                        await trio.sleep(0.01)
                text = "y" * 1_000_000
                assert text == await second.ask(ref, lambda reply_to: Echo(Letter(0, ""), text, reply_to))
    assert got == sent
