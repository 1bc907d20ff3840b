"""Kills processes with entities under load at random moments: `python tests/integration/kill_campaign.py --cycles 100`.

Each cycle starts a lone process or a cluster of three on the store of the cycle before, kills all at once at a random
moment, or one before the others, opens the store, and judges it: see `killed_service`. The processes are forks of this
one, so a cycle takes a fraction of a second. ``--frozen`` stops the owner of an entity between its look at the lease
and its write instead, and wakes it when another one owns.
"""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from random import Random
from typing import Final

import trio

sys.path.insert(0, str(Path(__file__).parent))  # for the neighbours, from wherever it is started

from killed_service import ENTITIES, FREEZE, Account, Part, Store, serve
from postgres_server import free_port, postgres_server

STORE_LASTS: Final = 20
"""Cycles on one store."""
REPORT_EVERY: Final = 20
NODES: Final = 3
CLUSTER_SHARE: Final = 0.4
KILLED_WITHIN: Final = 0.4
"""Longest time from the first acknowledgement to the kill, in seconds."""
STARTED_WITHIN: Final = 60.0
TAKEN_OVER_WITHIN: Final = 90.0


class Cycle:
    """Processes of one cycle."""

    def __init__(self, number: str, store: Store, folder: Path, nodes: int) -> None:
        self.folder = folder / f"cycle-{number}"
        self.folder.mkdir()
        ports = tuple(free_port() for _ in range(nodes)) if nodes > 1 else ()
        self.pids = [self._fork(Part(place, number, ports), store) for place in range(nodes)]

    def log(self, place: int) -> Path:
        """Return the file of what a process has done."""
        return self.folder / f"{place}"

    def _fork(self, part: Part, store: Store) -> int:
        pid = os.fork()
        if pid:
            return pid
        os.dup2(os.open(self.folder / f"{part.number}.err", os.O_CREAT | os.O_WRONLY), 2)
        with suppress(BaseException):
            serve(part, store, self.log(part.number))
        os.kill(os.getpid(), signal.SIGKILL)  # no way back into this program
        raise AssertionError("it was killed")

    def wait(self, is_so: Callable[[], bool], within: float, what: str) -> None:
        """Wait for something that the processes do."""
        end = time.monotonic() + within
        while not is_so():
            if time.monotonic() > end:
                told = "".join(path.read_text()[-2000:] for path in self.folder.glob("*.err"))
                raise AssertionError(f"no {what} in {within:g} s: {told}")
            time.sleep(0.005)

    def has(self, place: int, kind: str, containing: str = "") -> bool:
        """Return whether a process has told something."""
        path = self.log(place)
        lines = path.read_text().splitlines() if path.exists() else []
        return any(line.startswith(f"{kind} ") and containing in line for line in lines)

    def kill(self, *places: int) -> None:
        """Kill some processes at once, or all."""
        for place in places or range(len(self.pids)):
            with suppress(ProcessLookupError):
                os.kill(self.pids[place], signal.SIGKILL)
        for place in places or range(len(self.pids)):
            with suppress(ChildProcessError):
                os.waitpid(self.pids[place], 0)


def kill_at_random(number: str, store: Store, folder: Path, account: Account) -> None:
    """Run one cycle, and judge the store after it."""
    rng = Random(f"kill {number}")
    cycle = Cycle(number, store, folder, NODES if rng.random() < CLUSTER_SHARE else 1)
    places = range(len(cycle.pids))
    try:
        cycle.wait(lambda: any(cycle.has(place, "a") for place in places), STARTED_WITHIN, "acknowledgement")
        time.sleep(rng.uniform(0.0, KILLED_WITHIN))
        if len(places) > 1 and rng.random() < 0.5:
            cycle.kill(rng.choice(places))
            time.sleep(rng.uniform(0.0, KILLED_WITHIN))
    finally:
        cycle.kill()
    for place in places:
        account.read(cycle.log(place))
    trio.run(account.judge, store)


def freeze_the_owner(number: str, store: Store, folder: Path, account: Account) -> None:
    """Stop a node between look and write, wake it when another owns its entities, and judge the store."""
    cycle = Cycle(number, store, folder, NODES)
    try:
        for place in range(NODES):
            cycle.wait(lambda place=place: cycle.has(place, "a"), STARTED_WITHIN, "acknowledgement")  # type: ignore[misc]  # its default
        asked = Random(f"freeze {number}").randrange(NODES)
        os.kill(cycle.pids[asked], signal.SIGUSR1)
        frozen: list[int] = []

        def is_stopped() -> bool:
            for place, pid in enumerate(cycle.pids):
                _, status = os.waitpid(pid, os.WNOHANG | os.WUNTRACED)
                if status and os.WIFSTOPPED(status):
                    frozen.append(place)
            return bool(frozen)

        cycle.wait(is_stopped, STARTED_WITHIN, "process that stands still")
        others = [place for place in range(NODES) if place != frozen[0]]
        told = {place: len(cycle.log(place).read_text().splitlines()) for place in others}
        name = f"kept/{int(number) % ENTITIES}"

        def is_taken_over() -> bool:
            lines = [line for place in others for line in cycle.log(place).read_text().splitlines()[told[place] :]]
            return any(line.startswith(f"a {name} ") for line in lines)

        cycle.wait(is_taken_over, TAKEN_OVER_WITHIN, f"other owner of {name}")
        os.kill(cycle.pids[frozen[0]], signal.SIGCONT)
        cycle.wait(lambda: cycle.has(frozen[0], "f", FREEZE), STARTED_WITHIN, "refusal of the write of the woken owner")
        time.sleep(0.5)
    finally:
        cycle.kill()
    for place in range(NODES):
        account.read(cycle.log(place))
    if any(FREEZE in line and line.startswith("a ") for line in cycle.log(frozen[0]).read_text().splitlines()):
        account.faults.append("a write that was refused by the fence was acknowledged")
    trio.run(account.judge, store)


@contextmanager
def stores(kind: str, folder: Path) -> Generator[Callable[[int], Store]]:
    """Return a function to make the store of a cycle."""
    if kind == "sqlite":
        yield lambda number: Store(f"{folder}/journal-{number}.db")
    else:
        with postgres_server() as server:
            yield lambda number: Store(server.dsn(), f"store{number}")


def main() -> int:
    """Play the cycles of the command line; 1 where one of them has found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", choices=("sqlite", "postgres"), default="sqlite")
    parser.add_argument("--cycles", default="0:100", help="first:end")
    parser.add_argument("--frozen", action="store_true")
    given = parser.parse_args()
    logging.disable(logging.WARNING)
    first, end = map(int, given.cycles.split(":"))
    run = freeze_the_owner if given.frozen else kill_at_random
    began, faults, accounts = time.monotonic(), 0, list[Account]()
    with tempfile.TemporaryDirectory() as name, stores(given.store, Path(name)) as make:
        for number in range(first, end):
            if not (number - first) % STORE_LASTS:
                accounts.append(Account())
            run(f"{number}", make(len(accounts)), Path(name), accounts[-1])
            for fault in accounts[-1].faults:
                faults += 1
                print(f"cycle {number}: {fault}", flush=True)  # noqa: T201  # a program
            accounts[-1].faults.clear()
            if not (number - first + 1) % REPORT_EVERY or number == end - 1:
                acknowledged = sum(len(one) for account in accounts for one in account.acknowledged.values())
                text = f"{number - first + 1} cycles on {given.store}, {faults} faults, {acknowledged} acknowledged "
                text += f"commands, {sum(one.stored for one in accounts)} events, {time.monotonic() - began:.0f} s"
                print(text, flush=True)  # noqa: T201  # a program
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
