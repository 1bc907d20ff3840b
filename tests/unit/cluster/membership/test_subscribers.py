"""A change of the topology on its way to many subscribers: encoded once, here first, and in turns to other nodes."""

from __future__ import annotations

from collections import Counter

import pytest
import trio

from casty import (
    ActorContext,
    Behavior,
    Behaviors,
    ServiceKey,
    SubscribeTopology,
    TopologySnapshot,
    UnsubscribeTopology,
)
from casty.cluster.membership import subscribers
from casty.cluster.remoting.remote_ref import RemoteRef
from casty.wire.encoded import EncodedMessage

KEY = ServiceKey[int]("numbers")


def into(seen: list[object], name: str = "") -> Behavior[TopologySnapshot]:
    async def take(ctx: ActorContext[TopologySnapshot], snapshot: TopologySnapshot) -> Behavior[TopologySnapshot]:
        seen.append((name, snapshot) if name else snapshot)
        return Behaviors.same()

    return Behaviors.receive(take)


async def ignore(ctx: ActorContext[int], number: int) -> Behavior[int]:
    return Behaviors.same()


def offer(system, name: str) -> None:
    """Change the topology."""
    system.spawn(Behaviors.discoverable(Behaviors.receive(ignore), key=KEY), name)


async def subscribe(a, b, count: int) -> list[list[TopologySnapshot]]:
    """Subscribe actors of ``b`` at the cluster of ``a``, and return what each of them gets, once each has something."""
    seen = [list[TopologySnapshot]() for _ in range(count)]
    cluster = b.remote("/_cluster", "a").of(SubscribeTopology)
    for number, each in enumerate(seen):
        cluster.tell(SubscribeTopology(b.spawn(into(each), f"subscriber-{number}")))
    with trio.fail_after(60):
        while not all(seen):  # noqa: ASYNC110  # an actor's doings have no event to wait for
            await trio.sleep(0.01)
    return seen


async def test_a_snapshot_is_encoded_once_whoever_gets_it(autojump_clock, nodes, monkeypatch):
    a, b = await nodes.systems("a", "b")
    made: list[str] = []

    class Counted(EncodedMessage):
        __slots__ = ()

        def __init__(self, frame: bytes, name: str) -> None:
            made.append(name)
            super().__init__(frame, name)

    monkeypatch.setattr(subscribers, "EncodedMessage", Counted)
    seen = await subscribe(a, b, 50)
    assert len(made) == 1
    offer(a, "one")
    await trio.sleep(2)
    assert len(made) == 2
    assert all(len(each) == 2 and len(each[-1].registry) == 1 for each in seen)
    assert all(each == seen[0] for each in seen)


async def test_the_loop_goes_round_between_two_snapshots_for_other_nodes(autojump_clock, nodes, monkeypatch):
    await nodes.start("a")
    for name in "bcd":
        await nodes.start(name, "a")
    await nodes.all_up(*"abcd")
    a = nodes.handles["a"].system
    seen = [each for name in "bcd" for each in await subscribe(a, nodes.handles[name].system, 30)]
    rounds, sent = 0, list[int]()
    send = RemoteRef.send_encoded

    async def counted(ref: RemoteRef[TopologySnapshot], message: EncodedMessage) -> None:
        sent.append(rounds)
        await send(ref, message)

    monkeypatch.setattr(RemoteRef, "send_encoded", counted)
    offer(a, "one")
    with trio.fail_after(60):
        while len(sent) < len(seen):
            rounds += 1
            await trio.lowlevel.checkpoint()
    assert len(sent) == 90
    assert max(Counter(sent).values()) <= 2  # this task may be the last of one round, and the first of the next
    await trio.sleep(1)
    assert all(len(each) == 2 for each in seen)


