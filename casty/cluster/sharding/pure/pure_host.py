"""Needs of pure entities towards their host, as a Protocol: the host orders starts and ends, and is told of them."""

from __future__ import annotations

from typing import Protocol

from casty.protocol.sharding.entities.entity_cell import EntityCell
from casty.protocol.sharding.entities.entity_events import EntityMessage
from casty.runtime.journaling.system_journal import EntityScope


class PureHost(Protocol):
    """Host of the entities of one kind."""

    def scope_of(self, record: EntityCell) -> EntityScope:
        """Return the place of an entity in the journal."""
        ...

    def pure_ended(
        self, record: EntityCell, number: int, left: tuple[EntityMessage, ...], cause: BaseException | None
    ) -> None:
        """Take the end of an activation, and its failure if it has failed."""
        ...

    def pure_rests(self, record: EntityCell) -> None:
        """Take note of an entity without a mailbox."""
        ...

    def pure_over(self, known: frozenset[int]) -> None:
        """Take the end of all: those known, by their activations, are told of one by one."""
        ...
