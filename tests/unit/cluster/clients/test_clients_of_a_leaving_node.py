"""A node leaves while clients ask by way of it: the asks that can be answered are, and the others go elsewhere."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, assert_never

import pytest
import trio
from helpers.clients import client_of
from helpers.strangers import reply_to, stranger

import casty
from casty import ActorContext, ActorRef, AskFailed, Behavior, Behaviors, ClusterSettings, EntityKey
from casty.wire.frame import FrameKind

PORT = 2551


@casty.message("tests.leaving.Slow")
@dataclass(frozen=True)
class Slow:
    seconds: float
    reply_to: ActorRef[str]


@casty.message("tests.leaving.Count")
@dataclass(frozen=True)
class Count:
    reply_to: ActorRef[int]


Command = Slow | Count
JOBS = EntityKey[Command]("jobs", clients=True)


def job(node: str) -> Any:
    def make(entity_id: str) -> Behavior[Command]:
        total = 0

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            nonlocal total
            match message:
                case Slow(seconds, reply_to):
                    await trio.sleep(seconds)
                    reply_to.tell(node)
                case Count(reply_to):
                    total += 1
                    reply_to.tell(total)
                case _ as never:
                    assert_never(never)
            return Behaviors.same()

        return Behaviors.receive(handle)

    return make


async def start(nodes: Any, *, hosts: str) -> None:
    await nodes.join("a", "b", "c")
    for name in "abc":
        system = nodes.handles[name].system
        if name in hosts:
            system.spawn(Behaviors.sharded(job(name), JOBS, num_shards=16), "jobs")
        else:
            system.entity(JOBS, "any")


async def test_an_ask_that_is_open_when_its_node_leaves_gets_its_reply_by_it(autojump_clock, nodes):
    await start(nodes, hosts="bc")
    replies: list[str] = []
    async with client_of(nodes, "a") as client, trio.open_nursery() as nursery:

        async def ask(number: int) -> None:
            reply: str = await client.ask(client.entity(JOBS, f"job-{number}"), lambda to: Slow(3.0, to), timeout=5)
            replies.append(reply)

        for number in range(20):
            nursery.start_soon(ask, number)
        await trio.sleep(1.5)
        began = trio.current_time()
        await nodes.stop("a")
        assert 1 < trio.current_time() - began < 6
        assert len(replies) == 20
        assert set(replies) == {"b", "c"}


@pytest.mark.parametrize("leaver", ["a", "b"])
async def test_asks_without_a_break_all_go_well_while_a_node_leaves(autojump_clock, nodes, leaver):
    await start(nodes, hosts="abc")
    answered = 0
    async with client_of(nodes, "a") as client, trio.open_nursery() as nursery:
        await trio.sleep(1.5)

        async def ask(entity_id: str) -> None:
            nonlocal answered
            with trio.move_on_after(20):
                expected = 0
                while True:
                    counted: int = await client.ask(client.entity(JOBS, entity_id), Count, timeout=10)
                    expected = 1 if counted == 1 else expected + 1  # its state goes with the node
                    assert counted == expected
                    answered += 1
                    await trio.sleep(0.01)

        for number in range(32):
            nursery.start_soon(ask, f"job-{number}")
        await trio.sleep(1)
        await nodes.stop(leaver)
    assert answered > 10_000


async def test_an_ask_that_takes_longer_than_a_leaving_node_waits_is_lost_and_holds_it_up_no_longer(
    autojump_clock, nodes
):
    await start(nodes, hosts="b")
    async with client_of(nodes, "a") as client, trio.open_nursery() as nursery:
        failures: list[str] = []

        async def ask() -> None:
            with pytest.raises(AskFailed) as caught:
                await client.ask(client.entity(JOBS, "job"), lambda to: Slow(60.0, to), timeout=90)
            failures.append(caught.value.failure)

        nursery.start_soon(ask)
        await trio.sleep(1.5)
        began = trio.current_time()
        await nodes.stop("a")
        assert trio.current_time() - began < 9
        await trio.sleep(1)
        assert failures == ["lost"]
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("seconds", [0.5, 5.0])
async def test_open_asks_are_no_fault_of_a_leaving_node_and_their_client_is_told_the_end(
    autojump_clock, nodes, caplog, seconds
):
    await nodes.join("a", "b", settings=ClusterSettings(leave_timeout=seconds))
    nodes.handles["a"].system.entity(JOBS, "any")
    nodes.handles["b"].system.spawn(Behaviors.sharded(job("b"), JOBS, num_shards=16), "jobs")
    await trio.sleep(1.5)
    async with stranger(nodes) as client:
        slow = {"seconds": 60.0, "reply_to": reply_to(path="/_ask/5")}
        client.envelope("/_entity/jobs", "tests.leaving.Slow", slow, ask=5, entity="job", wait=90.0)
        await trio.sleep(0.5)
        began = trio.current_time()
        with caplog.at_level(logging.ERROR, "casty.cluster"):
            await nodes.stop("a")
        assert trio.current_time() - began < seconds + 4
        await trio.sleep(1)
        assert [kind for kind, _ in client.came] == [FrameKind.GOODBYE] * 2  # of the leaving, and of its end
    assert "did not leave in time" not in caplog.text


async def test_a_client_that_stays_for_nothing_holds_up_no_leaving_node(autojump_clock, nodes):
    await start(nodes, hosts="b")
    sessions = nodes.handles["a"]
    async with client_of(nodes, "a"):
        await trio.sleep(1.5)
        began = trio.current_time()
        await nodes.stop("a")
        assert trio.current_time() - began < 6
    assert sessions.ended.is_set()


@casty.message("tests.leaving.Told")
@dataclass(frozen=True)
class Told:
    number: int


TOLD = EntityKey[Told]("told", clients=True)


async def test_what_was_told_by_way_of_a_node_before_it_leaves_is_taken_however_much_it_is(autojump_clock, nodes):
    await nodes.join("a", "b")
    taken: list[int] = []

    def make(entity_id: str) -> Behavior[Told]:
        async def handle(ctx: ActorContext[Told], message: Told) -> Behavior[Told]:
            taken.append(message.number)
            return Behaviors.same()

        return Behaviors.receive(handle)

    nodes.handles["b"].system.spawn(Behaviors.sharded(make, TOLD, num_shards=4), "told")
    nodes.handles["a"].system.entity(TOLD, "any")
    async with client_of(nodes, "a") as client:
        told = client.entity(TOLD, "one")
        told.tell(Told(0))
        await trio.sleep(1.5)
        for number in range(1, 5_000):
            told.tell(Told(number))
        await trio.sleep(0.1)  # its node takes the first thousand at once, and the others one each millisecond
        began = trio.current_time()
        await nodes.stop("a")
        assert trio.current_time() - began < 6
        await trio.sleep(1)
    assert taken == list(range(5_000))
