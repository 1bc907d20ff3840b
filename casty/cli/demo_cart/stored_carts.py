"""Carts with a journal: the entities on the nodes of ``casty demo-cart``, unless it is told to do without."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final, TypeAlias, assert_never

import casty
from casty import ActorRef, Behavior, Behaviors, Effect, EntityKey, Every, ShardEnvelope, nothing, persist
from casty.cli.demo_cart.carts import CARTS, NEVER, NUM_SHARDS

SNAPSHOT_EVENTS: Final = 100


@casty.event("casty.demo.ItemStored")
@dataclass(frozen=True, slots=True)
class ItemStored:
    """An item was put into the cart."""

    item: int


@dataclass(frozen=True, slots=True)
class StoredCart:
    """State of a cart: its items, each as often as it was put in."""

    items: tuple[int, ...] = ()


@casty.message("casty.demo.StoreItem")
@dataclass(frozen=True, slots=True)
class StoreItem:
    """Put one item into the cart; the answer is the number of items in it."""

    item: int
    reply_to: ActorRef[int]


@casty.message("casty.demo.CartItems")
@dataclass(frozen=True, slots=True)
class CartItems:
    """Answer of a cart: all that is in it."""

    items: tuple[int, ...]


@casty.message("casty.demo.ListItems")
@dataclass(frozen=True, slots=True)
class ListItems:
    """Ask for all items of the cart."""

    reply_to: ActorRef[CartItems]


StoredCartCommand: TypeAlias = StoreItem | ListItems

STORED_CARTS = EntityKey[StoredCartCommand](CARTS.name)
"""Kind of the carts; a run has either these or the plain ones."""


def apply(cart: StoredCart, event: ItemStored) -> StoredCart:
    """Return the cart after an event."""
    return replace(cart, items=(*cart.items, event.item))


def decide(cart: StoredCart, command: StoredCartCommand) -> Effect[ItemStored]:
    """Decide a command. The answer to an item leaves once the item is stored."""
    match command:
        case StoreItem(item, reply_to):
            return persist(ItemStored(item)).reply(reply_to, len(cart.items) + 1)
        case ListItems(reply_to):
            return nothing().reply(reply_to, CartItems(cart.items))
        case _ as never:
            assert_never(never)


def stored_cart(entity_id: str) -> Behavior[StoredCartCommand]:
    """Return the behaviour of one cart."""
    return Behaviors.event_sourced(
        empty=StoredCart(), decide=decide, apply=apply, snapshots=Every(SNAPSHOT_EVENTS, keep=2)
    )


def stored_carts() -> Behavior[ShardEnvelope[StoredCartCommand]]:
    """Return the behaviour of a host of carts."""
    return Behaviors.sharded(stored_cart, STORED_CARTS, num_shards=NUM_SHARDS, passivate_after=NEVER)
