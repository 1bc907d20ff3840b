"""Nodes of a cluster in one process, over a memory network, each in a task of its own."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from casty import ActorSystem, ClusteredActorSystem, DeadLetter, MemoryNetwork
from casty.address import UniqueAddress
from casty.cluster.node import ClusterNode
from casty.testing.inspect import inbound_of, node_of
from casty.transport.manager.inbound import InboundHandler

PORT = 2551


@dataclass
class Handle:
    """One node: its system, what its event stream said, and how its block ended."""

    system: ClusteredActorSystem
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)
    ended: trio.Event = field(default_factory=trio.Event)
    error: BaseException | None = None
    events: list[tuple[float, object]] = field(default_factory=list)

    @property
    def node(self) -> ClusterNode:
        """What the rooms of the cluster share on this node."""
        return node_of(self.system)

    @property
    def run(self) -> UniqueAddress:
        return self.node.self_node

    @property
    def inbound(self) -> InboundHandler:
        """What takes each frame that a peer has sent to this node."""
        return inbound_of(self.system)

    @property
    def letters(self) -> list[DeadLetter]:
        return [event for _, event in self.events if isinstance(event, DeadLetter)]

    def told(self, kind: type) -> list[str]:
        """Return the node ids in the events of one kind, in their order."""
        return [event.member.id for _, event in self.events if isinstance(event, kind)]


class Nodes:
    """Starts, stops and crashes nodes by name."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.network = MemoryNetwork()
        self.nursery = nursery
        self.handles: dict[str, Handle] = {}

    async def start(self, name: str, seeds: Sequence[str] = (), **options: Any) -> Handle:
        """Start a node on the host ``name`` and return once its block is entered; raise what it raises."""
        system = ClusteredActorSystem(
            name=options.pop("system", "shop"),
            host=options.pop("host", name),
            port=options.pop("port", PORT),
            node_id=options.pop("node_id", name),
            seed_nodes=[(seed, PORT) for seed in seeds],
            network=self.network.host(name),
            **options,
        )
        handle = Handle(system)
        await self.nursery.start(self._run, handle)
        if handle.error is not None:
            raise handle.error
        self.handles[name] = handle
        return handle

    async def start_all(self, *names: str, **options: Any) -> None:
        """Start nodes that all seed from all, at one time: seeds wait for each other."""
        async with trio.open_nursery() as starting:
            for name in names:
                starting.start_soon(partial(self.start, name, names, **options))

    async def join(self, *names: str, **options: Any) -> list[Handle]:
        """Start nodes one after another, of which the first forms the cluster; return them once all are up."""
        for name in names:
            await self.start(name, () if name == names[0] else names[:1], **options)
        await self.all_up(*names)
        return [self.handles[name] for name in names]

    async def systems(self, *names: str, **options: Any) -> list[ClusteredActorSystem]:
        """Do the same as `join`, and return the systems."""
        return [handle.system for handle in await self.join(*names, **options)]

    async def stop(self, name: str) -> None:
        """Leave the block of a node, gracefully."""
        self.handles[name].scope.cancel()
        await self.handles[name].ended.wait()

    def crash(self, name: str) -> None:
        """Cut a node off the network for good, as SIGKILL does: its links break, its port refuses."""
        self.network.crash(name)
        self.handles[name].scope.cancel()

    async def all_up(self, *names: str) -> None:
        """Wait until each of these nodes sees exactly these nodes, all up."""
        for name in names:
            await self.sees(name, dict.fromkeys(names, "up"))

    async def sees(self, name: str, expected: dict[str, str]) -> None:
        """Wait until a node sees exactly these members in these states, nobody unreachable."""
        with trio.fail_after(120):
            while True:
                state = await self.handles[name].system.get_cluster_state()
                if {m.id: m.status.name for m in state.members} == expected and not state.unreachable:
                    return
                await trio.sleep(0.05)

    async def _run(self, handle: Handle, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        started = False
        try:
            with handle.scope:
                async with handle.system as system, system.events(object) as events:
                    started = True
                    task_status.started()
                    async for event in events:
                        handle.events.append((trio.current_time(), event))
        except Exception as error:  # the test asks for it
            handle.error = error
        finally:
            handle.ended.set()
            if not started:
                task_status.started()


@pytest.fixture
async def nodes(autojump_clock: trio.testing.MockClock) -> AsyncGenerator[Nodes]:
    async with trio.open_nursery() as nursery:
        running = Nodes(nursery)
        yield running
        for handle in running.handles.values():
            handle.scope.cancel()


@pytest.fixture
async def system(autojump_clock: trio.testing.MockClock) -> AsyncGenerator[ActorSystem]:
    async with ActorSystem("shop") as running:
        yield running
