"""Tasks that run beside what a test does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVarTuple, Unpack

import trio

Arguments = TypeVarTuple("Arguments")


@asynccontextmanager
async def in_background(
    function: Callable[[Unpack[Arguments]], Awaitable[object]], *arguments: *Arguments
) -> AsyncIterator[None]:
    """Run a function beside the block, and cancel it at the end of that."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(function, *arguments)
        yield
        nursery.cancel_scope.cancel()
