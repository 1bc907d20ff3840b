"""A store in virtual time with a disk, weather and power cuts, for several nodes of a simulation: `SimulatedJournal`.

Owns when a change is written, when it is on the disk, and when the caller learns it: three moments, between them all of
the others' changes, a power cut or a fault. The rules of a change are those of the store in memory.
"""

from __future__ import annotations

import copy
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final, Literal, Self, TypeVar, get_args

import trio
from outcome import Error, Outcome, Value

from casty.errors import JournalError, JournalUnavailable, JournalUncertain
from casty.journal import Claim, Record
from casty.persistence.arguments import check_append
from casty.persistence.checked_journal import NOT_OPEN, OPEN_ALREADY
from casty.persistence.table_store import LIGHT, AppendChange, ChangeSize, StoreTables, TableJournal
from casty.persistence.tables import MemoryTables
from casty.runtime.journaling.append_queue import BegunAppend

T = TypeVar("T")

JournalFaultName = Literal["unavailable", "uncertain", "slow", "torn", "damaged"]
"""Faults of a `SimulatedJournal`."""

SLOW_FACTOR: Final = 100
LATE_MAX: Final = 5.0
"""Seconds by which an uncertain change may come after its caller was told."""
FORGETFUL_SYNC_RATE: Final = 0.1
FULL_RATE: Final = 0.2
"""Part of the begun appends without room, so that both ways of appending take part in each play."""

logger = logging.getLogger("casty.testing")


