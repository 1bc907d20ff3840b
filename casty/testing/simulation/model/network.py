"""Network between simulated nodes: the arrivals of sent messages, and their times.

Owns the cuts, the lost, held up and doubled messages, and the order on each lane of a link, kept as TCP keeps it. It
does not know the content of messages. Some may come a second time, late: a run may have asked for its entry over a
connection read long after, when the run has been let in, has ended and was removed.
"""

from __future__ import annotations

import random
from collections.abc import Iterable

from casty.address import UniqueAddress


class ModelNetwork:
    """The paths between nodes by name; delays in seconds, shares from 0 to 1."""

    def __init__(self, rng: random.Random, delay: float) -> None:
        self.rng: random.Random = rng
        """Source of all draws."""
        self.delay: float = delay
        """Seconds of each message's travel."""
        self.jitter: float = 0.0
        """Seconds added to the delay at random, at most so many."""
        self.loss: float = 0.0
        """Share of lost messages."""
        self.held_up: float = 0.0
        """Share of messages held up, for at most ``held_up_for`` seconds."""
        self.held_up_for: float = 0.0
        """Longest hold-up, in seconds."""
        self.duplicated: float = 0.0
        """Share of messages arriving twice."""
        self.late_joins: float = 0.0
        """Share of Joins, and of further late messages, arriving once more, up to ``late_joins_by`` seconds later."""
        self.late_joins_by: float = 0.0
        """Lateness of such a message at most, in seconds."""
        self.is_cut_somewhere: bool = False
        """Whether any path is cut."""
        self._cuts: set[tuple[str, str]] = set()
        self._last_arrival: dict[tuple[int, str, str], float] = {}

    def cut(self, one: Iterable[str], other: Iterable[str], *, one_way: bool = False) -> None:
        """Let nothing pass from the nodes of one side to the other, or in neither direction.

        Parameters:
            one: Names of the nodes of one side.
            other: Names of the nodes of the other side.
            one_way: Whether messages from the second side to the first still arrive.
        """
        for a in one:
            for b in other:
                self._cuts.add((a, b))
                if not one_way:
                    self._cuts.add((b, a))
        self.is_cut_somewhere = bool(self._cuts)

    def heal(self) -> None:
        """End all cuts."""
        self._cuts.clear()
        self.is_cut_somewhere = False

    def is_cut(self, one: str, other: str) -> bool:
        """Look whether nothing passes between two nodes, in at least one direction.

        Parameters:
            one: Name of a node.
            other: Name of another.

        Returns:
            Whether there is such a cut.
        """
        return (one, other) in self._cuts or (other, one) in self._cuts

    def passes(self, one: str, other: str) -> bool:
        """Look whether something passes from one node to another.

        Parameters:
            one: Name of the sending node.
            other: Name of the other.

        Returns:
            Whether nothing is cut in this direction.
        """
        return (one, other) not in self._cuts

    def arrivals(
        self, sender: UniqueAddress, to: str, now: float, rng: random.Random | None = None, lane: str = ""
    ) -> list[float]:
        """Draw when a message arrives: not at all, once, or twice.

        Parameters:
            sender: The sending run.
            to: Name of the receiving node.
            now: Time of the sending.
            rng: Source of the draws; None takes that of the network.
            lane: Name of the lane: messages of one lane stay in order between two runs.

        Returns:
            Times of its arrivals.
        """
        rng = rng or self.rng
        if rng.random() < self.loss or (self.is_cut_somewhere and (sender.address.host, to) in self._cuts):
            return []
        arrival = now + self.delay + self.jitter * rng.random()
        if self.held_up and rng.random() < self.held_up:
            arrival += self.held_up_for * rng.random()
        link = sender.incarnation, to, lane
        last = self._last_arrival.get(link, 0.0)
        if last > arrival:
            arrival = last
        self._last_arrival[link] = arrival
        arrivals = [arrival]
        if self.duplicated and rng.random() < self.duplicated:
            arrivals.append(arrival)
        return arrivals
