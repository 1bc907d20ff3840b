"""Whatever has happened to a store, its backup makes an equal one, of the same bytes but for its name and claims."""

from __future__ import annotations

import sqlite3
import tempfile
from contextlib import closing
from io import BytesIO
from pathlib import Path

from helpers.backups import content, numbers, rows_of
from hypothesis import given, settings
from hypothesis import strategies as st

from casty.errors import SequenceConflict
from casty.journal import Claim, Record
from casty.persistence.backup_format import BackupReader, BackupScope, BackupWriter
from casty.persistence.sqlite.sqlite_backup import load_file
from casty.persistence.sqlite.sqlite_connection import connect
from casty.persistence.sqlite.sqlite_tables import SqliteTables

names = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), min_size=1, max_size=5)
records = st.builds(Record, names, st.integers(1, 2**31 - 1), st.binary(max_size=20), st.just("") | names)
KINDS = ("append", "append", "append", "forget", "erase", "save", "prune", "store", "delete", "settle", "claim")
steps = st.tuples(
    st.sampled_from(KINDS), st.integers(0, 3), st.integers(0, 9), st.lists(records, min_size=1, max_size=3)
)
histories = st.tuples(st.lists(names, min_size=4, max_size=4, unique=True), st.lists(steps, max_size=30))


def play(connection: sqlite3.Connection, ids: list[str], history: list[tuple[str, int, int, list[Record]]]) -> None:
    """Do what a history says; two ids share a scope. What the store refuses changes nothing."""
    tables = SqliteTables(connection)
    connection.execute("BEGIN IMMEDIATE")
    tables.begin()
    claims: dict[str, Claim] = {}
    for number, (kind, which, amount, given_records) in enumerate(history):
        name, scope = ids[which], ids[which // 2]
        if kind == "claim" or scope not in claims:
            [claims[scope]] = tables.claim([(scope, b"%016d" % number)], "")
        claim = claims[scope]
        tables.flush()
        rows = connection.execute("SELECT last FROM ids WHERE persistence_id = ?", (name,)).fetchall()
        stored = tables.load_state(name)
        revision = stored[0] if stored else 0
        try:
            match kind:
                case "append":
                    tables.append(claim, name, rows[0][0] if rows else 0, given_records, number / 2)
                case "forget":
                    tables.forget(claim, name, amount)
                case "erase":
                    tables.erase(claim, name)
                case "save":
                    tables.save(claim, name, amount + 1, given_records[0])
                case "prune":
                    tables.prune(claim, name, 1)
                case "store":
                    tables.store_state(claim, name, revision + 1, given_records[0])
                case "delete":
                    tables.delete_state(claim, name, revision)
                case _:
                    tables.settle(name, given_records[0].name)
        except SequenceConflict:
            assert kind == "delete" and not revision
    tables.flush()
    connection.execute("COMMIT")


@given(histories, histories)
@settings(max_examples=60, deadline=None)
def test_a_restored_store_has_the_rows_of_the_first_whatever_was_in_it_before(
    history: tuple[list[str], list[tuple[str, int, int, list[Record]]]],
    other: tuple[list[str], list[tuple[str, int, int, list[Record]]]],
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        first, second = Path(folder, "first.db"), Path(folder, "second.db")
        for path, (ids, done) in ((first, history), (second, other)):
            with closing(connect(path)) as connection:
                play(connection, ids, done)
        old, before = rows_of(first), rows_of(second)
        stream = BytesIO()
        writer = BackupWriter(stream)
        for row in old:
            writer.write(row)
        writer.finish()
        stream.seek(0)
        load_file(second, BackupReader(stream, "it"), is_forced=True)
        new = rows_of(second)
        scopes = numbers(old).keys() | numbers(before).keys()
        assert numbers(new) == {
            scope: max(numbers(old).get(scope, 0), numbers(before).get(scope, 0)) + 1 for scope in scopes
        }
        kept = [row for row in content(new) if not isinstance(row, BackupScope) or row.scope in numbers(old)]
        assert kept == content(old)
