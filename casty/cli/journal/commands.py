"""The commands below ``casty journal`` and their options, with typer."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from casty import CastyError, ConfigError
from casty.cli.exits import ExitCode
from casty.cli.hosting import complain
from casty.cli.journal.apps import load_apps, load_codec
from casty.cli.journal.backup import back_up, restore
from casty.cli.journal.check import CheckOptions, JournalCheck, parse_slices
from casty.cli.journal.comparing import Comparison, places_of
from casty.cli.journal.replay import ReplayOptions, replay
from casty.cli.journal.schema_lock import SchemaOptions, lock
from casty.cli.journal.shapes import shapes_of
from casty.cli.journal.show import ShowOptions, show
from casty.cli.journal.stores import StoreName, run_act, run_look

journal = typer.Typer(
    name="journal",
    help="Look into a store of durable state, replay what is in it, back it up and restore it.",
    no_args_is_help=True,
)

Store = Annotated[
    str, typer.Argument(metavar="STORE", help="File of a SqliteJournal, or postgresql://... of a PostgresJournal.")
]
Schema = Annotated[str, typer.Option("--schema", metavar="NAME", help="PostgreSQL's schema of the tables.")]
AppOption = Annotated[
    str,
    typer.Option(
        "--app", metavar="MODULE:NAME", help="Function of an entity's id, or of nothing, that returns its behaviour."
    ),
]
Apps = Annotated[
    list[str],
    typer.Option(
        "--app", metavar="[KEY=]MODULE:NAME", help="Code of a kind of entities; repeat it for each, with its key."
    ),
]
WireTypes = Annotated[
    str | None, typer.Option("--wire-types", metavar="MODULE:NAME", help="List of the types taught to your systems.")
]
Code = Annotated[
    Path | None,
    typer.Option(
        "--code",
        metavar="FOLDER",
        help="Compare: import one version of the code from here, such as a checkout.",
        show_default="working directory",
    ),
]
Against = Annotated[
    Path | None,
    typer.Option(
        "--against",
        metavar="FOLDER",
        help="Compare: import the other version from here, and tell the first event after which states differ.",
        show_default="working directory",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="One line of JSON for each row.")]


def _fail(text: str) -> typer.Exit:
    complain(text)
    return typer.Exit(ExitCode.bad_input)


@journal.command("show")
def show_command(
    store: Store,
    persistence_id: Annotated[
        str | None, typer.Argument(metavar="ID", help="Persistence id, for its events.", show_default="all ids")
    ] = None,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only ids that begin with it.")] = "",
    after: Annotated[
        str | None, typer.Option(metavar="SEQ|ID", help="Begin behind this event, or behind this id.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="ROWS", help="Most rows.", show_default="all")] = None,
    schema: Schema = "casty",
    as_json: Json = False,
) -> None:
    """Show the ids of a journal, or the events, snapshots and value of one of them. It needs none of your code.

    Nothing is claimed or changed, and nodes may run meanwhile. Exit codes: 0 shown, 1 a row cannot be read, or the
    store cannot, 2 bad input, 130 Ctrl-C.
    """
    if persistence_id is not None and after is not None and not after.isdecimal():
        raise _fail(f"--after of the events of an id is the number of one, got {after!r}")
    options = ShowOptions(persistence_id, prefix, after, limit, as_json)
    sys.exit(run_look(StoreName(store, schema), partial(show, options)))


@journal.command("replay")
def replay_command(
    store: Store,
    persistence_id: Annotated[str, typer.Argument(metavar="ID", help="Persistence id, as `show` lists it.")],
    app: AppOption,
    at: Annotated[
        int | None, typer.Option(min=0, metavar="SEQ", help="State after this event.", show_default="the last")
    ] = None,
    every: Annotated[bool, typer.Option("--every", help="Each event, and the changes of the state by it.")] = False,
    code: Code = None,
    against: Against = None,
    wire_types: WireTypes = None,
    schema: Schema = "casty",
    as_json: Json = False,
) -> None:
    """Replay the events of an id with your code of today: the state after an event, or each event and its changes.

    Upcasters, tolerant readers and `apply` are at work as at the start of an actor. Nothing is claimed or changed.
    With --code or --against, the states by two versions of the code are compared, each in a process of its own.
    Exit codes: 0 replayed, or no state differs, 1 an event cannot be read or applied, states differ, or the store
    cannot be read, 2 bad input, 130 Ctrl-C.
    """
    name = StoreName(store, schema)
    try:
        if code is not None or against is not None:
            if every:
                raise ConfigError("--every shows one version of the code: leave it out, or --code and --against")
            comparison = Comparison(name, [app], wire_types, places_of(code, against), as_json)
            sys.exit(run_look(name, partial(comparison.run_one, persistence_id, at)))
        (entities,), codec = load_apps([app]), load_codec(wire_types)
    except ConfigError as error:
        raise _fail(str(error)) from None
    options = ReplayOptions(persistence_id, at, every, as_json)
    sys.exit(run_look(name, partial(replay, options, entities, codec)))


@journal.command("check")
def check_command(
    store: Store,
    app: Apps,
    prefix: Annotated[str, typer.Option(metavar="TEXT", help="Only ids that begin with it.")] = "",
    slices: Annotated[
        str | None,
        typer.Option("--slice", metavar="N|N-M", help="A sample: ids of these of 1,024 slices.", show_default="all"),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, metavar="IDS", help="Most ids.", show_default="all")] = None,
    code: Code = None,
    against: Against = None,
    wire_types: WireTypes = None,
    schema: Schema = "casty",
    as_json: Json = False,
) -> None:
    """Replay all ids with your code of today, before it is deployed: which fail, at which event, and why.

    With --code or --against, the states by two versions of the code are compared, each in a process of its own. Nothing
    is claimed or changed, and nodes may run meanwhile. Exit codes: 0 all can be replayed, and no state differs, 1 an id
    fails, its states differ, or the store cannot be read, 2 bad input, 130 Ctrl-C.
    """
    name = StoreName(store, schema)
    try:
        options = CheckOptions(prefix, parse_slices(slices), limit, as_json)
        if code is not None or against is not None:
            comparison = Comparison(name, app, wire_types, places_of(code, against), as_json)
            sys.exit(run_look(name, partial(comparison.run_all, options)))
        check = JournalCheck(options, load_apps(app), load_codec(wire_types))
    except ConfigError as error:
        raise _fail(str(error)) from None
    sys.exit(run_look(name, check.run))


@journal.command("schema")
def schema_command(
    app: Apps,
    check: Annotated[bool, typer.Option("--check", help="Compare only; for CI.")] = False,
    file: Annotated[Path, typer.Option("--file", metavar="FILE", help="The file to be committed.")] = Path(
        "schema.lock"
    ),
    force: Annotated[bool, typer.Option("--force", help="Write what no stored row could be read by.")] = False,
    wire_types: WireTypes = None,
) -> None:
    """Write down the shapes of your stored events and states, or find those that changed without a version.

    Name the code of all kinds. Exit codes: 0 written, or nothing changed, 1 a shape changed without a version, or FILE
    is behind, 2 bad input.
    """
    try:
        sys.exit(lock(SchemaOptions(file, check, force), shapes_of(load_apps(app), load_codec(wire_types))))
    except CastyError as error:
        raise _fail(str(error)) from None


@journal.command("backup")
def backup_command(
    store: Store,
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File to be written; it must not be there.")],
    schema: Schema = "casty",
) -> None:
    """Write all that is in a store into a file, as it is at one moment. Nodes may write meanwhile.

    Exit codes: 0 written, 1 a row or the store cannot be read, and there is no FILE, 2 bad input, 130 Ctrl-C.
    """
    sys.exit(run_act(partial(back_up, StoreName(store, schema), file)))


@journal.command("restore")
def restore_command(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="File written by `casty journal backup`.")],
    store: Store,
    force: Annotated[bool, typer.Option("--force", help="Replace all that is in STORE.")] = False,
    schema: Schema = "casty",
) -> None:
    """Put a backup into an empty store, of either kind. All claims made before are void. Stop the nodes of STORE first.

    Exit codes: 0 restored, 1 FILE is damaged, or the store cannot be written: it is as it was, 2 bad input, 130 Ctrl-C.
    """
    sys.exit(run_act(partial(restore, file, StoreName(store, schema), is_forced=force)))
