"""Entities under load in processes that are killed: the service, one process of it, and the judgement of the store.

A command stores one to three events and answers with the number of the last one. Each process writes into a file, which
outlives it, what is begun and what is acknowledged: `b NAME COMMAND`, `a NAME COMMAND NUMBER`, and `r` for a refusal.
A command is `WRITER.NUMBER`, and each writer asks one after the other.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from random import Random
from typing import Any, Final

import trio
from outcome import Error, Outcome

import casty
from casty import (
    ActorRef,
    ActorSystem,
    Behaviors,
    CastyError,
    ClusteredActorSystem,
    ClusterSettings,
    Effect,
    EntityKey,
    Every,
    FailureDetectorConfig,
    Fenced,
    SqliteJournal,
    SystemConfig,
    persist,
)
from casty.journal import Claim, Journal, Record
from casty.persistence.postgres import PostgresJournal
from casty.runtime.journaling.append_queue import BegunAppend, append_queue_of
from casty.wire.storing.stored_codec import StoredCodec

ENTITIES: Final = 4
WRITERS: Final = 6
EVENTS_MAX: Final = 3
FREEZE: Final = "freeze"
"""Writer whose command stops its process between the entity's look at the lease and the write."""
SETTINGS: Final = ClusterSettings(
    gossip_interval=0.2,
    heartbeat_interval=0.2,
    stable_after=2.0,
    failure_detector=FailureDetectorConfig(acceptable_heartbeat_pause_ms=2000.0),
)


@casty.event("killed.Noted")
@dataclass(frozen=True)
class Noted:
    """One of the events of a command."""

    command: str
    part: int
    parts: int


@casty.message("killed.Note")
@dataclass(frozen=True)
class Note:
    """Store so many events, and say the number of the last one."""

    command: str
    count: int
    reply_to: ActorRef[int]


KEPT: Final = EntityKey[Note]("kept")


def decide(total: int, note: Note) -> Effect[Noted]:
    events = [Noted(note.command, part, note.count) for part in range(note.count)]
    return persist(*events).reply(note.reply_to, total + note.count)


def apply(total: int, event: Noted) -> int:
    return total + 1


def counter(persistence_id: str | None = None) -> casty.Behavior[Note]:
    """Return the behaviour of one entity."""
    return Behaviors.event_sourced(persistence_id, empty=0, decide=decide, apply=apply, snapshots=Every(20, keep=2))


def is_to_freeze(records: Sequence[Record]) -> bool:
    return any(FREEZE.encode() in record.payload for record in records)


@dataclass
class FrozenAppend:
    """A begun append whose outcome is noted, though it is given up: the node may end before it is known."""

    note: Callable[[BaseException], None]
    done: Callable[[Outcome[None]], None]
    is_given_up: bool = False

    def give_up(self) -> None:
        self.is_given_up = True

    def end(self, told: Outcome[None]) -> None:
        if isinstance(told, Error):
            self.note(told.error)
        if not self.is_given_up:
            self.done(told)


class _Stopping:
    """Journal that stops its process before one write, and tells of its refusal."""

    log: Log

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        is_frozen = is_to_freeze(records)
        if is_frozen:
            os.kill(os.getpid(), signal.SIGSTOP)
        with trio.CancelScope(shield=is_frozen):  # the node may end before the outcome is known
            try:
                await super().append(claim, persistence_id, after, records)  # type: ignore[misc]  # the store's
            except Fenced as fenced:
                if is_frozen:
                    self._note(persistence_id, fenced)
                raise

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[Outcome[None]], None],
    ) -> BegunAppend | None:
        """Do the same on the way that entities take: without it, every append would be awaited."""
        begin: Any = super().begin_append  # type: ignore[misc]  # the store's
        if not is_to_freeze(records):
            return begin(claim, persistence_id, after, records, done)
        os.kill(os.getpid(), signal.SIGSTOP)
        frozen = FrozenAppend(partial(self._note, persistence_id), done)
        return None if begin(claim, persistence_id, after, records, frozen.end) is None else frozen

    def _note(self, persistence_id: str, error: BaseException) -> None:
        if isinstance(error, Fenced):
            self.log.write("f", persistence_id, FREEZE)


class StoppingSqlite(_Stopping, SqliteJournal):
    """A file of SQLite."""


class StoppingPostgres(_Stopping, PostgresJournal):
    """A database of PostgreSQL."""


class Log:
    """Lines that outlive a killed process."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY)

    def write(self, *words: object) -> None:
        os.write(self._file, (" ".join(map(str, words)) + "\n").encode())


@dataclass(frozen=True)
class Store:
    """Place of a store: a file, or a connection string with a schema."""

    place: str
    schema: str = ""

    def journal(self, log: Log) -> StoppingSqlite | StoppingPostgres:
        """Return a journal on it."""
        made = StoppingPostgres(self.place, schema=self.schema) if self.schema else StoppingSqlite(self.place)
        assert append_queue_of(made) is made, "entities would wait for each append, as they do for no store of ours"
        made.log = log
        return made


@dataclass(frozen=True)
class Part:
    """One process: its number, the number of all, and what tells its writers from those before."""

    number: int
    cycle: str
    ports: tuple[int, ...] = ()
    """Ports of a cluster's nodes; none of a lone process."""


