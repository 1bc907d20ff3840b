"""Entities of one key in the order of their last use, for the end of those nobody talks to.

Owns a heap of cells. It does not know why, or when, an entity ends.

How it works: a use costs nothing here: it is noted in the cell, and the heap is put right as far as it is looked at.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from casty.protocol.sharding.entities.entity_cell import EntityCell, EntityPhase

STALE_ENTRIES_MAX = 1_024
"""Entries of ended activations kept in the heap, beyond as many as there are entities."""


@dataclass(slots=True)
class IdleOrder:
    """Order of the active ones among some cells."""

    cells: Mapping[str, EntityCell]
    heap: list[EntityCell] = field(default_factory=list[EntityCell])
    """By last use; an entry is looked at again when it is due, and may be late."""

    def add(self, cell: EntityCell, now: float) -> None:
        """Take in a cell that has become active."""
        if cell.idle_at is not None:
            return  # since an activation before this one
        if len(self.heap) > 2 * len(self.cells) + STALE_ENTRIES_MAX:
            self.heap = [one for one in self.heap if self.cells.get(one.entity_id) is one]
            heapq.heapify(self.heap)
        cell.idle_at = now
        heapq.heappush(self.heap, cell)

    def pop(self) -> None:
        """Take out the first of the heap."""
        heapq.heappop(self.heap).idle_at = None

    def oldest(self) -> EntityCell | None:
        """Return the active cell at the top of the heap, the heap put right that far."""
        while self.heap:
            cell = self.heap[0]
            if self.cells.get(cell.entity_id) is not cell or cell.phase is not EntityPhase.active:
                self.pop()
            elif cell.last_used > cell.listed_at:
                heapq.heappop(self.heap).idle_at = cell.last_used
                heapq.heappush(self.heap, cell)
            else:
                return cell
        return None
