"""What one unlucky part of a cluster costs the rest of it; prints ratios, judges nothing.

Three processes: this one asks an actor of a second node, 64 asks at a time, and counts the answers. In
every other slice of time something goes wrong beside it; the slices in turn, so that whatever the machine
does meets both. A ratio is the rate of an unlucky slice to that of the slice before it.

- ``slow_peer``: this node tells a third one 1,000 messages a second, and that one is frozen (SIGSTOP).
- ``flooded_actor``: it tells an actor of the second node 1,000 a second, and that one takes 20 ms for each.
- ``dead_node``: 10,000 asks wait for a node that was killed just before.
- ``large_message``: one message of 100 MiB goes to another actor of the second node; the asks and the
  heartbeats go there too.

In the even slices the same messages go to the same places, but those are well; there are no 10,000 asks and
there is no large message.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import median
from subprocess import DEVNULL, PIPE

import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterSettings,
    Mailbox,
    MemberUp,
    UnreachableMember,
)
from casty.config import TransportLimits

IN_FLIGHT = 64
SLICE = 2.5
"""Seconds; less than the silence that a failure detector forgives."""
TELLS_PER_SECOND = 1_000
HANDLING = 0.02
WAITING_ASKS = 10_000
LARGE_BYTES = 100 * 1024 * 1024
SETTINGS = replace(
    ClusterSettings(), limits=TransportLimits(message_bytes_max=128 * 1024 * 1024, outbound_messages_max=16_384)
)
"""With room for 10,000 asks of a node that was killed: what finds none fails at once, and does not wait."""


@casty.message("unlucky.Ask")
@dataclass(frozen=True)
class Ask:
    """Is answered at once."""

    reply_to: ActorRef[int]


@casty.message("unlucky.Work")
@dataclass(frozen=True)
class Work:
    """Takes so many seconds."""

    seconds: float


@casty.message("unlucky.Blob")
@dataclass(frozen=True)
class Blob:
    """Is large."""

    data: bytes
    reply_to: ActorRef[int]


async def answer(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
    """Answer."""
    message.reply_to.tell(1)
    return Behaviors.same()


async def take(ctx: ActorContext[Blob], message: Blob) -> Behavior[Blob]:
    """Measure the data."""
    message.reply_to.tell(len(message.data))
    return Behaviors.same()


async def work(ctx: ActorContext[Work], message: Work) -> Behavior[Work]:
    """Work."""
    if message.seconds:
        await trio.sleep(message.seconds)
    return Behaviors.same()


def node(name: str, seeds: list[tuple[str, int]]) -> ClusteredActorSystem:
    """Return a node on loopback."""
    return ClusteredActorSystem(
        name="unlucky", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds, settings=SETTINGS
    )


async def serve(name: str, seed: int) -> None:
    """Be another node until the input ends."""
    async with node(name, [("127.0.0.1", seed)]) as system:
        system.spawn(Behaviors.receive(answer), "answerer")
        system.spawn(Behaviors.receive(take), "taker")
        system.spawn(Behaviors.receive(work), "worker", mailbox=Mailbox(100))
        print(json.dumps({"port": system.self_node.port}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read, abandon_on_cancel=True)


@dataclass
class Rig:
    """This node, and the processes of the others."""

    system: ClusteredActorSystem
    nursery: trio.Nursery
    accused: list[str] = field(default_factory=list)
    expected: set[str] = field(default_factory=set)
    _up: dict[str, trio.Event] = field(default_factory=dict[str, trio.Event])

    async def start(self, name: str) -> trio.Process:
        """Start a node and wait until it is up."""
        command = [sys.executable, __file__, "--serve", name, "--seed", str(self.system.self_node.port)]
        run = partial(trio.run_process, command, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, check=False)
        process: trio.Process = await self.nursery.start(run)
        assert process.stdout is not None
        assert await process.stdout.receive_some(), f"{name} did not start"
        with trio.fail_after(30):
            await self._up.setdefault(name, trio.Event()).wait()
        return process

    async def greet(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Take note of who comes up."""
        async with self.system.events(MemberUp) as events:
            task_status.started()
            async for event in events:
                self._up.setdefault(event.member.id, trio.Event()).set()

    async def watch(self) -> None:
        """Take note of who is accused without having been killed."""
        async with self.system.events(UnreachableMember) as events:
            async for event in events:
                if event.member.id not in self.expected:
                    self.accused.append(event.member.id)

    async def rate(self, beside: Callable[[], Awaitable[None]]) -> float:
        """Return the answers per second while something goes on beside them."""
        target = self.system.remote("/answerer", "server").of(Ask)
        count = 0

        async def worker() -> None:
            nonlocal count
            while True:
                await self.system.ask(target, Ask, timeout=30.0)
                count += 1

        with trio.move_on_after(SLICE):
            async with trio.open_nursery() as nursery:
                for _ in range(IN_FLIGHT):
                    nursery.start_soon(worker)
                nursery.start_soon(beside)
        return count / SLICE

    async def tells(self, node_id: str, seconds: float) -> None:
        """Tell the worker of a node so much work per message, at a steady rate."""
        target = self.system.remote("/worker", node_id).of(Work)
        message, began, told = Work(seconds), trio.current_time(), 0
        while True:
            await trio.sleep(0.01)
            due = int((trio.current_time() - began) * TELLS_PER_SECOND)
            for _ in range(due - told):
                target.tell(message)
            told = due


