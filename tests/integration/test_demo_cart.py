"""``casty demo-cart`` and ``casty shards`` as a user runs them: real processes, sockets and signals."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.postgres_server import postgres_server, why_not
from tests.integration.running_command import RunningCommand

PATIENCE = 180.0
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
    demo = Demo("--requests", "2000", "--journal", "none")
    demos.append(demo)
    code, errors = demo.end()
    assert (code, errors) == (0, ""), demo.text
    assert "node-3 is killed with SIGKILL after" in demo.text
    assert re.search(r"node-3 has left the cluster, [\d.]+ s after it was killed", demo.text)
    assert "node-4 is started after" in demo.text
    assert "shards are even again" in demo.text
    assert re.search(r"lost with node-3: [\d,]+ items of [\d,]+ carts", demo.text)
    assert "right: every acknowledged item is in its cart, or lost for a reason told above" in demo.text


def check_that_nothing_was_lost(demo: Demo) -> None:
    code, errors = demo.end()
    assert (code, errors) == (0, ""), demo.text
    assert "node-3 is killed with SIGKILL after" in demo.text
    assert "node-4 is started after" in demo.text
    assert re.search(r"all nodes are killed with SIGKILL at once after [\d,]+ items: node-1, node-2, node-4", demo.text)
    assert "starting node-1, node-2, node-4 anew, as a new cluster on the same journal" in demo.text
    assert re.search(r"an item is acknowledged again, [\d.]+ s after all nodes were killed", demo.text)
    account = re.search(
        r"acknowledged: ([\d,]+) items; in their carts once ([\d,]+), lost 0, more than once 0, put there by nobody 0",
        demo.text,
    )
    assert account, demo.text
    assert account[1] == account[2]
    unknown = re.search(
        r"unknown outcome: ([\d,]+) items; in their carts once ([\d,]+), not stored ([\d,]+)", demo.text
    )
    assert unknown, demo.text
    asked, stored, missing = (int(figure.replace(",", "")) for figure in unknown.groups())
    assert asked == stored + missing
    assert asked > 0, "the asks in flight when all nodes were killed"
    assert demo.text.splitlines()[-1].startswith(f"right: each of {account[1]} acknowledged items is in its cart")


def test_carts_in_sqlite_lose_nothing_when_all_nodes_are_killed(demos: list[Demo]) -> None:
    demo = Demo("--requests", "1000")
    demos.append(demo)
    file = Path(demo.until(r"carts are stored in (.+carts\.db), by SQLite: 3 processes on one file work")[1])
    check_that_nothing_was_lost(demo)
    assert not file.parent.exists()


@pytest.mark.skipif(bool(why_not()), reason=why_not())
def test_carts_in_postgresql_lose_nothing_when_all_nodes_are_killed(demos: list[Demo]) -> None:
    with postgres_server() as server:
        demo = Demo("--requests", "1000", "--journal", "postgres", "--dsn", server.dsn())
        demos.append(demo)
        schema = demo.until(r"carts are stored in PostgreSQL, in the schema (casty_demo_[0-9a-f]+),")[1]
        check_that_nothing_was_lost(demo)
        assert server.sql(f"SELECT count(*) FROM pg_namespace WHERE nspname = '{schema}'") == "0"


def test_a_database_out_of_reach_is_told_before_any_process_is_started() -> None:
    demo = Demo("--journal", "postgres", "--dsn", "host=127.0.0.1 port=1")
    code, errors = demo.end()
    assert (code, demo.text) == (1, "")
    assert errors.startswith("casty: PostgreSQL at host=127.0.0.1 port=1 cannot be used")


@pytest.mark.parametrize("options", [(), ("--tls",)])
def test_without_a_kill_nothing_is_lost_but_by_moves(demos: list[Demo], options: tuple[str, ...]) -> None:
    demo = Demo("--requests", "500", "--nodes", "1", "--no-kill", "--journal", "none", *options)
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
    file = Path(demo.until(r"carts are stored in (.+carts\.db)")[1])
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
    assert not file.parent.exists()
