"""Counters of Redis with `appendfsync always`: INCR by redis-py, a connection for each asker.

counters_redis.py SOCKET SECONDS
"""

from __future__ import annotations

import asyncio

from asking import ASKERS, Askers, argument
from redis.asyncio import Redis


async def main() -> None:
    """Be the program."""
    path = argument(1)
    clients = [Redis(unix_socket_path=path) for _ in range(ASKERS)]
    free = list(clients)

    async def increment(number: int) -> object:
        client = free.pop()
        try:
            return await client.incr(f"counter-{number}")
        finally:
            free.append(client)

    for client in clients:
        await client.ping()
    askers = Askers(increment, float(argument(2)))
    askers.begin()
    await asyncio.gather(*(askers.work() for _ in range(ASKERS)))
    print(askers.figures(), flush=True)
    for client in clients:
        await client.aclose()


asyncio.run(main())
