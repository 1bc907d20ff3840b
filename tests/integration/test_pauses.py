"""Real processes that stand still and go on: nobody is accused, or somebody returns, or somebody is lost.

The settings are the defaults, and each node does exclusive work when it is its turn. The three scenarios
run at one time, each with a cluster of its own: they take as long as the longest.
"""

from __future__ import annotations

import signal
import time
from dataclasses import dataclass

import pytest
import trio
from exclusive_work import next_owner, turns
from processes import NodeProcess, Rig, show

NAMES = ("a", "b", "c", "d", "e")
ALL_UP = dict.fromkeys(NAMES, "up")
TAKE_OVER = 15.0
"""Seconds from a cut to the next owner's work: the documented bound, and a loaded machine keeps it."""
REJOIN = 15.0


@dataclass
class Shop:
    """A cluster whose oldest member works, and stands still once."""

    rig: Rig
    nodes: list[NodeProcess]

    @classmethod
    async def open(cls, rig: Rig) -> Shop:
        nodes = await rig.cluster(*NAMES, exclusive=True)
        await nodes[0].wait_for("worked")
        return cls(rig, nodes)

    @property
    def oldest(self) -> NodeProcess:
        return self.nodes[0]

    @property
    def others(self) -> list[NodeProcess]:
        return self.nodes[1:]

    async def stop(self, seconds: float) -> tuple[float, float]:
        """Let the oldest stand still; return when it stopped and when it went on."""
        stopped_at = time.monotonic()
        await self.oldest.send_signal(signal.SIGSTOP)
        await trio.sleep(seconds)
        await self.oldest.send_signal(signal.SIGCONT)
        return stopped_at, time.monotonic()


async def test_who_stands_still_is_not_accused_or_returns_or_is_lost_by_how_long(rig: Rig) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(nobody_is_accused_for_two_seconds, rig)
        nursery.start_soon(after_ten_seconds_the_same_run_returns, rig)
        nursery.start_soon(after_thirty_seconds_it_is_lost_and_joins_anew, rig)


async def nobody_is_accused_for_two_seconds(rig: Rig) -> None:
    shop = await Shop.open(rig)
    _, went_on = await shop.stop(2.0)
    await shop.oldest.wait_until(lambda: shop.oldest.seen("worked")[-1]["at"] > went_on, "work after the pause")
    await trio.sleep(5.0)  # whoever were accused would be by now
    assert not [event for node in shop.nodes for event in node.seen("UnreachableMember")]
    assert [name for name, *_ in turns(shop.nodes)] == ["a"]


async def after_ten_seconds_the_same_run_returns(rig: Rig) -> None:
    shop = await Shop.open(rig)
    oldest = shop.oldest
    stopped, went_on = await shop.stop(10.0)
    for node in shop.others:
        seen = await node.wait_for("UnreachableMember", member="a")
        back = await node.wait_for("ReachableMember", member="a")
        assert went_on < back["at"], "it cannot answer while it stands still"
        show(f"10 s on {node.node_id}: unreachable {seen['at'] - stopped:.2f} s, back {back['at'] - went_on:.2f} s")
    await oldest.wait_for("suspended")
    suspended = oldest.seen("suspended")[-1]["at"]
    await oldest.wait_until(lambda: oldest.seen("worked")[-1]["at"] > suspended, "work under a new lease")
    strokes = [event["at"] for event in oldest.seen("worked")]
    assert not [at for at in strokes if stopped + 4.0 < at < suspended], "the lease had lapsed"
    assert [name for name, *_ in turns(shop.nodes)] == ["a"]
    incarnations = oldest.seen("snapshot")[0]["incarnations"]
    for node in shop.nodes:
        assert not node.seen("MemberLeft"), node.story()
        last = node.seen("snapshot")[-1]
        assert (last["members"], last["unreachable"]) == (ALL_UP, [])
        assert last["incarnations"]["a"] == incarnations["a"]


async def after_thirty_seconds_it_is_lost_and_joins_anew(rig: Rig) -> None:
    shop = await Shop.open(rig)
    oldest = shop.oldest
    old = oldest.seen("snapshot")[-1]["incarnations"]["a"]
    stopped, went_on = await shop.stop(30.0)
    heir, begun = await next_owner(shop.others)
    show(f"30 s: the next owner works {begun - stopped:.2f} s after the stop")
    assert begun - stopped < TAKE_OVER
    error = await oldest.wait_for("error")
    assert error["type"] == "NodeDowned"
    assert await oldest.wait_ended() == 1
    learned = oldest.seen("ended")[0]["at"]
    again = await rig.start("a", port=oldest.address[1], seeds=shop.others, exclusive=True)
    for node in [again, *shop.others]:
        await node.wait_members(**ALL_UP)
    back = max(node.seen("snapshot")[-1]["at"] for node in [again, *shop.others])
    show(f"30 s: down {learned - went_on:.2f} s after it went on, joined anew after {back - went_on:.2f} s")
    assert back - went_on < REJOIN
    for node in shop.others:
        assert [event["incarnation"] for event in node.seen("MemberLeft")] == [old], "downed once"
        assert [event["member"] for event in node.seen("UnreachableMember")] == ["a"]
        assert not node.seen("ReachableMember")
    await trio.sleep(2.0)
    assert [name for name, *_ in turns([*shop.nodes, again])] == ["a", heir]


class Told:
    """A node that says that it worked."""

    def __init__(self, node_id: str, *at: float) -> None:
        self.node_id = node_id
        self.at = at

    def seen(self, event: str) -> list[dict[str, object]]:
        return [{"event": event, "at": at} for at in self.at]


def test_turns_that_overlap_would_be_found() -> None:
    assert turns([Told("a", 1.0, 3.0), Told("b", 4.0, 5.0)]) == [("a", 1.0, 3.0), ("b", 4.0, 5.0)]
    with pytest.raises(AssertionError, match="overlap"):
        turns([Told("a", 1.0, 3.0, 4.1), Told("b", 4.0, 5.0)])
    with pytest.raises(AssertionError, match="overlap"):
        turns([Told("a", 1.0, 3.0), Told("a", 2.0)])
