"""Whole nodes whose links are handed over to new connections, at times drawn from a seed, while messages cross them.

Each node tells and asks each other one, with numbers. Meanwhile certificates are replaced, at several nodes at once
too, paths and readers are slow or stand still, and in half of the seeds connections break, links end and nodes start
again.
`python tests/simulation/drawn_handovers.py --seeds 0:1000` plays many.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import permutations
from pathlib import Path
from random import Random
from typing import Final
from unittest.mock import patch

import trio
import trio.testing

sys.path.insert(0, str(Path(__file__).parents[1]))  # for the helpers, from wherever it is started

from helpers.certificates import TestCa

import casty
from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    DeadLetter,
    Mailbox,
    MailboxOverflowStrategy,
    MemoryNetwork,
    SystemConfig,
    TlsNetwork,
)
from casty.config.tls import CERTIFICATE_FILE, KEY_FILE
from casty.testing.inspect import link_manager_of, node_of
from casty.testing.simulation.nodes.scheduling import seeded_scheduling
from casty.transport.links.session import Session
from casty.transport.manager.link_manager import LinkManager
from casty.transport.manager.peers import RemoteTransport
from casty.transport.network.memory import BUFFER_BYTES_MAX, MemoryConnection
from casty.transport.network.tls import TlsConnection
from casty.wire.frame import Lane

PORT: Final = 2551
RELOAD_EVERY: Final = 0.3
SETTLED_FOR: Final = 3.0
"""Seconds without a link that moves or is to: longer than files take to be found, and housekeeping to begin."""
QUIET_FOR: Final = 6.0
"""Seconds without another message after which none comes: more than a dial takes."""
SETTLE_MAX: Final = 120.0
PATIENCE: Final = 900.0
SILENCE_MAX: Final = 1.5
"""Seconds of a path without a byte: so short that nobody is suspected for it."""
SIZES: Final = {0: 900, 3_000: 50, 40_000: 20, 200_000: 8, 1_500_000: 2}
"""Bytes in a message, and how often it has them: the largest go in slices on a lane of their own."""
HANDOVERS: Final = importlib.import_module("casty.transport.manager.handovers")
BREAKS: Final = ("reset", "end", "stop", "crash")
"""Steps after which messages may be missing."""
STEPS: Final = (
    "rotate",
    "rotate",
    "rotate",
    "all rotate",
    "slow path",
    "slow reader",
    "slow actor",
    "silence",
    "burst",
)


@casty.message("tests.handovers.Told")
@dataclass(frozen=True)
class Told:
    by: str
    number: int
    filler: bytes


@casty.message("tests.handovers.Asked")
@dataclass(frozen=True)
class Asked:
    by: str
    number: int
    filler: bytes
    reply_to: ActorRef[int]


Message = Told | Asked


class SeenTls(TlsNetwork):
    """TLS whose connections can be looked at."""

    def __init__(self, *args: object, **options: object) -> None:
        super().__init__(*args, **options)  # type: ignore[arg-type]  # as they are
        self.open: dict[TlsConnection, None] = {}

    def enter(self, connection: TlsConnection) -> None:
        self.open[connection] = None
        super().enter(connection)

    def leave(self, connection: TlsConnection) -> None:
        self.open.pop(connection, None)
        super().leave(connection)


@dataclass
class Run:
    """One run of a node, what came to it, and what it has sent."""

    name: str
    number: int
    system: ClusteredActorSystem
    tls: SeenTls | None
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    is_ending: bool = False
    ended: trio.Event = field(default_factory=trio.Event)
    told: Counter[str] = field(default_factory=Counter[str])
    got: dict[tuple[str, str], list[int]] = field(default_factory=dict[tuple[str, str], list[int]])
    answered: int = 0
    letters: int = 0
    slowness: float = 0.0

    @property
    def key(self) -> str:
        return f"{self.name}{self.number}"

    @property
    def transport(self) -> RemoteTransport:
        transport = node_of(self.system).transport
        assert transport is not None, "the node has been started"
        return transport

    @property
    def manager(self) -> LinkManager:
        return link_manager_of(self.transport)


@dataclass
class World:
    """Nodes on a memory network, and what a seed has in store for them."""

    seed: int
    rng: Random
    network: MemoryNetwork
    names: str
    ca: TestCa | None
    folder: Path
    is_clean: bool
    runs: dict[str, Run] = field(default_factory=dict[str, Run])
    past: list[Run] = field(default_factory=list[Run])
    serials: dict[str, int] = field(default_factory=dict[str, int])
    slow: dict[str, float] = field(default_factory=dict[str, float])
    problems: list[str] = field(default_factory=list[str])
    rotated_at: float = 0.0
    numbers: Counter[str] = field(default_factory=Counter[str])
    is_restarting: bool = False
    is_done: bool = False
    was_restarted: bool = False
    pace: float = 0.05

    # Nodes

    def issue(self, name: str) -> casty.TlsConfig | None:
        """Write another certificate of a node, in place of the one before."""
        if self.ca is None:
            return None
        self.serials[name] = self.serials.get(name, 0) + 1
        made = self.folder / "made" / name
        self.ca.issue(made, f"spiffe://shop/node/{name}", serial=self.serials[name] * 10 + self.names.index(name))
        place = self.folder / name
        place.mkdir(exist_ok=True)
        (place / "ca.crt").write_bytes(self.ca.pem)
        for file in (CERTIFICATE_FILE, KEY_FILE):
            (made / file).replace(place / file)
        return replace(casty.TlsConfig.folder(place), reload_every=RELOAD_EVERY)

    async def start(self, nursery: trio.Nursery, name: str) -> None:
        self.numbers[name] += 1
        tls, config = None, self.issue(name)
        host = self.network.host(name)
        if config is not None:
            tls = SeenTls(config, system_name="shop", node_id=name, network=host)
        system = ClusteredActorSystem(
            name="shop", host=name, port=PORT, node_id=name, seed_nodes=[(other, PORT) for other in self.names],
            network=tls or host, required_quorum=len(self.names),
            config=SystemConfig(seed=self.rng.getrandbits(32)),
        )  # fmt: skip
        run = Run(name, self.numbers[name], system, tls)
        await nursery.start(self.live, run)
        for other in [one for one in self.runs.values() if one is not run]:
            for by, to in ((run, other), (other, run)):
                if to.key not in by.told:
                    by.told[to.key] = 0
                    nursery.start_soon(self.tell, by, to)
                    nursery.start_soon(self.ask, by, to)

    async def live(self, run: Run, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            with run.scope:
                async with run.system as system, system.events(DeadLetter) as events:
                    self.offer(run)
                    self.runs[run.name] = run
                    task_status.started()
                    async for _ in events:
                        run.letters += 1
        except Exception as error:
            self.problems.append(f"{run.key} has ended: {error!r}")
        finally:
            run.ended.set()
            if self.runs.get(run.name) is not run:
                task_status.started()

    def offer(self, run: Run) -> None:
        async def take(_: ActorContext[Message], message: Message) -> Behavior[Message]:
            kind = "told" if isinstance(message, Told) else "asked"
            run.got.setdefault((message.by, kind), []).append(message.number)
            if run.slowness:
                await trio.sleep(run.slowness * self.rng.random())
            if isinstance(message, Asked):
                message.reply_to.tell(message.number)
            return Behaviors.same()

        mailbox = Mailbox(capacity=self.rng.choice([16, 1_000]), overflow=MailboxOverflowStrategy.back_pressure)
        run.system.spawn(Behaviors.receive(take), "sink", mailbox=mailbox)

    def ref(self, by: Run, to: Run) -> ActorRef[Message]:
        return by.system.remote("/sink", to.system.self_node).of(Message)

    def line(self, by: Run, to: Run) -> str:
        """Return the name of what one run sends to another; the next run may get what was queued for this one."""
        return f"{by.key} for {to.key}"

    def filler(self) -> bytes:
        return bytes(*self.rng.choices([*SIZES], [*SIZES.values()]))

    async def tell(self, by: Run, to: Run) -> None:
        ref, number = self.ref(by, to), 0
        while not (self.is_done or by.is_ending or to.is_ending):
            # Not `tell`: without room that is a dead letter, and says nothing of links.
            await ref.send(Told(self.line(by, to), number, self.filler()))
            number += 1
            by.told[to.key] = number
            if self.rng.random() > 0.2:
                await trio.sleep(self.pace * self.rng.random())

    async def ask(self, by: Run, to: Run) -> None:
        ref, number = self.ref(by, to), 0
        while not (self.is_done or by.is_ending or to.is_ending):
            number += 1
            try:
                found = await by.system.ask(ref, partial(Asked, self.line(by, to), number, self.filler()), timeout=60)
                if found != number:
                    self.problems.append(f"{by.key} asked {to.key} for {number} and got {found}")
                by.answered += 1
            except (casty.AskFailed, casty.AskTimeoutError, RuntimeError) as error:
                if self.is_clean:
                    self.problems.append(f"{by.key} asked {to.key} in vain at {trio.current_time():.2f}: {error!r}")
                await trio.sleep(0.1)
            await trio.sleep(2 * self.pace * self.rng.random())

    # Steps

    async def step(self, nursery: trio.Nursery, kind: str) -> None:
        a, b = self.rng.sample(self.names, 2)
        match kind:
            case "rotate" | "all rotate":
                self.rotate(self.names if kind == "all rotate" else a)
            case "slow path":
                self.network.delay(a, b, self.rng.choice([0.0, 0.01, 0.1, 0.3]), one_way=self.rng.random() < 0.3)
            case "slow reader":
                self.slow[a] = self.rng.choice([0.0, 0.002, 0.02])
            case "slow actor":
                self.runs[a].slowness = self.rng.choice([0.0, 0.01, 0.05])
            case "silence":
                self.network.cut(a, b, one_way=self.rng.random() < 0.5)
                await trio.sleep(SILENCE_MAX * self.rng.random())
                self.network.heal(a, b)
            case "burst":
                self.pace = self.rng.choice([0.005, 0.02, 0.1])
            case "reset":
                self.network.reset(a, b)
            case "end":
                sessions = list(self.runs[a].manager.sessions)
                if sessions:
                    self.rng.choice(sessions).end("a test has ended it", graceful=False)
            case _:
                if not self.is_restarting:
                    self.is_restarting = self.was_restarted = True
                    nursery.start_soon(self.restart, nursery, a, kind == "crash" and len(self.names) > 2)

    def rotate(self, names: str) -> None:
        self.rotated_at = trio.current_time()
        for name in names:
            if self.ca is not None:
                self.issue(name)
            elif name in self.runs:
                self.runs[name].transport.renew_links(self.rng.choice([0.0, 0.0, 1.0]))

    async def restart(self, nursery: trio.Nursery, name: str, is_crash: bool) -> None:
        run = self.runs[name]
        run.is_ending = True
        if is_crash:
            self.network.crash(name)
        run.scope.cancel()
        await run.ended.wait()
        self.past.append(run)
        await trio.sleep(self.rng.choice([0.0, 0.5, 5.0]))
        await self.start(nursery, name)
        self.is_restarting = False

    # What has to hold

    def sessions(self) -> list[tuple[Run, Session]]:
        return [(run, session) for run in self.runs.values() for session in run.manager.sessions]

    def is_settled(self) -> bool:
        is_moving = any(one.is_moving or one.renew_at < math.inf for _, one in self.sessions())
        return not (is_moving or self.is_restarting or self.network.connection_count * 2 != len(self.sessions()))

    async def settle(self) -> None:
        """Wait until no link moves any more."""
        since, until = trio.current_time(), trio.current_time() + SETTLE_MAX
        while trio.current_time() < max(since, self.rotated_at) + SETTLED_FOR:
            if trio.current_time() > until:
                moving = [(run.key, one, one.handover, one.renew_at) for run, one in self.sessions()]
                self.problems.append(f"not settled: {self.network.connection_count} connections, {moving}")
                return
            await trio.sleep(0.05)
            if not self.is_settled():
                since = trio.current_time()

    async def arrive(self) -> None:
        """Wait until everything has come, or nothing more does."""
        before, since = -1, trio.current_time()
        while trio.current_time() < since + QUIET_FOR:
            count = sum(len(numbers) for run in self.runs.values() for numbers in run.got.values())
            if count != before:
                before, since = count, trio.current_time()
            await trio.sleep(0.5)

    def check_links(self) -> None:
        for run, other in permutations(self.runs.values(), 2):
            for lane in (Lane.control, Lane.ordinary, Lane.large):
                here = [one for one in run.manager.sessions if self.leads(one, other, lane)]
                there = [one for one in other.manager.sessions if self.leads(one, run, lane)]
                if len(here) != len(there) or len(here) > 1 or (lane is Lane.ordinary and not here):
                    self.problems.append(f"{run.key} has {here} to {other.key} on {lane.name}, and {there} back")
                if any(one.since < self.rotated_at for one in here):
                    self.problems.append(f"{run.key} has a link to {other.key} from before the last certificate")
            if run.tls is not None:
                serials = {one.proof.serial for one in run.tls.open if one.remote == other.name and one.proof}
                newest = self.serials[other.name] * 10 + self.names.index(other.name)
                if serials != {f"{newest:X}"}:
                    self.problems.append(f"{run.key} sees {serials} of {other.key}, not {newest:X}")

    def leads(self, session: Session, to: Run, lane: Lane) -> bool:
        return session.link.peer.address == to.system.self_node and session.link.lane is lane

    def check_messages(self) -> None:
        for to in [*self.past, *self.runs.values()]:
            for (by, kind), numbers in to.got.items():
                if numbers != sorted(set(numbers)):
                    at = next(i for i in range(1, len(numbers)) if numbers[i] <= numbers[i - 1])
                    self.problems.append(f"{to.key} was {kind} by {by}: {numbers[max(at - 3, 0) : at + 2]}")
        if self.was_restarted:
            return
        for by in self.runs.values():
            missing = {to.key: lost for to in self.runs.values() if (lost := self.missing(by, to))}
            letters = sum(run.letters for run in self.runs.values())
            unknown = by.transport.statistics().frames_unknown
            if missing and (self.is_clean or sum(missing.values()) > letters + unknown):
                self.problems.append(f"{by.key} misses {missing} with {letters} dead letters and {unknown} unknown")
            if self.is_clean and unknown:
                self.problems.append(f"{by.key} counts {unknown} frames as unknown")
            is_idle = not all(by.told[to.key] for to in self.runs.values() if to is not by)
            if is_idle or (self.is_clean and not by.answered):  # one ask lost with its connection may wait to the end
                self.problems.append(f"{by.key} was idle")

    def missing(self, by: Run, to: Run) -> int:
        return by.told[to.key] - len(to.got.get((self.line(by, to), "told"), ()))

    async def play(self) -> None:
        steps = STEPS if self.is_clean else STEPS + BREAKS
        async with trio.open_nursery() as nursery:
            async with trio.open_nursery() as starting:
                for name in self.names:
                    starting.start_soon(self.start, nursery, name)
            for _ in range(self.rng.randrange(5, 14)):
                await self.step(nursery, self.rng.choice(steps))
                await trio.sleep(self.rng.choice([0.0, 0.1, 0.5, 1.0, 3.0]))
            self.slow.clear()
            self.pace = max(self.pace, 0.02)
            for run in self.runs.values():
                run.slowness = 0.0
            while self.is_restarting and not self.problems:  # noqa: ASYNC110  # several things end it
                await trio.sleep(0.1)
            if not self.problems:
                self.rotate(self.names)
                await self.settle()
                self.is_done = True
                await self.arrive()
                self.check_links()
                self.check_messages()
            for run in self.runs.values():
                run.scope.cancel()
            nursery.cancel_scope.cancel()


@contextmanager
def drawn_sockets(world: World) -> Generator[None]:
    """Let connections take a part of what is written at once, as sockets do, and be read slowly."""
    rng, receive = Random(world.seed), MemoryConnection.receive

    def send_nowait(self: MemoryConnection, data: bytes | memoryview, *_: bytes | memoryview) -> int:
        self._check()
        room = min(len(data), BUFFER_BYTES_MAX - self._outgoing.size)
        taken = rng.choice([0, room, room, rng.randint(0, room)]) if room > 0 and not self._incoming.has_ended() else 0
        if taken:
            self._outgoing.write(bytes(data[:taken]))
            self.changed.unpark_all()
        return taken

    async def receive_slowly(self: MemoryConnection, max_bytes: int) -> bytes:
        slowness = world.slow.get(self.host.name)
        if slowness is None or not slowness:
            return await receive(self, max_bytes)
        await trio.sleep(slowness * rng.random())
        return await receive(self, min(max_bytes, rng.choice([300, 5_000, 60_000])))

    spread = world.rng.choice([0.0, 0.3, 2.0])
    with (
        patch.object(MemoryConnection, "send_nowait", send_nowait),
        patch.object(MemoryConnection, "receive", receive_slowly),
        patch.object(HANDOVERS, "RENEWAL_SPREAD", spread),
    ):
        yield


def play(seed: int, ca: TestCa) -> list[str]:
    """Play a seed; return what was wrong."""
    rng = Random(seed)
    names, is_tls = "abcd"[: rng.choice([2, 3, 3, 4])], rng.random() < 0.5
    with tempfile.TemporaryDirectory() as folder:
        world = World(seed, rng, MemoryNetwork(), names, ca if is_tls else None, Path(folder), is_clean=seed % 2 == 0)

        async def main() -> None:
            with trio.move_on_after(PATIENCE) as patience:
                await world.play()
            if patience.cancelled_caught:
                world.problems.append("it hung")

        with seeded_scheduling(seed), drawn_sockets(world):
            trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    return world.problems


def main() -> int:
    """Play seeds, and tell what was wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", default="0:100", help="FROM:TO")
    parser.add_argument("--seconds", type=float, default=math.inf, help="stop after so many")
    options = parser.parse_args()
    first, last = (int(text) for text in options.seeds.split(":"))
    logging.disable()
    began, ca, wrong, seed = time.monotonic(), TestCa.make(), 0, first
    for seed in range(first, last):
        problems = play(seed, ca)
        wrong += bool(problems)
        for problem in problems:
            sys.stdout.write(f"seed {seed}: {problem}\n")
            sys.stdout.flush()
        if time.monotonic() - began > options.seconds:
            break
    sys.stdout.write(f"{seed + 1 - first} played: {wrong} wrong, {time.monotonic() - began:.0f} s\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
