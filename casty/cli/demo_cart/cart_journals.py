"""Journals of ``casty demo-cart``: made for one run, told to its nodes, and removed with it."""

from __future__ import annotations

import json
import secrets
import tempfile
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeAlias

import trio

from casty import ConfigError, SqliteJournal
from casty.journal import Journal

VARIABLE: Final = "CASTY_DEMO_JOURNAL"
"""Variable of the environment of a node's process: a password is not for the list of processes."""

DROP_TIMEOUT: Final = 10.0
"""Seconds for the database to drop the schema of a run; what is left then is told by its name."""

NO_DSN: Final = (
    "--journal postgres needs a database: give --dsn 'postgresql://user:password@host:5432/database', of a role that "
    "may make a schema there. docs/how-to/run-postgresql-beside-it.md says how to make both; without a server take "
    "--journal sqlite"
)
NO_EXTRA: Final = "--journal postgres needs {}: from the checkout, run  pip install '.[postgres]'"


class JournalKind(StrEnum):
    """Kinds of journals, as options name them."""

    sqlite = "sqlite"
    postgres = "postgres"
    none = "none"


@dataclass(frozen=True, slots=True)
class SqliteCarts:
    """A file for the nodes of one host."""

    path: str

    def make(self) -> Journal:
        """Make the journal of one process."""
        return SqliteJournal(self.path)

    def words(self, nodes: int) -> str:
        """Return a line about it."""
        return (
            f"carts are stored in {self.path}, by SQLite: {nodes} processes on one file work on one host; for several "
            "hosts take --journal postgres"
        )


@dataclass(frozen=True, slots=True)
class PostgresCarts:
    """A schema of a database."""

    dsn: str
    schema: str

    def make(self) -> Journal:
        """Make the journal of one process. ConfigError without the extra ``postgres``."""
        try:
            from casty.persistence.postgres import PostgresJournal  # noqa: PLC0415  # the extra may be missing
        except ImportError as error:
            raise ConfigError(NO_EXTRA.format(error.name)) from error
        return PostgresJournal(self.dsn, schema=self.schema)

    def words(self, nodes: int) -> str:
        """Return a line about it."""
        return f"carts are stored in PostgreSQL, in the schema {self.schema}, which is dropped in the end"


CartJournal: TypeAlias = SqliteCarts | PostgresCarts


def environment(journal: CartJournal | None) -> dict[str, str]:
    """Return the part of a node's environment with the journal."""
    return {} if journal is None else {VARIABLE: json.dumps(asdict(journal))}


def journal_of(environment: Mapping[str, str]) -> Journal | None:
    """Return the journal of a node's process, None for plain carts."""
    told = environment.get(VARIABLE)
    if told is None:
        return None
    fields: dict[str, str] = json.loads(told)
    journal: CartJournal = PostgresCarts(**fields) if "dsn" in fields else SqliteCarts(**fields)
    return journal.make()


def check_choice(kind: JournalKind, dsn: str | None) -> None:
    """Raise ConfigError unless the options fit together."""
    if kind is JournalKind.postgres and not dsn:
        raise ConfigError(NO_DSN)
    if kind is not JournalKind.postgres and dsn:
        raise ConfigError(f"--dsn is for --journal postgres, and this is --journal {kind.value}: leave one of them out")
    if kind is JournalKind.postgres and dsn:
        PostgresCarts(dsn, "casty").make()


@asynccontextmanager
async def journal_of_a_run(kind: JournalKind, dsn: str | None) -> AsyncGenerator[CartJournal | None]:
    """Make a place for the carts of a run, empty, and remove it at the end. Raises CastyError where there is none."""
    match kind:
        case JournalKind.none:
            yield None
        case JournalKind.sqlite:
            with tempfile.TemporaryDirectory(prefix="casty-demo-cart-") as folder:
                yield SqliteCarts(str(Path(folder, "carts.db")))
        case JournalKind.postgres:
            async with _schema_of_a_run(dsn or "") as found:
                yield found


@asynccontextmanager
async def _schema_of_a_run(dsn: str) -> AsyncGenerator[PostgresCarts]:
    from casty.cli.demo_cart.cart_schema import drop_schema  # noqa: PLC0415  # the extra may be missing

    made = PostgresCarts(dsn, f"casty_demo_{secrets.token_hex(4)}")
    async with made.make().open():
        pass  # a database that cannot be used is told here, before any process is started
    try:
        yield made
    finally:
        with trio.move_on_after(DROP_TIMEOUT, shield=True):
            await drop_schema(dsn, made.schema)
