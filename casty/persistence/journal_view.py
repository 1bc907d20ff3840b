"""A store as people look at it: what is in it, by id. It claims nothing and changes nothing.

Owns the pages of ids, and the row of one. It does not know databases: those make the calls (`ViewCalls`).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from casty.journal import CLUSTER_SETTING, Record, Stored, StoredSnapshot
from casty.persistence.arguments import check_number, check_persistence_id
from casty.persistence.paging import Fetch, Pages


@dataclass(frozen=True, slots=True)
class IdEntry:
    """All there is of one persistence id, in figures."""

    persistence_id: str
    scope: str
    events: int
    """Stored events."""
    last: int
    """Number of the last event, forgotten ones included; 0 for none."""
    written_at: float | None
    """Wall clock of the last stored event; None for none."""
    snapshots: int
    """Stored snapshots."""
    revision: int
    """Revision of its value; 0 for none."""

    @property
    def first(self) -> int:
        """Number of the first stored event; 0 for none."""
        return self.last - self.events + 1 if self.events else 0


def end_of_prefix(prefix: str) -> str | None:
    """Return the first text behind all that begin with a prefix, by code points; None where there is none."""
    kept = prefix.rstrip("\U0010ffff")
    if not kept:
        return None
    following = ord(kept[-1]) + 1
    return kept[:-1] + chr(0xE000 if following == 0xD800 else following)  # in between are no characters


class ViewCalls(Protocol):
    """Calls of one store that only look."""

    async def identify(self) -> str:
        """Return the identity of the store."""
        ...

    async def setting(self, name: str) -> str | None:
        """Return the value settled under a name, None without one."""
        ...

    def reader(self, persistence_id: str, after: int) -> Fetch[Stored]:
        """Return a function to read the next page of events."""
        ...

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Return the snapshots of an id, the newest first."""
        ...

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Return a value with its revision."""
        ...

    async def entries(self, prefix: str, after: str) -> Sequence[IdEntry]:
        """Return a page of ids that begin with a text, behind an id, in order."""
        ...


class JournalView:
    """An open store, for looking at.

    Parameters:
        calls: Calls of the store.
        in_use: Function to look whether another process writes, or seems to have the store open.
    """

    def __init__(self, calls: ViewCalls, in_use: Callable[[], Awaitable[bool]]) -> None:
        self._calls = calls
        self._in_use = in_use

    def __repr__(self) -> str:
        return f"<JournalView {self._calls!r}>"

    async def is_in_use(self) -> bool:
        """Return whether another process has written since the beginning, or seems to have the store open."""
        return await self._in_use()

    async def identify(self) -> str:
        """Return the identity of the store."""
        return await self._calls.identify()

    async def cluster(self) -> str | None:
        """Return the name of the cluster whose store it is; None before any has used it."""
        return await self._calls.setting(CLUSTER_SETTING)

    def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        """Read the events of an id in order. Raises JournalDamaged."""
        check_persistence_id(persistence_id)
        check_number("after", after, 0)
        return Pages(self._calls.reader(persistence_id, after))

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Read the snapshots of an id, the newest first. Raises JournalDamaged."""
        check_persistence_id(persistence_id)
        return await self._calls.load(persistence_id)

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Read a value and its revision. Raises JournalDamaged."""
        check_persistence_id(persistence_id)
        return await self._calls.load_state(persistence_id)

    async def entry(self, persistence_id: str) -> IdEntry | None:
        """Return the row of one id; None where nothing is stored under it."""
        async for one in self.entries(persistence_id):
            return one if one.persistence_id == persistence_id else None
        return None

    def entries(self, prefix: str = "", after: str = "") -> AsyncIterator[IdEntry]:
        """Read the ids with anything stored, of those beginning with a text, behind another id, in order."""
        place = after

        async def fetch() -> Sequence[IdEntry]:
            nonlocal place
            page = await self._calls.entries(prefix, place)
            place = page[-1].persistence_id if page else place
            return page

        return Pages(fetch)
