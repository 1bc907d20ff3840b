"""A node whose own actors fail is no member any more, and says why."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
from helpers.systems import fail

from casty import CastyError, ClusteredActorSystem, MemoryNetwork, NodeDowned
from casty.protocol.death_watch.machine import DeathWatch
from casty.protocol.failure_detector.monitor import Availability
from casty.protocol.gossip.machine import Dissemination
from casty.protocol.gossip.receive import GossipReceiver
from casty.protocol.messages.liveness import HeartbeatAck
from casty.protocol.messages.membership import GossipDigest, GossipSeen
from casty.protocol.messages.watching import WatchActor
from casty.runtime.system.system import kernel_of
from casty.testing.inspect import node_of

SUBSYSTEMS = ("_topology", "_gossip", "_heartbeat", "_availability", "_receptionist", "_watch", "_peers")
PATHS = ["/_cluster", *(f"/_cluster/{name}" for name in SUBSYSTEMS)]


def node(
    network: MemoryNetwork | None = None, name: str = "a", seeds: Sequence[tuple[str, int]] = ()
) -> ClusteredActorSystem:
    host = (network or MemoryNetwork()).host(name)
    return ClusteredActorSystem(name="shop", host=name, port=2551, node_id=name, network=host, seed_nodes=seeds)


@pytest.mark.parametrize("path", PATHS)
async def test_the_block_raises_which_of_the_own_actors_has_ended_and_why(autojump_clock, path):
    with pytest.raises(CastyError, match=f"{path} has ended, and the node with it") as caught:
        async with node() as system:
            fail(system, path)
            await trio.sleep_forever()
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize("path", PATHS)
async def test_an_own_actor_that_is_stopped_ends_the_node_too(autojump_clock, path):
    with pytest.raises(CastyError, match="has ended, and the node with it"):
        async with node() as system:
            system.stop(kernel_of(system).targets[path])
            await trio.sleep_forever()


async def test_an_error_at_the_begin_of_the_cluster_actor_ends_the_start(autojump_clock, monkeypatch):
    def broken(*_: object) -> None:
        raise LookupError("as a bug would")

    monkeypatch.setattr("casty.cluster.actor._spawn_subsystems", broken)
    with trio.fail_after(5), pytest.raises(CastyError, match="/_cluster has ended") as caught:
        async with node():
            raise AssertionError("never entered")
    assert isinstance(caught.value.__cause__, LookupError)


@pytest.mark.parametrize(
    ("machine", "step", "message"),
    [
        (GossipReceiver, "receive", GossipSeen(1, b"", b"")),
        (Dissemination, "_came", GossipDigest(1, b"")),
        (Availability, "_heard", HeartbeatAck(77)),
        (DeathWatch, "hear", WatchActor(7, "/echo", 1)),
    ],
    ids=["topology", "gossip", "availability", "watch"],
)
async def test_a_message_of_a_peer_by_which_a_machine_fails_is_refused(
    autojump_clock, monkeypatch, caplog, machine, step, message
):
    rightly = getattr(machine, step)

    def broken(self, *args, **options):
        if message in args:
            raise LookupError("as a bug would")
        return rightly(self, *args, **options)

    monkeypatch.setattr(machine, step, broken)
    network, seeds = MemoryNetwork(), [("a", 2551)]
    async with (
        node(network, "a", seeds) as one,
        node(network, "b", seeds) as other,
    ):
        with trio.fail_after(20):
            await one.cluster.wait_up(2)
            here, there = node_of(one), node_of(other)
            there.send_control(here.self_node, message)
            await trio.sleep(3.0)
            assert f"its {type(message).__name__} made this node fail, and is ignored" in caplog.text
            assert "LookupError: as a bug would" in caplog.text
        assert one.cluster.up_members == other.cluster.up_members == 2
        assert not one.cluster.unreachable_members


async def test_what_the_block_has_raised_is_the_cause_where_the_node_is_downed_meanwhile(autojump_clock, nodes):
    await nodes.join(*"bc")
    with pytest.raises(NodeDowned) as caught:
        async with node(nodes.network, "a", [("b", 2551)]) as system:
            await system.wait_for(3)
            for other in "bc":
                nodes.network.cut("a", other)
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError("of the block")
    assert isinstance(caught.value.__cause__, LookupError)
