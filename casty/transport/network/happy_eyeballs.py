"""Dialling a host with several IP addresses: the first connection to succeed wins.

Source: RFC 8305, section 5; deviation: every attempt goes on until one succeeds or the caller gives up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

import anyio
import trio
from anyio.abc import SocketStream

ATTEMPT_DELAY: Final = 0.25
"""Seconds before the next address is tried as well."""
ADDRESSES_MAX: Final = 16
"""Addresses of one host to try: the owner of a name could have it lead to hundreds."""


async def connect_first(addresses: Sequence[str], port: int) -> SocketStream:
    """Return a stream to one of these IP addresses; OSError, caused by the errors of all attempts, when all fail."""
    if len(addresses) == 1:
        return await anyio.connect_tcp(addresses[0], port)
    race = _Race(port)
    try:
        async with trio.open_nursery() as nursery:
            for address in addresses[:ADDRESSES_MAX]:
                failed = trio.Event()
                nursery.start_soon(race.run, address, failed, nursery.cancel_scope)
                with trio.move_on_after(ATTEMPT_DELAY):
                    await failed.wait()
    except BaseException:  # cancelled, in a group as a nursery raises it
        if race.winner is not None:
            await anyio.aclose_forcefully(race.winner)
        raise
    if race.winner is None:
        raise OSError("all attempts to connect failed") from ExceptionGroup("attempts", race.errors)
    return race.winner


class _Race:
    """The attempts to reach one host."""

    def __init__(self, port: int) -> None:
        self.winner: SocketStream | None = None
        self.errors: list[OSError] = []
        self._port = port

    async def run(self, address: str, failed: trio.Event, all_attempts: trio.CancelScope) -> None:
        """Try one address, and end all other attempts by succeeding."""
        try:
            stream = await anyio.connect_tcp(address, self._port)
        except OSError as error:
            self.errors.append(error)
            failed.set()
            return
        if self.winner is None:
            self.winner = stream
            all_attempts.cancel()
        else:
            await stream.aclose()
