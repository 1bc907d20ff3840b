"""``casty journal show``: the ids of a journal, or what is stored under one of them, without the user's classes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from casty.cli.asking import GAP
from casty.cli.exits import ExitCode
from casty.cli.journal.plain_values import json_line, on_one_line, plain_of_msgpack, shown, write_line
from casty.cli.journal.stores import find
from casty.journal import Record, Stored
from casty.persistence.journal_view import IdEntry, JournalView

ID_TITLES: Final = ("id", "scope", "events", "last seq", "last written", "snapshots", "revision")
EVENT_TITLES: Final = ("seq", "written", "event", "version", "fields")
WIDTH_ROWS: Final = 256
"""Rows that the widths of a table are taken from; a longer cell further down moves the rest of its line."""


@dataclass(slots=True)
class StreamedTable:
    """A table with aligned columns, written while its rows come."""

    titles: tuple[str, ...]
    _rows: list[tuple[str, ...]] = field(default_factory=list[tuple[str, ...]])
    _widths: list[int] | None = None

    def add(self, row: tuple[str, ...]) -> None:
        """Take a row; the first ones are kept until the widths are known."""
        if self._widths is not None:
            self._write(row)
            return
        self._rows.append(row)
        if len(self._rows) == WIDTH_ROWS:
            self.close()

    def close(self) -> None:
        """Write what is kept."""
        if self._widths is not None:
            return
        table = [self.titles, *self._rows]
        self._widths = [max(len(row[column]) for row in table) for column in range(len(self.titles) - 1)] + [0]
        for row in table:
            self._write(row)
        self._rows.clear()

    def _write(self, row: Iterable[str]) -> None:
        assert self._widths is not None
        write_line(GAP.join(cell.ljust(width) for cell, width in zip(row, self._widths, strict=True)).rstrip())


@dataclass(frozen=True, slots=True)
class ShowOptions:
    """Options of the command line."""

    persistence_id: str | None
    prefix: str
    after: str | None
    limit: int | None
    as_json: bool


async def show(options: ShowOptions, view: JournalView) -> ExitCode:
    """Write the ids, or what one of them has. Raises JournalDamaged at a row that cannot be read."""
    if options.persistence_id is None:
        await _show_ids(options, view)
    else:
        await _show_one(options, await find(view, options.persistence_id), view)
    return ExitCode.ok


async def _show_ids(options: ShowOptions, view: JournalView) -> None:
    table, count = StreamedTable(ID_TITLES), 0
    async for entry in view.entries(options.prefix, options.after or ""):
        if count == options.limit:
            break
        count += 1
        if options.as_json:
            write_line(json_line(_json_of_entry(entry)))
        else:
            table.add(_row_of_entry(entry))
    if not options.as_json:
        table.close()


async def _show_one(options: ShowOptions, entry: IdEntry, view: JournalView) -> None:
    after = int(options.after or 0)
    if not options.as_json:
        write_line(_head(entry))
    async for line in _snapshots_and_value(options, entry, view):
        write_line(line)
    if not entry.events:
        return
    table, count = StreamedTable(EVENT_TITLES), 0
    try:
        async for stored in view.read(entry.persistence_id, after):
            if count == options.limit:
                break
            count += 1
            if options.as_json:
                write_line(json_line(_json_of_event(stored)))
            else:
                table.add(_row_of_event(stored))
    finally:  # a damaged row comes behind the readable ones
        if not options.as_json:
            table.close()


async def _snapshots_and_value(options: ShowOptions, entry: IdEntry, view: JournalView) -> AsyncIterator[str]:
    if entry.snapshots:
        for snapshot in reversed(await view.load(entry.persistence_id)):
            yield _line_of("snapshot", entry, snapshot.seq, snapshot.record, as_json=options.as_json)
    if entry.revision:
        found = await view.load_state(entry.persistence_id)
        if found is not None:
            yield _line_of("state", entry, *found, as_json=options.as_json)


def _line_of(kind: str, entry: IdEntry, number: int, record: Record, *, as_json: bool) -> str:
    """Return the line of a snapshot, or of a value."""
    if as_json:
        return json_line({"kind": kind, "persistence_id": entry.persistence_id, "seq": number, **_json_of(record)})
    name = on_one_line(record.name)
    return f"{kind} {number}: {name} version {record.version}, {shown(plain_of_msgpack(record.payload))}"


def _head(entry: IdEntry) -> str:
    name, scope = on_one_line(entry.persistence_id), on_one_line(entry.scope)
    if not entry.events:
        return f"{name}: no events" + (f", {entry.last} are forgotten" if entry.last else "") + f"; scope {scope}"
    forgotten = f", {entry.first - 1} before them are forgotten" if entry.first > 1 else ""
    return f"{name}: {entry.events} events, {entry.first} to {entry.last}{forgotten}; scope {scope}"


def _row_of_entry(entry: IdEntry) -> tuple[str, ...]:
    return (
        on_one_line(entry.persistence_id),
        on_one_line(entry.scope),
        str(entry.events),
        str(entry.last),
        time_text(entry.written_at),
        str(entry.snapshots),
        str(entry.revision),
    )


def _json_of_entry(entry: IdEntry) -> dict[str, object]:
    return {
        "persistence_id": entry.persistence_id,
        "scope": entry.scope,
        "events": entry.events,
        "last_seq": entry.last,
        "last_written": iso_time(entry.written_at),
        "snapshots": entry.snapshots,
        "revision": entry.revision,
    }


def _row_of_event(stored: Stored) -> tuple[str, ...]:
    record = stored.record
    return (
        str(stored.seq),
        time_text(stored.written_at),
        on_one_line(record.name),
        str(record.version),
        shown(plain_of_msgpack(record.payload)),
    )


def _json_of_event(stored: Stored) -> dict[str, object]:
    return {
        "kind": "event",
        "persistence_id": stored.persistence_id,
        "seq": stored.seq,
        "offset": stored.offset,
        "written_at": iso_time(stored.written_at),
        **_json_of(stored.record),
    }


def _json_of(record: Record) -> dict[str, object]:
    fields = plain_of_msgpack(record.payload)
    return {"name": record.name, "version": record.version, "command_id": record.command_id, "fields": fields}


def time_text(seconds: float | None) -> str:
    """Return a wall clock for people, in UTC; "-" for none."""
    return "-" if seconds is None else (iso_time(seconds) or "-").replace("T", " ").replace("+00:00", "")


def iso_time(seconds: float | None) -> str | None:
    """Return a wall clock in the form of ISO 8601, in UTC; None for none, or for one out of all calendars."""
    try:
        return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    except (ValueError, OverflowError, OSError):  # a damaged clock, or a made one
        return None
