"""Shards of this node's tables for whoever asks: each table is packed once."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Final, Protocol

from casty.address import NodeAddress, UniqueAddress
from casty.cluster.sharding.hosted_keys import HostedKey, agreed_by
from casty.protocol.messages.shard_rows import Term
from casty.protocol.sharding.observability.shard_listing import (
    KEYS_TOLD_MAX,
    ROWS_TOLD_MAX,
    ShardsReport,
    ShardsTold,
    report_shards,
)
from casty.protocol.sharding.shard_table import ShardTable

Known = tuple[int, Term, int, tuple[NodeAddress, ...], NodeAddress | None]
"""Number of shards, term and version of a table, its hosts and its writer."""
REPORTS_KEPT_MAX: Final = 1_024


class TablesKnown(Protocol):
    """Placement of this node, as far as reports tell it."""

    @property
    def tables(self) -> Mapping[str, ShardTable]:
        """Newest table of each kind."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """Kinds with a host or a table."""
        ...

    def hosts_of(self, name: str) -> Mapping[UniqueAddress, HostedKey]:
        """Return what each host of a kind says of it."""
        ...

    def run_of(self, incarnation: int) -> UniqueAddress | None:
        """Return the member with this incarnation."""
        ...


class ShardReports:
    """Reports of one node, kept as long as the tables are the same."""

    def __init__(self, placement: Callable[[], TablesKnown | None]) -> None:
        self._placement = placement
        self._made: dict[str, tuple[Known, ShardsReport]] = {}

    def __call__(self, name: str | None) -> ShardsTold:
        """Return the report of one kind, or of all in their order; none before the placement has begun."""
        placement = self._placement()
        if placement is None:
            return ShardsTold()
        names = sorted(placement.kinds) if name is None else [name]
        reports, rows = list[ShardsReport](), 0
        for one in names:
            told = placement.hosts_of(one)
            agreed = agreed_by(told)
            table = placement.tables.get(one) or ShardTable(one, 0 if agreed is None else agreed.num_shards)
            rows += table.num_shards
            if rows > ROWS_TOLD_MAX or len(reports) >= KEYS_TOLD_MAX:
                break
            reports.append(self._report(table, told, placement.run_of(table.term.incarnation)))
        return ShardsTold(tuple(reports), len(names) - len(reports))

    def _report(self, table: ShardTable, told: Collection[UniqueAddress], writer: UniqueAddress | None) -> ShardsReport:
        hosts, by = tuple(sorted(run.address for run in told)), None if writer is None else writer.address
        known = table.num_shards, table.term, table.version, hosts, by
        before = self._made.get(table.key)
        if before is not None and before[0] == known:
            return before[1]
        if len(self._made) >= REPORTS_KEPT_MAX:
            self._made.clear()
        self._made[table.key] = known, report_shards(table, hosts, by)
        return self._made[table.key][1]

    def __repr__(self) -> str:
        return f"<ShardReports kept={len(self._made)}>"