class SimulatedJournal(TableJournal):
    """A `casty.Journal`, `casty.SnapshotStore` and `casty.StateStore` in virtual time, from a seed.

    >>> from casty import Record
    >>> journal = SimulatedJournal(seed=7)
    >>> of_another_node = journal.handle()
    >>> of_another_node.fault("uncertain", 0.1)

    A change is written, then synced, then told, each after a latency drawn from the seed; readers see synced changes
    only. One store serves all nodes of a simulation: the first journal makes it, `handle` gives the others theirs. It
    is for Trio's autojump clock, or for the clock of a simulation: in real time it waits.

    Parameters:
        seed: Seed of latencies, faults, tokens and the store's identity.
        latency: Longest time of each of the three steps, in seconds.
        is_forgetful: Acknowledge before syncing, as a lying disk does: tests of a service's durability must notice it.

    Raises:
        ValueError: ``latency`` is negative.
    """

    def __init__(self, *, seed: int = 1, latency: float = 0.002, is_forgetful: bool = False) -> None:
        if not latency >= 0:
            raise ValueError(f"latency must be at least 0 seconds, got {latency!r}")
        self._disk = SimulatedDisk(random.Random(seed), latency, is_forgetful=is_forgetful)
        self._rates: dict[str, float] = {}
        self._is_open = False

    @property
    def is_used(self) -> bool:
        """Whether anything was claimed, settled or stored in the store."""
        return self._disk.is_used

    def handle(self) -> Self:
        """Make another journal on the same store, without the faults of this one, for another node.

        Returns:
            The journal of the other node.
        """
        other = type(self)()
        other._disk = self._disk
        return other

    def fault(self, name: JournalFaultName, rate: float = 1.0) -> None:
        """Make calls of this journal fail from here on, by chance.

        - ``unavailable``: the call is refused, and nothing is written.
        - ``uncertain``: a change ends as `casty.JournalUncertain`. It is never written, or at once, or up to 5 s later
          if its claim still holds by then.
        - ``slow``: the call takes 100 times as long.
        - ``torn``: a power cut tears the last row, and the next opening warns of it.
        - ``damaged``: an event is unreadable once it was written.

        Parameters:
            name: Name of the fault.
            rate: Part of the calls, 0 for none to 1 for all.

        Raises:
            ValueError: There is no such fault, or the rate is not from 0 to 1.
        """
        if name not in get_args(JournalFaultName):
            raise ValueError(f"expected a fault of {', '.join(get_args(JournalFaultName))}, got {name!r}")
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be from 0 to 1, got {rate!r}")
        self._rates[name] = rate

    def crash(self) -> None:
        """Cut the power of the store: a part of the changes not synced yet, the last ones, is lost.

        Calls under way end as `casty.JournalUncertain`. The store is there again at once.
        """
        self._disk.lose_power(tears=self._strikes("torn"))

    def damage(self, persistence_id: str, seq: int) -> None:
        """Make one event unreadable.

        Parameters:
            persistence_id: Of the event.
            seq: Its number.
        """
        self._disk.damage(persistence_id, seq)

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        """Open the journal for a block.

        Yields:
            Nothing: the journal is used itself.

        Raises:
            RuntimeError: The journal is open already.
        """
        if self._is_open:
            raise RuntimeError(OPEN_ALREADY.format(self))
        self._is_open = True
        try:
            if self._disk.mend():
                logger.warning("the last row of the simulated store was torn: it was put aside")
            yield
        finally:
            self._is_open = False

    def begin_append(
        self,
        claim: Claim,
        persistence_id: str,
        after: int,
        records: Sequence[Record],
        done: Callable[[Outcome[None]], None],
    ) -> BegunAppend | None:
        """Begin an append, and have its outcome told: for entities of this package, as the stores on disks do.

        Parameters:
            claim: Of the scope of the persistence id.
            persistence_id: Of the events.
            after: Number of the last event of this id.
            records: At least one.
            done: Function of the outcome, called in Trio's thread; it must not block or raise.

        Returns:
            The append, to be given up; the store goes on with it all the same. None where the seed leaves no room.

        Raises:
            ValueError: An argument is out of its bounds.
            RuntimeError: The journal is not open.
        """
        check_append(claim, persistence_id, after, records)
        if not self._is_open:
            raise RuntimeError(NOT_OPEN.format(self))
        if self._disk.rng.random() < FULL_RATE:
            return None
        change = AppendChange(claim, persistence_id, after, records, self._read_clock())
        append = SimulatedAppend(partial(self._change, change, change.size), done)
        trio.lowlevel.spawn_system_task(append.run)  # a store does not stop with its clients
        return append

    async def _change(self, act: Callable[[StoreTables], T], size: ChangeSize = LIGHT) -> T:
        disk = self._disk
        await self._pass()
        fate = disk.rng.choice(("never", "now", "late")) if self._strikes("uncertain") else ""
        if fate == "late":
            disk.write_late(act)
        if fate in ("never", "late"):
            raise JournalUncertain("the connection was lost while it committed (simulated)")
        result = disk.write(act)
        if size is not LIGHT and self._strikes("damaged"):
            disk.damage_last()
        power = disk.cuts
        if not disk.is_forgetful:
            await self._wait()
            if disk.cuts != power:
                raise JournalUncertain("the power was cut while it committed (simulated)")
            disk.sync()
            await self._wait()
        elif disk.rng.random() < FORGETFUL_SYNC_RATE:
            disk.sync()
        if fate:
            raise JournalUncertain("the connection was lost after it committed (simulated)")
        return result

    async def _look(self, act: Callable[[StoreTables], T]) -> T:
        await self._pass()
        return act(self._disk.visible())

    async def _pass(self) -> None:
        """Wait for the way to the store."""
        if not self._is_open:
            raise RuntimeError(NOT_OPEN.format(self))
        await self._wait()
        if self._strikes("unavailable"):
            raise JournalUnavailable("the store cannot be reached (simulated)")

    async def _wait(self) -> None:
        factor = SLOW_FACTOR if self._strikes("slow") else 1
        await trio.sleep(self._disk.rng.uniform(0, self._disk.latency) * factor)

    def _strikes(self, name: JournalFaultName) -> bool:
        rate = self._rates.get(name, 0.0)
        return rate > 0 and self._disk.rng.random() < rate

    def _make_token(self) -> bytes:
        return self._disk.rng.randbytes(16)

    def _read_clock(self) -> float:
        return trio.current_time()

    def __repr__(self) -> str:
        faults = "".join(f" {name}={rate:g}" for name, rate in sorted(self._rates.items()) if rate)
        return f"<SimulatedJournal {self._disk.ids} ids{faults}>"


