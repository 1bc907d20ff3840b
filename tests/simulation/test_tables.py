"""Rows of two tables become the same at all nodes with these, whatever was lost, cut off, late or started again.

A node without one of the tables costs nothing: it is told nothing of it, and nobody goes on comparing with it.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator

import pytest
from planting import plant

from casty.address import UniqueAddress
from casty.protocol.gossip import tables as tables_module
from casty.protocol.gossip.anti_entropy import AntiEntropy
from casty.protocol.gossip.machine import Dissemination
from casty.protocol.gossip.tables import ReplicatedTable
from casty.protocol.messages.membership import GossipVersions
from casty.protocol.state.rows import RowTable, TableRows
from casty.protocol.state.slots import Slot, SlotTable
from casty.testing.simulation import ModelCluster, Run

STOCK, PRICES = "shop.stock", "shop.prices"
NAMES = tuple("abcde")
WITHOUT_PRICES = "d"
SEEDS = range(12)
SEEDS_MAX = 20
MESSAGES_MAX = 200_000
"""Messages of one play; the longest has two thirds of them."""


def tables_for(name: str) -> list[ReplicatedTable]:
    return [RowTable(name=table) for table in (STOCK, PRICES) if table == STOCK or name != WITHOUT_PRICES]


class Shop:
    """A cluster whose nodes write rows while it is disturbed."""

    def __init__(self, seed: int, names: tuple[str, ...] = NAMES) -> None:
        self.rng = random.Random(seed)
        self.names = names
        self.cluster = ModelCluster(seed)
        self.cluster.tables = tables_for
        self.cluster.handover_max = {"topology": 0.02, "gossip": 0.05}
        self.rows: dict[UniqueAddress, dict[str, dict[str, bytes]]] = {}
        """What each run has said last, by table."""
        self.said: Counter[type] = Counter()
        self.told_of: Counter[str] = Counter()
        """Pages and versions of a table sent to nodes without it."""
        self.cluster.taps.sent.append(self.sent)

    def sent(self, run: Run, to: UniqueAddress, message: object) -> None:
        self.said[type(message)] += 1
        assert self.said.total() < MESSAGES_MAX, "there is endless traffic"
        if to.address.host == WITHOUT_PRICES:
            if isinstance(message, TableRows):
                self.told_of[message.table] += message.table == PRICES
            if isinstance(message, GossipVersions):
                self.told_of[PRICES] += any(name == PRICES for name, _ in message.tables)

    def write(self, name: str) -> None:
        run = self.cluster.runs[name]
        for table in [each.name for each in run.gossip.tables if isinstance(each, RowTable)]:
            said = self.rows.setdefault(run.node, {}).setdefault(table, {})
            for _ in range(self.rng.randint(0, 3)):
                key = f"key-{self.rng.randint(0, 9)}"
                if self.rng.random() < 0.4:
                    said.pop(key, None)
                else:
                    said[key] = self.rng.randbytes(self.rng.choice([1, 8, 3_000]))
            self.cluster.write(name, table, dict(said))

    def disturb(self) -> None:
        """Let something go wrong, and come right again."""
        cluster, rng = self.cluster, self.rng
        name = rng.choice(self.names)
        match rng.randint(0, 5):
            case 0:
                cluster.loss = rng.choice([0.0, 0.1, 0.3])
            case 1:
                others = [each for each in self.names if each != name]
                cluster.cut((name,), others, one_way=rng.random() < 0.5)
            case 2:
                cluster.heal()
            case 3:
                cluster.jitter, cluster.duplicated = rng.uniform(0.0, 0.1), rng.uniform(0.0, 0.2)
            case 4 if sum(run.alive for run in cluster.runs.values()) == len(self.names):
                cluster.start(name, seeds=self.names)
            case _ if cluster.runs[name].alive and not cluster.runs[name].paused:
                cluster.pause(name)
                cluster.run_for(rng.uniform(0.1, 2.0))
                cluster.resume(name)
            case _:
                pass

    def calm(self, seconds: float = 60.0) -> None:
        """End all disturbances, and let those that were given up come back."""
        cluster = self.cluster
        cluster.heal()
        cluster.loss = cluster.jitter = cluster.duplicated = 0.0
        cluster.run_for(seconds)
        for name in self.names:
            if not cluster.runs[name].alive:
                cluster.start(name, seeds=self.names)
        cluster.run_for(seconds)
        assert cluster.all_up(len(self.names)), "the membership itself must come to rest"

    def play(self) -> None:
        self.cluster.form(self.names)
        for _ in range(20):
            for name in self.names:
                if self.cluster.runs[name].alive and self.rng.random() < 0.5:
                    self.write(name)
            self.disturb()
            self.cluster.run_for(self.rng.uniform(0.0, 1.5))
        self.calm()

    def faults(self) -> Iterator[str]:
        """Yield what is not as it must be once all is quiet."""
        cluster = self.cluster
        living = [cluster.runs[name] for name in self.names]
        for run in living:
            for table in run.gossip.tables:
                if not isinstance(table, RowTable):
                    continue
                for owner in living:
                    expected = self.rows.get(owner.node, {}).get(table.name, {})
                    if table.rows_of(owner.node) != expected:
                        yield f"{run.name} has other rows of {owner.name} in {table.name}"
                if gone := table.slots.keys() - {owner.node for owner in living}:
                    yield f"{run.name} keeps {gone} in {table.name}"
        if self.told_of[PRICES]:
            yield f"{WITHOUT_PRICES} is told of {PRICES}"
        before = dict(self.said)
        cluster.run_for(20.0)
        repeated = {kind.__name__: count for kind, count in self.said.items() if count != before.get(kind)}
        if endless := repeated.keys() & {"GossipVersions", "TableRows", "RegistrySlots", "GossipState", "GossipDelta"}:
            yield f"without any change there is endless traffic: {sorted(endless)}"


@pytest.mark.parametrize("seed", SEEDS)
def test_rows_become_the_same_everywhere(seed: int) -> None:
    shop = Shop(seed)
    shop.play()
    assert list(shop.faults()) == []
    assert shop.said[TableRows] > 50


def test_rows_become_the_same_in_a_cluster_in_which_few_are_told() -> None:
    shop = Shop(1, tuple("abcdefghijklmnopqrstu"))
    shop.play()
    assert list(shop.faults()) == []


def test_a_node_that_starts_again_without_the_table_is_a_node_without_it() -> None:
    shop = Shop(3, tuple("abc"))
    shop.cluster.form("abc")
    for name in "abc":
        shop.write(name)
    shop.cluster.tables = lambda name: [] if name == "c" else tables_for(name)
    shop.cluster.start("c", seeds="abc")
    shop.calm()
    assert list(shop.faults()) == []
    assert [table.name for table in shop.cluster.runs["c"].gossip.tables] == ["registry"]


def found_within(line: tuple[object, str, str]) -> int:
    """Return the first seed at which a planted fault is found; -1 for none."""
    for seed in range(SEEDS_MAX):
        with pytest.MonkeyPatch.context() as patch:
            plant(patch, *line)
            shop = Shop(seed)
            try:
                shop.play()
                faults = list(shop.faults())
            except Exception as error:  # a machine that cannot go on has the fault as well
                faults = [repr(error)]
            if faults:
                return seed
    return -1


# Who is behind in a table asks for it, too: without that, the next round of the other one brings it all the same. And
# a change of a page that was taken before is the same once more.
PLANTED = {
    "changes of rows are taken in any order": (
        Slot.taking,
        "page.after <= self.version < page.upto",
        "self.version < page.upto",
    ),
    "a removal is not told": (
        Slot.changes_after,
        "for entry, at in _newest(self.removed, version)",
        "for entry, at in ()",
    ),
    "a removed row stays": (Slot, "(entries if there else removed)[entry] = version", "entries[entry] = version"),
    "slots of the removed stay": (SlotTable.kept, "if owner in members})", "})"),
    "rows are told to nodes without the table": (tables_module.is_had_by, "return any(", "return True or any("),
    "digests cover tables that one lacks": (
        AntiEntropy.digest,
        "names = self._of_members(state, tables), tables.shared_with(state.members.get(node))",
        "names = self._of_members(state, tables), tuple(table.name for table in tables)",
    ),
    "digests do not cover the tables": (AntiEntropy.digest, "kept.named(names)", "()"),
    "a table ahead brings nothing": (
        Dissemination,
        "effects.extend(news)",
        "pass",
    ),
    "a value that changes is not told": (
        RowTable.with_own,
        "if known.get(key) != rows[key]]",
        "if key not in known]",
    ),
}


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_fault_is_found(name: str) -> None:
    place, line, instead = PLANTED[name]
    assert found_within((place, line, instead)) >= 0
