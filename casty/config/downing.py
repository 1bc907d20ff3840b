"""Contract of a strategy of downing, with its arguments and its answer: `DowningStrategy`.

Owns the contract between the membership and the author of a strategy. It does not know casty's own strategies
(`casty.protocol.split_brain.strategies`), or when one is asked.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Final, Literal, Protocol, TypeAlias, get_args, runtime_checkable

from casty.address import UniqueAddress
from casty.errors import ConfigError

DowningStrategyName: TypeAlias = Literal[
    "keep_majority", "static_quorum", "keep_oldest", "lease_majority", "down_all", "none"
]
DOWNING_STRATEGIES: tuple[DowningStrategyName, ...] = get_args(DowningStrategyName)
TEXT_MAX: Final = 200
"""Characters of a strategy's text; nodes compare it at a join."""
OF_ONE_PROCESS: Final = re.compile(r" at 0x[0-9a-fA-F]+")
"""Python's text of an object without one of its own."""


class PartitionMember(Protocol):
    """A member, as a strategy sees it; each is a `Member`."""

    @property
    def unique(self) -> UniqueAddress:
        """Address and incarnation: the identity of the run."""
        ...

    @property
    def roles(self) -> frozenset[str]:
        """Roles of the member."""
        ...

    @property
    def up_number(self) -> int:
        """Rank among the members in the order of becoming up, from 1; 0 before that."""
        ...


class PartitionVotes(Protocol):
    """Voters of both sides, in one of the ways in which they may be counted."""

    @property
    def mine(self) -> Sequence[PartitionMember]:
        """Voters in reach of this side."""
        ...

    @property
    def theirs(self) -> Sequence[PartitionMember]:
        """All other voters."""
        ...


class PartitionView(Protocol):
    """A side of a partition, over against all members out of its reach."""

    @property
    def reachable(self) -> Sequence[PartitionMember]:
        """Members in reach of this side, joining ones included, those that are going not.

        Do not count these: of a joining one let in here the other side knows nothing.
        """
        ...

    @property
    def unreachable(self) -> Sequence[PartitionMember]:
        """Members out of its reach."""
        ...

    def votes(self, role: str | None = None) -> Sequence[PartitionVotes]:
        """Count the voters, the members that are up or leaving, in each way to be judged.

        The other side may know of moves unknown to this one: a side may go on only if it may with the voters as they
        are known here, and as they may be at worst.

        Parameters:
            role: Role of the voting members; None lets all vote.

        Returns:
            The voters in two ways: as known, and with this side's leaving members gone and the other side's joining
            ones up.
        """
        ...


@runtime_checkable
class DowningStrategy(Protocol):
    """Decides which side of a partition goes on. Give an instance to `ClusterSettings` as ``downing``.

    Of two sides without a common member at most one may go on, whatever each of them knows: two are two clusters, and
    all exclusive work is done twice. `casty.testing.check_downing_strategy` tries that.

    ``str()`` of it, as it is when the node starts, must be the same on all nodes: a node with another one is not let
    in. Give it a ``__str__``, or make it a dataclass, without sets: their order is another in each process.
    """

    def against(self, partition: PartitionView) -> str:
        """Return the objection to a side.

        Called on the node leading the side, often. The answer must follow from the argument alone: without a clock,
        chance, or the world outside. An error raised here ends the node, and so all nodes that ask the same; it is
        called once as the node starts, to see that it can be.

        Parameters:
            partition: The side of this node, and all others.

        Returns:
            The reason why the side goes down, continuing a sentence that begins with "it"; ``""`` where it goes on.
        """
        ...


def check_downing(downing: object) -> None:
    """Raise ConfigError unless ``downing`` names a strategy or is one."""
    if isinstance(downing, str):
        if downing not in DOWNING_STRATEGIES:
            raise ConfigError(f"ClusterSettings.downing must be one of {DOWNING_STRATEGIES}, got {downing!r}")
        return
    against = getattr(downing, "against", None)
    if isinstance(downing, type) or not callable(against):
        hint = " (a class: write brackets behind it)" if isinstance(downing, type) else ""
        raise ConfigError(
            f"ClusterSettings.downing must be one of {DOWNING_STRATEGIES}, or a DowningStrategy: an object with "
            f"`against(partition)`; got {downing!r}{hint}"
        )
    kind = type(downing).__qualname__
    if inspect.iscoroutinefunction(against):
        raise ConfigError(f"ClusterSettings.downing: `{kind}.against` must be a plain function, got an async one")
    strategy_text(downing)


def strategy_text(strategy: object) -> str:
    """Return the text by which nodes compare a strategy of a user's; ConfigError where it cannot be that."""
    cls = type(strategy)
    where = f"ClusterSettings.downing: str() of a {cls.__qualname__}"
    if cls.__str__ is object.__str__ and cls.__repr__ is object.__repr__:
        raise ConfigError(
            f"{where} must be the same on all nodes, got {strategy!s}; "
            "give it a __str__ with all that it decides by, or make it a dataclass"
        )
    try:
        text = str(strategy)
    except Exception as error:  # the user's code
        raise ConfigError(f"{where} must be the same on all nodes, and fails: {error!r}") from error
    if OF_ONE_PROCESS.search(text):
        raise ConfigError(f"{where} must be the same on all nodes, got an address in memory: {text[:TEXT_MAX]}")
    if not 0 < len(text) <= TEXT_MAX or not text.isprintable():
        raise ConfigError(f"{where} must be 1 to {TEXT_MAX} printable characters, got {text[:TEXT_MAX]!r}")
    return text
