"""An iterator over rows, read in pages, to be left at any place.

An async generator has to be closed by a reader leaving before its end, or Trio warns. This one holds nothing
between two pages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Final, Generic, TypeAlias, TypeVar

T = TypeVar("T")

Fetch: TypeAlias = Callable[[], Awaitable[Sequence[T]]]
"""Function to read the next page. An empty one is the end."""

PAGE_ROWS: Final = 256
"""Rows of one page: a reader holds no more at one time."""


class Pages(AsyncIterator[T], Generic[T]):
    """Rows in order, a page at a time; each page is read when the one before is used up.

    Parameters:
        fetch: Function to read the next page. An empty one is the end.
    """

    def __init__(self, fetch: Fetch[T]) -> None:
        self._fetch = fetch
        self._page: deque[T] = deque()
        self._at_end = False

    def __aiter__(self) -> Pages[T]:
        return self

    async def __anext__(self) -> T:
        if not self._page:
            page = () if self._at_end else await self._fetch()
            self._at_end = not page
            if self._at_end:
                raise StopAsyncIteration
            self._page.extend(page)
        return self._page.popleft()
