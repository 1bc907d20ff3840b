"""Group routers follow the receptionist: who offers the service, on every node."""

from __future__ import annotations

import re

import pytest
import trio
from helpers.messages import GetNth

from casty import (
    ActorFailed,
    AskFailed,
    AskTimeoutError,
    Behaviors,
    ClusterSettings,
    DeadLetter,
    Deregister,
    EncodeError,
    Routers,
    ServiceKey,
    ShutdownPhase,
    UnreachableMember,
)

KEY = ServiceKey[str]("work")


COUNTERS = ServiceKey[GetNth]("counters")


def worker(seen, name):
    async def handle(ctx, message: str):
        seen.append((name, message))
        return Behaviors.stopped() if message == "stop" else Behaviors.same()

    return Behaviors.discoverable(Behaviors.receive(handle), key=KEY)


async def test_a_group_routes_to_services_of_all_nodes_as_they_come_and_go(autojump_clock, nodes):
    first, second = await nodes.join("a", "b")
    seen = []
    group = first.system.spawn(Routers.group(KEY), "group")
    group.tell("early")
    await trio.sleep(1)
    assert first.system.statistics().dead_letters == {"no routee": 1}
    first.system.spawn(worker(seen, "a"), "worker")
    second.system.spawn(worker(seen, "b"), "worker")
    await trio.sleep(5)
    for number in range(4):
        group.tell(str(number))
    await trio.sleep(1)
    assert sorted(seen, key=lambda one: one[1]) == [("a", "0"), ("b", "1"), ("a", "2"), ("b", "3")]
    await nodes.stop("b")
    await trio.sleep(5)
    seen.clear()
    for number in range(2):
        group.tell(str(number))
    await trio.sleep(1)
    assert seen == [("a", "0"), ("a", "1")]


async def test_a_key_has_the_same_routee_from_every_node(autojump_clock, nodes):
    first, second = await nodes.join("a", "b")
    seen = []
    routers = []
    for name, node in (("a", first), ("b", second)):
        node.system.spawn(worker(seen, name), "worker")
        routers.append(node.system.spawn(Routers.group(KEY).with_consistent_hashing_routing(str), "group"))
    await trio.sleep(5)
    for router in routers:
        for number in range(20):
            router.tell(f"key-{number}")
    await trio.sleep(1)
    assert len(seen) == 40
    assert len(set(seen)) == 20
    assert {name for name, _ in seen} == {"a", "b"}


async def test_messages_before_the_first_listing_wait_for_it(autojump_clock, nodes):
    node = await nodes.start("a")
    seen = []
    node.system.spawn(worker(seen, "a"), "worker")
    await trio.sleep(1)
    group = node.system.spawn(Routers.group(KEY), "group")
    for number in range(3):
        group.tell(str(number))
    await trio.sleep(1)
    assert seen == [("a", "0"), ("a", "1"), ("a", "2")]


async def count(ctx, message: GetNth):
    message.reply_to.tell(message.number)
    return Behaviors.same()


async def test_a_message_that_cannot_be_encoded_is_a_dead_letter_and_the_group_goes_on(autojump_clock, nodes):
    first, second = await nodes.join("a", "b")
    ref = second.system.spawn(Behaviors.discoverable(Behaviors.receive(count), key=COUNTERS), "counter")
    system = first.system
    group = system.spawn(Routers.group(COUNTERS), "group")
    await trio.sleep(5)
    async with system.events(DeadLetter, ActorFailed) as events:
        with pytest.raises(AskFailed, match=r"/counter on b:2551 did not .*: cannot be encoded: .*number") as failed:
            await system.ask(group, lambda reply_to: GetNth(1 << 70, reply_to))
        assert isinstance(failed.value.__cause__, EncodeError)
        letter = await anext(events)
        assert isinstance(letter, DeadLetter)
        assert await system.ask(group, lambda reply_to: GetNth(7, reply_to)) == 7
    assert letter.message.number == 1 << 70
    assert letter.intended_ref.path == ref.path
    assert letter.reason.startswith("cannot be encoded: ")
    assert system.statistics().dead_letters == {"cannot be encoded": 1}


async def silent(ctx, message: GetNth):
    return Behaviors.same()


