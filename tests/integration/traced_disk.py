"""Disks that fail, or kill their process, at the k-th call: strace puts the fault into the call of the kernel.

`python tests/integration/traced_disk.py` tries each write and each fdatasync of some appends with each fault, and
judges the file after it: see `disk_program`. Calls on the file and its log count, from the opening on.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import trio

from casty import Record, SqliteJournal

PROGRAM: Final = Path(__file__).with_name("disk_program.py")
APPENDS: Final = 5
BEFORE: Final = 1
"""Appends in the file before."""
TIMEOUT: Final = 120
WRITE, SYNC = "pwrite64", "fdatasync"
KILL, EIO, ENOSPC = "signal=KILL", "error=EIO", "error=ENOSPC"
CALLS: Final = "pwrite64,fdatasync,fsync,ftruncate,openat,close"


@cache
def why_not() -> str:
    """Return why nothing can be traced here, "" where it can."""
    if shutil.which("strace") is None:
        return "there is no strace to make calls of the kernel fail"
    tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, check=False)
    return f"strace may not trace here: {tried.stderr.strip()[:200]}" if tried.returncode else ""


@dataclass(frozen=True)
class Traced:
    """What a process has said, and its calls."""

    said: tuple[str, ...]
    calls: tuple[str, ...]

    def numbers(self, kind: str) -> list[int]:
        """Return the numbers said of a kind."""
        return [int(line.split()[1]) for line in self.said if line.startswith(f"{kind} ")]

    def count(self, call: str) -> int:
        """Return how often a call was made."""
        return sum(f" {call}(" in line for line in self.calls)


async def prepare(path: Path) -> None:
    """Make a file with some appends."""
    journal = SqliteJournal(path)
    async with journal.open():
        [claim] = await journal.claim(["scope"])
        for number in range(1, BEFORE + 1):
            await journal.append(claim, "a", 2 * number - 2, [Record("test.Event", 1, f"{number}".encode())] * 2)


def trace(path: Path, fault: str = "") -> Traced:
    """Append to a file of some appends, with a fault such as ``pwrite64:error=EIO:when=3``."""
    trio.run(prepare, path)
    calls = path.with_name("calls")
    where = [word for file in (path, f"{path}-wal") for word in ("-P", str(file))]
    inject = ["-e", f"inject={fault}"] if fault else []
    quick = [] if KILL in fault else ["--seccomp-bpf"]  # in which no signal is given
    command = ["strace", "-f", *quick, "-y", *where, "-e", f"trace={CALLS}", *inject, "-o", str(calls)]
    command += [sys.executable, str(PROGRAM), str(path), str(APPENDS)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    return Traced(tuple(done.stdout.splitlines()), tuple(calls.read_text().splitlines()))


def stored(path: Path) -> list[int]:
    """Return the numbers of the appends in a file, once each: opened without a fault, each is there whole."""

    async def read() -> list[int]:
        journal = SqliteJournal(path)
        async with journal.open():
            return [int(row.record.payload) async for row in journal.read("a")]

    found = trio.run(read)
    assert found[::2] == found[1::2] == [*range(1, len(found) // 2 + 1)], f"not whole, or not in order: {found}"
    return found[::2]


def judge_killed(path: Path, traced: Traced) -> None:
    """Find what was acknowledged before a kill, and at most the append in flight."""
    assert "closed" not in traced.said, "it was not killed"
    last = max(traced.numbers("written"), default=BEFORE)
    assert len(stored(path)) in (last, last + 1), (traced.said, stored(path))


def judge_failed(path: Path, traced: Traced, *, is_uncertain: bool) -> None:
    """Find that all was written in the end, and that each failure was called as it should be."""
    assert traced.said[-1] == "closed", traced.said
    assert stored(path) == [*range(1, BEFORE + APPENDS + 1)]
    of_appends = Counter(line.split()[0] for line in traced.said)
    if not is_uncertain:
        assert not of_appends["uncertain"], traced.said
        assert of_appends["read"] == of_appends["unavailable"], "reads go on while the disk is full"
    assert of_appends["found"] + of_appends["lost"] == of_appends["uncertain"]


def judge_synced(traced: Traced) -> None:
    """Find that after a failed sync of the log its file is closed, and goes on only from its beginning, emptied.

    Another fdatasync of the log may succeed though what the first one has failed to write is gone. That is why all
    before is moved into the file and synced there, and the log begins anew. A sync that fails as the journal is closed
    is the last one: all was synced before, and nothing goes on.
    """
    log = [line for line in traced.calls if "-wal" in line or "openat" in line]
    at = next(place for place, line in enumerate(log) if "fdatasync" in line and "INJECTED" in line)
    after = [re.sub(r"^\d+ +", "", line) for line in log[at + 1 :]]
    assert after[0].startswith("close("), after[:3]
    emptied = next((place for place, line in enumerate(after) if line.startswith("ftruncate(")), len(after))
    is_the_last = emptied == len(after) and not traced.numbers("uncertain")
    assert is_the_last or re.search(r", 0\) += 0", after[emptied]), after[-3:]
    assert not [line for line in after[:emptied] if line.startswith("pwrite64(")], "the log went on before"


def try_one(folder: Path, call: str, fault: str, when: str) -> Traced:
    """Try one fault in a new file, and judge it."""
    path = folder / "journal.db"
    traced = trace(path, f"{call}:{fault}:when={when}")
    if fault == KILL:
        judge_killed(path, traced)
    else:
        is_full = (call, fault) == (WRITE, ENOSPC)
        judge_failed(path, traced, is_uncertain=not is_full)
        if call == SYNC and any("INJECTED" in line and "-wal" in line for line in traced.calls):
            judge_synced(traced)
    return traced


def main() -> int:
    """Try all; 1 where one of them has found something."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--every", type=int, default=1, help="only each n-th call")
    every = parser.parse_args().every
    began, tried, faults = time.monotonic(), Counter[str](), 0
    with tempfile.TemporaryDirectory() as name:
        plain = trace(Path(name) / "journal.db")
    for call in (WRITE, SYNC):
        for fault in (KILL, EIO, ENOSPC):
            for when in range(1, plain.count(call), every):
                with tempfile.TemporaryDirectory() as name:
                    try:
                        try_one(Path(name), call, fault, f"{when}")
                    except Exception as error:  # whatever it is, it is a finding
                        faults += 1
                        print(f"{call} {fault} {when}: {error!r}"[:600], flush=True)  # noqa: T201  # a program
                tried[f"{call} {fault}"] += 1
    print(f"{tried.total()} faults tried, {faults} found, {time.monotonic() - began:.0f} s: {dict(tried)}")  # noqa: T201  # a program
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
