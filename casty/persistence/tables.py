"""The content of a store in memory, and the rules of its changes.

Owns fences, events, snapshots, values and settings, and each change of them as one call, done whole or
not at all. It must not know tasks, time or disks: the time of a record and the tokens of claims are arguments, so the
same calls make the same store.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field

from casty.errors import Fenced, JournalDamaged, SequenceConflict
from casty.journal import Claim, Record, Stored, StoredHistory, StoredSnapshot, slice_of
from casty.persistence.journal_view import IdEntry
from casty.persistence.refusals import void_claim, wrong_deletion, wrong_event, wrong_revision, wrong_scope


@dataclass(slots=True)
class Kept:
    """All there is of one persistence id."""

    scope: str
    last: int = 0
    """Number of its last event, kept when the event is forgotten."""
    events: dict[int, Stored] = field(default_factory=dict[int, Stored])
    snapshots: dict[int, Record] = field(default_factory=dict[int, Record])
    value: tuple[int, Record] | None = None

    def is_empty(self) -> bool:
        """Return whether nothing is stored, though something may have been."""
        return not self.events and not self.snapshots and self.value is None


class MemoryTables:
    """StoreTables of one store in memory.

    Parameters:
        identity: Identity of the store.
    """

    def __init__(self, identity: str) -> None:
        self._identity = identity
        self.log: list[Stored | None] = []
        """Events by offset, from 1; None where one was forgotten."""
        self.kept: dict[str, Kept] = {}
        self.damaged: set[tuple[str, int]] = set()
        """Unreadable events, by id and number, where a test has damaged some."""
        self._settled: dict[str, str] = {}
        self.fences: dict[str, tuple[Claim, str]] = {}
        """The newest claim of each scope, with its holder."""

    def identify(self) -> str:
        """Return the identity of the store."""
        return self._identity

    def settle(self, name: str, value: str) -> str:
        """Keep the first value of a name, and return it."""
        return self._settled.setdefault(name, value)

    def setting(self, name: str) -> str | None:
        """Return the value settled under a name, None without one."""
        return self._settled.get(name)

    def claim(self, claimed: Sequence[tuple[str, bytes]], holder: str) -> Sequence[Claim]:
        """Replace the claims of some scopes, each by one with the given token."""
        claims: list[Claim] = []
        for scope, token in claimed:
            before = self.fences.get(scope)
            claims.append(Claim(scope, before[0].number + 1 if before else 1, token))
        self.fences.update((claim.scope, (claim, holder)) for claim in claims)
        return claims

    def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record], at: float) -> None:
        """Append events written at a time, or raise as `casty.journal.Journal.append` does."""
        kept = self._of(claim, persistence_id)
        if kept.last != after:
            raise SequenceConflict(wrong_event(persistence_id, kept.last, after))
        self.kept[persistence_id] = kept
        for seq, record in enumerate(records, after + 1):
            stored = Stored(persistence_id, seq, len(self.log) + 1, record, at)
            self.log.append(stored)
            kept.events[seq] = stored
        kept.last += len(records)

    def page(self, persistence_id: str, after: int, upto: int | None, limit: int) -> tuple[Sequence[Stored], int]:
        """Return events behind a number, up to another or the last one; and the other one, for the next page."""
        kept = self.kept.get(persistence_id)
        if kept is None:
            return [], 0
        upto = kept.last if upto is None else upto
        first = max(after + 1, next(iter(kept.events), upto + 1))
        found = [kept.events[seq] for seq in range(first, min(upto, kept.last, first + limit - 1) + 1)]
        return self._readable(found), upto

    def tail(self, after: int, limit: int, slices: range | None) -> list[Stored]:
        """Return events of all ids behind an offset."""
        found: list[Stored] = []
        for place in range(after, len(self.log)):
            stored = self.log[place]
            if stored is not None and (slices is None or slice_of(stored.persistence_id) in slices):
                found.append(stored)
                if len(found) == limit:
                    break
        return self._readable(found)

    def forget(self, claim: Claim, persistence_id: str, upto: int) -> None:
        """Remove the first events of an id."""
        kept = self._of(claim, persistence_id)
        for seq in [seq for seq in kept.events if seq <= upto]:
            self.log[kept.events.pop(seq).offset - 1] = None

    def erase(self, claim: Claim, persistence_id: str) -> None:
        """Remove all there is of an id but its scope."""
        kept = self._of(claim, persistence_id)
        self.forget(claim, persistence_id, kept.last)
        if persistence_id in self.kept:
            self.kept[persistence_id] = Kept(kept.scope)

    def ids(self, scope_prefix: str, after: str, limit: int) -> Sequence[str]:
        """Return ids with anything stored behind an id, in order."""
        found = (
            name
            for name, kept in self.kept.items()
            if name > after and kept.scope.startswith(scope_prefix) and not kept.is_empty()
        )
        return heapq.nsmallest(limit, found)

    def entries(self, prefix: str, after: str, limit: int) -> Sequence[IdEntry]:
        """Return the rows of ids with anything stored that begin with a text, behind an id, in order."""
        found = (
            name for name, kept in self.kept.items() if name > after and name.startswith(prefix) and not kept.is_empty()
        )
        return [_entry(name, self.kept[name]) for name in heapq.nsmallest(limit, found)]

    def save(self, claim: Claim, persistence_id: str, seq: int, record: Record) -> None:
        """Keep a snapshot."""
        kept = self._of(claim, persistence_id)
        self.kept[persistence_id] = kept
        kept.snapshots[seq] = record

    def load(self, persistence_id: str) -> list[StoredSnapshot]:
        """Return the snapshots of an id, the newest first."""
        kept = self.kept.get(persistence_id)
        return (
            [StoredSnapshot(seq, kept.snapshots[seq]) for seq in sorted(kept.snapshots, reverse=True)] if kept else []
        )

    def history(self, persistence_id: str, limit: int) -> StoredHistory | None:
        """Return the snapshots of an id and events behind the newest; None where one is missing or unreadable."""
        snapshots = self.load(persistence_id)
        after = snapshots[0].seq if snapshots else 0
        try:
            found, last = self.page(persistence_id, after, None, limit)
        except JournalDamaged:
            return None
        numbers = [stored.seq for stored in found]
        if numbers != [*range(after + 1, after + 1 + len(found))] or (not found and last > after):
            return None
        records = [stored.record for stored in found]
        return StoredHistory(
            snapshots,
            [record.name for record in records],
            [record.version for record in records],
            [record.payload for record in records],
            after + len(found) >= last,
        )

    def prune(self, claim: Claim, persistence_id: str, keep: int) -> None:
        """Remove all snapshots of an id but the newest ones."""
        kept = self._of(claim, persistence_id)
        for seq in sorted(kept.snapshots, reverse=True)[keep:]:
            del kept.snapshots[seq]

    def load_state(self, persistence_id: str) -> tuple[int, Record] | None:
        """Return a value with its revision."""
        kept = self.kept.get(persistence_id)
        return kept.value if kept else None

    def store_state(self, claim: Claim, persistence_id: str, revision: int, record: Record) -> None:
        """Keep the next revision of a value."""
        kept = self._of(claim, persistence_id)
        stored = kept.value[0] if kept.value else 0
        if revision != stored + 1:
            raise SequenceConflict(wrong_revision(persistence_id, stored, revision))
        self.kept[persistence_id] = kept
        kept.value = (revision, record)

    def delete_state(self, claim: Claim, persistence_id: str, revision: int) -> None:
        """Remove the value of a revision."""
        kept = self._of(claim, persistence_id)
        stored = kept.value[0] if kept.value else 0
        if revision != stored or kept.value is None:
            raise SequenceConflict(wrong_deletion(persistence_id, stored, revision))
        kept.value = None

    def _readable(self, found: list[Stored]) -> list[Stored]:
        """Return the events before the first damaged one; raise for it where it is the first of all."""
        for place, stored in enumerate(found) if self.damaged else ():
            if (stored.persistence_id, stored.seq) in self.damaged:
                if place == 0:
                    text = f"event {stored.seq} of {stored.persistence_id!r} cannot be read: it is damaged"
                    raise JournalDamaged(text, stored.persistence_id, stored.seq)
                return found[:place]
        return found

    def _of(self, claim: Claim, persistence_id: str) -> Kept:
        """Return the rows of an id, for a valid claim; a new one is not kept yet."""
        newest, holder = self.fences.get(claim.scope, (None, ""))
        if newest != claim:
            raise Fenced(void_claim(claim, newest.number if newest else 0, holder), holder)
        kept = self.kept.get(persistence_id)
        if kept is not None and kept.scope != claim.scope:
            raise SequenceConflict(wrong_scope(persistence_id, kept.scope, claim.scope))
        return kept or Kept(claim.scope)


def _entry(name: str, kept: Kept) -> IdEntry:
    written_at = kept.events[kept.last].written_at if kept.events else None
    revision = kept.value[0] if kept.value else 0
    return IdEntry(name, kept.scope, len(kept.events), kept.last, written_at, len(kept.snapshots), revision)