async def test_subscribers_of_the_own_node_are_told_before_any_other(autojump_clock, nodes, monkeypatch):
    a, b = await nodes.systems("a", "b")
    await subscribe(a, b, 3)
    order: list[object] = []
    send = RemoteRef.send_encoded

    async def noted(ref: RemoteRef[TopologySnapshot], message: EncodedMessage) -> None:
        order.append(("b", None))
        await send(ref, message)

    monkeypatch.setattr(RemoteRef, "send_encoded", noted)
    a.cluster.ref.tell(SubscribeTopology(a.spawn(into(order, "a"), "last")))
    await trio.sleep(1)
    order.clear()
    offer(a, "one")
    await trio.sleep(1)
    assert [name for name, _ in order] == ["a", "b", "b", "b"]


async def test_a_subscriber_whose_turn_comes_late_is_told_the_newest_snapshot_alone(autojump_clock, nodes, monkeypatch):
    a, b = await nodes.systems("a", "b")
    seen = await subscribe(a, b, 2)
    gate = trio.Event()
    send = RemoteRef.send_encoded

    async def stuck(ref: RemoteRef[TopologySnapshot], message: EncodedMessage) -> None:
        await gate.wait()
        await send(ref, message)

    monkeypatch.setattr(RemoteRef, "send_encoded", stuck)
    for number in range(5):
        offer(a, f"number-{number}")
        await trio.sleep(1)
    gate.set()
    await trio.sleep(1)
    assert [len(snapshot.registry) for snapshot in seen[0]] == [0, 1, 5]
    assert [len(snapshot.registry) for snapshot in seen[1]] == [0, 5]


@pytest.mark.parametrize(("bound", "whose"), [("PER_NODE_MAX", "of b:2551"), ("MAX", "of other nodes")])
async def test_what_is_over_a_bound_is_said_once_and_takes_no_room_of_the_own_node(
    autojump_clock, nodes, monkeypatch, caplog, bound, whose
):
    monkeypatch.setattr(subscribers, f"REMOTE_SUBSCRIBERS_{bound}", 3)
    a, b = await nodes.systems("a", "b")
    seen = await subscribe(a, b, 3)
    late, here = list[object](), list[object]()
    cluster = b.remote("/_cluster", "a")
    more = [b.spawn(into(late), f"more-{number}") for number in range(5)]
    for ref in more:
        cluster.of(SubscribeTopology).tell(SubscribeTopology(ref))
    a.cluster.ref.tell(SubscribeTopology(a.spawn(into(here), "here")))
    await trio.sleep(1)
    assert late == []
    assert len(here) == 1
    lines = [record.getMessage() for record in caplog.records if "subscribers" in record.getMessage()]
    assert [line.partition("] ")[2] for line in lines] == [f"3 subscribers {whose}: more of them get no snapshots"]
    first = b.lookup("/subscriber-0")
    assert first is not None
    cluster.of(UnsubscribeTopology).tell(UnsubscribeTopology(first))
    cluster.of(SubscribeTopology).tell(SubscribeTopology(more[0]))
    await trio.sleep(1)
    offer(a, "one")
    await trio.sleep(2)
    assert (len(seen[0]), len(seen[1])) == (1, 2)
    assert late


async def test_subscribers_of_a_node_that_was_removed_make_room(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(subscribers, "REMOTE_SUBSCRIBERS_MAX", 3)
    await nodes.start("a")
    for name in "bcd":
        await nodes.start(name, "a")
    await nodes.all_up(*"abcd")
    a, c = nodes.handles["a"].system, nodes.handles["c"].system
    await subscribe(a, nodes.handles["b"].system, 3)
    nodes.crash("b")
    await nodes.all_up("a", "c", "d")
    await trio.sleep(1)
    seen = await subscribe(a, c, 3)
    offer(a, "one")
    await trio.sleep(1)
    assert all(len(each[-1].registry) == 1 for each in seen)


async def test_asks_of_many_get_the_one_snapshot_too(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    cluster = b.remote("/_cluster", "a").of(SubscribeTopology)
    got: list[TopologySnapshot] = []

    async def ask() -> None:
        snapshot: TopologySnapshot = await b.ask(cluster, SubscribeTopology)
        got.append(snapshot)

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert len(got) == 20
    assert {member.id for member in got[0].members} == {"a", "b"}
    assert not b.statistics().dead_letters
