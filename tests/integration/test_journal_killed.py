"""Processes that are killed while they write leave a prefix with all that they have acknowledged."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

import pytest
import trio

from casty import SqliteJournal, Stored

PROGRAM = Path(__file__).with_name("journal_program.py")
CYCLES = 3
WRITERS = 8
LINES = 60
"""Acknowledged events after which a process is killed, wherever it is by then."""
SECONDS_MAX = 60


def start(path: Path, scope: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(PROGRAM), str(path), scope, str(WRITERS)]
    # without a buffer: `communicate` passes over what one has read ahead
    return subprocess.Popen(command, stdout=subprocess.PIPE, bufsize=0)


def kill_after(processes: Iterable[subprocess.Popen[bytes]]) -> dict[str, int]:
    """Kill each process once it has acknowledged some events; return the last acknowledged one of each id."""
    acknowledged: dict[str, int] = {}
    for process in processes:
        assert process.stdout is not None
        bound = threading.Timer(SECONDS_MAX, process.kill)
        bound.start()
        lines = [process.stdout.readline() for _ in range(LINES)]
        bound.cancel()
        process.kill()
        rest, _ = process.communicate(timeout=SECONDS_MAX)
        for line in (*lines, *rest.splitlines(keepends=True)):
            if line.endswith(b"\n"):  # the last one may be cut
                name, number = line.decode().split()
                acknowledged[name] = max(acknowledged.get(name, 0), int(number))
    return acknowledged


async def histories(path: Path, names: Iterable[str]) -> dict[str, list[Stored]]:
    journal = SqliteJournal(path)
    async with journal.open():
        return {name: [stored async for stored in journal.read(name)] for name in names}


@pytest.mark.parametrize("scopes", [("a",), ("a", "b", "c")], ids=["one process", "three processes on one file"])
def test_what_a_killed_process_has_acknowledged_is_there_and_batches_are_whole(
    tmp_path: Path, scopes: tuple[str, ...]
) -> None:
    path = tmp_path / "journal.db"
    for _ in range(CYCLES):
        processes = [start(path, scope) for scope in scopes]
        try:
            acknowledged = kill_after(processes)
        finally:
            for process in processes:
                process.kill()
                process.wait()
        assert len(acknowledged) >= len(scopes)
        for name, events in trio.run(histories, path, acknowledged).items():
            numbers = [stored.seq for stored in events]
            assert numbers == list(range(1, len(numbers) + 1))
            assert len(numbers) >= acknowledged[name]
            firsts = [int(stored.record.payload) for stored in events]
            expected = [first for first in sorted(set(firsts)) for _ in range(1 + first % 3)]
            assert firsts == expected  # each append is there whole
