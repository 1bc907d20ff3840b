"""Tables of a journal in SQLite, in versions; how a file is made, recognised, and brought to the newest version.

Owns the schema. It must not know how the tables are used.
"""

from __future__ import annotations

import secrets
import time
from typing import TYPE_CHECKING, Final

from casty.errors import ConfigError

if TYPE_CHECKING:
    import sqlite3

APPLICATION_ID: Final = 0x63617374
""""cast", in the head of the file: other programs' databases are left alone."""

MIGRATIONS: tuple[tuple[str, ...], ...] = (
    (
        "CREATE TABLE migrations (version INTEGER PRIMARY KEY, made_at REAL NOT NULL)",
        "CREATE TABLE store (only INTEGER PRIMARY KEY CHECK (only = 1), identity TEXT NOT NULL, last_offset INTEGER "
        "NOT NULL)",
        "CREATE TABLE settled (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
        "CREATE TABLE fences (scope TEXT PRIMARY KEY, number INTEGER NOT NULL, token BLOB NOT NULL, holder TEXT NOT "
        "NULL) WITHOUT ROWID",
        "CREATE TABLE ids (entity INTEGER PRIMARY KEY, persistence_id TEXT NOT NULL UNIQUE, scope TEXT NOT NULL, "
        "last INTEGER NOT NULL, forgotten INTEGER NOT NULL)",
        "CREATE TABLE events (offset INTEGER PRIMARY KEY, entity INTEGER NOT NULL, seq INTEGER NOT NULL, first INTEGER "
        "NOT NULL, slice INTEGER NOT NULL, written_at REAL NOT NULL, name TEXT NOT NULL, version INTEGER NOT NULL, "
        "command_id TEXT NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL)",
        "CREATE UNIQUE INDEX events_by_seq ON events (entity, seq)",
        "CREATE TABLE torn AS SELECT 0.0 AS found_at, * FROM events LIMIT 0",
        "CREATE TABLE snapshots (entity INTEGER NOT NULL, seq INTEGER NOT NULL, name TEXT NOT NULL, version INTEGER "
        "NOT NULL, command_id TEXT NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL, PRIMARY KEY (entity, seq))",
        "CREATE TABLE states (entity INTEGER PRIMARY KEY, revision INTEGER NOT NULL, name TEXT NOT NULL, version "
        "INTEGER NOT NULL, command_id TEXT NOT NULL, crc INTEGER NOT NULL, payload BLOB NOT NULL)",
    ),
)
"""Statements of each version, applied in order to a file of the version before. Released ones never change."""


def migrate(connection: sqlite3.Connection, path: object) -> None:
    """Make the tables, or bring them to the newest version, in one transaction: the first of several processes does.

    Raises ConfigError where the file is another program's, or of a newer version of casty.
    """
    connection.execute("BEGIN IMMEDIATE")
    try:
        version = _version_of(connection, path)
        for number, statements in enumerate(MIGRATIONS[version:], version + 1):
            for statement in statements:
                connection.execute(statement)
            connection.execute("INSERT INTO migrations VALUES (?, ?)", (number, time.time()))
        if version == 0:
            connection.execute("INSERT INTO store VALUES (1, ?, 0)", (secrets.token_hex(8),))
            connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        if version < len(MIGRATIONS):
            connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
    except BaseException:
        connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def check_tables(connection: sqlite3.Connection, path: object) -> None:
    """Raise ConfigError unless the file has the tables of this version; nothing is made."""
    version = _version_of(connection, path)
    if version == 0:
        raise ConfigError(f"{path} has no tables of a SqliteJournal: name the file of a journal")
    if version < len(MIGRATIONS):
        raise ConfigError(
            f"{path} has tables of version {version}, and this casty reads version {len(MIGRATIONS)}: open it once "
            "with a system of this casty, which brings it there"
        )


def _version_of(connection: sqlite3.Connection, path: object) -> int:
    (found,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    if found != APPLICATION_ID and tables:
        raise ConfigError(
            f"{path} is a database of something else than a SqliteJournal, with {tables} tables and indices: give the "
            "journal a file of its own"
        )
    if version > len(MIGRATIONS):
        raise ConfigError(
            f"{path} has tables of version {version}, made by a newer casty; this one knows up to {len(MIGRATIONS)}: "
            "run the newer casty, or restore a backup from before it"
        )
    return int(version) if found == APPLICATION_ID else 0
