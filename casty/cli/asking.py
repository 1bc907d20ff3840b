"""Questions to a node from outside: one answer, or one after the other, as lines for people or as JSON for programs."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from functools import partial
from typing import Never

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from casty import NodeAddress, TlsConfig, TlsNetwork
from casty.cli.exits import ExitCode, drop_output, run_until_signal
from casty.cli.hosting import complain
from casty.cluster.observability.status_report import NoStatus, ask_status
from casty.protocol.membership.status import ClusterReport
from casty.transport.network.tcp import TcpNetwork

GAP = "  "


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """Options of the command line."""

    address: NodeAddress
    system_name: str
    timeout: float
    watch: bool
    interval: float
    as_json: bool
    tls: TlsConfig | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """Forms of an answer; NoStatus where there is none to a question."""

    lines_of: Callable[[ClusterReport], list[str]]
    json_of: Callable[[ClusterReport], str]


def columns(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Return a table as lines, its columns aligned."""
    table = [titles, *rows]
    widths = [max(len(row[column]) for row in table) for column in range(len(titles))]
    return [GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in table]


def run_asking(options: StatusOptions, words: Words) -> ExitCode:
    """Ask once, or until Ctrl-C, and return how it went: `ExitCode.failed` when there was no answer."""
    follow = _watch if options.watch else _once
    if options.tls is not None:
        TlsNetwork(options.tls, system_name=options.system_name or None)  # a wrong file is told once, and first
    return trio.run(run_until_signal, partial(_to_reader, follow, options, words))


async def _to_reader(
    follow: Callable[[StatusOptions, Words], Awaitable[ExitCode]], options: StatusOptions, words: Words
) -> ExitCode:
    try:
        return await follow(options, words)
    except BrokenPipeError:  # its reader has seen enough
        drop_output()
        return ExitCode.ok


async def _once(options: StatusOptions, words: Words) -> ExitCode:
    try:
        lines = _said(await _ask(options), options, words)
    except NoStatus as error:
        complain(str(error))
        return ExitCode.failed
    print(*lines, sep="\n", flush=True)
    return ExitCode.ok


def _said(report: ClusterReport, options: StatusOptions, words: Words) -> list[str]:
    return [words.json_of(report)] if options.as_json else words.lines_of(report)


async def _watch(options: StatusOptions, words: Words) -> ExitCode:
    """Show an answer at each interval; while there is none, say so and go on."""
    if options.as_json or not sys.stdout.isatty():
        await _follow(options, words, lambda lines: print(*lines, sep="\n", flush=True), complain)
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        picture = _Picture(live)
        await _follow(options, words, picture.show, picture.fail)


async def _follow(
    options: StatusOptions, words: Words, show: Callable[[list[str]], None], fail: Callable[[str], None]
) -> Never:
    while True:
        try:
            lines = _said(await _ask(options), options, words)
        except NoStatus as error:
            fail(str(error))
        else:
            show(lines if options.as_json else [*lines, ""])
        await trio.sleep(options.interval)


@dataclass(slots=True)
class _Picture:
    """The latest status on a terminal, and below it why there is no newer one."""

    live: Live
    lines: list[str] = field(default_factory=list[str])

    def show(self, lines: list[str]) -> None:
        self.lines = lines
        self._draw(lines)

    def fail(self, reason: str) -> None:
        self._draw([*self.lines, reason])

    def _draw(self, lines: list[str]) -> None:
        texts = [Text(line, no_wrap=True, overflow="ellipsis") for line in lines]
        self.live.update(Group(*texts), refresh=True)


async def _ask(options: StatusOptions) -> ClusterReport:
    network = TcpNetwork() if options.tls is None else TlsNetwork(options.tls, system_name=options.system_name or None)
    return await ask_status(network, options.address, system_name=options.system_name, timeout=options.timeout)
