"""``casty demo-cart`` and ``casty shards`` as a user runs them: real processes, sockets and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.integration.running_command import RunningCommand

PATIENCE = 120.0
"""Seconds for a whole run on a busy machine."""
CASTY = [sys.executable, "-W", "error", "-m", "casty"]


class Demo(RunningCommand):
    """A running demonstration."""

    def __init__(self, *arguments: str) -> None:
        super().__init__([*CASTY, "demo-cart", "--plain", *arguments], PATIENCE, start_new_session=True)


@pytest.fixture
def demos() -> Iterator[list[Demo]]:
    started: list[Demo] = []
    yield started
    for demo in started:
        if demo.process.poll() is None:
            demo.process.kill()  # its nodes end with their stdin
        demo.process.communicate()


def shards(address: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [*CASTY, "shards", address, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)


def test_every_item_is_accounted_for_after_a_kill_and_a_move(demos: list[Demo]) -> None:
    demo = Demo("--requests", "2000")
    demos.append(demo)
    code, errors = demo.end()
    assert (code, errors) == (0, ""), demo.text
    assert "node-3 is killed with SIGKILL after" in demo.text
    assert re.search(r"node-3 has left the cluster, [\d.]+ s after it was killed", demo.text)
    assert "node-4 is started after" in demo.text
    assert "shards are even again" in demo.text
    assert re.search(r"lost with node-3: [\d,]+ items of [\d,]+ carts", demo.text)
    assert "right: every acknowledged item is in its cart, or lost for a reason told above" in demo.text


def test_without_a_kill_nothing_is_lost_but_by_moves(demos: list[Demo]) -> None:
    demo = Demo("--requests", "500", "--nodes", "1", "--no-kill")
    demos.append(demo)
    code, errors = demo.end()
    assert (code, errors) == (0, ""), demo.text
    assert "SIGKILL" not in demo.text
    assert "lost with" not in demo.text
    assert "lost by planned moves" in demo.text
    assert ", of unknown outcome 0;" in demo.text


def test_shards_are_told_to_who_asks_and_ctrl_c_ends_every_process(demos: list[Demo]) -> None:
    demo = Demo("--nodes", "2", "--no-kill", "--requests", "1000000")
    demos.append(demo)
    address = demo.until(r"node-1 is up at (127\.0\.0\.1:\d+)")[1]
    demo.until("shoppers fill")
    told = shards(address, "--json")
    assert (told.returncode, told.stderr) == (0, "")
    (key,) = json.loads(told.stdout)["keys"]
    assert (key["key"], key["num_shards"]) == ("demo.carts", 64)
    assert (len(key["hosts"]), sum(key["loads"].values())) == (2, 64)
    one = shards(address, "demo.carts").stdout
    assert len(re.findall(r"^\d+ +owned +node-[12] ", one, re.MULTILINE)) == 64
    unknown = shards(address, "carts")
    assert unknown.returncode == 1
    assert "knows no key 'carts'; keys are: demo.carts" in unknown.stderr
    listing = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(demo.process.pid)], capture_output=True, text=True, check=False
    )
    nodes = [int(pid) for pid in listing.stdout.split()]
    assert len(nodes) == 2
    demo.process.send_signal(signal.SIGINT)
    code, errors = demo.end()
    assert (code, errors) == (130, "casty: interrupted; the processes that it had started have ended\n")
    for pid in nodes:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
