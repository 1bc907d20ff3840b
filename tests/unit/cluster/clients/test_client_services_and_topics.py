"""A client finds services, publishes and subscribes, and asks singletons, by whichever node has them open."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import assert_never

import pytest
import trio
from helpers.clients import client_of

import casty
from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterTimeoutError,
    ConfigError,
    DeadLetter,
    EncodeError,
    EntityKey,
    ServiceKey,
    Topic,
)

PORT = 2551


@casty.message("tests.clients.Tick")
@dataclass(frozen=True)
class Tick:
    number: int


@casty.message("tests.clients.Where")
@dataclass(frozen=True)
class Where:
    reply_to: ActorRef[str]


@casty.message("tests.clients.Ticks")
@dataclass(frozen=True)
class Ticks:
    reply_to: ActorRef[list[int]]


Command = Tick | Where | Ticks
CLOCKS = ServiceKey[Command]("clocks", clients=True)
LEADER = EntityKey[Command]("leader", clients=True)


@casty.message("tests.clients.Price")
@dataclass(frozen=True)
class Price:
    value: int


@casty.message("tests.clients.Offer")
@dataclass(frozen=True)
class Offer:
    taker: ActorRef[int]


PRICES = Topic[Price]("prices", clients=True)
OFFERS = Topic[Offer]("offers", clients=True)


def clock(name: str) -> Behavior[Command]:
    ticks: list[int] = []

    async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
        match message:
            case Tick(number):
                ticks.append(number)
            case Where(reply_to):
                reply_to.tell(name)
            case Ticks(reply_to):
                reply_to.tell(list(ticks))
            case _ as never:
                assert_never(never)
        return Behaviors.same()

    return Behaviors.receive(handle)


def offer(system: ClusteredActorSystem, key: ServiceKey[Command] = CLOCKS) -> None:
    system.spawn(Behaviors.discoverable(clock(system.cluster_config.node_id), key=key), "clock")


class Collected:
    """An actor of a client, or of a node, that notes what a topic brings."""

    def __init__(self) -> None:
        self.got: list[int] = []

    def spawn(self, system: casty.ActorSystem, name: str) -> ActorRef[Price]:
        async def take(ctx: ActorContext[Price], message: Price) -> Behavior[Price]:
            self.got.append(message.value)
            return Behaviors.same()

        return system.spawn(Behaviors.receive(take), name)


async def test_a_client_finds_the_instances_on_all_nodes_and_asks_each(autojump_clock, nodes):
    for system in await nodes.systems("a", "b"):
        offer(system)
    async with client_of(nodes, "a") as client:
        listing = await client.find(CLOCKS, at_least=2)
        assert [instance.node.host for instance in listing.instances] == ["a", "b"]
        found = [await client.ask(ref, Where) for ref in listing.refs]
        assert found == ["a", "b"]
        for ref in listing.refs:
            for number in range(50):
                ref.tell(Tick(number))
            assert await client.ask(ref, Ticks) == list(range(50))


async def test_a_client_waits_for_services_that_are_not_there_yet(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    await a.find(CLOCKS)
    async with client_of(nodes, "a") as client, trio.open_nursery() as nursery:
        assert (await client.find(CLOCKS)).instances == ()
        with pytest.raises(ClusterTimeoutError, match="0 of 1 instances"):
            await client.find(CLOCKS, at_least=1, timeout=0.5)

        async def soon() -> None:
            await trio.sleep(2)
            offer(b)

        nursery.start_soon(soon)
        assert len((await client.find(CLOCKS, at_least=1, timeout=10)).instances) == 1


async def test_a_service_that_is_not_open_is_refused_on_both_sides(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    offer(a, ServiceKey[Command]("clocks"))
    async with client_of(nodes, "a") as client:
        with pytest.raises(AskFailed, match="clients=True") as caught:
            await client.find(CLOCKS)
        assert caught.value.failure == "not_delivered"
        with pytest.raises(ConfigError, match="clients=True"):
            await client.find(ServiceKey[Command]("clocks"))
    assert nodes.handles["a"].node.cluster_metrics.refused["client: not_open"] == 1


async def test_a_service_of_another_type_on_the_node_is_named_by_its_key(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO)
    (a,) = await nodes.systems("a")
    a.spawn(Behaviors.discoverable(clock("a"), key=CLOCKS), "clock")
    async with client_of(nodes, "a") as client:
        other = ServiceKey[Price](CLOCKS.name, clients=True)
        text = f"^a:2551 does not take what this client asks of the service '{CLOCKS.name}': the key takes"
        with pytest.raises(AskFailed, match=text):
            await client.find(other)
    assert f"not taken: the service '{CLOCKS.name}' has another type of messages here than its key" in caplog.text
    assert "casty.client.FindService" not in caplog.text


async def test_an_instance_that_has_ended_fails_the_ask_of_a_client(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    await a.find(CLOCKS)
    offer(b)
    async with client_of(nodes, "a") as client:
        (ref,) = (await client.find(CLOCKS, at_least=1)).refs
        b.stop(b.lookup("/clock"))
        with pytest.raises(AskFailed):
            await client.ask(ref, Where)


async def test_a_client_asks_a_singleton_and_no_entity_of_its_key(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    for system in (a, b):
        name = system.cluster_config.node_id
        system.spawn(Behaviors.singleton(lambda name=name: clock(name), LEADER), "leader")
    async with client_of(nodes, "b") as client:
        leader = client.singleton(LEADER)
        leader.tell(Tick(7))
        assert await client.ask(leader, Where, timeout=10) in ("a", "b")
        assert await client.ask(leader, Ticks) == [7]
        with pytest.raises(AskFailed) as caught:
            await client.ask(client.entity(LEADER, "other"), Where)
        assert caught.value.failure == "not_delivered"


async def test_a_singleton_that_is_not_open_is_refused(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    a.spawn(Behaviors.singleton(lambda: clock("a"), EntityKey[Command]("leader")), "leader")
    async with client_of(nodes, "a") as client:
        with pytest.raises(AskFailed, match="clients=True") as caught:
            await client.ask(client.singleton(LEADER), Where)
        assert caught.value.certainly_not_handled


async def test_what_a_client_publishes_comes_to_subscribers_on_all_nodes_and_of_clients(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    on_a, on_b, outside = Collected(), Collected(), Collected()
    a.subscribe(PRICES, on_a.spawn(a, "prices"))
    b.subscribe(PRICES, on_b.spawn(b, "prices"))
    async with client_of(nodes, "a") as client, client_of(nodes, "b") as other:
        other.subscribe(PRICES, outside.spawn(other, "prices"))
        await trio.sleep(2)
        for number in range(100):
            assert client.publish(PRICES, Price(number)) == 1
        await trio.sleep(1)
        assert on_a.got == on_b.got == outside.got == list(range(100))
        with pytest.raises(EncodeError):
            client.publish(PRICES, Price("x"))  # type: ignore[arg-type]  # what is no message of the topic


async def test_a_subscription_of_a_client_is_known_to_all_nodes_before_the_first_message(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    a.publish(PRICES, Price(0))  # by which the node knows the topic
    async with client_of(nodes, "a") as client, client.subscription(PRICES) as prices:
        await prices.known()
        for number, system in enumerate((a, b, c)):
            assert system.publish(PRICES, Price(number)) == 1
        got = [(await anext(prices)).value for _ in range(3)]
        assert sorted(got) == [0, 1, 2]
    await trio.sleep(2)
    assert b.publish(PRICES, Price(9)) == 0


async def test_a_subscription_goes_on_by_another_node(autojump_clock, nodes):
    await nodes.join("a", "b", "c")
    for name in ("a", "b", "c"):
        nodes.handles[name].system.publish(PRICES, Price(0))
    collected = Collected()
    async with client_of(nodes, "a") as client:
        client.subscribe(PRICES, collected.spawn(client, "prices"))
        await trio.sleep(2)
        nodes.handles["c"].system.publish(PRICES, Price(1))
        await trio.sleep(1)
        nodes.crash("a")
        await trio.sleep(12)
        assert nodes.handles["c"].system.publish(PRICES, Price(2)) >= 1
        await trio.sleep(1)
        assert collected.got == [1, 2]


async def test_subscribers_of_a_client_that_have_ended_are_forgotten_by_the_node(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    a.publish(PRICES, Price(0))
    collected = Collected()
    async with client_of(nodes, "a") as client:
        ref = collected.spawn(client, "prices")
        client.subscribe(PRICES, ref)
        await trio.sleep(1)
        assert a.publish(PRICES, Price(1)) == 1
        await trio.sleep(0.1)
        client.stop(ref)
        await trio.sleep(1)
        assert a.publish(PRICES, Price(2)) == 0
        client.subscribe(PRICES, collected.spawn(client, "again"))
        await trio.sleep(1)
        assert a.publish(PRICES, Price(3)) == 1
        await trio.sleep(1)
    await trio.sleep(1)
    assert a.publish(PRICES, Price(4)) == 0
    assert collected.got == [1, 3]


@casty.message("tests.topics_of_clients.Weight")
@dataclass(frozen=True)
class Weight:
    pass


CLOSED = "no node that this client can reach has the topic 'prices' open to clients"


async def test_a_topic_that_is_not_open_is_refused_on_both_sides(autojump_clock, nodes, caplog):
    caplog.set_level(logging.INFO)
    (a,) = await nodes.systems("a")
    seen = Collected()
    a.subscribe(Topic[Price]("prices"), seen.spawn(a, "prices"))
    async with client_of(nodes, "a") as client:
        async with client.events(DeadLetter) as letters:
            for _ in range(5):
                client.publish(PRICES, Price(1))
                letter = await anext(letters)
                assert letter.reason.startswith(f"not sent: {CLOSED}: make its key with clients=True, and use it on a")
                await trio.sleep(3)
        (told,) = [one for one in caplog.records if one.name == "casty.client" and one.levelno > logging.INFO]
        assert told.getMessage().startswith(f"what this client sends is refused: {CLOSED}: make its key")
        assert "the topic 'prices' is not open to clients here (client client)" in caplog.text
        client.subscribe(PRICES, seen.spawn(client, "prices"))
        await trio.sleep(1)
        assert a.publish(Topic[Price]("prices"), Price(2)) == 1
        await trio.sleep(1)
        assert seen.got == [2]
        assert "is not subscribed to, and tried again" in caplog.text
        with pytest.raises(ConfigError, match="clients=True"):
            client.publish(Topic[Price]("prices"), Price(1))
        with pytest.raises(ConfigError, match="clients=True"):
            client.subscribe(Topic[Price]("prices"), seen.spawn(client, "others"))


async def test_each_topic_of_another_type_on_the_node_is_named_once(autojump_clock, nodes, caplog):
    (a,) = await nodes.systems("a")
    topics = PRICES, Topic[Price]("costs", clients=True)
    for topic in topics:
        a.publish(Topic[Weight](topic.name, clients=True), Weight())
    async with client_of(nodes, "a") as client, client.events(DeadLetter) as letters:
        for topic in 3 * topics:
            assert client.publish(topic, Price(1)) == 1
            assert "declare it alike on both sides" in (await anext(letters)).reason
    for topic in topics:
        assert caplog.text.count(f"what this client sends is refused: the topic '{topic.name}' did not get ") == 1


async def test_a_topic_that_is_closed_anew_is_named_anew(autojump_clock, nodes, caplog):
    (a,) = await nodes.systems("a")
    async with client_of(nodes, "a", "b") as client:
        for _ in range(2):
            client.publish(PRICES, Price(1))
            await trio.sleep(40)
            assert caplog.text.count(CLOSED) == 1
            caplog.clear()
            a.publish(PRICES, Price(2))
            assert client.publish(PRICES, Price(3)) == 1
            await trio.sleep(1)
            nodes.crash("a")
            (a,) = await nodes.systems("a")
            await trio.sleep(20)
            caplog.clear()


async def test_known_fails_in_time_where_no_node_has_the_topic_open(autojump_clock, nodes):
    await nodes.systems("a")
    async with client_of(nodes, "a") as client, client.subscription(PRICES) as prices:
        with pytest.raises(ClusterTimeoutError, match="open to clients"):
            await prices.known(timeout=2.5)
        assert trio.current_time() < 10


async def test_a_ref_in_a_message_of_a_topic_is_good_for_its_actor(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    taken: list[int] = []

    async def take(ctx: ActorContext[int], number: int) -> Behavior[int]:
        taken.append(number)
        return Behaviors.same()

    taker = a.spawn(Behaviors.receive(take), "taker")
    a.publish(OFFERS, Offer(taker))
    async with client_of(nodes, "a") as client, client.subscription(OFFERS) as offers:
        await offers.known()
        a.publish(OFFERS, Offer(taker))
        (await anext(offers)).taker.tell(7)
        await trio.sleep(1)
        assert taken == [7]


async def test_a_key_that_the_node_of_a_client_does_not_know_is_reached_by_another_node(autojump_clock, nodes):
    await nodes.join("a", "b", "c")
    c = nodes.handles["c"].system
    offer(c)
    c.spawn(Behaviors.singleton(lambda: clock("c"), LEADER), "leader")
    seen = Collected()
    c.subscribe(PRICES, seen.spawn(c, "prices"))
    async with client_of(nodes, "a") as client:
        await trio.sleep(1.5)
        leader = client.singleton(LEADER)
        for number in range(20):
            leader.tell(Tick(number))
        assert await client.ask(leader, Ticks, timeout=10) == list(range(20))
        assert len((await client.find(CLOCKS, at_least=1)).instances) == 1
        for number in range(20):
            client.publish(PRICES, Price(number))
        await trio.sleep(1)
        assert seen.got == list(range(20))
        assert client.contact is not None
        assert client.contact.host == "a"
        nodes.crash("c")
        await trio.sleep(5)
        with pytest.raises(AskFailed) as caught:
            await client.ask(leader, Where, timeout=30)
        assert caught.value.failure == "not_delivered"


async def test_a_client_has_no_broadcasts(autojump_clock, nodes):
    await nodes.systems("a")
    async with client_of(nodes, "a") as client:
        with pytest.raises(ConfigError, match="has no broadcasts"):
            client.broadcast(CLOCKS)
        with pytest.raises(ConfigError, match="has no broadcasts"):
            await client.ask_all(CLOCKS, Where)
