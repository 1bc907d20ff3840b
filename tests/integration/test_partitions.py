"""Five nodes in network namespaces of their own, and cuts between them by nftables.

At most one side goes on, exclusive work has one owner at all times, and after the heal, when whoever
has ended was started again, there is one cluster of five.
"""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from typing import Any

import trio
from exclusive_work import next_owner, turns
from namespaces import PORT, Lan
from processes import HANG, NodeProcess, Rig, show

NAMES = ("a", "b", "c", "d", "e")
ALL_UP = dict.fromkeys(NAMES, "up")
LEASE = 4.0
"""Seconds that a serving lease holds."""
HEALED = 10.0


@dataclass
class Shop:
    """A node on each host; it knows who runs there now."""

    rig: Rig
    wires: Lan
    settings: dict[str, Any]
    nodes: dict[str, NodeProcess]

    @classmethod
    async def open(cls, rig: Rig, wires: Lan, **settings: Any) -> Shop:
        shop = cls(rig, wires, settings, {})
        for name in NAMES:
            await shop.launch(name)
            if name == "a":
                await rig.bound(shop.nodes["a"])
        for node in shop.nodes.values():
            await node.wait_members(**ALL_UP)
        await shop.nodes["a"].wait_for("worked", shop.nodes["a"].mark())  # with the grants of the others
        return shop

    async def launch(self, name: str) -> None:
        self.nodes[name] = await self.rig.launch(
            name,
            within=self.wires.within(name),
            host=self.wires.addresses[name],
            port=PORT,
            insecure=True,
            seeds=self.wires.seeds,
            settings=self.settings,
            exclusive=True,
        )

    def living(self) -> list[str]:
        return [name for name, node in self.nodes.items() if not node.has_ended]

    async def goes(self, *names: str) -> None:
        """Wait until these nodes have found that they are down."""
        for name in names:
            error = await self.nodes[name].wait_for("error")
            assert error["type"] == "NodeDowned"
            assert await self.nodes[name].wait_ended() == 1

    async def stays(self, *names: str) -> None:
        """Wait until these nodes are a cluster of their own."""
        for name in names:
            await self.nodes[name].wait_members(**dict.fromkeys(names, "up"))

    def is_settled(self) -> bool:
        """Whether all living nodes see each other and nobody else: one side, or none."""
        everybody = dict.fromkeys(self.living(), "up")
        shown = [self.nodes[name].seen("snapshot", source="own")[-1] for name in everybody]
        return all((last["members"], last["unreachable"]) == (everybody, []) for last in shown)

    async def settle(self) -> None:
        """Wait until at most one side goes on and all others have ended."""
        with trio.move_on_after(HANG):
            while not self.is_settled():  # noqa: ASYNC110  # each node has an event of its own
                await trio.sleep(0.05)
            return
        raise AssertionError("\n".join(node.story() for node in self.nodes.values()))

    async def heal(self) -> float:
        """Take the faults back, start again who has ended, and return how long it took until all saw all up."""
        self.wires.heal()
        healed_at = time.monotonic()
        await self.settle()
        for name in set(NAMES) - set(self.living()):
            await self.launch(name)
        for node in self.nodes.values():
            await node.wait_until(partial(self.is_whole, node), "whole cluster")
        leaders = {node.seen("snapshot", source="own")[-1]["leader"] for node in self.nodes.values()}
        runs = {json.dumps(node.seen("snapshot")[-1]["incarnations"], sort_keys=True) for node in self.nodes.values()}
        assert (len(leaders), len(runs)) == (1, 1), "one view"
        turns(self.rig.nodes)
        return time.monotonic() - healed_at

    def is_whole(self, node: NodeProcess) -> bool:
        """Whether a node sees all up."""
        shown = node.seen("snapshot", source="own")[-1:]
        return any((last["members"], last["unreachable"]) == (ALL_UP, []) for last in shown)


async def status(shop: Shop, name: str) -> dict[str, Any]:
    """Ask a node for its status from its own host."""
    at = f"{shop.wires.addresses[name]}:{PORT}"
    command = [*shop.wires.within(name), sys.executable, "-m", "casty", "status", at, "--json"]
    with trio.fail_after(HANG):
        done = await trio.run_process(command, capture_stdout=True)
    told: dict[str, Any] = json.loads(done.stdout)
    return told


