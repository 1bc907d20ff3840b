"""Entities of pure functions at one node: turns of many in one task, and no task for any.

Owns the entities with a mailbox, the order of their turns, and the tasks for appends and recoveries. It does not know
shards or passivation (`entity_table` orders starts and ends), and decides nothing (`SourcedMachine` does).

How it works: a command goes into the mailbox of its entity, and the first one wakes the one task of the kind, to serve
all entities with commands. A turn takes the commands there are, and ends with the append of their events: begun at
once at a store that calls back (`PureAppends`), or in one of a bounded number of tasks. What comes meanwhile is the
next turn. An entity that has rested for the longest time, of more than a bounded number, leaves its mailbox and its
machine: its state and numbers stay in the table. The task is that of an actor beside the entities, so it ends as actors
do. `SourcedActor` is the plain twin, with a task for one entity.
"""

from __future__ import annotations

from collections import deque
from typing import Any, Final, cast
from urllib.parse import quote

import trio

from casty.cluster.leases.serving import ServingLease
from casty.cluster.sharding.pure.journal_tasks import JournalTasks
from casty.cluster.sharding.pure.pure_appends import PureAppend, PureAppends
from casty.cluster.sharding.pure.pure_entity import PureEntity
from casty.cluster.sharding.pure.pure_host import PureHost
from casty.cluster.sharding.pure.pure_models import PureModel
from casty.cluster.sharding.pure.pure_news import tell_end, tell_failure, tell_start
from casty.errors import JournalUnavailable, JournalUncertain
from casty.protocol.event_sourcing.machine import SourcedMachine, SourcedPhase
from casty.protocol.sharding.entities.entity_cell import EntityCell
from casty.runtime.actor.cell import Cell
from casty.runtime.behavior import behavior as forms
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.journaling.system_journal import SystemJournal, id_in_use
from casty.runtime.messaging.ask import refuse_asks
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.mailbox import BATCH_MESSAGES, BATCH_SECONDS, NOTHING
from casty.runtime.sourcing.sourced_store import SourcedPlace
from casty.runtime.system.kernel import Kernel
from casty.runtime.waking import WOKEN

NAME: Final = "<pure-{}>"
"""Name of the actor with the task: no id leads to it, as an id has its < escaped."""
SAFE: Final = " !$&'()*+,;=:@~"
"""Characters of an id, left as they are in the name of its actor."""
RESTING_MAX: Final = 4_096
"""Entities at rest with a mailbox, for the quick way to them: 2 kB each, and without it a first command takes twice as
long."""
WRITES_MAX: Final = 512
"""Appends at one time: as many as a store takes into one commit."""
SNAPSHOTS_MAX: Final = 16
"""Snapshots at one time; nobody waits for them."""


