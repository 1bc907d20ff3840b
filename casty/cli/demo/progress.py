"""Display of the demo: the facts of one run, and the simplest way to show them."""

from __future__ import annotations

import signal
from dataclasses import dataclass, field
from typing import Protocol

from casty import Member, NodeAddress, TopologySnapshot
from casty.cli.demo.ledger import Ledger
from casty.cli.demo.tree import Tree
from casty.cli.exits import drop_output


@dataclass(slots=True)
class Progress:
    """One run of the demo, as far as it got. Times are seconds since its start."""

    tree: Tree
    ledger: Ledger[NodeAddress]
    snapshot: TopologySnapshot | None = None
    names: dict[NodeAddress, str] = field(default_factory=dict[NodeAddress, str])
    """Names of all nodes, members now or once."""
    phi: dict[NodeAddress, float] = field(default_factory=dict[NodeAddress, float])
    """Suspicion of each node by the driver."""
    counting_from: float | None = None
    counting_to: float | None = None

    def take(self, snapshot: TopologySnapshot) -> None:
        """Take note of a new snapshot."""
        self.snapshot = snapshot
        self.names.update({member.address: member.id for member in snapshot.members})

    def name_of(self, node: NodeAddress) -> str:
        """Return the name of a node, also of a former one."""
        return self.names.get(node, str(node))

    @property
    def members(self) -> list[Member]:
        """The members in the order of their names."""
        members = () if self.snapshot is None else self.snapshot.members
        return sorted(members, key=lambda member: member.id)

    def status_of(self, member: Member) -> str:
        """Return a member's status, or "unreachable"."""
        unreachable = self.snapshot is not None and member.address in self.snapshot.unreachable
        return "unreachable" if unreachable else member.status.name

    @property
    def seconds(self) -> float:
        """Seconds of the counting; 0.0 before its end."""
        return 0.0 if self.counting_from is None or self.counting_to is None else self.counting_to - self.counting_from


class Display(Protocol):
    """Display of a run."""

    def note(self, at: float, text: str) -> None:
        """Show an event at once."""

    def show(self, progress: Progress) -> None:
        """Show how far the run is; called ten times a second."""

    def close(self) -> None:
        """Leave the terminal to others. Called at the end, however it comes; closing twice is once."""


@dataclass(slots=True)
class PlainDisplay:
    """One line per event, and one for each tenth of the work."""

    _tenths: int = field(init=False, default=0)

    def note(self, at: float, text: str) -> None:
        """Write the event with its time."""
        print_line(f"{at:8.3f} s  {text}")

    def show(self, progress: Progress) -> None:
        """Write a line whenever another tenth is done."""
        ledger = progress.ledger
        tenths = 10 * ledger.done // ledger.chunks
        if tenths > self._tenths:
            self._tenths = tenths
            print_line(f"            {ledger.done:,} of {ledger.chunks:,} chunks")

    def close(self) -> None:
        """Nothing is left open."""


def print_line(text: str) -> None:
    """Print a line at once. When nobody reads any more, the program ends as if it were asked to."""
    try:
        print(text, flush=True)
    except BrokenPipeError:
        drop_output()
        signal.raise_signal(signal.SIGTERM)


TOP_WORDS = 10


def summary(progress: Progress) -> list[str]:
    """Return the lines printed after the counting."""
    ledger, tree = progress.ledger, progress.tree
    top = ", ".join(f"{word} {count:,}" for word, count in ledger.counts.most_common(TOP_WORDS))
    shares = ", ".join(f"{progress.name_of(node)} {chunks:,}" for node, chunks in ledger.answers.items())
    rate = tree.size / 1e6 / progress.seconds if progress.seconds else 0.0
    return [
        f"top words: {top}",
        f"chunks: {shares}; {ledger.resent} sent again, {ledger.repeated} answered twice and counted once",
        f"{ledger.counts.total():,} words, {len(ledger.counts):,} different ones, "
        f"in {progress.seconds:.2f} s: {rate:.1f} MB/s",
    ]