async def test_of_two_sides_the_larger_one_goes_on_and_takes_the_work_over(rig: Rig, wires: Lan) -> None:
    shop = await Shop.open(rig, wires, stable_after=2.0)
    assert [name for name, *_ in turns(rig.nodes)] == ["a"]
    shop.wires.cut("ab", "cde")
    cut_at = time.monotonic()
    await shop.goes("a", "b")
    await shop.stays("c", "d", "e")
    assert shop.living() == ["c", "d", "e"]
    heir, begun = await next_owner([shop.nodes[name] for name in "cde"])
    worked = turns(rig.nodes)
    assert [name for name, *_ in worked] == ["a", heir]
    show(f"cut: the owner stopped after {worked[0][2] - cut_at:.2f} s, the next one began after {begun - cut_at:.2f} s")
    assert worked[0][2] < cut_at + LEASE
    assert begun < cut_at + 15.0
    told = await status(shop, "c")
    assert {member["id"]: member["status"] for member in told["members"]} == {"c": "up", "d": "up", "e": "up"}
    show(f"one cluster {await shop.heal():.2f} s after the heal")


async def test_a_cut_that_heals_before_the_decision_gives_everybody_back(rig: Rig, wires: Lan) -> None:
    shop = await Shop.open(rig, wires)
    runs = shop.nodes["a"].seen("snapshot")[-1]["incarnations"]
    shop.wires.cut("ab", "cde")
    for name, lost in (("a", "c"), ("c", "a"), ("e", "b")):
        await shop.nodes[name].wait_for("UnreachableMember", member=lost)
    took = await shop.heal()
    assert shop.living() == list(NAMES)
    for node in shop.nodes.values():
        assert not node.seen("MemberLeft")
        assert node.seen("snapshot")[-1]["incarnations"] == runs
    show(f"all back {took:.2f} s after the heal")
    assert took < HEALED
    assert [name for name, *_ in turns(rig.nodes)] == ["a"]


async def test_a_heal_between_two_late_attempts_of_the_system_gives_everybody_back(rig: Rig, wires: Lan) -> None:
    """What was lost in a cut is sent again after ever longer pauses: 15 s after it, the next one lies 13 s ahead."""
    shop = await Shop.open(rig, wires, stable_after=60.0)
    asker = shop.nodes["a"]
    await asker.call("ask", node="c")
    shop.wires.cut("ab", "cde")
    await asker.begin("ask", node="c")  # something is under way on the lane of actors too
    await trio.sleep(15.0)
    took = await shop.heal()
    for node in shop.nodes.values():
        assert not node.seen("MemberLeft")
    assert took < HEALED
    assert (await asker.call("ask", node="c", timeout=HEALED - took))["outcome"] == "reply"
    show(f"all back {took:.2f} s after the heal")


async def test_a_side_that_hears_nothing_but_is_heard_makes_no_second_cluster(rig: Rig, wires: Lan) -> None:
    shop = await Shop.open(rig, wires, stable_after=2.0)
    for deaf in "de":
        shop.wires.drop(deaf, "abc")
    await shop.goes("d", "e")
    await shop.stays("a", "b", "c")
    assert shop.living() == ["a", "b", "c"]
    assert [name for name, *_ in turns(rig.nodes)] == ["a"]
    show(f"one cluster {await shop.heal():.2f} s after the heal")


async def test_of_two_sides_that_one_node_sees_the_younger_one_goes(rig: Rig, wires: Lan) -> None:
    shop = await Shop.open(rig, wires, stable_after=2.0)
    shop.wires.cut("ab", "cd")
    await shop.nodes["a"].wait_for("UnreachableMember")
    await shop.settle()
    show(f"of two sides of two, and one that sees both: {' '.join(shop.living()) or 'nobody'} went on")
    assert shop.living() in (["a", "b", "e"], ["c", "d", "e"])
    await shop.stays(*shop.living())
    show(f"one cluster {await shop.heal():.2f} s after the heal")


async def test_a_network_that_loses_a_fifth_of_all_packets_ends_in_one_view(rig: Rig, wires: Lan) -> None:
    shop = await Shop.open(rig, wires)
    for name in NAMES:
        shop.wires.drop(name, [other for other in NAMES if other != name], percent=20)
    await trio.sleep(12.0)
    accusations = sum(len(node.seen("UnreachableMember")) for node in shop.nodes.values())
    living = shop.living()
    took = await shop.heal()
    show(f"20 % loss for 12 s: {accusations} accusations, {len(living)} went on, one view {took:.2f} s after the heal")
    assert took < HEALED


async def test_a_cut_that_comes_and_goes_ends_in_one_cluster_that_keeps_still(rig: Rig, wires: Lan) -> None:
    shop = await Shop.open(rig, wires)
    for _ in range(3):
        shop.wires.cut("ab", "cde")
        await trio.sleep(5.5)  # just seen
        shop.wires.heal()
        await trio.sleep(3.0)  # most are back
    await shop.settle()  # or everybody has given up a view that never settles: better no cluster than two
    living = len(shop.living())
    show(f"cut three times: {living} went on, one view {await shop.heal():.2f} s after that")
    marks = {name: node.mark() for name, node in shop.nodes.items()}
    await trio.sleep(3.0)
    for name, node in shop.nodes.items():
        assert not node.seen("UnreachableMember", marks[name])
        assert not node.seen("MemberLeft", marks[name])
