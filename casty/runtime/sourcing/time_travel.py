"""States of the past: the stored events of one entity, applied by the functions of today.

Owns the choice of the first state: nothing, or the oldest readable snapshot behind the forgotten events. The rest is
the recovery of the actors themselves. It does not claim, write, or need a running system.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

from casty.errors import JournalDamaged
from casty.journal import StoredSnapshot
from casty.protocol.event_sourcing.machine import SourcedMachine
from casty.runtime.sourcing.recovery import EventSource, Look, Recovery, SnapshotSource, StateSource
from casty.runtime.sourcing.sourced_behavior import SourcedBehavior
from casty.wire.storing.stored_codec import StoredCodec

logger = logging.getLogger("casty.persistence")


class HistorySource(EventSource, SnapshotSource, StateSource, Protocol):
    """Store of events, snapshots and values, for readers."""


class NoSuchState(ValueError):
    """A state was asked for that the journal does not reach; the message names those within reach."""


@dataclass(frozen=True, slots=True)
class Replay:
    """History of one entity, with the functions of today.

    Raises ConfigError where its events or states cannot be stored at all.
    """

    behavior: SourcedBehavior[Any]
    persistence_id: str
    codec: StoredCodec
    store: HistorySource

    async def to(
        self,
        seq: int | None = None,
        look: Look | None = None,
        *,
        first: int | None = None,
        begin: Callable[[int, object], None] | None = None,
    ) -> SourcedMachine:
        """Return the machine with the state after an event, or after the last one.

        ``look`` is called after each applied event, ``begin`` before the first one with the number and state to begin
        with; ``first`` is the number of the first stored event, where it is known. Raises NoSuchState where the journal
        does not reach the event, and JournalDamaged where an actor would refuse everything.
        """
        machine = SourcedMachine(self.persistence_id, self.behavior.model(self.codec, is_checked=False))
        machine.recover()
        state_type = self.behavior.functions.state_type(self.behavior.empty)
        recovery = Recovery(machine, self.codec, state_type, lambda: logger)
        if machine.model.apply is None:
            await recovery.load_value(self.store)
            if seq not in (None, machine.seq):
                raise NoSuchState(
                    f"{self.persistence_id!r} is a durable state: only its last revision is stored, {machine.seq}, "
                    f"got {seq}"
                )
            return machine
        if first is None:
            first = await self._first_event()
        if first != 1:
            await self._begin_later(recovery, first, seq)
        if begin is not None:
            begin(machine.seq, machine.state)
        if seq != 0:
            await recovery.load_events(self.store, seq, look)
        if seq is not None and machine.seq < seq:
            raise NoSuchState(f"the last event of {self.persistence_id!r} is {machine.seq}, got {seq}")
        return machine

    async def _first_event(self) -> int:
        """Return the number of the first stored event; 0 where there is none."""
        rows = self.store.read(self.persistence_id)
        try:
            async for stored in rows:
                return stored.seq
        finally:
            close: Any = getattr(rows, "aclose", None)
            if close is not None:
                await close()
        return 0

    async def _begin_later(self, recovery: Recovery, first: int, seq: int | None) -> None:
        """Begin with the oldest readable snapshot behind the forgotten events; without any event, with the newest."""
        found = await self.store.load(self.persistence_id)
        if not found and not first:
            return
        within = [one for one in found if one.seq >= first - 1]
        fit = [one for one in within if seq is None or one.seq <= seq]
        if not fit and within:
            raise NoSuchState(
                f"events up to {first - 1 if first else within[0].seq} of {self.persistence_id!r} are forgotten: its "
                f"earliest state is the one after event {within[-1].seq}, got {seq}"
            )
        recovery.begin_with(fit[::-1] if first else fit)
        if not recovery.machine.seq:
            raise _unreachable(self.persistence_id, first, fit)


def _unreachable(persistence_id: str, first: int, found: list[StoredSnapshot]) -> JournalDamaged:
    upto = first - 1 if first else found[0].seq
    text = f"no snapshot of {persistence_id!r} can be read, and the events up to {upto} are forgotten"
    return JournalDamaged(text, persistence_id, upto)
