"""The ways into a running system: copies of what the handles do not tell, and the objects behind them."""

from __future__ import annotations

import pytest
import trio.testing

from casty import (
    ActorSystem,
    Behaviors,
    Cluster,
    ClusterConfig,
    ClusteredActorSystem,
    DeadLetter,
    EventStreamSubscribe,
    MemoryNetwork,
    RemoteTransport,
    ScheduleOnce,
)
from casty.testing.inspect import (
    deadlines_of,
    inbound_of,
    kernel_of,
    link_manager_of,
    links_of,
    node_of,
    paths_of,
    subscriptions_of,
)
from casty.transport.manager.inbound import InboundHandler
from casty.wire.frame import FrameKind, Lane


async def test_actors_deadlines_and_subscriptions_come_and_go(autojump_clock: trio.testing.MockClock) -> None:
    async with ActorSystem("shop") as system:
        own = paths_of(system)
        assert (deadlines_of(system), subscriptions_of(system)) == ((), {})
        cart = system.spawn(Behaviors.ignore(), "cart")
        system.event_stream.tell(EventStreamSubscribe(DeadLetter, cart))
        for key, delay in (("later", 3.0), ("soon", 2.0)):
            system.scheduler.tell(ScheduleOnce(key, cart, "now", delay))
        assert paths_of(system) == (*own, "/cart")
        assert subscriptions_of(system) == {DeadLetter: (cart,)}
        assert deadlines_of(system) == pytest.approx((2.0, 3.0))
        await trio.sleep(2.5)
        assert deadlines_of(system) == pytest.approx((0.5,))
        system.stop(cart)
        await system.wait_stopped(cart)
        assert (paths_of(system), subscriptions_of(system)) == (own, {})


async def test_what_is_returned_is_a_copy(autojump_clock: trio.testing.MockClock) -> None:
    async with ActorSystem("shop") as system:
        cart = system.spawn(Behaviors.ignore(), "cart")
        system.event_stream.tell(EventStreamSubscribe(DeadLetter, cart))
        subscriptions_of(system).clear()
        assert subscriptions_of(system) == {DeadLetter: (cart,)}


async def test_nodes_are_reached_by_their_system_and_by_their_cluster(autojump_clock: trio.testing.MockClock) -> None:
    network = MemoryNetwork()
    async with (
        ClusteredActorSystem(name="shop", host="a", port=1, node_id="a", network=network.host("a")) as first,
        ClusteredActorSystem(
            name="shop", host="b", port=1, node_id="b", seed_nodes=[("a", 1)], network=network.host("b")
        ) as second,
    ):
        await first.wait_for(2)
        here, there = node_of(first), node_of(second.cluster)
        assert (here.self_node.address, there.self_node.address) == (first.self_node, second.self_node)
        assert here.kernel is kernel_of(first)
        assert {link.peer for link in links_of(first)} == {there.self_node}
        assert here.transport is not None
        assert there.self_node in link_manager_of(here.transport).links.by_peer[Lane.control]
        handler: InboundHandler = inbound_of(first)
        before = here.cluster_metrics.decode_errors
        handler.frame(there.self_node, Lane.control, FrameKind.CONTROL, b"\xc1")
        assert here.cluster_metrics.decode_errors == before + 1


async def test_what_is_not_there_is_refused_with_what_to_do() -> None:
    async with ActorSystem("shop") as system:
        cluster = Cluster(system, ClusterConfig("127.0.0.1", 0, node_id="a"))
        for look in (node_of, links_of, inbound_of):
            with pytest.raises(RuntimeError, match="has not been started"):
                look(cluster)
        await cluster.start()
        assert links_of(cluster) == ()
        with pytest.raises(RuntimeError, match="give its Cluster a RemoteTransport"):
            inbound_of(cluster)
        await cluster.shutdown()
        with pytest.raises(RuntimeError, match="call bind"):
            link_manager_of(RemoteTransport(MemoryNetwork().host("a")))
