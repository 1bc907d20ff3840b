"""Claims of the shards of one kind at one node: one for each opened shard, shared by its entities.

Owns the claims by shard and epoch, and the settled number of shards of the kind. It does not know entities, or what
they store.

How it works: the first entity of a shard claims it, once this node serves; the others wait for that claim. A shard that
comes back has another epoch, and is claimed anew. A node that has slept while its shard moved finds the shard closed,
or waits for the lease, before it can fence the present owner.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Final

from casty.cluster.leases.serving import ServingLease
from casty.errors import ConfigError, JournalUnavailable
from casty.runtime.journaling.scope_claim import ScopeClaim
from casty.runtime.journaling.system_journal import EntityScope, SystemJournal

SETTLED: Final = "casty.num_shards/{}"
"""Name of the settled number of shards of a kind: with another number, entities would be in other scopes."""


class ShardScopes:
    """Claims of one kind.

    Parameters:
        journal: Journal of the system.
        key: Name of the kind.
        num_shards: Its shards.
        serving: Lease needed to claim.
        epoch_of: Function from a shard to its epoch while it is open here; None otherwise.
    """

    def __init__(
        self,
        journal: SystemJournal,
        key: str,
        num_shards: int,
        serving: ServingLease,
        epoch_of: Callable[[int], int | None],
    ) -> None:
        self._journal = journal
        self._key = key
        self.prefix = key.replace("%", "%25").replace("/", "%2F")  # else "a/b" of "c" were the "a" of "b/c"
        """Beginning of all persistence ids of the kind, up to the slash."""
        self._num_shards = num_shards
        self._serving = serving
        self._epoch_of = epoch_of
        self._claims: dict[int, tuple[int, ScopeClaim]] = {}
        self._is_settled = False

    def __repr__(self) -> str:
        return f"<ShardScopes {self._key} claims={len(self._claims)}>"

    def scope(self, entity_id: str, shard: int, epoch: int) -> EntityScope:
        """Return the place of an entity in the journal; nothing is claimed yet."""
        found = self._claims.get(shard)
        if found is None or found[0] != epoch:
            prepare = partial(self._prepare, shard, epoch)
            claim = ScopeClaim(self._journal.journal, f"{self._key}#{shard}", self._journal.holder, prepare)
            found = self._claims[shard] = epoch, claim
        return EntityScope(f"{self.prefix}/{entity_id}", found[1])

    def forget(self, shard: int) -> None:
        """Drop the claim of a closed shard."""
        self._claims.pop(shard, None)

    async def _prepare(self, shard: int, epoch: int) -> None:
        """Wait for the lease before a claim. Raises JournalUnavailable where the shard is not here any more."""
        if not self._is_settled:
            settled = await self._journal.journal.settle(SETTLED.format(self._key), str(self._num_shards))
            if settled != str(self._num_shards):
                raise ConfigError(
                    f"the journal holds entities of {self._key!r} in {settled} shards, and sharded was given "
                    f"num_shards={self._num_shards}: write num_shards={settled}"
                )
            self._is_settled = True
        await self._serving.wait_serving()
        if self._epoch_of(shard) != epoch:
            raise JournalUnavailable(
                f"shard {shard} of {self._key!r} is not at this node any more: nothing was claimed"
            )
