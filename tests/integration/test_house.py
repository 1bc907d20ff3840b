"""The table of the house is made of this tree, the way of a remote message by a run over loopback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
SECONDS_MAX = 120
ROW = re.compile(r"\S.* {2,}(\d[\d., /]*|\d+ (files )?in \d+)$")


def test_the_table_has_a_figure_in_each_row_and_the_way_ends_in_the_cell() -> None:
    command = [sys.executable, "tests/house.py", "--list"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert (run.returncode, run.stderr) == (0, "")
    rows = [line for line in run.stdout.splitlines() if not line.startswith(" ")]
    assert len(rows) == 9
    assert all(ROW.match(row) for row in rows), rows
    way = run.stdout.partition("socket to handler")[2].partition("the same")[0]
    steps = [
        "transport/network/tcp.py ",
        "transport/links/reading.py ",
        "wire/frame.py ",
        "runtime/messaging/queueing/channel_queue.py ",
    ]
    places = [way.find(step) for step in (*steps, "runtime/actor/cell.py ")]
    assert -1 < places[0] and places == sorted(places), way
