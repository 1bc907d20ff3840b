"""Two-way cuts of five real nodes, all of them hosts and callers of entities.

One side goes on. No two activations of an entity overlap, the end that each caller is told is true, and all shards are
open again while the cut lasts and after it. There are fifteen such cuts: with ``CASTY_ALL_CUTS`` set all are played,
else three of them.
"""

from __future__ import annotations

import os
import time
from itertools import combinations
from typing import Any

from entity_work import LONG, all_open, check_accounts
from namespaces import PORT, Lan
from processes import NodeProcess, Rig, show

NAMES = ("a", "b", "c", "d", "e")
ALL_CUTS = ["".join(few) for size in (1, 2) for few in combinations(NAMES, size)]
"""The smaller side of each."""
CUTS = ALL_CUTS if os.environ.get("CASTY_ALL_CUTS") else ["ab", "d", "be"]
SPEC: dict[str, Any] = {"settings": {"stable_after": 1.5}, "entities": True, "insecure": True, "port": PORT}
LOAD = {"keys": 12, "pause": 0.2}


class Shop:
    """A node on each host; it knows who runs there now, and which numbers were used."""

    def __init__(self, rig: Rig, wires: Lan) -> None:
        self.rig = rig
        self.wires = wires
        self.nodes: dict[str, NodeProcess] = {}
        self.used = 0

    async def launch(self, name: str) -> None:
        """Start a node, and let it call entities once it is up."""
        within, host = self.wires.within(name), self.wires.addresses[name]
        node = await self.rig.launch(name, within=within, host=host, seeds=self.wires.seeds, **SPEC)
        node.address = (host, PORT)
        self.nodes[name] = node

    async def load(self, *names: str) -> None:
        """Wait until all nodes are up, and let some of them begin to call."""
        for node in self.nodes.values():
            await node.wait_members(timeout=LONG, **dict.fromkeys(NAMES, "up"))
        self.used += 100_000
        for name in names:
            await self.nodes[name].begin("call", first=self.used, **LOAD)

    async def all_open(self, *names: str) -> float:
        """Return when each shard was open at one of these nodes, and has answered."""
        self.used += 100_000
        return await all_open([self.nodes[name] for name in names], self.used)


async def test_every_cut_leaves_an_entity_one_owner_and_all_shards_open(rig: Rig, wires: Lan) -> None:
    shop = Shop(rig, wires)
    for name in NAMES:
        await shop.launch(name)
        if name == "a":
            await rig.bound(shop.nodes["a"])
    await shop.load(*NAMES)
    await shop.all_open(*NAMES)
    for few in CUTS:
        many = [name for name in NAMES if name not in few]
        marks = {name: shop.nodes[name].mark() for name in many}
        wires.cut(few, many)
        cut_at = time.monotonic()
        for name in many:
            await shop.nodes[name].wait_members(marks[name], timeout=LONG, **dict.fromkeys(many, "up"))
        took = await shop.all_open(*many) - cut_at
        for name in few:
            await shop.nodes[name].wait_for("error", type="NodeDowned", timeout=LONG)
            await shop.nodes[name].wait_ended(timeout=LONG)
        wires.heal()
        healed_at = time.monotonic()
        for name in few:
            await shop.launch(name)
        await shop.load(*few)
        whole = await shop.all_open(*NAMES) - healed_at
        show(f"{few} cut off: all shards open after {took:.2f} s, and {whole:.2f} s after the heal")
    for node in shop.nodes.values():
        await node.call("uncall")
    handled = check_accounts(rig.nodes)
    assert sum(map(len, handled.values())) > 1_000
