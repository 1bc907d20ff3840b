"""Messages held until an owner is in reach go to it as there is room, however many they are, in order."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import trio
from helpers.behaviors import until
from helpers.entities import CARTS, Add, Command, Ledger, Note, add

import casty
from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterSettings,
    EntityKey,
    NotSent,
    TransportLimits,
)
from casty.cluster.sharding.entity_router import EntityRouter
from casty.protocol.sharding.shard_hash import number_of
from casty.testing.inspect import node_of
from casty.transport.network import memory

SHARDS = 16
TELLS = 10_000
"""As many as are held for one kind."""
ORDERS = EntityKey[Command]("orders")


@casty.message("tests.held.Crate")
@dataclass(frozen=True)
class Crate:
    number: int
    content: bytes
    reply_to: ActorRef[int] | None = None


CRATES = EntityKey[Crate]("crates")


def unpacked(reply_to: ActorRef[int]) -> Crate:
    """Return a crate without one of its fields."""
    crate = Crate(0, b"", reply_to)
    object.__delattr__(crate, "content")
    return crate


def carts_of_each_shard(count: int) -> list[str]:
    """Return so many ids of each shard."""
    found = defaultdict[int, list[str]](list)
    number = 0
    while len(found) < SHARDS or min(map(len, found.values())) < count:
        one = f"cart-{number}"
        found[number_of(one) % SHARDS].append(one)
        number += 1
    return [one for ids in found.values() for one in ids[:count]]


CARTS_USED = carts_of_each_shard(5)
EACH = TELLS // len(CARTS_USED)
FEW = 20
"""Messages to each cart that are more than a small queue takes many times over."""
SMALL = {"settings": ClusterSettings(limits=TransportLimits(outbound_messages_max=100))}


async def without_owner(nodes, *names: str, kinds: Sequence[EntityKey[Any]] = (CARTS,), **options) -> list[Any]:
    """Return systems that know the shards of some kinds, after the only host of these has left."""
    *systems, host = await nodes.systems(*names, "host", **options)
    for key in kinds:
        host.spawn(Behaviors.sharded(Ledger().make, key, num_shards=SHARDS), key.name)
        for system in systems:
            await system.ask(system.entity(key, "cart-1"), lambda to: Add(1, to), timeout=5.0)
    await nodes.stop("host")
    await nodes.all_up(*names)
    return systems


def router_of(system: ClusteredActorSystem, key: EntityKey[Any] = CARTS) -> EntityRouter:
    sharding: Any = node_of(system).kernel.hooks.entity_host
    return sharding.routers[key.name]


def held(system: ClusteredActorSystem, key: EntityKey[Any] = CARTS) -> int:
    return router_of(system, key).held


@pytest.fixture
def little_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let connections hold so little that nearly all of what is not taken by a node stays with its sender."""
    monkeypatch.setattr(memory, "BUFFER_BYTES_MAX", 16 * 1024)


def tell_all(system: ClusteredActorSystem, each: int = EACH) -> int:
    """Tell each cart so many numbers, and return how many are held."""
    for number in range(each):
        for one in CARTS_USED:
            system.entity(CARTS, one).tell(Note(number))
    assert held(system) == each * len(CARTS_USED)
    return held(system)


async def until_all_came(nodes, ledger: Ledger, each: int = EACH) -> None:
    """Wait for everything told; assert that it came in order, and that nothing was lost anywhere."""
    await until(lambda: sum(len(ledger.handled.get(one, ())) for one in CARTS_USED) >= each * len(CARTS_USED))
    assert {one: ledger.handled[one] for one in CARTS_USED} == dict.fromkeys(CARTS_USED, list(range(each)))
    for handle in nodes.handles.values():
        assert not handle.letters


async def test_ten_thousand_held_messages_and_three_thousand_asks_beside_them_all_arrive(autojump_clock, nodes):
    a, b = await without_owner(nodes, "a", "b", kinds=(CARTS, ORDERS))
    ledger, orders, answers = Ledger(), Ledger(), list[int]()

    async def ask(number: int) -> None:
        ref = a.entity(ORDERS, f"order-{number % 300}")
        answers.append(await a.ask(ref, lambda to: Add(number, to), timeout=30.0))

    async with trio.open_nursery() as nursery:
        tell_all(a)
        for number in range(3_000):
            nursery.start_soon(ask, number)
        await trio.sleep(0.1)
        assert held(a, ORDERS) == 3_000
        ledger.host(b)
        b.spawn(Behaviors.sharded(orders.make, ORDERS, num_shards=SHARDS), "orders")
    await until_all_came(nodes, ledger)
    assert sorted(answers) == list(range(3_000))


