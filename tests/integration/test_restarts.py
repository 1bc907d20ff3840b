"""Clusters of real processes that lose members and get them back: killed, restarted one by one, or all at once.

The survivors decide soon, so that a test takes seconds; the failure detector is the default one. Each
node does exclusive work when it is its turn.
"""

from __future__ import annotations

import random
import time

import trio
from exclusive_work import next_owner, turns
from processes import NodeProcess, Rig, show

NAMES = ("a", "b", "c", "d", "e")
ALL_UP = dict.fromkeys(NAMES, "up")
QUICK = {"stable_after": 1.5}
SPEC = {"settings": QUICK, "exclusive": True}


async def all_up(nodes: list[NodeProcess], since: dict[str, int] | None = None) -> float:
    """Wait until each node has seen all up, and return when the last one did."""
    marks = since or {}
    return max([(await node.wait_members(marks.get(node.node_id, 0), **ALL_UP))["at"] for node in nodes])


def incarnation(node: NodeProcess) -> int:
    """Return which run this process is."""
    return int(node.seen("snapshot", source="own")[-1]["incarnations"][node.node_id])


async def test_the_work_of_a_killed_node_is_done_by_the_next_one(rig: Rig) -> None:
    a, *others = await rig.cluster(*NAMES, **SPEC)
    await a.wait_for("worked")
    killed_at = await a.kill()
    seen = [(await node.wait_for("UnreachableMember", member="a"))["at"] - killed_at for node in others]
    left = [(await node.wait_for("MemberLeft", member="a"))["at"] - killed_at for node in others]
    heir, begun = await next_owner(others)
    show(f"SIGKILL: unreachable {max(seen):.2f} s, left {max(left):.2f} s, next owner {begun - killed_at:.2f} s")
    assert max(seen) < 2.0
    assert begun - killed_at < 10.0
    assert [name for name, *_ in turns(rig.nodes)] == ["a", heir]
    for node in others:
        assert not node.seen("ReachableMember")
        assert len(node.seen("MemberLeft")) == 1


async def test_a_node_that_is_back_on_its_address_at_once_is_a_new_member(rig: Rig) -> None:
    a, b, c, d, e = await rig.cluster(*NAMES, **SPEC)
    await a.wait_for("worked")
    old = incarnation(a)
    again = await rig.hold("a", port=a.address[1], seeds=[b, c], **SPEC)
    await again.wait_for("held")
    killed_at = await a.kill()
    await again.let_go()
    await rig.bound(again)
    bound = again.seen("bound")[0]["at"] - killed_at
    assert again.address == a.address
    marks = {node.node_id: node.mark() for node in (b, c, d, e)}
    up = await all_up([again])
    show(f"bound again {bound:.3f} s after the kill, all up after {up - killed_at:.2f} s")
    for node in (b, c, d, e):
        await node.wait_for("MemberUp", marks[node.node_id], member="a", incarnation=incarnation(again))
        left = node.seen("MemberLeft")
        assert [event["incarnation"] for event in left] == [old]
        assert left[0]["at"] <= node.seen("MemberUp", marks[node.node_id], member="a")[-1]["at"]
        assert not node.seen("UnreachableMember", incarnation=incarnation(again))
    heir, _ = await next_owner([b, c, d, e])
    assert [name for name, *_ in turns(rig.nodes)] == ["a", heir], "the new run is the youngest"


async def test_a_rolling_restart_keeps_one_cluster_and_accuses_nobody(rig: Rig) -> None:
    nodes = await rig.cluster(*NAMES, **SPEC)
    await nodes[0].wait_for("worked")
    held = [await rig.hold(node.node_id, port=node.address[1], seeds=nodes, **SPEC) for node in nodes]
    began = time.monotonic()
    for place, again in enumerate(held):
        node = nodes[place]
        stay = [other for other in nodes if other is not node]
        marks = {other.node_id: other.mark() for other in stay}
        await node.begin("leave")
        assert await node.wait_ended() == 0, node.story()
        await again.let_go()
        await rig.bound(again)
        nodes[place] = again
        for other in stay:
            await other.wait_for("MemberUp", marks[other.node_id], member=node.node_id)
        await again.wait_members(**ALL_UP)
    show(f"rolling restart of five: {time.monotonic() - began:.1f} s")
    await nodes[0].wait_for("worked")
    for node in rig.nodes:
        assert not node.seen("UnreachableMember"), node.story()
    for node in nodes:
        assert node.seen("snapshot")[-1]["members"] == ALL_UP
    turned = [name for name, *_ in turns(rig.nodes)]
    assert turned[0] == "a"
    assert turned[-1] == "a", "the first that was restarted is the oldest now"


async def test_a_whole_cluster_that_is_killed_and_starts_in_any_order_is_one_cluster(rig: Rig) -> None:
    nodes = await rig.cluster(*NAMES, **SPEC)
    await nodes[0].wait_for("worked")
    old = {node.node_id: incarnation(node) for node in nodes}
    again = [await rig.hold(node.node_id, port=node.address[1], seeds=nodes, **SPEC) for node in nodes]
    for node in again:
        await node.wait_for("held")
    for node in nodes:
        node.process.kill()
    for node in nodes:
        await node.wait_ended()
    seed = random.randrange(1_000_000)
    rng = random.Random(seed)
    rng.shuffle(again)
    order = " ".join(node.node_id for node in again)
    show(f"seed {seed}: started in the order {order}")
    began = time.monotonic()
    for node in again:
        await node.let_go()
        await trio.sleep(rng.uniform(0.0, 0.3))
    for node in again:
        await rig.bound(node)
    up = await all_up(again)
    show(f"all up {up - began:.2f} s after the first start")
    first = {node.node_id: incarnation(node) for node in again}
    assert not set(first.values()) & set(old.values())
    for node in again:
        last = node.seen("snapshot")[-1]
        assert (last["incarnations"], last["unreachable"]) == (first, [])
        assert not node.seen("UnreachableMember")
    await next_owner(again)
    assert len(turns(again)) == 1
    turns(rig.nodes)


async def test_busy_processes_beside_the_nodes_make_nobody_accuse(rig: Rig) -> None:
    nodes = await rig.cluster(*NAMES, exclusive=True)
    async with rig.burners(4, share=0.5):
        for _ in range(3):
            for node in nodes:
                await node.begin("block", seconds=1.0)
            await trio.sleep(2.0)
        for node in nodes:
            answer = await node.call("ask", node="a")
            assert answer["outcome"] == "reply"
    for node in nodes:
        assert not node.seen("UnreachableMember"), node.story()
    assert [name for name, *_ in turns(nodes)] == ["a"]
