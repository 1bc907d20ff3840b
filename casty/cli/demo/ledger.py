"""Chunks waiting, owed and answered: the driver's book-keeping, without clock, task or network.

Owns the counts and, for each chunk, whether it waits, is owed by a worker, or is answered. It knows neither workers nor
the way of a chunk to them.

How it works: workers come and go with `workers_are`. Chunks owed by a worker that has gone wait again, and so do those
owed for too long. A chunk may be sent twice and answered twice; the first answer counts.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

W = TypeVar("W")

IN_FLIGHT_MAX = 4
"""Chunks owed by one worker at a time: one in hand, the others so that it never waits."""
PATIENCE = 10.0
"""Seconds before a chunk owed by a living worker is sent again: a link may have lost it."""


@dataclass(slots=True)
class Ledger(Generic[W]):
    """The state of one run over ``chunks`` chunks, numbered from 0."""

    chunks: int
    in_flight_max: int = IN_FLIGHT_MAX
    patience: float = PATIENCE
    counts: Counter[str] = field(init=False, default_factory=Counter[str])
    answers: dict[W, int] = field(init=False, default_factory=lambda: dict[W, int]())
    """Number of chunks first answered by each worker, those that have gone included."""
    resent: int = field(init=False, default=0)
    repeated: int = field(init=False, default=0)
    """Repeated answers, not counted."""
    _waiting: deque[int] = field(init=False)
    _owed: dict[W, dict[int, float]] = field(init=False, default_factory=lambda: dict[W, dict[int, float]]())
    _answered: bytearray = field(init=False)
    _done: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        self._waiting = deque(range(self.chunks))
        self._answered = bytearray(self.chunks)

    @property
    def done(self) -> int:
        """Number of answered chunks."""
        return self._done

    @property
    def is_finished(self) -> bool:
        """Whether every chunk is answered."""
        return self._done == self.chunks

    @property
    def workers(self) -> tuple[W, ...]:
        """Workers to give chunks to."""
        return tuple(self._owed)

    def owed_by(self, worker: W) -> int:
        """Return how many chunks a worker has not answered yet."""
        return len(self._owed.get(worker, ()))

    def workers_are(self, present: Collection[W]) -> dict[W, int]:
        """Take note of the workers present now; return the number of chunks owed by each one that is gone."""
        lost: dict[W, int] = {}
        for worker in [worker for worker in self._owed if worker not in present]:
            owed = self._owed.pop(worker)
            lost[worker] = len(owed)
            self._again(owed)
        for worker in present:
            self._owed.setdefault(worker, {})
            self.answers.setdefault(worker, 0)
        return lost

    def assign(self, now: float) -> list[tuple[W, int]]:
        """Return chunks to send now, each with its worker; from here on they are owed."""
        given: list[tuple[W, int]] = []
        while self._waiting and self._owed:
            worker, owed = min(self._owed.items(), key=lambda item: len(item[1]))
            if len(owed) >= self.in_flight_max:
                break
            chunk = self._waiting.popleft()
            if not self._answered[chunk]:
                owed[chunk] = now
                given.append((worker, chunk))
        return given

    def answer(self, chunk: int, counts: Mapping[str, int]) -> bool:
        """Merge an answer; False for a repeated one and for a chunk never sent."""
        if not 0 <= chunk < self.chunks:
            return False
        for worker, owed in self._owed.items():
            if owed.pop(chunk, None) is not None and not self._answered[chunk]:
                self.answers[worker] += 1
        if self._answered[chunk]:
            self.repeated += 1
            return False
        self._answered[chunk] = True
        self._done += 1
        self.counts.update(counts)
        return True

    def take_back(self, now: float) -> int:
        """Let chunks owed for longer than the patience wait again; return their number."""
        taken = 0
        for owed in self._owed.values():
            late = [chunk for chunk, since in owed.items() if now - since > self.patience]
            for chunk in late:
                del owed[chunk]
            self._again(late)
            taken += len(late)
        return taken

    def _again(self, chunks: Collection[int]) -> None:
        self.resent += len(chunks)
        self._waiting.extendleft(sorted(chunks, reverse=True))
