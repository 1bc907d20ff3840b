"""Entities in processes killed under load, or stopped between look and write: what was acknowledged is in the store."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import postgres_server
import pytest

PROGRAM = Path(__file__).with_name("kill_campaign.py")
SECONDS_MAX = 300
STORES = [
    "sqlite",
    pytest.param(
        "postgres", marks=pytest.mark.skipif(bool(postgres_server.why_not()), reason=postgres_server.why_not())
    ),
]


def run(*words: str) -> None:
    command = [sys.executable, str(PROGRAM), *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert " 0 faults" in done.stdout.splitlines()[-1]


@pytest.mark.parametrize("store", STORES)
def test_processes_killed_at_random_moments_lose_nothing_that_they_have_acknowledged(store: str) -> None:
    run("--store", store, "--cycles", "0:5")  # of them the third, at least, is a cluster of three


@pytest.mark.parametrize("store", STORES)
def test_an_owner_stopped_between_look_and_write_is_fenced_when_it_wakes_and_acknowledges_nothing(store: str) -> None:
    run("--store", store, "--frozen", "--cycles", "0:1")