async def test_what_is_sent_during_a_release_goes_behind_what_was_held(autojump_clock, nodes):
    a, b = await without_owner(nodes, "a", "b", **SMALL)
    nodes.network.delay("a", "b", 0.3)
    ledger = Ledger()
    told = tell_all(a, FEW)
    ledger.host(b)
    await until(lambda: held(a) < told)
    number = FEW
    while held(a):
        for one in CARTS_USED:
            await a.entity(CARTS, one).send(Note(number))
        number += 1
        await trio.sleep(0.02)
    assert number > FEW + 3
    for one in CARTS_USED:
        await a.entity(CARTS, one).send(Note(number))
    await until_all_came(nodes, ledger, number + 1)


async def test_the_queue_has_room_for_others_while_held_messages_go(autojump_clock, nodes):
    a, b = await without_owner(nodes, "a", "b")
    nodes.network.delay("a", "b", 0.3)
    ledger, seen = Ledger(), list[int]()

    async def note(ctx: Any, message: Note) -> Any:
        seen.append(message.number)
        return Behaviors.same()

    b.spawn(Behaviors.receive(note), "clerk")
    clerk = a.remote("/clerk", "b").of(Note)
    tell_all(a)
    ledger.host(b)
    told = 0
    with trio.fail_after(60):
        while held(a):
            clerk.tell(Note(told))
            told += 1
            await trio.sleep(0.01)
    await until_all_came(nodes, ledger)
    await trio.sleep(1)
    assert seen == list(range(told))


async def test_held_messages_go_over_a_slow_link_without_a_loss(autojump_clock, nodes):
    a, b = await without_owner(nodes, "a", "b")
    nodes.network.delay("a", "b", 0.5)
    ledger = Ledger()
    tell_all(a)
    ledger.host(b)
    await until_all_came(nodes, ledger)


async def test_held_messages_for_an_owner_with_a_small_queue_all_arrive(autojump_clock, nodes):
    a, b = await without_owner(nodes, "a", "b", **SMALL)
    ledger = Ledger()
    tell_all(a, FEW)
    ledger.host(b)
    await until_all_came(nodes, ledger, FEW)


@pytest.mark.parametrize("size", [600_000, 1_500_000, 7_000_000])
async def test_held_messages_beyond_the_bytes_of_a_queue_all_arrive(autojump_clock, nodes, size):
    a, b = await without_owner(nodes, "a", "b", kinds=())
    came = defaultdict[str, list[int]](list)

    def make(entity_id: str) -> Any:
        async def handle(ctx: Any, message: Crate) -> Any:
            came[entity_id].append(message.number)
            if message.reply_to is not None:
                message.reply_to.tell(len(message.content))
            return Behaviors.same()

        return Behaviors.receive(handle)

    answers = list[int]()

    async def ask(one: str, number: int) -> None:
        make_crate = partial(Crate, number, bytes(size))
        answers.append(await a.ask(a.entity(CRATES, one), make_crate, timeout=60.0))

    async with trio.open_nursery() as nursery:
        for number in range(0, 12, 2):
            for one in ("crate-1", "crate-2"):
                a.entity(CRATES, one).tell(Crate(number, bytes(size)))
                nursery.start_soon(ask, one, number + 1)
            await trio.sleep(0.01)
        assert held(a, CRATES) == 24
        b.spawn(Behaviors.sharded(make, CRATES, num_shards=SHARDS), "crates")
    await trio.sleep(2)
    assert answers == [size] * 12
    assert came == {one: list(range(12)) for one in ("crate-1", "crate-2")}
    assert not a.statistics().dead_letters


