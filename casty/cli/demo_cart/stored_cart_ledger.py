"""Ledger of ``casty demo-cart`` with a journal: every item asked for, compared with the carts in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

FAULTS_KEPT_MAX: Final = 1_000


@dataclass(slots=True)
class StoredCartRecord:
    """Items of one cart, as far as its answers tell."""

    acknowledged: set[int] = field(default_factory=set[int])
    unknown: set[int] = field(default_factory=set[int])
    """Items asked for without an answer: each may be in the cart, once."""


@dataclass(slots=True)
class StoredCartLedger:
    """Records of all carts, and the sums of the last comparison."""

    records: dict[str, StoredCartRecord] = field(init=False, default_factory=dict[str, StoredCartRecord])
    acknowledged: int = field(init=False, default=0)
    asked: int = field(init=False, default=0)
    in_flight: int = field(init=False, default=0)
    """Items on their way at the moment."""
    looked_at: int = field(init=False, default=0)
    """Carts compared."""
    once: int = field(init=False, default=0)
    """Acknowledged items found once."""
    lost: int = field(init=False, default=0)
    """Acknowledged items not found."""
    repeated: int = field(init=False, default=0)
    """Items found more than once."""
    strange: int = field(init=False, default=0)
    """Items found in a cart that nobody has put there."""
    unknown_stored: int = field(init=False, default=0)
    """Items of unknown outcome, found once."""
    faults: list[str] = field(init=False, default_factory=list[str])

    @property
    def unknown(self) -> int:
        """Items of unknown outcome: their asks have ended without an answer."""
        return self.asked - self.acknowledged - self.in_flight

    @property
    def carts(self) -> Sequence[str]:
        """Names of all carts asked for an item."""
        return sorted(self.records)

    def ask(self, cart: str, item: int) -> None:
        """Take note of an item on its way to a cart."""
        self.asked += 1
        self.in_flight += 1
        self.records.setdefault(cart, StoredCartRecord()).unknown.add(item)

    def acknowledge(self, cart: str, item: int) -> None:
        """Take the answer to an item."""
        self.acknowledged += 1
        record = self.records[cart]
        record.unknown.remove(item)
        record.acknowledged.add(item)

    def silent(self, cart: str) -> None:
        """Take note of a cart without an answer in the end."""
        self._fault(f"{cart} did not answer when it was asked in the end")

    def found(self, cart: str, items: Sequence[int]) -> None:
        """Compare a cart with its record, once."""
        self.looked_at += 1
        record, times = self.records[cart], Counter(items)
        for item in sorted(record.acknowledged):
            if not times[item]:
                self.lost += 1
                self._fault(f"{cart} has lost item {item}, which it had acknowledged")
        for item, often in sorted(times.items()):
            if item not in record.acknowledged and item not in record.unknown:
                self.strange += 1
                self._fault(f"{cart} has item {item}, which nobody has put there")
            elif often > 1:
                self.repeated += 1
                self._fault(f"{cart} has item {item} {often} times, and it was put there once")
            elif item in record.acknowledged:
                self.once += 1
            else:
                self.unknown_stored += 1

    def summary(self) -> list[str]:
        """Return the account in lines."""
        return [
            f"acknowledged: {self.acknowledged:,} items; in their carts once {self.once:,}, lost {self.lost:,}, "
            f"more than once {self.repeated:,}, put there by nobody {self.strange:,}",
            f"unknown outcome: {self.unknown:,} items; in their carts once {self.unknown_stored:,}, "
            f"not stored {self.unknown - self.unknown_stored:,}",
        ]

    def wrongs(self) -> list[str]:
        """Return everything that should not be."""
        found = list(self.faults)
        if self.looked_at != len(self.records):
            found.append(f"{self.looked_at:,} of {len(self.records):,} carts were compared")
        if self.once != self.acknowledged:
            found.append(f"{self.acknowledged:,} items were acknowledged, and {self.once:,} of them are there once")
        return found

    def verdict(self) -> str:
        """Return the last line of a run without wrongs."""
        return (
            f"right: each of {self.acknowledged:,} acknowledged items is in its cart exactly once, as all "
            f"{self.looked_at:,} carts say"
        )

    def _fault(self, text: str) -> None:
        if len(self.faults) < FAULTS_KEPT_MAX:
            self.faults.append(text)
