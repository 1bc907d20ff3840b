"""``casty journal check``: all ids of a journal replayed by today's code, before it is deployed.

Owns the choice of ids, the count and the progress. One id at a time is in memory, and of that one its state; a failure
is written when it is found.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Final

from casty.cli.exits import ExitCode
from casty.cli.hosting import complain
from casty.cli.journal.apps import App, app_of
from casty.cli.journal.plain_values import PlainValues, differences, json_line, on_one_line, shown, write_line
from casty.errors import ConfigError, DecodeError, JournalDamaged
from casty.journal import SLICES, Stored, slice_of
from casty.persistence.journal_view import IdEntry, JournalView
from casty.runtime.sourcing.sourced_behavior import SourcedBehavior
from casty.runtime.sourcing.time_travel import Replay
from casty.wire.storing.stored_codec import StoredCodec

PROGRESS_INTERVAL: Final = 5.0
"""Seconds between two lines of progress; one where the terminal shows them in place."""
SLICE_FORM: Final = f"--slice is a slice of 0 to {SLICES - 1}, or some, as 0-63, got {{!r}}"


@dataclass(frozen=True, slots=True)
class CheckOptions:
    """Options of the command line."""

    prefix: str
    slices: range
    limit: int | None
    as_json: bool


@dataclass(slots=True)
class CheckCounts:
    """Account of a check."""

    ids: int = 0
    events: int = 0
    failed: int = 0
    outdated: int = 0
    """Snapshots that differ from their events."""
    unknown: int = 0
    """Ids without any code given."""
    told_at: float = field(default_factory=monotonic)

    def __str__(self) -> str:
        return f"{self.ids} ids, {self.events} events, {self.failed} failed"

    @property
    def is_good(self) -> bool:
        """Whether no id failed, and not for want of code for any."""
        return not self.failed and (self.ids > 0 or not self.unknown)

    def tell_progress(self) -> None:
        """Write a line of progress where it is time."""
        now, is_seen = monotonic(), sys.stderr.isatty()
        if now - self.told_at >= (1.0 if is_seen else PROGRESS_INTERVAL):
            self.told_at = now
            sys.stderr.write(f"\rcasty: {self} " if is_seen else f"casty: {self}\n")
            sys.stderr.flush()


def parse_slices(text: str | None) -> range:
    """Return the slices of ``7`` or ``0-63``; all for None. ConfigError."""
    if text is None:
        return range(SLICES)
    first, mark, last = text.partition("-")
    if not (first.isdecimal() and (last.isdecimal() or not mark)) or len(text) > 9:
        raise ConfigError(SLICE_FORM.format(text))
    found = range(int(first), int(last if mark else first) + 1)
    if not found or found[-1] >= SLICES:
        raise ConfigError(SLICE_FORM.format(text))
    return found


@dataclass(slots=True)
class JournalCheck:
    """A check of one journal.

    Parameters:
        options: Choice of ids.
        apps: Code of the kinds.
        codec: With the taught types.
    """

    options: CheckOptions
    apps: Sequence[App]
    codec: StoredCodec
    counts: CheckCounts = field(default_factory=CheckCounts)
    cluster: str | None = None
    """Name of the cluster whose store it is, None before any has used it."""

    async def run(self, view: JournalView) -> ExitCode:
        """Replay each chosen id; `ExitCode.failed` where one fails, or none has code: a gate must not pass unseen."""
        options, counts = self.options, self.counts
        self.cluster = await view.cluster()
        async for entry in view.entries(options.prefix):
            if len(options.slices) < SLICES and slice_of(entry.persistence_id) not in options.slices:
                continue
            app = app_of(self.apps, entry)
            if app is None:
                counts.unknown += 1
                continue
            if counts.ids == options.limit:
                break
            counts.ids += 1
            await self._check_one(entry, app, view)
            counts.tell_progress()
        self._sum_up()
        return ExitCode.ok if counts.is_good else ExitCode.failed

    async def _check_one(self, entry: IdEntry, app: App, view: JournalView) -> None:
        try:
            behavior = app.behavior_of(entry)
        except ConfigError as error:  # of the code alone, for this id
            self._failed(entry, None, str(error))
            return
        snapshots = await _SnapshotsOfOne.load(self, behavior, entry, view) if entry.snapshots else None
        applied = 0

        def look(stored: Stored, _: object, state: object) -> None:
            nonlocal applied
            applied += 1
            if snapshots is not None:
                snapshots.compare(stored.seq, state)

        try:
            await Replay(behavior, entry.persistence_id, self.codec, view).to(look=look, first=entry.first)
        except JournalDamaged as damage:
            self._failed(entry, damage.seq, str(damage))
        self.counts.events += applied

    def _failed(self, entry: IdEntry, seq: int | None, why: str) -> None:
        self.counts.failed += 1
        if self.options.as_json:
            write_line(json_line({"persistence_id": entry.persistence_id, "seq": seq, "error": why}))
        else:
            at = "" if seq is None else f" at {seq}"
            write_line(f"{on_one_line(entry.persistence_id)} fails{at}: {on_one_line(why)}")

    def outdated(self, entry: IdEntry, seq: int, why: str) -> None:
        """Tell of a snapshot with another state than today's code makes of the events up to it."""
        self.counts.outdated += 1
        if self.options.as_json:
            write_line(json_line({"persistence_id": entry.persistence_id, "snapshot": seq, "difference": why}))
        else:
            write_line(f"{on_one_line(entry.persistence_id)}: snapshot {seq} differs from its events: {why}")

    def _sum_up(self) -> None:
        counts = self.counts
        more = [str(counts)]
        if counts.outdated:
            more.append(f"{counts.outdated} snapshots differ from their events, and actors start from the snapshots")
        if counts.unknown:
            more.append(f"{counts.unknown} ids are of kinds that no --app names, and were not checked")
        if self.cluster is not None:
            more.append(f"the store is that of the cluster {on_one_line(self.cluster)}")
        if self.options.as_json:
            names = ("ids", "events", "failed", "outdated", "unknown")
            write_line(json_line({name: getattr(counts, name) for name in names} | {"cluster": self.cluster}))
        elif counts.is_good:
            write_line("; ".join(more))
        else:
            complain("; ".join(more))


@dataclass(slots=True)
class _SnapshotsOfOne:
    """Readable snapshots of one id, to be compared with the states of a replay."""

    check: JournalCheck
    entry: IdEntry
    plain: PlainValues
    states: dict[int, object]

    @classmethod
    async def load(
        cls, check: JournalCheck, behavior: SourcedBehavior[object], entry: IdEntry, view: JournalView
    ) -> _SnapshotsOfOne:
        """Read the snapshots; an unreadable one is passed over by actors, and so here."""
        state_type, states = behavior.functions.state_type(behavior.empty), dict[int, object]()
        try:
            found = await view.load(entry.persistence_id)
        except JournalDamaged:
            found = ()
        for snapshot in found:
            try:
                states[snapshot.seq] = check.codec.decode_state(state_type, snapshot.record)
            except DecodeError:
                continue
        return cls(check, entry, PlainValues(check.codec), states)

    def compare(self, seq: int, state: object) -> None:
        """Compare the state after an event with the snapshot of it, if there is one."""
        if seq not in self.states:
            return
        for first in differences(self.plain.of(self.states.pop(seq)), self.plain.of(state)):
            place = first.path or "the state"
            why = f"{place} is {shown(first.before)} there, and {shown(first.after)} by today's code"
            self.check.outdated(self.entry, seq, why)
            return
