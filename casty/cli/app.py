"""The commands and their options, with typer."""

from __future__ import annotations

import logging
import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated, Never

import typer

from casty import ConfigError, NodeAddress, TlsConfig
from casty.cli.asking import StatusOptions, run_asking
from casty.cli.cert.cert_commands import cert
from casty.cli.configuration import NodeFile, NodeOptions, load_guest, parse_address, plan_of, read_file
from casty.cli.demo.demo import Demo, run_demo
from casty.cli.demo.live import LiveDisplay
from casty.cli.demo.progress import PlainDisplay
from casty.cli.demo.tree import standard_library
from casty.cli.demo_cart.cart_journals import JournalKind, check_choice
from casty.cli.demo_cart.cart_progress import LiveCartDisplay, PlainCartDisplay
from casty.cli.demo_cart.demo_cart import REQUESTS, CartDemo, run_demo_cart
from casty.cli.exits import ExitCode
from casty.cli.hosting import complain, run_node
from casty.cli.journal.commands import journal
from casty.cli.shards import ShardsQuestion
from casty.cli.status import STATUS
from casty.cli.tls_options import tls_of
from casty.version import VERSION

NODES_MAX = 32

app = typer.Typer(
    name="casty", help="Typed, clustered actors on Trio.", no_args_is_help=True, pretty_exceptions_enable=False,
    add_completion=False,
)  # fmt: skip
app.add_typer(journal)
app.add_typer(cert)


def run() -> None:
    """Run the command given by the arguments, and exit."""
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
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt what nodes say, with certificates for this run.")] = False,
    plain: Annotated[bool, typer.Option(help="One line per event, also on a terminal.")] = False,
) -> None:
    """Count words on a cluster of processes, kill one of them, and check the result."""
    root = standard_library() if path is None else path
    if not root.is_dir():
        _refuse(f"{str(root)!r} is not a folder: name one with Python files in it")
    if kill and nodes < 2:
        _refuse("nobody would be left to count after the kill: take --nodes 2 or more, or --no-kill")
    display = LiveDisplay() if sys.stdout.isatty() and not plain else PlainDisplay()
    sys.exit(run_demo(Demo(root, nodes, kill, display, tls)))


@app.command("demo-cart")
def demo_cart(
    nodes: Annotated[int, typer.Option(min=1, max=NODES_MAX, help="How many node processes to start at first.")] = 3,
    kill: Annotated[
        bool, typer.Option(help="Kill one node halfway and, with a journal, all of them near the end.")
    ] = True,
    journal: Annotated[
        JournalKind, typer.Option(help="Where carts are stored; none is nowhere but in the memory of their nodes.")
    ] = JournalKind.sqlite,
    dsn: Annotated[
        str | None, typer.Option(metavar="DSN", help="Database of --journal postgres, as psql takes it.")
    ] = None,
    tls: Annotated[bool, typer.Option("--tls", help="Encrypt what nodes say, with certificates for this run.")] = False,
    plain: Annotated[bool, typer.Option(help="One line per event and second, also on a terminal.")] = False,
    requests: Annotated[int, typer.Option(min=100, max=1_000_000, help="Items to put into carts.")] = REQUESTS,
) -> None:
    """Fill shopping carts on a cluster of processes, kill and start its nodes, and account for each item.

    Carts are entities, each on one node at a time, and event-sourced. Halfway one node is killed, at three quarters
    another one started, near the end all are killed and started anew. In the end every cart is asked: each acknowledged
    item has to be there once. With --journal none carts are in memory alone, and what is lost is told by number.

    sqlite is a new file for all processes of this host; postgres a new schema of your database. Both are removed.

    Exit codes: 0 all is right, 1 something is not, 2 bad input, 130 Ctrl-C.
    """
    if kill and nodes < 2:
        _refuse("nobody would be left with carts after the kill: take --nodes 2 or more, or --no-kill")
    try:
        check_choice(journal, dsn)
    except ConfigError as error:
        _refuse(str(error))
    display = LiveCartDisplay() if sys.stdout.isatty() and not plain else PlainCartDisplay()
    sys.exit(run_demo_cart(CartDemo(nodes, kill, display, requests, journal, dsn, tls)))


_this_node = partial(typer.Option, rich_help_panel="This node")
_network = partial(typer.Option, rich_help_panel="Network")
_joining = partial(typer.Option, rich_help_panel="Joining")
_TLS_DIR = typer.Option(
    "--tls-dir",
    metavar="DIR",
    help="Folder with tls.crt, tls.key and ca.crt, for nodes with TLS.",
    show_default="CASTY_TLS_*",
)
_SEED = _joining(
    "--seed",
    metavar="HOST:PORT",
    help="Node to join by; repeat it for each. It is `seeds` in casty.toml, `seed_nodes` in Python.",
    show_default="none: form a new cluster",
)


