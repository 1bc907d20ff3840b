"""The commands and their options, with typer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from casty.cli.demo import Demo, run_demo
from casty.cli.exits import ExitCode
from casty.cli.hosting import complain
from casty.cli.live import LiveDisplay
from casty.cli.progress import PlainDisplay
from casty.cli.tree import standard_library
from casty.version import VERSION

NODES_MAX = 32

app = typer.Typer(
    name="casty", help="Typed, clustered actors on Trio.", no_args_is_help=True, pretty_exceptions_enable=False,
    add_completion=False,
)  # fmt: skip


def run() -> None:
    """Run the command that the arguments ask for, and exit."""
    try:
        app()
    except KeyboardInterrupt:  # before or after the loop that takes signals
        sys.exit(ExitCode.interrupted)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"casty {VERSION}")
        raise typer.Exit


@app.callback()
def casty(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Typed, clustered actors on Trio."""


@app.command()
def demo(
    path: Annotated[
        Path | None,
        typer.Argument(help="Count the words of the *.py files below it.", show_default="the standard library"),
    ] = None,
    nodes: Annotated[int, typer.Option(min=1, max=NODES_MAX, help="How many node processes to start.")] = 3,
    kill: Annotated[bool, typer.Option(help="Kill one node halfway.")] = True,
    plain: Annotated[bool, typer.Option(help="One line per event, also on a terminal.")] = False,
) -> None:
    """Count words on a cluster of processes, kill one of them, and check the result."""
    root = standard_library() if path is None else path
    if not root.is_dir():
        _refuse(f"{str(root)!r} is not a folder: name one with Python files in it")
    if kill and nodes < 2:
        _refuse("nobody would be left to count after the kill: take --nodes 2 or more, or --no-kill")
    display = LiveDisplay() if sys.stdout.isatty() and not plain else PlainDisplay()
    sys.exit(run_demo(Demo(root, nodes, kill, display)))


def _refuse(text: str) -> None:
    complain(text)
    raise typer.Exit(ExitCode.bad_input)
