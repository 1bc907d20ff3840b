"""A value of the wrong kind is refused where it is written, not when a message, a failure or a peer first meets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from casty import embed
from casty.address import NodeAddress
from casty.behaviors import Behaviors
from casty.cluster.cluster import Cluster
from casty.cluster.system import ClusteredActorSystem
from casty.config import ClusterConfig, ClusterSettings, Mailbox, SystemConfig
from casty.errors import ConfigError
from casty.protocol.actor.supervision import Directive, Escalate, OneForOneStrategy, Restart, Resume, Stop
from casty.routers import Routers
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import ActorFailed, DeadLetter, EventStreamSubscribe
from casty.runtime.system.context import ActorContext
from casty.runtime.system.shutdown import ShutdownPhase
from casty.runtime.system.system import ActorSystem
from casty.transport.network.memory import MemoryNetwork

UNTYPED: Any = Behaviors
ROUTERS: Any = Routers
SUBSCRIBE: Any = EventStreamSubscribe
EMBED: Any = embed
MAILBOX: Any = Mailbox
CLUSTER_SETTINGS: Any = ClusterSettings
SYSTEM_CONFIG: Any = SystemConfig
SYSTEM: Any = ActorSystem
ONE_FOR_ONE: Any = OneForOneStrategy
NODE: Any = ClusteredActorSystem

SETTINGS: dict[str, tuple[Callable[[], object], str]] = {
    "a policy in words": (
        lambda: MAILBOX(10, "drop_oldest"),
        r"Mailbox.overflow must be a MailboxOverflowStrategy, such as .*\.drop_oldest, got 'drop_oldest'",
    ),
    "a capacity for a mailbox": (
        lambda: SYSTEM_CONFIG(mailbox=10),
        r"SystemConfig.mailbox must be a Mailbox, .* got 10",
    ),
    "a capacity for a path": (
        lambda: SYSTEM_CONFIG(mailboxes={"/orders/*": 10}),
        r"SystemConfig.mailboxes\['/orders/\*'\] must be a Mailbox, such as Mailbox\(100\), got 10",
    ),
    "a table for the settings of a system": (
        lambda: SYSTEM("a", config={"seed": 1}),
        r"ActorSystem.config must be a SystemConfig, .* got \{'seed': 1\}",
    ),
    "a list of numbers per role": (
        lambda: CLUSTER_SETTINGS(min_members_per_role=[2]),
        r"ClusterSettings.min_members_per_role must be a Mapping, such as \{\"db\": 2\}, got \[2\]",
    ),
    "a number per role in words": (
        lambda: CLUSTER_SETTINGS(min_members_per_role={"db": "2"}),
        r"min_members_per_role must hold integers of at least 1, got \{'db': '2'\}",
    ),
    "a port that cannot be advertised": (
        lambda: ClusterSettings(advertised_port=80_000),
        r"ClusterSettings.advertised port must be an integer from 1 to 65535, got 80000",
    ),
    "a name of a system that breaks addresses": (
        lambda: Cluster(SYSTEM("a"), ClusterConfig("127.0.0.1", 1, node_id="a"), system_name="a b@c"),
        r"a system's name must be a word without any of '/@#\?:', got 'a b@c'",
    ),
    "a table for the settings of a node": (
        lambda: NODE(name="a", host="127.0.0.1", port=0, node_id="a", settings={"min_members": 2}),
        r"ClusteredActorSystem.settings must be a ClusterSettings, .* got \{'min_members': 2\}",
    ),
}


@pytest.mark.parametrize(("make", "told"), SETTINGS.values(), ids=SETTINGS)
def test_a_setting_of_the_wrong_kind_says_what_it_must_be(make: Callable[[], object], told: str) -> None:
    with pytest.raises((ConfigError, ValueError), match=told):
        make()


@pytest.mark.parametrize("strategy", [Stop, Resume, Escalate, Restart])
@pytest.mark.parametrize(
    "on", ["OSError", [OSError, ValueError], OSError(), (OSError, "ValueError"), KeyboardInterrupt]
)
def test_a_strategy_is_for_exceptions(strategy: Any, on: object) -> None:
    with pytest.raises(ConfigError, match=rf"^{strategy.__name__}.on must be a class of exceptions or a tuple of them"):
        strategy(on=on)


def test_a_strategy_without_its_brackets_is_refused() -> None:
    with pytest.raises(TypeError, match=r"supervise needs a strategy, such as Restart\(\) or Resume\(\), got <class"):
        UNTYPED.supervise(Behaviors.ignore(), Restart)


async def test_a_mailbox_for_one_actor_is_a_mailbox(system: ActorSystem) -> None:
    capacity: Any = 10
    with pytest.raises(ConfigError, match=r"mailbox must be a Mailbox, such as Mailbox\(100\), got 10"):
        system.spawn(Behaviors.ignore(), "a", mailbox=capacity)
    system.spawn(Behaviors.ignore(), "a")


WRONG: dict[str, tuple[Callable[[ActorSystem], object], str]] = {
    "a function in place of a subscriber": (
        lambda system: SUBSCRIBE(DeadLetter, print),
        "EventStreamSubscribe needs the ref of an actor, got <built-in",
    ),
    "an event in words": (
        lambda system: SUBSCRIBE("DeadLetter", system.event_stream),
        "EventStreamSubscribe needs a class of events, such as DeadLetter, got 'DeadLetter'",
    ),
    "a key in words": (
        lambda system: UNTYPED.discoverable(Behaviors.ignore(), key="clocks"),
        r"discoverable needs a ServiceKey, such as ServiceKey\[Message\]\('clocks'\), got 'clocks'",
    ),
    "a group in words": (lambda system: ROUTERS.group("clocks"), "group needs a ServiceKey, such as"),
    "a spy that is no actor": (lambda system: UNTYPED.spy(print, Behaviors.ignore()), "spy needs the ref of an actor"),
    "a path from a thread": (
        lambda system: untyped(system).tell_threadsafe("/a", 1),
        "tell_threadsafe needs the ref of an actor, got '/a'",
    ),
    "a hook that is no function": (
        lambda system: untyped(system).on_shutdown(ShutdownPhase.stop_actors, "close"),
        "on_shutdown takes an async function and its arguments, got 'close'",
    ),
    "an event to listen to in words": (
        lambda system: untyped(system).events("DeadLetter"),
        "events needs a class of events, such as DeadLetter, got 'DeadLetter'",
    ),
    "a second event in words": (
        lambda system: untyped(system).events(ActorFailed, "DeadLetter"),
        "events needs a class of events, such as DeadLetter, got 'DeadLetter'",
    ),
    "no event to listen to": (lambda system: untyped(system).events(), "events needs a class of events, such as"),
    "a key for a router": (
        lambda system: ROUTERS.pool(2, Behaviors.ignore()).with_consistent_hashing_routing("user"),
        "with_consistent_hashing_routing needs a function of the message, which makes its key, got 'user'",
    ),
    "a message for a router": (
        lambda system: ROUTERS.pool(2, Behaviors.ignore()).with_broadcast_predicate("all"),
        "with_broadcast_predicate needs a function of the message, which makes a bool, got 'all'",
    ),
    "a directive for a decider": (
        lambda system: ONE_FOR_ONE(decider=Directive.stop),
        "OneForOneStrategy.decider needs a function of the exception, got <Directive.stop",
    ),
    "a path to stop": (lambda system: untyped(system).stop("/a"), "stop needs the ref of an actor, got '/a'"),
}


def untyped(system: ActorSystem) -> Any:
    return system


@pytest.mark.parametrize(("make", "told"), WRONG.values(), ids=WRONG)
async def test_what_is_no_ref_and_no_key_is_refused_where_it_is_given(
    system: ActorSystem, make: Callable[[ActorSystem], object], told: str
) -> None:
    with pytest.raises(TypeError, match=told):
        make(system)


async def test_watching_a_path_fails_with_what_is_needed() -> None:
    path: Any = "/b"

    async def watch(ctx: ActorContext[str]) -> Behavior[str]:
        ctx.watch(path)
        return Behaviors.ignore()

    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.setup(watch), "a")
        assert str((await anext(failures)).exception) == "watch needs the ref of an actor, got '/b'"


async def test_waiting_for_the_end_of_a_path_does_not_return_at_once(system: ActorSystem) -> None:
    system.spawn(Behaviors.ignore(), "a")
    with pytest.raises(TypeError, match="wait_stopped needs the ref of an actor, got '/a'"):
        await untyped(system).wait_stopped("/a")


async def test_a_path_without_its_slash_is_refused(system: ActorSystem) -> None:
    with pytest.raises(ValueError, match=r"the path of an actor begins with '/', such as '/shop/cart-1', got 'a'"):
        system.lookup("a")


async def test_a_place_for_no_event_is_refused(system: ActorSystem) -> None:
    with pytest.raises(ValueError, match="the capacity of events must be at least 1, got 0"):
        system.events(DeadLetter, capacity=0)


def test_a_name_of_a_system_is_text() -> None:
    with pytest.raises(ValueError, match="a system's name must be a word without any of .*, got 3"):
        SYSTEM(3)


async def test_events_outside_of_their_block_raise_and_do_not_wait_for_ever(system: ActorSystem) -> None:
    with pytest.raises(RuntimeError, match=r"not subscribed: write `async with system.events\(...\) as events`"):
        await anext(system.events(DeadLetter))


async def test_embedding_inside_of_trio_raises_and_does_not_hang() -> None:
    with pytest.raises(RuntimeError, match=r"on Trio write `async with ActorSystem\(...\)`"):
        with embed.start(ActorSystem):
            pass


def test_embedding_a_system_instead_of_a_function_says_to_write_one() -> None:
    with pytest.raises(
        TypeError, match="embed needs a function that makes the system: write `lambda: ...`, got <Actor"
    ):
        with EMBED.start(ActorSystem()):
            pass


async def test_a_setup_that_keeps_the_behaviour_is_told_that_there_is_none() -> None:
    async def same(ctx: ActorContext[str]) -> Behavior[str]:
        return Behaviors.same()

    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.setup(same), "a")
        assert str((await anext(failures)).exception).endswith("got Behaviors.same(): there is none yet to keep")


async def test_a_coroutine_that_is_returned_is_told_to_be_awaited() -> None:
    async def answer() -> Behavior[str]:
        return Behaviors.same()

    async def forgetful(ctx: ActorContext[str], message: str) -> Any:
        made.append(answer())
        return made[0]

    made: list[Any] = []
    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.receive(forgetful), "a").tell("hello")
        assert str((await anext(failures)).exception).endswith(": write `return await ...`")
    made[0].close()


@pytest.mark.parametrize("taker", ["start_soon", "pipe_to_self"])
async def test_a_coroutine_in_place_of_a_function_is_refused_where_it_is_given(taker: str) -> None:
    async def work() -> None: ...

    coroutine = work()

    async def start(ctx: ActorContext[str]) -> Behavior[str]:
        getattr(ctx, taker)(coroutine)
        return Behaviors.ignore()

    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.setup(start), "a")
        told = str((await anext(failures)).exception)
    coroutine.close()
    assert told.startswith(f"{taker} takes an async function and its arguments, got <coroutine object ")
    assert told.endswith(": give the function and its arguments, not a call of it")


@pytest.mark.parametrize("nobody", ["/a", None])
async def test_asking_what_is_no_ref_says_so(system: ActorSystem, nobody: Any) -> None:
    with pytest.raises(TypeError, match=f"ask needs the ref of an actor, got {nobody!r}"):
        await system.ask(nobody, lambda reply_to: reply_to)
    assert system.statistics().asks_pending == 0


async def test_a_delay_and_a_message_in_the_wrong_order_are_refused_in_words() -> None:
    swapped: tuple[Any, Any] = (1.0, "later")

    async def schedule(ctx: ActorContext[str]) -> Behavior[str]:
        ctx.schedule_once(*swapped)
        return Behaviors.ignore()

    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        system.spawn(Behaviors.setup(schedule), "a")
        told = "delay must be a finite number of seconds, at least 0, got 'later'"
        assert str((await anext(failures)).exception) == told


def test_a_seed_that_is_an_address_is_told_to_be_a_pair() -> None:
    seed: Any = NodeAddress("10.0.0.1", 2551)
    with pytest.raises(ConfigError, match=r"write \('10.0.0.1', 2551\)"):
        ClusterConfig("10.0.0.2", 2551, node_id="a", seed_nodes=(seed,))


async def test_finding_by_a_name_in_words_is_refused_at_once() -> None:
    key: Any = "clocks"
    async with ClusteredActorSystem(name="a", host="a", port=1, node_id="a", network=MemoryNetwork().host("a")) as node:
        with pytest.raises(TypeError, match="find needs a ServiceKey, such as"):
            await node.find(key)
        with pytest.raises(ValueError, match="the path of an actor begins with '/'"):
            node.remote("clock", "a")
        with pytest.raises(ValueError, match="which is no actor of this system: watch it"):
            await node.wait_stopped(node.remote("/clock", NodeAddress("b", 1)))


def test_a_node_that_was_not_entered_says_how_to() -> None:
    node = ClusteredActorSystem(name="a", host="a", port=1, node_id="a", network=MemoryNetwork().host("a"))
    with pytest.raises(RuntimeError, match="enter the ClusteredActorSystem with `async with`"):
        assert node.self_node
