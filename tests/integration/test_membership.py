"""Clusters of real processes that form, grow, shrink and lose members."""

from __future__ import annotations

import signal
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

import trio
from processes import HANG, NodeProcess, Rig, show

QUICK = {"stable_after": 1.5}
"""Settings that make the survivors decide soon."""

WATCH_DEAD = 5.0
"""Seconds in which a dead run must not come back."""

SHOW_AT_MOST = 10.0


def last(events: Iterable[dict[str, float]]) -> float:
    return max(event["at"] for event in events)


async def up_everywhere(nodes: list[NodeProcess], **statuses: str) -> float:
    """Return when the last node has seen these members."""
    return last([await node.wait_members(**statuses) for node in nodes])


async def test_three_processes_become_one_cluster_three_times_in_a_row(rig: Rig) -> None:
    for attempt in range(3):
        nodes = await rig.cluster("a", "b", "c")
        bound = last(node.seen("bound")[0] for node in nodes)
        up = await up_everywhere(nodes, a="up", b="up", c="up")
        show(f"cold start {attempt + 1}: all up on all {up - bound:.3f} s after the last socket was bound")
        for node in nodes:
            node.process.kill()


async def test_a_fourth_joins_and_a_killed_one_is_noticed_removed_and_never_seen_again(rig: Rig) -> None:
    nodes = await rig.cluster("a", "b", "c", settings=QUICK)
    a, b, c = nodes
    d = await rig.start("d", seeds=[a, b], settings=QUICK)
    joined = await up_everywhere([*nodes, d], a="up", b="up", c="up", d="up")
    show(f"fourth: up on all {joined - d.seen('bound')[0]['at']:.3f} s after its socket was bound")

    marks = {node.node_id: node.mark() for node in (a, c, d)}
    dead = a.seen("snapshot")[-1]["incarnations"]["b"]
    killed_at = await b.kill()
    for node in (a, c, d):
        since = marks[node.node_id]
        seen = await node.wait_for("UnreachableMember", since, member="b", timeout=SHOW_AT_MOST)
        gone = await node.wait_for("MemberLeft", since, member="b")
        seconds = [event["at"] - killed_at for event in (seen, gone)]
        show(f"SIGKILL on {node.node_id}: unreachable {seconds[0]:.3f} s, left {seconds[1]:.3f} s")
    await trio.sleep(WATCH_DEAD)
    for node in (a, c, d):
        since = marks[node.node_id]
        assert len(node.seen("UnreachableMember", since)) == 1
        assert len(node.seen("MemberLeft", since)) == 1
        assert not node.seen("MemberUp", since, member="b")
        assert not node.seen("ReachableMember", since)
        left_at = node.seen("MemberLeft", since)[0]["at"]
        later = [event for event in node.seen("snapshot", since) if event["at"] > left_at]
        assert all(dead not in event["incarnations"].values() for event in later)
        assert node.seen("snapshot")[-1]["members"] == {"a": "up", "c": "up", "d": "up"}


async def test_nodes_that_end_in_order_leave_and_are_not_accused(rig: Rig) -> None:
    a, b, c, d, e = await rig.cluster("a", "b", "c", "d", "e")
    await leaves(c, lambda: c.begin("leave"), stay=(a, b, d, e), code=0)
    await leaves(d, lambda: d.send_signal(signal.SIGTERM), stay=(a, b, e), code=0)
    await leaves(e, lambda: e.send_signal(signal.SIGINT), stay=(a, b), code=130)


async def leaves(
    node: NodeProcess, end: Callable[[], Awaitable[object]], *, stay: Iterable[NodeProcess], code: int
) -> None:
    """Have a node end and see that it leaves as it should."""
    began = time.monotonic()
    await end()
    assert await node.wait_ended() == code, node.story()
    block = node.seen("ended")[0]["at"] - began
    left = last([await other.wait_for("MemberLeft", member=node.node_id) for other in stay]) - began
    show(f"exit code {code}: block over after {block:.3f} s, all others saw it leave after {left:.3f} s")
    for other in stay:
        await other.wait_members(**{staying.node_id: "up" for staying in stay})
        assert not other.seen("UnreachableMember"), other.story()


async def test_a_node_that_restarts_at_once_on_its_address_is_a_new_member(rig: Rig) -> None:
    a, b, c = await rig.cluster("a", "b", "c")
    old = a.seen("snapshot")[-1]["incarnations"]["c"]
    mark_a, mark_b = a.mark(), b.mark()
    killed_at = await c.kill()
    again = await rig.start("c", port=c.address[1], seeds=[a, b])
    assert again.address == c.address
    await again.wait_members(a="up", b="up", c="up")
    for node, mark in ((a, mark_a), (b, mark_b)):
        left = await node.wait_for("MemberLeft", mark, member="c", incarnation=old)
        ups = partial(node.seen, "MemberUp", mark, member="c")
        # The node tells its events and its snapshots apart: MemberUp of the first run may come after the mark.
        await node.wait_until(lambda ups=ups: any(up["incarnation"] != old for up in ups()), "MemberUp of the next run")
        back = next(up for up in ups() if up["incarnation"] != old)
        seconds = [event["at"] - killed_at for event in (left, back)]
        show(f"restart on {node.node_id}: old left {seconds[0]:.3f} s, new up {seconds[1]:.3f} s")
        assert back["at"] >= left["at"]
        await node.wait_members(mark, a="up", b="up", c="up", timeout=HANG)


async def test_a_node_that_stands_still_and_busy_neighbours_make_nobody_accuse(rig: Rig) -> None:
    nodes = await rig.cluster("a", "b", "c")
    await nodes[1].send_signal(signal.SIGSTOP)
    await trio.sleep(2.0)
    await nodes[1].send_signal(signal.SIGCONT)
    await nobody_is_accused(nodes, seconds=2.0)
    async with rig.burners(2):
        await nobody_is_accused(nodes, seconds=3.0)


async def nobody_is_accused(nodes: list[NodeProcess], *, seconds: float) -> None:
    await trio.sleep(seconds)
    for node in nodes:
        answer = await node.call("ask", node=nodes[0].node_id)
        assert answer["outcome"] == "reply"
        assert not node.seen("UnreachableMember"), node.story()
