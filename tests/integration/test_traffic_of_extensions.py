"""Whatever an extension sends over real sockets, heartbeats and gossip come on time."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from casty import (
    ActorContext,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterExtension,
    ExtensionNode,
    UniqueAddress,
)
from casty.testing.inspect import node_of

SECONDS = 5


@dataclass(frozen=True)
class Block:
    data: bytes


class Loaded(ClusterExtension):
    name = "loaded"

    def __init__(self, lane: str | None) -> None:
        self.options = {} if lane is None else {"lane": lane}
        self.arrived = 0

    def attach(self, node: ExtensionNode) -> None:
        self.inside = node
        node.add_control(Block, "test.load", self._take, **self.options)

    def start(self, node: ExtensionNode) -> None:
        self.actor = node.spawn(Behaviors.receive(self._handle), "_loaded")

    def _take(self, peer: UniqueAddress, message: Block, size: int) -> None:
        self.actor.tell(message)

    async def _handle(self, ctx: ActorContext[Block], message: Block) -> Behavior[Block]:
        self.arrived += 1
        return Behaviors.same()


def loaded_node(name: str, extension: Loaded, *seeds: tuple[str, int]) -> ClusteredActorSystem:
    return ClusteredActorSystem(
        name="shop", host="127.0.0.1", port=0, node_id=name, seed_nodes=seeds, extensions=[extension]
    )


@pytest.mark.parametrize(
    ("lane", "size", "every"), [(None, 768 * 1024, 0.02), (None, 100_000, 0.02), ("control", 12_000, 0.005)]
)
async def test_heartbeats_come_on_time_over_tcp(lane: str | None, size: int, every: float) -> None:
    one, other = Loaded(lane), Loaded(lane)
    async with loaded_node("a", one) as a, loaded_node("b", other, ("127.0.0.1", a.self_node.port)) as b:
        await a.wait_for(2)
        await b.wait_for(2)
        received = node_of(a).cluster_metrics.received
        before, sent, end = received["casty.heartbeat"], 0, trio.current_time() + SECONDS
        while trio.current_time() < end:
            sent += other.inside.send(one.inside.self_node, Block(bytes(size)))
            await trio.sleep(every)
        with trio.fail_after(10):
            while one.arrived < sent:  # noqa: ASYNC110  # what comes over a socket sets no event
                await trio.sleep(0.05)
        assert received["casty.heartbeat"] - before >= SECONDS  # of two a second
        assert node_of(a).cluster_metrics.accusations == node_of(b).cluster_metrics.accusations == 0
    assert sent > 25
