"""One event-sourced entity: commands decided in turn, appended together, answered once durable.

Owns the state, the number of its last event, and the commands of the append in flight. It does not know a journal, a
task, a mailbox or a clock, and calls nothing but the user's ``decide`` and ``apply`` and the codec given to it.

How it works: an entity recovers, and is ready. Each command of a batch is decided against the state made by those
before it; nothing of that state is the entity's until the append of the batch is known to be durable. Then all steps of
the batch leave in order. A command leaves at once only where nothing of its batch is to be stored yet, so no reply ever
tells of an event still to be lost. After a failed append the state before it stands, since states are values, and each
command of the batch gets the failure. After an uncertain one nobody knows: the entity recovers again before it goes on.
A durable state is the same with one value in place of events: of a batch the last one is stored.

Source: event sourcing as in Akka Persistence Typed. Deviations: commands in wait share an append; replies to reads
wait for the append in their sight.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import Final, TypeAlias, cast

from casty.errors import (
    AskFailure,
    Fenced,
    JournalDamaged,
    JournalUnavailable,
    SequenceConflict,
)
from casty.journal import Record
from casty.protocol.event_sourcing.effect import Effect, EffectStep
from casty.protocol.event_sourcing.every import Every
from casty.protocol.event_sourcing.purity import applied_twice, unchanged

BATCH_COMMANDS_MAX: Final = 512
BATCH_RECORDS_MAX: Final = 512
BATCH_BYTES_MAX: Final = 1024 * 1024
"""Bounds of one append; the command beyond one is the last of its batch."""


class SourcedPhase(Enum):
    """Phase of an entity."""

    recovering = auto()
    """It has no state, and decides nothing."""
    ready = auto()
    appending = auto()
    failed = auto()
    """Its history cannot be read: it refuses everything."""


@dataclass(frozen=True, slots=True)
class SourcedModel:
    """Functions and options of one kind of entities."""

    empty: object
    """State before the first event."""
    decide: Callable[[object, object], object] | None
    """Function of state and command; None where the driver decides, and gives the effects."""
    apply: Callable[[object, object], object] | None
    """Function of state and event; None of a durable state."""
    encode: Callable[[object], Record]
    """Function from an event, or a durable state, to its record. Raises where it cannot be stored."""
    snapshots: Every | None = None
    plain: Callable[[object], object] | None = None
    """Function from a state to plain values, where the user's functions are checked."""


@dataclass(frozen=True, slots=True)
class AppendEvents:
    """Append records behind an event, all or none."""

    after: int
    records: tuple[Record, ...]


@dataclass(frozen=True, slots=True)
class StoreValue:
    """Store a value as a revision."""

    revision: int
    record: Record


@dataclass(frozen=True, slots=True)
class TakeSnapshot:
    """Store the state after an event; nobody waits for it."""

    seq: int
    state: object


@dataclass(frozen=True, slots=True)
class CommandRefused:
    """Answer the asker of a command with a failure."""

    command: object
    failure: AskFailure
    error: BaseException


SourcedStep: TypeAlias = EffectStep | CommandRefused


@dataclass(slots=True)
class _Batch:
    state: object
    records: list[Record] = field(default_factory=list[Record])
    size: int = 0
    commands: list[object] = field(default_factory=list[object])
    """Commands in wait for the append."""
    steps: list[SourcedStep] = field(default_factory=list[SourcedStep])
    count: int = 0
    """Commands decided, those without an append included."""
    stops: bool = False

    def restart(self) -> list[SourcedStep]:
        """Begin again behind its append, and return the steps."""
        steps, self.steps = self.steps, []
        self.records.clear()
        self.commands.clear()
        self.size = self.count = 0
        self.stops = False
        return steps


