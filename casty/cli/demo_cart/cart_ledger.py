"""Ledger of ``casty demo-cart``: everything acknowledged by the carts, compared with each later answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from casty.cli.demo_cart.carts import CartState

FAULTS_KEPT_MAX = 1_000


@dataclass(slots=True)
class CartRecord:
    """One cart, as far as its answers tell."""

    cart: str
    node: str = ""
    """Name of the node with its present activation."""
    activation: int | None = None
    items: int = 0
    """Items in its last answer."""
    acknowledged: int = 0
    """Items acknowledged by its present activation."""
    unknown: int = 0
    """Asks since its last answer with an unknown outcome: each may have added an item."""


@dataclass(slots=True)
class CartLedger:
    """Records of all carts, and the sums."""

    is_killed: Callable[[str], bool]
    """Whether a node was killed."""
    records: dict[str, CartRecord] = field(init=False, default_factory=dict[str, CartRecord])
    acknowledged: int = field(init=False, default=0)
    """Items acknowledged in all."""
    unknown: int = field(init=False, default=0)
    """Asks with an unknown outcome: they ran out of time, or were with a node when it was lost."""
    lost_by_kill: Counter[str] = field(init=False, default_factory=Counter[str])
    """Acknowledged items in the memory of each killed node."""
    carts_killed: int = field(init=False, default=0)
    lost_by_move: int = field(init=False, default=0)
    """Acknowledged items of carts that began again on another node, since their shards moved."""
    carts_moved: int = field(init=False, default=0)
    faults: list[str] = field(init=False, default_factory=list[str])

    def record(self, cart: str) -> CartRecord:
        """Return the record of a cart."""
        return self.records.setdefault(cart, CartRecord(cart))

    def added(self, cart: str, state: CartState) -> None:
        """Take the answer to an `AddItem`."""
        one = self.record(cart)
        self._take(one, state, added=1)
        one.acknowledged += 1
        self.acknowledged += 1

    def outcome_unknown(self, cart: str) -> None:
        """Take note of an ask, perhaps handled."""
        self.record(cart).unknown += 1
        self.unknown += 1

    def found(self, cart: str, state: CartState) -> None:
        """Take the answer to a `GetCart`."""
        self._take(self.record(cart), state, added=0)

    @property
    def carts(self) -> Sequence[str]:
        """Names of all carts asked for an item."""
        return sorted(self.records)

    def silent(self, cart: str) -> None:
        """Take note of a cart without an answer in the end."""
        self._fault(f"{cart} did not answer when it was asked in the end")

    def summary(self) -> list[str]:
        """Return the account in lines."""
        lines = [f"in their carts: {self.kept:,} items of {len(self.records):,} carts"]
        for node, items in self.lost_by_kill.items():
            lines.append(
                f"lost with {node}: {items:,} items of {self.carts_killed:,} carts, which were in its memory alone"
            )
        if self.carts_moved:
            lines.append(
                f"lost by planned moves: {self.lost_by_move:,} items of {self.carts_moved:,} carts, "
                "which began again on another node: plain entities have nothing but their memory"
            )
        return lines

    def wrongs(self) -> list[str]:
        """Return everything that should not be."""
        if self.adds_up:
            return self.faults
        sums = f"{self.acknowledged:,} items were acknowledged, and {self.kept:,} and the lost are another sum"
        return [*self.faults, sums]

    def verdict(self) -> str:
        """Return the last line of a run without wrongs."""
        return "right: every acknowledged item is in its cart, or lost for a reason told above"

    @property
    def kept(self) -> int:
        """Acknowledged items found in their carts, as far as asked."""
        return sum(one.acknowledged for one in self.records.values())

    @property
    def adds_up(self) -> bool:
        """Whether every acknowledged item is in its cart, or lost for a known reason."""
        return self.acknowledged == self.kept + self.lost_by_kill.total() + self.lost_by_move

    def _take(self, one: CartRecord, state: CartState, *, added: int) -> None:
        before, node = one.items, state.node
        if one.activation not in (None, state.activation):
            self._began_again(one, node)
            before = 0
        elif one.activation is None:
            before = 0
        if not before + added <= state.items <= before + added + one.unknown:
            more = f" to {before + added + one.unknown}" if one.unknown else ""
            self._fault(f"{one.cart} on {node} has {state.items} items, and {before + added}{more} would be right")
        one.activation, one.node, one.items, one.unknown = state.activation, node, state.items, 0

    def _began_again(self, one: CartRecord, node: str) -> None:
        if self.is_killed(one.node):
            self.carts_killed += 1
            self.lost_by_kill[one.node] += one.acknowledged
        else:
            if one.node == node:
                self._fault(f"{one.cart} began again on {node}, with {one.acknowledged} items acknowledged before")
            self.carts_moved += 1
            self.lost_by_move += one.acknowledged
        one.acknowledged = 0

    def _fault(self, text: str) -> None:
        if len(self.faults) < FAULTS_KEPT_MAX:
            self.faults.append(text)
