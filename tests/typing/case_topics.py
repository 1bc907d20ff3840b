"""Topics and broadcasts carry their message types to publishers, subscribers and outcomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_type

from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    AskFailed,
    Behavior,
    Behaviors,
    Broadcast,
    NodeAddress,
    ServiceKey,
    Topic,
    TopicSubscription,
)


@dataclass(frozen=True)
class Price:
    cents: int


@dataclass(frozen=True)
class Size:
    reply_to: ActorRef[int]


PRICES = Topic[Price]("prices")
CACHES = ServiceKey[Price | Size]("caches")


def sizes(reply_to: ActorRef[int]) -> Size:
    return Size(reply_to)


async def take(ctx: ActorContext[int], message: int) -> Behavior[int]:
    return Behaviors.same()


async def topics(
    system: ActorSystem, prices: ActorRef[Price], wide: ActorRef[Price | int], ints: ActorRef[int]
) -> None:
    system.subscribe(PRICES, prices)
    system.subscribe(PRICES, wide)
    system.subscribe(PRICES, ints)  # expect-error
    system.subscribe(CACHES, prices)  # expect-error
    system.unsubscribe(PRICES, ints)  # expect-error
    assert_type(system.publish(PRICES, Price(1)), int)
    system.publish(PRICES, 1)  # expect-error
    system.publish("prices", Price(1))  # expect-error
    async with system.subscription(PRICES, capacity=10) as inbox:
        assert_type(inbox, TopicSubscription[Price])
        await inbox.known(timeout=1.0)
        async for price in inbox:
            assert_type(price, Price)
    system.subscription(PRICES, capacity="10")  # expect-error


async def broadcasts(system: ActorSystem, cache: Behavior[Price | Size], prices: Behavior[Price]) -> None:
    assert_type(system.broadcast(CACHES), Broadcast[Price | Size])
    system.broadcast(CACHES).tell(Price(1))
    system.broadcast(CACHES).tell(1)  # expect-error
    system.broadcast(PRICES)  # expect-error
    outcomes = await system.ask_all(CACHES, sizes)
    assert_type(outcomes, Mapping[NodeAddress, int | AskFailed])
    counts: Mapping[NodeAddress, int | AskFailed] = await system.ask_all(CACHES, lambda to: Size(to), timeout=1.0)
    texts: Mapping[NodeAddress, str | AskFailed] = await system.ask_all(CACHES, sizes)  # expect-error
    assert len(counts) == len(texts)
    ref = system.spawn(Behaviors.broadcasted(cache, CACHES), "cache")
    assert_type(ref, ActorRef[Price | Size])
    Behaviors.broadcasted(prices, CACHES)  # expect-error
    Behaviors.broadcasted(prices, PRICES)  # expect-error
