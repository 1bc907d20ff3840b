"""Replies of entities: none is given while the node of the entity does not serve, to whichever node."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio

import casty
from casty import ActorContext, ActorRef, AskTimeoutError, Behavior, Behaviors, ClusteredActorSystem, EntityKey
from casty.cluster.leases.serving import ServingLease
from casty.cluster.sharding import lease_gate
from casty.cluster.sharding.lease_gate import LeaseGate
from casty.errors import AskFailed
from casty.testing.inspect import node_of


@casty.message("tests.gate.Get")
@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int]


@casty.message("tests.gate.Fail")
@dataclass(frozen=True)
class Fail:
    reply_to: ActorRef[int]


KEY = EntityKey[Get | Fail]("slow")


class Slow:
    """Entities, and a plain actor, that answer once they may."""

    def __init__(self) -> None:
        self.gate = trio.Event()

    def make(self, entity_id: str) -> Behavior[Get | Fail]:
        async def handle(ctx: ActorContext[Get | Fail], message: Get | Fail) -> Behavior[Get | Fail]:
            await self.gate.wait()
            if isinstance(message, Fail):
                raise LookupError("as asked for")
            message.reply_to.tell(7)
            return Behaviors.same()

        return Behaviors.receive(handle)


class Lease:
    """The lease of all nodes, in the hands of the test."""

    is_held = True


@pytest.fixture
def lease(monkeypatch) -> Lease:
    held, serves = Lease(), ServingLease.is_serving
    get: Callable[[ServingLease], bool] | None = serves.fget  # type: ignore[attr-defined]  # of a property
    assert get is not None
    monkeypatch.setattr(ServingLease, "is_serving", property(lambda self: held.is_held and get(self)))
    return held


async def begin(nodes) -> tuple[Slow, ClusteredActorSystem, ClusteredActorSystem]:
    a, b = await nodes.systems("a", "b")
    slow = Slow()
    a.spawn(Behaviors.sharded(slow.make, KEY, num_shards=4), "slow")
    a.spawn(slow.make("plain"), "plain")
    await trio.sleep(3)
    return slow, a, b


@pytest.mark.parametrize("asker", ["a", "b"])
async def test_a_reply_waits_until_the_node_of_the_entity_serves_again(autojump_clock, nodes, lease, asker):
    slow, _, _ = await begin(nodes)
    system = nodes.handles[asker].system
    at: list[float] = []

    async def ask() -> None:
        assert await system.ask(system.entity(KEY, "one"), Get, timeout=60.0) == 7
        at.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)  # the entity is in its handler
        lease.is_held = False
        slow.gate.set()
        await trio.sleep(5)
        assert not at
        lease.is_held, again = True, trio.current_time()
    assert at[0] - again < 2


@pytest.mark.parametrize("asker", ["a", "b"])
async def test_a_reply_that_waits_longer_than_its_ask_is_nobodys(autojump_clock, nodes, lease, asker):
    slow, _, _ = await begin(nodes)
    system = nodes.handles[asker].system
    async with trio.open_nursery() as nursery:
        nursery.start_soon(lapse, lease, slow)
        with pytest.raises(AskTimeoutError):
            await system.ask(system.entity(KEY, "one"), Get, timeout=3.0)
    lease.is_held = True
    await trio.sleep(3)
    assert await system.ask(system.entity(KEY, "one"), Get) == 7


async def lapse(lease: Lease, slow: Slow) -> None:
    await trio.sleep(1)
    lease.is_held = False
    slow.gate.set()


@pytest.mark.parametrize("asker", ["a", "b"])
async def test_errors_and_replies_of_plain_actors_wait_for_no_lease(autojump_clock, nodes, lease, asker):
    slow, a, _ = await begin(nodes)
    system = nodes.handles[asker].system
    plain = a.lookup("/plain") if asker == "a" else system.remote("/plain", "a")
    assert plain is not None
    found: list[object] = []

    async def ask_plain() -> None:
        found.append(await system.ask(plain.of(Get), Get, timeout=5.0))

    async def ask_failing() -> None:
        with pytest.raises(AskFailed, match="as asked for"):
            await system.ask(system.entity(KEY, "one"), Fail, timeout=5.0)
        found.append("failed")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask_plain)
        nursery.start_soon(ask_failing)
        await lapse(lease, slow)
    assert set(found) == {7, "failed"}


async def test_replies_wait_up_to_a_bound_and_are_dead_letters_at_the_end(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(lease_gate, "HELD_REPLIES_MAX", 3)
    (a,) = await nodes.systems("a")
    node = node_of(a)
    gate, given = LeaseGate(node.kernel, ServingLease(node.board)), list[int]()
    assert not gate.is_open
    for number in range(5):
        gate.hold(lambda number=number: given.append(number), number, a.event_stream)
    await trio.sleep(1)
    assert [letter.message for letter in nodes.handles["a"].letters] == [3, 4]
    gate.close()
    gate.hold(lambda: given.append(9), 9, a.event_stream)
    await trio.sleep(1)
    assert [letter.message for letter in nodes.handles["a"].letters] == [3, 4, 0, 1, 2, 9]
    assert given == []
    assert repr(gate) == "<LeaseGate shut held=0>"
