"""Supervision of failed actors: the strategies, the budget of restarts, and the decision.

Owns the answer to "this exception left the actor's code: what now?". Must not know what an actor is,
how one is restarted, or what time it is.

An actor has a row of strategies, outermost first. The innermost is asked first; one that has no
answer for this exception, or no restart left, passes it on outwards, and behind the last one the
answer is to stop. The restarts of one actor are counted together, whichever strategy asked for them;
the count is the actor's and not the strategy's, so that one strategy serves any number of actors.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, cast

from casty.config.validation import check_callable, check_count, check_positive
from casty.errors import ConfigError
from casty.protocol.backoff import backoff_delay
from casty.protocol.effects import Rng
from casty.schema.names import message

RESTARTS_REMEMBERED_MAX = 1_024
"""Restarts of one actor that are remembered, and so the largest budget."""


@message("casty.Directive")
class Directive(Enum):
    """Treatment of a failed actor."""

    restart = "restart"
    """Begin again with a fresh behaviour, under the same ref and with the same mailbox."""
    stop = "stop"
    """Stop the actor for good."""
    escalate = "escalate"
    """Stop the actor, and make its failure a failure of its parent."""
    resume = "resume"
    """Drop the message in hand and go on as if nothing had happened."""


class SupervisionStrategy(Protocol):
    """Decides on a failure. Stateless: one object may supervise many actors."""

    def decide(self, exception: Exception) -> Directive | None:
        """Decide on a failure. It must be quick, and not raise.

        Parameters:
            exception: Exception from the actor's code.

        Returns:
            Decision; None leaves it to the strategy further out.
        """
        ...

    def restart(self) -> Restart:
        """Limit and space the restarts, where `decide` answers ``Directive.restart``.

        Returns:
            A `Restart`; its budget and pauses count.
        """
        return Restart()


Exceptions = type[Exception] | tuple[type[Exception], ...]


def _check_on(strategy: object, on: object) -> None:
    """Raise ConfigError unless ``on`` are exceptions: found when a failure comes, it would be one failure more."""
    kinds = cast("tuple[object, ...]", on) if isinstance(on, tuple) else (on,)
    if not all(isinstance(kind, type) and issubclass(kind, Exception) for kind in kinds):
        raise ConfigError(
            f"{type(strategy).__name__}.on must be a class of exceptions or a tuple of them, "
            f"such as (OSError, ValueError), got {on!r}"
        )


def _is_for(exception: Exception, on: Exceptions) -> bool:
    """Whether an exception, or everything in an exception group, is of the types ``on``.

    A handler that opens a nursery fails with a group, also of one, so the type of the group says
    nothing. A group that holds something else too is as bad as that.
    """
    if isinstance(exception, on):
        return True
    if not isinstance(exception, ExceptionGroup):
        return False
    group = cast("ExceptionGroup[Exception]", exception)
    return all(_is_for(member, on) for member in group.exceptions)


@dataclass(frozen=True, slots=True)
class Stop(SupervisionStrategy):
    """Stop for exceptions of the types ``on``, and for groups of nothing else.

    Raises:
        ConfigError: ``on`` is no class of exceptions, nor a tuple of them.
    """

    on: Exceptions = Exception
    """Exceptions that it is for: a class, or a tuple of classes."""

    def __post_init__(self) -> None:
        _check_on(self, self.on)

    def decide(self, exception: Exception) -> Directive | None:
        return Directive.stop if _is_for(exception, self.on) else None


@dataclass(frozen=True, slots=True)
class Resume(SupervisionStrategy):
    """Drop the message in hand and go on, for exceptions of the types ``on``, or groups of nothing else.

    The state stays, so it must make sense after a handler that ended half-way. Where there is nothing
    to go on with (the first setup has failed, or the ``main`` of a task-style actor) it is a stop.

    Raises:
        ConfigError: ``on`` is no class of exceptions, nor a tuple of them.
    """

    on: Exceptions = Exception
    """Exceptions that it is for: a class, or a tuple of classes."""

    def __post_init__(self) -> None:
        _check_on(self, self.on)

    def decide(self, exception: Exception) -> Directive | None:
        return Directive.resume if _is_for(exception, self.on) else None


@dataclass(frozen=True, slots=True)
class Escalate(SupervisionStrategy):
    """Stop and make it the parent's failure, for exceptions of the types ``on``, or groups of nothing else.

    Raises:
        ConfigError: ``on`` is no class of exceptions, nor a tuple of them.
    """

    on: Exceptions = Exception
    """Exceptions that it is for: a class, or a tuple of classes."""

    def __post_init__(self) -> None:
        _check_on(self, self.on)

    def decide(self, exception: Exception) -> Directive | None:
        return Directive.escalate if _is_for(exception, self.on) else None


@dataclass(frozen=True, slots=True)
class Restart(SupervisionStrategy):
    """Restart after a pause, at most ``restarts_max`` times within ``within`` seconds.

    The pause doubles from ``backoff_min`` with each restart that still counts, up to ``backoff_max``.
    A failure beyond the budget is left to the strategy further out; without one, the actor stops.

    Raises:
        ConfigError: A field makes no sense; the message names it, and says what was expected.
    """

    restarts_max: int | None = 3
    """None sets no limit. Low gives up early on weather that passes; high hides a broken actor."""
    within: float = 60.0
    """Seconds for which a restart counts; infinity counts them for the actor's whole life."""
    backoff_min: float = 0.1
    """Seconds before the first restart; 0 restarts at once, always."""
    backoff_max: float = 10.0
    """Longest pause. Too long keeps a recovered service away, too short wears out what it needs."""
    backoff_jitter: float = 0.2
    """Part of the pause, 0 to 1, by which it is lengthened at random: actors that failed together
    do not come back together."""
    keep_children: bool = False
    """Whether the children live on; otherwise they are stopped before the restart."""
    on: Exceptions = Exception
    """Exceptions that it is for, by themselves or in a group that holds nothing else: a class, or a tuple of
    classes."""

    def __post_init__(self) -> None:
        _check_on(self, self.on)
        if self.restarts_max is not None:
            check_count(self, "restarts_max")
            if self.restarts_max > RESTARTS_REMEMBERED_MAX:
                raise ConfigError(
                    f"Restart.restarts_max must be at most {RESTARTS_REMEMBERED_MAX}, or None for no limit, "
                    f"got {self.restarts_max!r}"
                )
        if self.within != math.inf:
            check_positive(self, "within")
        if not 0 <= self.backoff_min <= self.backoff_max < math.inf:
            raise ConfigError(
                "Restart.backoff_min must be at least 0 and at most backoff_max, which must be finite, "
                f"got {self.backoff_min!r} and {self.backoff_max!r}"
            )
        if not 0 <= self.backoff_jitter <= 1:
            raise ConfigError(f"Restart.backoff_jitter must be between 0 and 1, got {self.backoff_jitter!r}")

    def decide(self, exception: Exception) -> Directive | None:
        return Directive.restart if _is_for(exception, self.on) else None

    def restart(self) -> Restart:
        return self


