"""Carts: the entities on the nodes of ``casty demo-cart``."""

from __future__ import annotations

from dataclasses import dataclass
from random import SystemRandom
from typing import TypeAlias

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, EntityKey, ShardEnvelope

NUM_SHARDS = 64
NEVER = 86_400.0
"""Seconds without a message after which a cart would end: longer than any run."""

_numbers = SystemRandom()


@casty.message("casty.demo.CartState")
@dataclass(frozen=True, slots=True)
class CartState:
    """Answer of a cart: the number of its items, and the activation with them in its memory."""

    items: int
    activation: int
    """Random number of the activation: another one has started from nothing."""
    node: str
    """Name of the node with the cart."""


@casty.message("casty.demo.AddItem")
@dataclass(frozen=True, slots=True)
class AddItem:
    """Put one more item into the cart."""

    reply_to: ActorRef[CartState]


@casty.message("casty.demo.GetCart")
@dataclass(frozen=True, slots=True)
class GetCart:
    """Ask for the state of the cart."""

    reply_to: ActorRef[CartState]


CartCommand: TypeAlias = AddItem | GetCart

CARTS = EntityKey[CartCommand]("demo.carts")
"""Kind of the carts."""


def cart(entity_id: str) -> Behavior[CartCommand]:
    """Return the behaviour of one cart, empty: a plain entity has nothing but its memory."""
    items, activation = 0, _numbers.getrandbits(62)

    async def handle(ctx: ActorContext[CartCommand], command: CartCommand) -> Behavior[CartCommand]:
        nonlocal items
        items += isinstance(command, AddItem)
        command.reply_to.tell(CartState(items, activation, _node_of(ctx)))
        return Behaviors.same()

    return Behaviors.receive(handle)


def _node_of(ctx: ActorContext[CartCommand]) -> str:
    system = ctx.system
    return system.cluster_config.node_id if isinstance(system, ClusteredActorSystem) else system.name


def carts() -> Behavior[ShardEnvelope[CartCommand]]:
    """Return the behaviour of a host of carts."""
    return Behaviors.sharded(cart, CARTS, num_shards=NUM_SHARDS, passivate_after=NEVER)
