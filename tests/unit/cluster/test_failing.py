"""A node whose own actors fail is no member any more, and says why."""

from __future__ import annotations

import pytest
import trio

from casty import CastyError, ClusteredActorSystem, MemoryNetwork
from casty.runtime.ref import LocalRef
from casty.runtime.system import kernel_of

PATHS = [
    "/_cluster",
    *(f"/_cluster/{name}" for name in ("_topology", "_heartbeat", "_receptionist", "_watch", "_peers")),
]


def fail(system: ClusteredActorSystem, path: str) -> None:
    ref = kernel_of(system).targets[path]
    assert isinstance(ref, LocalRef)
    ref.cell.fail_from_outside(LookupError("as a bug would"))


def node() -> ClusteredActorSystem:
    return ClusteredActorSystem(name="shop", host="a", port=2551, node_id="a", network=MemoryNetwork().host("a"))


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
