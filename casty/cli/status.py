"""``casty status``: the view of its cluster from one node, as lines for people or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Never

import trio
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from casty import NodeAddress
from casty.cli.exits import ExitCode, run_until_signal
from casty.cli.hosting import complain
from casty.cluster.observability.status_report import NoStatus, ask_status
from casty.protocol.membership.status import ClusterReport, MemberReport
from casty.schema.names import printable
from casty.transport.network.tcp import TcpNetwork

TITLES = ("member", "status", "address", "up no.", "phi", "gossip age", "seen", "unreachable for")
GAP = "  "
SEEDS_LENGTH_MAX = 2_000


@dataclass(frozen=True, slots=True)
class StatusOptions:
    """Options of the command line."""

    address: NodeAddress
    system_name: str
    timeout: float
    watch: bool
    interval: float
    as_json: bool


def lines_of(report: ClusterReport) -> list[str]:
    """Return a report as text, one line for each member below a head."""
    rows = [TITLES, *(_row(member) for member in report.members)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(TITLES))]
    table = [GAP.join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return [*_head(report), "", *table]


def _head(report: ClusterReport) -> list[str]:
    node = report.node
    state = {"joining": "waits to be let into a cluster", "member": "is a member", "gone": "is no member any more"}[
        node.phase
    ]
    who = f"{printable(node.id)} at {node.address}"
    first = f"{who} {state} of {printable(node.system)} (casty {printable(node.version)})"
    if node.phase == "joining":
        return [first, printable(node.seeds, SEEDS_LENGTH_MAX)] if node.seeds else [first]
    counts = Counter(member.status.name for member in report.members)
    lost = sum(member.accusers > 0 for member in report.members)
    seen = sum(member.has_seen for member in report.members)
    facts = [
        ", ".join(f"{count} {status}" for status, count in counts.items()),
        f"{lost} unreachable" if lost else "nobody unreachable",
        f"leader {node.leader}" if node.leader else "no leader",
        "converged" if node.converged else f"not converged: {seen} of {len(report.members)} have seen this version",
    ]
    return [first, "; ".join(facts)]


def _row(report: MemberReport) -> tuple[str, ...]:
    accusers = ", ".join(str(address) for address in report.accused_by)
    more = report.accusers - len(report.accused_by)
    return (
        printable(report.id) + (f" ({printable(', '.join(sorted(report.roles)))})" if report.roles else ""),
        report.status.name,
        str(report.address),
        str(report.up_number) if report.up_number else "-",
        "-" if report.phi is None else f"{report.phi:.2f}",
        "-" if report.gossip_age is None else f"{report.gossip_age:.1f} s",
        "yes" if report.has_seen else "no",
        (f"{accusers} and {more} more" if more else accusers) or "-",
    )


def json_of(report: ClusterReport) -> str:
    """Return a report as one line of JSON."""
    node = report.node
    return json.dumps(
        {
            "node": {
                "id": node.id,
                "address": str(node.address),
                "system": node.system,
                "version": node.version,
                "phase": node.phase,
                "seeds": node.seeds,
            },
            "cluster_id": f"{node.cluster_id:016x}" if node.cluster_id else None,
            "leader": str(node.leader) if node.leader else None,
            "converged": node.converged,
            "members": [_json_of_member(member) for member in report.members],
        }
    )


def _json_of_member(report: MemberReport) -> dict[str, object]:
    return {
        "id": report.id,
        "address": str(report.address),
        "status": report.status.name,
        "roles": sorted(report.roles),
        "up_number": report.up_number,
        "version": report.version,
        "seen": report.has_seen,
        "phi": report.phi,
        "gossip_age": report.gossip_age,
        "unreachable": report.accusers > 0,
        "accusers": report.accusers,
        "accused_by": [str(address) for address in report.accused_by],
    }


def run_status(options: StatusOptions) -> ExitCode:
    """Ask once, or until Ctrl-C, and return how it went: `ExitCode.failed` when there was no status to tell."""
    follow = _watch if options.watch else _once
    return trio.run(run_until_signal, partial(follow, options))


async def _once(options: StatusOptions) -> ExitCode:
    try:
        report = await _ask(options)
    except NoStatus as error:
        complain(str(error))
        return ExitCode.failed
    for line in [json_of(report)] if options.as_json else lines_of(report):
        print(line)
    return ExitCode.ok


async def _watch(options: StatusOptions) -> ExitCode:
    """Show a status at each interval; while there is none, say so and go on."""
    if options.as_json or not sys.stdout.isatty():
        await _follow(options, lambda lines: print(*lines, sep="\n", flush=True), complain)
    with Live(console=Console(highlight=False), auto_refresh=False) as live:
        picture = _Picture(live)
        await _follow(options, picture.show, picture.fail)


async def _follow(options: StatusOptions, show: Callable[[list[str]], None], fail: Callable[[str], None]) -> Never:
    while True:
        try:
            report = await _ask(options)
        except NoStatus as error:
            fail(str(error))
        else:
            show([json_of(report)] if options.as_json else [*lines_of(report), ""])
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
    return await ask_status(TcpNetwork(), options.address, system_name=options.system_name, timeout=options.timeout)
