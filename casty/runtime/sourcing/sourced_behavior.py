"""Behaviours of event-sourced actors and durable states, as values.

Owns the user's functions and options, and the checks of them before anything is read. It does not know how an actor
recovers or appends (`sourced_actor`, and the machine of `casty.protocol.event_sourcing`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, TypeVar, cast

from casty.errors import ConfigError, UnsupportedTypeError
from casty.journal import PERSISTENCE_ID_LENGTH_MAX
from casty.protocol.event_sourcing.every import Every
from casty.protocol.event_sourcing.machine import SourcedMachine, SourcedModel
from casty.runtime.annotations import annotated
from casty.runtime.behavior.behavior import Behavior, Composed, setup, task
from casty.runtime.journaling.system_journal import EntityScope, EntityScoped, SystemJournal
from casty.runtime.sourcing.sourced_actor import SourcedActor
from casty.runtime.sourcing.sourced_store import SourcedPlace
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import kernel_of
from casty.schema.events import check_chain, event_facts
from casty.schema.types import Kind, describe, is_untyped, parse
from casty.wire.storing.stored_codec import StoredCodec, is_declared

M = TypeVar("M")

NO_JOURNAL: Final = (
    "give the system one, such as ActorSystem(config=SystemConfig(journal=MemoryJournal())) in a test, or one "
    "that stores on a disk; in a cluster each node that hosts the kind, ClusteredActorSystem(..., journal=...), the "
    "same store on all"
)
NO_ID: Final = (
    "{} of a lone actor needs a persistence id, such as 'till-1': the store keeps its state under it for ever"
)

AsyncDecide = Callable[[Any, Any, Any], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class SourcedFunctions:
    """Functions of the user, one of both decides."""

    decide: Callable[[Any, Any], object] | None = None
    decide_async: AsyncDecide | None = None
    apply: Callable[[Any, Any], object] | None = None
    """None of a durable state."""

    def state_type(self, empty: object) -> object:
        """Return the type of the states: as annotated, else the class of the empty one."""
        if self.apply is not None:
            found = annotated(self.apply, position=-1)
        else:
            found = annotated(self.decide, position=0)
        return type(empty) if found is None or is_untyped(found) or found is Any else found

    def event_types(self) -> tuple[object, ...]:
        """Return the types of the events, as annotated; none without annotations."""
        found = None if self.apply is None else annotated(self.apply, position=1)
        if found is None or is_untyped(found) or found is Any:
            return ()
        form = parse(found)
        return form.arguments if form.kind is Kind.union else (found,)


@dataclass(frozen=True, eq=False)
class SourcedBehavior(Composed[M]):
    """Behaviour with a lasting state: made by ``Behaviors.event_sourced`` and its sisters."""

    maker: str
    """Name of its maker, for errors."""
    persistence_id: str | None
    """Id in the journal; None where it is derived."""
    empty: object
    """State before the first event."""
    functions: SourcedFunctions
    """Functions of the user."""
    snapshots: Every | None
    """Choice of snapshots; None: never."""

    def __post_init__(self) -> None:
        if self.persistence_id is not None:
            check_persistence_id(self.maker, self.persistence_id)
        if self.snapshots is not None and not isinstance(cast("object", self.snapshots), Every):
            raise TypeError(f"{self.maker}: snapshots must be Every(...) or None, got {self.snapshots!r}")
        if isinstance(self.empty, type):
            raise TypeError(f"{self.maker}: empty must be a state, got the class: write {self.empty.__name__}(...)")

    def __repr__(self) -> str:
        return f"<{self.maker} {self.persistence_id or ''}>"

    def message_type(self) -> object | None:
        if self.functions.decide_async is not None:
            return annotated(self.functions.decide_async, position=2)
        return annotated(self.functions.decide, position=1)

    def check(self, *, has_journal: bool) -> None:
        """Raise ConfigError without a journal, or with a gap in a chain of upcasts; ValueError without an id.

        Parameters:
            has_journal: Whether the system has a journal.
        """
        if not has_journal:
            raise ConfigError(f"{self.maker} has no journal: {NO_JOURNAL}")
        if self.persistence_id is None:
            raise ValueError(NO_ID.format(self.maker))
        self.check_types()

    def compose(self) -> Behavior[Any]:
        """Make the behaviour: it recovers where it is spawned. For the library.

        Returns:
            The behaviour of the actor.
        """
        return setup(self._start)

    def model(self, codec: StoredCodec, *, is_checked: bool) -> SourcedModel:
        """Return the functions with the codec, for the machine. Raises ConfigError where a state cannot be stored."""
        functions, state_type = self.functions, self.functions.state_type(self.empty)
        snapshots, is_state = self.snapshots, False
        try:
            for one in functions.event_types():
                codec.register(one)
            is_state = True
            if snapshots is not None or functions.apply is None:
                codec.register(state_type)
        except UnsupportedTypeError as error:
            advice = "" if snapshots is None or not is_state else "; a state need not be stored with snapshots=None"
            raise ConfigError(f"{self.maker}: {error}{advice}") from None
        is_value = functions.apply is None
        return SourcedModel(
            self.empty,
            functions.decide,
            functions.apply,
            partial(codec.encode_state, state_type) if is_value else codec.encode,
            snapshots,
            partial(codec.plain, state_type) if is_checked and (is_value or snapshots is not None) else None,
        )

    def check_types(self) -> None:
        """Raise ConfigError where an event or state cannot be stored, or a chain of upcasts has a gap."""
        for one in self.functions.event_types():
            form = parse(one)
            if form.kind is not Kind.record or event_facts(form.origin) is None:
                raise ConfigError(
                    f"{self.maker}: the event {describe(one)} has no stored name: "
                    'write @casty.event("...") in the line above @dataclass(frozen=True)'
                )
            check_chain(form.origin)
        state_type = self.functions.state_type(self.empty)
        for form in (parse(state_type), *map(parse, _variants(state_type))):
            check_chain(form.origin)
        if self.functions.apply is None and not is_declared(state_type):
            raise ConfigError(
                f"{self.maker}: the state {describe(state_type)} has no stored name: "
                'write @casty.event("...") in the line above @dataclass(frozen=True)'
            )

    async def _start(self, ctx: ActorContext[Any]) -> Behavior[Any]:
        kernel = kernel_of(ctx.system)
        if kernel.journal is None:
            raise ConfigError(f"{self.maker} has no journal: {NO_JOURNAL}")
        self.check_types()
        journal, found = kernel.journal, ctx.entity_scope if isinstance(ctx, EntityScoped) else None
        if self.functions.apply is None and journal.states is None:
            raise ConfigError(f"{self.maker} needs a journal that stores states, got {journal.journal!r}")
        scope = self._scope(ctx.self.path, journal, found)
        machine = SourcedMachine(scope.persistence_id, self.model(journal.codec, is_checked=journal.checks_states))
        state_type = self.functions.state_type(self.empty)
        place = SourcedPlace(journal, scope, kernel, state_type, lambda: ctx.log)
        return task(SourcedActor(machine, place, self.functions.decide_async).main)

    def _scope(self, path: str, journal: SystemJournal, place: EntityScope | None) -> EntityScope:
        given = self.persistence_id
        if place is None:
            if given is None:
                raise ValueError(NO_ID.format(f"{path}: {self.maker}"))
            return EntityScope(given, journal.lone_scope(given))
        if given is not None:
            raise ValueError(
                f"{path}: the persistence id of an entity is derived from its key and id, {place.persistence_id!r}: "
                f"leave {given!r} out of {self.maker}"
            )
        return place


def check_persistence_id(maker: str, persistence_id: object) -> None:
    """Raise TypeError or ValueError unless a text can be the id of a lone actor."""
    if type(persistence_id) is not str:
        raise TypeError(f"{maker}: a persistence id is a text, such as 'till-1', got {persistence_id!r}")
    if not 0 < len(persistence_id) <= PERSISTENCE_ID_LENGTH_MAX or not persistence_id.isprintable():
        raise ValueError(
            f"{maker}: a persistence id has 1 to {PERSISTENCE_ID_LENGTH_MAX} printable characters, "
            f"got {persistence_id[:80]!r}"
        )
    if "#" in persistence_id:
        raise ValueError(f"{maker}: a persistence id has no '#', which marks shards, got {persistence_id!r}")


def _variants(type_form: object) -> tuple[object, ...]:
    form = parse(type_form)
    return form.arguments if form.kind is Kind.union else ()
