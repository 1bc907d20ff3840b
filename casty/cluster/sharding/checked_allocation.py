"""Strategy of placement given by a user: what it says is checked before a table is made of it.

Owns the check, and the way out: where the strategy raises, or names a node unable to open a shard, the one with the
fewest shards gets it. It does not know tables.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from casty.address import UniqueAddress
from casty.protocol.sharding.allocation import LEAST_SHARDS, Allocation, Holdings, LeastShards, Loads, Oldest
from casty.refs import EntityKey

logger = logging.getLogger("casty.cluster")


@dataclass(slots=True)
class CheckedAllocation:
    """A user's strategy, for one key."""

    given: Allocation
    key: object
    _is_told: bool = field(init=False, default=False)

    def place(self, shards: Iterable[int], loads: Loads) -> dict[int, UniqueAddress]:
        """Return the opener of each of these shards."""
        wanted = tuple(shards)

        def choose() -> dict[int, UniqueAddress]:
            chosen = dict(self.given.place(wanted, dict(loads)))
            return {shard: chosen[shard] for shard in wanted if shard in chosen and chosen[shard] in loads}

        kept = self._ask(choose)
        if len(kept) < len(wanted):
            self._tell("it names no node able to open one of the shards", None)
            counts = dict(loads)
            for target in kept.values():
                counts[target] += 1
            kept |= LEAST_SHARDS.place([shard for shard in wanted if shard not in kept], counts)
        return kept

    def moves(self, holdings: Holdings, loads: Loads, moving: Loads) -> dict[int, UniqueAddress]:
        """Return the moves that can be made."""
        holders = {shard: node for node, shards in holdings.items() for shard in shards}

        def choose() -> dict[int, UniqueAddress]:
            wanted = dict(self.given.moves(holdings, dict(loads), dict(moving)))
            return {
                shard: target
                for shard, target in wanted.items()
                if shard in holders and target in loads and target != holders[shard]
            }

        return self._ask(choose)

    def _ask(self, call: Callable[[], dict[int, UniqueAddress]]) -> dict[int, UniqueAddress]:
        try:
            return call()
        except Exception as error:  # the user's code; the shards are placed all the same
            self._tell("it has raised", error)
            return {}

    def _tell(self, fault: str, error: Exception | None) -> None:
        if not self._is_told:
            self._is_told = True
            logger.error(
                "allocation of %r: %s; the node with the fewest shards is taken", self.key, fault, exc_info=error
            )


def checked(allocation: Allocation, key: EntityKey[Any]) -> Allocation:
    """Return a strategy of which every word can be used."""
    return allocation if type(allocation) in (LeastShards, Oldest) else CheckedAllocation(allocation, key)
