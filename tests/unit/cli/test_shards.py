"""What ``casty shards`` writes."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from casty import ShardListing, ShardRow
from casty.address import NodeAddress
from casty.cli.app import app
from casty.cli.shards import ShardsQuestion
from casty.cli.status import json_of, lines_of
from casty.cluster.observability.status_report import NoStatus
from casty.protocol.membership.status import ClusterReport, NodeReport, report_alone
from casty.protocol.state.member import Member, MemberStatus

A, B, C = (NodeAddress(f"10.0.0.{number}", 2551) for number in (1, 2, 3))
CARTS = ShardListing(
    "carts", 6, (A, B), A, 256, 9,
    (
        ShardRow(0, "owned", A, 5), ShardRow(1, "moving", A, 5, B),
        ShardRow(2, "owned", B, 6), ShardRow(4, "opening", C, 7),
    ),
)  # fmt: skip
ROOMS = ShardListing("rooms", 1, (), None, 0, 0, ())


def report(*listings: ShardListing, left_out: int = 0, name: str = "a") -> ClusterReport:
    head = NodeReport(A, name, "shop", "0.1.0", "member", "", 7, A, True, 2, len(listings), left_out)
    members = (Member(A, MemberStatus.up, frozenset(), name), Member(B, MemberStatus.up, frozenset(), "b"))
    return ClusterReport(head, tuple(map(report_alone, members)), listings)


def test_each_key_has_a_head_and_its_nodes() -> None:
    assert ShardsQuestion(None).lines_of(report(CARTS, ROOMS)) == [
        "a at 10.0.0.1:2551 is a member of shop (casty 0.1.0)",
        "",
        "carts: 6 shards, 1 moving, 1 opening, 2 free; coordinator a (10.0.0.1:2551), "
        "term 256 version 9, epoch 1099511627785",
        "node  address        hosts  shards  moving  opening",
        "a     10.0.0.1:2551  yes    2       1       0",
        "b     10.0.0.2:2551  yes    1       0       0",
        "-     10.0.0.3:2551  no     0       0       1",
        "",
        "rooms: 1 shards, 0 moving, 0 opening, 1 free; no coordinator, term 0 version 0, epoch 0",
        "node  address  hosts  shards  moving  opening",
    ]


def test_one_key_has_its_shards_too() -> None:
    lines = ShardsQuestion("carts").lines_of(report(CARTS, ROOMS))
    assert lines[-5:] == [
        "shard  state    node               to                 epoch",
        "0      owned    a (10.0.0.1:2551)  -                  5",
        "1      moving   a (10.0.0.1:2551)  b (10.0.0.2:2551)  5",
        "2      owned    b (10.0.0.2:2551)  -                  6",
        "4      opening  10.0.0.3:2551      -                  7",
    ]
    assert not [line for line in lines if "rooms" in line]


def test_no_key_and_too_many_keys_are_said() -> None:
    assert ShardsQuestion(None).lines_of(report())[-1] == "no node hosts entities"
    last = ShardsQuestion(None).lines_of(report(CARTS, left_out=3))[-1]
    assert last == "and 3 more keys: a report has no room for them"


def test_an_unknown_key_is_no_answer() -> None:
    with pytest.raises(NoStatus, match=r"a at 10\.0\.0\.1:2551 knows no key 'cart'; keys are: carts, rooms"):
        ShardsQuestion("cart").lines_of(report(CARTS, ROOMS))
    with pytest.raises(NoStatus, match="keys are: none"):
        ShardsQuestion("cart").json_of(report())


def test_json_has_all_of_it() -> None:
    told = json.loads(ShardsQuestion(None).json_of(report(CARTS, left_out=1)))
    assert told == {
        "node": {"id": "a", "address": "10.0.0.1:2551", "system": "shop"},
        "keys_left_out": 1,
        "keys": [{
            "key": "carts", "num_shards": 6, "hosts": ["10.0.0.1:2551", "10.0.0.2:2551"],
            "coordinator": "10.0.0.1:2551", "term": 256, "version": 9, "epoch": (256 << 32) + 9,
            "loads": {"10.0.0.1:2551": 2, "10.0.0.2:2551": 1}, "moving": 1, "opening": 1, "free": 2,
            "rows": [
                {"shard": 0, "state": "owned", "node": "10.0.0.1:2551", "to": None, "epoch": 5},
                {"shard": 1, "state": "moving", "node": "10.0.0.1:2551", "to": "10.0.0.2:2551", "epoch": 5},
                {"shard": 2, "state": "owned", "node": "10.0.0.2:2551", "to": None, "epoch": 6},
                {"shard": 4, "state": "opening", "node": "10.0.0.3:2551", "to": None, "epoch": 7},
            ],
        }],
    }  # fmt: skip


def test_a_status_has_a_line_for_each_key() -> None:
    assert lines_of(report(CARTS, ROOMS))[-3:] == [
        "",
        "carts: 6 shards, 2 on 10.0.0.1:2551, 1 on 10.0.0.2:2551; 1 moving; 1 opening; 2 free",
        "rooms: 1 shards, no node hosts it; 1 free",
    ]
    told = json.loads(json_of(report(CARTS)))["keys"]
    assert [(key["key"], key["loads"]) for key in told] == [("carts", {"10.0.0.1:2551": 2, "10.0.0.2:2551": 1})]
    assert "rows" not in told[0]


def test_nothing_that_a_node_tells_moves_the_cursor() -> None:
    evil = "x\x1b[2J\n"
    told = report(ShardListing(evil, 1, (A,), A, 1, 1, (ShardRow(0, "owned", A, 5),)), name=evil)
    for question in (ShardsQuestion(None), ShardsQuestion(evil)):
        assert all(line.isprintable() for line in [*question.lines_of(told), question.json_of(told)])
    assert all(line.isprintable() for line in lines_of(told))


def test_an_address_without_sense_is_bad_input() -> None:
    result = CliRunner().invoke(app, ["shards", "nowhere"])
    assert result.exit_code == 2
    assert result.stderr.startswith("casty: the address of a node is HOST:PORT")
