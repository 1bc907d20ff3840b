"""Reading of one entity's history into its machine: snapshot, upcasts, events, `apply`.

Owns the only way from stored rows to a state: an actor starts by it, and tools look at earlier states by it. It does
not know claims, commands or tasks, and writes nothing.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol, TypeAlias

import trio

from casty.errors import DecodeError, JournalDamaged
from casty.journal import HistoryStore, Record, Stored, StoredHistory, StoredSnapshot
from casty.protocol.event_sourcing.machine import SourcedMachine
from casty.wire.storing.stored_codec import StoredCodec

PAGE_EVENTS: Final = 256
"""Events applied in a row before others have their turn."""

Look: TypeAlias = Callable[[Stored, object, object], None]
"""Function of a stored event, the event in it, and the state after it."""


class EventSource(Protocol):
    """Events of a journal, for readers."""

    def read(self, persistence_id: str, after: int = 0) -> AsyncIterator[Stored]:
        """Read the events of an id in order."""
        ...


class SnapshotSource(Protocol):
    """Snapshots of a store, for readers."""

    async def load(self, persistence_id: str) -> Sequence[StoredSnapshot]:
        """Read the snapshots of an id, the newest first."""
        ...


class StateSource(Protocol):
    """Last values of a store, for readers."""

    async def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Read a value and its revision."""
        ...


@dataclass(frozen=True, slots=True)
class Recovery:
    """Way of one entity from its rows to its state."""

    machine: SourcedMachine
    """Recovering."""
    codec: StoredCodec
    state_type: object
    """Type of its states, for the codec."""
    log_of: Callable[[], logging.Logger | logging.LoggerAdapter[Any]]
    """Maker of the taker of the warnings about snapshots, which hardly any needs."""

    async def load_value(self, states: StateSource) -> None:
        """Read the last value. Raises JournalDamaged where it cannot be read."""
        machine = self.machine
        found = await states.load_state(machine.persistence_id)
        if found is None:
            return
        revision, record = found
        try:
            machine.restore(revision, self.codec.decode_state(self.state_type, record))
        except DecodeError as error:
            raise self._damaged("the state", revision, error) from error

    async def load_all(
        self, events: EventSource, snapshots: SnapshotSource | None, histories: HistoryStore | None = None
    ) -> None:
        """Read the newest readable snapshot, and the events behind it. Raises JournalDamaged."""
        history = None if histories is None else await histories.history(self.machine.persistence_id)
        if history is None:
            skipped = 0 if snapshots is None else await self._load_snapshot(snapshots)
            await self.load_events(events)
        else:
            skipped = await self._load_history(history, events)
        if self.machine.seq < skipped:
            raise JournalDamaged(
                f"no snapshot of {self.machine.persistence_id!r} can be read, and the events up to {skipped} are "
                "forgotten",
                self.machine.persistence_id,
                skipped,
            )

    async def load_events(self, events: EventSource, upto: int | None = None, look: Look | None = None) -> None:
        """Apply the events behind the state of the machine, up to a number or the last one. Raises JournalDamaged."""
        machine = self.machine
        if upto is not None and machine.seq >= upto:
            return
        rows = events.read(machine.persistence_id, machine.seq)
        try:
            async for stored in rows:
                try:
                    event = self.codec.decode(stored.record)
                except DecodeError as error:
                    raise self._damaged("event", stored.seq, error) from error
                machine.replay(stored.seq, event)
                if look is not None:
                    look(stored, event, machine.state)
                if stored.seq == upto:
                    break
                if not machine.seq % PAGE_EVENTS:
                    await trio.lowlevel.checkpoint()
        finally:
            close: Any = getattr(rows, "aclose", None)
            if close is not None:
                with trio.CancelScope(shield=True):
                    await close()

    async def _load_history(self, history: StoredHistory, events: EventSource) -> int:
        """Begin with the history of one look, and read on from its end; return as `begin_with` does."""
        machine, decode = self.machine, self.codec.decode_fields
        self._check(history)
        skipped, seq = self.begin_with(history.snapshots), history.first
        if machine.seq + 1 != seq:  # the newest snapshot was passed over: events before these are needed
            await self.load_events(events)
            return skipped
        for name, version, payload in zip(history.names, history.versions, history.payloads, strict=True):
            try:
                event = decode(name, version, payload)
            except DecodeError as error:
                raise self._damaged("event", seq, error) from error
            machine.replay(seq, event)
            seq += 1
        if not history.is_whole:
            await self.load_events(events)
        return skipped

    def _check(self, history: object) -> None:
        """Raise JournalDamaged where a store of somebody's own gives no such history as `HistoryStore` promises."""
        expected = found = ""
        if not isinstance(history, StoredHistory):
            expected, found = "a StoredHistory or None", repr(history)[:100]
        else:
            lengths = len(history.names), len(history.versions), len(history.payloads)
            numbers = [each.seq for each in history.snapshots]
            if len({*lengths}) > 1:
                expected = "a name, a version and a payload for each event"
                found = "{} names, {} versions, {} payloads".format(*lengths)
            elif numbers != sorted({*numbers}, reverse=True):
                expected, found = "each snapshot once, the newest first", f"snapshots {numbers}"
        if expected:
            persistence_id = self.machine.persistence_id
            raise JournalDamaged(
                f"the store gives a wrong history of {persistence_id!r}: expected {expected}, found {found}: "
                "hold it to casty.testing.HISTORY_PROMISES, or leave its method history out",
                persistence_id,
                0,
            )

    def begin_with(self, found: Sequence[StoredSnapshot]) -> int:
        """Begin with the first readable of some snapshots; return the number of the first one passed over, or 0."""
        machine, skipped = self.machine, 0
        for stored in found:
            try:
                state = self.codec.decode_state(self.state_type, stored.record)
            except DecodeError as error:
                skipped = skipped or stored.seq
                self.log_of().warning("snapshot %d of %s is passed over: %s", stored.seq, machine.persistence_id, error)
                continue
            machine.restore(stored.seq, state)
            break
        return skipped

    async def _load_snapshot(self, snapshots: SnapshotSource) -> int:
        """Begin with the newest readable snapshot; return the number of the newest one passed over."""
        persistence_id = self.machine.persistence_id
        try:
            found = await snapshots.load(persistence_id)
        except JournalDamaged as damage:  # its number matters: the events up to there may be forgotten
            self.log_of().warning("no snapshot of %s can be read: %s", persistence_id, damage)
            return damage.seq
        return self.begin_with(found)

    def _damaged(self, what: str, seq: int, error: DecodeError) -> JournalDamaged:
        persistence_id = self.machine.persistence_id
        return JournalDamaged(f"{what} {seq} of {persistence_id!r} cannot be read: {error}", persistence_id, seq)