@app.command("node")
def node_command(
    target: Annotated[str, typer.Argument(metavar="MODULE:FUNCTION", help="A function that returns a behaviour.")],
    name: Annotated[
        str | None,
        _this_node("--name", metavar="NAME", help="System, the same on all nodes. Default: casty."),
    ] = None,
    node_id: Annotated[
        str | None,
        _this_node("--node-id", metavar="NAME", help="This node, unique in the cluster. Required, here or in FILE."),
    ] = None,
    role: Annotated[
        list[str] | None, _this_node("--role", metavar="NAME", help="What the node is for; may be repeated.")
    ] = None,
    config: Annotated[
        Path | None, _this_node("--config", metavar="FILE", help="casty.toml; options given here win over it.")
    ] = None,
    host: Annotated[
        str | None,
        _network("--host", metavar="HOST", help="Address to bind and be dialled at. Default: 127.0.0.1."),
    ] = None,
    port: Annotated[
        int | None, _network("--port", metavar="PORT", help="TCP port; 0, the default, takes a free one.")
    ] = None,
    insecure: Annotated[
        bool | None, _network("--insecure", help="Allow a HOST that other machines reach, without encryption.")
    ] = None,
    tls_dir: Annotated[Path | None, _TLS_DIR] = None,
    seed: Annotated[list[str] | None, _SEED] = None,
    quorum: Annotated[
        int | None,
        _joining("--quorum", metavar="MEMBERS", help="Start when so many are up.", show_default="when this node is in"),
    ] = None,
    join_timeout: Annotated[
        float | None,
        _joining("--join-timeout", metavar="SECONDS", help="To join and wait for the quorum. Default: 60."),
    ] = None,
    allow_new_cluster: Annotated[
        bool | None,
        _joining("--allow-new-cluster", help="Form a cluster alone if no seed answers for 5 s: the others are gone."),
    ] = None,
) -> None:
    """Run one node of a cluster until Ctrl-C, SIGTERM, or the end of its actor.

    FUNCTION takes no arguments and returns a behaviour, spawned as /FUNCTION. Exit codes: 0 left gracefully, 1 could
    not join or the actor failed, 2 bad input, 3 downed and not joining again, 130 Ctrl-C.

    Example: casty node shop.carts:carts --node-id web-1 --port 2551 --seed 10.0.0.5:2551 --seed 10.0.0.6:2551
    """
    options = NodeOptions(
        name=name,
        host=host,
        port=port,
        node_id=node_id,
        seeds=tuple(seed) if seed else None,
        roles=tuple(role) if role else None,
        required_quorum=quorum,
        join_timeout=join_timeout,
        allow_new_cluster=allow_new_cluster,
        insecure=insecure,
    )
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        file = NodeFile() if config is None else read_file(config)
        plan = plan_of(options, file, tls_of(tls_dir, os.environ, file.tls))
        guest = load_guest(target)
    except ConfigError as error:
        _refuse(str(error))
    sys.exit(run_node(plan, guest))


@app.command()
def status(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Any node of the cluster.")],
    watch: Annotated[bool, typer.Option("--watch", help="Ask again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two questions of --watch.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each answer.")] = False,
    system_name: Annotated[
        str, typer.Option(help="Take no answer from a node of another name.", show_default="any")
    ] = "",
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer.")] = 5.0,
    tls_dir: Annotated[Path | None, _TLS_DIR] = None,
) -> None:
    """Ask a node for its cluster: members, who is unreachable for whom, leader, phi, age of the gossip, shards.

    It only asks: it does not join, and the node does not dial back. Exit codes: 0 there was an answer, 1 there was
    none, 2 bad input, 130 Ctrl-C.
    """
    try:
        options = StatusOptions(_place(address), system_name, timeout, watch, interval, as_json, _tls(tls_dir))
        sys.exit(run_asking(options, STATUS))
    except ConfigError as error:
        _refuse(str(error))


@app.command("shards")
def shards_command(
    address: Annotated[str, typer.Argument(metavar="HOST:PORT", help="Any node of the cluster.")],
    key: Annotated[
        str | None, typer.Argument(metavar="KEY", help="One kind of entities, with each shard.", show_default="all")
    ] = None,
    watch: Annotated[bool, typer.Option("--watch", help="Ask again and again, until Ctrl-C.")] = False,
    interval: Annotated[float, typer.Option(min=0.1, help="Seconds between two questions of --watch.")] = 1.0,
    as_json: Annotated[bool, typer.Option("--json", help="One line of JSON for each answer.")] = False,
    timeout: Annotated[float, typer.Option(min=0.1, help="Seconds for one answer.")] = 5.0,
    tls_dir: Annotated[Path | None, _TLS_DIR] = None,
) -> None:
    """Ask a node where entities live: the shards of each kind by node, moves, coordinator, epochs.

    It only asks: it does not join, and the node does not dial back. Exit codes: 0 there was an answer, 1 there was
    none, or the node knows no such KEY, 2 bad input, 130 Ctrl-C.
    """
    try:
        options = StatusOptions(_place(address), "", timeout, watch, interval, as_json, _tls(tls_dir))
        sys.exit(run_asking(options, ShardsQuestion(key).words))
    except ConfigError as error:
        _refuse(str(error))


def _tls(folder: Path | None) -> TlsConfig | None:
    return tls_of(folder, os.environ, None)


def _place(address: str) -> NodeAddress:
    try:
        return NodeAddress(*parse_address(address, "the address of a node"))
    except ConfigError as error:
        _refuse(str(error))


def _refuse(text: str) -> Never:
    complain(text)
    raise typer.Exit(ExitCode.bad_input)
