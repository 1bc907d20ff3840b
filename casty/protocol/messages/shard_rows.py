"""Rows of a table of shards, and the terms of the coordinators writing them.

Owns the order of terms, and the numbers made of a term and a version: an epoch names one opening of a shard, a move id
one move. It does not know the writers (`shard_coordinator`), or the consequences of a row (`shard_region`).

How it works: a term is a ballot, as in Paxos: a number, and the run proposing it. After its promise a node takes
nothing of a lower term, and nothing of another run with an equal number: so no number serves two coordinators.
"""

from __future__ import annotations

from dataclasses import dataclass

from casty.address import UniqueAddress

VERSION_BITS = 32
VERSION_MAX = 2**VERSION_BITS - 1
NUMBER_MAX = 2**31 - 1
"""Bounds by which an epoch stays below 2**63."""


@dataclass(frozen=True, slots=True, order=True)
class Term:
    """Ballot of one coordinator: a number, and the incarnation of its run."""

    number: int = 0
    incarnation: int = 0

    def admits(self, other: Term) -> bool:
        """Whether a node may promise another term after this one, or take a table of it."""
        return other == self or other.number > self.number


NO_TERM = Term()


@dataclass(frozen=True, slots=True)
class Opening:
    """Row: this run is to open the shard. Nobody sends to it yet."""

    owner: UniqueAddress
    epoch: int


@dataclass(frozen=True, slots=True)
class Owned:
    """Row: this run has opened the shard."""

    owner: UniqueAddress
    epoch: int


@dataclass(frozen=True, slots=True)
class Moving:
    """Row: this run is to close the shard; ``to`` is the next owner, None where nobody is chosen yet."""

    owner: UniqueAddress
    epoch: int
    move: int
    to: UniqueAddress | None = None


Row = Opening | Owned | Moving
"""A free shard has no row."""


def stamp(term: Term, version: int) -> int:
    """Return the number of all rows written in this version: an epoch, or a move id. ValueError beyond the bounds."""
    if not 0 <= term.number <= NUMBER_MAX or not 0 <= version <= VERSION_MAX:
        raise ValueError(
            f"a term has a number up to {NUMBER_MAX} and versions up to {VERSION_MAX}, got {term} {version}"
        )
    return term.number << VERSION_BITS | version
