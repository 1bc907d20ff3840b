"""What the docstrings say is raised is raised: each case names the callable whose section tells the error."""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio.testing

import casty
from casty import (
    ActorContext,
    ActorSystem,
    Behavior,
    Behaviors,
    Cluster,
    ClusterConfig,
    ClusteredActorSystem,
    DeadLetter,
    EventStreamSubscribe,
    Mailbox,
    MailboxOverflowStrategy,
    NodeAddress,
    Routers,
    ServiceKey,
    ShutdownPhase,
    SqliteLease,
    embed,
)

Case = tuple[str, type[BaseException], Callable[[Any], object]]


def told(name: str) -> str:
    """Return the section of errors in the docstring of a public callable or class."""
    found: object = embed if name.startswith("embed.") else casty
    for part in name.removeprefix("embed.").split("."):
        found = getattr(found, part)
    return (inspect.getdoc(found) or "").partition("Raises:\n")[2]


async def check(name: str, error: type[BaseException], act: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        result = act()
        if inspect.isawaitable(result):
            await result
    assert re.search(rf"^    {type(caught.value).__name__}: ", told(name), re.MULTILINE), name


def cluster(system: ActorSystem) -> Cluster:
    return Cluster(system, ClusterConfig("127.0.0.1", 2551, node_id="n"))


def ignorer(system: ActorSystem) -> casty.ActorRef[object]:
    return system.spawn(Behaviors.ignore(), "ignorer")


async def plain() -> None:
    """Do nothing."""


async def find_after_the_end(node: ClusteredActorSystem) -> None:
    await node.cluster.shutdown()
    await node.find(KEY)


KEY = ServiceKey[int]("nobody")

NOT_STARTED: list[Case] = [
    ("Cluster.ref", RuntimeError, lambda system: cluster(system).ref),
    ("Cluster.self_node", RuntimeError, lambda system: cluster(system).self_node),
    ("Cluster.receptionist", RuntimeError, lambda system: cluster(system).receptionist),
    ("Cluster.contacts", RuntimeError, lambda system: cluster(system).contacts),
    ("Cluster.is_alone", RuntimeError, lambda system: cluster(system).is_alone),
    ("Cluster.up_members", RuntimeError, lambda system: cluster(system).up_members),
    ("Cluster.get_state", RuntimeError, lambda system: cluster(system).get_state()),
    ("Cluster.get_receptionist", RuntimeError, lambda system: cluster(system).get_receptionist()),
    ("Cluster.wait_up", RuntimeError, lambda system: cluster(system).wait_up(1)),
    ("Cluster.wait_ended", RuntimeError, lambda system: cluster(system).wait_ended()),
    ("Cluster.on_end", RuntimeError, lambda system: cluster(system).on_end(lambda: None)),
    ("Cluster.on_end", TypeError, lambda system: cluster(system).on_end(plain)),  # type: ignore[arg-type]  # the point
    ("Cluster.serving_lease", RuntimeError, lambda system: cluster(system).serving_lease()),
    ("Cluster.leave", RuntimeError, lambda system: cluster(system).leave(NodeAddress("a", 1))),
    ("Cluster.down", RuntimeError, lambda system: cluster(system).down(NodeAddress("a", 1))),
    ("Cluster.remote", RuntimeError, lambda system: cluster(system).remote("/a", "n")),
    ("Cluster.remote", ValueError, lambda system: cluster(system).remote("a", "n")),
    ("Cluster.wait_up", ValueError, lambda system: cluster(system).wait_up(0)),
    ("Cluster", ValueError, lambda system: Cluster(system, ClusterConfig("a", 1, node_id="n"), system_name="a b")),
    ("Cluster", casty.ConfigError, lambda system: Cluster(system, ClusterConfig("a", 1, node_id="n"), gossip_fanout=0)),
]

SYSTEM: list[Case] = [
    ("ActorSystem", ValueError, lambda system: ActorSystem("a b")),
    ("ActorSystem", casty.ConfigError, lambda system: ActorSystem(config=3)),  # type: ignore[arg-type]  # the point
    ("ActorSystem", RuntimeError, lambda system: system.__aenter__()),
    ("ActorSystem.spawn", ValueError, lambda system: [ignorer(system), ignorer(system)]),
    ("ActorSystem.spawn", ValueError, lambda system: system.spawn(Behaviors.ignore(), "_a")),
    ("ActorSystem.spawn", TypeError, lambda system: system.spawn(3, "a")),
    ("ActorSystem.spawn", casty.ConfigError, lambda system: system.spawn(Behaviors.ignore(), "a", mailbox=3)),
    ("ActorSystem.spawn", RuntimeError, lambda system: ActorSystem().spawn(Behaviors.ignore(), "a")),
    ("ActorSystem.lookup", ValueError, lambda system: system.lookup("a")),
    ("ActorSystem.lookup", RuntimeError, lambda system: ActorSystem().lookup("/a")),
    ("ActorSystem.stop", TypeError, lambda system: system.stop(3)),
    ("ActorSystem.wait_stopped", TypeError, lambda system: system.wait_stopped(3)),
    ("ActorSystem.on_shutdown", TypeError, lambda system: system.on_shutdown(ShutdownPhase.stop_actors, print)),
    ("ActorSystem.ask", TypeError, lambda system: system.ask(ignorer(system), 3)),
    ("ActorSystem.ask", TypeError, lambda system: system.ask(3, lambda reply_to: reply_to)),
    ("ActorSystem.ask", ValueError, lambda system: system.ask(ignorer(system), lambda ref: ref, timeout=math.nan)),
    (
        "ActorSystem.ask",
        casty.AskTimeoutError,
        lambda system: system.ask(ignorer(system), lambda ref: ref, timeout=0.0),
    ),
    ("ActorSystem.ask_or_none", TypeError, lambda system: system.ask_or_none(ignorer(system), 3)),
    ("ActorSystem.tell_threadsafe", TypeError, lambda system: system.tell_threadsafe(3, 3)),
    ("ActorSystem.events", TypeError, lambda system: system.events()),
    ("ActorSystem.events", ValueError, lambda system: system.events(DeadLetter, capacity=0)),
    ("EventStreamSubscribe", TypeError, lambda system: EventStreamSubscribe(3, ignorer(system))),  # type: ignore[arg-type]  # the point
    ("Routers.pool", ValueError, lambda system: Routers.pool(0, Behaviors.ignore())),
    ("Routers.pool", TypeError, lambda system: Routers.pool(1, 3)),  # type: ignore[arg-type]  # the point
    ("Routers.group", TypeError, lambda system: Routers.group("a")),  # type: ignore[arg-type]  # the point
    ("ServiceKey", TypeError, lambda system: ServiceKey("a")),
    ("ServiceKey", ValueError, lambda system: ServiceKey[int]("")),
    ("Behaviors.receive", TypeError, lambda system: Behaviors.receive(plain)),  # type: ignore[arg-type]  # the point
    ("Behaviors.with_stash", ValueError, lambda system: Behaviors.with_stash(0, unstashed)),
    ("Behaviors.supervise", TypeError, lambda system: Behaviors.supervise(Behaviors.ignore(), 3)),  # type: ignore[arg-type]  # the point
    ("SqliteLease.identify", casty.LeaseError, lambda system: SqliteLease("/no/such/folder/lease.db").identify()),
    ("embed.start", RuntimeError, lambda system: embed.start(ActorSystem).__enter__()),
]

NODE: list[Case] = [
    ("ClusteredActorSystem", ValueError, lambda node: other(name="a b")),
    ("ClusteredActorSystem", casty.ConfigError, lambda node: other(required_quorum=0)),
    ("ClusteredActorSystem", casty.ConfigError, lambda node: other(host="10.255.255.1").__aenter__()),
    ("ClusteredActorSystem.find", TypeError, lambda node: node.find("a")),
    ("ClusteredActorSystem.find", ValueError, lambda node: node.find(KEY, at_least=-1)),
    ("ClusteredActorSystem.find", casty.AskTimeoutError, lambda node: node.find(KEY, timeout=0.0)),
    ("ClusteredActorSystem.find", casty.AskFailed, find_after_the_end),
    ("ClusteredActorSystem.find", casty.ClusterTimeoutError, lambda node: node.find(KEY, at_least=1, timeout=1.0)),
    ("ClusteredActorSystem.wait_for", casty.ClusterTimeoutError, lambda node: node.wait_for(2, timeout=1.0)),
    ("ClusteredActorSystem.wait_for", ValueError, lambda node: node.wait_for("2")),
    ("ClusteredActorSystem.wait_for", RuntimeError, lambda node: other().wait_for(1)),
    ("ClusteredActorSystem.get_cluster_state", RuntimeError, lambda node: other().get_cluster_state()),
    ("ClusteredActorSystem.remote", LookupError, lambda node: node.remote("/a", "nobody")),
    ("ClusteredActorSystem.remote", ValueError, lambda node: node.remote("a", "n")),
    ("ClusteredActorSystem.remote", TypeError, lambda node: node.remote("/a", ("127.0.0.1", 5))),
    ("Cluster.remote", TypeError, lambda node: node.cluster.remote("/a", ("127.0.0.1", 5))),
    ("Cluster.start", RuntimeError, lambda node: node.cluster.start()),
    ("Cluster.start", RuntimeError, lambda node: cluster(node).start()),
    ("Cluster.leave", LookupError, lambda node: node.cluster.leave(NodeAddress("a", 1))),
    ("Cluster.leave", TypeError, lambda node: node.cluster.leave("a")),
    ("Cluster.down", LookupError, lambda node: node.cluster.down(NodeAddress("a", 1))),
]

CONTEXT: list[Case] = [
    ("ActorContext.watch", ValueError, lambda ctx: ctx.watch(ctx.self)),
    ("ActorContext.watch", ValueError, lambda ctx: ctx.watch(ctx.system.event_stream)),
    ("ActorContext.watching", ValueError, lambda ctx: ctx.watching(ctx.self)),
    ("ActorContext.ask", casty.AskFailed, lambda ctx: ctx.ask(ctx.self, lambda ref: ref)),
    ("ActorContext.stash_buffer", ValueError, lambda ctx: ctx.stash_buffer(0)),
    ("ActorContext.schedule_once", ValueError, lambda ctx: ctx.schedule_once(1, -1.0)),
    ("ActorContext.schedule_tick", ValueError, lambda ctx: ctx.schedule_tick(1, 0.0)),
    ("ActorContext.schedule_with_fixed_delay", ValueError, lambda ctx: ctx.schedule_with_fixed_delay(1, math.inf)),
    ("ActorContext.set_receive_timeout", ValueError, lambda ctx: ctx.set_receive_timeout(0.0, 1)),
    ("ActorContext.start_soon", TypeError, lambda ctx: ctx.start_soon(print)),
    ("ActorContext.pipe_to_self", TypeError, lambda ctx: ctx.pipe_to_self(plain, mapper=3)),
    ("ActorContext.message_adapter", TypeError, lambda ctx: ctx.message_adapter(plain)),
    ("ActorContext.spawn", ValueError, lambda ctx: ctx.spawn(Behaviors.ignore(), "a/b")),
]

STOPPING: list[Case] = [
    ("ActorContext.spawn", casty.ActorStoppedError, lambda ctx: ctx.spawn(Behaviors.ignore(), "a")),
    ("ActorContext.start_soon", casty.ActorStoppedError, lambda ctx: ctx.start_soon(plain)),
    ("ActorContext.pipe_to_self", casty.ActorStoppedError, lambda ctx: ctx.pipe_to_self(plain)),
    ("ActorContext.message_adapter", casty.ActorStoppedError, lambda ctx: ctx.message_adapter(lambda one: one)),
]


async def unstashed(stash: casty.StashBuffer[object]) -> Behavior[object]:
    return Behaviors.ignore()


def other(*, name: str = "shop", host: str = "127.0.0.1", required_quorum: int | None = None) -> ClusteredActorSystem:
    return ClusteredActorSystem(name=name, host=host, port=0, node_id="n", required_quorum=required_quorum)


def ids(cases: list[Case]) -> list[str]:
    return [f"{name}-{error.__name__}" for name, error, _ in cases]


@pytest.mark.parametrize("case", [*SYSTEM, *NOT_STARTED], ids=ids([*SYSTEM, *NOT_STARTED]))
async def test_a_system_raises_what_is_told(system: ActorSystem, case: Case) -> None:
    name, error, act = case
    await check(name, error, lambda: act(system))


@pytest.mark.parametrize("case", NODE, ids=ids(NODE))
async def test_a_node_raises_what_is_told(case: Case, autojump_clock: trio.testing.MockClock) -> None:
    name, error, act = case
    net = casty.MemoryNetwork()
    async with ClusteredActorSystem(name="shop", host="n", port=1, node_id="n", network=net.host("n")) as node:
        await check(name, error, lambda: act(node))


@pytest.mark.parametrize("case", CONTEXT, ids=ids(CONTEXT))
async def test_a_context_raises_what_is_told(case: Case) -> None:
    await in_actor(case, stopping=False)


@pytest.mark.parametrize("case", STOPPING, ids=ids(STOPPING))
async def test_the_context_of_an_actor_that_stops_raises_what_is_told(case: Case) -> None:
    await in_actor(case, stopping=True)


async def in_actor(case: Case, *, stopping: bool) -> None:
    """Check a case in an actor's handler, or in its ``post_stop``; a failure there would only be logged."""
    name, error, act = case
    done: list[bool] = []

    async def look(ctx: ActorContext[object]) -> None:
        await check(name, error, lambda: act(ctx))
        done.append(True)

    async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if not stopping:
            await look(ctx)
        return Behaviors.stopped()

    hook: Callable[[ActorContext[object]], Awaitable[None]] | None = look if stopping else None
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.with_lifecycle(Behaviors.receive(handle), post_stop=hook), "actor")
        ref.tell("go")
        await system.wait_stopped(ref)
    assert done == [True]


@pytest.mark.parametrize("strategy", [MailboxOverflowStrategy.reject, MailboxOverflowStrategy.back_pressure])
async def test_a_full_mailbox_raises_what_is_told(system: ActorSystem, strategy: MailboxOverflowStrategy) -> None:
    ref = system.spawn(Behaviors.ignore(), "actor", mailbox=Mailbox(1, strategy))
    ref.tell(1)
    await check("ActorRef.tell", casty.MailboxFull, lambda: ref.tell(2))


async def test_a_cluster_that_has_left_raises_what_is_told(system: ActorSystem) -> None:
    left = cluster(system)
    await left.start()
    await left.shutdown()
    await check("Cluster.get_state", casty.AskFailed, left.get_state)
    await check("Cluster.get_receptionist", casty.AskFailed, left.get_receptionist)
    await check("Cluster.wait_up", casty.CastyError, lambda: left.wait_up(1))
