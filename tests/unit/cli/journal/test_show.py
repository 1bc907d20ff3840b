"""What ``casty journal show`` writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import msgpack
import pytest
import trio
from helpers.journal_commands import journal, lines, rows
from helpers.travelled import store_ledger

from casty import Record, SqliteJournal


async def store(path: Path, persistence_id: str, *records: Record) -> None:
    journal = SqliteJournal(path)
    async with journal.open():
        [claim] = await journal.claim([persistence_id])
        await journal.append(claim, persistence_id, 0, records)


def test_ids_stand_in_a_table(carts: Path) -> None:
    result = journal("show", carts)
    assert (result.exit_code, result.stderr) == (0, "")
    assert lines(result) == [
        "id      scope   events  last seq  last written             snapshots  revision",
        "cart-1  cart-1  4       4         WHEN  0          0",
        "cart-2  cart-2  4       4         WHEN  0          0",
    ]
    assert [row["persistence_id"] for row in rows(journal("show", carts, "--json", "--after", "cart-1"))] == ["cart-2"]
    assert [row["last_seq"] for row in rows(journal("show", carts, "--json", "--limit", 1))] == [4]
    assert rows(journal("show", carts, "--json", "--prefix", "till")) == []


def test_events_of_an_id_are_decoded_without_their_classes(carts: Path) -> None:
    assert lines(journal("show", carts, "cart-2")) == [
        "cart-2: 4 events, 1 to 4; scope cart-2",
        "seq  written                  event             version  fields",
        "1    WHEN  carts.Added       1        {'sku': 'tea', 'count': 2}",
        "2    WHEN  carts.Added       1        {'sku': 'milk', 'count': 1}",
        "3    WHEN  carts.Added       1        {'sku': 'tea', 'count': 2}",
        "4    WHEN  carts.CheckedOut  1        {}",
    ]
    (row,) = rows(journal("show", carts, "cart-2", "--json", "--after", 1, "--limit", 1))
    assert (row["kind"], row["seq"], row["name"], row["fields"]) == (
        "event", 2, "carts.Added", {"sku": "milk", "count": 1},
    )  # fmt: skip


def test_snapshots_and_forgotten_events_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    trio.run(partial(store_ledger, SqliteJournal(path), events=5, snapshots=(2, 4)))
    assert lines(journal("show", path, "ledger-1"))[:4] == [
        "ledger-1: 3 events, 3 to 5, 2 before them are forgotten; scope ledger-1",
        "snapshot 2: ledgers.Ledger version 1, {'numbers': [1, 2]}",
        "snapshot 4: ledgers.Ledger version 1, {'numbers': [1, 2, 3, 4]}",
        "seq  written                  event            version  fields",
    ]
    assert [row["kind"] for row in rows(journal("show", path, "ledger-1", "--json"))] == [
        "snapshot", "snapshot", "event", "event", "event",
    ]  # fmt: skip
    trio.run(partial(store_ledger, SqliteJournal(path), "ledger-2", events=2, snapshots=(2,)))
    assert lines(journal("show", path, "ledger-2"))[0] == "ledger-2: no events, 2 are forgotten; scope ledger-2"


def test_bytes_that_are_no_msgpack_and_odd_values_are_shown_and_do_nothing(tmp_path: Path) -> None:
    path, packed = tmp_path / "a.db", msgpack.packb
    odd = {"raw": b"\x00", "nan": float("nan"), 5: 1, "ext": msgpack.ExtType(3, b"x"), "escape": "\x1b[31mred"}
    trio.run(store, path, "x", Record("a.B", 1, b"\xc1"), Record("evil\x1b[2J", 1, packed(odd)))
    result = journal("show", path, "x")
    assert result.exit_code == 0
    assert "(1 bytes that are no msgpack: FormatError)" in result.stdout
    assert "\x1b" not in result.stdout and r"evil\x1b[2J" in result.stdout
    found = rows(journal("show", path, "x", "--json"))[1]["fields"]
    assert found == {
        "raw": {"$bytes": "AA=="}, "nan": "nan", "5": 1, "ext": {"$ext": 3, "$bytes": "eA=="}, "escape": "\x1b[31mred",
    }  # fmt: skip


def test_a_damaged_row_ends_the_list_with_its_name(carts: Path) -> None:
    with closing(sqlite3.connect(carts)) as connection:
        connection.execute("UPDATE events SET payload = x'00' WHERE seq = 2")
        connection.commit()
    result = journal("show", carts, "cart-1")
    assert result.exit_code == 1
    assert len(lines(result)) == 3
    assert result.stderr.startswith("casty: event, snapshot or value 2 of 'cart-1' cannot be read")


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["no-such-file"], "casty: {folder}/no-such-file cannot be read: No such file or directory"),
        (["shop.db", "cart-9"], "casty: nothing is stored under 'cart-9'; there is 'cart-1', 'cart-2'"),
        (["shop.db", "cart-1", "--after", "x"], "casty: --after of the events of an id is the number of one, got 'x'"),
        (["postgresql://a b/"], "casty: the connection string of PostgreSQL cannot be read"),
    ],
)
def test_bad_input_is_one_line(
    arguments: list[str], expected: str, carts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(carts.parent)
    result = journal("show", *arguments)
    assert result.exit_code == 2
    assert result.stderr.startswith(expected.format(folder=carts.parent))
    assert result.stderr.count("\n") == 1


def test_a_store_in_use_is_told(carts: Path) -> None:
    carts.with_name("shop.db-wal").touch()
    result = journal("show", carts)
    assert result.exit_code == 0
    assert "is open in another process, or was not closed" in result.stderr
