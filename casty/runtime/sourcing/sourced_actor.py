"""Task of an event-sourced actor: mailbox to machine, machine to journal, and the answers back.

Owns the order of waits: one append at a time, and nothing read from the mailbox meanwhile. Messages there are the
next batch, bounded, counted and refused as everywhere. It does not know decisions, or the time of a reply: those are
the machine's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar, assert_never, cast

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
    SourcedPhase,
    SourcedStep,
    StoreValue,
    TakeSnapshot,
)
from casty.refs import ActorRef
from casty.runtime.journaling.system_journal import EntityScope, SystemJournal
from casty.runtime.messaging.ask import refuse, refuse_asks
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import NOTHING
from casty.runtime.messaging.ref import tell_or_drop
from casty.runtime.sourcing.recovery import Recovery
from casty.runtime.system.context import ActorContext
from casty.runtime.system.kernel import Kernel

M = TypeVar("M")

CLAIMS_TRIED_MAX: Final = 3
"""Claims of this system itself, one after the other, for one write."""


@dataclass(frozen=True, slots=True)
class SourcedPlace:
    """Surroundings of one event-sourced actor."""

    journal: SystemJournal
    scope: EntityScope
    kernel: Kernel
    state_type: object
    """Type of its states, for the codec."""


class SourcedActor:
    """One life of an event-sourced actor."""

    def __init__(
        self,
        machine: SourcedMachine,
        place: SourcedPlace,
        decide: Callable[[Any, Any, Any], Awaitable[object]] | None,
    ) -> None:
        self._machine = machine
        self._place = place
        self._decide_async = decide
        self._unreadable: Exception | None = None
        """Reason of the last recovery's failure."""

    def __repr__(self) -> str:
        return f"<SourcedActor {self._machine!r}>"

    async def main(self, ctx: ActorContext[Any], inbox: Inbox[Any]) -> None:
        """Recover, then serve commands until the actor is to stop."""
        machine = self._machine
        with self._place.journal.in_use(machine.persistence_id, ctx.self.path):
            await self._recover(ctx)
            async for message in inbox:
                if machine.phase is SourcedPhase.recovering:
                    await self._recover(ctx)
                if machine.phase is SourcedPhase.ready:
                    await self._serve(ctx, message, inbox)
                else:
                    await self._refuse_all(message, inbox)
                if machine.is_stopped:
                    return

    # Commands

    async def _serve(self, ctx: ActorContext[Any], message: object, inbox: Inbox[Any]) -> None:
        """Decide a command and those waiting behind it, append their events, and answer them."""
        machine, failure = self._machine, None
        while message is not NOTHING:
            try:
                steps = await self._decide(ctx, message)
            except Exception as error:  # the user's code; those decided before it have no part in that
                failure = error
                break
            self._perform(steps)
            if machine.is_full or self._decide_async is not None:
                break
            message = await inbox.take_ready()
        await self._write(ctx)
        if failure is not None:
            raise failure

    async def _decide(self, ctx: ActorContext[Any], message: object) -> Sequence[SourcedStep]:
        if self._decide_async is None:
            return self._machine.decide(message)
        return self._machine.take(message, await self._decide_async(ctx, self._machine.tentative, message))

    async def _write(self, ctx: ActorContext[Any]) -> None:
        machine = self._machine
        write = machine.flush()
        if write is None:
            return
        try:
            await self._append(write)
        except BaseException as error:  # no asker may wait for an outcome that nobody looks at any more
            self._perform(machine.write_failed(error))
            if not isinstance(error, (JournalUnavailable, JournalUncertain)):
                raise
            ctx.log.warning("%s was not appended to: %s", machine.persistence_id, error)
            if machine.phase is SourcedPhase.recovering:
                await self._recover(ctx)
            return
        self._perform(machine.written())
        self._begin_snapshot(ctx)

    async def _append(self, write: AppendEvents | StoreValue) -> None:
        """Write under the newest claim of this system; a claim replaced by this system itself is none of its ends."""
        scope = self._place.scope.claim
        for _ in range(CLAIMS_TRIED_MAX):
            claim = await scope.current()
            try:
                await self._write_under(claim, write)
                return
            except Fenced:
                if not scope.is_replaced(claim):
                    scope.give_up(claim)
                    raise
            except (JournalUnavailable, SequenceConflict):
                raise
            except BaseException:  # it may be written yet, unless a newer claim keeps it out
                scope.give_up(claim)
                raise
        raise JournalUnavailable(f"the claim of {scope.scope!r} was replaced {CLAIMS_TRIED_MAX} times during a write")

    async def _write_under(self, claim: Claim, write: AppendEvents | StoreValue) -> None:
        persistence_id, journal = self._machine.persistence_id, self._place.journal
        match write:
            case AppendEvents(after, records):
                await journal.journal.append(claim, persistence_id, after, records)
            case StoreValue(revision, record):
                assert journal.states is not None
                await journal.states.store_state(claim, persistence_id, revision, record)
            case _ as never:
                assert_never(never)

    def _perform(self, steps: Sequence[SourcedStep]) -> None:
        """Do all steps in order; a failed one keeps none of the others."""
        failed: Exception | None = None
        for step in steps:
            try:
                self._take_step(step)
            except (CastyError, TypeError, ValueError) as error:  # raised below: the others are durable too
                if isinstance(step, EffectReply):  # "failed" were a lie: its events are stored
                    refuse(self._place.kernel, step.to, error, "reply_lost")
                failed = failed or error
        if failed is not None:
            raise failed

    def _take_step(self, step: SourcedStep) -> None:
        kernel = self._place.kernel
        match step:
            case EffectReply(to, value):
                tell_or_drop(cast("ActorRef[object]", to), value)
            case EffectTell(ref, message):
                tell_or_drop(cast("ActorRef[object]", ref), message)
            case EffectRefusal(to, why):
                refuse(kernel, to, why)
            case CommandRefused(command, failure, error):
                refuse_asks(kernel, command, _shown(error), failure)
            case _ as never:
                assert_never(never)

    async def _refuse_all(self, message: object, inbox: Inbox[Any]) -> None:
        """Refuse a command and those waiting behind it: there is no state to decide them against."""
        damage, why = self._machine.damage, self._unreadable
        failure: AskFailure = "journal_unavailable" if damage is None else "failed"
        error = damage or why or JournalUnavailable("the journal cannot be read")
        while message is not NOTHING:
            refuse_asks(self._place.kernel, message, error, failure)
            message = await inbox.take_ready()

    # Recovery

    async def _recover(self, ctx: ActorContext[Any]) -> None:
        """Read snapshot and events under a claim; without success the next command has it tried again."""
        machine = self._machine
        machine.recover()
        try:
            async with self._place.journal.recoveries:
                await self._place.scope.claim.current()
                journal = self._place.journal
                recovery = Recovery(machine, journal.codec, self._place.state_type, ctx.log)
                if machine.model.apply is None:
                    assert journal.states is not None
                    await recovery.load_value(journal.states)
                else:
                    await recovery.load_all(journal.journal, journal.snapshots)
        except (JournalUnavailable, JournalUncertain) as error:
            self._unreadable = error
            ctx.log.warning("%s cannot be recovered yet: %s", machine.persistence_id, error)
        except ValueError as error:  # an id that no store takes, or the number of shards is another one in the journal
            self._unreadable = error
            ctx.log.error("%s cannot be recovered: %s", machine.persistence_id, error)
        except JournalDamaged as damage:
            machine.fail(damage)
            ctx.log.error("%s refuses everything: %s", machine.persistence_id, damage, exc_info=damage)
        else:
            machine.recovered()

    # Snapshots

    def _begin_snapshot(self, ctx: ActorContext[Any]) -> None:
        if self._place.journal.snapshots is None:
            return
        due = self._machine.snapshot_due()
        if due is not None:
            ctx.start_soon(self._save, ctx, self._place.journal.snapshots, due)

    async def _save(self, ctx: ActorContext[Any], snapshots: SnapshotStore, due: TakeSnapshot) -> None:
        """Store a snapshot beside the commands; nothing depends on it."""
        machine, every, is_stored = self._machine, self._machine.model.snapshots, False
        assert every is not None
        try:
            record = self._place.journal.codec.encode_state(self._place.state_type, due.state)
            claim = await self._place.scope.claim.current()
            await snapshots.save(claim, machine.persistence_id, due.seq, record)
            is_stored = True
            await snapshots.prune(claim, machine.persistence_id, every.keep)
            if every.forget:
                await self._forget(snapshots, claim, due, every.keep)
        except CastyError as error:
            ctx.log.warning("snapshot %d of %s was not taken: %s", due.seq, machine.persistence_id, error)
        finally:
            machine.snapshot_over(due, is_stored=is_stored)

    async def _forget(self, snapshots: SnapshotStore, claim: Claim, due: TakeSnapshot, keep: int) -> None:
        """Remove the events in each kept snapshot, once the newest one was read back."""
        persistence_id, journal = self._machine.persistence_id, self._place.journal
        kept = (await snapshots.load(persistence_id))[:keep]
        if len(kept) < keep or kept[0].seq != due.seq:
            return
        oldest, plain = kept[-1], journal.codec.plain
        read_back = journal.codec.decode_state(self._place.state_type, kept[0].record)
        if plain(self._place.state_type, read_back) == plain(self._place.state_type, due.state):
            await journal.journal.forget(claim, persistence_id, oldest.seq)


def _shown(error: BaseException) -> Exception:
    """Return the cause told to an asker."""
    if isinstance(error, Exception):
        return error
    return JournalUncertain("the actor was stopped while its events were being stored")
