"""Kinds of entities carry their message types to every ref, and to the factory that hosts them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import assert_type

from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    Behavior,
    Behaviors,
    EntityKey,
    EntityRef,
    ServiceKey,
    ShardEnvelope,
)


@dataclass(frozen=True)
class Add:
    count: int


@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int]


CARTS = EntityKey[Add | Get]("carts")
OTHERS = ServiceKey[Add | Get]("carts")


def cart(entity_id: str) -> Behavior[Add | Get]:
    async def handle(ctx: ActorContext[Add | Get], message: Add | Get) -> Behavior[Add | Get]:
        return Behaviors.same()

    return Behaviors.receive(handle)


def adds_alone(entity_id: str) -> Behavior[Add]:
    return Behaviors.ignore()


def by_number(number: int) -> Behavior[Add | Get]:
    return cart(str(number))


async def entities(system: ActorSystem, ctx: ActorContext[Add]) -> None:
    ref = system.entity(CARTS, "cart-1")
    assert_type(ref, EntityRef[Add | Get])
    assert_type(ctx.entity(CARTS, "cart-1"), EntityRef[Add | Get])
    adds: ActorRef[Add] = ref
    adds.tell(Add(1))
    ref.tell(Add(1))
    ref.tell("add")  # expect-error
    ref.tell(Get(adds))  # expect-error
    total: int = await system.ask(ref, lambda reply_to: Get(reply_to))
    text: str = await system.ask(ref, lambda reply_to: Get(reply_to))  # expect-error
    system.entity(OTHERS, "cart-1")  # expect-error
    system.entity(CARTS, total + len(text))  # expect-error


def hosts(system: ActorSystem) -> None:
    region = system.spawn(Behaviors.sharded(cart, CARTS), "carts")
    assert_type(region, ActorRef[ShardEnvelope[Add | Get]])
    region.tell(ShardEnvelope("cart-1", Add(1)))
    region.tell(Add(1))  # expect-error
    region.tell(ShardEnvelope(1, Add(1)))  # expect-error
    Behaviors.sharded(adds_alone, CARTS)  # expect-error
    Behaviors.sharded(by_number, CARTS)  # expect-error
    Behaviors.sharded(cart, CARTS, num_shards="many")  # expect-error


def numbering() -> Behavior[Add | Get]:
    return cart("")


def singletons(system: ActorSystem, ctx: ActorContext[Add]) -> None:
    assert_type(system.singleton(CARTS), EntityRef[Add | Get])
    assert_type(ctx.singleton(CARTS), EntityRef[Add | Get])
    system.singleton(CARTS).tell("add")  # expect-error
    system.singleton(OTHERS)  # expect-error
    proxy = system.spawn(Behaviors.singleton(numbering, CARTS, role="db"), "numbers")
    assert_type(proxy, ActorRef[Add | Get])
    proxy.tell("add")  # expect-error
    Behaviors.singleton(cart, CARTS)  # expect-error
    Behaviors.singleton(lambda: adds_alone(""), CARTS)  # expect-error
    Behaviors.singleton(numbering, CARTS, role=7)  # expect-error
