"""Facts of one run of ``casty demo-cart`` as it goes on, and the displays of it."""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from casty import ClusterState, NodeAddress, ShardListing
from casty.cli.demo.progress import print_line
from casty.cli.demo_cart.cart_calls import CartAccount

EVENTS_SHOWN_MAX: Final = 6
EVENTS_KEPT_MAX: Final = 1_000
BAR_WIDTH: Final = 40
WINDOW: Final = 1.0
"""Seconds covered by the figures of the latest asks."""


@dataclass(slots=True)
class AskTimes:
    """Times of asks: those of the latest second, and all."""

    all: list[float] = field(default_factory=list[float])
    _latest: deque[tuple[float, float]] = field(default_factory=deque[tuple[float, float]])

    def add(self, now: float, seconds: float) -> None:
        """Take the time of an answered ask."""
        self.all.append(seconds)
        self._latest.append((now, seconds))

    def latest(self, now: float) -> list[float]:
        """Return the times of the asks answered in the latest second."""
        while self._latest and self._latest[0][0] <= now - WINDOW:
            self._latest.popleft()
        return [seconds for _, seconds in self._latest]


def percentile(times: Sequence[float], share: float) -> float:
    """Return the least time not exceeded by a share of all; 0.0 of none.

    >>> percentile([0.3, 0.1, 0.2], 0.5), percentile([], 0.99)
    (0.2, 0.0)
    """
    return sorted(times)[max(0, math.ceil(share * len(times)) - 1)] if times else 0.0


def in_ms(seconds: float) -> str:
    """Return a time in milliseconds, as text."""
    return f"{1_000 * seconds:,.1f} ms"


@dataclass(slots=True)
class CartProgress:
    """One run, as far as it got."""

    requests: int
    """Acknowledged items wanted."""
    ledger: CartAccount
    times: AskTimes = field(default_factory=AskTimes)
    refused: int = 0
    """Asks refused as certainly not handled, and made again."""
    moves: int = 0
    """Moves of shards between nodes."""
    listing: ShardListing | None = None
    state: ClusterState | None = None
    names: dict[NodeAddress, str] = field(default_factory=dict[NodeAddress, str])
    """Names of all nodes, members now or once."""
    killed: str | None = None
    """Name of the node killed by the driver."""
    adding_from: float | None = None
    adding_to: float | None = None

    def take(self, state: ClusterState) -> None:
        """Take note of a new state of the cluster."""
        self.state = state
        self.names.update({member.address: member.id for member in state.members})

    @property
    def loads(self) -> dict[str, int]:
        """Shards open on each node, by name."""
        loads = Counter({self.names.get(node, str(node)): 0 for node in self.listing.hosts} if self.listing else {})
        for node, count in (self.listing.loads if self.listing else {}).items():
            loads[self.names.get(node, str(node))] += count
        return dict(sorted(loads.items()))

    def figures(self, now: float) -> str:
        """Return the latest second in a line."""
        latest = self.times.latest(now)
        ledger = self.ledger
        loads = " ".join(f"{name} {count}" for name, count in self.loads.items()) or "not placed yet"
        moving = len(self.listing.moves) if self.listing else 0
        p50, p99 = (in_ms(percentile(latest, share)) if latest else "-" for share in (0.5, 0.99))
        wanted = f"{self.requests:,} wanted"
        if ledger.acknowledged >= self.requests:
            wanted += "; the load goes on until shards are even"
        return (
            f"{ledger.acknowledged:,} items ({wanted}), {len(latest):,}/s, p50 {p50}, "
            f"p99 {p99}, {self.refused} refused, {ledger.unknown} unknown; "
            f"shards {loads}, {moving} moving, {self.moves} moved"
        )


class CartDisplay(Protocol):
    """Display of a run."""

    def note(self, at: float, text: str) -> None:
        """Show an event at once."""

    def show(self, progress: CartProgress, now: float) -> None:
        """Show how far the run is; called ten times a second."""

    def close(self) -> None:
        """Leave the terminal to others. Called at the end, however it comes; closing twice is once."""


@dataclass(slots=True)
class PlainCartDisplay:
    """One line per event, and one for each second."""

    _shown_at: float = field(init=False, default=-math.inf)

    def note(self, at: float, text: str) -> None:
        """Write the event with its time."""
        print_line(f"{at:8.3f} s  {text}")

    def show(self, progress: CartProgress, now: float) -> None:
        """Write a line whenever another second is over."""
        if progress.adding_from is not None and progress.adding_to is None and now >= self._shown_at + WINDOW:
            self._shown_at = now
            print_line(f"            {progress.figures(now)}")

    def close(self) -> None:
        """Nothing is left open."""


@dataclass(slots=True)
class LiveCartDisplay:
    """Table of nodes, a bar, the latest events; in the end the whole timeline. Drawn from the caller's task."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    _live: Live | None = field(init=False, default=None)
    _events: deque[str] = field(init=False, default_factory=lambda: deque[str](maxlen=EVENTS_KEPT_MAX))
    _top: list[Table | Text] = field(init=False, default_factory=list[Table | Text])

    def note(self, at: float, text: str) -> None:
        """Show an event below the bar."""
        self._events.append(f"{at:8.3f} s  {text}")
        self._draw()

    def show(self, progress: CartProgress, now: float) -> None:
        """Draw how far the run is."""
        self._top = [nodes_table(progress), bar(progress), Text(progress.figures(now))]
        self._draw()

    def close(self) -> None:
        """Take the picture away, and print the nodes and the timeline as they were in the end."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        for one in self._top[:1]:
            self.console.print(one)
        for line in self._events:
            self.console.print(Text(line))
        self._events.clear()

    def _draw(self) -> None:
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        latest = [Text(line, overflow="ellipsis", no_wrap=True) for line in list(self._events)[-EVENTS_SHOWN_MAX:]]
        self._live.update(Group(*self._top, *latest), refresh=True)


def nodes_table(progress: CartProgress) -> Table:
    """Return the nodes with their shards."""
    table = Table("node", "address", "status", box=None, pad_edge=False)
    for title in ("shards", "moving away"):
        table.add_column(title, justify="right")
    state, listing = progress.state, progress.listing
    loads = {} if listing is None else listing.loads
    moving = Counter(row.node for row in listing.moves) if listing else Counter[NodeAddress]()
    members = () if state is None else sorted(state.members, key=lambda member: member.id)
    for member in members:
        is_lost = state is not None and member.address in state.unreachable
        shards = str(loads[member.address]) if member.address in loads else ""
        status = "unreachable" if is_lost else member.status.name
        is_killed = member.id == progress.killed
        table.add_row(
            member.id, str(member.address), f"killed, {status}" if is_killed else status, shards,
            str(moving[member.address] or ""), style="red" if is_killed or is_lost else None,
        )  # fmt: skip
    if progress.killed is not None and all(member.id != progress.killed for member in members):
        gone = [address for address, name in progress.names.items() if name == progress.killed]
        table.add_row(progress.killed, *map(str, gone[:1]), "killed, removed", style="red")
    return table


def bar(progress: CartProgress) -> Table:
    """Return how many items are acknowledged, as a bar."""
    line = Table.grid(padding=(0, 1))
    done = min(progress.ledger.acknowledged, progress.requests)
    line.add_row(ProgressBar(total=progress.requests, completed=done, width=BAR_WIDTH))
    return line
