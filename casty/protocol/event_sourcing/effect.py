"""Outcome of a command as a value: events to store, and steps for the time after.

Owns the words of users for it: `persist`, `store`, `nothing`, `refuse`, and the steps behind them. It does not know
the performers of a step, or its time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, Never, TypeAlias, TypeVar, overload

from casty.refs import ActorRef, check_ref

E = TypeVar("E")
E2 = TypeVar("E2")
E3 = TypeVar("E3")
E4 = TypeVar("E4")
E_co = TypeVar("E_co", covariant=True)
M = TypeVar("M")
R = TypeVar("R")
S = TypeVar("S")

EVENTS_MAX: Final = 4_096
"""Events of one command: they are appended together, all or none."""
WHY_LENGTH_MAX: Final = 1_024
"""Characters of the reason of a refusal."""


@dataclass(frozen=True, slots=True)
class EffectReply:
    """Tell a value to the asker."""

    to: ActorRef[Never]
    value: object


@dataclass(frozen=True, slots=True)
class EffectTell:
    """Tell a message to an actor."""

    ref: ActorRef[Never]
    message: object


@dataclass(frozen=True, slots=True)
class EffectRefusal:
    """Answer an ask with an error."""

    to: ActorRef[Never]
    why: str


EffectStep: TypeAlias = EffectReply | EffectTell | EffectRefusal


@dataclass(frozen=True, slots=True)
class Effect(Generic[E_co]):
    """Outcome of one command: events to store, and steps for the time when they are durable.

    Made by `persist`, `store`, `nothing` and `refuse`. A value: two of the same content are equal, and nothing happens
    by making one.

    >>> from casty import nothing
    >>> nothing().stop() == nothing().stop()
    True
    """

    events: tuple[E_co, ...] = ()
    """Events to store, in order; of a durable state, the state."""
    is_state: bool = False
    """Whether ``events`` holds a state in place of events."""
    steps: tuple[EffectStep, ...] = ()
    """Replies, tells and refusals, in order."""
    stops: bool = False
    """Whether the entity stops afterwards."""

    def reply(self, to: ActorRef[R], value: R) -> Effect[E_co]:
        """Tell a value to the asker, once the events are durable.

        Parameters:
            to: Ref in the command.
            value: Reply.

        Returns:
            A new effect, with this step behind the others.

        Raises:
            TypeError: ``to`` is no ref.
        """
        check_ref(to, "reply")
        # not by `replace`, which takes longer than all else here
        return Effect(self.events, self.is_state, (*self.steps, EffectReply(to, value)), self.stops)

    def tell(self, ref: ActorRef[M], message: M) -> Effect[E_co]:
        """Tell a message to an actor, once the events are durable: at most once, and not again after a crash.

        Parameters:
            ref: Actor to tell.
            message: Message of its type.

        Returns:
            A new effect, with this step behind the others.

        Raises:
            TypeError: ``ref`` is no ref.
        """
        check_ref(ref, "tell")
        return Effect(self.events, self.is_state, (*self.steps, EffectTell(ref, message)), self.stops)

    def stop(self) -> Effect[E_co]:
        """Stop the entity, once the events are durable and all steps are done.

        Returns:
            A new effect.
        """
        return Effect(self.events, self.is_state, self.steps, stops=True)


@overload  # events of several classes: without them, a checker takes their common base
def persist(first: E, second: E2, /) -> Effect[E | E2]: ...


@overload
def persist(first: E, second: E2, third: E3, /) -> Effect[E | E2 | E3]: ...


@overload
def persist(first: E, second: E2, third: E3, fourth: E4, /) -> Effect[E | E2 | E3 | E4]: ...


@overload
def persist(*events: E) -> Effect[E]: ...


def persist(*events: object) -> Effect[object]:
    """Store events: all or none, in this order.

    Parameters:
        *events: At least one event, at most 4,096, of classes declared by `event`.

    Returns:
        An effect, to be extended by ``reply``, ``tell`` and ``stop``.

    Raises:
        ValueError: There is no event, or too many.
        TypeError: One is a class in place of an instance.
    """
    if not 0 < len(events) <= EVENTS_MAX:
        advice = "; write nothing() where there is none" if not events else ""
        raise ValueError(f"persist takes 1 to {EVENTS_MAX} events, got {len(events)}{advice}")
    for event in events:
        if isinstance(event, type):
            raise TypeError(f"persist takes events, got the class {event.__name__}: write {event.__name__}(...)")
    return Effect(events)


def store(state: S) -> Effect[S]:
    """Store a state in place of the one before; for ``Behaviors.durable_state``.

    Parameters:
        state: New state.

    Returns:
        An effect, to be extended by ``reply``, ``tell`` and ``stop``.
    """
    return Effect((state,), is_state=True)


def nothing() -> Effect[Never]:
    """Store nothing.

    Returns:
        An effect, to be extended by ``reply``, ``tell`` and ``stop``.
    """
    return Effect()


def refuse(to: ActorRef[Never], why: str) -> Effect[Never]:
    """Store nothing, and answer the ask with AskFailed.

    Parameters:
        to: Ref in the command.
        why: Reason, for people; at most 1,024 characters reach the asker.

    Returns:
        An effect, to be extended by ``reply``, ``tell`` and ``stop``.

    Raises:
        TypeError: ``to`` is no ref, or ``why`` no text.
    """
    check_ref(to, "refuse")
    if type(why) is not str:
        raise TypeError(f"refuse takes the ref of the asker and a reason, got {why!r}")
    return Effect(steps=(EffectRefusal(to, why[:WHY_LENGTH_MAX]),))
