"""Shoppers of ``casty demo-cart``: tasks filling carts, each its own ones, one ask after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import trio

from casty import ClusteredActorSystem
from casty.cli.demo_cart.cart_calls import CartAsks, CartCalls
from casty.cli.demo_cart.cart_progress import CartProgress

SHOPPERS: Final = 64
"""Asks in flight."""
CARTS_EACH: Final = 16


@dataclass(slots=True)
class Shoppers:
    """All shoppers of one run, at one node."""

    system: ClusteredActorSystem
    calls: CartCalls
    progress: CartProgress
    acknowledged: Callable[[], None]
    """Called after each acknowledged item."""
    is_over: bool = field(init=False, default=False)
    """Set to end the shopping."""
    _rng: Random = field(init=False, default_factory=lambda: Random(0))
    _asks: CartAsks = field(init=False)

    def __post_init__(self) -> None:
        self._asks = CartAsks(self.system, self._refused)

    async def shop(self) -> None:
        """Fill carts until `is_over`."""
        async with trio.open_nursery() as nursery:
            for number in range(SHOPPERS):
                mine = [f"cart-{number * CARTS_EACH + one}" for one in range(CARTS_EACH)]
                nursery.start_soon(self._fill, mine)

    async def look(self) -> None:
        """Look at every cart, `SHOPPERS` of them at one time."""
        waiting = self.calls.account.carts
        async with trio.open_nursery() as nursery:
            for number in range(SHOPPERS):
                nursery.start_soon(self._look_at, list(waiting[number::SHOPPERS]))

    async def _fill(self, carts: list[str]) -> None:
        while not self.is_over:
            cart = self._rng.choice(carts)
            began = trio.current_time()
            if not await self.calls.add(self._asks, cart):
                continue
            now = trio.current_time()
            self.progress.times.add(now, now - began)
            self.acknowledged()

    async def _look_at(self, carts: list[str]) -> None:
        for cart in carts:
            await self.calls.look(self._asks, cart)

    def _refused(self) -> None:
        self.progress.refused += 1
