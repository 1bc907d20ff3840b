"""One entity of pure functions while it has something to do, or had a moment ago: its mailbox and its machine.

Owns the waiting commands, and the appearance of an actor towards refs and asks. It does not know turns, or what is done
in one: `PureEntities` does. At rest for longer, nothing of it is left but its entry in the table.
"""

from __future__ import annotations

from typing import Protocol

import trio

from casty.config import Mailbox
from casty.protocol.event_sourcing.machine import AppendEvents, SourcedMachine, StoreValue
from casty.protocol.sharding.entities.entity_cell import EntityCell
from casty.protocol.sharding.entities.entity_events import EntityMessage
from casty.runtime.actor.cell import Cell
from casty.runtime.actor.fast_shared_tasks import RESTING
from casty.runtime.events import Terminated
from casty.runtime.messaging.checked_ref import ref_to
from casty.runtime.messaging.mailbox import NOTHING, MessageQueue, Request
from casty.runtime.messaging.queueing.notices import TerminatedNotice
from casty.runtime.messaging.ref import LocalRef
from casty.runtime.messaging.requests import open_request
from casty.runtime.messaging.signals import PILL
from casty.runtime.ports import Recipient, WatchedBy, Watcher
from casty.runtime.sourcing.sourced_store import SourcedPlace, SourcedStore
from casty.runtime.system.context import ActorLog
from casty.runtime.system.kernel import Kernel


class TurnKeeper(Protocol):
    """Owner of the turns of entities."""

    @property
    def kernel(self) -> Kernel:
        """Common part of the actors of the system."""
        ...

    @property
    def region(self) -> Cell:
        """Actor that hosts the kind."""
        ...

    def give_turn(self, entity: PureEntity, /) -> None:
        """Serve an entity in its turn."""
        ...

    def stop(self, record: EntityCell, /) -> None:
        """End an entity behind everything it was handed."""
        ...

    def cancel(self, record: EntityCell, /) -> None:
        """End an entity at once."""
        ...

    def fail(self, entity: PureEntity, error: Exception, /) -> None:
        """End an entity with a failure."""
        ...


class CommandQueue(MessageQueue):
    """Commands of one entity; the first one for an entity at rest gives it a turn."""

    __slots__ = ("_entity",)

    def __init__(self, settings: Mailbox, entity: PureEntity) -> None:
        super().__init__(settings)
        self._entity: PureEntity | None = entity

    def let_go(self) -> None:
        """Forget the entity."""
        self._entity = None

    def rest(self) -> None:
        """Take note of the entity's rest."""
        self.sleeper = RESTING

    def wake(self) -> None:
        if self.sleeper is RESTING and self._entity is not None:
            self.sleeper = None
            self._entity.owner.give_turn(self._entity)


class PureEntity(WatchedBy):
    """An entity with a mailbox, for as long as it has one."""

    __slots__ = (
        "_waiters",
        "ended",
        "error",
        "failure",
        "is_at_work",
        "is_over",
        "is_refusing",
        "is_saving",
        "is_stopping",
        "mailbox",
        "owner",
        "path",
        "record",
        "ref",
        "store",
        "uid",
        "write",
    )

    def __init__(self, owner: TurnKeeper, record: EntityCell, path: str) -> None:
        self.owner = owner
        self.record = record
        self.path = path
        self.uid = owner.kernel.next_uid()
        self.mailbox = CommandQueue(owner.kernel.config.mailbox_for(path), self)
        self.mailbox.open()
        self.ref: LocalRef[object] = ref_to(self, self.mailbox)
        self.store: SourcedStore
        self.is_at_work = False
        """Whether a task recovers it, or appends for it."""
        self.write: AppendEvents | StoreValue | None = None
        """Next write."""
        self.is_saving = False
        """Whether a task takes a snapshot of it."""
        self.is_over = False
        """Whether it has ended but for that task."""
        self.is_stopping = False
        """Whether it ends once nothing waits."""
        self.is_refusing = False
        """Whether it refuses what waits if it still cannot be read."""
        self.failure: tuple[Exception, object] | None = None
        """Failure and command in whose face it ends, once what was decided before is durable."""
        self.error: Exception | None = None
        """Failure told at its end."""
        self.ended = False
        self.watchers: dict[int, Watcher] | None = None
        self._waiters: trio.Event | None = None

    def __repr__(self) -> str:
        return f"<PureEntity {self.path} queued={len(self.mailbox)}>"

    def settle(self, machine: SourcedMachine, place: SourcedPlace) -> None:
        """Take on a machine at its place in the journal."""
        self.store = SourcedStore(machine, place)

    @property
    def machine(self) -> SourcedMachine:
        """State, and the commands of the append in flight."""
        return self.store.machine

    @property
    def can_leave(self) -> bool:
        """Whether its entry in the table says all there is to say of it."""
        mailbox = self.mailbox
        is_idle = not (self.is_at_work or self.is_saving or self.is_stopping or self.watchers)
        is_plain = not (mailbox.flows or mailbox.weights or mailbox.senders or mailbox.front or mailbox.messages)
        return is_idle and is_plain and self.machine.is_resting

    def let_go(self) -> None:
        """Part with mailbox, machine and ref: a circle of them would stay until the next look for circles."""
        self.ended = True
        self.mailbox.close()
        self.mailbox.let_go()
        del self.store, self.ref

    def take(self) -> object:
        """Return the next command; NOTHING for none."""
        mailbox = self.mailbox
        while True:
            source = mailbox.front or mailbox.messages
            message = source.popleft() if source and not mailbox.senders else mailbox.take()
            if message is NOTHING:
                return NOTHING
            if type(message) is Request:
                message = open_request(self, message)
            elif type(message) is TerminatedNotice:
                mailbox.notice_taken()
                mailbox.take_turns()
                continue
            elif message is PILL:
                self.is_stopping = True
                return NOTHING
            if message is not NOTHING:
                return message

    def close_mailbox(self) -> tuple[EntityMessage, ...]:
        """Take no command any more, and return those left."""
        record = self.record
        return tuple(
            EntityMessage(record.entity_id, record.shard, record.epoch, one)
            for one in self.mailbox.close()
            if one is not PILL
        )

    # As an actor

    @property
    def kernel(self) -> Kernel:
        return self.owner.kernel

    @property
    def context(self) -> object:
        return None

    @property
    def parent(self) -> Recipient | None:
        return self.owner.region

    @property
    def task(self) -> trio.lowlevel.Task | None:
        return None

    @property
    def stop_requested(self) -> bool:
        return self.is_stopping

    @property
    def is_internal(self) -> bool:
        return self.owner.region.is_internal

    @property
    def is_task_style(self) -> bool:
        return False

    @property
    def waits_for_children(self) -> bool:
        return False

    def message_type(self) -> object | None:
        return None

    def signal(self, signal: object) -> None:
        """Take a signal: pure functions get none."""

    def stop(self) -> None:
        self.owner.stop(self.record)

    def kill(self) -> None:
        self.owner.cancel(self.record)

    def fail_from_outside(self, error: Exception) -> None:
        self.owner.fail(self, error)

    async def until_ended(self) -> None:
        if self._waiters is None:
            self._waiters = trio.Event()
        if not self.ended:
            await self._waiters.wait()

    def note_end(self) -> None:
        """Take note of the end, and tell watchers and waiters."""
        self.ended = True
        for watcher in list((self.watchers or {}).values()):
            watcher.signal(Terminated(self.ref, self.error))
        if self._waiters is not None:
            self._waiters.set()

    def log(self) -> ActorLog:
        """Return the logger with its path."""
        return ActorLog(self.path)