class SimulatedAppend:
    """Append in the hands of the store, and the function of its outcome."""

    def __init__(self, change: Callable[[], Awaitable[None]], done: Callable[[Outcome[None]], None]) -> None:
        self._change = change
        self._done: Callable[[Outcome[None]], None] | None = done

    def give_up(self) -> None:
        """Tell nobody of the outcome."""
        self._done = None

    async def run(self) -> None:
        """Make it, and tell of the outcome."""
        told: Outcome[None] = Value(None)
        try:
            await self._change()
        except Exception as error:
            told = Error(error)
        if self._done is not None:
            self._done(told)


class SimulatedDisk:
    """Disk of one store: written changes in a cache, and synced ones.

    Parameters:
        rng: Chance of the whole store.
        latency: Longest time of a step.
        is_forgetful: Whether changes are told before they are synced.
    """

    def __init__(self, rng: random.Random, latency: float, *, is_forgetful: bool) -> None:
        self.rng: random.Random = rng
        self.latency: float = latency
        self.is_forgetful: bool = is_forgetful
        self.cuts: int = 0
        """Power cuts so far."""
        identity = rng.randbytes(8).hex()
        self._written, self._synced = MemoryTables(identity), MemoryTables(identity)
        self._cache: list[Callable[[StoreTables], object]] = []
        self._late: list[tuple[float, Callable[[StoreTables], object]]] = []
        self._is_torn = self._is_used = False

    @property
    def is_used(self) -> bool:
        """Whether there was any change, written or lost."""
        return self._is_used

    @property
    def ids(self) -> int:
        """Persistence ids on the disk, at any time and without a clock."""
        return len(self._synced.kept)

    def visible(self) -> MemoryTables:
        """Return the tables as readers see them."""
        self._land()
        return self._written if self.is_forgetful else self._synced

    def write(self, act: Callable[[StoreTables], T]) -> T:
        """Make a change in the cache; a refusal is raised."""
        self._is_used = True
        self._land()
        result = act(self._written)
        self._cache.append(act)
        return result

    def write_late(self, act: Callable[[StoreTables], object]) -> None:
        """Let a change come some seconds later, when nobody waits for it."""
        self._late.append((trio.current_time() + self.rng.uniform(0, LATE_MAX), act))

    def sync(self) -> None:
        """Bring all changes in the cache to the disk."""
        for act in self._cache:
            act(self._synced)
        self._cache.clear()

    def lose_power(self, *, tears: bool) -> None:
        """Lose changes of the cache, the last ones; the first ones may have been written out."""
        kept = self.rng.randint(0, len(self._cache)) if self._cache and not self.is_forgetful else 0
        self._is_torn = tears and kept < len(self._cache)
        del self._cache[kept:]
        self.sync()
        self._written = copy.deepcopy(self._synced)
        self._late.clear()
        self.cuts += 1

    def mend(self) -> bool:
        """Put a torn last row aside; return whether there was one."""
        was_torn, self._is_torn = self._is_torn, False
        return was_torn

    def damage(self, persistence_id: str, seq: int) -> None:
        """Make one event unreadable."""
        self._written.damaged.add((persistence_id, seq))
        self._synced.damaged.add((persistence_id, seq))

    def damage_last(self) -> None:
        """Make the last written event unreadable."""
        last = self._written.log[-1] if self._written.log else None
        if last is not None:
            self.damage(last.persistence_id, last.seq)

    def _land(self) -> None:
        """Make the late changes of this time, as far as they are not refused by now."""
        now = trio.current_time()
        due = [act for at, act in self._late if at <= now]
        self._late = [(at, act) for at, act in self._late if at > now]
        for act in due:
            try:
                act(self._written)
            except JournalError as refusal:
                logger.debug("a late change was refused: %s", refusal)
            else:
                self._cache.append(act)
