"""A system in a thread of its own, used by a program without a loop."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import trio
from helpers.behaviors import hanging
from helpers.messages import Add, Get
from helpers.systems import Downed, shop

from casty import (
    ActorContext,
    ActorStoppedError,
    ActorSystem,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    ClusterTimeoutError,
    Inbox,
    Mailbox,
    MailboxFull,
    MailboxOverflowStrategy,
    MemoryNetwork,
    embed,
)
from casty.runtime.system.system import fail_system
from casty.testing.inspect import kernel_of


async def count(ctx: ActorContext[Add | Get], inbox: Inbox[Add | Get]) -> None:
    total = 0
    async for message in inbox:
        match message:
            case Add(amount):
                total += amount
            case Get(reply_to):
                reply_to.tell(total)


def counter() -> Behavior[Add | Get]:
    return Behaviors.task(count)


async def shop_later() -> ActorSystem:
    return ActorSystem("shop")


UNTYPED: Any = embed


def test_a_function_that_makes_no_system_is_named() -> None:
    with pytest.raises(TypeError, match="embed needs a function that makes the system, and <.*lambda.*> returned 5"):
        with UNTYPED.start(lambda: 5):
            pass
    with pytest.raises(TypeError, match="embed needs a function that makes the system: .* got an async function"):
        with UNTYPED.start(shop_later):
            pass


def test_a_script_spawns_tells_and_asks() -> None:
    before = set(threading.enumerate())  # Trio keeps threads for a while that tests before this one have used
    with embed.start(shop) as app:
        ref = app.spawn(counter(), "counter")
        for amount in range(10):
            app.tell(ref, Add(amount))
        assert app.ask(ref, Get) == 45
        assert app.system.name == "shop"
    assert set(threading.enumerate()) <= before


def test_many_threads_may_use_one_system() -> None:
    with embed.start(shop) as app, ThreadPoolExecutor(8) as pool:
        ref = app.spawn(counter(), "counter")
        list(pool.map(lambda amount: app.tell(ref, Add(amount)), range(200)))
        assert app.ask(ref, Get) == sum(range(200))
        totals = list(pool.map(lambda _: app.ask(ref, Get), range(50)))
        assert totals == [sum(range(200))] * 50


def test_call_and_run_return_what_the_function_returns_in_the_thread_of_the_system() -> None:
    async def own_thread(offset: int) -> int:
        await trio.lowlevel.checkpoint()
        return threading.get_ident() + offset

    with embed.start(shop) as app:
        inside = app.call(threading.get_ident)
        assert inside != threading.get_ident()
        assert app.run(own_thread, 1) == inside + 1
        assert app.call(int, "101", base=2) == 5


def test_errors_cross_to_the_caller() -> None:
    reject = Mailbox(1, MailboxOverflowStrategy.reject)

    with embed.start(shop) as app:
        ref = app.spawn(hanging(), "full", mailbox=reject)
        with pytest.raises(ValueError, match="there is an actor at /full already"):
            app.spawn(counter(), "full")
        with pytest.raises(MailboxFull):
            for number in range(3):
                app.tell(ref, number)
        with pytest.raises(AskTimeoutError):
            app.ask(app.spawn(Behaviors.ignore(), "silent"), Get, timeout=0.01)
        with pytest.raises(ZeroDivisionError):
            app.call(lambda: 1 // 0)
        app.call(app.system.stop, ref)
        app.run(ended_soon, app.system)


async def ended_soon(system: ActorSystem) -> None:
    """Kill the stuck handler: nobody waits for its stop_timeout."""
    await trio.lowlevel.checkpoint()
    kernel_of(system).targets["/full"].owner().kill()


def test_a_failing_body_leaves_the_block_with_its_own_error_and_a_stopped_system() -> None:
    with pytest.raises(KeyError, match="mine"), embed.start(shop) as app:
        ref = app.spawn(counter(), "counter")
        raise KeyError("mine")
    with pytest.raises(ActorStoppedError):
        app.tell(ref, Add(1))
    with pytest.raises(ActorStoppedError):
        app.ask(ref, Get)


def test_a_block_that_cannot_be_entered_raises_why() -> None:
    def alone() -> ClusteredActorSystem:
        return ClusteredActorSystem(
            name="shop", host="a", port=1, node_id="a", seed_nodes=[("b", 1)], join_timeout=0.05,
            network=MemoryNetwork().host("a"),
        )  # fmt: skip

    def broken() -> ActorSystem:
        raise KeyError("factory")

    with pytest.raises(ClusterTimeoutError), embed.start(alone):
        pytest.fail("entered")
    with pytest.raises(KeyError, match="factory"), embed.start(broken):
        pytest.fail("entered")


def test_an_error_of_the_system_ends_what_waits_and_surfaces_at_the_end() -> None:
    failure = Downed()
    with pytest.raises(Downed) as raised, embed.start(shop) as app:
        ref = app.spawn(Behaviors.ignore(), "silent")
        timer = threading.Timer(0.05, app.call, (fail_system, app.system, failure))
        timer.start()
        try:
            with pytest.raises(ActorStoppedError) as stopped:
                app.ask(ref, Get, timeout=60)
            assert stopped.value.__cause__ is failure
            assert app.wait_stopped(5)
            app.tell(ref, Add(1))  # ActorStoppedError, a consequence, gives way to the cause
        finally:
            timer.join()
    assert raised.value is failure


def test_an_error_of_the_body_and_one_of_the_system_leave_in_a_group() -> None:
    with pytest.RaisesGroup(KeyError, Downed), embed.start(shop) as app:
        app.call(fail_system, app.system, Downed())
        assert app.wait_stopped(5)
        raise KeyError


def test_an_ask_that_failed_because_the_system_did_gives_way_to_the_cause() -> None:
    failure = Downed()
    with pytest.raises(Downed), embed.start(shop) as app:
        app.call(fail_system, app.system, failure)
        assert app.wait_stopped(5)
        raise AskFailed("the request was still in the mailbox") from ActorStoppedError("the actor has stopped")
    with pytest.RaisesGroup(AskFailed, Downed), embed.start(shop) as app:
        app.call(fail_system, app.system, failure)
        assert app.wait_stopped(5)
        raise AskFailed("the handler failed before") from KeyError("a bug")


def test_wait_stopped_says_whether_the_system_still_runs() -> None:
    with embed.start(shop) as app:
        assert not app.wait_stopped(0.01)
        app.run(app.system.shutdown)
        assert app.call(app.system.lookup, "/nobody") is None


def test_an_interrupted_ask_is_withdrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C is raised in the main thread, while it waits for the reply."""
    with embed.start(shop) as app:
        ref = app.spawn(Behaviors.ignore(), "silent")

        def interrupted(self: object, timeout: float | None = None) -> object:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("casty.embed.Future.result", interrupted)
            app.ask(ref, Get, timeout=60)
        app.run(no_ask_is_pending, app.system)


async def no_ask_is_pending(system: ActorSystem) -> None:
    with trio.fail_after(5):
        while system.statistics().asks_pending:
            await trio.lowlevel.checkpoint()


def test_slips_at_the_border_say_what_to_write() -> None:
    async def seven() -> int:
        return 7

    given: Any = 7
    with embed.start(shop) as app:
        with pytest.raises(TypeError, match="function that is not async, got .*seven.*: give async ones to run"):
            app.call(seven)
        with pytest.raises(TypeError, match="call takes a function and its arguments, got 7"):
            app.call(given)
        with pytest.raises(TypeError, match="run takes an async function and its arguments, got 7"):
            app.run(given)
        assert app.run(seven) == 7


def test_repr_tells_the_state() -> None:
    with embed.start(shop) as app:
        assert repr(app) == "<Embedded <ActorSystem shop running actors=0>>"
    assert "stopped" in repr(app)
