"""Restart. Look at `Restart` and at the count: each life begins anew, and the messages wait meanwhile."""

from __future__ import annotations

import logging
import sys

import trio

from casty import ActorContext, ActorSystem, Behaviors, Inbox, Restart


class Connection:
    """A connection that breaks when it is given bad news."""

    async def __aenter__(self) -> Connection:
        print("connected")
        return self

    async def __aexit__(self, *_: object) -> None:
        print("closed")

    async def write(self, line: str) -> None:
        if line == "bad news":
            raise ConnectionResetError(line)
        await trio.lowlevel.checkpoint()


async def writer(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
    """Write lines over a connection of this life."""
    count = 0
    async with Connection() as connection:
        async for line in inbox:
            await connection.write(line)
            count += 1
            print(f"line {count} over this connection: {line}")


async def main() -> None:
    """Break the connection once; the writer comes back and goes on with what waited."""
    logging.basicConfig(stream=sys.stdout, format="log: %(message)s", level=logging.ERROR)
    restart = Restart(3, within=60.0, backoff_min=0.05, on=OSError)
    async with ActorSystem("news") as system:
        ref = system.spawn(Behaviors.supervise(Behaviors.task(writer), restart), "writer")
        for line in ("one", "two", "bad news", "three"):
            ref.tell(line)
        await trio.sleep(0.5)


if __name__ == "__main__":
    trio.run(main)
