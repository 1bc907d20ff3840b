"""A client of a cluster: asks and tells by one node, and by another one when that is lost."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from logging import INFO, WARNING
from typing import Any

import pytest
import trio
from helpers.clients import KeptHost, client_of, hold_up
from helpers.entities import Add, Carts, Command, Fail, Note, Notes, Own, Whole

import casty
from casty import (
    ActorContext,
    ActorRef,
    ActorStoppedError,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusterClient,
    ClusteredActorSystem,
    ClusterUnreachable,
    ConfigError,
    EntityKey,
)
from casty.cluster.clients.client_session import ClientSession

OPEN = EntityKey[Command]("carts", clients=True)
PORT = 2551


def host(system: ClusteredActorSystem, **options: Any) -> Carts:
    carts = Carts(system.cluster_config.node_id)
    system.spawn(Behaviors.sharded(carts.make, OPEN, **{"num_shards": 16} | options), "carts")
    return carts


async def add(client: ClusterClient, entity_id: str, count: int = 1, timeout: float = 5.0) -> int:
    total: int = await client.ask(client.entity(OPEN, entity_id), lambda to: Add(count, to), timeout=timeout)
    return total


async def test_a_client_asks_and_tells_entities_on_all_nodes_by_one_of_them(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a), host(b)
    async with client_of(nodes, "a") as client:
        homes = set()
        for number in range(20):
            client.entity(OPEN, f"cart-{number}").tell(Note(number))
            assert await add(client, f"cart-{number}", 2) == 2
            assert await client.ask(client.entity(OPEN, f"cart-{number}"), Notes) == [number]
            whole: Whole = await client.ask(client.entity(OPEN, f"cart-{number}"), Own)
            homes.add(whole.node)
        assert homes == {"a", "b"}
        assert {member.id for member in (await a.get_cluster_state()).members} == {"a", "b"}


async def test_a_client_that_has_ended_finds_no_entity_and_says_so(autojump_clock, nodes):
    host((await nodes.systems("a"))[0])
    async with client_of(nodes, "a") as client:
        pass
    with pytest.raises(ActorStoppedError, match=r"has ended: use another one"):
        client.entity(OPEN, "cart-1")


async def test_a_client_that_has_lost_its_node_goes_on_with_another_that_it_was_told_of(autojump_clock, nodes):
    await nodes.join("a", "b", "c")
    for name in ("b", "c"):
        host(nodes.handles[name].system)
    nodes.handles["a"].system.entity(OPEN, "any")  # a node that only uses the key serves its clients, too
    async with client_of(nodes, "a") as client:
        assert await add(client, "cart-1") == 1
        await trio.sleep(1.5)
        assert {point.host for point in client.contact_points} == {"a", "b", "c"}
        nodes.crash("a")
        await trio.sleep(0.5)  # what is sent before the client has noticed is lost, and it is told so: see below
        assert await add(client, "cart-1", timeout=20) == 2
        assert client.contact is not None
        assert client.contact.host in ("b", "c")


async def test_of_asks_in_flight_only_those_that_were_written_are_uncertain(autojump_clock, nodes):
    await nodes.join("a", "b", "c")
    for name in ("b", "c"):
        host(nodes.handles[name].system)
    nodes.handles["a"].system.entity(OPEN, "any")
    outcomes: list[object] = []

    async def ask(client: ClusterClient, entity_id: str) -> None:
        try:
            outcomes.append(await add(client, entity_id, timeout=30))
        except AskFailed as error:
            outcomes.append((error.failure, error.certainly_not_handled))

    async with client_of(nodes, "a") as client, trio.open_nursery() as nursery:
        await ask(client, "cart-1")
        await trio.sleep(1.5)
        nodes.network.cut("a", "outside")
        nursery.start_soon(ask, client, "cart-1")
        await trio.sleep(4)
        assert client.contact is None or client.contact.host != "a"
        assert outcomes == [1, ("lost", False)]
        nursery.start_soon(ask, client, "cart-1")
    assert outcomes == [1, ("lost", False), 2]


async def test_an_ask_without_any_node_was_certainly_not_sent_and_ends_after_ten_seconds(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)
    async with client_of(nodes, "a") as client:
        nodes.crash("a")
        await trio.sleep(0.5)
        began = trio.current_time()
        with pytest.raises(ClusterUnreachable) as caught:
            await add(client, "cart-1", timeout=60)
        assert caught.value.certainly_not_handled
        assert 9 < trio.current_time() - began < 14
        with pytest.raises(ClusterUnreachable, match="a:2551"):
            await add(client, "cart-1", timeout=60)


async def test_entering_without_any_node_ends_after_its_time_and_says_why(autojump_clock, nodes):
    nodes.network.host("a")
    with pytest.raises(ClusterUnreachable, match="this client has reached no node of 'shop' within 3 s: a:2551: "):
        async with client_of(nodes, "a", connect_timeout=3.0):
            pass
    assert trio.current_time() < 6


async def test_a_client_of_another_system_is_told_so(autojump_clock, nodes):
    await nodes.systems("a")
    with pytest.raises(ClusterUnreachable, match="system name 'till' does not match 'shop'"):
        async with ClusterClient(
            contact_points=[("a", PORT)], system_name="till", network=nodes.network.host("outside"), connect_timeout=2.0
        ):
            pass


async def test_a_key_that_the_node_has_not_opened_is_refused_and_certainly_not_handled(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    carts = Carts("a")
    a.spawn(Behaviors.sharded(carts.make, EntityKey[Command]("carts"), num_shards=16), "carts")
    async with client_of(nodes, "a") as client:
        with pytest.raises(AskFailed, match="clients=True") as caught:
            await add(client, "cart-1")
        assert caught.value.failure == "not_delivered"
        with pytest.raises(ConfigError, match="clients=True"):
            client.entity(EntityKey[Command]("others"), "cart-1")
    assert not carts.starts
    assert nodes.handles["a"].node.cluster_metrics.refused["client: not_open"] == 1


async def test_a_failure_of_the_entity_comes_as_what_it_is(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a), host(b)
    async with client_of(nodes, "b") as client:
        for number in range(8):
            with pytest.raises(AskFailed, match="as asked for") as caught:
                await client.ask(client.entity(OPEN, f"cart-{number}"), Fail)
            assert caught.value.failure == "failed"


async def test_a_ref_in_a_reply_is_good_for_its_actor_and_on_its_connection(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a), host(b)
    async with client_of(nodes, "a") as client:
        wholes: list[Whole] = [await client.ask(client.entity(OPEN, f"cart-{n}"), Own) for n in range(8)]
        for whole in wholes:
            assert await client.ask(whole.ref, lambda to: Add(3, to)) == 3
            assert whole.ref.path.startswith("/_given/")
        await trio.sleep(1.5)
        nodes.crash("a")
        await trio.sleep(5)
        with pytest.raises(AskFailed, match="ask again for what it came with") as caught:
            await client.ask(wholes[0].ref, lambda to: Add(3, to))
        assert caught.value.certainly_not_handled


async def test_addresses_of_nodes_are_translated_for_the_client(autojump_clock, nodes):
    await nodes.join("a", "b")
    seen: list[str] = []

    def translate(address: Any) -> Any:
        seen.append(address.host)
        return type(address)({"a": "b", "b": "a"}[address.host], address.port)

    async with client_of(nodes, "a", address_map=translate) as client:
        await trio.sleep(1.5)
        assert set(seen) == {"a", "b"}
        assert client.contact_points[0].host in ("a", "b")


async def test_a_node_that_leaves_sends_its_clients_away_first(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a), host(b)
    async with client_of(nodes, "a") as client, trio.open_nursery() as nursery:
        await trio.sleep(1.5)
        nursery.start_soon(nodes.stop, "a")
        for _ in range(100):
            assert await add(client, "cart-1", timeout=20) > 0
            await trio.sleep(0.1)
        assert client.contact is not None
        assert client.contact.host == "b"


async def test_what_is_told_before_the_end_of_a_client_arrives(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)
    async with client_of(nodes, "a") as client:
        await add(client, "cart-1")
        for number in range(10):
            client.entity(OPEN, "cart-1").tell(Note(number))
    async with client_of(nodes, "a") as client:
        client.entity(OPEN, "cart-1").tell(Note(10))  # by a way that is not open yet
        await client.entity(OPEN, "cart-1").send(Note(11))
    async with client_of(nodes, "a") as client:
        assert await client.ask(client.entity(OPEN, "cart-1"), Notes) == list(range(12))


async def test_the_end_of_a_client_waits_for_no_node_that_says_nothing(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)
    async with client_of(nodes, "a") as client:
        await add(client, "cart-1")
        nodes.network.cut("outside", "a")
        client.entity(OPEN, "cart-1").tell(Note(1))
        began = trio.current_time()
    assert trio.current_time() - began <= 3
    nodes.network.heal_all()
    with trio.move_on_after(0.5):
        async with client_of(nodes, "a") as client:
            await add(client, "cart-1")
            nodes.network.cut("outside", "a")
            began = trio.current_time()
            await trio.sleep_forever()
    assert trio.current_time() - began <= 3


async def test_all_who_wait_for_room_send_once_there_is_some(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)
    async with client_of(nodes, "a") as client:
        cart = client.entity(OPEN, "cart-1")
        await add(client, "cart-1")
        nodes.network.cut("outside", "a")
        await trio.sleep(5)
        for number in range(1_000):
            cart.tell(Note(number))
        with trio.fail_after(30):
            async with trio.open_nursery() as nursery:
                for number in range(1_000, 1_005):
                    nursery.start_soon(cart.send, Note(number))
                await trio.sleep(1)
                assert len(nursery.child_tasks) == 5
                nodes.network.heal_all()
        notes: list[int] = await client.ask(cart, Notes)
        assert notes[:1_000] == list(range(1_000)) and sorted(notes[1_000:]) == list(range(1_000, 1_005))


@casty.message("tests.client.Load")
@dataclass(frozen=True)
class Load:
    number: int
    content: bytes


@casty.message("tests.client.Loads")
@dataclass(frozen=True)
class Loads:
    reply_to: ActorRef[list[int]]


LOADED = EntityKey[Load | Loads]("loaded", clients=True)


def loaded(entity_id: str) -> Behavior[Load | Loads]:
    numbers: list[int] = []

    async def handle(ctx: ActorContext[Load | Loads], message: Load | Loads) -> Behavior[Load | Loads]:
        if isinstance(message, Load):
            numbers.append(message.number)
        else:
            message.reply_to.tell(list(numbers))
        return Behaviors.same()

    return Behaviors.receive(handle)


@pytest.mark.parametrize("is_cut", [False, True])
async def test_large_messages_wait_for_room_too(autojump_clock, nodes, is_cut):
    (a,) = await nodes.systems("a")
    a.spawn(Behaviors.sharded(loaded, LOADED, num_shards=4), "loaded")
    async with client_of(nodes, "a") as client:
        one = client.entity(LOADED, "one")
        assert await client.ask(one, Loads) == []
        if is_cut:
            nodes.network.cut("outside", "a")
            await trio.sleep(5)
        async with trio.open_nursery() as nursery:

            async def send() -> None:
                for number in range(100):
                    await one.send(Load(number, bytes(500_000)))

            nursery.start_soon(send)
            await trio.sleep(1)
            nodes.network.heal_all()
        assert await client.ask(one, Loads, timeout=30) == list(range(100))


async def test_a_ref_of_one_client_is_asked_by_no_other_system(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)
    async with client_of(nodes, "a") as client, client_of(nodes, "a") as other:
        whole: Whole = await client.ask(client.entity(OPEN, "cart-1"), Own)
        for asker in (other, a):
            for ref in (whole.ref, client.entity(OPEN, "cart-1")):
                with pytest.raises(ValueError, match="ask with the client that made the ref"):
                    await asker.ask(ref, lambda to: Add(1, to))
        assert await add(client, "cart-1", 0) == 0


async def test_a_given_ref_is_refused_to_another_thread_and_goes_on(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)
    async with client_of(nodes, "a") as client:
        whole: Whole = await client.ask(client.entity(OPEN, "cart-1"), Own)
        with pytest.raises(RuntimeError, match="thread"):
            await trio.to_thread.run_sync(whole.ref.tell, Note(1))
        assert await add(client, "cart-1") == 1


async def test_nothing_overtakes_what_a_lost_connection_has_not_written(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a), host(b)
    outside = KeptHost(nodes.network.host("outside"))
    points = [("a", PORT), ("b", PORT)]
    async with ClusterClient(contact_points=points, system_name="shop", network=outside) as client:
        cart = client.entity(OPEN, "cart-1")
        await add(client, "cart-1")
        assert client.contact is not None
        hold_up(outside.dialled[0])
        cart.tell(Note(0))
        await trio.sleep(0.01)  # that one may have gone out, for all the client knows
        for number in range(1, 10):
            cart.tell(Note(number))
        nodes.network.reset("outside", client.contact.host)
        for number in range(10, 20):
            await trio.sleep(0.05)
            cart.tell(Note(number))
        await trio.sleep(5)
        assert await client.ask(cart, Notes) == list(range(1, 20))


@casty.message("tests.clients.Either")
@dataclass(frozen=True)
class Either:
    """A message with two fields for its one reply."""

    is_text: bool
    number: ActorRef[int]
    text: ActorRef[str]


EITHER = EntityKey[Either]("either", clients=True)


def answering(entity_id: str) -> Behavior[Either]:
    async def receive(ctx: ActorContext[Either], message: Either) -> Behavior[Either]:
        if message.is_text:
            message.text.tell("one")
        else:
            message.number.tell(1)
        return Behaviors.same()

    return Behaviors.receive(receive)


async def test_a_reply_may_be_of_any_type_that_the_request_has_a_ref_for(autojump_clock, nodes):
    for system in await nodes.systems("a", "b"):
        system.spawn(Behaviors.sharded(answering, EITHER, num_shards=4), "either")
    async with client_of(nodes, "a") as client:
        for number in range(6):
            ref = client.entity(EITHER, f"e-{number}")
            replies = [await client.ask(ref, partial(_either, is_text)) for is_text in (False, True)]
            assert replies == [1, "one"]


def _either(is_text: bool, to: ActorRef[Any]) -> Either:
    return Either(is_text, to, to)


async def test_each_fault_of_a_contact_point_is_logged_once_and_anew_after_an_answer(autojump_clock, nodes, caplog):
    nodes.network.host("b")
    (a,) = await nodes.systems("a")
    host(a)

    def told() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "casty.client" and one.levelno >= WARNING]

    with pytest.raises(ClusterUnreachable, match="this client has reached no node of 'shop' within 9 s: b:2551: "):
        async with client_of(nodes, "b", connect_timeout=9.0, name="web"):
            pass
    (only,) = told()
    assert only.startswith("client web of shop has no connection to b:2551: cannot connect to b:2551")
    caplog.clear()
    async with client_of(nodes, "a") as client:
        for _ in range(2):
            assert await add(client, "cart-1", timeout=60) > 0
            nodes.crash("a")
            await trio.sleep(20)
            (only,) = told()
            assert "has no connection to a:2551: " in only
            caplog.clear()
            (a,) = await nodes.systems("a")
            host(a)
            await trio.sleep(5)


async def test_a_request_without_a_reply_tells_what_is_known_of_it(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)

    async def silent(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        return Behaviors.same()

    never = EntityKey[Command]("silent", clients=True)
    a.spawn(Behaviors.sharded(lambda _: Behaviors.receive(silent), never, num_shards=4), "silent")
    async with client_of(nodes, "a") as client:
        whole: Whole = await client.ask(client.entity(OPEN, "cart-1"), Own)
        text = "within 1.0 s: it was sent to a:2551 to be handed on; whether it was handled is not known$"
        with pytest.raises(AskTimeoutError, match=text):
            await client.ask(client.entity(never, "one"), lambda to: Add(1, to), timeout=1.0)

        async def lost() -> None:
            with pytest.raises(
                AskFailed, match="written to a:2551, and then .* lost .*; whether it was handled is not"
            ):
                await client.ask(client.entity(never, "one"), lambda to: Add(1, to), timeout=20.0)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(lost)
            await trio.sleep(0.5)
            nodes.crash("a")
        with pytest.raises(AskFailed, match="the ref is good on the connection by which it came alone, which has"):
            await client.ask(whole.ref, lambda to: Add(1, to))


async def test_the_log_and_the_client_tell_the_node_in_use(autojump_clock, nodes, caplog):
    caplog.set_level(INFO)
    await nodes.join("a", "b")

    def told() -> list[str]:
        return [one.getMessage() for one in caplog.records if one.name == "casty.client" and one.levelno == INFO]

    async with client_of(nodes, "a", name="web") as client:
        await trio.sleep(1.5)
        assert repr(client) == "<ClusterClient shop running actors=0 by a:2551>"
        nodes.crash("a")
        await trio.sleep(6)
        assert repr(client) == "<ClusterClient shop running actors=0 by b:2551>"
        nodes.crash("b")
        await trio.sleep(6)
        assert client.contact is None
        assert repr(client) == "<ClusterClient shop running actors=0 by no node>"
    assert [line.partition("more: ")[0] for line in told()] == [
        "client web of shop goes by a:2551",
        "client web of shop goes by a:2551 no ",
        "client web of shop goes by b:2551",
        "client web of shop goes by b:2551 no ",
    ]


async def test_a_node_that_hangs_up_at_once_again_is_left_alone_for_a_while(autojump_clock, nodes, monkeypatch):
    (a,) = await nodes.systems("a")
    begun, take = list[float](), ClientSession.run
    patience = 0.01

    async def run(session: ClientSession) -> None:
        begun.append(trio.current_time())
        with trio.move_on_after(patience):
            await take(session)

    monkeypatch.setattr(ClientSession, "run", run)
    host(a)
    async with client_of(nodes, "a") as client:
        await trio.sleep(20)
        assert 5 < len(begun) < 40
        patience = 60.0
        assert await add(client, "one") == 1


@pytest.mark.parametrize("is_known", [True, False])
async def test_a_send_that_is_cancelled_was_not_sent_and_one_that_returns_was(
    autojump_clock, nodes, cancel_at, is_known
):
    (a,) = await nodes.systems("a")
    host(a)
    async with client_of(nodes, "a") as client:
        if is_known:
            await add(client, "cart")
        step, is_complete = 0, False
        while not is_complete:
            step += 1
            cart, is_sent = client.entity(OPEN, f"cart-{step}"), False
            with trio.CancelScope() as scope, cancel_at(step, scope):
                await cart.send(Note(1))
                is_sent = True
            is_complete = not scope.cancel_called
            notes = await client.ask(cart, Notes)
            assert notes == [1] * is_sent
    assert step > 1
