"""The sight of shards on a node: snapshots, the query, events, figures, and the report for who asks from outside."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any, get_args

import pytest
import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    CoordinatorChanged,
    EntityKey,
    Metric,
    ShardListing,
    ShardMoved,
    ShardOpened,
    ShardResumed,
    ShardSuspended,
    SubscribeTopology,
    TopologySnapshot,
)
from casty.address import NodeAddress
from casty.cluster.observability.status_report import ask_status
from casty.cluster.sharding.sharding import CONTROL
from casty.cluster.sharding.sharding_metrics import SHARDING_METRICS
from casty.protocol.messages.sharding import Marker, PlacementMessage


@casty.message("tests.sight.Count")
@dataclass(frozen=True)
class Count:
    reply_to: ActorRef[int]


COUNTERS = EntityKey[Count]("counters")
SHARDS = 16


def counter(entity_id: str) -> Behavior[Count]:
    count = 0

    async def handle(ctx: ActorContext[Count], message: Count) -> Behavior[Count]:
        nonlocal count
        count += 1
        message.reply_to.tell(count)
        return Behaviors.same()

    return Behaviors.receive(handle)


def host(system: ClusteredActorSystem, **options: Any) -> ActorRef[Any]:
    sharded = Behaviors.sharded(counter, COUNTERS, **{"num_shards": SHARDS} | options)
    return system.spawn(sharded, "counters")


async def count(system: ClusteredActorSystem, name: str, timeout: float = 20.0) -> int:
    counted: int = await system.ask(system.entity(COUNTERS, name), Count, timeout=timeout)
    return counted


async def placed(system: ClusteredActorSystem, *nodes: str) -> ShardListing:
    """Wait until every shard is open, evenly on these nodes."""
    with trio.fail_after(60):
        while True:
            listing = await system.shards(COUNTERS)
            loads = {node.host: count for node, count in listing.loads.items()}
            is_even = bool(loads) and max(loads.values()) - min(loads.values()) <= 1
            if loads.keys() == set(nodes) and is_even and sum(loads.values()) == SHARDS and not listing.moves:
                return listing
            await trio.sleep(0.1)


def snapshots_of(system: ClusteredActorSystem, name: str) -> list[tuple[float, TopologySnapshot]]:
    seen: list[tuple[float, TopologySnapshot]] = []

    async def note(ctx: ActorContext[TopologySnapshot], snapshot: TopologySnapshot) -> Behavior[TopologySnapshot]:
        seen.append((trio.current_time(), snapshot))
        return Behaviors.same()

    system.cluster.ref.tell(SubscribeTopology(system.spawn(Behaviors.receive(note), name)))
    return seen


def test_every_message_of_the_placement_has_a_name():
    assert {*CONTROL, Marker} == set(get_args(PlacementMessage))


async def test_every_subscriber_sees_where_shards_are_and_their_number_grows(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    seen = [snapshots_of(system, "watcher") for system in (a, b, c)]
    await trio.sleep(1)
    assert [one.allocation_epoch for _, one in seen[2]] == [0]
    host(a)
    host(b)
    await placed(c, "a", "b")
    await trio.sleep(1)
    for snapshots in seen:
        epochs = [one.allocation_epoch for _, one in snapshots]
        assert epochs == sorted(epochs)
        places = snapshots[-1][1].shard_allocations
        assert Counter(place.primary.host for place in places["counters"].values()) == {"a": 8, "b": 8}
        assert sorted(places["counters"]) == list(range(SHARDS))
        assert {place.replicas for place in places["counters"].values()} == {()}
    state = await c.get_cluster_state()
    assert (state.shard_allocations, state.allocation_epoch) == (places, epochs[-1])


async def test_news_of_shards_make_at_most_twenty_snapshots_a_second(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    seen = snapshots_of(a, "watcher")
    for number in range(8):
        key = EntityKey[Count](f"kind-{number}")
        a.spawn(Behaviors.sharded(counter, key, num_shards=4), f"kind-{number}")
        await trio.sleep(0.02)
    await trio.sleep(2)
    epochs = {one.allocation_epoch: at for at, one in reversed(seen)}
    times = sorted(epochs.values())
    assert len(seen[-1][1].shard_allocations) == 8
    assert all(later - sooner >= 0.05 - 1e-9 for sooner, later in zip(times[1:], times[2:], strict=False))


async def test_the_number_goes_on_under_the_next_coordinator(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    for system in (a, b, c):
        host(system)
    before = await placed(c, "a", "b", "c")
    assert before.coordinator == NodeAddress("a", 2551)
    seen = snapshots_of(c, "watcher")
    nodes.crash("a")
    await trio.sleep(20)
    after = await placed(c, "b", "c")
    epochs = [one.allocation_epoch for _, one in seen]
    assert epochs == sorted(epochs)
    assert epochs[-1] == after.epoch > before.epoch
    assert after.coordinator == NodeAddress("b", 2551)


async def test_a_listing_names_the_node_of_an_entity(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    nobody = await c.shards(COUNTERS)
    assert (nobody.num_shards, nobody.hosts, nobody.rows) == (0, (), ())
    assert nobody.node_of("one") is None
    host(a)
    await count(c, "one")
    listing = await c.shards(COUNTERS)
    assert listing.node_of("one") == a.self_node
    assert listing.hosts == (a.self_node,)
    assert (await b.shards(COUNTERS)).rows == listing.rows
    with pytest.raises(TypeError, match=r"EntityKey\[Message\]\('carts'\)"):
        await a.shards("counters")


async def test_a_stopped_node_tells_of_no_shards_it_does_not_know():
    system = ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="a")
    with pytest.raises(RuntimeError, match="has not been started"):
        await system.shards(COUNTERS)


async def test_openings_and_moves_are_told_on_every_node(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    host(a)
    await count(c, "one")
    await trio.sleep(1)
    told = {name: [event for _, event in nodes.handles[name].events] for name in "abc"}
    for events in told.values():
        opened = [event for event in events if isinstance(event, ShardOpened)]
        assert sorted(event.shard for event in opened) == list(range(SHARDS))
        assert {event.node for event in opened} == {nodes.handles["a"].run}
        assert [event.node for event in events if isinstance(event, CoordinatorChanged)] == [nodes.handles["a"].run]
    host(b)
    await placed(c, "a", "b")
    for name in "abc":
        moved = [event for _, event in nodes.handles[name].events if isinstance(event, ShardMoved)]
        assert len({event.shard for event in moved}) == len(moved) == 8
        assert {(event.moved_from, event.node) for event in moved} == {(nodes.handles["a"].run, nodes.handles["b"].run)}


async def test_a_node_cut_off_says_that_its_shards_are_suspended(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    host(b)
    await count(a, "one")
    nodes.network.freeze("b")
    await trio.sleep(4.5)
    nodes.network.thaw("b")
    await trio.sleep(3)
    events = [event for _, event in nodes.handles["b"].events if isinstance(event, (ShardSuspended, ShardResumed))]
    assert events == [ShardSuspended("counters", tuple(range(SHARDS))), ShardResumed("counters")]
    assert await count(a, "one") == 2


class Collected(dict[tuple[str, ...], float]):
    """Figures of the placement on a node, by name and labels."""

    def __init__(self, system: ClusteredActorSystem) -> None:
        super().__init__()
        self.metrics: set[str] = set()
        system.collect(self)

    def counter(self, metric: Metric, value: float, *labels: str) -> None:
        if metric.name.startswith("sharding_"):
            self[(metric.name.removeprefix("sharding_"), *labels)] = value

    gauge = counter


async def test_a_node_counts_its_shards_and_entities(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    assert Collected(a) == {}
    b.entity(COUNTERS, "early").tell(Count(b.event_stream.of(int)))
    assert Collected(b) == {("shards", "counters"): 0, ("moves", "counters"): 0, ("held_messages", "counters"): 1}
    host(a, passivate_after=5.0)
    for number in range(10):
        await count(b, f"counter-{number}")
    figures = Collected(a)
    assert {name for name, *_ in figures} == {metric.name for metric in SHARDING_METRICS} - {
        "refused_messages",
        "refused_words",
    }
    assert figures["shards", "counters"] == SHARDS
    assert figures["entities", "counters"] == figures["entity_starts", "counters"] == 11
    assert figures["waiting_messages", "counters"] == figures["passivations", "counters"] == 0
    await trio.sleep(10)
    assert Collected(a)["entities", "counters"] == 0
    assert Collected(a)["passivations", "counters"] == 11
    host(b)
    await placed(a, "a", "b")
    assert Collected(a)["moves", "counters"] == Collected(b)["moves", "counters"] == 8
    assert Collected(b)["shards", "counters"] == 8


async def test_refused_messages_are_counted_by_reason(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    nobody = EntityKey[Count]("nobody")
    for _ in range(1_005):
        a.entity(nobody, "one").tell(Count(a.event_stream.of(int)))
    assert Collected(a)["refused_messages", "nobody", "shard buffer full"] == 5


async def test_a_report_tells_the_shards_to_who_asks(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    console = nodes.network.host("console")
    assert (await ask_status(console, NodeAddress("a", 2551))).shards == ()
    host(a)
    host(b)
    listing = await placed(a, "a", "b")
    report = await ask_status(console, NodeAddress("b", 2551))
    assert report.shards == (listing,)
    assert (report.node.keys, report.node.keys_left_out) == (1, 0)


async def test_a_report_leaves_out_the_keys_it_has_no_room_for(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr("casty.cluster.sharding.shard_reports.ROWS_TOLD_MAX", 10)
    (a,) = await nodes.systems("a")
    for number in range(4):
        key = EntityKey[Count](f"kind-{number}")
        a.spawn(Behaviors.sharded(counter, key, num_shards=4), f"kind-{number}")
    await trio.sleep(5)
    report = await ask_status(nodes.network.host("console"), NodeAddress("a", 2551))
    assert [listing.key for listing in report.shards] == ["kind-0", "kind-1"]
    assert report.node.keys_left_out == 2
    assert {listing.loads[a.self_node] for listing in report.shards} == {4}
