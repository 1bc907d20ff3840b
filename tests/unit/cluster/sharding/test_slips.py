"""Slips of users and of their code: each costs its one message or call, and neither entities nor a node."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, cast

import pytest
import trio
from helpers.entities import CARTS, Carts, Command, Note, Notes, add, host

from casty import (
    ActorContext,
    ActorFailed,
    ActorRef,
    Allocation,
    Behavior,
    Behaviors,
    ConfigError,
    EntityKey,
    LeastShards,
    ServiceKey,
    ShardEnvelope,
)
from casty.address import UniqueAddress
from casty.cluster.receptionist.services import Register
from casty.protocol.sharding.allocation import Loads


async def test_an_entity_cannot_be_watched_or_registered_and_the_node_goes_on(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    ref, faults = b.entity(CARTS, "cart-1"), list[str]()

    async def watch(ctx: ActorContext[str]) -> Behavior[str]:
        with pytest.raises(ValueError, match="an entity has no end") as fault:
            ctx.watch(ref)
        faults.append(str(fault.value))
        with pytest.raises(ValueError, match="an entity has no end") as fault:
            async with ctx.watching(ref):
                pass
        faults.append(str(fault.value))
        return Behaviors.ignore()

    b.spawn(Behaviors.setup(watch), "watcher")
    b.receptionist.tell(Register(ServiceKey[Command]("carts"), cast("ActorRef[Any]", ref)))
    await trio.sleep(5)
    assert len(faults) == 2
    assert not (await b.find(ServiceKey[Command]("carts"))).refs
    assert await add(b, "cart-1") == 1


class Odd(LeastShards):
    """Strategy of a user, wrong in every way in its turn."""

    answers: tuple[object, ...] = ({0: []}, {0: None}, None)

    def place(self, shards: Iterable[int], loads: Loads) -> dict[int, UniqueAddress]:
        Odd.answers, (answer, *_) = Odd.answers[1:] + Odd.answers[:1], Odd.answers
        if answer is None:
            raise LookupError("no idea")
        return cast("dict[int, UniqueAddress]", answer)


async def test_a_strategy_derived_from_that_of_the_library_is_checked_like_any_other(autojump_clock, nodes, caplog):
    a, b = await nodes.systems("a", "b")
    for node in (a, b):
        strategy: Allocation = Odd()
        node.spawn(Behaviors.sharded(Carts(node.name).make, CARTS, num_shards=8, allocation=strategy), "carts")
    for number in range(20):
        assert await add(b, f"cart-{number}") == 1
    assert "the node with the fewest shards is taken" in caplog.text


@pytest.mark.parametrize(
    "options", [{"moves_max": "x"}, {"moves_max": 0}, {"moved_share_max": 2}, {"uneven_share_max": "0.1"}]
)
def test_bounds_of_least_shards_that_make_no_sense_are_refused(options):
    with pytest.raises(ConfigError, match=r"LeastShards\.(moves_max|moved_share_max|uneven_share_max) must be"):
        LeastShards(**options)


@pytest.mark.parametrize("entity_id", ["", "x" * 256, "a\ud800", 7])
async def test_an_envelope_for_no_id_ends_nothing(autojump_clock, nodes, entity_id):
    a, b = await nodes.systems("a", "b")
    host(a)
    assert await add(b, "cart-1") == 1
    with pytest.raises(ValueError, match="an entity id must"):
        ShardEnvelope(entity_id, Note(1))
    forged = ShardEnvelope("cart-1", Note(1))
    object.__setattr__(forged, "entity_id", entity_id)
    cast("ActorRef[Any]", a.lookup("/carts")).tell(forged)
    assert await add(b, "cart-1") == 2
    assert a.statistics().dead_letters["not of the actor's type"] == 1
    assert await b.ask(b.entity(CARTS, "cart-1"), Notes) == []


async def test_an_entity_that_would_host_entities_fails_with_words(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    inner, outer = EntityKey[Note]("inner"), EntityKey[ShardEnvelope[Note]]("outer")
    a.spawn(
        Behaviors.sharded(lambda _: Behaviors.sharded(lambda _: Behaviors.ignore(), inner), outer, num_shards=4),
        "outer",
    )
    async with b.events(ActorFailed), a.events(ActorFailed) as failures:
        b.entity(outer, "one").tell(ShardEnvelope("x", Note(1)))
        failure = await anext(failures)
    assert isinstance(failure.exception, ConfigError)
    assert "an entity cannot host entities" in str(failure.exception)


async def test_a_kind_without_room_to_be_announced_can_be_hosted_once_there_is_some(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    hosts = list[ActorRef[Any]]()
    async with a.events(ActorFailed) as failures:
        for number in range(400):
            key = EntityKey[Command](f"{number:03}" + "x" * 240)
            hosts.append(a.spawn(Behaviors.sharded(Carts("a").make, key, num_shards=1), f"kind-{number}"))
        failed = await anext(failures)
    number = int(failed.ref.address.path.rpartition("-")[2])
    alive = [
        ref for ref in hosts if a.lookup(ref.address.path) == ref
    ]  # they start in any order: the first ones may have failed
    for ref in alive[:2]:
        a.stop(ref)
    await trio.sleep(1)
    key = EntityKey[Command](f"{number:03}" + "x" * 240)
    again = a.spawn(Behaviors.sharded(Carts("a").make, key, num_shards=1), "again")
    await trio.sleep(3)
    assert a.lookup("/again") == again


async def test_a_send_that_waits_for_room_ends_with_its_node(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    ref = a.entity(CARTS, "cart-1")
    for number in range(1_000):
        ref.tell(Note(number))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ref.send, Note(1_000))
        await trio.sleep(1)
        await nodes.stop("a")
        await trio.sleep(1)
        nursery.cancel_scope.deadline = trio.current_time() + 5
    assert not nursery.cancel_scope.cancelled_caught
