"""Discovery with many services, with keys that do not agree, and at its limits."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TypeVar

import pytest
import trio

from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    ClusterSettings,
    Listing,
    Register,
    ServiceKey,
    Subscribe,
    SubscribeTopology,
    TopologySnapshot,
    TransportLimits,
    message,
)
from casty.cluster.receptionist import receptionist
from casty.cluster.receptionist.receptionist import OFFER_INTERVAL
from casty.protocol.gossip import paging

M = TypeVar("M")


@message("test.many.Add")
@dataclass(frozen=True)
class Add:
    number: int


@message("test.many.Get")
@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int]


async def two(nodes):
    await nodes.start("a")
    await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    return nodes.handles["a"].system, nodes.handles["b"].system


def into(seen: list[M]) -> Behavior[M]:
    async def handler(ctx: ActorContext[M], message: M) -> Behavior[M]:
        seen.append(message)
        return Behaviors.same()

    return Behaviors.receive(handler)


async def test_services_that_take_more_than_a_page_are_all_found_on_another_node(autojump_clock, nodes):
    a, b = await two(nodes)
    keys = [ServiceKey[Add](f"many-{number}") for number in range(3_000)]
    one = a.spawn(Behaviors.ignore(), "one")
    for key in keys:
        a.receptionist.tell(Register(key, one))
    await b.find(keys[-1], at_least=1)
    assert {entry.key for entry in (await b.get_cluster_state()).registry} == {key.name for key in keys}
    a.stop(one)
    await trio.sleep(2 * OFFER_INTERVAL)
    assert (await b.get_cluster_state()).registry == frozenset()


async def test_a_burst_of_registrations_makes_few_changes(autojump_clock, nodes):
    a, b = await two(nodes)
    key, seen = ServiceKey[Add]("many"), list[Listing[Add]]()
    b.receptionist.tell(Subscribe(key, b.spawn(into(seen), "subscriber")))
    for number in range(100):
        a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=key), f"one-{number}")
        await trio.sleep(0.001)
    await trio.sleep(1)
    assert len(seen[-1].refs) == 100
    assert len(seen) <= 2 + 0.1 / OFFER_INTERVAL + 1


async def test_a_change_of_another_key_tells_a_subscriber_nothing(autojump_clock, nodes):
    a, b = await two(nodes)
    key, seen = ServiceKey[Add]("many"), list[Listing[Add]]()
    b.receptionist.tell(Subscribe(key, b.spawn(into(seen), "subscriber")))
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Add]("other")), "other")
    await b.find(ServiceKey[Add]("other"), at_least=1)
    await nodes.start("c", "a")
    await nodes.all_up("a", "b", "c")
    assert [listing.refs for listing in seen] == [()]


async def test_a_service_of_another_type_is_not_found_and_the_log_says_why(autojump_clock, nodes, caplog):
    a, b = await two(nodes)
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Get]("till")), "till")
    await b.find(ServiceKey[Get]("till"), at_least=1)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert (await b.find(ServiceKey[Add]("till"))).refs == ()
    (line,) = [record.getMessage() for record in caplog.records if "till" in record.getMessage()]
    assert "/till on a:2551 is not listed for messages of test.many.Add" in line
    assert "takes test.many.Get" in line


async def test_a_subscriber_that_sends_less_than_a_service_takes_is_told_of_it(autojump_clock, nodes):
    a, b = await two(nodes)
    seen = list[Listing[Add]]()
    b.receptionist.tell(Subscribe(ServiceKey[Add]("till"), b.spawn(into(seen), "subscriber")))
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Add | Get]("till")), "till")
    assert len((await b.find(ServiceKey[Get]("till"), at_least=1)).refs) == 1
    assert [len(listing.refs) for listing in seen] == [0, 1]


async def test_a_stopped_subscriber_of_many_keys_is_dropped(autojump_clock, nodes):
    a, b = await two(nodes)
    seen = list[Listing[Add]]()
    subscriber = b.spawn(into(seen), "subscriber")
    for number in range(10):
        b.receptionist.tell(Subscribe(ServiceKey[Add](f"many-{number}"), subscriber))
    await trio.sleep(0.1)
    b.stop(subscriber)
    await b.wait_stopped(subscriber)
    count = len(seen)
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Add]("many-1")), "one")
    await b.find(ServiceKey[Add]("many-1"), at_least=1)
    assert len(seen) == count == 10
    assert not b.statistics().dead_letters


async def test_a_remote_subscriber_of_a_cluster_too_large_for_a_message_costs_nobody_else(
    autojump_clock, nodes, caplog
):
    limits = TransportLimits(elements_max=600)
    await nodes.start("a", settings=ClusterSettings(limits=limits))
    await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    a, b = nodes.handles["a"].system, nodes.handles["b"].system
    there, here = list[TopologySnapshot](), list[TopologySnapshot]()
    b.remote("/_cluster", "a").of(SubscribeTopology).tell(SubscribeTopology(b.spawn(into(there), "there")))
    await trio.sleep(1)
    a.cluster.ref.tell(SubscribeTopology(a.spawn(into(here), "here")))
    with caplog.at_level(logging.ERROR):
        for number in range(60):
            a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Add](f"many-{number}")), f"one-{number}")
            await trio.sleep(1)
    assert len(here[-1].registry) == 60
    assert 0 < len(there[-1].registry) < 60
    (line,) = [record.getMessage() for record in caplog.records if "snapshots" in record.getMessage()]
    assert "/there on b:2551 gets no snapshots while the cluster is too large" in line


async def test_nodes_join_and_leave_with_a_state_that_takes_many_pages(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(paging, "PAGE_BYTES_MAX", paging.FRAME_BYTES + 400)
    names = [f"n{number}" for number in range(8)]
    for name in names:
        await nodes.start(name, ["n0"] if name != "n0" else [])
    await nodes.all_up(*names)
    await nodes.stop("n3")
    nodes.crash("n5")
    await nodes.all_up(*(name for name in names if name not in ("n3", "n5")))


async def test_a_service_whose_path_is_too_long_is_refused_at_once(autojump_clock, nodes):
    a = (await nodes.start("a")).system
    ref = a.spawn(Behaviors.ignore(), "n" * 1_024)
    with pytest.raises(ValueError, match=r"at most 1024 characters, that of ServiceKey\[.*Add\]\('many'\) has 1025"):
        Register(ServiceKey[Add]("many"), ref)


async def test_a_service_whose_types_have_too_long_names_is_not_registered(autojump_clock, nodes, caplog, monkeypatch):
    monkeypatch.setattr(receptionist, "TYPES_LENGTH_MAX", 20)
    a = (await nodes.start("a")).system
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Add | Get]("both")), "both")
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Add]("one")), "one")
    with caplog.at_level(logging.ERROR):
        await a.find(ServiceKey[Add]("one"), at_least=1)
    assert {entry.key for entry in (await a.get_cluster_state()).registry} == {"one"}
    assert "its 2 types of message have more than 20 characters" in caplog.text