async def test_a_time_out_names_the_actor_and_the_node_that_the_group_chose(autojump_clock, nodes):
    first, second = await nodes.systems("a", "b")
    second.spawn(Behaviors.discoverable(Behaviors.receive(silent), key=COUNTERS), "silent")
    await first.find(COUNTERS, at_least=1)
    group = first.spawn(Routers.group(COUNTERS), "group")
    with pytest.raises(AskTimeoutError, match=r"^no reply from /group within 1.0 s: it was sent to /silent on b:2551$"):
        await first.ask(group, lambda reply_to: GetNth(7, reply_to), timeout=1.0)


async def test_a_broadcast_that_cannot_be_encoded_reaches_those_who_need_no_bytes(autojump_clock, nodes):
    first, second = await nodes.join("a", "b")
    seen = []
    for name, node in (("a", first), ("b", second)):
        node.system.spawn(worker(seen, name), "worker")
    group = first.system.spawn(Routers.group(KEY).with_broadcast_predicate(lambda _: True), "group")
    await trio.sleep(5)
    for message in ("\ud800", "sound"):
        group.tell(message)
        await trio.sleep(1)
    assert sorted(seen) == [("a", "sound"), ("a", "\ud800"), ("b", "sound")]
    assert first.system.statistics().dead_letters == {"cannot be encoded": 1}


@pytest.mark.parametrize("is_drained", [False, True])
async def test_no_ask_fails_where_a_service_is_withdrawn_a_moment_before_its_end(autojump_clock, nodes, is_drained):
    asking, leaving, staying = await nodes.systems("a", "b", "c")
    for other in ("b", "c"):
        nodes.network.delay("a", other, 0.005)
    staying.spawn(Behaviors.discoverable(Behaviors.receive(count), key=COUNTERS), "counter")
    ref = leaving.spawn(Behaviors.discoverable(Behaviors.receive(count), key=COUNTERS), "counter")

    async def drain():
        leaving.receptionist.tell(Deregister(COUNTERS, ref))
        await trio.sleep(0.5)

    if is_drained:
        leaving.on_shutdown(ShutdownPhase.stop_actors, drain)
    await asking.find(COUNTERS, at_least=2)
    group = asking.spawn(Routers.group(COUNTERS), "group")
    failed, has_left = [], trio.Event()

    async def ask_on():
        while not has_left.is_set():
            try:
                assert await asking.ask(group, lambda reply_to: GetNth(7, reply_to), timeout=1.0) == 7
            except (AskFailed, AskTimeoutError) as error:
                failed.append(error)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(ask_on)
        await trio.sleep(1)
        await nodes.stop("b")
        await trio.sleep(1)
        has_left.set()
    assert bool(failed) is not is_drained


async def test_a_time_out_names_the_node_alone_where_the_actor_was_asked_itself(autojump_clock, nodes):
    first, second = await nodes.systems("a", "b")
    second.spawn(Behaviors.receive(silent), "silent")
    ref = first.remote("/silent", "b").of(GetNth)
    with pytest.raises(AskTimeoutError, match=r"^no reply from /silent within 1.0 s: it was sent to b:2551$"):
        await first.ask(ref, lambda reply_to: GetNth(7, reply_to), timeout=1.0)


async def test_a_time_out_says_for_how_long_the_node_has_been_unreachable(autojump_clock, nodes):
    patient = ClusterSettings(downing="none")
    first, second = await nodes.systems("a", "b", settings=patient)
    second.spawn(Behaviors.discoverable(Behaviors.receive(silent), key=COUNTERS), "silent")
    listing = await first.find(COUNTERS, at_least=1)
    nodes.network.cut("a", "b")
    seconds = []
    async with first.events(UnreachableMember) as events:
        async for _ in events:
            break
    for _ in range(2):
        with pytest.raises(AskTimeoutError) as caught:
            await first.ask(listing.refs[0], lambda reply_to: GetNth(7, reply_to), timeout=2.0)
        told = re.search(r"to b:2551, which has been unreachable for ([\d.]+) s$", str(caught.value))
        assert told is not None, caught.value
        seconds.append(float(told[1]))
    assert seconds == pytest.approx([2.0, 4.0], abs=0.2)
    nodes.network.heal_all()
    await nodes.sees("a", {"a": "up", "b": "up"})
    with pytest.raises(AskTimeoutError, match=r"it was sent to b:2551$"):
        await first.ask(listing.refs[0], lambda reply_to: GetNth(7, reply_to), timeout=2.0)
