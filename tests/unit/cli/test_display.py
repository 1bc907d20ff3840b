"""What a run looks like."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from casty import Member, MemberStatus, NodeAddress, TopologySnapshot
from casty.cli.demo.ledger import Ledger
from casty.cli.demo.live import LiveDisplay
from casty.cli.demo.progress import PlainDisplay, Progress, summary
from casty.cli.demo.tree import Part, Tree

DRIVER, ONE, TWO = (NodeAddress("127.0.0.1", port) for port in (1, 2, 3))


def member(address: NodeAddress, name: str, role: str) -> Member:
    return Member(address, MemberStatus.up, frozenset({role}), name)


@pytest.fixture
def progress() -> Progress:
    text = "word " * 10
    tree = Tree(Path("x"), (text,), tuple((Part(0, 5 * n, 5 * n + 5),) for n in range(10)), 2_000_000)
    ledger: Ledger[NodeAddress] = Ledger(10)
    ledger.workers_are([ONE, TWO])
    ledger.assign(0.0)
    ledger.answer(0, {"word": 1})
    members = frozenset(
        {member(TWO, "node-2", "counter"), member(ONE, "node-1", "counter"), member(DRIVER, "driver", "driver")}
    )
    progress = Progress(tree, ledger, phi={ONE: 0.25}, counting_from=1.0, counting_to=3.0)
    progress.take(TopologySnapshot(members, DRIVER, {}, 0, frozenset({TWO})))
    return progress


def test_plain_is_one_line_for_an_event_and_one_for_a_tenth(
    progress: Progress, capsys: pytest.CaptureFixture[str]
) -> None:
    display = PlainDisplay()
    display.note(1.5, "node-1 is up")
    display.show(progress)
    display.show(progress)
    display.close()
    assert capsys.readouterr().out == "   1.500 s  node-1 is up\n            1 of 10 chunks\n"


def test_live_shows_members_with_what_is_known_of_them_and_leaves_the_timeline(progress: Progress) -> None:
    output = io.StringIO()
    display = LiveDisplay(Console(file=output, force_terminal=True, width=100, color_system=None))
    display.note(0.0, "starting")
    display.show(progress)
    display.note(2.0, "node-2 is unreachable")
    output.truncate(0)
    display.close()
    display.close()
    lines = [line.split() for line in output.getvalue().splitlines() if line.strip()]
    assert ["node-1", "counter", "127.0.0.1:2", "up", "0.25", "1", "3"] in lines
    assert ["node-2", "counter", "127.0.0.1:3", "unreachable", "0", "4"] in lines
    assert ["driver", "driver", "127.0.0.1:1", "up"] in lines
    assert lines[-2:] == [["0.000", "s", "starting"], ["2.000", "s", "node-2", "is", "unreachable"]]


def test_the_summary_names_words_shares_and_speed_also_of_nodes_that_are_gone(progress: Progress) -> None:
    progress.take(TopologySnapshot(frozenset(), DRIVER, {}, 0))
    text = "\n".join(summary(progress))
    assert "word 1" in text
    assert "node-1 1, node-2 0" in text
    assert "in 2.00 s: 1.0 MB/s" in text
