"""Process of one version of the user's code, for ``casty journal replay`` and ``check`` with ``--against``.

Owns the loading of the code from one folder, and the lines in which its states go to the comparison: a request on
stdin for each id, a line on stdout for each state, a last one for how it ended. It is a process of its own, since one
stored name has room for one class, and one name of a module for one module.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TextIO, TypeAlias

import trio

from casty import CastyError, ConfigError, JournalDamaged
from casty.cli.journal.apps import App, app_of, load_apps, load_codec
from casty.cli.journal.plain_values import PlainValues, json_line
from casty.cli.journal.stores import StoreName
from casty.journal import Stored
from casty.persistence.journal_view import JournalView
from casty.runtime.sourcing.time_travel import NoSuchState, Replay
from casty.wire.storing.stored_codec import StoredCodec

Tell: TypeAlias = Callable[[dict[str, object]], None]

READY: Final = "ready"
SAME_END: Final = "end"
UNCOVERED: Final = "uncovered"
"""No ``--app`` is of the id."""
FAILED: Final = "error"
"""An actor with this code would refuse the id."""
OUT_OF_REACH: Final = "unreachable"
"""The journal does not have the events that were asked for."""
REFUSED: Final = "refused"
"""The code or the store cannot be opened."""


@dataclass(frozen=True, slots=True)
class CodeSetup:
    """First line to a process, by JSON: nothing of it stands in the list of processes."""

    store: str
    """Absolute path of a file, or a connection string."""
    schema: str
    apps: list[str]
    wire_types: str | None
    is_named: bool
    """Whether a user named the folder: then the code must be found in it, not in an installed package."""


@dataclass(frozen=True, slots=True)
class _States:
    """States of the ids asked for, by one version of the code."""

    apps: list[App]
    codec: StoredCodec
    view: JournalView
    tell: Tell

    async def of(self, persistence_id: str, upto: int | None) -> None:
        """Tell the states of one id after each event, and how it ended."""
        entry = await self.view.entry(persistence_id)
        if entry is None:
            self.tell({OUT_OF_REACH: f"nothing is stored under {persistence_id!r}"})
            return
        app = app_of(self.apps, entry)
        if app is None:
            self.tell({UNCOVERED: f"no --app is of the id {persistence_id!r}"})
            return
        plain = PlainValues(self.codec)
        told = False

        def begin(seq: int, state: object) -> None:
            nonlocal told
            told = True
            self.tell({"seq": seq, "state": plain.of(state)})

        def look(stored: Stored, _: object, state: object) -> None:
            self.tell({"seq": stored.seq, "event": stored.record.name, "state": plain.of(state)})

        try:
            replay = Replay(app.behavior_of(entry), persistence_id, self.codec, self.view)
            machine = await replay.to(upto, look, first=entry.first, begin=begin)
        except NoSuchState as error:
            self.tell({OUT_OF_REACH: str(error)})
        except JournalDamaged as damage:
            self.tell({FAILED: str(damage), "seq": damage.seq})
        except ConfigError as error:  # of the code, for this id
            self.tell({FAILED: str(error), "seq": None})
        else:
            if not told:  # a durable state has its last value only
                self.tell({"seq": machine.seq, "state": plain.of(machine.state)})
            self.tell({SAME_END: True})


def _check_places(targets: list[str]) -> None:
    """Raise ConfigError where a module was found elsewhere: both versions would be one, and never differ."""
    folder = Path.cwd().resolve()
    for target in targets:
        name = target.rpartition("=")[2].partition(":")[0]
        file = getattr(sys.modules.get(name), "__file__", None)
        if file is not None and not Path(file).resolve().is_relative_to(folder):
            raise ConfigError(
                f"{name} was imported from {file}, which is not in the folder: name the one that holds "
                f"{name.partition('.')[0]!r}, such as a checkout's src"
            )


async def _serve(apps: list[App], codec: StoredCodec, store: StoreName, requests: TextIO, tell: Tell) -> None:
    """Answer requests until their end."""
    async with store.open_view() as view:
        tell({READY: True})
        states = _States(apps, codec, view, tell)
        while line := await trio.to_thread.run_sync(requests.readline):
            request: dict[str, Any] = json.loads(line)
            await states.of(request["id"], request["upto"])


def main() -> None:
    """Serve one comparison; what the user's code prints goes to stderr."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii", buffering=1)
    os.dup2(2, 1)

    def tell(row: dict[str, object]) -> None:
        try:
            answers.write(json_line(row) + "\n")
        except BrokenPipeError:  # the comparison is gone, and nobody reads what Python would say of it
            os._exit(1)

    setup = CodeSetup(**json.loads(sys.stdin.readline()))
    try:
        apps, codec = load_apps(setup.apps), load_codec(setup.wire_types)
        if setup.is_named:
            _check_places([*setup.apps, *([setup.wire_types] if setup.wire_types else [])])
        trio.run(_serve, apps, codec, StoreName(setup.store, setup.schema), sys.stdin, tell)
    except CastyError as error:
        tell({REFUSED: str(error)})


if __name__ == "__main__":
    main()
