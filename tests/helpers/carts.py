"""A shopping cart as events: the sample of the tests of event sourcing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import assert_never

from casty import ActorRef, Behavior, Behaviors, Effect, event, message, nothing, persist, refuse


@event("carts.Added")
@dataclass(frozen=True)
class Added:
    sku: str
    count: int


@event("carts.CheckedOut")
@dataclass(frozen=True)
class CheckedOut: ...


CartEvent = Added | CheckedOut


@event("carts.Cart")
@dataclass(frozen=True)
class Cart:
    items: Mapping[str, int] = field(default_factory=dict[str, int])
    is_open: bool = True


@message("carts.Add")
@dataclass(frozen=True)
class Add:
    sku: str
    count: int
    reply_to: ActorRef[int]


@message("carts.Get")
@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[dict[str, int]]


@message("carts.CheckOut")
@dataclass(frozen=True)
class CheckOut:
    reply_to: ActorRef[int]


@message("carts.Leave")
@dataclass(frozen=True)
class Leave:
    reply_to: ActorRef[int]


CartCommand = Add | Get | CheckOut | Leave


def apply(cart: Cart, event: CartEvent) -> Cart:
    match event:
        case Added(sku, count):
            return replace(cart, items={**cart.items, sku: cart.items.get(sku, 0) + count})
        case CheckedOut():
            return replace(cart, is_open=False)
        case _ as never:
            assert_never(never)


def decide(cart: Cart, command: CartCommand) -> Effect[CartEvent]:
    match command:
        case Add(sku, count, reply_to) if cart.is_open:
            return persist(Added(sku, count)).reply(reply_to, cart.items.get(sku, 0) + count)
        case Add(_, _, reply_to):
            return refuse(reply_to, "the cart is checked out")
        case Get(reply_to):
            return nothing().reply(reply_to, dict(cart.items))
        case CheckOut(reply_to):
            return persist(CheckedOut()).reply(reply_to, len(cart.items))
        case Leave(reply_to):
            return nothing().reply(reply_to, 0).stop()
        case _ as never:
            assert_never(never)


def cart(entity_id: str) -> Behavior[CartCommand]:
    return Behaviors.event_sourced(empty=Cart(), decide=decide, apply=apply)
