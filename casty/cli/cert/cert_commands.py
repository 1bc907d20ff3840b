"""The commands below ``casty cert`` and their options, with typer."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Final

import typer

from casty import ConfigError
from casty.cli.cert.checking import check_folder
from casty.cli.exits import ExitCode
from casty.cli.hosting import complain
from casty.cli.tls_options import PREFIX

DAYS_MAX: Final = 36_500
WITHOUT_EXTRA: Final = "casty cert needs cryptography: from the checkout, run  pip install '.[tls]'"

cert = typer.Typer(
    name="cert", help="Make a CA, issue certificates to nodes and clients, and check them.", no_args_is_help=True
)

Folder = Annotated[Path, typer.Option("--dir", metavar="DIR", help="Folder of the CA.")]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]


@contextmanager
def _refusing(code: ExitCode = ExitCode.bad_input) -> Generator[None]:
    """End the command with one line where its body fails for its input, or for the missing extra."""
    try:
        yield
    except ConfigError as error:
        complain(str(error))
        raise typer.Exit(code) from None
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != "cryptography":
            raise
        complain(WITHOUT_EXTRA)
        raise typer.Exit(ExitCode.bad_input) from None


@cert.command("init")
def init_command(
    name: Annotated[str, typer.Option("--name", metavar="NAME", help="System, as its nodes have it.")] = "casty",
    folder: Folder = Path("tls"),
    days: Annotated[int, typer.Option(min=1, max=DAYS_MAX, help="Until the end of the CA.")] = 3_650,
    force: Force = False,
) -> None:
    """Make a CA: ca.crt, which every node gets, and ca.key, which no node gets: its owner decides who is a node.

    Exit codes: 0 made, 2 bad input, such as files that exist.
    """
    with _refusing():
        from casty.cli.cert.authority import make_ca  # noqa: PLC0415  # the extra may be missing

        make_ca(folder, name, days, force=force)
    print(f"{folder} has a CA for the system {name}: keep {folder / 'ca.key'} off the nodes")


@cert.command("issue")
def issue_command(
    node_id: Annotated[str, typer.Argument(metavar="NODE_ID", help="Node, or client, named by the certificate.")],
    client: Annotated[bool, typer.Option("--client", help="For a client, which cannot become a member.")] = False,
    folder: Folder = Path("tls"),
    days: Annotated[int, typer.Option(min=1, max=DAYS_MAX, help="Until the end of the certificate.")] = 365,
    force: Force = False,
) -> None:
    """Issue tls.crt and tls.key, and copy ca.crt: all that a node needs, in DIR/node/NODE_ID or DIR/client/NODE_ID.

    With --force it is how a certificate is replaced before it ends: a running node reads the new files by itself. Exit
    codes: 0 issued, 2 bad input, such as files that exist.
    """
    with _refusing():
        from casty.cli.cert.authority import open_ca  # noqa: PLC0415  # the extra may be missing

        place = open_ca(folder).issue(node_id, "client" if client else "member", days, force=force)
    print(f"{place} has the files of the {'client' if client else 'node'} {node_id}: --tls-dir {place}")


@cert.command("show")
def show_certificates(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="File with certificates, or folder with such files.")],
) -> None:
    """Show certificates: names, serial number, issuer, dates. Keys are not read.

    The serial number is that of a list of denied certificates. Exit codes: 0 shown, 2 bad input.
    """
    with _refusing():
        from casty.cli.cert.authority import described  # noqa: PLC0415  # the extra may be missing

        print(*described(path), sep="\n")


@cert.command("check")
def check_files(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Folder with tls.crt, tls.key and ca.crt.")],
    accept: Annotated[
        list[str] | None,
        typer.Option("--accept", metavar="PATTERN", help="URIs of members where they are not casty's; repeatable."),
    ] = None,
    accept_client: Annotated[
        list[str] | None, typer.Option("--accept-client", metavar="PATTERN", help="The same of clients.")
    ] = None,
    denied: Annotated[
        Path | None,
        typer.Option("--denied", metavar="FILE", envvar=f"{PREFIX}DENIED", help="List of denied certificates."),
    ] = None,
) -> None:
    """Try the files of a node or client as a node does at its start. It needs no cryptography.

    Exit codes: 0 a node would take them, 1 it would not, and why.
    """
    with _refusing(ExitCode.failed):
        patterns = {"member": accept or [], "client": accept_client or []}
        print(*check_folder(folder, patterns if accept or accept_client else None, denied), sep="\n")
