"""Topics: one copy to each node with subscribers, at most once, and what becomes of what nobody takes."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import pytest
import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    ActorStoppedError,
    ActorSystem,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterTimeoutError,
    ConfigError,
    EncodeError,
    EntityKey,
    Mailbox,
    MailboxOverflowStrategy,
    ServiceKey,
    Topic,
    WireType,
)


@casty.message("tests.topics.Price")
@dataclass(frozen=True)
class Price:
    value: int


@casty.message("tests.topics.Halt")
@dataclass(frozen=True)
class Halt:
    pass


@casty.message("tests.topics.Share")
@dataclass(frozen=True)
class Share:
    part: Fraction


PRICES = Topic[Price]("prices")


class Seen:
    """Actors that note what they get."""

    def __init__(self) -> None:
        self.by: dict[str, list[int]] = {}

    def spawn(self, system: ActorSystem, name: str, **options: Any) -> ActorRef[Price]:
        got = self.by.setdefault(name, [])

        async def handle(ctx: ActorContext[Price], message: Price) -> Behavior[Price]:
            if message.value < 0:
                return Behaviors.stopped()
            got.append(message.value)
            return Behaviors.same()

        return system.spawn(Behaviors.receive(handle), name, **options)


async def until_nodes(system: ClusteredActorSystem, count: int) -> None:
    """Publish zeros until they go to so many nodes."""
    with trio.fail_after(30):
        while system.publish(PRICES, Price(0)) != count:  # noqa: ASYNC110  # polls with a message
            await trio.sleep(0.05)


async def test_each_subscriber_of_each_node_gets_every_message_once_and_in_order(autojump_clock, nodes):
    systems, seen = await nodes.systems("a", "b", "c"), Seen()
    for at, system in enumerate(systems[1:]):
        for number in range(2):
            system.subscribe(PRICES, seen.spawn(system, f"{at}-{number}"))
    await until_nodes(systems[0], 2)
    await trio.sleep(1)
    for got in seen.by.values():
        got.clear()
    assert [systems[0].publish(PRICES, Price(number)) for number in range(100)] == [2] * 100
    await trio.sleep(1)
    assert seen.by == dict.fromkeys(["0-0", "0-1", "1-0", "1-1"], list(range(100)))


async def test_one_copy_goes_to_each_node_however_many_subscribers_it_has(autojump_clock, nodes):
    (a, b), seen = await nodes.systems("a", "b"), Seen()
    for number in range(5):
        b.subscribe(PRICES, seen.spawn(b, f"s{number}"))
    await until_nodes(a, 1)
    await trio.sleep(1)
    before = b.statistics().messages_delivered
    for number in range(10):
        a.publish(PRICES, Price(number))
    await trio.sleep(0.05)
    # each goes to the actor of the topic once, and to the five; beats of the cluster come on top
    assert 60 <= b.statistics().messages_delivered - before < 90


async def test_a_message_is_encoded_once_for_all_nodes(autojump_clock, nodes):
    encoded: list[Fraction] = []

    def unstructure(value: Fraction) -> tuple[int, int]:
        encoded.append(value)
        return value.numerator, value.denominator

    taught = WireType(
        Fraction,
        "tests.topics.Fraction",
        tuple[int, int],
        unstructure=unstructure,
        structure=lambda pair, cls: cls(*pair),
    )
    a, b, c = await nodes.systems("a", "b", "c", wire_types=[taught])
    topic = Topic[Share]("shares")
    async with b.subscription(topic) as at_b, c.subscription(topic) as at_c:
        await at_b.known(timeout=10.0)
        await at_c.known(timeout=10.0)
        await at_b.known(timeout=0.0)  # a question without any wait
        assert a.publish(topic, Share(Fraction(1, 3))) == 2
        assert await anext(at_b) == await anext(at_c) == Share(Fraction(1, 3))
    assert encoded == [Fraction(1, 3)]


async def test_subscribers_of_the_publishers_own_node_get_it_at_once(autojump_clock, nodes):
    (a,), seen = await nodes.systems("a"), Seen()
    ref = seen.spawn(a, "here")
    a.subscribe(PRICES, ref)
    a.subscribe(PRICES, ref)
    assert a.publish(PRICES, Price(1)) == 1
    await trio.sleep(0.1)
    assert seen.by == {"here": [1]}


async def test_after_known_the_first_message_of_any_node_arrives(autojump_clock, nodes):
    systems = await nodes.systems("a", "b", "c")
    for round_ in range(5):
        async with systems[0].subscription(PRICES) as inbox:
            await inbox.known(timeout=10.0)
            for at, system in enumerate(systems):
                assert system.publish(PRICES, Price(at + 10 * round_)) == 1
            got = [(await anext(inbox)).value for _ in systems]
            assert sorted(got) == [10 * round_, 1 + 10 * round_, 2 + 10 * round_]


async def test_a_topic_that_is_left_and_entered_again_at_once_loses_nothing_after_known(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    for number in range(20):
        async with a.subscription(PRICES) as inbox:
            await inbox.known(timeout=10.0)
            assert b.publish(PRICES, Price(number)) == 1
            assert await anext(inbox) == Price(number)


async def test_known_names_the_node_that_does_not_know(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    nodes.network.cut("a", "b")
    async with a.subscription(PRICES) as inbox:
        with pytest.raises(ClusterTimeoutError, match=r"after 1 s not known of the subscribers of .*: b at b:2551"):
            await inbox.known(timeout=1.0)
        nodes.network.heal("a", "b")
        await inbox.known(timeout=30.0)
        assert b.publish(PRICES, Price(7)) == 1
        assert await anext(inbox) == Price(7)


async def test_known_waits_for_slow_links(autojump_clock, nodes):
    a, b, c = await nodes.systems("a", "b", "c")
    for other in ("b", "c"):
        nodes.network.delay("a", other, 0.3)
    async with a.subscription(PRICES) as inbox:
        await inbox.known(timeout=10.0)
        assert (b.publish(PRICES, Price(1)), c.publish(PRICES, Price(2))) == (1, 1)


async def test_a_message_without_a_subscriber_is_a_dead_letter(autojump_clock, nodes):
    a, b = await nodes.join("a", "b")
    seen = Seen()
    assert a.system.publish(PRICES, Price(1)) == 0
    ref = seen.spawn(b.system, "there")
    b.system.subscribe(PRICES, ref)
    await until_nodes(a.system, 1)
    b.system.unsubscribe(PRICES, ref)
    await until_nodes(a.system, 0)
    assert a.system.publish(PRICES, Price(2)) == 0
    await trio.sleep(1)
    letters = [letter.message for letter in a.letters if letter.reason == "no subscriber"]
    assert letters[0] == Price(1)
    assert letters[-1] == Price(2)


async def test_a_subscriber_that_ends_is_no_subscriber_any_more(autojump_clock, nodes):
    (a, b), seen = await nodes.systems("a", "b"), Seen()
    for name in ("one", "two"):
        b.subscribe(PRICES, seen.spawn(b, name))
    await until_nodes(a, 1)
    lookup = b.lookup("/one")
    assert lookup is not None
    lookup.of(Price).tell(Price(-1))
    await trio.sleep(1)
    assert a.publish(PRICES, Price(5)) == 1
    a.publish(PRICES, Price(-1))
    await until_nodes(a, 0)
    assert seen.by["two"][-1] == 5
    assert 5 not in seen.by["one"]
    assert not any(child.path.startswith("/_topic") for child in [b.lookup("/_topic-1")] if child is not None)


async def test_an_actor_that_has_ended_is_no_subscriber(autojump_clock, nodes):
    a = (await nodes.join("a"))[0]
    ref = Seen().spawn(a.system, "brief")
    ref.tell(Price(-1))
    await a.system.wait_stopped(ref)
    a.system.subscribe(PRICES, ref)
    assert a.system.publish(PRICES, Price(1)) == 0
    await trio.sleep(0.1)
    assert [letter.reason for letter in a.letters] == ["no subscriber"]


async def test_an_adapter_is_a_subscriber_and_a_restart_leaves_one_of_them(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    got: list[int] = []

    async def begin(ctx: ActorContext[int]) -> Behavior[int]:
        def value(price: Price) -> int:
            return price.value

        a.subscribe(PRICES, ctx.message_adapter(value))

        async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
            if message < 0:
                raise LookupError("as asked for")
            got.append(message)
            return Behaviors.same()

        return Behaviors.receive(handle)

    a.spawn(Behaviors.supervise(Behaviors.setup(begin), casty.Restart()), "adapting")
    await trio.sleep(0.1)
    a.publish(PRICES, Price(1))
    a.publish(PRICES, Price(-1))
    await trio.sleep(1)
    a.publish(PRICES, Price(2))
    await trio.sleep(0.1)
    assert got == [1, 2]


async def test_a_slow_reader_loses_the_newest_counted_and_hurts_no_other(autojump_clock, nodes):
    (a, b), seen = await nodes.join("a", "b"), Seen()
    b.system.subscribe(PRICES, seen.spawn(b.system, "quick"))
    full = Mailbox(5, MailboxOverflowStrategy.reject)

    async def stuck(ctx: ActorContext[Price], inbox: Any) -> None:
        await trio.sleep_forever()

    b.system.subscribe(PRICES, b.system.spawn(Behaviors.task(stuck), "stuck", mailbox=full))
    async with b.system.subscription(PRICES, capacity=3) as slow:
        await slow.known(timeout=10.0)
        for number in range(20):
            a.system.publish(PRICES, Price(number))
        await trio.sleep(1)
        assert seen.by == {"quick": list(range(20))}
        assert slow.dropped == 17
        assert [(await anext(slow)).value for _ in range(3)] == [0, 1, 2]
        a.system.publish(PRICES, Price(20))
        assert await anext(slow) == Price(20)
        assert "dropped=17" in repr(slow)
    await trio.sleep(0.1)
    letters = [letter for letter in b.letters if letter.reason == "mailbox full"]
    assert len(letters) == 17 + 16


async def test_a_lagging_node_holds_up_no_other(autojump_clock, nodes):
    (a, b, c), seen = await nodes.systems("a", "b", "c"), Seen()
    for name, system in (("b", b), ("c", c)):
        system.subscribe(PRICES, seen.spawn(system, name))
    await until_nodes(a, 2)
    await trio.sleep(1)
    nodes.network.delay("a", "c", 2.0, one_way=True)
    began = trio.current_time()
    a.publish(PRICES, Price(9))
    while 9 not in seen.by["b"]:  # noqa: ASYNC110  # virtual time: polling is free
        await trio.sleep(0.01)
    assert trio.current_time() - began < 0.5
    await trio.sleep(5)
    assert 9 in seen.by["c"]


async def test_the_actors_of_topics_do_not_show_among_services(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    with pytest.raises(ValueError, match=r"names of services that begin with 'casty\.' are casty's own"):
        ServiceKey[Price]("casty.topic/prices")
    a.subscribe(PRICES, Seen().spawn(a, "s"))
    await until_nodes(b, 1)
    assert (await b.find(ServiceKey[Price]("prices"))).instances == ()
    assert (await b.find(ServiceKey[Price]("topic/prices"))).instances == ()


async def test_one_topic_has_one_type_on_a_node(autojump_clock, nodes):
    (a, b), seen = await nodes.systems("a", "b"), Seen()
    a.subscribe(PRICES, seen.spawn(a, "s"))
    other = Topic[Price | Halt]("prices")
    with pytest.raises(ConfigError, match="a topic has one type"):
        a.subscribe(other, ignoring(a))
    with pytest.raises(ConfigError, match="a topic has one type"):
        a.publish(other, Halt())
    await trio.sleep(2)
    assert b.publish(other, Price(1)) == 0  # who takes Price alone is no receiver of the other
    assert b.publish(PRICES, Price(2)) == 1
    await trio.sleep(1)
    assert seen.by == {"s": [2]}


def ignoring(system: ActorSystem) -> ActorRef[Any]:
    return system.spawn(Behaviors.ignore(), "ignoring")


async def test_a_subscriber_of_a_wider_type_gets_what_is_published_of_a_narrower(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    async with a.subscription(Topic[Price | Halt]("prices")) as inbox:
        await inbox.known(timeout=10.0)
        assert b.publish(PRICES, Price(1)) == 1
        assert a.publish(PRICES, Price(2)) == 1
        assert {(await anext(inbox)), (await anext(inbox))} == {Price(1), Price(2)}


async def test_mistakes_are_told(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    seen = Seen()
    seen.spawn(b, "far")
    with pytest.raises(ValueError, match=r"is no actor of this node: subscribe it to .* there"):
        a.subscribe(PRICES, a.remote("/far", "b").of(Price))
    with pytest.raises(TypeError, match="subscribe needs a Topic"):
        a.subscribe(ServiceKey[Price]("prices"), seen.spawn(a, "s"))  # type: ignore[arg-type]  # as by mistake
    with pytest.raises(TypeError, match="subscribe needs the ref of an actor"):
        a.subscribe(PRICES, 7)  # type: ignore[arg-type]  # as by mistake
    with pytest.raises(ValueError, match="capacity must be an integer of at least 1"):
        a.subscription(PRICES, capacity=0)
    with pytest.raises(ValueError, match="Topic needs a name that UTF-8 can say"):
        Topic[Price]("\ud800")
    with pytest.raises(ValueError, match=r"is an entity, and no actor of one node: subscribe `ctx.message_adapter"):
        a.subscribe(PRICES, a.singleton(EntityKey[Price]("stores")))
    inbox = a.subscription(PRICES)
    with pytest.raises(RuntimeError, match="not subscribed"):
        await anext(inbox)
    with pytest.raises(RuntimeError, match="not subscribed"):
        await inbox.known()
    b.subscribe(PRICES, seen.spawn(b, "near"))
    await until_nodes(a, 1)
    with pytest.raises(EncodeError):
        a.publish(PRICES, Price("dear"))  # type: ignore[arg-type]  # as by mistake
    a.unsubscribe(PRICES, seen.spawn(a, "never"))


async def test_the_iteration_ends_with_the_system(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    got: list[Price] = []
    async with a.subscription(PRICES) as inbox:
        a.publish(PRICES, Price(1))
        nodes.handles["a"].scope.cancel()
        async for price in inbox:
            got.append(price)
    assert got == [Price(1)]


async def test_members_alone_may_publish(autojump_clock, nodes):
    a = (await nodes.start("a")).system
    seen = Seen()
    a.subscribe(PRICES, seen.spawn(a, "s"))
    stranger = (await nodes.start("x")).system
    stranger.remote("/_topic-1", a.self_node).of(Price).tell(Price(1))
    await trio.sleep(5)
    assert seen.by == {"s": []}


async def test_a_system_without_a_cluster_has_no_topics():
    async with ActorSystem("plain") as system:
        with pytest.raises(RuntimeError, match=r"'plain' is no node of one: use ClusteredActorSystem"):
            system.publish(PRICES, Price(1))


async def test_a_node_that_has_ended_publishes_nothing_and_says_so(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    await a.shutdown()
    with pytest.raises(ActorStoppedError, match=r"has ended: use another one"):
        a.publish(PRICES, Price(1))
