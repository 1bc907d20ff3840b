"""One entity's side of a journal: it recovers, appends, takes snapshots, and performs the steps of a machine.

Owns the order of claim, read and write for one machine, and the translation of its steps into messages. It does not
know who takes the commands, or when: a task of an actor (`sourced_actor`), or a turn among many entities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, assert_never, cast

import trio

from casty.errors import (
    AskFailure,
    CastyError,
    Fenced,
    JournalDamaged,
    JournalUnavailable,
    JournalUncertain,
    SequenceConflict,
)
from casty.journal import Claim, SnapshotStore
from casty.protocol.event_sourcing.effect import EffectRefusal, EffectReply, EffectTell
from casty.protocol.event_sourcing.machine import (
    AppendEvents,
    CommandRefused,
    SourcedMachine,
    SourcedStep,
    StoreValue,
    TakeSnapshot,
)
from casty.refs import ActorRef
from casty.runtime.journaling.append_queue import BegunAppend
from casty.runtime.journaling.system_journal import EntityScope, SystemJournal
from casty.runtime.messaging.ask import refuse, refuse_asks
from casty.runtime.messaging.ref import tell_or_drop
from casty.runtime.sourcing.recovery import Recovery
from casty.runtime.system.context import ActorLog
from casty.runtime.system.kernel import Kernel

if TYPE_CHECKING:
    from outcome import Outcome

CLAIMS_TRIED_MAX: Final = 3
"""Claims of this system itself, one after the other, for one write."""


@dataclass(frozen=True, slots=True)
class SourcedPlace:
    """Surroundings of one event-sourced actor or entity."""

    journal: SystemJournal
    scope: EntityScope
    kernel: Kernel
    state_type: object
    """Type of its states, for the codec."""
    log_of: Callable[[], ActorLog]
    """Maker of the logger with the path of the entity, for what hardly ever happens."""


class SourcedStore:
    """The machine of one entity at its place in the journal."""

    __slots__ = ("_unreadable", "machine", "place")

    def __init__(self, machine: SourcedMachine, place: SourcedPlace) -> None:
        self.machine = machine
        self.place = place
        self._unreadable: Exception | None = None
        """Reason of the last recovery's failure."""

    def __repr__(self) -> str:
        return f"<SourcedStore {self.machine!r}>"

    @property
    def log(self) -> ActorLog:
        """Logger with the path of the entity."""
        return self.place.log_of()

    async def append(self, write: AppendEvents | StoreValue) -> None:
        """Write under the newest claim of this system; a claim replaced by this system itself is none of its ends."""
        scope, persistence_id, journal = self.place.scope.claim, self.machine.persistence_id, self.place.journal
        for _ in range(CLAIMS_TRIED_MAX):
            claim = await scope.current()
            try:
                match write:  # here, not in a coroutine of its own: each one is gone through twice an append
                    case AppendEvents(after, records):
                        await journal.journal.append(claim, persistence_id, after, records)
                    case StoreValue(revision, record):
                        assert journal.states is not None
                        await journal.states.store_state(claim, persistence_id, revision, record)
                    case _ as never:
                        assert_never(never)
                return
            except BaseException as error:
                if not self.note_failed_write(claim, error):
                    raise
        raise JournalUnavailable(f"the claim of {scope.scope!r} was replaced {CLAIMS_TRIED_MAX} times during a write")

    def begin_append(
        self, claim: Claim, write: AppendEvents, done: Callable[[Outcome[None]], None]
    ) -> BegunAppend | None:
        """Begin to write under a claim; None where `append` has to do it. An error is for `note_failed_write` too."""
        appends = self.place.journal.appends
        if appends is None:
            return None
        return appends.begin_append(claim, self.machine.persistence_id, write.after, write.records, done)

    def note_failed_write(self, claim: Claim, error: BaseException) -> bool:
        """Take note of a failed write; return whether it is to be tried again, under the claim in place of its own."""
        scope = self.place.scope.claim
        if isinstance(error, Fenced) and scope.is_replaced(claim):
            return True
        if not isinstance(error, (JournalUnavailable, SequenceConflict)):
            scope.give_up(claim)  # it is void, or the events may be written yet unless a newer claim keeps them out
        return False

    def perform(self, steps: Sequence[SourcedStep]) -> None:
        """Do all steps in order; a failed one keeps none of the others."""
        failed: Exception | None = None
        for step in steps:
            try:
                self._take_step(step)
            except (CastyError, TypeError, ValueError) as error:  # raised below: the others are durable too
                if isinstance(step, EffectReply):  # "failed" were a lie: its events are stored
                    refuse(self.place.kernel, step.to, error, "reply_lost")
                failed = failed or error
        if failed is not None:
            raise failed

    def _take_step(self, step: SourcedStep) -> None:
        kernel = self.place.kernel
        match step:
            case EffectReply(to, value):
                tell_or_drop(cast("ActorRef[object]", to), value)
            case EffectTell(ref, message):
                tell_or_drop(cast("ActorRef[object]", ref), message)
            case EffectRefusal(to, why):
                refuse(kernel, to, why)
            case CommandRefused(command, failure, error):
                if failure == "failed":  # a told command has no asker to hear of it
                    persistence_id = self.machine.persistence_id
                    self.log.warning("%s refused a command: %s", persistence_id, error, exc_info=error)
                refuse_asks(kernel, command, _shown(error), failure)
            case _ as never:
                assert_never(never)

    def refuse(self, message: object) -> None:
        """Refuse a command: there is no state to decide it against."""
        damage = self.machine.damage
        failure: AskFailure = "journal_unavailable" if damage is None else "failed"
        error = damage or self._unreadable or JournalUnavailable("the journal cannot be read")
        refuse_asks(self.place.kernel, message, error, failure)

    # Recovery

    async def recover(self) -> None:
        """Read snapshot and events under a claim; without success the next command has it tried again."""
        machine = self.machine
        machine.recover()
        try:
            turns = self.place.journal.recoveries
            try:
                turns.acquire_nowait()  # nearly always: `acquire` is a way through the event loop
            except trio.WouldBlock:
                await turns.acquire()
            try:
                await self._read_history()
            finally:
                turns.release()
        except (JournalUnavailable, JournalUncertain) as error:
            self._unreadable = error
            self.log.warning("%s cannot be recovered yet: %s", machine.persistence_id, error)
        except ValueError as error:  # an id that no store takes, or the number of shards is another one in the journal
            self._unreadable = error
            self.log.error("%s cannot be recovered: %s", machine.persistence_id, error)
        except JournalDamaged as damage:
            machine.fail(damage)
            self.log.error("%s refuses everything: %s", machine.persistence_id, damage, exc_info=damage)
        else:
            machine.recovered()

    async def _read_history(self) -> None:
        machine, journal = self.machine, self.place.journal
        await self.place.scope.claim.current()
        recovery = Recovery(machine, journal.codec, self.place.state_type, self.place.log_of)
        if machine.model.apply is None:
            assert journal.states is not None
            await recovery.load_value(journal.states)
        else:
            await recovery.load_all(journal.journal, journal.snapshots, journal.histories)

    # Snapshots

    @property
    def needs_snapshot(self) -> bool:
        """Whether `snapshot_due` returns one."""
        return self.place.journal.snapshots is not None and self.machine.needs_snapshot

    def snapshot_due(self) -> tuple[SnapshotStore, TakeSnapshot] | None:
        """Return the snapshot to `save` now, if any."""
        snapshots = self.place.journal.snapshots
        due = None if snapshots is None else self.machine.snapshot_due()
        return None if snapshots is None or due is None else (snapshots, due)

    async def save(self, snapshots: SnapshotStore, due: TakeSnapshot) -> None:
        """Store a snapshot beside the commands; nothing depends on it."""
        machine, every, is_stored = self.machine, self.machine.model.snapshots, False
        assert every is not None
        try:
            record = self.place.journal.codec.encode_state(self.place.state_type, due.state)
            claim = await self.place.scope.claim.current()
            await snapshots.save(claim, machine.persistence_id, due.seq, record)
            is_stored = True
            await snapshots.prune(claim, machine.persistence_id, every.keep)
            if every.forget:
                await self._forget(snapshots, claim, due, every.keep)
        except CastyError as error:
            self.log.warning("snapshot %d of %s was not taken: %s", due.seq, machine.persistence_id, error)
        finally:
            machine.snapshot_over(due, is_stored=is_stored)

    async def _forget(self, snapshots: SnapshotStore, claim: Claim, due: TakeSnapshot, keep: int) -> None:
        """Remove the events in each kept snapshot, once the newest one was read back."""
        persistence_id, journal = self.machine.persistence_id, self.place.journal
        kept = (await snapshots.load(persistence_id))[:keep]
        if len(kept) < keep or kept[0].seq != due.seq:
            return
        oldest, plain = kept[-1], journal.codec.plain
        read_back = journal.codec.decode_state(self.place.state_type, kept[0].record)
        if plain(self.place.state_type, read_back) == plain(self.place.state_type, due.state):
            await journal.journal.forget(claim, persistence_id, oldest.seq)


def _shown(error: BaseException) -> Exception:
    """Return the cause told to an asker."""
    if isinstance(error, Exception):
        return error
    return JournalUncertain("the actor was stopped while its events were being stored")