class _Process:
    def __init__(self, part: Part, log: Log) -> None:
        self._part = part
        self._log = log
        self.ask: Callable[[str, Callable[[ActorRef[int]], Note]], Any]

    async def run(self, journal: Journal) -> None:
        part = self._part
        config = SystemConfig(journal=journal)
        system: AbstractAsyncContextManager[Any]
        if part.ports:
            seeds = [("127.0.0.1", port) for port in part.ports]
            node = dict(host="127.0.0.1", port=part.ports[part.number], node_id=f"n{part.number}", seed_nodes=seeds)
            system = ClusteredActorSystem(name="killed", settings=SETTINGS, config=config, **node)  # type: ignore[arg-type]  # four settings
        else:
            system = ActorSystem(config=config)
        async with system as running, trio.open_nursery() as nursery:
            names = [f"{number}" for number in range(ENTITIES)]
            refs: dict[str, Any]
            if part.ports:
                running.spawn(Behaviors.sharded(lambda _: counter(), KEPT, num_shards=3), "kept")
                refs = {f"kept/{name}": running.entity(KEPT, name) for name in names}
            else:
                refs = {f"lone{name}": running.spawn(counter(f"lone{name}"), f"lone{name}") for name in names}
            for writer in range(WRITERS):
                nursery.start_soon(self._write, running, refs, f"{part.cycle}-{part.number}-{writer}")
            nursery.start_soon(self._obey, running, refs)
            nursery.start_soon(end_with, os.getppid())

    async def _write(self, system: Any, refs: dict[str, Any], writer: str) -> None:
        rng, number = Random(writer), 0
        while True:
            number += 1
            await self._ask(system, refs, rng.choice([*refs]), f"{writer}.{number}", rng.randint(1, EVENTS_MAX))

    async def _obey(self, system: Any, refs: dict[str, Any]) -> None:
        """At the signal, freeze the owner of an entity, wherever that is."""
        with trio.open_signal_receiver(signal.SIGUSR1) as signals:
            async for _ in signals:
                name = f"kept/{int(self._part.cycle) % ENTITIES}"
                await self._ask(system, refs, name, f"{FREEZE}.1", 1)

    async def _ask(self, system: Any, refs: dict[str, Any], name: str, command: str, count: int) -> None:
        self._log.write("b", name, command)
        try:
            last = await system.ask(refs[name], partial(Note, command, count), timeout=5.0)
        except CastyError as error:
            self._log.write("r", name, command, type(error).__name__)
            await trio.sleep(0.02)
        else:
            self._log.write("a", name, command, last)


async def end_with(parent: int) -> None:
    """End this process once its parent has ended, whoever killed that."""
    while os.getppid() == parent:  # noqa: ASYNC110  # a process
        await trio.sleep(0.5)
    os.kill(os.getpid(), signal.SIGKILL)


def serve(part: Part, store: Store, path: Path) -> None:
    """Run one process until it is killed."""
    log = Log(path)

    async def main() -> None:
        await _Process(part, log).run(store.journal(log))

    trio.run(main)


@dataclass
class Account:
    """All that was begun and acknowledged on one store, and what is wrong with the store."""

    begun: dict[str, set[str]] = field(default_factory=dict[str, set[str]])
    acknowledged: dict[str, dict[str, int]] = field(default_factory=dict[str, dict[str, int]])
    faults: list[str] = field(default_factory=list[str])
    stored: int = 0

    def read(self, path: Path) -> list[list[str]]:
        """Take the file of a process, and return its lines; the last one may be cut."""
        text = path.read_text() if path.exists() else ""
        lines = [line.split() for line in text.splitlines(keepends=True) if line.endswith("\n")]
        for kind, name, command, *more in lines:
            if kind == "b":
                self.begun.setdefault(name, set()).add(command)
            elif kind == "a":
                self.acknowledged.setdefault(name, {})[command] = int(more[0])
        return lines

    async def judge(self, store: Store) -> None:
        """Read the store: what was acknowledged is there, whole and in order, and nothing that nobody asked for."""
        journal, codec = store.journal(Log(Path(os.devnull))), StoredCodec(())
        codec.register(Noted)
        self.stored = 0
        async with journal.open():
            for name in sorted(self.begun):
                rows = [(row.seq, codec.decode(row.record)) async for row in journal.read(name)]
                self.stored += len(rows)
                self._judge(name, rows)

    def _judge(self, name: str, rows: Sequence[tuple[int, Any]]) -> None:
        ends: dict[str, int] = {}
        place = 0
        if [seq for seq, _ in rows] != [*range(1, len(rows) + 1)]:
            self.faults.append(f"{name}: the numbers have a gap")
        while place < len(rows):
            command, parts = rows[place][1].command, rows[place][1].parts
            found = [event for _, event in rows[place : place + parts]]
            if found != [Noted(command, part, parts) for part in range(parts)]:
                self.faults.append(f"{name}: {command} is not whole: {found}")
            if command in ends:
                self.faults.append(f"{name}: {command} is stored twice")
            if command not in self.begun[name]:
                self.faults.append(f"{name}: nobody asked for {command}")
            place += parts
            ends[command] = place
        for command, last in self.acknowledged.get(name, {}).items():
            if ends.get(command) != last:
                self.faults.append(f"{name}: {command} was acknowledged as {last}, and is {ends.get(command)}")
        self._judge_order(name, ends)

    def _judge_order(self, name: str, commands: Iterable[str]) -> None:
        newest: dict[str, int] = {}
        for command in commands:
            writer, _, number = command.rpartition(".")
            if int(number) <= newest.get(writer, 0) and writer != FREEZE:
                self.faults.append(f"{name}: {command} is behind {newest[writer]}")
            newest[writer] = int(number)
