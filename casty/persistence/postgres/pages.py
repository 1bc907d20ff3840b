"""Iterator over rows, read in pages, to be left at any place.

It holds nothing between two pages. An async generator would have to be closed by a reader leaving early.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class RowPages(AsyncIterator[T], Generic[T]):
    """Rows in order, each page fetched when the one before is used up; an empty page is the end."""

    def __init__(self, fetch: Callable[[], Awaitable[Sequence[T]]]) -> None:
        self._fetch = fetch
        self._page: deque[T] = deque()
        self._at_end = False

    async def __anext__(self) -> T:
        if not self._page and not self._at_end:
            self._page.extend(await self._fetch())
            self._at_end = not self._page
        if self._at_end:
            raise StopAsyncIteration
        return self._page.popleft()
