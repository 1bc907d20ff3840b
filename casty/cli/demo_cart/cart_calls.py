"""Calls of carts by the shoppers of ``casty demo-cart``: of plain ones, and of stored ones, each with its account."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Final, Protocol, TypeVar

import trio

from casty import ActorRef, AskFailed, AskTimeoutError, ClusteredActorSystem
from casty.cli.demo_cart.cart_ledger import CartLedger
from casty.cli.demo_cart.carts import CARTS, AddItem, CartState, GetCart
from casty.cli.demo_cart.stored_cart_ledger import StoredCartLedger
from casty.cli.demo_cart.stored_carts import STORED_CARTS, CartItems, ListItems, StoreItem

M = TypeVar("M")
R = TypeVar("R")

ASK_TIMEOUT: Final = 30.0
"""Seconds for one ask: longer than a lost node is waited for."""
AGAIN_AFTER: Final = 0.02
"""Seconds before a refused ask is made again."""
AGAIN_MAX: Final = 3_000


@dataclass(slots=True)
class CartAsks:
    """Asks of carts by one node; one without any effect is made again."""

    system: ClusteredActorSystem
    refused: Callable[[], None]
    """Called before an ask is made again."""

    async def ask(self, ref: ActorRef[M], make: Callable[[ActorRef[R]], M]) -> R | None:
        """Return the answer of a cart; None for an unknown outcome."""
        for _ in range(AGAIN_MAX):
            try:
                answer: R = await self.system.ask(ref, make, timeout=ASK_TIMEOUT)
            except AskTimeoutError as late:
                if not late.certainly_not_handled:
                    return None
                self.refused()
            except AskFailed as failed:
                if not (failed.certainly_not_handled or failed.failure == "journal_unavailable"):
                    return None
                self.refused()
                await trio.sleep(AGAIN_AFTER)
            else:
                return answer
        return None


class CartAccount(Protocol):
    """Account of a run."""

    @property
    def acknowledged(self) -> int:
        """Items acknowledged so far."""
        ...

    @property
    def unknown(self) -> int:
        """Asks of unknown outcome so far."""
        ...

    @property
    def carts(self) -> Sequence[str]:
        """Names of all carts asked for an item."""
        ...

    def summary(self) -> list[str]:
        """Return the account in lines."""
        ...

    def wrongs(self) -> list[str]:
        """Return everything that should not be."""
        ...

    def verdict(self) -> str:
        """Return the last line of a run without wrongs."""
        ...


class CartCalls(Protocol):
    """Calls of one kind of carts."""

    @property
    def account(self) -> CartAccount:
        """Account of the answers."""
        ...

    async def add(self, asks: CartAsks, cart: str) -> bool:
        """Put a new item into a cart; return whether it was acknowledged."""
        ...

    async def look(self, asks: CartAsks, cart: str) -> None:
        """Compare a cart with the account."""
        ...


@dataclass(slots=True)
class PlainCartCalls:
    """Calls of plain carts."""

    account: CartLedger

    async def add(self, asks: CartAsks, cart: str) -> bool:
        """Put an item into a cart; return whether it was acknowledged."""
        state: CartState | None = await asks.ask(asks.system.entity(CARTS, cart), AddItem)
        if state is None:
            self.account.outcome_unknown(cart)
            return False
        self.account.added(cart, state)
        return True

    async def look(self, asks: CartAsks, cart: str) -> None:
        """Compare the number of items in a cart."""
        state: CartState | None = await asks.ask(asks.system.entity(CARTS, cart), GetCart)
        if state is None:
            self.account.silent(cart)
        else:
            self.account.found(cart, state)


@dataclass(slots=True)
class StoredCartCalls:
    """Calls of stored carts; each item has a number of its own."""

    account: StoredCartLedger
    _numbers: count[int] = field(default_factory=lambda: count(1))

    async def add(self, asks: CartAsks, cart: str) -> bool:
        """Put a new item into a cart; return whether it was acknowledged."""
        item = next(self._numbers)
        with self._in_flight(cart, item):
            ref = asks.system.entity(STORED_CARTS, cart)
            answer: int | None = await asks.ask(ref, lambda reply_to: StoreItem(item, reply_to))
            if answer is None:
                return False
            self.account.acknowledge(cart, item)
            return True

    async def look(self, asks: CartAsks, cart: str) -> None:
        """Compare the items in a cart."""
        answer: CartItems | None = await asks.ask(asks.system.entity(STORED_CARTS, cart), ListItems)
        if answer is None:
            self.account.silent(cart)
        else:
            self.account.found(cart, answer.items)

    @contextmanager
    def _in_flight(self, cart: str, item: int) -> Generator[None]:
        """Count an item as on its way; a cancelled ask leaves it with an unknown outcome, as a lost one does."""
        self.account.ask(cart, item)
        try:
            yield
        finally:
            self.account.in_flight -= 1
