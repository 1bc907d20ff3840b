"""A start that does not come to its end leaves nothing, wherever it was."""

from __future__ import annotations

import pytest
import trio

from casty import (
    ActorSystem,
    Behaviors,
    Cluster,
    ClusterConfig,
    ClusteredActorSystem,
    ClusterSettings,
    MemoryNetwork,
    NodeAddress,
    RemoteTransport,
    SystemConfig,
)
from casty.runtime.system.system import kernel_of

STEPS_MAX = 2_000


async def started(network: MemoryNetwork, name: str, seeds: tuple[str, ...], step: int, cancel_at) -> bool:
    """Start a cluster and cancel that at a step; whether it had been complete before."""
    async with ActorSystem("shop") as system:
        config = ClusterConfig(name, 2551, node_id=name, seed_nodes=tuple((seed, 2551) for seed in seeds))
        cluster = Cluster(system, config, remote_transport=RemoteTransport(network.host(name)))
        actors, complete = system.statistics().actors, False
        with trio.CancelScope() as scope, cancel_at(step, scope):
            await cluster.start()
            complete = True
        if not complete:
            kernel = kernel_of(system)
            assert system.lookup("/_cluster") is None
            assert system.statistics().actors == actors
            assert network.listener_at(NodeAddress(name, 2551)) is None
            hooks = kernel.hooks
            assert (hooks.on_spawn, hooks.watch_remote, hooks.unwatch_remote) == (None,) * 3
            assert kernel.listeners.entries == ()
        await cluster.shutdown()
        assert network.listener_at(NodeAddress(name, 2551)) is None
    return complete


async def test_a_first_node_whose_start_is_cancelled_at_any_step_leaves_nothing(autojump_clock, cancel_at):
    tasks = trio.lowlevel.current_statistics().tasks_living
    network = MemoryNetwork()
    step, complete = 1, False
    while not complete:
        assert step < STEPS_MAX
        complete = await started(network, f"n{step}", (), step, cancel_at)
        assert trio.lowlevel.current_statistics().tasks_living <= tasks
        step += 1
    assert step > 10


async def test_a_node_whose_start_is_cancelled_at_any_step_leaves_nothing(autojump_clock, cancel_at):
    tasks = trio.lowlevel.current_statistics().tasks_living
    step, complete = 1, False
    while not complete:
        assert step < STEPS_MAX
        network = MemoryNetwork()
        seed = ClusteredActorSystem(name="shop", host="seed", port=2551, node_id="seed", network=network.host("seed"))
        async with seed:
            complete = await started(network, "joining", ("seed",), step, cancel_at)
            await trio.sleep(2)  # less than a failure detector takes: the joiner says that it has ended
            assert len((await seed.get_cluster_state()).members) == 1
        assert trio.lowlevel.current_statistics().tasks_living <= tasks
        step += 3  # a walk of every step takes ten seconds
    assert step > 20


async def test_a_start_in_a_system_that_stops_frees_its_port(system: ActorSystem, autojump_clock):
    network = MemoryNetwork()
    cluster = Cluster(
        system, ClusterConfig("a", 2551, node_id="a"), remote_transport=RemoteTransport(network.host("a"))
    )
    kernel_of(system).roots.closed = True  # as from the first phase of a shutdown on
    with pytest.raises(Exception, match="it is stopping"):
        await cluster.start()
    assert network.listener_at(NodeAddress("a", 2551)) is None
    await cluster.shutdown()


async def test_of_two_starts_at_once_one_fails_and_the_other_is_whole(system: ActorSystem, autojump_clock):
    network = MemoryNetwork()
    hosts = {name: network.host(name) for name in "ab"}
    a, b = (
        Cluster(system, ClusterConfig(name, 2551, node_id=name), remote_transport=RemoteTransport(host))
        for name, host in hosts.items()
    )
    failed: list[str] = []

    async def start(cluster: Cluster) -> None:
        try:
            await cluster.start()
        except ValueError as error:
            failed.append(str(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(start, a)
        nursery.start_soon(start, b)
    assert len(failed) == 1
    assert kernel_of(system).hooks.on_spawn is not None
    assert sum(network.listener_at(NodeAddress(name, 2551)) is not None for name in "ab") == 1
    await a.shutdown()
    await b.shutdown()


async def test_a_leaving_without_an_answer_ends_with_the_bound_of_its_phase(autojump_clock, nodes):
    settings = ClusterSettings(leave_timeout=500.0)
    await nodes.start("a")
    await nodes.start("b", "a", settings=settings, config=SystemConfig(shutdown_timeout=5.0))
    await nodes.all_up("a", "b")
    nodes.handles["b"].system.spawn(Behaviors.ignore(), "some")
    nodes.network.crash("a")
    nodes.handles["a"].scope.cancel()
    began = trio.current_time()
    await nodes.stop("b")
    assert trio.current_time() - began < 12
