"""Shoppers of ``casty demo-cart``: tasks filling carts, each its own ones, one ask after the other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Final

import trio

from casty import ActorRef, AskFailed, AskTimeoutError, ClusteredActorSystem
from casty.cli.demo_cart.cart_progress import CartProgress
from casty.cli.demo_cart.carts import CARTS, AddItem, CartCommand, CartState, GetCart

ASK_TIMEOUT: Final = 30.0
"""Seconds for one ask: longer than a lost node is waited for."""
AGAIN_AFTER: Final = 0.02
"""Seconds before a refused ask is made again."""
AGAIN_MAX: Final = 3_000
SHOPPERS: Final = 64
"""Asks in flight."""
CARTS_EACH: Final = 16


@dataclass(slots=True)
class Shoppers:
    """All shoppers of one run."""

    system: ClusteredActorSystem
    progress: CartProgress
    acknowledged: Callable[[], None]
    """Called after each acknowledged item."""
    is_over: bool = field(init=False, default=False)
    """Set to end the shopping."""
    _rng: Random = field(init=False, default_factory=lambda: Random(0))

    async def shop(self) -> None:
        """Fill carts until `is_over`."""
        async with trio.open_nursery() as nursery:
            for number in range(SHOPPERS):
                mine = [f"cart-{number * CARTS_EACH + one}" for one in range(CARTS_EACH)]
                nursery.start_soon(self._fill, mine)

    async def look(self) -> None:
        """Ask every cart for its state, `SHOPPERS` of them at one time."""
        waiting = sorted(self.progress.ledger.records)
        async with trio.open_nursery() as nursery:
            for number in range(SHOPPERS):
                nursery.start_soon(self._look_at, waiting[number::SHOPPERS])

    async def _fill(self, carts: list[str]) -> None:
        while not self.is_over:
            cart = self._rng.choice(carts)
            began = trio.current_time()
            state = await self._ask(cart, AddItem)
            if state is None:
                self.progress.ledger.outcome_unknown(cart)
                continue
            now = trio.current_time()
            self.progress.times.add(now, now - began)
            self.progress.ledger.added(cart, state)
            self.acknowledged()

    async def _look_at(self, carts: list[str]) -> None:
        for cart in carts:
            state = await self._ask(cart, GetCart)
            if state is None:
                self.progress.ledger.faults.append(f"{cart} did not answer when it was asked in the end")
            else:
                self.progress.ledger.found(cart, state)

    async def _ask(self, cart: str, make: Callable[[ActorRef[CartState]], CartCommand]) -> CartState | None:
        """Return the answer of a cart; None for an unknown outcome. A refused ask is made again."""
        ref = self.system.entity(CARTS, cart)
        for _ in range(AGAIN_MAX):
            try:
                state: CartState = await self.system.ask(ref, make, timeout=ASK_TIMEOUT)
            except AskTimeoutError:
                return None
            except AskFailed as failed:
                if not failed.certainly_not_handled:
                    return None
                self.progress.refused += 1
                await trio.sleep(AGAIN_AFTER)
            else:
                return state
        return None
