"""The tutorial's program of two processes does what its page says."""

from __future__ import annotations

import contextlib
import os
import queue
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "docs" / "examples" / "two_processes"
PATIENCE = 30.0


class Terminal:
    """One running program and the lines that it has printed."""

    def __init__(self, program: str, port: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-X", "dev", program], cwd=FOLDER, text=True,
            env={**os.environ, "WORDS_PORT": str(port)}, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        self.lines: queue.Queue[str] = queue.Queue()
        self.read = threading.Thread(target=self._read, daemon=True)
        self.read.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.put(line)

    def shows(self, text: str) -> None:
        """Wait until a line with the text is printed."""
        seen: list[str] = []
        deadline = time.monotonic() + PATIENCE
        while not seen or text not in seen[-1]:
            try:
                seen.append(self.lines.get(timeout=max(deadline - time.monotonic(), 0.001)))
            except queue.Empty:
                pytest.fail(f"{text!r} was not printed within {PATIENCE} s: {''.join(seen)}")

    def end(self, sign: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(sign)
        return self.process.wait(PATIENCE)


@pytest.fixture
def terminals() -> Iterator[list[Terminal]]:
    started: list[Terminal] = []
    yield started
    for terminal in started:
        terminal.process.kill()
        terminal.process.wait()
        terminal.read.join()


def low_port() -> int:
    """Return a free port below those that port 0 takes: of two nodes, only the lower address survives alone."""
    while True:
        port = random.randrange(10_000, 30_000)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def test_two_processes_find_each_other_and_survive_a_kill_and_a_restart(terminals: list[Terminal]) -> None:
    port = low_port()

    def start(program: str) -> Terminal:
        terminals.append(Terminal(program, port))
        return terminals[-1]

    front = start("front.py")
    front.shows("no counter is there")
    worker = start("worker.py")
    worker.shows("counting: this is text number")
    front.shows("has 5 words")
    worker.end(signal.SIGKILL)
    front.shows("-- UnreachableMember: worker")
    front.shows("no counter is there")
    worker = start("worker.py")
    front.shows("-- MemberLeft: worker")
    front.shows("-- MemberUp: worker")
    front.shows("has 5 words")
    assert worker.end(signal.SIGINT) == 0
    worker.shows("worker has left")
    front.shows("-- MemberLeft: worker")
    assert front.end(signal.SIGINT) == 0
    front.shows("front has left")


def test_the_tests_of_the_tutorial_pass_as_a_reader_runs_them(tmp_path: Path) -> None:
    for name in ("worker.py", "test_worker.py"):
        shutil.copy(FOLDER / name, tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\ntrio_mode = true\n", encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert "2 passed" in run.stdout, run.stdout + run.stderr
