"""Activations of one entity follow each other, whatever the earlier one is doing as the next one is to begin."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EntityKey,
)


@casty.message("tests.activations.Read")
@dataclass(frozen=True)
class Read:
    number: int
    seconds: float
    reply_to: ActorRef[str]


@casty.message("tests.activations.Note")
@dataclass(frozen=True)
class Note:
    number: int


BOXES = EntityKey[Read | Note]("boxes")


@dataclass
class Activations:
    """Activations on all nodes; each that begins looks at those still there."""

    ends_in: float = 0.0
    """Seconds that an activation takes to end."""
    nodes: dict[str, ClusteredActorSystem] = field(default_factory=dict)
    alive: dict[str, list[str]] = field(default_factory=dict)
    began: list[tuple[float, str]] = field(default_factory=list)
    handled: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Activation and number, by entity, in order."""
    broken: list[str] = field(default_factory=list)
    starts: Counter[str] = field(default_factory=Counter)

    def host(self, system: ClusteredActorSystem, **options: Any) -> None:
        name = system.cluster_config.node_id
        self.nodes[name] = system
        system.spawn(Behaviors.sharded(partial(self.make, name), BOXES, num_shards=1, **options), "boxes")

    def make(self, node: str, entity_id: str) -> Behavior[Read | Note]:
        self.starts[entity_id] += 1
        activation = self.starts[entity_id]

        async def begin(ctx: ActorContext[Read | Note]) -> None:
            there = self.alive.setdefault(entity_id, [])
            serving = [other for other in there if self.nodes[other].cluster.serving_lease().is_serving]
            if serving:
                self.broken.append(f"{entity_id} begins at {node}, and is at {serving}")
            there.append(node)
            self.began.append((trio.current_time(), node))

        async def end(ctx: ActorContext[Read | Note]) -> None:
            await trio.sleep(self.ends_in)
            self.alive[entity_id].remove(node)

        async def handle(ctx: ActorContext[Read | Note], message: Read | Note) -> Behavior[Read | Note]:
            self.handled.setdefault(entity_id, []).append((activation, message.number))
            if isinstance(message, Read):
                await trio.sleep(message.seconds)
                message.reply_to.tell(node)
            return Behaviors.same()

        return Behaviors.with_lifecycle(Behaviors.receive(handle), pre_start=begin, post_stop=end)


async def read(system: ClusteredActorSystem, seconds: float = 0.0, timeout: float = 60.0) -> str:
    node: str = await system.ask(system.entity(BOXES, "box"), lambda to: Read(0, seconds, to), timeout=timeout)
    return node


def cut_off(nodes: Any, name: str) -> None:
    for other in nodes.handles:
        if other != name:
            nodes.network.cut(name, other)


@pytest.mark.parametrize("way", ["cut", "leave", "crash"])
async def test_an_activation_in_a_handler_of_30_s_has_ended_or_lost_its_lease_before_the_next_begins(
    autojump_clock, nodes, way
):
    activations = Activations()
    _, b, c = await nodes.systems("a", "b", "c")
    for handle in nodes.handles.values():
        activations.host(handle.system)
    assert await read(c) == "a"
    outcome: list[str] = []

    async def read_long(system: ClusteredActorSystem) -> None:
        with pytest.raises((AskFailed, AskTimeoutError)):
            outcome.append(await read(system, seconds=30.0))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read_long, c)
        await trio.sleep(0.5)
        match way:
            case "cut":
                cut_off(nodes, "a")
            case "leave":
                nursery.start_soon(nodes.stop, "a")
            case _:
                nodes.crash("a")
        await trio.sleep(6)  # until b knows that it does not reach a
        assert await read(b) == "b"
        assert len(activations.began) == 2
    await trio.sleep(30)
    assert activations.broken == outcome == []
    assert [node for _, node in activations.began] == ["a", "b"]


async def test_an_owner_that_was_cut_off_answers_no_read_once_another_has_begun(autojump_clock, nodes):
    activations = Activations()
    for system in await nodes.systems("a", "b", "c"):
        activations.host(system)
    answers: list[tuple[float, str]] = []

    async def keep_reading(system: ClusteredActorSystem) -> None:
        while True:
            try:
                node = await read(system, seconds=0.3, timeout=2.0)
                answers.append((trio.current_time(), node))
            except (AskFailed, AskTimeoutError, casty.ActorStoppedError):  # the last by a system whose node has ended
                await trio.sleep(0.1)

    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(keep_reading, activations.nodes[name])
        await trio.sleep(3)
        cut_off(nodes, "a")
        await trio.sleep(20)
        nodes.network.heal_all()
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    begun = next(at for at, node in activations.began if node != "a")
    assert [node for at, node in answers if at > begun and node == "a"] == []
    assert {node for _, node in answers} == {"a", "b"}
    assert activations.broken == []


async def test_a_message_at_any_moment_of_a_passivation_is_handled_once_by_the_next_activation(autojump_clock, nodes):
    activations = Activations(ends_in=0.05)
    a, b = await nodes.systems("a", "b")
    activations.host(a, passivate_after=1.0)
    assert await read(b) == "a"

    async def note_twice(number: int, pause: float) -> None:
        ref = (a, b)[number % 2].entity(BOXES, f"box-{number}")
        ref.tell(Note(1))
        await trio.sleep(pause)
        ref.tell(Note(2))
        ref.tell(Note(3))

    async with trio.open_nursery() as nursery:
        for number in range(400):
            nursery.start_soon(note_twice, number, 0.9 + 0.001 * number)
    await trio.sleep(5)
    handled = [activations.handled[f"box-{number}"] for number in range(400)]
    once, anew = [(1, 1), (1, 2), (1, 3)], [(1, 1), (2, 2), (2, 3)]
    assert [one for one in handled if one not in (once, anew)] == []
    assert once in handled and handled.count(anew) > 100
    assert nodes.handles["a"].letters == nodes.handles["b"].letters == []
    assert not any(activations.alive.values())