class PureEntities:
    """Entities of one kind at one node that are pure functions."""

    def __init__(
        self, kernel: Kernel, journal: SystemJournal, region: Cell, host: PureHost, serving: ServingLease
    ) -> None:
        self.kernel = kernel
        self.region = region
        self._journal = journal
        self._host = host
        self._serving = serving
        self._now = kernel.now
        self._known: dict[int, PureEntity] = {}
        """Entities with a mailbox, by their activations."""
        self._resting: dict[PureEntity, None] = {}
        """Those with nothing to do, in the order in which they came to rest."""
        self._ready: deque[PureEntity] = deque()
        self._count = 0
        """Entities alive, those without a mailbox included."""
        self._task: trio.lowlevel.Task | None = None
        self._is_parked = False
        self._recoveries = JournalTasks(self._recover, kernel.config.recoveries_max)
        self._appends = PureAppends(self._settle, self._give_up, WRITES_MAX)
        self._writes = JournalTasks(self._write, WRITES_MAX)
        self._snapshots = JournalTasks(self._save, SNAPSHOTS_MAX)
        self._at_work = 0
        self._drained = trio.Event()
        self._is_ending = False
        self.has_begun = False
        """Whether the actor has: stopped before, it never does, and ends nothing."""

    def __repr__(self) -> str:
        return f"<PureEntities alive={self._count} known={len(self._known)} ready={len(self._ready)}>"

    def behavior(self) -> Behavior[Any]:
        """Return the behaviour of the actor with the task."""
        return forms.task(self._main)

    # Orders of the host

    def start(self, record: EntityCell, model: PureModel) -> None:
        """Begin to recover an entity; commands may come at once."""
        entity = self._open(record, model)
        self._count += 1
        self.kernel.counters.actors += 1
        tell_start(entity)
        persistence_id = entity.machine.persistence_id
        other = self._journal.user_of(persistence_id)
        if other is not None:
            self.fail(entity, id_in_use(persistence_id, entity.path, other))
            return
        record.model = model
        self._begin(entity, self._recoveries)

    def known(self, record: EntityCell) -> PureEntity:
        """Return an active entity, with a mailbox."""
        entity = self._known.get(record.activation)
        if entity is None:
            entity = self._open(record, cast("PureModel", record.model))
            entity.machine.resume(record.seq, record.state, record.saved)
            record.state = None
            self._rest(entity)
        return entity

    def stop(self, record: EntityCell) -> None:
        """End an entity behind everything it was handed."""
        entity = self._known.get(record.activation)
        if entity is None:
            self._count -= 1
            self.kernel.counters.actors -= 1
            self._host.pure_ended(record, record.activation, (), None)
            return
        entity.is_stopping = True
        if entity in self._resting:
            self.give_turn(entity)

    def cancel(self, record: EntityCell) -> None:
        """End an entity at once: what it was handed is left, what is being appended has no known outcome."""
        entity = self._known.get(record.activation)
        if entity is None:
            self.stop(record)
            return
        entity.is_stopping = True
        self._abandon(entity)

    def close(self) -> None:
        """End all entities: the actor that hosts the kind has ended."""
        self.kernel.counters.actors -= self._count
        self._count = 0
        known = dict(self._known)
        for entity in known.values():
            self._forget(entity)
        self._host.pure_over(frozenset(known))
        for number, entity in known.items():
            self._refuse_decided(entity)
            left = entity.close_mailbox()
            tell_end(entity)
            self._host.pure_ended(entity.record, number, left, None)

    # Turns

    def give_turn(self, entity: PureEntity) -> None:
        """Serve an entity in its turn."""
        self._resting.pop(entity, None)
        entity.mailbox.sleeper = None
        self._ready.append(entity)
        if self._is_parked and self._task is not None:
            self._is_parked = False
            trio.lowlevel.reschedule(self._task, WOKEN)

    async def _main(self, ctx: object, inbox: Inbox[Any]) -> None:
        self.has_begun = True
        try:
            async with trio.open_nursery() as nursery:
                for one in (self._recoveries, self._writes, self._snapshots, self._appends):
                    nursery.start_soon(one.run)
                nursery.start_soon(self._serve_all)
                async for _ in inbox:
                    pass
                self._is_ending = True
                for entity in self._recoveries.drop_all():
                    self._done(entity)
                if self._at_work:
                    await self._drained.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._is_ending = True
            self.close()

    @trio.lowlevel.enable_ki_protection
    async def _serve_all(self) -> None:
        """Serve who has something to do, in bounded batches."""
        self._task = trio.lowlevel.current_task()
        ready, now, serving = self._ready, self._now, self._serving
        while True:
            if not ready:
                self._is_parked = True
                await trio.lowlevel.wait_task_rescheduled(self._abort)
            count, at = 0, now()
            started = at
            while ready:
                if not serving.serves_at(at):
                    await serving.wait_serving()
                    at = now()
                    continue
                count += self._serve(ready.popleft())
                at = now()
                if count >= BATCH_MESSAGES or at - started > BATCH_SECONDS:
                    await trio.lowlevel.checkpoint()
                    count, at = 0, now()
                    started = at

    def _abort(self, _: trio.lowlevel.RaiseCancelT) -> trio.lowlevel.Abort:
        self._is_parked = False
        return trio.lowlevel.Abort.SUCCEEDED

    def _serve(self, entity: PureEntity) -> int:
        """Give an entity its turn, and return the number of commands; one at work has it when that is done."""
        if entity.is_at_work or entity.ended or entity.is_over or self._is_ending:
            return 0
        if entity.machine.phase is not SourcedPhase.ready:
            return self._serve_unread(entity)
        count = 0
        message: object = NOTHING
        machine, perform, now, serves_at = (
            entity.machine,
            entity.store.perform,
            self.kernel.now,
            self._serving.serves_at,
        )
        try:
            while not machine.is_full and (message := entity.take()) is not NOTHING:
                count += 1
                perform(machine.decide(message))
                if not serves_at(now()):
                    self.give_turn(entity)  # with its batch as it is
                    return count
        except Exception as error:  # the supervisor's boundary; those decided before it have no part in that
            entity.failure = error, message
        finally:
            self.kernel.counters.delivered += count
        self._end_turn(entity)
        return count

    def _end_turn(self, entity: PureEntity) -> None:
        """Append what was decided, or end, or rest."""
        machine, mailbox = entity.machine, entity.mailbox
        write = machine.flush()
        if write is not None:
            entity.write = write
            if self._appends.begin(entity):
                entity.is_at_work = True
                self._at_work += 1
            else:
                self._begin(entity, self._writes)
        elif entity.failure is not None:
            self._fail_with(entity)
        elif machine.is_stopped or (entity.is_stopping and not mailbox.has_next):
            self._end(entity)
        elif mailbox.has_next:
            self.give_turn(entity)
        else:
            self._rest(entity)

    def _serve_unread(self, entity: PureEntity) -> int:
        """Read an entity without a state again; refuse what waits where that was in vain."""
        machine, count = entity.machine, 0
        if not entity.mailbox.has_next:
            if entity.is_stopping:
                self._end(entity)
            else:
                self._rest(entity)
            return 0
        if machine.phase is SourcedPhase.recovering and not entity.is_refusing:
            entity.is_refusing = True
            self._begin(entity, self._recoveries)
            return 0
        entity.is_refusing = False
        while (message := entity.take()) is not NOTHING:
            entity.store.refuse(message)
            count += 1
        self.kernel.counters.delivered += count
        self.give_turn(entity)
        return count

    def _rest(self, entity: PureEntity) -> None:
        """Let an entity rest; who rests for the longest time, of too many, leaves its mailbox."""
        resting = self._resting
        entity.mailbox.rest()
        resting[entity] = None
        if len(resting) > RESTING_MAX:
            oldest = next(iter(resting))
            del resting[oldest]
            if oldest.can_leave:
                machine, record = oldest.machine, oldest.record
                record.state, record.seq, record.saved = machine.state, machine.seq, machine.snapshot_seq
                self._forget(oldest)
                oldest.let_go()
                self._host.pure_rests(record)
            else:
                resting[oldest] = None

    # Steps in tasks

    def _begin(self, entity: PureEntity, workers: JournalTasks[PureEntity]) -> None:
        entity.is_at_work = True
        self._at_work += 1
        workers.put(entity)

    def _done(self, entity: PureEntity) -> None:
        entity.is_at_work = False
        self._at_work -= 1
        if self._is_ending and not self._at_work:
            self._drained.set()

    async def _recover(self, entity: PureEntity) -> None:
        try:
            await entity.store.recover()
        except Exception as error:  # the supervisor's boundary
            self._done(entity)
            self.fail(entity, error)
            return
        except BaseException:
            self._done(entity)
            self._end(entity)
            raise
        self._done(entity)
        if entity.machine.phase is SourcedPhase.ready:
            entity.is_refusing = False
        self.give_turn(entity)

    def _settle(self, append: PureAppend) -> None:
        """Go on behind an append."""
        entity, outcome = append.entity, append.outcome
        assert outcome is not None
        try:
            outcome.unwrap()
        except BaseException as error:  # as in `_write`
            if entity.store.note_failed_write(append.claim, error):
                self._writes.put(entity)
                return
            self._done(entity)
            self._write_failed(entity, error)
            if not isinstance(error, Exception):
                raise
        else:
            self._done(entity)
            self._written(entity)

    def _give_up(self, append: PureAppend) -> None:
        """End an entity with an append that nobody knows the outcome of."""
        entity, error = append.entity, JournalUncertain("the entity was stopped while its events were being stored")
        entity.store.note_failed_write(append.claim, error)
        self._done(entity)
        entity.store.perform(entity.machine.write_failed(error))
        self._end(entity)

    async def _write(self, entity: PureEntity) -> None:
        write = entity.write
        assert write is not None
        try:
            await entity.store.append(write)
        except BaseException as error:  # no asker may wait for an outcome that nobody looks at any more
            self._done(entity)
            self._write_failed(entity, error)
            if not isinstance(error, Exception):
                raise
            return
        self._done(entity)
        self._written(entity)

    def _written(self, entity: PureEntity) -> None:
        machine, store = entity.machine, entity.store
        entity.write = None
        try:
            store.perform(machine.written())
        except Exception as error:  # a reply that cannot be sent
            entity.failure = entity.failure or (error, NOTHING)
        if not entity.is_saving and store.needs_snapshot:
            entity.is_saving = True
            self._snapshots.put(entity)
        if entity.failure is not None:
            self._fail_with(entity)
        elif machine.is_stopped:
            self._end(entity)
        elif entity.mailbox.has_next or entity.is_stopping:
            self.give_turn(entity)
        else:
            self._rest(entity)

    def _write_failed(self, entity: PureEntity, error: BaseException) -> None:
        machine, store = entity.machine, entity.store
        entity.write = None
        store.perform(machine.write_failed(error))
        if isinstance(error, (JournalUnavailable, JournalUncertain)):
            store.log.warning("%s was not appended to: %s", machine.persistence_id, error)
            if entity.failure is not None:
                self._fail_with(entity)
            elif machine.phase is SourcedPhase.recovering:
                self._begin(entity, self._recoveries)
            else:
                self.give_turn(entity)
        elif isinstance(error, Exception):
            self.fail(entity, error)
        else:
            self._end(entity)

    async def _save(self, entity: PureEntity) -> None:
        try:
            due = entity.store.snapshot_due()
            if due is not None:
                await entity.store.save(*due)
        except Exception as error:  # the supervisor's boundary
            entity.is_saving = False
            self.fail(entity, error)
        finally:
            entity.is_saving = False
            if entity.is_over:
                self._end(entity)

    # The end of an entity

    def fail(self, entity: PureEntity, error: Exception, message: object = NOTHING) -> None:
        """End an entity with a failure, told to who asked with the message."""
        entity.failure = error, message
        if not entity.is_at_work:
            self._fail_with(entity)

    def _fail_with(self, entity: PureEntity) -> None:
        assert entity.failure is not None
        error, message = entity.failure
        tell_failure(entity, error)
        if message is not NOTHING:
            refuse_asks(self.kernel, message, error)
        entity.error = error
        self._end(entity)

    def _abandon(self, entity: PureEntity) -> None:
        """End an entity, whatever it does; what was decided and not handed to the journal is certainly not stored."""
        if self._appends.end(entity) and entity.ended:
            return
        is_appending = entity.machine.phase is SourcedPhase.appending
        if entity.is_at_work:
            if not (self._writes if is_appending else self._recoveries).drop(entity):
                return  # its task ends it
            self._done(entity)
        self._end(entity)

    def _refuse_decided(self, entity: PureEntity) -> None:
        """Refuse the commands decided and not handed to the journal: nobody else knows of them."""
        machine = entity.machine
        is_decided = machine.phase is SourcedPhase.ready and machine.flush() is not None
        if is_decided or machine.phase is SourcedPhase.appending:
            error = JournalUnavailable(f"{entity.path} was stopped before its events were stored")
            entity.store.perform(machine.write_failed(error))

    def _end(self, entity: PureEntity) -> None:
        """End an activation, once nothing is at work for it; a snapshot under way is given up."""
        if entity.ended:
            return
        self._refuse_decided(entity)
        if entity.is_saving:
            entity.is_over = True
            if self._snapshots.drop(entity):
                entity.is_saving = False
            else:
                return
        number = entity.record.activation
        self._forget(entity)
        self._count -= 1
        self.kernel.counters.actors -= 1
        left = entity.close_mailbox()
        tell_end(entity)
        self._host.pure_ended(entity.record, number, left, entity.error)

    def _forget(self, entity: PureEntity) -> None:
        del self._known[entity.record.activation]
        del self.kernel.targets[entity.path]
        self._resting.pop(entity, None)

    def _open(self, record: EntityCell, model: PureModel) -> PureEntity:
        """Give an entity a mailbox, and a machine that has no state yet."""
        path = path_of(self.region, record.entity_id)
        entity = PureEntity(self, record, path)
        scope = self._host.scope_of(record)
        place = SourcedPlace(self._journal, scope, self.kernel, model.state_type, entity.log)
        entity.settle(SourcedMachine(scope.persistence_id, model.model), place)
        self._known[record.activation] = entity
        self.kernel.targets[path] = entity.ref
        return entity


def path_of(region: Cell, entity_id: str) -> str:
    """Return the path of an entity, as of an actor."""
    return f"{region.path}/{quote(entity_id, safe=SAFE)}"
