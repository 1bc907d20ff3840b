"""What every test gets: Hypothesis examples that are the same on each machine that judges a change."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import trio
from hypothesis import settings

from casty import ActorSystem
from casty.address import UniqueAddress
from casty.transport.network.interface import Connection, Network
from casty.wire.frame import FrameDecoder
from casty.wire.handshake import PROTOCOL_MAX, Hello, HelloAck, decode_hello, encode_hello_ack

# A deadline would fail a correct test on a busy machine. In CI a failure must be the change's own,
# so the draws are fixed there; at a desk they differ from run to run and find new cases.
settings.register_profile("desk", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("ci" if os.environ.get("CI") else "desk")

sys.path.append(str(Path(__file__).parent))  # for `house`, whose counts the budgets share

# A shell ignores Ctrl-C for what it runs in the background, and children inherit that: the tests that
# send it, to themselves or to their nodes, would wait for ever. Python and Trio heed it from here on.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


class CancelAt(trio.abc.Instrument):
    """Cancels a scope before a certain step of any task."""

    def __init__(self, step: int, scope: trio.CancelScope) -> None:
        self._left = step
        self._scope = scope

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self._left -= 1
        if self._left == 0:
            self._scope.cancel()


@contextmanager
def cancelling_at(step: int, scope: trio.CancelScope) -> Generator[None]:
    instrument = CancelAt(step, scope)
    trio.lowlevel.add_instrument(instrument)
    try:
        yield
    finally:
        trio.lowlevel.remove_instrument(instrument)


@pytest.fixture
def cancel_at() -> Callable[[int, trio.CancelScope], AbstractContextManager[None]]:
    """A block in which a scope is cancelled before the given step, counted over all tasks."""
    return cancelling_at


@pytest.fixture
async def system() -> AsyncGenerator[ActorSystem]:
    async with ActorSystem() as running:
        yield running


async def confirm_hellos(nursery: trio.Nursery, network: Network, run: UniqueAddress) -> UniqueAddress:
    """Listen at the address of a run that is no node, and confirm each hello that is said in its name.

    Return it with the port that it has got, if that was 0.
    """
    listener = await network.listen(run.address.host, run.address.port)
    there = replace(run, address=listener.address)

    async def confirm(connection: Connection) -> None:
        for _, body in FrameDecoder(4096).feed(await connection.receive(4096)):  # none where nobody waits any more
            hello = decode_hello(body)
            assert isinstance(hello, Hello)
            await connection.send(encode_hello_ack(HelloAck(PROTOCOL_MAX, there, hello.nonce)))
        await connection.aclose()

    async def serve() -> None:
        try:
            await listener.serve(confirm)
        finally:
            with trio.CancelScope(shield=True):
                await listener.aclose()

    nursery.start_soon(serve)
    return there


@pytest.fixture
def vouch() -> Callable[[trio.Nursery, Network, UniqueAddress], Awaitable[UniqueAddress]]:
    """Have a stranger who is no node taken for the run that it says it is, as long as its hellos have a nonce."""
    return confirm_hellos
