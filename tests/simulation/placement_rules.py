"""Rules of placement, held after each event of any simulated node: who has a shard open, and what the tables say.

Owns the checks, and the history that they need. It looks into machines and never acts on them.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from casty.address import UniqueAddress
from casty.protocol.effects import Send
from casty.protocol.messages.shard_rows import NO_TERM, Moving, Opening, Owned, Row, Term
from casty.protocol.messages.sharding import Retired
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.placement_events import OpenShard, Slot
from casty.protocol.sharding.shard_coordinator import Leading
from casty.protocol.sharding.shard_table import ShardTable
from casty.protocol.state.member import MemberStatus
from casty.testing.simulation import InvariantBroken


class PlacementNode(Protocol):
    """One run, as the rules see it."""

    @property
    def run(self) -> UniqueAddress: ...
    @property
    def machine(self) -> ShardPlacement: ...
    @property
    def alive(self) -> bool: ...
    @property
    def runs_now(self) -> bool:
        """Whether it has neither ended nor stands still."""
        ...

    @property
    def local_now(self) -> float: ...
    @property
    def cluster_id(self) -> int:
        """Number of its cluster: two clusters that have not met know nothing of each other."""
        ...

    @property
    def drained(self) -> frozenset[UniqueAddress]:
        """Runs that are to have no shards, as it was told."""
        ...

    @property
    def serves(self) -> bool:
        """Whether it has the serving lease, by its own clock."""
        ...


@dataclass(slots=True, eq=False)
class Seen:
    """What was seen of one run at its last event."""

    node: PlacementNode
    slots: set[Slot] = field(default_factory=set)
    """Shards that it has."""
    orders: dict[str, tuple[Term, int]] = field(default_factory=dict)
    """Place of each of its tables."""
    epoch: int = 0
    """Sum of the epochs of all of them."""
    written: dict[str, tuple[Term, int]] = field(default_factory=dict)
    """Place of each table of its coordinator."""
    led: dict[str, tuple[Term, int, dict[int, Row]]] = field(default_factory=dict)
    """Last table that it was seen to have written as the leader, by term, version and rows."""
    retired: Term = NO_TERM
    """Highest term that it has said to have retired from."""


@dataclass(slots=True)
class PlacementRules:
    """The rules, over all runs ever started; call `check` after each event of a node, with its effects.

    A check costs what the event has changed: two runs can have come to share a shard only where one of them has a new
    one, and tables are compared where their place is another one.
    """

    nodes: Callable[[], Iterable[PlacementNode]]
    opened: dict[tuple[int, Slot], int] = field(default_factory=dict)
    """Highest epoch ever opened, by shard."""
    activations: list[tuple[Slot, int, UniqueAddress]] = field(default_factory=list)
    _tables: dict[tuple[int, str, Term, int], dict[int, Row]] = field(default_factory=dict)
    _seen: dict[UniqueAddress, Seen] = field(default_factory=dict)
    _holders: dict[Slot, list[Seen]] = field(default_factory=dict)
    """Living runs that have each shard, as of their last events."""
    _shared: dict[Slot, None] = field(default_factory=dict)
    """Shards that more than one of them has."""

    def check(self, node: PlacementNode, effects: Sequence[object]) -> None:
        """Hold all rules after an event of one node."""
        seen = self._seen.get(node.run)
        if seen is None:
            seen = self._seen[node.run] = Seen(node)
        for effect in effects:
            if isinstance(effect, OpenShard):
                self._opens(node, effect)
        machine = node.machine
        self._tables_agree(node, seen)
        if machine.coordinator.writer.tables:
            self._writes_lawfully(node, seen)
            self._moves_begin_in_calm(node, seen)
        for effect in effects:
            if isinstance(effect, Send) and isinstance(effect.message, Retired):
                seen.retired = max(effect.message.term, seen.retired)
        if machine.region.held.keys() != seen.slots:
            self._holds(seen, machine.region.held.keys())
        if self._shared:
            self.one_owner(self._shared)

    def one_owner(self, slots: Iterable[Slot]) -> None:
        """Hold that none of these shards is held by two runs that serve."""
        for slot in list(slots):
            holders = self._holders[slot] = [one for one in self._holders[slot] if one.node.alive]
            if len(holders) < 2:
                self._shared.pop(slot, None)  # who has ended never comes back
                continue
            owners: dict[int, PlacementNode] = {}
            for node in (one.node for one in holders):
                if node.runs_now and node.serves:
                    other = owners.setdefault(node.cluster_id, node)
                    if other is not node:
                        self._broken("a shard has one owner", f"{slot} is open at {other.run} and at {node.run}")

    def _holds(self, seen: Seen, held: Collection[Slot]) -> None:
        for slot in seen.slots.difference(held):
            self._holders[slot].remove(seen)
        for slot in held:
            if slot not in seen.slots:
                holders = self._holders.setdefault(slot, [])
                holders.append(seen)
                if len(holders) > 1:
                    self._shared[slot] = None
        seen.slots = set(held)

    def rows_are_true(self) -> None:
        """Hold that the newest table's owned rows name runs that have the shard open, or cannot serve it."""
        nodes = {node.run: node for node in self.nodes()}
        newest: dict[str, ShardTable] = {}
        for node in nodes.values():
            for key, table in node.machine.region.tables.items():
                if key not in newest or newest[key].order < table.order:
                    newest[key] = table
        for key, table in newest.items():
            for shard, row in table.rows.items():
                owner = nodes.get(row.owner)
                if isinstance(row, Owned) and owner is not None and owner.runs_now:
                    region = owner.machine.region
                    held = region.held.get((key, shard))
                    serves = owner.serves
                    if serves and (held is None or held.epoch != row.epoch) and key in region.regions:
                        self._broken("an owner has its shards open", f"{key} {shard} is no more at {row}")

    def settled(self, keys: dict[str, int], announced: Collection[UniqueAddress] | None = None) -> None:
        """Hold that each shard is open, and that the load is even among the hosts that are ``announced``, or all.

        Hosts that are drained, as all serving nodes know by now, have none, unless there are no others.
        """
        serving = [node for node in self.nodes() if node.runs_now and node.machine.view.is_up]
        for key, num_shards in keys.items():
            hosts = [node for node in serving if key in node.machine.region.regions]
            hosts = [node for node in hosts if announced is None or node.run in announced]
            drained = frozenset[UniqueAddress]().union(*(node.drained for node in serving))
            takes = [node.run for node in hosts if node.run not in drained] or [node.run for node in hosts]
            loads = dict.fromkeys(takes, 0)
            for node in serving:
                table = node.machine.region.tables.get(key)
                if table is not None and not table.named <= node.machine.view.members.keys():
                    self._broken("no row names a run that is gone", f"{key} at {node.run}: {table.rows}")
            for shard in range(num_shards):
                at = [node for node in serving if self._has_open(node, (key, shard))]
                if hosts and len(at) != 1:
                    self._broken("every shard is open", f"{key} {shard} is at {[str(node.run) for node in at]}")
                if any(node.run in drained for node in at) and not drained.issuperset(takes):
                    self._broken("a drained node has no shards", f"{key} {shard} is at {at[0].run}")
                loads.update({node.run: loads[node.run] + 1 for node in at if node.run in loads})
            if loads and max(loads.values()) - min(loads.values()) > max(1, max(loads.values()) // 10):
                self._broken("the load is even", f"{key}: {sorted(loads.values())}")

    @staticmethod
    def _has_open(node: PlacementNode, slot: Slot) -> bool:
        held = node.machine.region.held.get(slot)
        return held is not None and held.move is None

    def _opens(self, node: PlacementNode, effect: OpenShard) -> None:
        slot, view = (effect.key, effect.shard), node.machine.view
        own = view.own
        if own is None or own.status is not MemberStatus.up:
            self._broken("only who is up opens a shard", f"{node.run} opens {slot}, {own}")
        last = self.opened.get((node.cluster_id, slot), -1)
        if effect.epoch <= last:
            text = f"{node.run} opens {slot} under {effect.epoch:#x}, after {last:#x}"
            self._broken("epochs of a shard grow", text)
        self.opened[node.cluster_id, slot] = effect.epoch
        self.activations.append((slot, effect.epoch, node.run))

    def _tables_agree(self, node: PlacementNode, seen: Seen) -> None:
        tables = node.machine.region.tables
        is_as_before = len(tables) == len(seen.orders)
        for key, table in tables.items():
            before = seen.orders.get(key)
            if before is not None and before[0] is table.term and before[1] == table.version:
                continue
            is_as_before = False
            if before is not None and table.order < before:
                self._broken("tables never go back", f"{node.run}: {key} from {before} to {table.order}")
            seen.orders[key] = table.order
            rows = self._tables.get((node.cluster_id, key, *table.order))
            if rows is None:
                self._tables[node.cluster_id, key, *table.order] = dict(table.rows)
            elif rows != table.rows:
                self._broken("tables of one version are equal", f"{node.run}: {key} {table.order}")
        if not is_as_before:
            total = sum(table.epoch for table in tables.values())
            if total < seen.epoch:
                self._broken("the epoch of all tables never shrinks", f"{node.run}: {total}")
            seen.epoch = total

    def _writes_lawfully(self, node: PlacementNode, seen: Seen) -> None:
        """Hold that a table is written under the lease, and never under a term given up by a Retired."""
        for key, table in node.machine.coordinator.writer.tables.items():
            before = seen.written.get(key)
            if before is not None and before[0] is table.term and before[1] == table.version:
                continue
            seen.written[key] = table.order
            if before is None or before[0] != table.term or before == table.order:
                continue
            if node.local_now >= node.machine.region.serves_until:
                self._broken("tables are written under the lease", f"{node.run}: {key} {table.order}")
            if table.term <= seen.retired:
                self._broken("who has retired writes no more", f"{node.run}: {key} {table.order}")

    def _moves_begin_in_calm(self, node: PlacementNode, seen: Seen) -> None:
        coordinator = node.machine.coordinator
        if not isinstance(coordinator.phase, Leading):
            return
        for key, table in coordinator.writer.tables.items():
            term, version, rows = seen.led.get(key, (NO_TERM, 0, {}))
            if term == table.term and version == table.version:
                continue
            seen.led[key] = *table.order, dict(table.rows)
            if term != table.term:
                continue
            view = node.machine.view
            for shard, row in table.rows.items():
                old = rows.get(shard)
                if isinstance(row, Moving) and isinstance(old, Owned):
                    if not view.is_leaving(row.owner) and row.owner not in node.drained and not view.is_calm:
                        self._broken("moves begin in calm times", f"{key} {shard}: {row}")
                if isinstance(row, Opening) and old != row and not view.may_open(row.owner):
                    self._broken("no shard is given to who cannot open it", f"{key} {shard}: {row}")
                if isinstance(row, Opening) and old != row and self._stands_back(node, key, row.owner):
                    self._broken("no shard is given to a drained node while another can take it", f"{key}: {row}")

    def _stands_back(self, node: PlacementNode, key: str, run: UniqueAddress) -> bool:
        """Whether a run is drained, and another host is not and is up and reachable, as a coordinator knows them."""
        hosts, view = node.machine.coordinator.writer.hosts.get(key), node.machine.view
        others = () if hosts is None else set(hosts.runs) - node.drained - view.unreachable
        are_up = any(other in view.members and view.members[other].status is MemberStatus.up for other in others)
        return run in node.drained and are_up

    def _broken(self, rule: str, text: str) -> None:
        raise InvariantBroken(rule, text)
