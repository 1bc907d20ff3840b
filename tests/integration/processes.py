"""Node processes for tests: started, watched line by line, killed, and always cleaned up.

Every wait is for something that happens and has a bound after which the cluster counts as hung; no
test says how fast it must be.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import PIPE
from typing import Any

import trio

HANG = 20.0
"""Seconds after which what a test waits for will not come any more."""

END_TIMEOUT = 5.0
POLL_PAUSE = 0.05
LOG_TAIL = 15
BURN = """
import os, sys, time
share, period, parent = float(sys.argv[1]), 0.1, os.getppid()
while os.getppid() == parent:
    began, used = time.monotonic(), time.process_time()
    while time.process_time() < used + share * period:
        pass
    time.sleep(max(0.0, began + period - time.monotonic()))
"""
PROGRAM = Path(__file__).with_name("node_program.py")

Event = dict[str, Any]


def show(figure: str) -> None:
    """Print a figure for whoever runs the tests with ``-s``."""
    sys.stdout.write(f"{figure}\n")


class NodeProcess:
    """One node: its events and log lines so far, and ways to be rude to it."""

    def __init__(self, process: trio.Process, node_id: str) -> None:
        self.process = process
        self.node_id = node_id
        self.events: list[Event] = []
        self.log: list[str] = []
        self.address = ("", 0)
        self._changed = trio.Event()
        self._serial = 0
        self._open_pipes = 2

    @property
    def pid(self) -> int:
        """The number of the process."""
        return self.process.pid

    @property
    def has_ended(self) -> bool:
        """Whether the process is over and everything that it wrote was read."""
        return self._open_pipes == 0

    def mark(self) -> int:
        """Return a place in the events: what comes from here on has not happened yet."""
        return len(self.events)

    def seen(self, event: str, since: int = 0, **fields: object) -> list[Event]:
        """Return the events of this name with these fields, in order."""
        wanted = {"event": event, **fields}
        return [found for found in self.events[since:] if wanted.items() <= found.items()]

    async def wait_until(self, is_so: Callable[[], object], what: str, *, timeout: float = HANG) -> None:
        """Return once something is so, looked at after each line of this node."""
        with trio.move_on_after(timeout):
            while not is_so():
                if self.has_ended:
                    raise AssertionError(f"{self.node_id} ended before {what}\n{self.story()}")
                await self._changed.wait()
            return
        raise AssertionError(f"{self.node_id} hangs: no {what} in {timeout:g} s\n{self.story()}")

    async def wait_for(self, event: str, since: int = 0, *, timeout: float = HANG, **fields: object) -> Event:
        """Return the first event of this name with these fields."""
        what = f"{event} {fields or ''}"
        await self.wait_until(lambda: self.seen(event, since, **fields), what, timeout=timeout)
        return self.seen(event, since, **fields)[0]

    async def wait_members(self, since: int = 0, *, timeout: float = HANG, **statuses: str) -> Event:
        """Return the first own snapshot with exactly these members, all of them reachable."""

        def snapshots() -> list[Event]:
            shown = self.seen("snapshot", since, source="own", unreachable=[])
            return [event for event in shown if event["members"] == statuses]

        await self.wait_until(snapshots, f"members {statuses}", timeout=timeout)
        return snapshots()[0]

    async def wait_log(self, text: str) -> str:
        """Return the first log line with this text."""
        await self.wait_until(lambda: any(text in line for line in self.log), f"log line with {text!r}")
        return next(line for line in self.log if text in line)

    async def begin(self, do: str, **arguments: object) -> int:
        """Give a command and return its number; the answer comes as an event."""
        self._serial += 1
        assert self.process.stdin is not None
        await self.process.stdin.send_all(json.dumps({"id": self._serial, "do": do, **arguments}).encode() + b"\n")
        return self._serial

    async def call(self, do: str, **arguments: object) -> Event:
        """Give a command and return its answer."""
        answer = await self.wait_for("answer", id=await self.begin(do, **arguments))
        assert "error" not in answer, answer
        return answer

    async def wait_statistics(self, is_so: Callable[[Event], object], what: str) -> Event:
        """Return the node's counters once something is so of them."""
        with trio.move_on_after(HANG):
            while True:
                statistics = await self.call("statistics")
                if is_so(statistics):
                    return statistics
                await trio.sleep(POLL_PAUSE)
        raise AssertionError(f"{self.node_id} never has {what}\n{self.story()}")

    async def wait_ended(self, *, timeout: float = HANG) -> int:
        """Return the exit code."""
        with trio.move_on_after(timeout):
            while not self.has_ended:
                await self._changed.wait()
            return await self.process.wait()
        raise AssertionError(f"{self.node_id} does not end\n{self.story()}")

    async def kill(self) -> float:
        """Kill the process without a last word and return when."""
        self.process.kill()
        at = time.monotonic()
        await self.process.wait()
        return at

    async def let_go(self) -> None:
        """Let a process that is held become a node, once it has come so far."""
        await self.wait_for("held")
        assert self.process.stdin is not None
        await self.process.stdin.send_all(b"\n")

    async def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to this process alone."""
        self.process.send_signal(number)
        await trio.lowlevel.checkpoint()

    def resident_bytes(self) -> int:
        """How much memory the process holds."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def descriptors(self) -> int:
        """How many files and sockets the process has open."""
        return len(list(Path(f"/proc/{self.pid}/fd").iterdir()))

    def story(self) -> str:
        """Return the last events and log lines, for a failed test."""
        events = [json.dumps(event) for event in self.events[-LOG_TAIL:]]
        return "\n".join([f"last of {self.node_id}:", *events, *self.log[-LOG_TAIL:]])

    async def read(self) -> None:
        """Take in what the process writes until it has ended."""
        assert self.process.stdout is not None
        assert self.process.stderr is not None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._lines, self.process.stdout, lambda line: self.events.append(json.loads(line)))
            nursery.start_soon(self._lines, self.process.stderr, self.log.append)

    async def _lines(self, stream: trio.abc.ReceiveStream, take: Callable[[str], None]) -> None:
        buffer = b""
        async with stream:
            async for data in stream:
                *lines, buffer = (buffer + data).split(b"\n")
                for line in lines:
                    take(line.decode())
                self._tell()
        self._open_pipes -= 1
        self._tell()

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Rig:
    """All processes of one test."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self.nodes: list[NodeProcess] = []

    async def launch(
        self,
        node_id: str,
        *,
        seeds: Iterable[NodeProcess | tuple[str, int]] = (),
        within: Sequence[str] = (),
        **spec: object,
    ) -> NodeProcess:
        """Start a node's process, and wait for nothing. ``within`` comes before the command."""
        addresses = [seed.address if isinstance(seed, NodeProcess) else seed for seed in seeds]
        spec = {"node_id": node_id, "seeds": addresses, **spec}
        command = [*within, sys.executable, str(PROGRAM), json.dumps(spec)]
        process = await trio.lowlevel.open_process(
            command, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
        node = NodeProcess(process, node_id)
        self.nodes.append(node)
        self._nursery.start_soon(node.read)
        return node

    async def hold(self, node_id: str, *, at: str = "start", **spec: Any) -> NodeProcess:
        """Start a node's process, which gets ready (event ``held``) and becomes a node at `let_go`.

        It waits before the ``start`` of its event loop, or in it, with no more to do before the ``bind`` of its port.
        """
        return await self.launch(node_id, held=at, **spec)

    async def start(self, node_id: str, **spec: Any) -> NodeProcess:
        """Start a node and wait until its port is bound."""
        node = await self.launch(node_id, **spec)
        await self.bound(node)
        return node

    async def bound(self, node: NodeProcess) -> None:
        """Wait until the port is bound and remember which it is."""
        event = await node.wait_for("bound")
        node.address = (event["host"], event["port"])

    async def cluster(self, *node_ids: str, **spec: Any) -> list[NodeProcess]:
        """Start nodes that seed from the first, and wait until each has seen all of them up."""
        first = await self.start(node_ids[0], **spec)
        others = [await self.launch(node_id, seeds=[first], **spec) for node_id in node_ids[1:]]
        for node in others:
            await self.bound(node)
        nodes = [first, *others]
        for node in nodes:
            await node.wait_members(**dict.fromkeys(node_ids, "up"))
        return nodes

    @asynccontextmanager
    async def burners(self, count: int, *, share: float = 1.0) -> AsyncIterator[None]:
        """Run processes that compete with the nodes for the cores; each takes a share of the time of one core."""
        command = [sys.executable, "-c", BURN, str(share)]
        burning = [await trio.lowlevel.open_process(command, start_new_session=True) for _ in range(count)]
        try:
            yield
        finally:
            for process in burning:
                process.kill()
            with trio.CancelScope(shield=True):
                for process in burning:
                    await process.wait()

    async def end(self) -> None:
        """Kill what still runs."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.process.kill()
        with trio.move_on_after(END_TIMEOUT):
            for node in self.nodes:
                await node.process.wait()
                await node.wait_ended()
        for node in self.nodes:
            if node.process.stdin is not None:
                await node.process.stdin.aclose()


@asynccontextmanager
async def open_rig() -> AsyncIterator[Rig]:
    """Give a rig, and clean up after it whatever happens."""
    async with trio.open_nursery() as nursery:
        rig = Rig(nursery)
        try:
            yield rig
        finally:
            with trio.CancelScope(shield=True):
                await rig.end()
            nursery.cancel_scope.cancel()
