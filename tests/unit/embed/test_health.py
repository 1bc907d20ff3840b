"""What a host is told of an embedded system that ends by itself, and how a downed node comes back."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Never

import pytest
import trio

from casty import (
    ActorRef,
    ActorStoppedError,
    ActorSystem,
    Behaviors,
    BindError,
    ClusteredActorSystem,
    ConfigError,
    MemoryNetwork,
    NodeDowned,
    SystemConfig,
    embed,
)
from casty.address import LastMembership, NodeAddress, UniqueAddress
from casty.runtime.system import embedding
from casty.runtime.system.system import fail_system
from casty.testing.inspect import node_of

DOWNED = NodeDowned("web-1 was declared down by its cluster")


def shop() -> ActorSystem:
    return ActorSystem("shop", config=SystemConfig(slow_handler_after=0.05))


@pytest.fixture
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding, "REJOIN_PAUSE_MIN", 0.0)


def errors(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [one.getMessage() for one in caplog.records if one.name == "casty.embed" and one.levelno == logging.ERROR]


def hold_the_loop() -> None:
    until = time.monotonic() + 0.4
    while time.monotonic() < until:
        pass


def test_a_system_that_ends_by_itself_is_logged_at_once_with_what_held_its_loop(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def hold(ctx: object, message: str) -> object:
        hold_the_loop()
        return Behaviors.same()

    with pytest.raises(NodeDowned), embed.start(shop) as app:
        ref: ActorRef[str] = app.spawn(Behaviors.receive(hold), "report")  # type: ignore[arg-type]  # loosely typed
        app.tell(ref, "go")
        app.call(fail_system, app.system, DOWNED)
        assert app.wait_stopped(5)
        (line,) = errors(caplog)
    assert "has ended: NodeDowned: web-1 was declared down by its cluster; the watchdog saw actor /report hold" in line
    assert "in hold_the_loop" in line
    assert line.endswith("; every call raises ActorStoppedError from now on")


def test_a_system_that_is_left_in_good_order_logs_nothing(caplog: pytest.LogCaptureFixture) -> None:
    with embed.start(shop) as app:
        assert app.health() == embed.Health(embed.HealthState.running)
        assert app.health().is_ready
    assert not [one for one in caplog.records if one.name == "casty.embed"]
    assert (app.health().state, app.health().reason) == (embed.HealthState.ended, "it was shut down")


def test_the_health_of_a_system_that_has_ended_says_why() -> None:
    with pytest.raises(NodeDowned), embed.start(shop) as app:
        app.call(fail_system, app.system, DOWNED)
        assert app.wait_stopped(5)
        health = app.health()
        assert (health.state, health.is_ready) == (embed.HealthState.ended, False)
        assert health.reason == f"NodeDowned: {DOWNED}"


def test_a_system_that_cannot_tell_how_it_is_runs_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(host: object) -> embed.Health:
        raise LookupError("no such member")

    with embed.start(shop) as app:
        monkeypatch.setattr(embedding.Host, "_health_here", fail)
        health = app.health()
        assert (health.state, health.is_ready) == (embed.HealthState.running, False)
        assert health.reason == "its health cannot be told: LookupError: no such member"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_ends_a_program_is_no_end_of_its_system(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException]
) -> None:
    def end(host: object) -> embed.Health:
        raise error

    with embed.start(shop) as app:
        monkeypatch.setattr(embedding.Host, "_health_here", end)
        with pytest.raises(error):
            app.health()
        monkeypatch.undo()
        assert app.health().is_ready


def test_a_loop_that_is_held_is_stalled() -> None:
    held, free = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        free.wait(10)

    with embed.start(shop) as app:
        holder = threading.Thread(target=app.call, args=(hold,))
        holder.start()
        assert held.wait(5)
        health = app.health(timeout=0.05)
        free.set()
        holder.join()
        assert (health.state, health.is_ready) == (embed.HealthState.stalled, False)
        assert health.reason == "its loop has not answered within 0.05 s"
        assert app.health().is_ready


def test_a_downed_system_starts_again_with_its_actors(no_pause: None, caplog: pytest.LogCaptureFixture) -> None:
    refs: list[ActorRef[str]] = []
    started = threading.Semaphore(0)

    def open_shop(system: ActorSystem) -> None:
        refs.append(system.spawn(Behaviors.ignore(), "cart"))
        started.release()

    with embed.start(shop, on_start=open_shop, rejoin=True) as app:
        assert started.acquire(timeout=5)
        first = app.system
        app.call(fail_system, first, DOWNED)
        assert started.acquire(timeout=5)
        while not app.health().is_ready:
            app.wait_stopped(0.001)
        assert app.health().rejoins == 1
        assert app.system is not first
        app.tell(refs[1], "tea")
        assert app.call(app.system.statistics).actors == 1
    (line,) = errors(caplog)
    assert line.endswith("; joining again in 0 s")


def test_while_a_node_is_away_calls_say_why_and_the_block_can_be_left() -> None:
    with embed.start(shop, rejoin=True) as app:
        app.call(fail_system, app.system, DOWNED)
        while app.health().state is embed.HealthState.running:
            app.wait_stopped(0.001)
        assert (app.health().state, app.health().reason) == (embed.HealthState.rejoining, f"NodeDowned: {DOWNED}")
        with pytest.raises(ActorStoppedError) as stopped:
            app.call(app.system.statistics)
        assert stopped.value.__cause__ is DOWNED
        assert str(stopped.value).endswith("cannot do what was asked of it; it joins again")
        assert not app.wait_stopped(0.01)


@contextmanager
def rejoining_node() -> Iterator[tuple[Any, UniqueAddress, threading.Semaphore]]:
    """Start a node that joins again; give it, its first run, and a semaphore released by each later start."""
    network = MemoryNetwork().host("a")
    started = threading.Semaphore(0)

    def node() -> ClusteredActorSystem:
        return ClusteredActorSystem(name="s", host="a", port=2551, node_id="a", network=network)

    with embed.start(node, on_start=lambda _: started.release(), rejoin=True) as app:
        assert started.acquire(timeout=5)
        yield app, app.call(lambda: node_of(app.system).self_node), started


def test_while_a_node_waits_to_be_let_in_its_health_says_for_whom(no_pause: None) -> None:
    with rejoining_node() as (app, run, started):
        downed = NodeDowned("this node was declared down")
        others = frozenset(UniqueAddress(NodeAddress(name, 2551), 7) for name in "bc")
        downed.last = LastMembership(7, run, others | {run}, others | {run})
        app.call(fail_system, app.system, downed)
        while "no seed has let it in yet" not in (health := app.health()).reason:
            app.wait_stopped(0.001)
        assert (health.state, health.is_ready) == (embed.HealthState.rejoining, False)
        assert health.reason == (
            "NodeDowned: this node was declared down; no seed has let it in yet: "
            "this node was downed, and begins no cluster without more than half of the 3 voters it knew"
        )


def test_the_state_of_a_health_reads_as_its_name() -> None:
    assert f"{embed.HealthState.running}" == "running"
    assert [str(one) for one in embed.HealthState] == ["running", "stalled", "rejoining", "ended"]


def test_a_call_that_waits_when_a_node_is_downed_says_that_it_joins_again() -> None:
    async def wait_after_fail(system: ActorSystem) -> None:
        fail_system(system, DOWNED)
        await trio.sleep_forever()

    with embed.start(shop, rejoin=True) as app:
        with pytest.raises(ActorStoppedError, match="; it joins again$"):
            app.run(wait_after_fail, app.system)
        assert app.health().state is embed.HealthState.rejoining
    with pytest.raises(ActorStoppedError, match="what was asked of it$"):
        app.call(app.system.statistics)
    assert app.health().state is embed.HealthState.ended


def test_a_node_that_was_downed_tries_again_while_it_cannot_come_back(no_pause: None) -> None:
    outcomes: list[Exception | None] = [None, BindError("the port is in use"), None]
    started = threading.Semaphore(0)

    def make() -> ActorSystem:
        if (failure := outcomes.pop(0)) is not None:
            raise failure
        return shop()

    with embed.start(make, on_start=lambda _: started.release(), rejoin=True) as app:
        assert started.acquire(timeout=5)
        app.call(fail_system, app.system, DOWNED)
        assert started.acquire(timeout=5)
        assert outcomes == []


def test_what_is_no_passing_trouble_ends_the_system_for_good(no_pause: None) -> None:
    with pytest.raises(KeyError), embed.start(shop, rejoin=True) as app:
        app.call(fail_system, app.system, KeyError("a bug"))
        assert app.wait_stopped(5)
    made: list[ActorSystem] = []

    def once() -> ActorSystem:
        if made:
            raise ConfigError("a setting is gone")
        made.append(shop())
        return made[0]

    with pytest.raises(ConfigError), embed.start(once, rejoin=True) as app:
        app.call(fail_system, app.system, DOWNED)
        assert app.wait_stopped(5)


def test_a_node_that_rejoins_knows_what_the_one_before_knew(no_pause: None) -> None:
    with rejoining_node() as (app, run, started):
        downed = NodeDowned("this node was declared down")
        downed.last = LastMembership(7, run, frozenset({run}), frozenset({run}))
        app.call(fail_system, app.system, downed)
        assert started.acquire(timeout=5)
        assert app.call(lambda: app.system.cluster._last) is downed.last


async def test_a_node_that_is_stopped_while_it_comes_back_ends_without_the_error_that_is_overcome(
    autojump_clock: object,
) -> None:
    class Slow(ActorSystem):
        async def __aenter__(self) -> Never:
            await trio.sleep_forever()
            raise AssertionError

    made = [shop(), Slow("slow")]
    host = embedding.Host(lambda: made.pop(0), None, None, lambda system, downed: None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.main)
        await trio.sleep(0.1)
        fail_system(host.system, DOWNED)
        await trio.sleep(5)
        assert not made
        host.stop()
    host.raise_outcome(None)


def test_what_on_start_raises_leaves_the_entry() -> None:
    def fail(system: ActorSystem) -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"), embed.start(shop, on_start=fail):
        pytest.fail("entered")


def test_an_application_asks_for_the_health_too() -> None:
    async def main() -> None:
        async with embed.start_async(shop, on_start=lambda system: system.spawn(Behaviors.ignore(), "cart")) as app:
            assert (await app.health()).is_ready
            held, free = threading.Event(), threading.Event()

            def hold() -> None:
                held.set()
                free.wait(10)

            holding = asyncio.ensure_future(app.call(hold))
            assert await asyncio.to_thread(held.wait, 5)
            assert (await app.health(timeout=0.05)).state is embed.HealthState.stalled
            free.set()
            await holding
            assert (await app.health()).is_ready
            await app.call(fail_system, app.system, DOWNED)
            await app.wait_stopped()
            assert (await app.health()).state is embed.HealthState.ended

    with pytest.raises(NodeDowned):
        asyncio.run(main())


def test_the_health_of_a_node_tells_how_it_stands_in_its_cluster() -> None:
    def node() -> ClusteredActorSystem:
        network = MemoryNetwork().host("a")
        return ClusteredActorSystem(name="s", host="a", port=2551, node_id="a", network=network, required_quorum=1)

    with embed.start(node) as app:
        health = app.health()
        assert (health.is_up, health.up_members, health.unreachable_members, health.is_ready) == (True, 1, 0, True)
