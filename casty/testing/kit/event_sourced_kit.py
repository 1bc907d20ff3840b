"""Step an event-sourced behaviour without a system: events before it, a command, the effect of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, ClassVar, Generic, Never, TypeVar, cast

import msgpack

from casty import ActorContext, Behavior, Effect, WireType
from casty.journal import Record
from casty.protocol.event_sourcing.effect import EffectRefusal, EffectReply, EffectTell
from casty.protocol.event_sourcing.machine import AppendEvents, CommandRefused, SourcedMachine, SourcedStep, StoreValue
from casty.protocol.event_sourcing.purity import unchanged
from casty.runtime.behavior import behavior as forms
from casty.runtime.sourcing.sourced_behavior import SourcedBehavior
from casty.testing.kit.kit_context import KitContext, TestInbox, World
from casty.testing.kit.stepping import run_now
from casty.wire.storing.stored_codec import StoredCodec

M = TypeVar("M")
N = TypeVar("N")


class EventSourcedTestKit(Generic[M]):
    """Runs one event-sourced behaviour, or durable state, synchronously: no system, no journal, no time.

    Events and states pass through their stored form, and `apply` runs twice: a class without a stored name, a field
    lost on the way, or a function that is not pure fails here instead of in production.

    >>> from dataclasses import dataclass
    >>> from casty import Behaviors, Effect, event, persist
    >>> from casty.testing import EventSourcedTestKit
    >>> @event("kit.Grown")
    ... @dataclass(frozen=True)
    ... class Grown:
    ...     by: int
    >>> def decide(total: int, command: int) -> Effect[Grown]:
    ...     return persist(Grown(command))
    >>> def apply(total: int, event: Grown) -> int:
    ...     return total + event.by
    >>> kit = EventSourcedTestKit(Behaviors.event_sourced("total", empty=0, decide=decide, apply=apply))
    >>> kit.given(Grown(2), Grown(3))
    >>> kit.when(4) == persist(Grown(4)), kit.state
    (True, 9)

    Parameters:
        behavior: Behaviour made by ``Behaviors.event_sourced``, ``event_sourced_actor`` or ``durable_state``; of a
            supervised one, or one with a lifecycle, the one inside.
        wire_types: Types taught to the system of production.

    Raises:
        TypeError: ``behavior`` is none of them.
        ConfigError: An event or state cannot be stored.
    """

    __test__: ClassVar[bool] = False

    def __init__(self, behavior: Behavior[M], *, wire_types: Iterable[WireType[Any, Any]] = ()) -> None:
        self._sourced = _sourced(behavior)
        self._codec = StoredCodec(tuple(wire_types))
        self._model = self._sourced.model(self._codec, is_checked=True)
        self._world = World("kit")
        self._context: ActorContext[Any] = KitContext(self._world)
        self._records: list[Record] = []
        self._machine = self._recovered()

    def __repr__(self) -> str:
        return f"<EventSourcedTestKit events={len(self._records)} state={self.state!r}>"

    @property
    def state(self) -> Any:
        """State after all events so far."""
        return self._machine.state

    @property
    def events(self) -> tuple[object, ...]:
        """Events stored so far, the given ones included; of a durable state, the latest state."""
        return tuple(self._read(record) for record in self._records)

    def inbox(self, name: str = "inbox", respond: Callable[[N], None] | None = None) -> TestInbox[N]:
        """Make an inbox for the ref in a command: it keeps replies and messages.

        Parameters:
            name: Name of the inbox; its path is ``/name``.
            respond: Plain function, called with each message as it comes; None keeps the messages only.

        Returns:
            The inbox.
        """
        return TestInbox(lambda take: self._world.ref_at(f"/{name}", take), respond)

    def given(self, *events: object) -> None:
        """Store events, as if they had been decided before; of a durable state, the states.

        Parameters:
            *events: Events, oldest first.

        Raises:
            EncodeError: One cannot be stored.
            JournalDamaged: ``apply`` raises; the message names the event.
        """
        self._store([self._model.encode(event) for event in events])

    def given_stored(self, name: str, version: int, fields: Mapping[str, object]) -> None:
        """Store an event in a form of the past, to see its upcasters at work.

        Parameters:
            name: Stored name.
            version: Version of the fields.
            fields: Plain values by field name, as an earlier release has stored them.

        Raises:
            DecodeError: It cannot be read by the classes of today; the message says what to do.
            JournalDamaged: ``apply`` raises; the message names the event.
        """
        self._store([Record(name, version, msgpack.packb(dict(fields)))])

    def when(self, command: M) -> Effect[Any]:
        """Decide a command, store its events, and tell its replies to the inboxes.

        Parameters:
            command: Command for the behaviour.

        Returns:
            The effect, to be compared with ``persist(...).reply(...)``.

        Raises:
            TypeError: ``decide`` returned no effect, or changed the state in place.
            EncodeError: An event cannot be stored.
            WouldWait: An async ``decide`` waits for something.
        """
        before, functions = self._machine.state, self._sourced.functions
        if functions.decide_async is not None:
            effect = run_now(_awaited(functions.decide_async(self._context, before, command)))
        else:
            assert functions.decide is not None
            call = partial(functions.decide, before, command)
            plain = self._model.plain
            effect = call() if plain is None else unchanged("decide", plain, before, call)
        steps = [*self._machine.take(command, effect)]
        match self._machine.flush():
            case AppendEvents(_, records):
                self._records += records
                steps += self._machine.written()
            case StoreValue(_, record):
                self._records = [record]
                steps += self._machine.written()
            case None:
                pass
        for step in steps:
            self._perform(step)
        self.restart()
        return cast("Effect[Any]", effect)

    def restart(self) -> None:
        """Recover from what is stored, as after a crash.

        Raises:
            AssertionError: The state is another one than before: something of it is not in its events, or is lost
                where it is stored.
        """
        before, self._machine = self._machine.state, self._recovered()
        if before != self._machine.state:
            raise AssertionError(f"after a restart the state is {self._machine.state!r}, before it was {before!r}")

    def _store(self, records: list[Record]) -> None:
        kept = self._records
        self._records = [*kept, *records] if self._model.apply is not None else records[-1:]
        try:
            self._machine = self._recovered()
        except BaseException:
            self._records = kept
            raise

    def _recovered(self) -> SourcedMachine:
        machine = SourcedMachine(self._sourced.persistence_id or "kit", self._model)
        machine.recover()
        for seq, record in enumerate(self._records, 1):
            if self._model.apply is None:
                machine.restore(seq, self._read(record))
            else:
                machine.replay(seq, self._read(record))
        machine.recovered()
        return machine

    def _read(self, record: Record) -> object:
        if self._model.apply is not None:
            return self._codec.decode(record)
        return self._codec.decode_state(self._sourced.functions.state_type(self._sourced.empty), record)

    def _perform(self, step: SourcedStep) -> None:
        match step:
            case EffectReply(ref, message) | EffectTell(ref, message):
                ref.of(object).tell(message)
            case EffectRefusal():
                pass
            case CommandRefused(_, _, error):
                raise error


def _sourced(behavior: Behavior[Never]) -> SourcedBehavior[Any]:
    inner = behavior
    while isinstance(inner, (forms.Supervised, forms.Lifecycle)):
        inner = inner.inner
    if not isinstance(inner, SourcedBehavior):
        raise TypeError(
            f"EventSourcedTestKit takes a behaviour made by Behaviors.event_sourced, event_sourced_actor or "
            f"durable_state, got {behavior!r}; BehaviorTestKit takes others"
        )
    return inner


async def _awaited(waiting: Any) -> object:
    return cast("object", await waiting)
