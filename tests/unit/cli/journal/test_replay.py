"""What ``casty journal replay`` writes."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio
from helpers.journal_commands import journal, lines, rows
from helpers.travelled import store_ledger

from casty import Record, SqliteJournal

replay = partial(journal, "replay")
CART = ("--app", "helpers.travelled:cart")


def test_the_state_at_an_event(carts: Path) -> None:
    assert lines(replay(carts, "cart-1", *CART)) == [
        "cart-1 after event 4 of 4, written WHEN",
        "    items['tea']: 3",
        "    items['milk']: 1",
        "    is_open: False",
    ]
    assert lines(replay(carts, "cart-1", *CART, "--at", 2))[1:] == [
        "    items['tea']: 2",
        "    items['milk']: 1",
        "    is_open: True",
    ]
    assert json.loads(replay(carts, "cart-1", *CART, "--at", 0, "--json").stdout) == {
        "persistence_id": "cart-1",
        "seq": 0,
        "last_seq": 4,
        "state": {"$class": "carts.Cart", "items": {}, "is_open": True},
    }


def test_every_event_with_its_changes(carts: Path) -> None:
    assert lines(replay(carts, "cart-2", *CART, "--every")) == [
        "event 1  WHEN  carts.Added v1  carts.Added(sku='tea', count=2)",
        "    items['tea']: added 2",
        "event 2  WHEN  carts.Added v1  carts.Added(sku='milk', count=1)",
        "    items['milk']: added 1",
        "event 3  WHEN  carts.Added v1  carts.Added(sku='tea', count=2)",
        "    items['tea']: 2 -> 4",
        "event 4  WHEN  carts.CheckedOut v1  carts.CheckedOut()",
        "    is_open: True -> False",
    ]
    found = [json.loads(line) for line in replay(carts, "cart-2", *CART, "--every", "--json").stdout.splitlines()]
    assert [row["seq"] for row in found] == [0, 1, 2, 3, 4]
    assert found[3]["changes"] == [{"path": "items['tea']", "before": 2, "after": 4}]
    assert found[3]["state"]["items"] == {"tea": 4, "milk": 1}


@pytest.mark.parametrize(
    "target", ["helpers.travelled:LEDGER", "helpers.travelled:ledger", "helpers.travelled:hosted_ledgers"]
)
def test_code_is_a_behaviour_or_a_function_of_one(target: str, tmp_path: Path) -> None:
    path, name = tmp_path / "a.db", "ledgers/7" if "hosted" in target else "ledger-1"

    async def store() -> None:
        journal = SqliteJournal(path)
        async with journal.open():
            [claim] = await journal.claim(["ledgers#3" if "hosted" in target else name])
            await journal.append(claim, name, 0, [Record("ledgers.Written", 1, b"\x81\xa6number\x05")] * 2)

    trio.run(store)
    result = replay(path, name, "--app", target)
    assert lines(result)[1:] == ["    numbers[0]: 5", "    numbers[1]: 5"]


def test_a_replay_begins_with_the_oldest_snapshot_where_events_are_forgotten(tmp_path: Path) -> None:
    path, app = tmp_path / "a.db", ("--app", "helpers.travelled:ledger")
    trio.run(partial(store_ledger, SqliteJournal(path), events=5, snapshots=(2, 4)))
    found = rows(replay(path, "ledger-1", *app, "--every", "--json"))
    assert [row["state"]["numbers"] for row in found] == [[*range(1, seq + 1)] for seq in (2, 3, 4, 5)]
    assert lines(replay(path, "ledger-1", *app, "--every"))[0] == (
        "begins with the snapshot after event 2, since events before it are forgotten"
    )
    early = replay(path, "ledger-1", *app, "--at", 1)
    assert (early.exit_code, early.stdout) == (2, "")
    assert "are forgotten: its earliest state is the one after event 2, got 1" in early.stderr


def test_without_a_readable_snapshot_behind_forgotten_events_there_is_no_state(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    trio.run(partial(store_ledger, SqliteJournal(path), events=3, snapshots=(2,)))
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("DELETE FROM snapshots")
        connection.commit()
    result = replay(path, "ledger-1", "--app", "helpers.travelled:ledger")
    assert result.exit_code == 1
    assert "no snapshot of 'ledger-1' can be read, and the events up to 2 are forgotten" in result.stderr


def test_a_failing_event_is_named_and_those_before_it_are_shown(carts: Path) -> None:
    with closing(sqlite3.connect(carts)) as connection:
        connection.execute("UPDATE events SET payload = x'00' WHERE seq = 3")
        connection.commit()
    result = replay(carts, "cart-1", *CART, "--every", "--json")
    assert result.exit_code == 1
    *shown, error = [json.loads(line) for line in result.stdout.splitlines()]
    assert [row["seq"] for row in shown] == [0, 1, 2]
    assert error["seq"] == 3 and "3 of 'cart-1' cannot be read" in error["error"]
    assert result.stderr.startswith("casty: event, snapshot or value 3 of 'cart-1' cannot be read")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["cart-1", "--app", "x"], "casty: --app is [KEY=]MODULE:NAME, such as shop.carts:cart"),
        (["cart-1", "--app", "no_such_module:x"], "casty: no_such_module cannot be imported: ModuleNotFoundError"),
        (["cart-1", "--app", "helpers.travelled:card"], "casty: helpers.travelled has no function 'card'; the nearest"),
        (["cart-1", "--app", "helpers.travelled:awaited"], "casty: helpers.travelled:awaited is async"),
        (["cart-1", "--app", "helpers.travelled:two"], "casty: helpers.travelled:two takes the arguments"),
        (["cart-1", "--app", "helpers.travelled:nobody"], "casty: helpers.travelled:nobody must give a behaviour"),
        (["cart-2", "--app", "helpers.travelled:the_first_cart"], "casty: helpers.travelled:the_first_cart is of the"),
        (["cart-2", "--app", "carts=helpers.travelled:cart"], "casty: helpers.travelled:cart is of the kind 'carts'"),
        (["cart-1", *CART, "--at", "5"], "casty: the last event of 'cart-1' is 4, got 5"),
        (["cart-1", *CART, "--wire-types", "helpers.travelled:LEDGER"], "casty: --wire-types helpers.travelled:LEDGER"),
        (["cart-7", *CART], "casty: nothing is stored under 'cart-7'"),
    ],
)
def test_bad_input_is_one_line(arguments: list[str], expected: str, carts: Path) -> None:
    result = replay(carts, *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(expected)
    assert result.stderr.count("\n") == 1


def test_an_event_of_another_kind_is_told_as_an_actor_would(carts: Path) -> None:
    result = replay(carts, "cart-1", "--app", "helpers.travelled:ledger")
    assert result.exit_code == 1
    assert "apply of 'cart-1' fails at event 1, Added(sku='tea', count=2)" in result.stderr
