"""A store in memory, for tests and for programs without a disk."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Self, TypeVar

import trio

from casty.persistence.checked_journal import NOT_OPEN, OPEN_ALREADY
from casty.persistence.table_store import LIGHT, ChangeSize, StoreTables, TableJournal
from casty.persistence.tables import MemoryTables

T = TypeVar("T")


class MemoryJournal(TableJournal):
    """A `casty.Journal`, `casty.SnapshotStore` and `casty.StateStore` in memory.

    It keeps all promises of a journal but one: its content ends with the process. It stays when the journal is
    closed, so a test stops a system and starts another one with the same object:

    >>> from casty import MemoryJournal, Record
    >>> journal = MemoryJournal()
    >>> async with journal.open():
    ...     [claim] = await journal.claim(["cart/7"])
    ...     await journal.append(claim, "cart/7", 0, [Record("cart.Added", 1, b"milk")])
    >>> async with journal.open():
    ...     [stored.record.payload async for stored in journal.read("cart/7")]
    [b'milk']
    """

    def __init__(self) -> None:
        self._tables = MemoryTables(secrets.token_hex(8))
        self._is_open = False

    def handle(self) -> Self:
        """Make another handle on the same store, for another system of the same process.

        Returns:
            The handle; writes through one are read through all.
        """
        other = type(self)()
        other._tables = self._tables
        return other

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the journal for a block.

        Yields:
            Nothing: the journal is used itself.

        Raises:
            RuntimeError: The journal is open already.
        """
        if self._is_open:
            raise RuntimeError(OPEN_ALREADY.format(self))
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    async def _change(self, act: Callable[[StoreTables], T], size: ChangeSize = LIGHT) -> T:
        return await self._look(act)

    async def _look(self, act: Callable[[StoreTables], T]) -> T:
        if not self._is_open:
            raise RuntimeError(NOT_OPEN.format(self))
        await trio.lowlevel.checkpoint()
        return act(self._tables)

    def __repr__(self) -> str:
        return f"<MemoryJournal {len(self._tables.kept)} ids, {len(self._tables.log)} events>"
