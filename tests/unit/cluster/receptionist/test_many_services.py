"""Discovery with many services, with keys that do not agree, and at its limits."""

from __future__ import annotations

import logging
from typing import TypeVar

import pytest
import trio
from helpers.behaviors import recording
from helpers.messages import Get, Item

from casty import (
    Behaviors,
    ClusterSettings,
    Listing,
    Register,
    ServiceKey,
    Subscribe,
    SubscribeTopology,
    TopologySnapshot,
    TransportLimits,
)
from casty.cluster.receptionist import receptionist
from casty.cluster.receptionist.receptionist import OFFER_INTERVAL
from casty.protocol.state import paging

M = TypeVar("M")


async def test_services_that_take_more_than_a_page_are_all_found_on_another_node(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    keys = [ServiceKey[Item](f"many-{number}") for number in range(3_000)]
    one = a.spawn(Behaviors.ignore(), "one")
    for key in keys:
        a.receptionist.tell(Register(key, one))
    await b.find(keys[-1], at_least=1)
    assert {entry.key for entry in (await b.get_cluster_state()).registry} == {key.name for key in keys}
    a.stop(one)
    await trio.sleep(2 * OFFER_INTERVAL)
    assert (await b.get_cluster_state()).registry == frozenset()


async def test_a_burst_of_registrations_makes_few_changes(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    key, seen = ServiceKey[Item]("many"), list[Listing[Item]]()
    b.receptionist.tell(Subscribe(key, b.spawn(recording(seen), "subscriber")))
    for number in range(100):
        a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=key), f"one-{number}")
        await trio.sleep(0.001)
    await trio.sleep(1)
    assert len(seen[-1].refs) == 100
    assert len(seen) <= 2 + 0.1 / OFFER_INTERVAL + 1


async def test_a_change_of_another_key_tells_a_subscriber_nothing(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    key, seen = ServiceKey[Item]("many"), list[Listing[Item]]()
    b.receptionist.tell(Subscribe(key, b.spawn(recording(seen), "subscriber")))
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Item]("other")), "other")
    await b.find(ServiceKey[Item]("other"), at_least=1)
    await nodes.start("c", "a")
    await nodes.all_up("a", "b", "c")
    assert [listing.refs for listing in seen] == [()]


async def test_a_service_of_another_type_is_not_found_and_the_log_says_why(autojump_clock, nodes, caplog):
    a, b = await nodes.systems("a", "b")
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Get]("till")), "till")
    await b.find(ServiceKey[Get]("till"), at_least=1)
    with caplog.at_level(logging.ERROR):
        for _ in range(2):
            assert (await b.find(ServiceKey[Item]("till"))).refs == ()
    (line,) = [record.getMessage() for record in caplog.records if "till" in record.getMessage()]
    assert "/till on a:2551 is not listed for messages of tests.Item" in line
    assert "takes tests.Get" in line


async def test_a_subscriber_that_sends_less_than_a_service_takes_is_told_of_it(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen = list[Listing[Item]]()
    b.receptionist.tell(Subscribe(ServiceKey[Item]("till"), b.spawn(recording(seen), "subscriber")))
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Item | Get]("till")), "till")
    assert len((await b.find(ServiceKey[Get]("till"), at_least=1)).refs) == 1
    assert [len(listing.refs) for listing in seen] == [0, 1]


async def test_a_stopped_subscriber_of_many_keys_is_dropped(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen = list[Listing[Item]]()
    subscriber = b.spawn(recording(seen), "subscriber")
    for number in range(10):
        b.receptionist.tell(Subscribe(ServiceKey[Item](f"many-{number}"), subscriber))
    await trio.sleep(0.1)
    b.stop(subscriber)
    await b.wait_stopped(subscriber)
    count = len(seen)
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Item]("many-1")), "one")
    await b.find(ServiceKey[Item]("many-1"), at_least=1)
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
    b.remote("/_cluster", "a").of(SubscribeTopology).tell(SubscribeTopology(b.spawn(recording(there), "there")))
    await trio.sleep(1)
    a.cluster.ref.tell(SubscribeTopology(a.spawn(recording(here), "here")))
    with caplog.at_level(logging.ERROR):
        for number in range(60):
            a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Item](f"many-{number}")), f"one-{number}")
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
    with pytest.raises(ValueError, match=r"at most 1024 characters, that of ServiceKey\[.*Item\]\('many'\) has 1025"):
        Register(ServiceKey[Item]("many"), ref)


async def test_a_service_whose_types_have_too_long_names_is_not_registered(autojump_clock, nodes, caplog, monkeypatch):
    monkeypatch.setattr(receptionist, "TYPES_LENGTH_MAX", 15)
    a = (await nodes.start("a")).system
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Item | Get]("both")), "both")
    a.spawn(Behaviors.discoverable(Behaviors.ignore(), key=ServiceKey[Item]("one")), "one")
    with caplog.at_level(logging.ERROR):
        await a.find(ServiceKey[Item]("one"), at_least=1)
    assert {entry.key for entry in (await a.get_cluster_state()).registry} == {"one"}
    assert "its 2 types of message have more than 15 characters" in caplog.text
