"""Watching the cluster. Look at the two ways: whole snapshots for an actor, single events for a task."""

from __future__ import annotations

import trio

from casty import (
    ActorContext,
    Behaviors,
    ClusteredActorSystem,
    Inbox,
    MemberLeft,
    MemberUp,
    MemoryNetwork,
    SubscribeTopology,
    TopologySnapshot,
)


async def observer(ctx: ActorContext[TopologySnapshot], inbox: Inbox[TopologySnapshot]) -> None:
    """Print who is a member, each time that something has changed."""
    async for snapshot in inbox:
        members = sorted(f"{member.id} {member.status.name}" for member in snapshot.members)
        print(f"snapshot: {', '.join(members)}; leader {snapshot.leader}")


def node(network: MemoryNetwork, name: str, *seeds: str) -> ClusteredActorSystem:
    """Return a node that lives on a host of its own."""
    seed_nodes = [(seed, 2551) for seed in seeds]
    return ClusteredActorSystem(
        name="watched", host=name, port=2551, node_id=name, seed_nodes=seed_nodes, network=network.host(name)
    )


async def main() -> None:
    """Observe from one node how another comes and goes."""
    network = MemoryNetwork()
    async with node(network, "first") as first, first.events(object) as events:
        ref = first.spawn(Behaviors.task(observer), "observer")
        first.cluster.ref.tell(SubscribeTopology(ref))
        async with node(network, "second", "first"):
            await first.wait_for(2)
        async for event in events:
            if isinstance(event, MemberUp | MemberLeft):
                print("event:", type(event).__name__, event.member.id)
            if isinstance(event, MemberLeft):
                return


if __name__ == "__main__":
    trio.run(main)