@asynccontextmanager
async def rig() -> AsyncIterator[Rig]:
    """Give this node and the second one."""
    async with trio.open_nursery() as nursery, node("client", []) as system:
        found = Rig(system, nursery)
        await nursery.start(found.greet)
        nursery.start_soon(found.watch)
        await found.start("server")
        yield found
        nursery.cancel_scope.cancel()


async def idle() -> None:
    """Do nothing beside."""


async def slow_peer(rig: Rig, rounds: int) -> AsyncIterator[tuple[float, float]]:
    """Freeze the third node in every other slice."""
    peer = await rig.start("peer")
    for _ in range(rounds):
        normal = await rig.rate(partial(rig.tells, "peer", 0.0))
        peer.send_signal(signal.SIGSTOP)
        unlucky = await rig.rate(partial(rig.tells, "peer", 0.0))
        peer.send_signal(signal.SIGCONT)
        await trio.sleep(0.5)  # until it has taken in what waited
        yield normal, unlucky


async def flooded_actor(rig: Rig, rounds: int) -> AsyncIterator[tuple[float, float]]:
    """Give an actor more work than it can do in every other slice."""
    for _ in range(rounds):
        normal = await rig.rate(partial(rig.tells, "server", 0.0))
        unlucky = await rig.rate(partial(rig.tells, "server", HANDLING))
        await trio.sleep(100 * HANDLING + 0.5)  # until the mailbox is empty
        yield normal, unlucky


async def dead_node(rig: Rig, rounds: int) -> AsyncIterator[tuple[float, float]]:
    """Kill a node, and ask it 10,000 times."""

    async def ask(target: ActorRef[Ask]) -> None:
        with suppress(AskTimeoutError):
            await rig.system.ask(target, Ask, timeout=10 * SLICE)

    async def wait(target: ActorRef[Ask]) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(WAITING_ASKS):
                nursery.start_soon(ask, target)

    for number in range(rounds):
        name = f"peer{number}"
        rig.expected.add(name)
        peer = await rig.start(name)
        target = rig.system.remote("/worker", name).of(Ask)
        normal = await rig.rate(idle)
        async with trio.open_nursery() as nursery:
            peer.kill()
            nursery.start_soon(wait, target)
            unlucky = await rig.rate(idle)
            nursery.cancel_scope.cancel()
        yield normal, unlucky


async def large_message(rig: Rig, rounds: int) -> AsyncIterator[tuple[float, float]]:
    """Send a large message beside the asks."""
    target = rig.system.remote("/taker", "server").of(Blob)
    data = b"x" * LARGE_BYTES

    async def send() -> None:
        length: int = await rig.system.ask(target, lambda reply_to: Blob(data, reply_to), timeout=60.0)
        assert length == LARGE_BYTES

    for _ in range(rounds):
        normal = await rig.rate(idle)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(send)
            unlucky = await rig.rate(idle)
        yield normal, unlucky


CASES = {case.__name__: case for case in (slow_peer, flooded_actor, dead_node, large_message)}


async def main(names: list[str], rounds: int) -> None:
    """Run and print."""
    print(f"{'case':<16}{'normal per s':>14}{'unlucky per s':>15}{'ratio':>8}{'least':>8}{'most':>8}{'accused':>9}")
    for name in names or CASES:
        async with rig() as running:
            found = [pair async for pair in CASES[name](running, rounds)]
            accused = len(running.accused)
        ratios = [unlucky / normal for normal, unlucky in found]
        rates = [median(rate) for rate in zip(*found, strict=True)]
        print(
            f"{name:<16}{rates[0]:>14,.0f}{rates[1]:>15,.0f}"
            f"{median(ratios):>8.2f}{min(ratios):>8.2f}{max(ratios):>8.2f}{accused:>9}",
            flush=True,
        )


if __name__ == "__main__":
    logging.getLogger("casty").setLevel(logging.ERROR)
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("cases", nargs="*", choices=[*CASES, []], help="all without one")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--serve", metavar="NAME", help=argparse.SUPPRESS)
    parser.add_argument("--seed", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        trio.run(serve, arguments.serve, arguments.seed)
    else:
        trio.run(main, arguments.cases, arguments.rounds)
