"""``casty journal replay`` and ``check`` with ``--against``: the states by two versions of the code, event by event.

Owns the two processes, one for each version, and the comparison of their lines. One line of each is in memory, that is
one state of one id. Which ids, and up to which event, is decided here once, so that writers meanwhile change nothing.
"""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final, cast

import trio

from casty.cli.exits import ExitCode
from casty.cli.hosting import complain
from casty.cli.journal.check import CheckOptions
from casty.cli.journal.code_process import FAILED, OUT_OF_REACH, READY, REFUSED, UNCOVERED, CodeSetup
from casty.cli.journal.plain_values import Difference, differences, json_line, on_one_line, shown, write_line
from casty.cli.journal.stores import StoreName, find
from casty.errors import CastyError, ConfigError
from casty.journal import SLICES, slice_of
from casty.persistence.journal_view import IdEntry, JournalView
from casty.runtime.sourcing.time_travel import NoSuchState

LINE_BYTES_MAX: Final = 256 * 2**20
"""Bytes of one state as JSON; a larger one ends the comparison with an error, before it fills the memory."""
CHANGES_MAX: Final = 100
"""Differences of one id that are written."""
END_WAIT: Final = 5.0
"""Seconds for a process without an answer to end, so that its exit code can be told."""
STATE: Final = b'{"seq":'


@dataclass(frozen=True, slots=True)
class CodePlace:
    """One of the two versions of the code."""

    label: str
    """Folder, as the user wrote it."""
    folder: Path | None
    """None: the working directory."""


def places_of(code: Path | None, against: Path | None) -> tuple[CodePlace, CodePlace]:
    """Return both versions; the one not named is the working directory. ConfigError."""
    for option, folder in (("--code", code), ("--against", against)):
        if folder is not None and not folder.is_dir():
            raise ConfigError(f"{option} must be a folder to import code from, such as a checkout, got {str(folder)!r}")
    if (code or Path()).resolve() == (against or Path()).resolve():
        raise ConfigError(
            f"--code and --against are the same folder, {(code or Path()).resolve()}: name two, such as two checkouts; "
            f"the one not named is the working directory"
        )
    first, second = (CodePlace("." if folder is None else str(folder), folder) for folder in (code, against))
    return first, second


