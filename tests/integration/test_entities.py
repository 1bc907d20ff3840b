"""Entities on real processes that are killed, stopped, restarted one by one or all at once, and cut off.

No entity ever has two owners, and what is planned fails no ask. The survivors decide soon, so that a test takes
seconds. Figures of the fail-over are shown with ``-s``.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from typing import Any

import pytest
import trio
from entity_work import LONG, NUM_SHARDS, all_open, check_accounts, lives
from namespaces import PORT, Lan
from processes import NodeProcess, Rig, show

NAMES = ("a", "b", "c", "d", "e")
QUICK = {"stable_after": 1.5}
SPEC: dict[str, Any] = {"settings": QUICK, "entities": True}
USED = 100_000
"""Numbers of callers that begin later are above."""


async def called(node: NodeProcess, call: int, *others: NodeProcess) -> dict[str, Any]:
    """End the calls of a node and return their outcome, once the others have told what they have handled."""
    await node.call("uncall")
    outcome = await node.wait_for("answer", id=call, timeout=LONG)
    for one in (node, *others):
        await one.call("uncall")
    return outcome


def check_order(handled: dict[str, list[int]]) -> None:
    """Assert that no entity has handled anything twice or out of order."""
    for entity, numbers in handled.items():
        assert numbers == sorted(set(numbers)), entity


async def test_a_rolling_restart_of_five_fails_loses_and_reorders_nothing(rig: Rig) -> None:
    nodes = dict(zip(NAMES, await rig.cluster(*NAMES, **SPEC), strict=True))
    caller = await rig.start("caller", seeds=[nodes["a"], nodes["e"]], settings=QUICK)
    names = dict.fromkeys([*NAMES, "caller"], "up")
    await caller.wait_members(**names)
    call = await caller.begin("call", keys=64, pause=0.2)
    for name in NAMES:
        old = nodes[name]
        await old.call("leave")
        assert await old.wait_ended(timeout=LONG) == 0
        mark = caller.mark()
        seeds = [nodes["e"] if name != "e" else nodes["a"], caller]
        nodes[name] = await rig.start(name, seeds=seeds, port=old.address[1], **SPEC)
        await caller.wait_members(mark, timeout=LONG, **names)
    await trio.sleep(1.0)
    outcome = await called(caller, call)
    moves = (await caller.call("statistics"))["events"]["ShardMoved"] / NUM_SHARDS
    asks = f"{sum(outcome['asked'].values())} asks, p99 {outcome['p99']:.3f} s, the longest {outcome['longest']:.2f} s"
    show(f"rolling restart: {asks}, {moves:.2f} moves of each shard")
    assert outcome["failed"] == {}
    assert outcome["p99"] < 1.0
    assert moves < 3.0, "what leaves, and what evens the load out"
    for node in nodes.values():
        await node.call("leave")
        assert await node.wait_ended(timeout=LONG) == 0
    handled = lives(rig.nodes)
    assert handled == {key: list(range(1, count + 1)) for key, count in outcome["asked"].items()}


@pytest.mark.parametrize("victims", ["b", "a", "ab"])
async def test_entities_of_killed_nodes_live_elsewhere_soon(rig: Rig, victims: str) -> None:
    nodes = dict(zip(NAMES, await rig.cluster(*NAMES, **SPEC), strict=True))
    call = await nodes["e"].begin("call", keys=40, pause=0.1)
    for name in victims:
        await nodes[name].wait_for("handled", timeout=LONG)
    for name in victims:
        await nodes[name].kill()
    killed_at = time.monotonic()
    await trio.sleep(1.0)
    later = await nodes["d"].call("touch", ids=100, callers=100)
    show(f"SIGKILL of {victims}: entities asked later answered after {time.monotonic() - killed_at:.2f} s")
    assert later["failed"] == {}
    outcome = await called(nodes["e"], call)
    assert all("not handled" not in text for text in outcome["failed"]), outcome["failed"]
    handled = lives(rig.nodes)
    check_order({entity: numbers for entity, numbers in handled.items() if not entity.startswith("new")})


async def test_an_owner_stopped_inside_a_handler_goes_on_and_nobody_else_has_begun(rig: Rig) -> None:
    a, b, c = await rig.cluster("a", "b", "c", settings={}, entities=True)
    call = await c.begin("call", keys=20, pause=0.1, seconds=0.05)
    await b.wait_for("handled", timeout=LONG)
    await b.send_signal(signal.SIGSTOP)
    await trio.sleep(10.0)
    await b.send_signal(signal.SIGCONT)
    await trio.sleep(3.0)
    outcome = await called(c, call, a, b)
    show(f"SIGSTOP of 10 s: the longest ask took {outcome['longest']:.2f} s")
    assert outcome["failed"] == {}
    check_order(check_accounts([a, b, c]))
    assert not c.seen("MemberLeft")


async def test_after_the_end_of_all_nodes_under_load_all_shards_are_placed_and_none_has_two_owners(rig: Rig) -> None:
    nodes = await rig.cluster(*NAMES, **SPEC)
    for node in nodes:
        await node.begin("call", keys=20, pause=0.05)
    await all_open(nodes, USED)
    for node in nodes:
        node.process.kill()
    killed_at = time.monotonic()
    for node in nodes:
        await node.wait_ended()
    again = await rig.cluster(*NAMES, **SPEC)
    for node in again:
        await node.begin("call", keys=20, pause=0.05, first=2 * USED)
    took = await all_open(again, 3 * USED) - killed_at
    show(f"SIGKILL of all: every shard open {took:.2f} s later")
    for node in again:
        await node.call("uncall")
    check_accounts(rig.nodes, until=killed_at - 1.0)


async def test_1000_callers_of_new_entities_meet_one_activation_of_each_while_nodes_join_and_leave(rig: Rig) -> None:
    a, b, c = await rig.cluster("a", "b", "c", **SPEC)
    d = await rig.hold("d", seeds=[a], **SPEC)
    await d.wait_for("held", timeout=LONG)
    touches = {node: await node.begin("touch", ids=100, callers=500) for node in (a, c)}  # b takes its own along
    await d.let_go()
    leave = await b.begin("shutdown")
    outcomes = [await node.wait_for("answer", id=call, timeout=LONG) for node, call in touches.items()]
    await b.wait_for("answer", id=leave, timeout=LONG)
    assert await b.wait_ended(timeout=LONG) == 0
    assert [outcome["failed"] for outcome in outcomes] == [{}, {}]
    await a.wait_members(timeout=LONG, a="up", c="up", d="up")
    for node in (a, c, d):
        await node.call("uncall")  # tells what it has handled
    counts = {entity: len(numbers) for entity, numbers in lives(rig.nodes).items()}
    asked = sum((Counter(outcome["asked"]) for outcome in outcomes), Counter())
    assert asked.total() == 1_000
    assert counts == asked and len(counts) == 100


async def test_entities_of_a_side_cut_off_have_one_owner_at_all_times(rig: Rig, wires: Lan) -> None:
    nodes: dict[str, NodeProcess] = {}
    for name in NAMES:
        nodes[name] = await rig.launch(
            name,
            within=wires.within(name),
            host=wires.addresses[name],
            port=PORT,
            insecure=True,
            seeds=wires.seeds,
            **SPEC,
        )
        if name == "a":
            await rig.bound(nodes["a"])
    for node in nodes.values():
        await node.wait_members(timeout=LONG, **dict.fromkeys(NAMES, "up"))
    calls = {name: await nodes[name].begin("call", keys=100, pause=0.5) for name in "ae"}
    await trio.sleep(4.0)
    wires.cut("ab", "cde")
    cut_at = time.monotonic()
    for name in "cde":
        await nodes[name].wait_members(timeout=LONG, **dict.fromkeys("cde", "up"))
    touched = await nodes["d"].call("touch", ids=100, callers=100)
    show(f"cut: all entities answer the kept side after {time.monotonic() - cut_at:.2f} s")
    assert touched["failed"] == {}
    await called(nodes["e"], calls["e"], nodes["c"], nodes["d"])
    for name in "ab":
        await nodes[name].wait_ended(timeout=LONG)
    wires.heal()
    handled = check_accounts(rig.nodes)
    check_order({entity: numbers for entity, numbers in handled.items() if not entity.startswith("new")})
