"""Clients that break the rules of services, topics and singletons: refused, counted, and nobody is the worse for it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
import trio
from helpers.clients import client_of
from helpers.strangers import Stranger, greet, hello, refused, reply_to, stranger

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, EntityKey, ServiceKey, Topic
from casty.cluster.clients.client_door import INSTANCES_MAX
from casty.cluster.clients.client_limits import (
    ALL_ASKED_BYTES_MAX,
    ALL_BYTES_MAX,
    CLIENT_BYTES_MAX,
    PUBLISHED_BYTES_MAX,
)
from casty.cluster.clients.followed_topics import FOLLOWED_MAX, KNOWN_WAITS_MAX
from casty.transport.clients.frame_pipe import FramePipe
from casty.wire.control.open_question import OPEN_BYTES_MAX
from casty.wire.frame import FrameKind
from casty.wire.handshake import HelloAck


@casty.message("tests.hostile.Price")
@dataclass(frozen=True)
class Price:
    value: int
    by: ActorRef[int] | None = None


@casty.message("tests.hostile.Ask")
@dataclass(frozen=True)
class Ask:
    reply_to: ActorRef[int]


@casty.message("tests.hostile.Blob")
@dataclass(frozen=True)
class Blob:
    content: bytes
    reply_to: ActorRef[int]


PRICES = Topic[Price]("prices", clients=True)
CLOCKS = ServiceKey[Ask]("clocks", clients=True)
LEADER = EntityKey[Ask]("leader", clients=True)
FOUND = "casty.client.FindService[tests.hostile.Ask]"


@dataclass
class Reached:
    """What has reached the actors of the node."""

    prices: list[int]
    asked: int = 0


async def start(nodes: Any, *names: str) -> tuple[Any, Reached]:
    await nodes.join("a", *names)
    a = nodes.handles["a"]
    reached = Reached([])

    async def take(ctx: ActorContext[Price], price: Price) -> Behavior[Price]:
        reached.prices.append(price.value)
        return Behaviors.same()

    async def answer(ctx: ActorContext[Ask], ask: Ask) -> Behavior[Ask]:
        reached.asked += 1
        ask.reply_to.tell(reached.asked)
        return Behaviors.same()

    a.system.subscribe(PRICES, a.system.spawn(Behaviors.receive(take), "prices"))
    a.system.spawn(Behaviors.discoverable(Behaviors.receive(answer), key=CLOCKS), "clock")
    a.system.spawn(Behaviors.singleton(lambda: Behaviors.receive(answer), LEADER), "leader")
    a.system.spawn(Behaviors.discoverable(Behaviors.receive(answer), key=ServiceKey[Ask]("closed")), "closed")
    a.system.subscribe(Topic[Price]("closed"), a.system.spawn(Behaviors.receive(take), "closed-prices"))
    await trio.sleep(1)
    return a, reached


def find(client: Stranger, key: str = "clocks", ask: int = 5, name: str = FOUND) -> None:
    client.envelope(f"/_service/{key}", name, {"reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}, ask=ask)


def follow(client: Stranger, topic: str = "prices", ask: int = 5, known_within: float = 0.0) -> None:
    told = {"known_within": known_within, "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
    client.envelope(f"/_follow/{topic}", "casty.client.FollowTopic", told, ask=ask)


async def test_a_raw_client_that_keeps_the_rules_finds_follows_and_publishes(autojump_clock, nodes):
    a, reached = await start(nodes)
    async with stranger(nodes) as client:
        find(client)
        follow(client, ask=6)
        await trio.sleep(0.5)
        client.envelope("/_topic/prices", "tests.hostile.Price", {"value": 3, "by": None})
        await trio.sleep(0.5)
        assert [kind for kind, _ in client.came] == [FrameKind.ENVELOPE] * 3
        assert b"/_given/1" in client.came[0][1]
        assert b"/clock" not in client.came[0][1]
        assert b"/_topic/prices" in client.came[2][1]
    assert reached.prices == [3]
    assert refused(a) == {}


@pytest.mark.parametrize(
    "path",
    [
        "/_service/closed",
        "/_topic/closed",
        "/_follow/closed",
        "/_service/casty.topic/prices",
        "/_service/prices",
        "/_topic/clocks",
        "/_topic/leader",
        "/_follow/clocks",
        "/_service/",
        "/_topic/",
        "/_follow/",
        "/_topic-1",
        "/_service/_receptionist",
        "/clock",
        "/prices",
    ],
)
async def test_no_path_leads_to_a_service_or_topic_that_is_not_open(autojump_clock, nodes, path):
    a, reached = await start(nodes)
    async with stranger(nodes) as client:
        client.envelope(path, "tests.hostile.Price", {"value": 1})
        client.envelope(path, FOUND, {"reply_to": reply_to()}, ask=5)
        client.envelope(path, "casty.client.FollowTopic", {"known_within": 0.0, "reply_to": reply_to()}, ask=5)
        await trio.sleep(1)
        assert client.notices() == ["refused"] * 3
    assert refused(a) == {"not_open": 3}
    assert (reached.prices, reached.asked) == ([], 0)


@pytest.mark.parametrize("path", ["/_service/clocks", "/_topic/prices", "/_follow/prices", "/_entity/leader"])
async def test_commands_of_the_nodes_own_are_no_messages_for_what_is_open(autojump_clock, nodes, path):
    a, reached = await start(nodes)
    before = await a.system.get_cluster_state()
    names = ["casty.SubscribeTopology", "casty.ResolveNode", "casty.ShardEnvelope", "casty.ErrorReply", "int"]
    names += [name for name in a.node.codec.names_of(casty.ClusterCmd) if name not in names]
    entity = "singleton" if path.startswith("/_entity") else ""
    async with stranger(nodes) as client:
        for name in names:
            client.envelope(path, name, {"reply_to": reply_to(), "address": ["a", 2551]}, ask=5, entity=entity)
        await trio.sleep(1)
        assert client.notices() == ["ill_typed"] * len(names)
        assert not client.is_closed
    assert refused(a) == {"ill_typed": len(names)}
    assert (await a.system.get_cluster_state()).members == before.members
    assert (reached.prices, reached.asked) == ([], 0)


FOREIGN = [
    ["shop", "/_cluster", None, None, 0, 0],
    ["shop", "/prices", None, None, 0, 0],
    ["shop", "/_cluster/_topology", "a", 2551, 0, 0],
    ["shop", "/_ask/1", "client", 1, 78, 5],
    ["shop", "/_entity/6/leader/singleton", None, None, 0, 0],
    reply_to(uid=6),
]


@pytest.mark.parametrize("place", FOREIGN, ids=[f"{one[1]}@{one[2]}.{one[4]}.{one[5]}" for one in FOREIGN])
async def test_refs_in_commands_and_published_messages_are_of_their_asker_alone(autojump_clock, nodes, place):
    a, reached = await start(nodes)
    async with stranger(nodes) as client:
        client.envelope("/_topic/prices", "tests.hostile.Price", {"value": 1, "by": place})
        client.envelope("/_topic/prices", "tests.hostile.Price", {"value": 1, "by": place}, ask=5)
        client.envelope("/_service/clocks", FOUND, {"reply_to": place}, ask=5)
        client.envelope("/_service/clocks", FOUND, {"reply_to": place})
        told = {"known_within": 0.0, "reply_to": place}
        client.envelope("/_follow/prices", "casty.client.FollowTopic", told, ask=5)
        client.envelope("/_entity/leader", "tests.hostile.Ask", {"reply_to": place}, ask=5, entity="singleton")
        await trio.sleep(1)
        assert client.notices() == ["refused"] * 6
    assert refused(a) == {"foreign_ref": 6}
    assert (reached.prices, reached.asked) == ([], 0)


@pytest.mark.parametrize("entity", ["other", "Singleton", "singleton "])
async def test_the_key_of_a_singleton_opens_no_other_entity(autojump_clock, nodes, entity):
    a, reached = await start(nodes)
    async with stranger(nodes) as client:
        client.envelope("/_entity/leader", "tests.hostile.Ask", {"reply_to": reply_to()}, ask=5, entity=entity)
        await trio.sleep(1)
        assert len(client.came) == 1
        assert b"not open to clients" in client.came[0][1]
    assert refused(a) == {"not_open": 1}
    assert reached.asked == 0


async def test_a_flood_of_published_messages_waits_for_its_turn(autojump_clock, nodes):
    a, reached = await start(nodes)
    async with stranger(nodes) as client:
        for number in range(5_000):
            client.envelope("/_topic/prices", "tests.hostile.Price", {"value": number, "by": None})
        await trio.sleep(2)
        assert 1_500 < len(reached.prices) < 3_500
        await trio.sleep(4)
    assert reached.prices == list(range(5_000))
    assert refused(a) == {}


async def test_a_flood_of_questions_waits_for_its_turn(autojump_clock, nodes):
    a, _ = await start(nodes)
    async with stranger(nodes) as client:
        for number in range(5_000):
            client.say(FrameKind.CONTROL, msgpack.packb(["casty.client.is_open", f"/_topic/{number}"]))
        await trio.sleep(2)
        assert 1_500 < refused(a)["not_open"] < 3_500


@pytest.mark.parametrize(
    "body",
    [
        ["casty.client.is_open"],
        ["casty.client.is_open", 7],
        ["casty.client.is_open", ""],
        ["casty.client.is_open", "x" * 301],
        ["casty.client.is_open", "/_topic/prices", True],
        ["casty.client.open", "/_topic/prices", True],
        ["casty.client.contacts", [["a", 2551]]],
        {"casty.client.is_open": "/_topic/prices"},
    ],
)
async def test_what_is_no_question_ends_the_connection(autojump_clock, nodes, body):
    a, _ = await start(nodes)
    async with stranger(nodes) as client:
        client.say(FrameKind.CONTROL, msgpack.packb(body))
        await trio.sleep(1)
        assert client.is_closed
    assert refused(a) == {"bad_frame": 1}


async def test_a_question_too_long_to_be_one_is_refused_undecoded(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO, "casty")
    await start(nodes)
    async with stranger(nodes) as client:
        client.say(FrameKind.CONTROL, msgpack.packb(["casty.client.is_open", [{}] * 60_000]))
        await trio.sleep(1)
        assert client.is_closed
    assert f"at most {OPEN_BYTES_MAX} bytes, got 60025" in caplog.text


async def test_a_client_follows_so_many_topics_and_waits_so_often(autojump_clock, nodes):
    a, _ = await start(nodes, "b")
    nodes.network.cut("a", "b")  # nobody says to know of the subscriptions
    for number in range(FOLLOWED_MAX + 1):
        a.system.publish(Topic[Price](f"topic-{number}", clients=True), Price(0))
    async with stranger(nodes) as client:
        for number in range(FOLLOWED_MAX + 1):
            follow(client, f"topic-{number}", ask=number + 1)
        await trio.sleep(1)
        assert len(client.came) == FOLLOWED_MAX + 1
        assert b"at most 256 topics" in client.came[-1][1]
        del client.came[:]
        for ask in range(1, KNOWN_WAITS_MAX + 11):
            follow(client, "topic-0", ask=ask, known_within=600.0)
            client.say(FrameKind.WITHDRAW, ask.to_bytes(8, "big"))  # which frees its place among the asks
        follow(client, "topic-0", ask=900, known_within=600.0)
        await trio.sleep(1)
        assert len(client.came) == 11
        assert all(b"16 waits of this client" in body for _, body in client.came)


async def test_who_does_not_read_what_it_follows_loses_messages_and_keeps_its_replies(autojump_clock, nodes):
    a, _ = await start(nodes)
    blobs = Topic[bytes]("blobs", clients=True)
    a.system.publish(blobs, b"")
    connection, said, decoder = await greet(nodes, hello())
    assert isinstance(said, HelloAck)
    client = Stranger(FramePipe(connection, decoder, bytes_max=2**30, write_timeout=30.0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.pipe.write)
        follow(client, "blobs")
        await trio.sleep(1)
        for _ in range(100):
            a.system.publish(blobs, bytes(256 * 1024))
        await trio.sleep(0.1)
        assert refused(a)["unpublished"] > 50
        sessions = client_sessions(a)
        assert len(sessions) == 1
        assert sessions[0].pipe.bytes < PUBLISHED_BYTES_MAX + 512 * 1024
        nursery.start_soon(client.read)
        find(client, ask=9)
        await trio.sleep(1)
        assert b"/_given/1" in client.came[-1][1]
        nursery.cancel_scope.cancel()


async def test_a_listing_is_bounded_by_the_refs_that_a_client_may_hold(autojump_clock, nodes):
    a, _ = await start(nodes)

    async def idle(ctx: ActorContext[Ask], ask: Ask) -> Behavior[Ask]:
        return Behaviors.same()

    for number in range(INSTANCES_MAX + 100):
        a.system.spawn(Behaviors.discoverable(Behaviors.receive(idle), key=CLOCKS), f"clock-{number}")
    await trio.sleep(1)
    async with stranger(nodes) as client:
        find(client)
        await trio.sleep(1)
        assert client.came[0][1].count(b"/_given/") == INSTANCES_MAX


async def test_all_clients_together_hold_so_many_bytes_and_members_are_served_all_the_same(autojump_clock, nodes):
    a, _ = await start(nodes, "b")
    held = EntityKey[Blob]("held", clients=True)
    a.system.entity(held, "any")  # nobody hosts them: asks wait, and hold what they have said
    size = 512 * 1024
    strangers: list[Stranger] = []
    async with trio.open_nursery() as nursery:
        for _ in range(12):
            connection, said, decoder = await greet(nodes, hello())
            assert isinstance(said, HelloAck)
            one = Stranger(FramePipe(connection, decoder, bytes_max=2**30, write_timeout=30.0))
            nursery.start_soon(one.pipe.write)
            nursery.start_soon(one.read)
            for ask in range(1, 21):
                told = {"content": bytes(size), "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
                one.envelope("/_entity/held", "tests.hostile.Blob", told, ask=ask, entity="c")
            strangers.append(one)
        await trio.sleep(2)
        sessions = client_sessions(a)
        assert len(sessions) == 12
        clients = a.node.transport.clients
        assert ALL_ASKED_BYTES_MAX - 2 * size < clients.held_bytes <= ALL_ASKED_BYTES_MAX
        taken = ALL_ASKED_BYTES_MAX // size - 1
        assert sum(len(one.notices()) for one in strangers) >= 12 * 20 - taken - 1
        assert refused(a)["too_many"] >= 12 * 20 - taken - 1
        for one in sessions:
            assert sum(ask.size for ask in one.asks.values()) <= CLIENT_BYTES_MAX
        b = nodes.handles["b"].system
        clock = (await b.find(CLOCKS, at_least=1)).refs[0]
        assert await b.ask(clock, Ask) == 1
        for one in strangers:
            await one.pipe.aclose()
        nursery.cancel_scope.cancel()
    await trio.sleep(1)
    assert clients.held_bytes == 0


@casty.message("tests.hostile.Fetch")
@dataclass(frozen=True)
class Fetch:
    size: int
    reply_to: ActorRef[bytes]


STORE = EntityKey[Fetch]("store", clients=True)


async def test_who_reads_is_served_while_others_that_do_not_hold_all_the_room_there_is(autojump_clock, nodes):
    a, _ = await start(nodes)

    async def fetch(ctx: ActorContext[Fetch], message: Fetch) -> Behavior[Fetch]:
        message.reply_to.tell(bytes(message.size))
        return Behaviors.same()

    a.system.spawn(Behaviors.sharded(lambda _: Behaviors.receive(fetch), STORE, num_shards=4), "store")
    size, per_client = 500_000, 16
    clients = a.node.transport.clients
    async with trio.open_nursery() as nursery:
        for _ in range(9):
            connection, said, decoder = await greet(nodes, hello())
            assert isinstance(said, HelloAck)
            one = Stranger(FramePipe(connection, decoder, bytes_max=2**30, write_timeout=30.0))
            nursery.start_soon(one.pipe.write)
            for ask in range(1, per_client + 1):
                if clients.held_bytes + size > ALL_BYTES_MAX:
                    break
                told = {"size": size, "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
                one.envelope("/_entity/store", "tests.hostile.Fetch", told, ask=ask, entity="c")
                await trio.sleep(0.01)  # part of what nobody reads is with the network
                for session in client_sessions(a):
                    session.note_queued()
        assert ALL_BYTES_MAX - size < clients.held_bytes <= ALL_BYTES_MAX
        async with client_of(nodes, "a", name="reader") as client:
            for _ in range(3):
                fetched: bytes = await client.ask(client.entity(STORE, "c"), lambda to: Fetch(size, to))
                assert len(fetched) == size
        assert 1 <= refused(a)["unread"] <= 2
        assert clients.held_bytes <= ALL_BYTES_MAX
        nursery.cancel_scope.cancel()


def client_sessions(handle: Any) -> list[Any]:
    return list(handle.node.transport.clients.sessions)
