"""Entities of real processes that stand still: an owner for too long, and the coordinator, which is killed then.

The settings are the defaults. All nodes are hosts and callers; handlers take a while, so that some are always caught
in the middle.
"""

from __future__ import annotations

import signal
import time
from functools import partial
from typing import Any

import trio
from entity_work import ANSWERED, LONG, all_open, check_accounts, ends_of
from processes import NodeProcess, Rig, show

NAMES = ("a", "b", "c", "d", "e")
ALL_UP = dict.fromkeys(NAMES, "up")
SPEC: dict[str, Any] = {"settings": {}, "entities": True}
LOAD = {"keys": 40, "pause": 0.05, "seconds": 1.0, "timeout": LONG}
REJOIN = 15.0
"""Seconds until a woken run is a member again as a new one, beside those that Python takes to start."""
FAIL_OVER = 10.0
USED = 100_000
"""Numbers of callers that begin later are above."""


def handled_by(node: NodeProcess) -> dict[tuple[str, int], float]:
    """Return entity, number and time of what the entities of one process have handled."""
    rows = (row for event in node.seen("handled") for row in event["rows"])
    return {(entity, number): at for entity, number, at, _ in rows if number}


async def test_an_owner_stopped_for_30_s_answers_nothing_when_it_wakes_and_joins_as_a_new_run(rig: Rig) -> None:
    a, b, *others = await rig.cluster(*NAMES, **SPEC)
    for node in rig.nodes:
        await node.begin("call", **LOAD)
    await all_open(rig.nodes, USED, at_least=2)
    stopped = time.monotonic()
    await b.send_signal(signal.SIGSTOP)
    for node in (a, *others):
        await node.wait_members(timeout=LONG, a="up", c="up", d="up", e="up")
    took_over = await all_open([a, *others], 2 * USED)
    await trio.sleep(stopped + 30.0 - time.monotonic())
    woke = time.monotonic()
    await b.send_signal(signal.SIGCONT)
    await b.wait_for("error", type="NodeDowned")
    down = (await b.wait_for("ended"))["at"]
    marks = {node: node.mark() for node in (a, *others)}
    again = await rig.start("b", port=b.address[1], seeds=[a, *others], **SPEC)
    shown = [await node.wait_members(marks.get(node, 0), timeout=LONG, **ALL_UP) for node in (a, again, *others)]
    bound = again.seen("bound")[0]["at"]
    rejoined = down - woke + max(event["at"] for event in shown) - bound
    await all_open([a, *others, again], 3 * USED, at_least=1)
    for node in (a, *others, again):
        await node.call("uncall")
    figures = f"down {down - woke:.2f} s after SIGCONT, up again after {rejoined:.2f} s and the start of a process"
    show(f"SIGSTOP of an owner: taken over after {took_over - stopped:.2f} s, {figures}")
    of_old = handled_by(b)
    assert not [at for at in of_old.values() if at >= woke], "a run without its lease has handled something"
    answered = {(entity, number): at for entity, number, at in ends_of(rig.nodes, ANSWERED)}
    caught = [call for call in of_old if answered.get(call, woke) >= woke]
    assert caught, "handlers were caught in the middle"
    assert not [call for call in caught if call in answered], "the answer of a stale owner was taken"
    check_accounts(rig.nodes)
    assert handled_by(again)
    assert rejoined < REJOIN


async def test_owners_serve_on_while_their_coordinator_stands_still_and_when_it_is_killed(rig: Rig) -> None:
    a, *others = await rig.cluster(*NAMES, **SPEC)
    for node in others:
        await node.begin("call", **LOAD)
    await all_open(rig.nodes, USED, at_least=2)
    await trio.sleep(1.0)
    own = {entity for entity, _ in handled_by(a)}
    kept = {entity for node in others for entity, _ in handled_by(node)} - own
    stopped = time.monotonic()
    await a.send_signal(signal.SIGSTOP)
    await trio.sleep(5.0)
    woke = time.monotonic()
    await a.send_signal(signal.SIGCONT)
    for node in others:
        await node.wait_until(partial(is_whole, node), "whole cluster")
    await all_open(rig.nodes, 2 * USED)
    marks = {node: node.mark() for node in others}
    killed = await a.kill()
    for node, mark in marks.items():
        await node.wait_members(mark, timeout=LONG, b="up", c="up", d="up", e="up")
    opened = await all_open(others, 3 * USED)
    for node in others:
        await node.call("uncall")
    show(f"SIGKILL of the coordinator: all shards open after {opened - killed:.2f} s")
    assert opened - killed < FAIL_OVER
    for since, until in ((stopped + 1.0, woke), (killed + 1.0, killed + 5.0)):
        answered = {entity for entity, _, at in ends_of(others, ANSWERED) if since < at < until}
        silent = {entity for entity in kept - answered if not entity.startswith("new")}
        assert not silent, "an owner serves on without a coordinator"
    assert not [node.story() for node in others if any(event["member"] != "a" for event in node.seen("MemberLeft"))]
    check_accounts(rig.nodes, until=killed - 1.0)


def is_whole(node: NodeProcess) -> bool:
    """Whether a node sees all up and reachable."""
    last = node.seen("snapshot", source="own")[-1]
    return (last["members"], last["unreachable"]) == (ALL_UP, [])
