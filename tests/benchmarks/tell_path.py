"""Print the functions through which a warm remote message goes, from the socket to its handler.

Two nodes on loopback, each in a thread with a loop of its own. The one that receives notes every function that Python
calls or goes on with in its thread. Of `ROUNDS` ways the most frequent one counts: heartbeats and timers come between.
One line for each function, ``path name``, in order and once: those of casty begin with ``casty/``, and those of Trio,
of Python and of generated code do not.
"""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import FrameType

import trio

import casty
from casty import ActorContext, Behavior, Behaviors, ClusteredActorSystem

ROUNDS = 60
PAUSE = 0.01
"""Seconds between two messages: each has a turn of the loop for itself."""
START_SECONDS_MAX = 30
PACKAGE = Path(casty.__file__).parent
POLL = "get_events"
"""Function in which Trio's loop waits for sockets, on every platform: a turn of the loop begins behind it."""
SOCKET_MODULE = "tcp.py"
DECODING = PACKAGE / "wire"
"""A turn that reads a socket and decodes nothing has only looked whether more had come."""

Function = tuple[str, str]
"""File and name."""


@casty.message("tell_path.Ball")
@dataclass(frozen=True)
class Ball:
    """A small message."""

    number: int


class Trace:
    """Calls of one thread, from the end of one message to the handler of the next."""

    def __init__(self) -> None:
        self._called: list[Function] = []
        self.ways: list[list[Function]] = []

    def go_on(self) -> None:
        """Note what this thread calls from here on."""
        sys.setprofile(self._note)

    def end_way(self) -> None:
        """Keep what was called since `go_on`, and note no more."""
        sys.setprofile(None)
        self.ways.append(self._called)
        self._called = []

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call":
            self._called.append((frame.f_code.co_filename, frame.f_code.co_qualname))

    def usual_way(self) -> list[Function]:
        """Return the functions of the way that was seen most often."""
        return list(Counter(tuple(from_socket(called)) for called in self.ways).most_common(1)[0][0])


def from_socket(called: list[Function]) -> list[Function]:
    """Return the functions, each once, since the turn of the loop in which a frame was read last; of none, nothing."""
    turns: list[list[Function]] = [[]]
    for file, name in called:
        if name.endswith(POLL):
            turns.append([])
        else:
            turns[-1].append((file, name))
    start = max((number for number, turn in enumerate(turns) if has_read(turn)), default=len(turns))
    return list(dict.fromkeys(step for turn in turns[start:] for step in turn))


def has_read(turn: list[Function]) -> bool:
    """Return whether a frame has come in a turn."""
    files = {file for file, _ in turn}
    return any(file.endswith(SOCKET_MODULE) for file in files) and any(DECODING in Path(file).parents for file in files)


def shown(file: Path) -> str:
    """Return a path as the listing has it."""
    return str(file.relative_to(PACKAGE.parent) if PACKAGE in file.parents else Path(*file.parts[-2:])).replace(
        " ", "_"
    )


async def receive(trace: Trace, started: Callable[[int], None], done: threading.Event) -> None:
    """Run a node and note its functions."""

    async def catch(ctx: ActorContext[Ball], ball: Ball) -> Behavior[Ball]:
        trace.end_way()
        if ball.number < ROUNDS:
            trace.go_on()
        else:
            done.set()
        return Behaviors.same()

    async with ClusteredActorSystem(name="house", host="127.0.0.1", port=0, node_id="receiver") as system:
        system.spawn(Behaviors.receive(catch), "catch")
        started(system.self_node.port)
        await trio.to_thread.run_sync(done.wait)


async def send(port: int) -> None:
    """Run a node that sends, one message at a time."""
    seeds = [("127.0.0.1", port)]
    async with ClusteredActorSystem(
        name="house", host="127.0.0.1", port=0, node_id="sender", seed_nodes=seeds
    ) as system:
        await system.wait_for(2)
        ref = system.remote("/catch", "receiver").of(Ball)
        for number in range(1, ROUNDS + 1):
            ref.tell(Ball(number))
            await trio.sleep(PAUSE)


def main() -> None:
    """Print the way."""
    trace, done, ready = Trace(), threading.Event(), threading.Event()
    ports: list[int] = []

    def started(port: int) -> None:
        ports.append(port)
        ready.set()

    receiver = threading.Thread(target=trio.run, args=(partial(receive, trace, started, done),), daemon=True)
    receiver.start()
    if not ready.wait(START_SECONDS_MAX):
        raise SystemExit("the node that receives did not start")
    trio.run(send, ports[0])
    if not done.wait(START_SECONDS_MAX):
        raise SystemExit(f"only {len(trace.ways)} of {ROUNDS} messages came")
    own = Path(__file__)
    for file, name in trace.usual_way():
        if Path(file) != own:
            print(f"{shown(Path(file))} {name}")


if __name__ == "__main__":
    main()
