"""Discovery and topology subscriptions, with real actors over the memory network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar, get_args

import pytest
import trio
from helpers.behaviors import recording, until
from helpers.messages import Echo

from casty import (
    ActorContext,
    AskTimeoutError,
    Behavior,
    Behaviors,
    DeadLetter,
    Deregister,
    Listing,
    NodeAddress,
    Register,
    ResolveNode,
    ServiceKey,
    Subscribe,
    SubscribeTopology,
    TopologySnapshot,
    UnhandledMessage,
    UnsubscribeTopology,
    message,
)
from casty.runtime.events import DeadLetterReason


@message("test.services.Fail")
@dataclass(frozen=True)
class Fail:
    pass


M = TypeVar("M")
ECHO = ServiceKey[Echo | Fail]("echo")
SENT_TO_NOBODY = 20_000
"""Far more than fit into the queue of a link."""


def echo(prefix: str) -> Behavior[Echo | Fail]:
    async def handler(ctx: ActorContext[Echo | Fail], message: Echo | Fail) -> Behavior[Echo | Fail]:
        match message:
            case Echo(text, reply_to):
                reply_to.tell(f"{prefix}: {text}")
            case Fail():
                raise ValueError("as asked")
        return Behaviors.same()

    return Behaviors.receive(handler)


def where(listing: Listing[Echo | Fail]) -> list[str]:
    return [instance.node.host for instance in listing.instances]


async def test_a_discoverable_actor_is_found_and_asked_from_every_node(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    a.spawn(Behaviors.discoverable(echo("a"), key=ECHO), "echo")
    b.spawn(Behaviors.discoverable(echo("b"), key=ECHO), "echo")
    await trio.sleep(1)
    for system in (a, b, c):
        listing = await system.find(ECHO)
        assert where(listing) == ["a", "b"]
        replies = []
        for ref in listing.refs:
            reply: str = await system.ask(ref, lambda reply_to: Echo("hi", reply_to))
            replies.append(reply)
        assert replies == ["a: hi", "b: hi"]


async def test_subscribers_get_the_listing_at_once_and_each_change_once(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    listings: list[Listing[Echo | Fail]] = []
    c.receptionist.tell(Subscribe(ECHO, c.spawn(recording(listings), "subscriber")))
    await until(lambda: listings)
    assert where(listings[0]) == []
    ref = a.spawn(echo("a"), "echo")
    a.receptionist.tell(Register(ECHO, ref))
    await until(lambda: len(listings) == 2)
    b.spawn(Behaviors.discoverable(echo("b"), key=ECHO), "echo")
    await until(lambda: len(listings) == 3)
    a.receptionist.tell(Deregister(ECHO, ref))
    await until(lambda: len(listings) == 4)
    await trio.sleep(30)
    assert [where(listing) for listing in listings] == [[], ["a"], ["a", "b"], ["b"]]


async def test_the_stop_of_an_actor_reaches_every_node(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    ref = b.spawn(Behaviors.discoverable(echo("b"), key=ECHO), "echo")
    for system in (a, b, c):
        await until_listed(system, ["b"])
    b.stop(ref)
    for system in (a, b, c):
        await until_listed(system, [])


async def test_the_failure_of_an_actor_reaches_every_node(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    b.spawn(Behaviors.discoverable(echo("b"), key=ECHO), "echo")
    await until_listed(c, ["b"])
    (await c.find(ECHO)).refs[0].tell(Fail())
    for system in (a, b, c):
        await until_listed(system, [])


async def test_the_services_of_a_killed_node_go_at_once_and_for_good(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    for system in (a, b, c):
        system.spawn(Behaviors.discoverable(echo("x"), key=ECHO), "echo")
    await until_listed(a, ["a", "b", "c"])
    killed = trio.current_time()
    nodes.crash("c")
    await until_listed(a, ["a", "b"])
    assert trio.current_time() - killed < 2
    await nodes.sees("a", {"a": "up", "b": "up"})
    assert {entry.node.host for entry in (await a.get_cluster_state()).registry} == {"a", "b"}


async def test_a_late_joiner_finds_what_was_registered_before(autojump_clock, nodes):
    a, *_ = await nodes.systems(*"abc")
    a.spawn(Behaviors.discoverable(echo("a"), key=ECHO), "echo")
    d = (await nodes.start("d", "a")).system
    await until_listed(d, ["a"])


async def until_listed(system, hosts: list[str]) -> None:
    with trio.fail_after(60):
        while where(await system.find(ECHO)) != hosts:  # noqa: ASYNC110  # as above
            await trio.sleep(0.01)


async def test_a_remote_subscriber_gets_snapshots_only_when_something_changed(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    snapshots: list[TopologySnapshot] = []
    subscriber = c.spawn(recording(snapshots), "subscriber")
    cluster_of_a = c.remote("/_cluster", "a").of(SubscribeTopology)
    cluster_of_a.tell(SubscribeTopology(subscriber))
    await until(lambda: snapshots)
    await trio.sleep(60)
    assert len(snapshots) == 1
    await nodes.start("d", "a")
    await nodes.all_up("a", "b", "c", "d")
    assert {member.id for member in snapshots[-1].members} == set("abcd")
    assert all(one != other for one, other in zip(snapshots, snapshots[1:], strict=False))
    c.remote("/_cluster", "a").of(UnsubscribeTopology).tell(UnsubscribeTopology(subscriber))
    await trio.sleep(1)
    count = len(snapshots)
    await nodes.stop("d")
    await nodes.all_up("a", "b", "c")
    assert len(snapshots) == count


async def test_a_local_subscriber_gets_the_snapshot_that_tells_leader_and_registry(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    b.spawn(Behaviors.discoverable(echo("b"), key=ECHO), "echo")
    await until_listed(a, ["b"])
    snapshots: list[TopologySnapshot] = []
    a.cluster.ref.tell(SubscribeTopology(a.spawn(recording(snapshots), "subscriber")))
    await until(lambda: snapshots)
    assert snapshots[0].leader == NodeAddress("a", 2551)
    assert [(entry.key, entry.node.host, entry.path) for entry in snapshots[0].registry] == [("echo", "b", "/echo")]
    assert snapshots[0].allocation_epoch == 0


async def test_a_stopped_remote_subscriber_is_dropped(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    snapshots: list[TopologySnapshot] = []
    subscriber = c.spawn(recording(snapshots), "subscriber")
    c.remote("/_cluster", "a").of(SubscribeTopology).tell(SubscribeTopology(subscriber))
    await until(lambda: snapshots)
    c.stop(subscriber)
    await c.wait_stopped(subscriber)
    await trio.sleep(1)
    lost: list[DeadLetter] = []
    async with a.events(DeadLetter) as letters, trio.open_nursery() as nursery:

        async def collect() -> None:
            async for letter in letters:
                lost.append(letter)

        nursery.start_soon(collect)
        await nodes.start("d", "a")
        await nodes.all_up("a", "b", "c", "d")
        await nodes.stop("d")
        await nodes.all_up("a", "b", "c")
        assert lost == []
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("place", ["local", "remote"])
async def test_resolve_node_answers_with_an_address_or_none(autojump_clock, nodes, place):
    a, b, c = await nodes.systems(*"abc")
    ref = a.cluster.ref if place == "local" else a.remote("/_cluster", "b").of(ResolveNode)
    reply: NodeAddress | None = await a.ask(ref, lambda reply_to: ResolveNode("c", reply_to))
    assert reply == NodeAddress("c", 2551)
    nobody: NodeAddress | None = await a.ask(ref, lambda reply_to: ResolveNode("z", reply_to))
    assert nobody is None


async def test_the_library_own_actors_are_closed_to_other_nodes(autojump_clock, nodes):
    a, b, _ = await nodes.systems(*"abc")
    async with a.events(DeadLetter) as letters:
        a.remote("/_cluster/_topology", "b").of(Fail).tell(Fail())
        letter = await anext(aiter(letters))
    assert letter.reason == "not delivered: no_actor"


async def test_a_tell_to_a_stopped_remote_actor_comes_back_as_a_dead_letter(autojump_clock, nodes):
    a, b, _ = await nodes.systems(*"abc")
    ref = b.spawn(Behaviors.discoverable(echo("b"), key=ECHO), "echo")
    await until_listed(a, ["b"])
    remote = (await a.find(ECHO)).refs[0]
    b.stop(ref)
    await b.wait_stopped(ref)
    b.spawn(echo("another"), "echo")
    async with a.events(DeadLetter) as letters:
        remote.tell(Fail())
        letter = await anext(aiter(letters))
    assert letter.reason == "not delivered: no_actor"
    assert letter.intended_ref.path == "/echo"


async def test_an_ask_to_a_dead_node_times_out_and_its_message_is_a_dead_letter(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    c.spawn(Behaviors.discoverable(echo("c"), key=ECHO), "echo")
    await until_listed(a, ["c"])
    ref = (await a.find(ECHO)).refs[0]
    nodes.crash("c")
    await trio.sleep(3)
    async with a.events(DeadLetter) as letters:
        with pytest.raises(AskTimeoutError):
            await a.ask(ref, lambda reply_to: Echo("hi", reply_to), timeout=2.0)
        await nodes.sees("a", {"a": "up", "b": "up"})
        with trio.fail_after(30):
            letter = await anext(aiter(letters))
    assert isinstance(letter.message, Echo)
    assert letter.reason.startswith("not sent: ")
    assert a.statistics().dead_letters["not sent"] >= 1
    assert {*a.statistics().dead_letters} <= {*get_args(DeadLetterReason)}


async def test_a_message_of_an_unknown_type_is_answered_and_the_link_lives(autojump_clock, nodes):
    a, b, _ = await nodes.systems(*"abc")
    b.spawn(Behaviors.discoverable(echo("b"), key=ECHO), "echo")
    await until_listed(a, ["b"])

    @dataclass(frozen=True)
    class Unknown:
        number: int

    ref = a.remote("/echo", "b")
    async with a.events(DeadLetter) as letters:
        ref.of(Unknown).tell(Unknown(1))
        letter = await anext(aiter(letters))
    assert letter.reason == "not delivered: unknown_type"
    reply: str = await a.ask((await a.find(ECHO)).refs[0], lambda reply_to: Echo("still here", reply_to))
    assert reply == "b: still here"


async def test_an_unhandled_message_from_another_node_is_published_there(autojump_clock, nodes):
    a, b, _ = await nodes.systems(*"abc")

    async def handler(ctx: ActorContext[Echo | Fail], message: Echo | Fail) -> Behavior[Echo | Fail]:
        return Behaviors.unhandled()

    b.spawn(Behaviors.discoverable(Behaviors.receive(handler), key=ECHO), "echo")
    await until_listed(a, ["b"])
    async with b.events(UnhandledMessage) as events:
        (await a.find(ECHO)).refs[0].tell(Fail())
        assert (await anext(aiter(events))).message == Fail()


async def test_a_message_that_cannot_travel_is_an_error_at_the_sender(autojump_clock, nodes):
    a, *_ = await nodes.systems(*"abc")

    @dataclass(frozen=True)
    class Local:
        what: object

    with pytest.raises(TypeError, match="Local.what"):
        a.remote("/echo", "b").of(Local)
    a.spawn(recording(list[Local]()), "local").tell(Local(object()))


async def test_an_ask_that_subscribes_gets_the_first_answer_only(autojump_clock, nodes):
    a, *_ = await nodes.systems(*"abc")
    snapshot: TopologySnapshot = await a.ask(a.cluster.ref, SubscribeTopology)
    assert len(snapshot.members) == 3
    listing: Listing[Echo | Fail] = await a.ask(a.receptionist, lambda ref: Subscribe(ECHO, ref))
    assert listing.key.name == "echo"
    await nodes.start("d", "a")
    await nodes.all_up("a", "b", "c", "d")
    assert a.statistics().dead_letters == {}


async def test_what_finds_no_room_for_its_notice_is_a_dead_letter_where_it_came(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    nodes.network.delay("b", "a", 0.05, one_way=True)
    ref = a.remote("/nobody", "b").of(Fail)
    for _ in range(SENT_TO_NOBODY):
        await ref.send(Fail())
    await trio.sleep(60)
    there, here = a.statistics().dead_letters, b.statistics().dead_letters
    assert set(there) == set(here) == {"not delivered: no_actor"}
    assert sum(there.values()) + sum(here.values()) == SENT_TO_NOBODY
