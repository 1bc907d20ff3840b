"""Strategies of placement: a node for each free shard, and moves for an even load.

Owns the choice by load, and its bounds. It does not know rows or terms: loads in, nodes and moves out. No proof of
placement rests on it. Ties break by address: a choice is the same wherever it is made.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from casty.address import UniqueAddress
from casty.config.validation import check_count
from casty.errors import ConfigError
from casty.schema.names import message

MOVES_MAX = 100
"""Shards of a key moving at one time."""
MOVED_SHARE_MAX = 0.1
"""Share of a node's shards that move away from it at one time, for an even load; one may always."""
UNEVEN_SHARE_MAX = 0.1
"""Difference of loads left as it is, as a share of the larger load; one shard always is."""

Loads = Mapping[UniqueAddress, int]
Holdings = Mapping[UniqueAddress, Collection[int]]


class Allocation(Protocol):
    """Strategy of placement for one kind of entities: a node for each free shard, and moves for an even load.

    Only loads rest on it: it cannot give one shard to two nodes. The coordinator calls it often, so it must not block.
    Where it raises, or names a node not in ``loads``, the node with the fewest shards is taken, and the log says so.
    """

    def place(self, shards: Iterable[int], loads: Loads) -> dict[int, UniqueAddress]:
        """Choose the opener of each of these shards.

        Parameters:
            shards: Numbers of the free shards.
            loads: All nodes able to open one, the oldest first, and the number of shards that each has or is to get.

        Returns:
            A node of ``loads`` for each shard.
        """
        ...

    def moves(self, holdings: Holdings, loads: Loads, moving: Loads) -> dict[int, UniqueAddress]:
        """Choose shards to move, called every 2 s while nobody is unreachable, joining or leaving.

        Parameters:
            holdings: Shards opened by each node.
            loads: Number of those it has or is to get.
            moving: Number of those leaving it.

        Returns:
            A node of ``loads`` for each shard to be moved; empty where all stays.
        """
        ...


@message("casty.LeastShards")
@dataclass(frozen=True, slots=True)
class LeastShards:
    """Strategy of placement: the node with the fewest shards gets the next one.

    Raises:
        ConfigError: ``moves_max`` is no integer above 0, or a share is not from 0 to 1.
    """

    moves_max: int = MOVES_MAX
    """Shards of a kind moving at one time."""
    moved_share_max: float = MOVED_SHARE_MAX
    """Share of a node's shards that move away from it at one time, for an even load; one may always."""
    uneven_share_max: float = UNEVEN_SHARE_MAX
    """Difference of loads left as it is, as a share of the larger load; one shard always is."""

    def __post_init__(self) -> None:
        check_count(self, "moves_max")
        for name in ("moved_share_max", "uneven_share_max"):
            share: object = getattr(self, name)
            if isinstance(share, bool) or not isinstance(share, (int, float)) or not 0 <= share <= 1:
                raise ConfigError(f"LeastShards.{name} must be a share from 0 to 1, got {share!r}")

    def place(self, shards: Iterable[int], loads: Loads) -> dict[int, UniqueAddress]:
        """Choose the opener of each of these shards: the node with the fewest at that moment.

        Parameters:
            shards: Numbers of the free shards.
            loads: All nodes able to open one, and the number of shards that each has or is to get.

        Returns:
            A node for each shard.
        """
        wanted = sorted(shards)
        if not wanted or not loads:
            return {}
        nodes, placed = sorted(loads), dict[int, UniqueAddress]()
        least = [(loads[node], rank) for rank, node in enumerate(nodes)]
        heapq.heapify(least)
        for shard in wanted:
            count, rank = least[0]
            placed[shard] = nodes[rank]
            heapq.heapreplace(least, (count + 1, rank))
        return placed

    def _is_even(self, loads: Loads) -> bool:
        if len(loads) < 2:
            return True
        most, least = max(loads.values()), min(loads.values())
        return most - least <= max(1, int(most * self.uneven_share_max))

    def moves(self, holdings: Holdings, loads: Loads, moving: Loads) -> dict[int, UniqueAddress]:
        """Choose moves from the fullest to the emptiest node, each for a more even load.

        Parameters:
            holdings: Shards opened by each node.
            loads: Number of those it has or is to get.
            moving: Number of those leaving it.

        Returns:
            A node for each shard to be moved.
        """
        counts, leaving = dict(loads), dict(moving)
        left: dict[UniqueAddress, list[int]] = {}
        room = self.moves_max - sum(leaving.values())
        moves: dict[int, UniqueAddress] = {}
        while room > 0 and not self._is_even(counts):
            fullest = max(counts, key=lambda node: (counts[node], node))
            target = min(counts, key=lambda node: (counts[node], node))
            may_leave = max(1, int(len(holdings.get(fullest, ())) * self.moved_share_max))
            if fullest not in left:
                left[fullest] = sorted(holdings.get(fullest, ()))
            if leaving.get(fullest, 0) >= may_leave or not left[fullest]:
                break
            moves[left[fullest].pop()] = target
            leaving[fullest] = leaving.get(fullest, 0) + 1
            counts[fullest] -= 1
            counts[target] += 1
            room -= 1
        return moves


@dataclass(frozen=True, slots=True)
class Oldest:
    """The oldest node gets every shard, and keeps it until it leaves: an older host that comes later moves none."""

    def place(self, shards: Iterable[int], loads: Loads) -> dict[int, UniqueAddress]:
        """Return the oldest node for each of these shards."""
        target = next(iter(loads), None)
        return {} if target is None else dict.fromkeys(sorted(shards), target)

    def moves(self, holdings: Holdings, loads: Loads, moving: Loads) -> dict[int, UniqueAddress]:
        """Return no move."""
        return {}


LEAST_SHARDS = LeastShards()
"""Strategy unless another one is given."""
OLDEST = Oldest()
"""Strategy of singletons."""
