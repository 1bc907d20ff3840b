"""Journal of a system, with the common part of its event-sourced actors.

Owns the claims of lone actors, the bound of recoveries, the codec, and the ids in use. It does not know entities.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import trio

from casty.config import SystemConfig
from casty.errors import ConfigError
from casty.journal import Journal, JournalRewound, SnapshotStore, StateStore
from casty.runtime.journaling.append_queue import append_queue_of
from casty.runtime.journaling.first_attempts import try_at_start
from casty.runtime.journaling.histories import histories_of
from casty.runtime.journaling.scope_claim import ScopeClaim
from casty.wire.storing.stored_codec import StoredCodec
from casty.wire_types import WireType


@dataclass(frozen=True, slots=True)
class EntityScope:
    """Place of an entity in the journal."""

    persistence_id: str
    claim: ScopeClaim
    """Claim of its shard."""


@runtime_checkable
class EntityScoped(Protocol):
    """Context of an entity, with its place in the journal."""

    @property
    def entity_scope(self) -> EntityScope:
        """Place of the entity in the journal."""
        ...


@runtime_checkable
class RewindTeller(Protocol):
    """Journal that notices a change of its store's history."""

    def on_rewound(self, tell: Callable[[JournalRewound], None]) -> None:
        """Call a function at each change from here on."""
        ...


class SystemJournal:
    """Journal of one system while it runs.

    Parameters:
        journal: Store, open.
        holder: Name of the claimant.
        config: Settings of the system.
        wire_types: Types taught to the system.
    """

    def __init__(
        self, journal: Journal, holder: str, config: SystemConfig, wire_types: Sequence[WireType[Any, Any]]
    ) -> None:
        self.journal = journal
        self.holder = holder
        self.snapshots: SnapshotStore | None = journal if isinstance(journal, SnapshotStore) else None
        self.states: StateStore | None = journal if isinstance(journal, StateStore) else None
        self.histories = histories_of(journal)
        self.appends = append_queue_of(journal)
        self.codec = StoredCodec(wire_types)
        self.recoveries = trio.CapacityLimiter(config.recoveries_max)
        """Bound of the recoveries at one time; first come, first served."""
        self.checks_states = sys.flags.dev_mode if config.check_states is None else config.check_states
        """Whether ``decide`` and ``apply`` are checked for purity."""
        self._in_use: dict[str, str] = {}
        self.kinds: dict[str, Callable[[str], str | None]] = {}
        """Functions from an id to the path of an entity with it, None without one, by the beginning of all persistence
        ids of a kind: a list of a million ids would be as large as their entities."""

    def __repr__(self) -> str:
        return f"<SystemJournal {self.journal!r} ids={len(self._in_use)}>"

    def tell_rewinds(self, publish: Callable[[JournalRewound], None]) -> None:
        """Publish each change of the store's history, where the store notices them."""
        if isinstance(self.journal, RewindTeller):
            self.journal.on_rewound(publish)

    def lone_scope(self, persistence_id: str) -> ScopeClaim:
        """Return the claim of a lone actor: its scope is its own id."""
        return ScopeClaim(self.journal, persistence_id, self.holder)

    def user_of(self, persistence_id: str) -> str | None:
        """Return the path of the actor of this system with an id; None without one."""
        kind, _, entity_id = persistence_id.partition("/")
        path_of = self.kinds.get(kind)
        return self._in_use.get(persistence_id) or (None if path_of is None else path_of(entity_id))

    @contextmanager
    def in_use(self, persistence_id: str, path: str, *, is_lone: bool = True) -> Generator[None]:
        """Keep an id from other actors of this system: two would fence each other.

        Raises ConfigError, for a lone actor also where an entity hosted here would have the id: it would begin with the
        events of the actor.
        """
        other = self.user_of(persistence_id)
        if other is not None:
            raise id_in_use(persistence_id, path, other)
        kind, mark, _ = persistence_id.partition("/")
        if is_lone and mark and kind in self.kinds:
            raise ConfigError(
                f"{path} has the persistence id {persistence_id!r}, which is that of an entity of the kind {kind!r}: "
                "give the actor an id of its own, such as one without a slash"
            )
        self._in_use[persistence_id] = path
        try:
            yield
        finally:
            del self._in_use[persistence_id]


def id_in_use(persistence_id: str, path: str, other: str) -> ConfigError:
    """Return the error for a second actor with an id: two would fence each other."""
    return ConfigError(f"{path} and {other} have the persistence id {persistence_id!r}: give each actor one of its own")


@asynccontextmanager
async def open_journal(
    config: SystemConfig, holder: str, wire_types: Sequence[WireType[Any, Any]]
) -> AsyncGenerator[SystemJournal | None]:
    """Open the journal of a system for the time of a block; None where it has none.

    Raises JournalUnavailable where it cannot be opened within some seconds.
    """
    journal = config.journal
    if journal is None:
        yield None
        return
    async with AsyncExitStack() as opened:
        await try_at_start(journal, lambda: opened.enter_async_context(journal.open()))
        yield SystemJournal(journal, holder, config, wire_types)
