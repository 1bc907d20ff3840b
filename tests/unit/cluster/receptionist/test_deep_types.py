"""Actors of messages with more containers inside one another than the cluster allows."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

import casty
from casty import ActorContext, Behavior, Behaviors, ClusterSettings, TransportLimits, UnsupportedTypeError

SHALLOW = ClusterSettings(limits=TransportLimits(nesting_max=8))


@casty.message("tests.deep.Declared")
@dataclass(frozen=True)
class Declared:
    values: list[list[list[list[list[list[list[list[list[int]]]]]]]]]


@dataclass(frozen=True)
class Undeclared:
    values: list[list[list[list[list[list[list[list[list[int]]]]]]]]]


async def of_declared(ctx: ActorContext[Declared], message: Declared) -> Behavior[Declared]:
    return Behaviors.same()


async def of_undeclared(ctx: ActorContext[Undeclared], message: Undeclared) -> Behavior[Undeclared]:
    return Behaviors.same()


async def test_a_declared_message_that_is_too_deep_refuses_the_spawn_of_its_actor(autojump_clock, nodes):
    node = await nodes.start("a", settings=SHALLOW)
    with pytest.raises(
        UnsupportedTypeError, match=r"Declared has 10 containers inside one another, over the limit of 8"
    ):
        node.system.spawn(Behaviors.receive(of_declared), "deep")
    assert node.system.lookup("/deep") is None


async def test_an_actor_of_an_undeclared_message_that_is_too_deep_stays_local(autojump_clock, nodes):
    node = await nodes.start("a", settings=SHALLOW)
    node.system.spawn(Behaviors.receive(of_undeclared), "deep").tell(Undeclared([]))
    assert node.system.lookup("/deep") is not None
