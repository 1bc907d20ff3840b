"""Faults of a simulation, as values.

Owns the faults and how they are written. A fault prints as the code that makes it. It does not know when a fault
happens (`scenario`) or what follows from it (`player`, `tasks`).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from typing import TypeAlias, cast, get_args

from casty.errors import ConfigError
from casty.schema.names import message
from casty.testing.simulated_journal import JournalFaultName

RATE_MIN, RATE_MAX = 0.5, 2.0
"""Clocks further apart than this are broken, not skewed."""

SECONDS_MAX = 3600.0


def written(value: object) -> str:
    """Return a value as code: strings in double quotes, so that a shell takes the line in single ones."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        parts = [written(part) for part in cast("tuple[object, ...]", value)]
        return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return f"{{{', '.join(f'{written(key)}: {written(one)}' for key, one in pairs)}}}"
    return repr(value)


class _AsCode:
    """Prints as the call that makes it: required fields by place, fields changed from their defaults by name."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(self._arguments())})"

    def _arguments(self) -> Iterator[str]:
        for one in fields(self):  # type: ignore[arg-type]  # every fault is a dataclass
            value = getattr(self, one.name)
            if not one.kw_only:
                yield written(value)
            elif value != one.default:
                yield f"{one.name}={written(value)}"


@message("casty.testing.simulation.Crash")
@dataclass(frozen=True, repr=False)
class Crash(_AsCode):
    """The process of the node ends at once, as by SIGKILL."""

    node: str
    """Name of the node."""


@message("casty.testing.simulation.Restart")
@dataclass(frozen=True, repr=False)
class Restart(_AsCode):
    """The node starts as a new run; one alive there crashes first. A new name joins the cluster.

    >>> Restart("b")
    Restart("b")
    """

    node: str
    """Name of the node."""


@message("casty.testing.simulation.Pause")
@dataclass(frozen=True, repr=False)
class Pause(_AsCode):
    """The process of the node stands still, as by SIGSTOP; messages for it wait."""

    node: str
    """Name of the node."""


@message("casty.testing.simulation.Wake")
@dataclass(frozen=True, repr=False)
class Wake(_AsCode):
    """A paused node goes on, as by SIGCONT."""

    node: str
    """Name of the node."""


@message("casty.testing.simulation.Leave")
@dataclass(frozen=True, repr=False)
class Leave(_AsCode):
    """The node is asked to leave gracefully."""

    node: str
    """Name of the node."""


@message("casty.testing.simulation.Cut")
@dataclass(frozen=True, repr=False)
class Cut(_AsCode):
    """Nothing passes between the nodes of two sides any more; ``one_way``: nothing from the first to the second.

    >>> Cut(("a",), ("b", "c"), one_way=True)
    Cut(("a",), ("b", "c"), one_way=True)

    Raises:
        ConfigError: A side is a text: write a tuple of names.
    """

    one: tuple[str, ...]
    """Names of the nodes of one side."""
    other: tuple[str, ...]
    """Names of the nodes of the other side."""
    one_way: bool = field(default=False, kw_only=True)
    """Whether messages from the second side to the first still arrive."""

    def __post_init__(self) -> None:
        for side in (self.one, self.other):
            if isinstance(side, str):  # which is a sequence of names too, of one letter each
                raise ConfigError(f"a side of a Cut is a tuple of names: write ({side!r},)")


@message("casty.testing.simulation.Heal")
@dataclass(frozen=True, repr=False)
class Heal(_AsCode):
    """All cuts end."""


@message("casty.testing.simulation.Loss")
@dataclass(frozen=True, repr=False)
class Loss(_AsCode):
    """This share of all messages is lost from now on; 0.0 ends it.

    Raises:
        ConfigError: ``share`` is out of its range.
    """

    share: float
    """Share of the messages, at least 0.0 and below 1.0."""

    def __post_init__(self) -> None:
        _check_share(self.share, "Loss.share")


@message("casty.testing.simulation.Delay")
@dataclass(frozen=True, repr=False)
class Delay(_AsCode):
    """Messages travel for ``seconds`` and up to ``jitter`` more from now on.

    Raises:
        ConfigError: A field is out of its range.
    """

    seconds: float
    """Seconds of travel of each message, at most 3,600."""
    jitter: float = field(default=0.0, kw_only=True)
    """Seconds added at random, at most so many."""

    def __post_init__(self) -> None:
        _check_seconds(self.seconds, "Delay.seconds")
        _check_seconds(self.jitter, "Delay.jitter")


@message("casty.testing.simulation.Reorder")
@dataclass(frozen=True, repr=False)
class Reorder(_AsCode):
    """This share of all messages is held up for at most ``by`` seconds; later ones of other links overtake them.

    On one link messages stay in order, as TCP keeps them: later ones wait too.

    Raises:
        ConfigError: A field is out of its range.
    """

    share: float
    """Share of the messages, at least 0.0 and below 1.0."""
    by: float = field(default=0.5, kw_only=True)
    """Longest hold-up, in seconds."""

    def __post_init__(self) -> None:
        _check_share(self.share, "Reorder.share")
        _check_seconds(self.by, "Reorder.by")


@message("casty.testing.simulation.Duplicate")
@dataclass(frozen=True, repr=False)
class Duplicate(_AsCode):
    """This share of all messages arrives twice from now on.

    Raises:
        ConfigError: ``share`` is out of its range.
    """

    share: float
    """Share of the messages, at least 0.0 and below 1.0."""

    def __post_init__(self) -> None:
        _check_share(self.share, "Duplicate.share")


@message("casty.testing.simulation.ClockSkew")
@dataclass(frozen=True, repr=False)
class ClockSkew(_AsCode):
    """The clock of the node runs ``rate`` times as fast as time, until the node restarts.

    Raises:
        ConfigError: ``rate`` is out of its range.
    """

    node: str
    """Name of the node."""
    rate: float
    """Seconds of its clock for each second of time, 0.5 to 2.0."""

    def __post_init__(self) -> None:
        if not RATE_MIN <= self.rate <= RATE_MAX:
            raise ConfigError(f"ClockSkew.rate must be from {RATE_MIN} to {RATE_MAX}, got {self.rate!r}")


@message("casty.testing.simulation.JournalFault")
@dataclass(frozen=True, repr=False)
class JournalFault(_AsCode):
    """Calls of the node to its journal fail by chance from now on, after a restart too; the rate 0.0 ends it.

    For `simulate` with a journal. What each fault is says `casty.testing.SimulatedJournal.fault`.

    >>> JournalFault("a", "uncertain", 0.1)
    JournalFault("a", "uncertain", 0.1)

    Raises:
        ConfigError: There is no such fault, or ``rate`` is out of its range.
    """

    node: str
    """Name of the node."""
    name: JournalFaultName
    """Name of the fault: ``unavailable``, ``uncertain``, ``slow``, ``torn`` or ``damaged``."""
    rate: float = 1.0
    """Share of the calls, 0.0 to 1.0."""

    def __post_init__(self) -> None:
        if self.name not in get_args(JournalFaultName):
            names = ", ".join(get_args(JournalFaultName))
            raise ConfigError(f"JournalFault.name must be one of {names}, got {self.name!r}")
        if not 0 <= self.rate <= 1:
            raise ConfigError(f"JournalFault.rate must be from 0 to 1, got {self.rate!r}")


Fault: TypeAlias = (
    Crash | Restart | Pause | Wake | Leave | Cut | Heal | Loss | Delay | Reorder | Duplicate | ClockSkew | JournalFault
)
"""All events of a `Scenario`."""

FAULTS: tuple[type[Fault], ...] = (
    Crash,
    Restart,
    Pause,
    Wake,
    Leave,
    Cut,
    Heal,
    Loss,
    Delay,
    Reorder,
    Duplicate,
    ClockSkew,
    JournalFault,
)


def nodes_of(fault: Fault) -> tuple[str, ...]:
    """Return the nodes named by a fault."""
    match fault:
        case Crash(node) | Restart(node) | Pause(node) | Wake(node) | Leave(node) | ClockSkew(node):
            return (node,)
        case JournalFault(node):
            return (node,)
        case Cut(one, other):
            return (*one, *other)
        case Heal() | Loss() | Delay() | Reorder() | Duplicate():
            return ()


def _check_share(share: float, what: str) -> None:
    if not 0 <= share < 1:
        raise ConfigError(f"{what} must be at least 0 and below 1, got {share!r}")


def _check_seconds(seconds: float, what: str) -> None:
    if not 0 <= seconds <= SECONDS_MAX:
        raise ConfigError(f"{what} must be from 0 to {SECONDS_MAX:g} seconds, got {seconds!r}")
