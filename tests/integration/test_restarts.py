"""Clusters of real processes that lose members and get them back: killed, restarted one by one, or all at once.

The survivors decide soon, so that a test takes seconds; the failure detector is the default one. Each
node does exclusive work when it is its turn.
"""

from __future__ import annotations

import random
import time
from functools import partial

import trio
from exclusive_work import next_owner, turns
from processes import NodeProcess, Rig, show

NAMES = ("a", "b", "c", "d", "e")
ALL_UP = dict.fromkeys(NAMES, "up")
QUICK = {"stable_after": 1.5}
SPEC = {"settings": QUICK, "exclusive": True}
AT_ONCE = 0.1
"""Seconds between the end of one run and the start of the next on its address: what the scenario is about."""
RESTARTS_MAX = 5


async def all_up(nodes: list[NodeProcess], since: dict[str, int] | None = None) -> float:
    """Wait until each node has seen all up, and return when the last one did."""
    marks = since or {}
    return max([(await node.wait_members(marks.get(node.node_id, 0), **ALL_UP))["at"] for node in nodes])


def incarnation(node: NodeProcess) -> int:
    """Return which run this process is."""
    return int(node.seen("snapshot", source="own")[-1]["incarnations"][node.node_id])


def shows(node: NodeProcess, node_id: str, incarnation: int) -> bool:
    """Return whether the last view of a node has all up, and this run of one of them."""
    last = node.seen("snapshot", source="own")[-1]
    return (last["members"], last["unreachable"], last["incarnations"][node_id]) == (ALL_UP, [], incarnation)


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
    a, *others = await rig.cluster(*NAMES, **SPEC)
    await a.wait_for("worked")
    for _ in range(RESTARTS_MAX):  # until the machine was quick enough for the scenario to be the one that is meant
        gap, a = await back_at_once(rig, a, others)
        if gap <= AT_ONCE:
            break
    else:
        raise AssertionError(f"no run bound its port within {AT_ONCE} s of the end of the one before")
    heir, _ = await next_owner(others)
    assert [name for name, *_ in turns(rig.nodes)] == ["a", heir], "the new run is the youngest"


async def back_at_once(rig: Rig, node: NodeProcess, others: list[NodeProcess]) -> tuple[float, NodeProcess]:
    """Kill a node and start it again; return the seconds without any of its runs, and the new one, a member by now."""
    old = incarnation(node)
    again = await rig.hold(node.node_id, at="bind", port=node.address[1], seeds=others[:2], **SPEC)
    await again.wait_for("held")
    marks = {other.node_id: other.mark() for other in others}
    killed_at = await node.kill()
    await again.let_go()
    await rig.bound(again)
    gap = again.seen("bound")[0]["at"] - killed_at
    assert again.address == node.address
    up = await all_up([again])
    show(f"bound again {gap:.3f} s after the kill, all up after {up - killed_at:.2f} s")
    new = incarnation(again)
    assert new != old
    for other in others:
        since = marks[other.node_id]
        await other.wait_for("MemberUp", since, member=node.node_id, incarnation=new)
        left = other.seen("MemberLeft", since)
        assert [event["incarnation"] for event in left] == [old]
        assert left[0]["at"] <= other.seen("MemberUp", since, member=node.node_id)[-1]["at"]
        assert not other.seen("UnreachableMember", incarnation=new)
        await other.wait_until(partial(shows, other, node.node_id, new), f"view of run {new}, all up")
    return gap, again


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