async def test_an_owner_that_leaves_during_a_release_and_the_next_one_get_all_in_order(autojump_clock, nodes):
    a, b, c = await without_owner(nodes, "a", "b", "c")
    for name in ("b", "c"):
        nodes.network.delay("a", name, 0.3)
    ledger = Ledger()
    tell_all(a)
    ledger.host(b)
    await until(lambda: held(a) <= TELLS * 2 // 3)
    assert held(a) > TELLS // 4
    ledger.host(c)
    await nodes.stop("b")
    await until_all_came(nodes, ledger)


@pytest.mark.parametrize("kinds", [(CARTS, ORDERS), (ORDERS, CARTS)])
async def test_a_kind_with_more_and_more_to_send_leaves_room_to_another_on_the_same_link(
    autojump_clock, nodes, little_under_way, kinds
):
    a, b = await without_owner(nodes, "a", "b", kinds=kinds, **SMALL)
    nodes.network.delay("a", "b", 0.05)
    ledgers = {key.name: Ledger() for key in kinds}
    busy, other = kinds

    async def go_on(one: str) -> None:
        while True:
            await a.entity(busy, one).send(Note(0))

    async with trio.open_nursery() as nursery:
        for one in CARTS_USED * 10:
            nursery.start_soon(go_on, one)
        for number in range(FEW):
            for one in CARTS_USED:
                a.entity(other, one).tell(Note(number))
        await trio.sleep(1)
        for key in kinds:
            b.spawn(Behaviors.sharded(ledgers[key.name].make, key, num_shards=SHARDS), key.name)
        with trio.fail_after(10):
            await until(lambda: not held(a, other))
        assert held(a, busy) > 9_000
        assert sum(map(len, ledgers[busy.name].handled.values())) > FEW * len(CARTS_USED) // 4
        nursery.cancel_scope.cancel()
    assert not a.statistics().dead_letters


async def test_a_sender_that_leaves_waits_until_all_that_it_holds_has_gone(autojump_clock, nodes):
    a, b = await without_owner(nodes, "a", "b", **SMALL)
    nodes.network.delay("a", "b", 0.2)
    ledger = Ledger()
    told = tell_all(a, FEW)
    ledger.host(b)
    await until(lambda: held(a) < told)
    await nodes.stop("a")
    await until_all_came(nodes, ledger, FEW)


async def test_an_owner_that_is_cut_off_during_a_release_gets_the_rest_when_it_is_back(
    autojump_clock, nodes, little_under_way
):
    a, b, c = await without_owner(nodes, "a", "b", "c", **SMALL)
    nodes.network.delay("a", "b", 0.3)
    ledger, transport = Ledger(), node_of(a).transport
    unknown = transport.statistics().frames_unknown
    tell_all(a)
    ledger.host(b)
    await until(lambda: held(a) < TELLS)
    nodes.network.freeze("b")
    await trio.sleep(6)
    assert held(a) > TELLS // 4
    nodes.network.thaw("b")

    def missing() -> int:
        """Return how many have not come, beyond what a connection that broke may have lost."""
        lost = transport.statistics().frames_unknown - unknown
        return TELLS - lost - sum(map(len, ledger.handled.values()))

    await until(lambda: not held(a) and missing() <= 0)
    assert all(numbers == sorted(set(numbers)) for numbers in ledger.handled.values())
    assert not nodes.handles["a"].letters


async def test_an_ask_held_for_lack_of_room_says_so(autojump_clock, nodes, little_under_way):
    a, b = await without_owner(nodes, "a", "b", **SMALL)
    nodes.network.delay("a", "b", 0.3)
    ledger = Ledger()
    tell_all(a)
    ledger.host(b)
    await until(lambda: router_of(a).routes.owner_in_reach(number_of("cart-1") % SHARDS))
    nodes.network.freeze("b")
    with pytest.raises(NotSent, match=r"no reply from carts/cart-1 .*for lack of room in the queue .* to b:2551") as it:
        await add(a, "cart-1", timeout=0.5)
    assert isinstance(it.value, AskTimeoutError)
    nodes.network.thaw("b")
    await until_all_came(nodes, ledger)


async def test_held_messages_for_an_owner_on_the_same_node_go_too(autojump_clock, nodes):
    a, b = await without_owner(nodes, "a", "b", **SMALL)
    ledger = Ledger()
    tell_all(a, FEW)
    ledger.host(a)
    await until_all_came(nodes, ledger, FEW)


async def test_a_held_message_whose_fields_cannot_be_read_ends_neither_its_node_nor_those_behind_it(
    autojump_clock, nodes
):
    a, b = await without_owner(nodes, "a", "b")
    answers = list[int]()

    def crate(_: str) -> Behavior[Crate]:
        async def handle(_: ActorContext[Crate], message: Crate) -> Behavior[Crate]:
            assert message.reply_to is not None
            message.reply_to.tell(message.number)
            return Behaviors.same()

        return Behaviors.receive(handle)

    async def ask_in_vain() -> None:
        with pytest.raises(AskFailed, match="cannot be encoded: tests.held.Crate: .*'content'"):
            await a.ask(asked, unpacked, timeout=20.0)

    async def ask() -> None:
        answers.append(await a.ask(asked, lambda to: Crate(1, b"", to), timeout=20.0))

    asked = a.entity(CRATES, "crate-1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_in_vain)
        await until(lambda: held(a, CRATES) == 1)
        nursery.start_soon(ask)
        await until(lambda: held(a, CRATES) == 2)
        b.spawn(Behaviors.sharded(crate, CRATES, num_shards=SHARDS), CRATES.name)

    assert answers == [1]
    assert held(a, CRATES) == 0
