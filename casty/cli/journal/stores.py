"""A store as the command line names it, opened for reading; and a run of a command on it.

Owns the two forms of a name, a path or a connection string, and the ends of a run. It does not know databases.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final, TypeAlias

import trio

from casty import CastyError, ConfigError
from casty.cli.exits import ExitCode, drop_output, run_until_signal
from casty.cli.hosting import complain
from casty.persistence.journal_view import IdEntry, JournalView
from casty.persistence.sqlite.sqlite_view import open_file_view
from casty.runtime.sourcing.time_travel import NoSuchState

SERVER: Final = ("postgresql://", "postgres://")
"""Beginnings of the connection string of a PostgreSQL; all else is the path of a file."""
WITHOUT_EXTRA: Final = "a journal in PostgreSQL needs {}: from the checkout, run  pip install '.[postgres]'"
IN_USE: Final = "{} is open in another process, or was not closed: events written meanwhile may be missing here"

NEAR_MAX: Final = 3
"""Stored ids named where another one was asked for."""

Look: TypeAlias = Callable[[JournalView], Awaitable[ExitCode]]


@dataclass(frozen=True, slots=True)
class StoreName:
    """Store as named by a user."""

    text: str
    """Path of a file, or a connection string beginning with ``postgresql://``."""
    schema: str = "casty"
    """PostgreSQL's schema of the tables."""

    @property
    def is_server(self) -> bool:
        """Whether it is in PostgreSQL."""
        return self.text.startswith(SERVER)

    @property
    def place(self) -> str:
        """Name of the store without a password."""
        if not self.is_server:
            return self.text
        head, mark, rest = self.text.partition("?")[0].rpartition("@")  # a password may stand in either
        return f"{head.partition('://')[0]}://{rest}" if mark else rest

    @property
    def path(self) -> Path:
        """Path of a file."""
        return Path(self.text).absolute()

    def open_view(self) -> AbstractAsyncContextManager[JournalView]:
        """Return a block with the store open for reading. ConfigError and JournalUnavailable where it cannot be."""
        if not self.is_server:
            return open_file_view(self.path)
        try:
            from casty.persistence.postgres.postgres_view import open_server_view  # noqa: PLC0415  # an extra
        except ImportError as error:
            raise ConfigError(WITHOUT_EXTRA.format(error.name or "psycopg")) from None
        return open_server_view(self.text, self.schema)


def run_look(store: StoreName, look: Look) -> ExitCode:
    """Open a store for reading, look at it, and return how it went; an error is one line on stderr."""
    return run_act(partial(_look, store, look))


def run_act(act: Callable[[], Awaitable[ExitCode]]) -> ExitCode:
    """Run a command until its end or a signal; an error is one line on stderr."""
    return trio.run(run_until_signal, partial(_guarded, act), ExitCode.terminated)


async def _guarded(act: Callable[[], Awaitable[ExitCode]]) -> ExitCode:
    try:
        return await act()
    except (ConfigError, NoSuchState) as error:
        complain(str(error))
        return ExitCode.bad_input
    except CastyError as error:
        complain(str(error))
        return ExitCode.failed
    except BrokenPipeError:  # its reader has seen enough
        drop_output()
        return ExitCode.failed


async def _look(store: StoreName, look: Look) -> ExitCode:
    async with store.open_view() as view:
        ending = await look(view)
        if await view.is_in_use():
            complain(IN_USE.format(store.place))
    return ending


async def find(view: JournalView, persistence_id: str) -> IdEntry:
    """Return the row of an id. ConfigError where nothing is stored under it, with some that are."""
    found = await view.entry(persistence_id)
    if found is not None:
        return found
    near: list[str] = []
    for prefix in (persistence_id.partition("/")[0], ""):
        async for entry in view.entries(prefix):
            near.append(repr(entry.persistence_id))
            if len(near) == NEAR_MAX:
                break
        if near:
            raise ConfigError(f"nothing is stored under {persistence_id!r}; there is {', '.join(near)}")
    raise ConfigError(f"nothing is stored under {persistence_id!r}: the journal is empty")
