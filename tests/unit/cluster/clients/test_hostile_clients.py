"""Clients that break the rules: what they send is refused, counted and named, and no node is the worse for it."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import msgpack
import pytest
import trio
from helpers.entities import Carts, Command, Note, Notes
from helpers.strangers import RUN, Stranger, greet, hello, refused, reply_to, stranger

from casty import Behaviors, EntityKey
from casty.cluster.clients import client_session
from casty.cluster.clients.client_limits import (
    ASKS_MAX,
    CONNECTIONS_PER_HOST_MAX,
    LARGE_BYTES,
    TURN_FRAMES_MAX,
    UNTURNED_BYTES_MAX,
)
from casty.transport.clients.frame_pipe import FramePipe
from casty.wire.control.cancel_request import withdraw_frame
from casty.wire.frame import FrameKind, Lane
from casty.wire.handshake import MEMBER, HelloAck, Refused

FLOODS = 40
OPEN = EntityKey[Command]("carts", clients=True)


async def start(nodes: Any, *names: str) -> tuple[Any, Carts]:
    await nodes.join("a", *names)
    a = nodes.handles["a"]
    carts = Carts("a")
    a.system.spawn(Behaviors.sharded(carts.make, OPEN, num_shards=4), "carts")
    a.system.spawn(Behaviors.receive(_never), "private")
    return a, carts


async def _never(ctx: object, message: int) -> Any:
    raise AssertionError("a client has reached an actor that nobody gave it")


async def test_a_raw_client_that_keeps_the_rules_is_served(autojump_clock, nodes):
    a, _ = await start(nodes)
    async with stranger(nodes) as client:
        client.envelope("/_entity/carts", "tests.entities.Add", {"count": 2, "reply_to": reply_to()}, ask=5, entity="c")
        await trio.sleep(1)
        assert [kind for kind, _ in client.came] == [FrameKind.ENVELOPE]
        assert client.came[0][1].endswith(b"\x02")
    assert refused(a) == {}


@pytest.mark.parametrize(
    "path",
    [
        "/private",
        "/_cluster",
        "/_cluster/_topology",
        "/_cluster/_receptionist",
        "/_ask/1",
        "/_given/1",
        "/_topic-x",
        "/",
    ],
)
async def test_no_path_leads_to_an_actor_that_is_not_open_to_clients(autojump_clock, nodes, caplog, path):
    caplog.set_level(logging.INFO, "casty")
    a, _ = await start(nodes)
    async with stranger(nodes) as client:
        client.envelope(path, "int", 1)
        client.envelope(path, "casty.SubscribeTopology", {"reply_to": reply_to()}, ask=5)
        client.envelope(path, "casty.Register", {"key": "x", "ref": reply_to()})
        await trio.sleep(1)
        assert client.notices() == ["refused"] * 3
        assert not client.is_closed
    assert refused(a) == {"not_open": 3}
    assert "mallory" in caplog.text


@pytest.mark.parametrize("key", ["others", "carts2", "Carts", "casty", "singleton"])
async def test_a_kind_that_is_not_open_is_refused_before_anything_is_decoded(autojump_clock, nodes, key):
    a, carts = await start(nodes)
    async with stranger(nodes) as client:
        client.envelope(f"/_entity/{key}", "tests.entities.Note", {"number": 1}, entity="c")
        await trio.sleep(1)
        assert client.notices() == ["refused"]
    assert refused(a) == {"not_open": 1}
    assert not carts.starts


async def test_every_control_message_of_the_cluster_ends_the_connection_and_nothing_else(autojump_clock, nodes):
    a, _ = await start(nodes)
    before = await a.system.get_cluster_state()
    names = sorted(a.node.control.by_name)
    assert len(names) > 20
    for name in names:
        async with stranger(nodes) as client:
            client.say(FrameKind.CONTROL, b"\x92" + msgpack.packb(name) + msgpack.packb({}))
            await trio.sleep(0.5)
            assert client.is_closed
    assert refused(a) == {"bad_frame": len(names)}
    after = await a.system.get_cluster_state()
    assert (after.members, after.registry) == (before.members, before.registry)


@pytest.mark.parametrize("kind", [kind for kind in FrameKind if kind not in (FrameKind.ENVELOPE, FrameKind.GOODBYE)])
async def test_every_frame_that_is_not_for_clients_ends_the_connection(autojump_clock, nodes, kind):
    a, _ = await start(nodes)
    async with stranger(nodes) as client:
        client.say(kind, b"\x00\x01\x02")
        await trio.sleep(1)
        assert client.is_closed
    assert refused(a) == {"bad_frame": 1}
    await nodes.all_up("a")


INNER = [
    reply_to(RUN, "/_cluster"),
    reply_to(RUN, "/private", 0),
    reply_to(RUN, "/_ask/1", 0),
    reply_to(RUN, "/_ask/1", 6),
    ["shop", "/private", None, None, 0, 0],
    ["shop", "/_cluster", None, None, 0, 0],
    ["shop", "/_entity/5/carts/c", None, None, 0, 0],
    ["shop", "/_cluster/_topology", "a", 2551, 0, 0],
    ["shop", "/_ask/1", "a", 2551, 0, 5],
    ["shop", "/_ask/1", "b", 2551, 0, 5],
    ["shop", "/_ask/1", "client", 1, 78, 5],
    ["shop", "/_ask/1", "client", 1, 0, 5],
    ["shop", "/_ask/1", "elsewhere", 80, 9, 5],
]


@pytest.mark.parametrize("place", INNER, ids=[f"{one[1]}@{one[2]}.{one[4]}.{one[5]}" for one in INNER])
async def test_a_message_may_name_its_asker_and_nobody_else(autojump_clock, nodes, place):
    a, carts = await start(nodes)
    async with stranger(nodes) as client:
        told = {"count": 2, "reply_to": place}
        client.envelope("/_entity/carts", "tests.entities.Add", told, ask=5, entity="c")
        client.envelope("/_entity/carts", "tests.entities.Add", told, entity="c")
        await trio.sleep(1)
        assert client.notices() == ["refused"] * 2
    assert refused(a) == {"foreign_ref": 2}
    assert not carts.starts


async def test_bytes_that_are_no_message_are_refused(autojump_clock, nodes):
    a, carts = await start(nodes)
    async with stranger(nodes) as client:
        client.say(FrameKind.ENVELOPE, b"")
        client.say(FrameKind.ENVELOPE, b"\x00\x05\xc1\xc1\xc1\xc1\xc1")
        client.envelope("/_entity/carts", "tests.entities.Add", {"count": "two", "reply_to": 1}, ask=5, entity="c")
        client.envelope("/_entity/carts", "no.such.Type", {}, entity="c")
        client.envelope("/_entity/carts", "tests.entities.Whole", {}, entity="c")
        client.envelope("/_entity/carts", "tests.entities.Note", {"number": 1}, entity="x" * 300)
        await trio.sleep(1)
        assert not client.is_closed
    assert refused(a) == {"undecodable": 4, "ill_typed": 2}
    assert not carts.starts


async def test_more_asks_than_a_client_may_have_are_refused_one_by_one(autojump_clock, nodes):
    a, _ = await start(nodes)
    held = EntityKey[Command]("held", clients=True)
    a.system.entity(held, "any")  # nobody hosts them: asks wait
    async with stranger(nodes) as client:
        for ask in range(1, ASKS_MAX + 101):
            told = {"count": 1, "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
            client.envelope("/_entity/held", "tests.entities.Add", told, ask=ask, entity=f"c{ask}")
        await trio.sleep(1)
        assert client.notices() == ["refused"] * 100
        assert refused(a) == {"too_many": 100}
        assert len(a.node.kernel.asks) >= ASKS_MAX
        await trio.sleep(10)
        assert not a.node.kernel.asks


async def test_floods_of_asks_leave_each_round_of_the_loop_to_all_others_but_for_a_turn(autojump_clock, nodes):
    a, _ = await start(nodes)
    before = counted = a.node.kernel.counters.asks
    most = 0
    async with stranger(nodes) as one, stranger(nodes) as other:
        for ask in range(1, 501):
            told = {"count": 1, "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
            for client in one, other:
                client.envelope("/_entity/carts", "tests.entities.Add", told, ask=ask, entity="c")
        while counted < before + 1_000:
            await trio.lowlevel.checkpoint()
            taken = a.node.kernel.counters.asks
            most, counted = max(most, taken - counted), taken
        await trio.sleep(1)
        assert len(one.came) == len(other.came) == 500
    assert refused(a) == {}
    assert 0 < most <= 2 * TURN_FRAMES_MAX  # of two rounds, where the second one looks before this task does


async def test_who_asks_one_thing_at_a_time_waits_for_no_turns_of_floods(autojump_clock, nodes):
    a, _ = await start(nodes)
    counters = a.node.kernel.counters
    async with AsyncExitStack() as stack:
        floods = [await stack.enter_async_context(stranger(nodes)) for _ in range(FLOODS)]
        calm = await stack.enter_async_context(stranger(nodes))
        asked = "/_entity/carts", "tests.entities.Add", {"count": 1, "reply_to": reply_to()}
        calm.envelope(*asked, ask=5, entity="d")
        await trio.sleep(1)
        assert len(calm.came) == 1
        before = counters.asks
        for flood in floods:
            for ask in range(1, 101):
                told = {"count": 1, "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
                flood.envelope("/_entity/carts", "tests.entities.Add", told, ask=ask, entity="c")
        while counters.asks < before + FLOODS * TURN_FRAMES_MAX:
            await trio.lowlevel.checkpoint()
        before = counters.asks
        calm.envelope(*asked, ask=5, entity="d")
        while len(calm.came) == 1:
            await trio.lowlevel.checkpoint()
        assert counters.asks - before < FLOODS * TURN_FRAMES_MAX // 2  # a turn would have come behind all of theirs
    assert refused(a) == {}


@pytest.mark.parametrize("size", [16, UNTURNED_BYTES_MAX + 1])
async def test_the_first_frame_of_a_read_waits_for_a_turn_where_it_is_large(autojump_clock, nodes, size):
    a, _ = await start(nodes)
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(stranger(nodes)) for _ in range(FLOODS)]
        await trio.sleep(1)
        for client in clients:
            client.envelope("/private", "builtins.bytes", bytes(size))
        most = counted = 0
        while counted < FLOODS:
            await trio.lowlevel.checkpoint()
            taken = refused(a).get("not_open", 0)
            most, counted = max(most, taken - counted), taken
        assert (most > 2) is (size < UNTURNED_BYTES_MAX)  # two rounds, as above
        assert counted == FLOODS


async def test_large_messages_leave_the_loop_to_others_for_as_long_as_they_take(autojump_clock, nodes, monkeypatch):
    seconds = count(0.0)
    monkeypatch.setattr(client_session, "perf_counter", lambda: next(seconds))  # one for each decoding
    a, _ = await start(nodes)
    async with stranger(nodes) as one, stranger(nodes) as other, stranger(nodes) as small:
        for client in one, other:
            for ask in range(1, 4):
                told = {"count": "x" * LARGE_BYTES, "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
                client.envelope("/_entity/carts", "tests.entities.Add", told, ask=ask, entity="c")
        await trio.sleep(0.5)
        small.envelope("/_entity/carts", "tests.entities.Add", {"count": 1, "reply_to": reply_to()}, ask=5, entity="c")
        await trio.sleep(0.5)
        assert len(small.came) == 1
        await trio.sleep(1.5)
        assert refused(a)["undecodable"] in (3, 4)  # the first may be decoded before anybody else has one
        await trio.sleep(3)
        assert one.notices() == other.notices() == ["ill_typed"] * 3


async def test_large_messages_of_one_client_alone_wait_for_nothing(autojump_clock, nodes, monkeypatch):
    seconds = count(0.0)
    monkeypatch.setattr(client_session, "perf_counter", lambda: next(seconds))
    a, _ = await start(nodes)
    async with stranger(nodes) as client:
        for ask in range(1, 4):
            told = {"count": "x" * LARGE_BYTES, "reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
            client.envelope("/_entity/carts", "tests.entities.Add", told, ask=ask, entity="c")
        await trio.sleep(0.5)
        assert refused(a) == {"undecodable": 3}


async def test_asks_of_a_client_that_is_gone_wait_no_longer(autojump_clock, nodes):
    a, _ = await start(nodes)
    a.system.entity(EntityKey[Command]("held", clients=True), "any")
    async with stranger(nodes) as client:
        told = {"count": 1, "reply_to": reply_to()}
        client.envelope("/_entity/held", "tests.entities.Add", told, ask=5, entity="c")
        await trio.sleep(1)
        assert a.node.kernel.asks
        await client.pipe.aclose()
        await trio.sleep(1)
        assert not a.node.kernel.asks


async def test_a_host_has_as_many_clients_as_it_may(autojump_clock, nodes):
    a, _ = await start(nodes)
    connections = [(await greet(nodes, hello()))[0] for _ in range(CONNECTIONS_PER_HOST_MAX)]
    _, answer, _ = await greet(nodes, hello())
    assert isinstance(answer, Refused)
    assert "64 clients" in answer.reason
    assert refused(a) == {"too_many_connections": 1}
    await connections[0].aclose()
    await trio.sleep(1)
    assert isinstance((await greet(nodes, hello()))[1], HelloAck)


@pytest.mark.parametrize("lane", [Lane.control, Lane.large, Lane.probe])
async def test_no_lane_of_the_nodes_takes_a_client(autojump_clock, nodes, lane):
    await start(nodes)
    _, answer, _ = await greet(nodes, hello(lane=lane))
    assert isinstance(answer, Refused)
    assert "role 'client' has no place" in answer.reason


async def test_a_client_in_the_name_of_a_member_displaces_nobody(autojump_clock, nodes):
    a, _ = await start(nodes, "b")
    b = nodes.handles["b"]
    async with trio.open_nursery() as nursery:
        connection, answer, decoder = await greet(nodes, hello(node=b.run, node_id="b"))
        assert isinstance(answer, HelloAck)
        one = Stranger(FramePipe(connection, decoder, bytes_max=2**20, write_timeout=30.0))
        nursery.start_soon(one.pipe.write)
        one.envelope("/_cluster", "casty.SubscribeTopology", {"reply_to": reply_to(b.run)})
        await trio.sleep(20)
        nursery.cancel_scope.cancel()
    await nodes.all_up("a", "b")
    assert refused(a) == {"not_open": 1}


async def test_a_member_role_does_not_come_in_by_the_door_of_clients(autojump_clock, nodes):
    await start(nodes)
    _, answer, _ = await greet(nodes, hello(role=MEMBER))
    assert isinstance(answer, Refused)


async def test_a_flood_of_tells_waits_for_its_turn_and_loses_nothing(autojump_clock, nodes):
    a, _ = await start(nodes)
    notes: list[int] = []

    async def take(ctx: object, message: Command) -> Any:
        assert isinstance(message, Note)
        notes.append(message.number)
        return Behaviors.same()

    many = EntityKey[Command]("many", clients=True)
    a.system.spawn(Behaviors.sharded(lambda _: Behaviors.receive(take), many, num_shards=4), "many")
    async with stranger(nodes) as client:
        for number in range(5_000):
            client.envelope("/_entity/many", "tests.entities.Note", {"number": number}, entity="c")
        await trio.sleep(2)
        assert 1_500 < len(notes) < 3_500
        await trio.sleep(4)
    assert notes == list(range(5_000))
    assert refused(a) == {}


async def test_a_flood_of_refused_messages_is_taken_at_the_same_pace(autojump_clock, nodes):
    a, _ = await start(nodes)
    async with stranger(nodes) as client:
        for _ in range(5_000):
            client.envelope("/private", "int", 1)
        await trio.sleep(2)
        assert 1_500 < refused(a)["not_open"] < 3_500


async def test_a_flood_of_asks_withdrawn_at_once_is_taken_at_the_same_pace(autojump_clock, nodes):
    a, _ = await start(nodes)
    begun: list[str] = []

    def begin(entity_id: str) -> Any:
        begun.append(entity_id)
        return Behaviors.ignore()

    many = EntityKey[Command]("many", clients=True)
    a.system.spawn(Behaviors.sharded(begin, many, num_shards=4), "many")
    async with stranger(nodes) as client:
        for ask in range(1, 5_001):
            told = {"reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
            client.envelope("/_entity/many", "tests.entities.Notes", told, ask=ask, entity=f"c{ask}")
            client.pipe.put(withdraw_frame(ask))
        await trio.sleep(2)
        assert 1_500 < len(begun) < 3_500
    assert not a.node.kernel.asks


async def test_a_client_that_does_not_read_its_replies_is_hung_up_on(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO, "casty")
    a, _ = await start(nodes)
    kept: list[Any] = []

    async def answer(ctx: object, message: Command) -> Any:
        assert isinstance(message, Notes)
        message.reply_to.tell([2**60] * 50_000)
        kept.append(message.reply_to)
        return Behaviors.same()

    large = EntityKey[Command]("large", clients=True)
    a.system.spawn(Behaviors.sharded(lambda _: Behaviors.receive(answer), large, num_shards=4), "large")
    connection, said, decoder = await greet(nodes, hello())
    assert isinstance(said, HelloAck)
    client = Stranger(FramePipe(connection, decoder, bytes_max=2**30, write_timeout=30.0))
    (session,) = a.node.transport.clients.sessions
    async with trio.open_nursery() as nursery:
        nursery.start_soon(client.pipe.write)
        for ask in range(1, 101):
            told = {"reply_to": reply_to(path=f"/_ask/{ask}", uid=ask)}
            client.envelope("/_entity/large", "tests.entities.Notes", told, ask=ask, entity="c")
        await trio.sleep(5)
        nursery.cancel_scope.cancel()
    assert refused(a) == {"unread": 1}
    assert "does not read what it is told" in caplog.text
    assert not a.node.kernel.asks
    assert not session.pipe.bytes, "an actor may keep the ref to it for long"
    assert kept
    assert not [slot for slot in kept if isinstance(slot.answer, list)], "and the slots would keep all replies"
