"""The demo on a terminal: a table of members, a bar, the latest events; in the end the whole timeline."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from casty.cli.demo.progress import Progress

EVENTS_SHOWN_MAX = 6
EVENTS_KEPT_MAX = 1_000
BAR_WIDTH = 40
COLOURS = {"up": "green", "unreachable": "bold red", "down": "red"}


@dataclass(slots=True)
class LiveDisplay:
    """Draws at each `show`, from the caller's task: no thread of its own."""

    console: Console = field(default_factory=lambda: Console(highlight=False))
    _live: Live | None = field(init=False, default=None)
    _events: deque[str] = field(init=False, default_factory=lambda: deque[str](maxlen=EVENTS_KEPT_MAX))
    _progress: Progress | None = field(init=False, default=None)

    def note(self, at: float, text: str) -> None:
        """Show an event below the bar."""
        self._events.append(f"{at:8.3f} s  {text}")
        self._draw()

    def show(self, progress: Progress) -> None:
        """Draw how far the run is."""
        self._progress = progress
        self._draw()

    def close(self) -> None:
        """Take the picture away, and print the members and the timeline as they were in the end."""
        if self._live is None:
            return
        self._live.stop()
        self._live = None
        if self._progress is not None:
            self.console.print(members_table(self._progress))
        for line in self._events:
            self.console.print(Text(line))
        self._events.clear()

    def _draw(self) -> None:
        if self._live is None:
            self._live = Live(console=self.console, auto_refresh=False, transient=True)
            self._live.start()
        latest = [Text(line, overflow="ellipsis", no_wrap=True) for line in list(self._events)[-EVENTS_SHOWN_MAX:]]
        top = [] if self._progress is None else [members_table(self._progress), bar(self._progress)]
        self._live.update(Group(*top, *latest), refresh=True)


def members_table(progress: Progress) -> Table:
    """Return the members with everything known of them."""
    table = Table("member", "role", "address", "status", box=None, pad_edge=False)
    for title in ("phi", "chunks", "owed"):
        table.add_column(title, justify="right")
    for member in progress.members:
        status = progress.status_of(member)
        phi = progress.phi.get(member.address)
        answered = progress.ledger.answers.get(member.address)
        table.add_row(
            member.id,
            ", ".join(sorted(member.roles)),
            str(member.address),
            Text(status, style=COLOURS.get(status, "yellow")),
            "" if phi is None else f"{phi:.2f}",
            "" if answered is None else f"{answered:,}",
            "" if answered is None else str(progress.ledger.owed_by(member.address)),
        )
    return table


def bar(progress: Progress) -> Table:
    """Return how many chunks are answered, as a bar and in figures."""
    ledger = progress.ledger
    line = Table.grid(padding=(0, 1))
    figures = f"{ledger.done:,} of {ledger.chunks:,} chunks"
    line.add_row(ProgressBar(total=ledger.chunks, completed=ledger.done, width=BAR_WIDTH), Text(figures))
    return line
