"""Broadcast: one actor on each node, told and asked all at one time, with an outcome for each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, assert_never

import pytest
import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    AskFailed,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EncodeError,
    EntityKey,
    ServiceKey,
)


@casty.message("tests.broadcast.Drop")
@dataclass(frozen=True)
class Drop:
    number: int


@casty.message("tests.broadcast.Size")
@dataclass(frozen=True)
class Size:
    reply_to: ActorRef[int]


Command = Drop | Size
CACHES = ServiceKey[Command]("caches")


class Caches:
    """The caches of all nodes: what each was told, and what ails some."""

    def __init__(self) -> None:
        self.dropped: dict[str, list[int]] = {}
        self.silent: set[str] = set()
        self.failing: set[str] = set()

    def behavior(self, name: str) -> Behavior[Command]:
        dropped = self.dropped.setdefault(name, [])

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            match message:
                case Drop(number):
                    dropped.append(number)
                case Size(reply_to):
                    if name in self.failing:
                        raise LookupError("as asked for")
                    if name not in self.silent:
                        reply_to.tell(len(dropped))
                case _ as never:
                    assert_never(never)
            return Behaviors.same()

        return Behaviors.receive(handle)

    def host(self, system: ClusteredActorSystem, name: str = "cache") -> ActorRef[Command]:
        behavior = self.behavior(system.cluster_config.node_id)
        return system.spawn(Behaviors.broadcasted(behavior, CACHES), name)


async def open_on(caches: Caches, systems: list[ClusteredActorSystem]) -> None:
    for system in systems:
        caches.host(system)
    for system in systems:
        await system.find(CACHES, at_least=len(systems))


async def test_a_message_reaches_the_actor_of_each_node_in_order(autojump_clock, nodes):
    systems, caches = await nodes.systems("a", "b", "c"), Caches()
    await open_on(caches, systems)
    for number in range(100):
        systems[1].broadcast(CACHES).tell(Drop(number))
    await trio.sleep(1)
    assert caches.dropped == dict.fromkeys("abc", list(range(100)))


async def test_all_are_asked_and_a_silent_or_failing_one_spoils_no_other(autojump_clock, nodes):
    systems, caches = await nodes.systems("a", "b", "c"), Caches()
    await open_on(caches, systems)
    a, b, c = systems
    began = trio.current_time()
    assert await b.ask_all(CACHES, Size) == {system.self_node: 0 for system in systems}
    assert trio.current_time() - began < 1
    caches.silent, caches.failing = {"b"}, {"c"}
    outcomes: Any = await a.ask_all(CACHES, Size, timeout=2.0)
    assert list(outcomes) == sorted(system.self_node for system in systems)
    assert outcomes[a.self_node] == 0
    silent, failed = outcomes[b.self_node], outcomes[c.self_node]
    assert isinstance(silent, AskFailed)
    assert (silent.failure, silent.certainly_not_handled) == ("timed_out", False)
    assert isinstance(failed, AskFailed)
    assert failed.failure == "failed"
    assert "as asked for" in str(failed)


async def test_an_unreachable_node_is_left_out(autojump_clock, nodes):
    systems, caches = await nodes.systems("a", "b", "c"), Caches()
    await open_on(caches, systems)
    nodes.crash("c")
    with trio.fail_after(30):
        while len(await systems[0].ask_all(CACHES, Size, timeout=1.0)) > 2:  # noqa: ASYNC110  # polls with an ask
            await trio.sleep(0.1)
    assert await systems[0].ask_all(CACHES, Size) == {systems[0].self_node: 0, systems[1].self_node: 0}


async def test_without_any_actor_a_message_is_a_dead_letter_and_there_is_no_outcome(autojump_clock, nodes):
    [a] = await nodes.join("a")
    a.system.broadcast(CACHES).tell(Drop(1))
    assert await a.system.ask_all(CACHES, Size) == {}
    await trio.sleep(0.1)
    assert [(letter.message, letter.reason) for letter in a.letters] == [(Drop(1), "no routee")]


async def test_a_second_actor_of_one_node_is_refused_while_the_first_lives(autojump_clock, nodes):
    (a,), caches = await nodes.systems("a"), Caches()
    first = caches.host(a)
    await trio.sleep(1)
    caches.host(a, "another")
    await trio.sleep(1)
    assert a.lookup("/another") is None
    a.stop(first)
    await a.wait_stopped(first)
    again = caches.host(a, "another")
    await trio.sleep(1)
    assert a.lookup("/another") == again


async def test_one_that_restarts_keeps_its_place(autojump_clock, nodes):
    (a,), caches = await nodes.systems("a"), Caches()
    caches.failing = {"a"}
    behavior = Behaviors.supervise(Behaviors.broadcasted(caches.behavior("a"), CACHES), casty.Restart())
    a.spawn(behavior, "cache")
    await a.find(CACHES, at_least=1)
    outcomes: Any = await a.ask_all(CACHES, Size)
    assert outcomes[a.self_node].failure == "failed"
    caches.failing = set()
    assert await a.ask_all(CACHES, Size) == {a.self_node: 0}


async def test_of_two_services_of_one_node_the_first_by_path_takes_part(autojump_clock, nodes):
    (a, b), caches = await nodes.systems("a", "b"), Caches()
    for name in ("z", "m"):
        a.spawn(Behaviors.discoverable(caches.behavior(name), key=CACHES), name)
    await b.find(CACHES, at_least=2)
    b.broadcast(CACHES).tell(Drop(1))
    await trio.sleep(1)
    assert caches.dropped == {"z": [], "m": [1]}


async def test_the_callers_mistakes_are_raised_to_it(autojump_clock, nodes):
    (a, b), caches = await nodes.systems("a", "b"), Caches()
    await open_on(caches, [a, b])
    with pytest.raises(ZeroDivisionError):
        await a.ask_all(CACHES, lambda reply_to: Drop(1 // 0))
    with pytest.raises(EncodeError):
        a.broadcast(CACHES).tell(Drop("one"))  # type: ignore[arg-type]  # as by mistake
    with pytest.raises(TypeError, match=r"broadcast needs a ServiceKey"):
        a.broadcast(EntityKey[int]("caches"))  # type: ignore[arg-type]  # as by mistake
    with pytest.raises(TypeError, match=r"broadcasted needs a ServiceKey"):
        Behaviors.broadcasted(Behaviors.ignore(), "caches")  # type: ignore[arg-type]  # as by mistake
    await trio.sleep(1)
    assert caches.dropped == {"a": [], "b": []}


async def test_a_system_without_a_cluster_has_none():
    async with ActorSystem("plain") as system:
        with pytest.raises(RuntimeError, match=r"'plain' is no node of one: use ClusteredActorSystem"):
            system.broadcast(CACHES)
        cache = system.spawn(Behaviors.broadcasted(Caches().behavior("x"), CACHES), "cache")
        await system.wait_stopped(cache)