@dataclass(slots=True)
class _CodeProcess:
    """Running process of one version."""

    place: CodePlace
    process: trio.Process
    kept: bytearray = field(default_factory=bytearray)

    @classmethod
    async def start(cls, nursery: trio.Nursery, place: CodePlace, setup: CodeSetup) -> _CodeProcess:
        """Start it; ``-P`` lets no module of the folder stand in for one of casty's own imports."""
        run = partial(
            trio.run_process,
            [sys.executable, "-P", "-m", "casty.cli.journal.code_process"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=None if place.folder is None else str(place.folder),
            check=False,
            start_new_session=True,  # Ctrl-C is for the comparison, and that ends both
        )
        made = cls(place, cast("trio.Process", await nursery.start(run)))
        await made.send(dataclasses.asdict(dataclasses.replace(setup, is_named=place.folder is not None)))
        return made

    async def send(self, request: dict[str, object]) -> None:
        """Send a request; an error shows in the answer."""
        assert self.process.stdin is not None
        try:
            await self.process.stdin.send_all(json_line(request).encode() + b"\n")
        except trio.BrokenResourceError:
            return

    async def line(self) -> bytes:
        """Return the next line. CastyError where the process ended, or the line is too long."""
        assert self.process.stdout is not None
        searched = 0
        while (end := self.kept.find(b"\n", searched)) < 0:
            searched = len(self.kept)
            self._check_length(searched)
            part = await self.process.stdout.receive_some()
            if not part:
                raise await self._ended()
            self.kept += part
        self._check_length(end)
        found = bytes(self.kept[:end])
        del self.kept[: end + 1]
        if found.startswith(b'{"%s":' % REFUSED.encode()):
            raise ConfigError(f"the code in {self.place.label}: {json.loads(found)[REFUSED]}")
        return found

    def _check_length(self, length: int) -> None:
        if length > LINE_BYTES_MAX:
            raise CastyError(f"a line of the code in {self.place.label} has more than {LINE_BYTES_MAX} bytes")

    async def _ended(self) -> CastyError:
        with trio.move_on_after(END_WAIT):
            await self.process.wait()
        code = self.process.returncode
        return CastyError(
            f"the process of the code in {self.place.label} ended with exit code {code} before its answer"
        )


@dataclass(slots=True)
class Compared:
    """Account of a comparison."""

    ids: int = 0
    events: int = 0
    differ: int = 0
    failed: int = 0
    """Ids that neither version can replay."""
    unknown: int = 0
    """Ids without any code given."""
    moved: int = 0
    """Ids that were erased, or of which events were forgotten or a value was replaced, meanwhile."""

    @property
    def is_good(self) -> bool:
        """Whether all ids agree, and not for want of code for any."""
        return not self.differ and not self.failed and (self.ids > 0 or not self.unknown)


@dataclass(slots=True)
class Comparison:
    """Comparison of two versions of the code on one store."""

    store: StoreName
    apps: Sequence[str]
    wire_types: str | None
    places: tuple[CodePlace, CodePlace]
    as_json: bool
    counts: Compared = field(default_factory=Compared)
    sides: list[_CodeProcess] = field(default_factory=list["_CodeProcess"])

    async def run_one(self, name: str, at: int | None, view: JournalView) -> ExitCode:
        """Compare one id; `ExitCode.failed` where its states differ, or neither version can replay it."""
        entry = await find(view, name)
        if at is not None and entry.last and at > entry.last:
            raise NoSuchState(f"the last event of {name!r} is {entry.last}, got {at}")
        return await self._run(partial(self._one_alone, entry, at))

    async def run_all(self, options: CheckOptions, view: JournalView) -> ExitCode:
        """Compare the chosen ids; as `run_one` for each, and `ExitCode.failed` where none has code."""
        return await self._run(partial(self._each, options, view))

    async def _run(self, compare: Callable[[], Awaitable[None]]) -> ExitCode:
        failure: Exception | None = None
        text = self.store.text if self.store.is_server else str(self.store.path)
        setup = CodeSetup(text, self.store.schema, list(self.apps), self.wire_types, False)
        async with trio.open_nursery() as nursery:
            try:
                self.sides = [await _CodeProcess.start(nursery, place, setup) for place in self.places]
                for side in self.sides:
                    assert READY in json.loads(await side.line())
                await compare()
            except (CastyError, BrokenPipeError) as error:  # raised behind the nursery, which would wrap it
                failure = error
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure
        return ExitCode.ok if self.counts.is_good else ExitCode.failed

    async def _one_alone(self, entry: IdEntry, at: int | None) -> None:
        ends = await self._compare(entry, at)
        for reason in (UNCOVERED, OUT_OF_REACH):
            if ends is not None and any(reason in end for end in ends):
                raise ConfigError(str(next(end[reason] for end in ends if reason in end)))
        if self.as_json:
            write_line(json_line(dataclasses.asdict(self.counts)))
        elif not self.counts.differ and not self.counts.failed:
            one, other = (on_one_line(place.label) for place in self.places)
            what = f"{self.counts.events} events" if entry.last else f"its value at revision {entry.revision}"
            write_line(f"{on_one_line(entry.persistence_id)}: {one} and {other} agree on {what}")

    async def _each(self, options: CheckOptions, view: JournalView) -> None:
        counts = self.counts
        async for entry in view.entries(options.prefix):
            if len(options.slices) < SLICES and slice_of(entry.persistence_id) not in options.slices:
                continue
            if counts.ids == options.limit:
                break
            ends = await self._compare(entry, None)
            if ends is not None and all(UNCOVERED in end for end in ends):
                counts.unknown += 1
                counts.ids -= 1
        text = f"{counts.ids} ids, {counts.differ} differ, {counts.failed} failed by both; {counts.events} events agree"
        if counts.unknown:
            text += f"; {counts.unknown} ids are of kinds that no --app names, and were not compared"
        if counts.moved:
            text += f"; {counts.moved} ids changed meanwhile, and were not compared"
        if self.as_json:
            write_line(json_line(dataclasses.asdict(counts)))
        elif counts.is_good:
            write_line(text)
        else:
            complain(text)

    async def _compare(self, entry: IdEntry, at: int | None) -> list[dict[str, Any]] | None:
        """Compare one id; return how both ended, None where they differ."""
        self.counts.ids += 1
        upto = at if at is not None else entry.last or None
        for side in self.sides:
            await side.send({"id": entry.persistence_id, "upto": upto})
        rows = [await side.line() for side in self.sides]
        compared = 0
        while all(row.startswith(STATE) for row in rows):
            if rows[0] != rows[1]:
                one, other = (json.loads(row) for row in rows)
                if one["seq"] != other["seq"]:  # it begins later: events were forgotten, or a snapshot is unreadable
                    late = int(one["seq"] > other["seq"])
                    rows[late] = await self.sides[late].line()
                    continue
                if any(True for _ in differences(one["state"], other["state"])):
                    self.counts.events += max(compared - 1, 0)  # the first state is behind no event
                    self._tell_states(entry, one, other)
                    await self._drain(rows)
                    return None
            compared += 1
            rows = [await side.line() for side in self.sides]
        self.counts.events += max(compared - 1, 0)
        last = [json.loads(row) for row in rows]
        ends = await self._drain(rows)
        self._judge(entry, last, ends, compared)
        return ends

    async def _drain(self, rows: list[bytes]) -> list[dict[str, Any]]:
        """Read to the end of the id in both, and return how it ended."""
        for place, side in enumerate(self.sides):
            while rows[place].startswith(STATE):
                rows[place] = await side.line()
        return [json.loads(row) for row in rows]

    def _judge(self, entry: IdEntry, last: list[dict[str, Any]], ends: list[dict[str, Any]], compared: int) -> None:
        if all(UNCOVERED in end for end in ends):
            return
        if any(OUT_OF_REACH in end for end in ends):
            self.counts.moved += 1
        elif all(FAILED in end for end in last):
            self.counts.failed += 1
            self._tell(entry, last[0].get("seq"), "neither code can replay it", [], [end[FAILED] for end in last])
        elif any(FAILED in end or UNCOVERED in end for end in last):
            self.counts.differ += 1
            seq = next((end.get("seq") for end in last if FAILED in end), None)
            texts = [str(end.get(FAILED) or end.get(UNCOVERED) or "replayed") for end in last]
            self._tell(entry, seq, "one code can replay it, the other cannot", [], texts)
        elif not compared:
            self.counts.moved += 1

    def _tell_states(self, entry: IdEntry, one: dict[str, Any], other: dict[str, Any]) -> None:
        self.counts.differ += 1
        event = one.get("event")
        what = "the states differ" + (f" from {on_one_line(event)} on" if event else "")
        self._tell(entry, one["seq"], what, list(differences(one["state"], other["state"])), [])

    def _tell(
        self, entry: IdEntry, seq: int | None, what: str, found: Sequence[Difference], errors: Sequence[str]
    ) -> None:
        if self.as_json:
            row: dict[str, object] = {"persistence_id": entry.persistence_id, "seq": seq, "what": what}
            write_line(json_line(row | {"differences": list(map(_as_json, found)), "errors": list(errors)}))
            return
        one, other = (on_one_line(place.label) for place in self.places)
        write_line(f"{on_one_line(entry.persistence_id)}{'' if seq is None else f' at event {seq}'}: {what}")
        for change in found[:CHANGES_MAX]:
            where = on_one_line(change.path or "the state")
            write_line(f"    {where}: {shown(change.before)} by {one}, {shown(change.after)} by {other}")
        if len(found) > CHANGES_MAX:
            write_line(f"    and {len(found) - CHANGES_MAX} more")
        for label, error in zip((one, other), errors, strict=False):
            write_line(f"    {label}: {on_one_line(error)}")


def _as_json(change: Difference) -> dict[str, object]:
    row = change.as_json()
    names = {"before": "code", "after": "against"}
    return {names.get(name, name): value for name, value in row.items()}