class SourcedMachine:
    """State of one entity, and its batch.

    Parameters:
        persistence_id: For the texts of errors.
        model: Functions and options.
    """

    __slots__ = (
        "_batch",
        "_is_saving",
        "damage",
        "is_stopped",
        "model",
        "persistence_id",
        "phase",
        "seq",
        "snapshot_seq",
        "state",
    )

    def __init__(self, persistence_id: str, model: SourcedModel) -> None:
        self.persistence_id = persistence_id
        self.model = model
        self.phase = SourcedPhase.recovering
        self.state: object = model.empty
        self.seq = 0
        """Number of the last event, or revision of the value."""
        self.damage: JournalDamaged | None = None
        """Reason of the phase ``failed``."""
        self.is_stopped = False
        """Whether an effect has stopped the entity, and all before it has left."""
        self.snapshot_seq = 0
        """Number of the last event in a snapshot."""
        self._is_saving = False
        self._batch = _Batch(model.empty)

    def __repr__(self) -> str:
        return f"<SourcedMachine {self.persistence_id} {self.phase.name} seq={self.seq} batch={self._batch.count}>"

    # Recovery

    def recover(self) -> None:
        """Begin to recover, from nothing."""
        assert self.phase is not SourcedPhase.appending
        self.phase = SourcedPhase.recovering
        self.state, self.seq, self.snapshot_seq = self.model.empty, 0, 0
        self._begin_batch()

    def restore(self, seq: int, state: object) -> None:
        """Take a snapshot, or a stored value."""
        assert self.phase is SourcedPhase.recovering
        self.state, self.seq, self.snapshot_seq = state, seq, seq

    def resume(self, seq: int, state: object, snapshot_seq: int) -> None:
        """Go on, ready, with what `seq`, `state` and `snapshot_seq` were at rest."""
        assert self.phase is SourcedPhase.recovering
        self.state, self.seq, self.snapshot_seq = state, seq, snapshot_seq
        self.recovered()

    def replay(self, seq: int, event: object) -> None:
        """Apply a stored event. Raises JournalDamaged where it is not the next one, or ``apply`` raises."""
        assert self.phase is SourcedPhase.recovering
        if seq != self.seq + 1:
            raise JournalDamaged(
                f"event {self.seq + 1} of {self.persistence_id!r} is missing: the next one stored is {seq}",
                self.persistence_id,
                self.seq + 1,
            )
        try:
            self.state = self._applied(self.state, event)
        except Exception as error:  # the user's code: a mended one revives the entity
            raise JournalDamaged(
                f"apply of {self.persistence_id!r} fails at event {seq}, {event!r}: {type(error).__name__}: {error}",
                self.persistence_id,
                seq,
            ) from error
        self.seq = seq

    def recovered(self) -> None:
        """Take commands from now on."""
        assert self.phase is SourcedPhase.recovering
        self.phase = SourcedPhase.ready
        self._begin_batch()

    def fail(self, damage: JournalDamaged) -> None:
        """Refuse everything from now on: the history cannot be read."""
        self.phase, self.damage = SourcedPhase.failed, damage
        self._batch = _Batch(self.state)

    # Commands

    @property
    def is_resting(self) -> bool:
        """Whether `seq`, `state` and `snapshot_seq` say all there is to say."""
        return self.phase is SourcedPhase.ready and not (self._batch.count or self.is_stopped or self._is_saving)

    @property
    def tentative(self) -> object:
        """State for the next decision, with all decisions of the batch in it."""
        return self._batch.state

    @property
    def is_full(self) -> bool:
        """Whether the batch takes no more commands."""
        batch = self._batch
        return (
            batch.stops
            or batch.count >= BATCH_COMMANDS_MAX
            or len(batch.records) >= BATCH_RECORDS_MAX
            or batch.size >= BATCH_BYTES_MAX
        )

    def decide(self, command: object) -> Sequence[SourcedStep]:
        """Decide a command, and return the steps to take at once. An exception of ``decide`` changes nothing."""
        decide, state = self.model.decide, self._batch.state
        assert decide is not None
        if self.model.plain is None:
            return self.take(command, decide(state, command))
        return self.take(command, unchanged("decide", self.model.plain, state, lambda: decide(state, command)))

    def take(self, command: object, effect: object) -> Sequence[SourcedStep]:
        """Take a decision into the batch, and return the steps to take at once. Raises TypeError for no effect."""
        assert self.phase is SourcedPhase.ready
        assert not self.is_full
        checked, batch = self._checked(command, effect), self._batch
        batch.count += 1
        try:
            records, state = self._stored(checked)
        except Exception as error:  # the user's code, or an event that cannot be stored: this command alone
            return self._leave(command, (CommandRefused(command, "failed", error),))
        batch.state = state
        batch.stops = checked.stops
        if self.model.apply is None and records:
            batch.records, batch.size = records, len(records[0].payload)
        else:
            batch.records += records
            for record in records:
                batch.size += len(record.payload)
        return self._leave(command, checked.steps)

    def flush(self) -> AppendEvents | StoreValue | None:
        """Close the batch; return its write, if it needs one."""
        assert self.phase is SourcedPhase.ready
        batch = self._batch
        if not batch.records:
            self.is_stopped = batch.stops
            self._begin_batch()
            return None
        self.phase = SourcedPhase.appending
        if self.model.apply is None:
            return StoreValue(self.seq + 1, batch.records[-1])
        return AppendEvents(self.seq, tuple(batch.records))

    def written(self) -> Sequence[SourcedStep]:
        """Take the batch as durable, and return its steps."""
        assert self.phase is SourcedPhase.appending
        batch, self.phase = self._batch, SourcedPhase.ready
        self.state = batch.state
        self.seq += 1 if self.model.apply is None else len(batch.records)
        self.is_stopped = batch.stops
        return batch.restart()

    def write_failed(self, error: BaseException) -> Sequence[SourcedStep]:
        """Forget the batch, and return the refusals of its commands. It recovers next, unless nothing was written."""
        assert self.phase is SourcedPhase.appending
        batch = self._batch
        is_known = isinstance(error, (JournalUnavailable, Fenced, SequenceConflict))
        is_current = isinstance(error, JournalUnavailable)
        self.phase = SourcedPhase.ready if is_current else SourcedPhase.recovering
        self._batch = _Batch(self.state)
        failure: AskFailure = "journal_unavailable" if is_known else "outcome_unknown"
        return [CommandRefused(command, failure, error) for command in batch.commands]

    # Snapshots

    @property
    def needs_snapshot(self) -> bool:
        """Whether a snapshot is due."""
        every = self.model.snapshots
        return every is not None and not self._is_saving and self.seq - self.snapshot_seq >= every.events

    def snapshot_due(self) -> TakeSnapshot | None:
        """Return the snapshot to take now, if any; `snapshot_over` tells of its end."""
        if not self.needs_snapshot:
            return None
        self._is_saving = True
        return TakeSnapshot(self.seq, self.state)

    def snapshot_over(self, taken: TakeSnapshot, *, is_stored: bool) -> None:
        """Take note of the end of a snapshot; a failed one is due again."""
        self._is_saving = False
        if is_stored:
            self.snapshot_seq = max(self.snapshot_seq, taken.seq)

    def _begin_batch(self) -> None:
        """Begin a batch at the state; one without a record has nothing to keep, and is used again."""
        batch = self._batch
        if batch.records or batch.commands:
            self._batch = _Batch(self.state)
        else:
            batch.state, batch.count, batch.stops = self.state, 0, False

    def _leave(self, command: object, steps: Sequence[SourcedStep]) -> Sequence[SourcedStep]:
        """Return steps without any event before them to be stored; keep others with the batch."""
        if not self._batch.records:
            return steps
        self._batch.commands.append(command)
        self._batch.steps += steps
        return ()

    def _stored(self, effect: Effect[object]) -> tuple[list[Record], object]:
        """Return the records of an effect, and the state after it."""
        records, state = [self.model.encode(event) for event in effect.events], self._batch.state
        if effect.is_state:
            return records, effect.events[0]
        for event in effect.events:
            state = self._applied(state, event)
        return records, state

    def _applied(self, state: object, event: object) -> object:
        apply, plain = self.model.apply, self.model.plain
        assert apply is not None
        made = apply(state, event) if plain is None else applied_twice(apply, plain, state, event)
        if made is None and self.model.empty is not None:
            raise TypeError(f"apply returned None for {event!r}: return the state after it")
        return made

    def _checked(self, command: object, effect: object) -> Effect[object]:
        if not isinstance(effect, Effect):
            raise TypeError(
                f"decide of {self.persistence_id!r} returned {effect!r} for {command!r}: it must return an Effect, "
                "such as persist(...), nothing() or refuse(...)"
            )
        checked = cast("Effect[object]", effect)
        if checked.events and checked.is_state is not (self.model.apply is None):
            wrong, right = ("persist", "store(state)") if self.model.apply is None else ("store", "persist(...)")
            raise TypeError(
                f"decide of {self.persistence_id!r} returned {wrong}(...) for {command!r}: write {right} here"
            )
        return checked
