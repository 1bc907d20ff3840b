"""``casty journal replay``: the state of an entity after an event, or each event and its changes, by today's code."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from casty.cli.exits import ExitCode
from casty.cli.hosting import complain
from casty.cli.journal.apps import App
from casty.cli.journal.plain_values import (
    PlainValues,
    differences,
    in_words,
    json_line,
    lines_of_value,
    on_one_line,
    shown,
    write_line,
)
from casty.cli.journal.show import iso_time, time_text
from casty.cli.journal.stores import find
from casty.errors import ConfigError, JournalDamaged
from casty.journal import Stored
from casty.persistence.journal_view import IdEntry, JournalView
from casty.runtime.sourcing.time_travel import Replay
from casty.wire.storing.stored_codec import StoredCodec

INDENT: Final = "    "
CHANGES_MAX: Final = 100
"""Changes of one event for people; JSON has all."""


@dataclass(frozen=True, slots=True)
class ReplayOptions:
    """Options of the command line."""

    persistence_id: str
    at: int | None
    every: bool
    as_json: bool


@dataclass(slots=True)
class _Trail:
    """Events as they are applied, written one by one."""

    options: ReplayOptions
    plain: PlainValues
    before: object = None
    """State before the next event, plain."""
    last: Stored | None = None
    count: int = field(default=0)

    def begin(self, seq: int, state: object) -> None:
        """Take the first state."""
        self.before = self.plain.of(state)
        if not self.options.every:
            return
        if self.options.as_json:
            write_line(json_line({"seq": seq, "state": self.before}))
        elif seq:
            write_line(f"begins with the snapshot after event {seq}, since events before it are forgotten")
            self._write_state()

    def look(self, stored: Stored, event: object, state: object) -> None:
        """Take an applied event."""
        self.last = stored
        self.count += 1
        if not self.options.every:
            return
        before, self.before = self.before, self.plain.of(state)
        changes = list(differences(before, self.before))
        record = stored.record
        if self.options.as_json:
            line = {
                "seq": stored.seq,
                "written_at": iso_time(stored.written_at),
                "name": record.name,
                "version": record.version,
                "event": self.plain.of(event),
                "changes": [change.as_json() for change in changes],
                "state": self.before,
            }
            write_line(json_line(line))
            return
        head = f"event {stored.seq}  {time_text(stored.written_at)}  {on_one_line(record.name)} v{record.version}"
        write_line(f"{head}  {shown(self.plain.of(event))}")
        for change in changes[:CHANGES_MAX]:
            write_line(INDENT + in_words(change))
        if len(changes) > CHANGES_MAX:
            write_line(f"{INDENT}and {len(changes) - CHANGES_MAX} more changes")
        if not changes:
            write_line(f"{INDENT}changes nothing")

    def _write_state(self) -> None:
        for line in lines_of_value(self.before):
            write_line(INDENT + line)

    def end(self, entry: IdEntry, seq: int, state: object) -> None:
        """Take the state asked for."""
        if self.options.every:
            return
        self.before = self.plain.of(state)
        if self.options.as_json:
            line = {"persistence_id": entry.persistence_id, "seq": seq, "last_seq": entry.last, "state": self.before}
            write_line(json_line(line))
            return
        name = on_one_line(entry.persistence_id)
        if entry.revision and not entry.last:
            write_line(f"{name} at revision {seq}")
        else:
            when = f", written {time_text(self.last.written_at)}" if self.last else ""
            write_line(f"{name} after event {seq} of {entry.last}{when}")
        self._write_state()


async def replay(options: ReplayOptions, app: App, codec: StoredCodec, view: JournalView) -> ExitCode:
    """Replay one id; `ExitCode.failed` where today's code cannot."""
    entry = await find(view, options.persistence_id)
    if not app.covers(entry):
        whose = f"the id {app.persistence_id!r}" if app.key is None else f"the kind {app.key!r}"
        raise ConfigError(f"{app.target} is of {whose}, and {entry.persistence_id!r} is not: name its code with --app")
    trail = _Trail(options, PlainValues(codec))
    way = Replay(app.behavior_of(entry), entry.persistence_id, codec, view)
    try:
        machine = await way.to(options.at, trail.look, first=entry.first, begin=trail.begin)
    except JournalDamaged as damage:
        if options.as_json:
            write_line(json_line({"seq": damage.seq, "error": str(damage)}))
        complain(str(damage))
        return ExitCode.failed
    trail.end(entry, machine.seq, machine.state)
    return ExitCode.ok
