"""Blocks with words for the right kind of `with`.

Owns only those words: the effect of a block is in the context manager it is made of.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import TYPE_CHECKING, Generic, TypeVar

T_co = TypeVar("T_co", covariant=True)


class SyncBlock(AbstractContextManager[T_co, bool | None], Generic[T_co]):
    """Block for ``with``. The fault of ``async with`` is told in the words of ``instead``."""

    def __init__(self, block: AbstractContextManager[T_co, bool | None], instead: str) -> None:
        self._block = block
        self._instead = instead

    def __enter__(self) -> T_co:
        return self._block.__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return self._block.__exit__(kind, error, trace)

    if not TYPE_CHECKING:  # so that checkers refuse what is refused here

        async def __aenter__(self):
            raise TypeError(self._instead)

        async def __aexit__(self, *_):
            raise TypeError(self._instead)


class AsyncBlock(AbstractAsyncContextManager[T_co, bool | None], Generic[T_co]):
    """Block for ``async with``. The fault of ``with`` and ``await`` is told in the words of ``instead``."""

    def __init__(self, block: AbstractAsyncContextManager[T_co, bool | None], instead: str) -> None:
        self._block = block
        self._instead = instead

    async def __aenter__(self) -> T_co:
        return await self._block.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        return await self._block.__aexit__(kind, error, trace)

    if not TYPE_CHECKING:  # as above

        def __enter__(self):
            raise TypeError(self._instead)

        __exit__ = __await__ = __enter__
