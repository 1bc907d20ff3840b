"""A singleton with a schedule. Look at `reporter`, and at the node of each report: the other one goes on with the work.

The network is in memory. Both nodes may run the reporter; the oldest does, until it leaves.
"""

from __future__ import annotations

from dataclasses import dataclass

import trio

from casty import ActorContext, Behavior, Behaviors, ClusteredActorSystem, EntityKey, MemoryNetwork, message


@message("example.Report")
@dataclass(frozen=True)
class Report:
    """Tick of the schedule."""


REPORTER = EntityKey[Report]("reporter")
reports, told = trio.open_memory_channel[str](100)


async def reporter(ctx: ActorContext[Report]) -> Behavior[Report]:
    """Report at a fixed rate, on whichever node it runs."""
    ctx.schedule_tick(Report(), 0.1)

    async def report(ctx: ActorContext[Report], message: Report) -> Behavior[Report]:
        assert isinstance(ctx.system, ClusteredActorSystem)
        reports.send_nowait(ctx.system.cluster_config.node_id)
        return Behaviors.same()

    return Behaviors.receive(report)


def node(network: MemoryNetwork, name: str, *seeds: str) -> ClusteredActorSystem:
    """Return a node that lives on a host of its own."""
    seed_nodes, host = [(seed, 2551) for seed in seeds], network.host(name)
    return ClusteredActorSystem(name="reports", host=name, port=2551, node_id=name, seed_nodes=seed_nodes, network=host)


async def main() -> None:
    """Let the node with the reporter leave, and see the other one go on."""
    network, behavior = MemoryNetwork(), Behaviors.singleton(lambda: Behaviors.setup(reporter), REPORTER)
    async with node(network, "paris") as paris, node(network, "tokyo", "paris") as tokyo:
        for one in (tokyo, paris):
            await one.wait_for(2)
            one.spawn(behavior, "reporter")
        print("reported by", await told.receive())
        await paris.shutdown()
        while (last := await told.receive()) == "paris":
            pass
        print("reported by", last)


if __name__ == "__main__":
    trio.run(main)
