"""A singleton: one life at a time in the whole cluster, on the oldest node that may run it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, assert_never

import pytest
import trio

import casty
from casty import (
    ActorContext,
    ActorRef,
    AskFailed,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ConfigError,
    EntityKey,
    EntityRef,
    ServiceKey,
)
from casty.address import UniqueAddress
from casty.cluster.sharding.checked_allocation import checked
from casty.protocol.sharding.allocation import LEAST_SHARDS, OLDEST, Holdings, Loads


@casty.message("tests.singleton.Job")
@dataclass(frozen=True)
class Job:
    number: int


@casty.message("tests.singleton.Where")
@dataclass(frozen=True)
class Where:
    reply_to: ActorRef[str]


@casty.message("tests.singleton.Break")
@dataclass(frozen=True)
class Break:
    pass


@casty.message("tests.singleton.Rest")
@dataclass(frozen=True)
class Rest:
    pass


Command = Job | Where | Break | Rest
JOBS = EntityKey[Command]("jobs")


@dataclass
class Lives:
    """The lives of the singleton on all nodes, and its work."""

    alive: list[str] = field(default_factory=list)
    began: list[str] = field(default_factory=list)
    done: list[int] = field(default_factory=list)
    job_takes: float = 0.0

    def host(self, system: ClusteredActorSystem, **options: Any) -> ActorRef[Command]:
        name = system.cluster_config.node_id

        async def begin(ctx: ActorContext[Command]) -> None:
            assert self.alive == []
            self.alive.append(name)
            self.began.append(name)

        async def end(ctx: ActorContext[Command]) -> None:
            self.alive.remove(name)

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            match message:
                case Job(number):
                    await trio.sleep(self.job_takes)
                    self.done.append(number)
                case Where(reply_to):
                    reply_to.tell(name)
                case Break():
                    raise LookupError("as asked for")
                case Rest():
                    return Behaviors.stopped()
                case _ as never:
                    assert_never(never)
            return Behaviors.same()

        def make() -> Behavior[Command]:
            return Behaviors.with_lifecycle(Behaviors.receive(handle), pre_start=begin, post_stop=end)

        return system.spawn(Behaviors.singleton(make, JOBS, **options), "jobs")


async def where(system: ClusteredActorSystem, timeout: float = 30.0) -> str:
    node: str = await system.ask(system.singleton(JOBS), Where, timeout=timeout)
    return node


async def test_it_starts_on_the_oldest_host_without_a_message_and_stays_there(autojump_clock, nodes):
    lives = Lives()
    systems = await nodes.systems("a", "b", "c")
    for system in reversed(systems[1:]):
        lives.host(system)
    await trio.sleep(2)
    assert lives.began == ["b"]
    lives.host(systems[0])  # an older one comes later
    await trio.sleep(30)
    assert lives.began == ["b"]
    assert [await where(system) for system in systems] == ["b", "b", "b"]


async def test_it_goes_to_the_next_oldest_when_its_node_leaves(autojump_clock, nodes):
    lives = Lives()
    names = ["a", "b", "c", "d"]
    await nodes.systems(*names)
    systems = {name: nodes.handles[name].system for name in names}
    for name in "abc":
        lives.host(systems[name])
    assert await where(systems["d"]) == "a"
    await nodes.stop("a")
    assert await where(systems["d"]) == "b"
    await nodes.stop("b")
    assert await where(systems["d"]) == "c"
    assert lives.began == ["a", "b", "c"]


async def test_it_goes_on_elsewhere_after_a_crash(autojump_clock, nodes):
    lives = Lives()
    a, b, c = await nodes.systems("a", "b", "c")
    for system in (a, b, c):
        lives.host(system)
    assert await where(c) == "a"
    nodes.crash("a")
    began = trio.current_time()
    while lives.began[-1] == "a":  # noqa: ASYNC110  # on the virtual clock
        await trio.sleep(0.1)
    assert trio.current_time() - began < 12
    assert lives.began == ["a", "b"]
    assert await where(c) == "b"


async def test_the_lives_do_not_overlap_while_the_three_oldest_leave_at_once(autojump_clock, nodes):
    lives = Lives(job_takes=0.002)
    names = ["a", "b", "c", "d", "e"]
    await nodes.systems(*names)
    systems = {name: nodes.handles[name].system for name in names}
    for name in names[:4]:
        lives.host(systems[name])
    assert await where(systems["e"]) == "a"
    for number in range(1_000):
        systems["e"].singleton(JOBS).tell(Job(number))
    async with trio.open_nursery() as nursery:
        for name in "abc":
            nursery.start_soon(nodes.stop, name)
            await trio.sleep(0.04)
    assert await where(systems["e"], timeout=60.0) == "d"
    await trio.sleep(10)
    assert lives.began[-1] == "d"
    assert lives.alive == ["d"]
    assert lives.done == list(range(1_000))


async def test_a_node_that_is_cut_off_does_no_work_any_more_once_another_one_does(autojump_clock, nodes):
    work: list[str] = []

    def host(system: ClusteredActorSystem) -> None:
        name = system.cluster_config.node_id

        async def begin(ctx: ActorContext[Command]) -> Behavior[Command]:
            ctx.schedule_tick(Job(0), 0.05)

            async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
                work.append(name)
                return Behaviors.same()

            return Behaviors.receive(handle)

        system.spawn(Behaviors.singleton(lambda: Behaviors.setup(begin), JOBS), "jobs")

    for system in await nodes.systems("a", "b", "c"):
        host(system)
    await trio.sleep(2)
    assert set(work) == {"a"}
    for other in ("b", "c"):
        nodes.network.cut("a", other)
    await trio.sleep(30)
    nodes.network.heal_all()
    await trio.sleep(30)
    assert work == sorted(work)  # all of a's is before all of the next one's
    assert set(work) == {"a", "b"}
    assert work.count("b") > 500


async def test_it_is_started_again_after_a_pause_when_it_fails(autojump_clock, nodes):
    lives = Lives()
    a, b = await nodes.systems("a", "b")
    lives.host(a)
    lives.host(b)
    for count in range(1, 4):
        assert await where(b) == "a"
        assert len(lives.began) == count
        b.singleton(JOBS).tell(Break())
        await trio.sleep(1)  # it needs no message to start again
        assert len(lives.began) == count + 1
    assert lives.began == ["a"] * 4


async def test_one_that_stops_itself_rests_until_the_next_message(autojump_clock, nodes):
    lives = Lives()
    a, b = await nodes.systems("a", "b")
    lives.host(a)
    b.singleton(JOBS).tell(Rest())
    await trio.sleep(300)
    assert lives.alive == []
    assert await where(b) == "a"
    await trio.sleep(300)
    assert lives.alive == ["a"]


async def test_the_spawned_actor_hands_everything_on(autojump_clock, nodes):
    lives = Lives()
    a, b = await nodes.systems("a", "b")
    lives.host(a)
    proxy = lives.host(b)
    for number in range(100):
        proxy.tell(Job(number))
    node: str = await b.ask(proxy, Where)
    assert node == "a"
    assert lives.done == list(range(100))


async def test_a_node_without_the_role_does_not_run_it(autojump_clock, nodes):
    lives = Lives()
    a = (await nodes.start("a")).system
    b = (await nodes.start("b", ["a"], roles={"work"})).system
    lives.host(a, role="work")
    lives.host(b, role="work")
    assert await where(a) == "b"
    assert a.lookup("/jobs") is None


async def test_its_ref_is_good_on_every_node(autojump_clock, nodes):
    lives = Lives()
    a, b = await nodes.systems("a", "b")
    lives.host(a)
    ref = b.singleton(JOBS)
    assert isinstance(ref, EntityRef)
    assert ref == a.singleton(JOBS)
    assert str(ref.address) == "casty://shop/jobs/singleton"


async def test_a_key_of_a_singleton_is_none_of_entities(autojump_clock, nodes):
    lives = Lives()
    a, b = await nodes.systems("a", "b")
    too_early = b.entity(JOBS, "one")  # nobody has said yet what the key is
    lives.host(a)
    assert await where(a) == "a"
    await trio.sleep(2)
    for system in (a, b):
        with pytest.raises(ConfigError, match=r"'jobs'\): it is the key of a singleton, and cannot be one of entities"):
            system.entity(JOBS, "one")
    assert await where(b) == "a"
    b.spawn(Behaviors.sharded(lambda _: Behaviors.ignore(), JOBS, num_shards=1), "jobs")
    await trio.sleep(1)
    assert b.lookup("/jobs") is None
    node: str
    with pytest.raises(AskFailed, match="it is the key of a singleton"):
        node = await b.ask(too_early, Where)
        assert node is None
    assert lives.began == ["a"]


async def test_a_key_of_entities_is_none_of_a_singleton(autojump_clock, nodes):
    lives = Lives()
    a, b = await nodes.systems("a", "b")
    a.spawn(Behaviors.sharded(lambda _: Behaviors.ignore(), JOBS), "jobs")
    await trio.sleep(2)
    with pytest.raises(ConfigError, match="it is the key of entities, and cannot be one of a singleton"):
        b.singleton(JOBS)
    lives.host(b)
    await trio.sleep(2)
    assert b.lookup("/jobs") is None
    assert lives.began == []


async def test_mixed_use_on_one_node_is_refused_before_anybody_hosts_the_key(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    a.singleton(JOBS).tell(Job(1))
    with pytest.raises(ConfigError, match="it is the key of a singleton"):
        a.entity(JOBS, "one")


async def test_a_users_strategy_places_the_shards_where_the_coordinator_hosts_the_key(autojump_clock, nodes):
    key = EntityKey[Where]("homes")
    a, b = await nodes.systems("a", "b")

    def host(system: ClusteredActorSystem) -> None:
        async def handle(ctx: ActorContext[Where], message: Where) -> Behavior[Where]:
            message.reply_to.tell(system.cluster_config.node_id)
            return Behaviors.same()

        behavior = Behaviors.sharded(lambda _: Behaviors.receive(handle), key, num_shards=8, allocation=OnPort(b))
        system.spawn(behavior, "homes")

    host(a)
    host(b)
    found = {await a.ask(a.entity(key, f"home-{number}"), Where, timeout=30.0) for number in range(30)}
    assert found == {"b"}


@dataclass
class OnPort:
    """All shards on one node, as long as it hosts them."""

    system: ClusteredActorSystem

    def place(self, shards: Any, loads: Loads) -> dict[int, UniqueAddress]:
        wanted = [node for node in loads if node.address == self.system.self_node]
        return dict.fromkeys(shards, wanted[0]) if wanted else {}

    def moves(self, holdings: Holdings, loads: Loads, moving: Loads) -> dict[int, UniqueAddress]:
        return {}


class Faulty:
    def place(self, shards: Any, loads: Loads) -> dict[int, UniqueAddress]:
        raise LookupError("no idea")

    def moves(self, holdings: Holdings, loads: Loads, moving: Loads) -> dict[int, UniqueAddress]:
        return {0: next(iter(loads)), 7: next(iter(loads)), 1: UniqueAddress(next(iter(loads)).address, 99)}


async def test_a_users_strategy_cannot_place_what_makes_no_sense(autojump_clock, nodes, caplog):
    a, b = await nodes.join("a", "b")
    loads = {a.run: 0, b.run: 1}
    checks = checked(Faulty(), JOBS)
    assert checks.place([0, 1, 2], loads) == LEAST_SHARDS.place([0, 1, 2], loads)
    assert checks.place([0], loads) == {0: a.run}
    assert checks.moves({b.run: [0, 1]}, loads, {}) == {0: a.run}
    told = [record.getMessage() for record in caplog.records]
    assert sum("it has raised; the node with the fewest shards is taken" in line for line in told) == 1
    assert checked(OLDEST, JOBS) is OLDEST


def test_bad_options_are_refused():
    with pytest.raises(TypeError, match=r"singleton needs an EntityKey, such as EntityKey\[Message\]\('billing'\)"):
        Behaviors.singleton(Behaviors.ignore, ServiceKey[int]("jobs"))  # type: ignore[arg-type]  # as by mistake
    with pytest.raises(TypeError, match="a function without parameters"):
        Behaviors.singleton(7, JOBS)  # type: ignore[arg-type]  # as by mistake
    with pytest.raises(ConfigError, match="role must be the name of a role or None, got ''"):
        Behaviors.singleton(Behaviors.ignore, JOBS, role="")
    with pytest.raises(TypeError, match=r"allocation.place"):
        Behaviors.sharded(lambda _: Behaviors.ignore(), JOBS, allocation=7)  # type: ignore[arg-type]  # as by mistake
