"""What ``casty journal check`` finds and writes."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from functools import partial
from pathlib import Path

import pytest
import trio
from helpers.journal_commands import journal, lines, rows
from helpers.ledgers import CODEC, Ledger, Written
from helpers.travelled import store_ledger

from casty import SqliteJournal
from casty.cli.journal.check import parse_slices
from casty.journal import CLUSTER_SETTING, slice_of

check = partial(journal, "check")
LEDGER = ("--app", "helpers.travelled:ledger")


async def store(path: Path, numbers_of: dict[str, list[int]]) -> None:
    journal = SqliteJournal(path)
    async with journal.open():
        for name, numbers in numbers_of.items():
            [claim] = await journal.claim([name])
            await journal.append(claim, name, 0, [CODEC.encode(Written(number)) for number in numbers])


def test_all_ids_that_can_be_replayed_are_counted(carts: Path) -> None:
    result = check(carts, "--app", "helpers.travelled:cart")
    assert (result.exit_code, lines(result), result.stderr) == (0, ["2 ids, 8 events, 0 failed"], "")


def test_the_cluster_whose_store_it_is_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    trio.run(store, path, {"a": [1]})
    [summary] = rows(check(path, *LEDGER, "--json"))
    assert (summary["cluster"], summary["failed"]) == (None, 0)

    async def settle() -> None:
        journal = SqliteJournal(path)
        async with journal.open():
            await journal.settle(CLUSTER_SETTING, "shop")

    trio.run(settle)
    told = "1 ids, 1 events, 0 failed; the store is that of the cluster shop"
    assert lines(check(path, *LEDGER)) == [told]
    assert rows(check(path, *LEDGER, "--json"))[0]["cluster"] == "shop"


def test_each_failing_id_is_told_with_its_event_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    trio.run(store, path, {"a": [1, 2], "b": [1, -2, 3], "c": [1, 2, 3], "d": [4]})
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("UPDATE events SET payload = x'00' WHERE seq = 3 AND entity = 3")
        connection.commit()
    result = check(path, *LEDGER)
    assert result.exit_code == 1
    first, second = lines(result)
    assert first.startswith("b fails at 2: apply of 'b' fails at event 2, Written(number=-2): ValueError: a ledger has")
    assert second.startswith("c fails at 3: event, snapshot or value 3 of 'c' cannot be read")
    assert result.stderr == "casty: 4 ids, 6 events, 2 failed\n"
    assert [row.get("seq") for row in rows(check(path, *LEDGER, "--json"))] == [2, 3, None]


def test_a_sample_is_taken_by_slices_by_prefix_or_by_number(tmp_path: Path) -> None:
    path, names = tmp_path / "a.db", [f"l{number}" for number in range(20)]
    trio.run(store, path, {name: [1] for name in names})
    half = sum(slice_of(name) < 512 for name in names)
    assert 0 < half < 20
    assert lines(check(path, *LEDGER, "--slice", "0-511")) == [f"{half} ids, {half} events, 0 failed"]
    assert lines(check(path, *LEDGER, "--limit", 3)) == ["3 ids, 3 events, 0 failed"]
    assert lines(check(path, *LEDGER, "--prefix", "l1")) == ["11 ids, 11 events, 0 failed"]


def test_kinds_have_code_of_their_own_and_others_are_told(carts: Path) -> None:
    async def ledgers() -> None:
        journal = SqliteJournal(carts)
        async with journal.open():
            [claim] = await journal.claim(["ledgers#1"])
            await journal.append(claim, "ledgers/7", 0, [CODEC.encode(Written(5))])

    trio.run(ledgers)
    both = ("--app", "helpers.travelled:hosted_ledgers", "--app", "helpers.travelled:the_first_cart")
    assert lines(check(carts, *both)) == [
        "2 ids, 5 events, 0 failed; 1 ids are of kinds that no --app names, and were not checked"
    ]
    assert lines(check(carts, "--app", "ledgers=helpers.travelled:ledger_entity")) == [
        "1 ids, 1 events, 0 failed; 2 ids are of kinds that no --app names, and were not checked"
    ]
    result = check(carts, *LEDGER, "--app", "helpers.travelled:the_first_cart")
    assert result.exit_code == 2
    assert "covers all ids, and there are others: write the kind before it, such as carts=" in result.stderr


def test_a_check_of_which_no_id_has_code_has_failed(carts: Path) -> None:
    result = check(carts, "--app", "cart=helpers.travelled:the_first_cart")
    told = "0 ids, 0 events, 0 failed; 2 ids are of kinds that no --app names, and were not checked"
    assert (result.exit_code, lines(result), result.stderr) == (1, [], f"casty: {told}\n")


def test_a_snapshot_that_today_s_code_would_not_make_is_told_and_no_failure(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    trio.run(partial(store_ledger, SqliteJournal(path), events=3))

    async def save() -> None:
        journal = SqliteJournal(path)
        async with journal.open():
            [claim] = await journal.claim(["ledger-1"])
            await journal.save(claim, "ledger-1", 1, CODEC.encode(Ledger((1,))))
            await journal.save(claim, "ledger-1", 2, CODEC.encode(Ledger((1, 7))))

    trio.run(save)
    result = check(path, *LEDGER)
    assert result.exit_code == 0
    assert lines(result) == [
        "ledger-1: snapshot 2 differs from its events: numbers[1] is 7 there, and 2 by today's code",
        "1 ids, 3 events, 0 failed; 1 snapshots differ from their events, and actors start from the snapshots",
    ]


@pytest.mark.parametrize("text", ["x", "5-", "7-3", "1024", "0-1024", "-1", "1-2-3", "11111111111111"])
def test_wrong_slices_are_refused(text: str, carts: Path) -> None:
    result = check(carts, *LEDGER, f"--slice={text}")
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr == f"casty: --slice is a slice of 0 to 1023, or some, as 0-63, got {text!r}\n"


def test_slices_are_one_or_a_range() -> None:
    assert [parse_slices(text) for text in ("7", "0-63", None)] == [range(7, 8), range(64), range(1_024)]