@dataclass(frozen=True, slots=True)
class OneForOneStrategy(SupervisionStrategy):
    """Decide by a function of the exception; without one, restart.

    Raises:
        ConfigError: ``max_restarts`` or ``within`` makes no sense.
        TypeError: ``decider`` cannot be called, or is an async function.
    """

    max_restarts: int | None = 3
    """Restarts within ``within`` seconds, 1 to 1,024; None sets no limit."""
    within: float = 60.0
    """Seconds for which a restart counts; infinity counts them for the actor's whole life."""
    decider: Callable[[Exception], Directive | None] | None = None
    """Plain function of the exception. It returns a `Directive`, or None to leave the exception to the strategy
    further out. Without one, every failure is a restart."""

    def __post_init__(self) -> None:
        Restart(self.max_restarts, self.within)
        if self.decider is not None:
            check_callable("OneForOneStrategy.decider", self.decider, "a function of the exception")

    def decide(self, exception: Exception) -> Directive | None:
        return Directive.restart if self.decider is None else self.decider(exception)

    def restart(self) -> Restart:
        return Restart(self.max_restarts, self.within)


class RestartBudget:
    """Times of one actor's restarts, as far as they still matter."""

    __slots__ = ("_moments",)

    def __init__(self) -> None:
        self._moments: list[float] = []

    def take(self, restart: Restart, now: float, rng: Rng) -> float | None:
        """Count a restart and return the pause before it; None when there is none left."""
        recent = [moment for moment in self._moments if now - moment < restart.within]
        if restart.restarts_max is not None and len(recent) >= restart.restarts_max:
            return None
        self._moments = [*self._moments[1 - RESTARTS_REMEMBERED_MAX :], now]
        return backoff_delay(
            len(recent),
            rng,
            delay_min=restart.backoff_min,
            delay_max=restart.backoff_max,
            jitter=restart.backoff_jitter,
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """A directive, and for a restart the pause before it and whether the children live on."""

    directive: Directive
    delay: float = 0.0
    keep_children: bool = False


def decide(
    strategies: Sequence[SupervisionStrategy], exception: Exception, budget: RestartBudget, now: float, rng: Rng
) -> Decision:
    """Return the decision on a failure; ``strategies`` are outermost first."""
    for strategy in reversed(strategies):
        directive = strategy.decide(exception)
        if directive is None:
            continue
        if directive is not Directive.restart:
            return Decision(directive)
        restart = strategy.restart()
        delay = budget.take(restart, now, rng)
        if delay is not None:
            return Decision(directive, delay, restart.keep_children)
    return Decision(Directive.stop)
