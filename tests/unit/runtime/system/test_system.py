"""The block of a system: what enters, what leaves, and in which state."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import anyio
import pytest
import trio
import trio.testing
from helpers.behaviors import recording, stop_and_wait, tell_all

from casty.behaviors import Behaviors
from casty.cluster.remoting.local_transport import LocalTransport
from casty.errors import CastyError
from casty.protocol.actor.supervision import Stop
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import ActorStopped, DeadLetter, EventStreamSubscribe, EventStreamUnsubscribe, Publish
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, fail_system, kernel_of


class Downed(CastyError):
    pass


def cleaning(done: list[str]) -> Behavior[object]:
    async def stop(ctx: ActorContext[object]) -> None:
        await trio.sleep(0.5)
        done.append(ctx.self.path)

    return Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=stop)


async def test_a_lone_exception_of_the_block_leaves_as_it_is_after_the_clean_up(autojump_clock: object) -> None:
    done: list[str] = []
    error = LookupError("mine")
    with pytest.raises(LookupError) as caught:
        async with ActorSystem() as system:
            system.spawn(cleaning(done), "a")
            await trio.testing.wait_all_tasks_blocked()
            raise error
    assert caught.value is error
    assert done == ["/a"]


async def test_an_exception_group_of_the_block_leaves_whole() -> None:
    error = ExceptionGroup("mine", [ValueError("lone")])
    with pytest.raises(ExceptionGroup) as caught:
        async with ActorSystem():
            raise error
    assert caught.value is error


async def test_cancellation_from_outside_cleans_up_in_order(autojump_clock: object) -> None:
    done: list[str] = []
    with trio.move_on_after(1) as scope:
        async with ActorSystem() as system:
            system.spawn(cleaning(done), "a")
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert done == ["/a"]
    assert system.statistics().actors == 0


async def test_a_block_that_is_entered_when_it_is_cancelled_already_ends_at_once() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with ActorSystem():
            raise AssertionError("the block must not run")
    assert scope.cancelled_caught


async def test_the_first_actor_runs_though_the_block_never_waits(system: ActorSystem) -> None:
    started: list[str] = []

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        started.append(ctx.self.path)
        return Behaviors.ignore()

    system.spawn(Behaviors.setup(make), "a")
    await system.wait_stopped(system.spawn(Behaviors.task(returning), "b"))
    assert started == ["/a"]


async def returning(ctx: ActorContext[object], inbox: object) -> None:
    await trio.lowlevel.checkpoint()


async def test_fail_cancels_the_block_and_raises_exactly_its_error(autojump_clock: object) -> None:
    done: list[str] = []
    error = Downed("by the others")
    with pytest.raises(Downed) as caught:
        async with ActorSystem() as system:
            system.spawn(cleaning(done), "a")
            await trio.testing.wait_all_tasks_blocked()
            fail_system(system, error)
            fail_system(system, Downed("too late"))
            await trio.sleep_forever()
    assert caught.value is error
    assert done == ["/a"]


async def test_fail_wins_over_what_the_cancelled_block_raises() -> None:
    with pytest.raises(Downed):
        async with ActorSystem() as system:
            fail_system(system, Downed("by the others"))
            try:
                await trio.sleep_forever()
            finally:
                raise LookupError("in the clean-up of the block")


async def test_a_subclass_wraps_the_lifespan_and_its_errors_leave_bare() -> None:
    order: list[str] = []

    class Wrapped(ActorSystem):
        @asynccontextmanager
        async def _lifespan(self) -> AsyncGenerator[None]:
            async with super()._lifespan(), trio.open_nursery():
                order.append("before")
                yield
                order.append("after")

    async with Wrapped("w"):
        order.append("body")
    assert order == ["before", "body", "after"]
    with pytest.raises(LookupError):
        async with Wrapped("w"):
            raise LookupError


async def test_a_lifespan_that_fails_on_entry_leaves_nothing_running() -> None:
    class Broken(ActorSystem):
        @asynccontextmanager
        async def _lifespan(self) -> AsyncGenerator[None]:
            async with super()._lifespan():
                self.spawn(Behaviors.ignore(), "a")
                raise OSError("no port")
                yield

    system = Broken("b")
    with pytest.raises(OSError, match="no port"):
        async with system:
            pass
    assert system.statistics().actors == 0


async def test_shutdown_waits_outside_of_actors_and_only_requests_inside(
    system: ActorSystem, autojump_clock: object
) -> None:
    done: list[str] = []

    async def quit_all(ctx: ActorContext[object], message: object) -> Behavior[object]:
        await ctx.system.shutdown()
        done.append("requested")
        return Behaviors.same()

    system.spawn(cleaning(done), "a")
    system.spawn(Behaviors.receive(quit_all), "quitting").tell(1)
    await system.wait_stopped()
    assert done == ["requested", "/a"]
    await system.shutdown()
    await system.shutdown()


async def test_what_needs_the_block_says_so_outside_of_it() -> None:
    system = ActorSystem()
    with pytest.raises(RuntimeError, match="enter it first"):
        system.spawn(Behaviors.ignore(), "a")
    with pytest.raises(RuntimeError, match="enter it first"):
        await system.shutdown()
    async with system:
        pass
    with pytest.raises(RuntimeError, match="was entered before"):
        await system.__aenter__()


def test_entering_under_asyncio_says_what_to_do() -> None:
    async def main() -> None:
        async with ActorSystem():
            pass

    with pytest.raises(RuntimeError, match="trio.run"):
        asyncio.run(main())


def test_it_runs_under_anyio_with_the_trio_backend() -> None:
    async def main() -> int:
        async with ActorSystem() as system:
            system.spawn(Behaviors.ignore(), "a")
            async with anyio.create_task_group() as group:
                group.start_soon(anyio.lowlevel.checkpoint)
            return system.statistics().actors

    assert anyio.run(main, backend="trio") == 1


@pytest.mark.parametrize("during", ["body", "handler"])
def test_ctrl_c_ends_everything_in_order_and_leaves_bare(during: str) -> None:
    done: list[str] = []

    async def interrupt(ctx: ActorContext[object], message: object) -> Behavior[object]:
        os.kill(os.getpid(), signal.SIGINT)
        for _ in range(1000):
            len(str(message))
        done.append("handled")
        return Behaviors.same()

    async def main() -> None:
        async with ActorSystem() as system:
            system.spawn(cleaning(done), "a")
            ref = system.spawn(Behaviors.receive(interrupt), "b")
            await trio.testing.wait_all_tasks_blocked()
            if during == "handler":
                ref.tell(1)
            else:
                os.kill(os.getpid(), signal.SIGINT)
            await trio.sleep_forever()

    with pytest.raises(KeyboardInterrupt):
        trio.run(
            main, clock=trio.testing.MockClock(autojump_threshold=0), restrict_keyboard_interrupt_to_checkpoints=False
        )
    assert done == (["handled", "/a"] if during == "handler" else ["/a"])


async def test_a_system_exit_inside_an_actor_ends_the_block() -> None:
    async def leave(ctx: ActorContext[int], message: int) -> Behavior[int]:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        async with ActorSystem() as system:
            system.spawn(Behaviors.receive(leave), "leaving").tell(1)
            await trio.sleep_forever()
    assert system.statistics().actors == 0


async def test_refs_by_path_and_by_uid_mean_whom_they_name(system: ActorSystem) -> None:
    first = system.spawn(Behaviors.ignore(), "a")
    uid = first.address.uid
    assert uid > 0
    assert kernel_of(system).ref_for("/a", uid) == first
    by_path = kernel_of(system).ref_for("/a", 0)
    assert system.lookup("/nobody") is None
    await stop_and_wait(system, first)
    by_path.of(object).tell("nobody there")
    assert system.statistics().dead_letters == {"no such actor": 1}
    second = system.spawn(Behaviors.ignore(), "a")
    assert LocalTransport(system).deliver("/a", uid, "for the first") is not None
    assert LocalTransport(system).deliver("/a", second.address.uid, "for the second") is None
    assert LocalTransport(system).deliver("/a", 0, "for anyone") is None
    await by_path.of(object).send("there again")
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().messages_delivered == 3
    assert hash(kernel_of(system).ref_for("/a", uid)) == hash(first)
    assert kernel_of(system).ref_for("/a", uid) == first
    assert first != second


async def test_events_are_matched_by_type_and_base_and_end_with_unsubscription(system: ActorSystem) -> None:
    seen: list[object] = []

    ref = system.spawn(recording(seen), "observer")
    await trio.testing.wait_all_tasks_blocked()
    system.event_stream.tell(EventStreamSubscribe(ArithmeticError, ref))
    system.event_stream.tell(EventStreamSubscribe(ArithmeticError, ref))
    error = ZeroDivisionError()
    system.event_stream.tell(Publish(error))
    system.event_stream.tell(Publish(LookupError()))
    system.event_stream.tell(EventStreamUnsubscribe(ArithmeticError, ref))
    system.event_stream.tell(Publish(error))
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [error]


async def test_events_of_several_types_come_in_their_order() -> None:
    async with ActorSystem() as system, system.events(KeyError, str, OSError) as events:
        published = ["a", OSError("b"), KeyError("c"), IndexError("not asked for"), "d"]
        for event in published:
            system.event_stream.tell(Publish(event))
        assert [await anext(events) for _ in range(4)] == [published[0], published[1], published[2], published[4]]
        assert repr(events) == "<Events KeyError | str | OSError open waiting=0 dropped=0>"


async def test_events_beyond_the_buffer_are_counted() -> None:
    async with ActorSystem() as system, system.events(str, capacity=2) as events:
        for text in ("a", "b", "c", "d"):
            kernel_of(system).event_stream.publish(text)
        assert [await anext(events), await anext(events)] == ["a", "b"]
        assert events.dropped == 2


async def test_events_end_with_the_system_also_when_entered_late(system: ActorSystem) -> None:
    events = system.events(str)
    async with system.events(str) as early:
        kernel_of(system).event_stream.publish("last")
        await system.shutdown()
        assert [event async for event in early] == ["last"]
    async with events as late:
        assert [event async for event in late] == []


async def test_the_event_stream_and_the_scheduler_are_found_by_path(system: ActorSystem) -> None:
    assert system.lookup("/_event_stream") == system.event_stream
    assert system.lookup("/_scheduler") == system.scheduler
    with pytest.raises(TypeError, match="the event stream takes"):
        system.event_stream.tell("x")  # type: ignore[arg-type]  # the mistake under test


async def test_code_outside_of_actors_sees_the_stops() -> None:
    async with ActorSystem() as system, system.events(ActorStopped) as events:
        ref = system.spawn(Behaviors.ignore(), "a")
        await trio.testing.wait_all_tasks_blocked()
        system.stop(ref)
        assert (await anext(events)).ref == ref


async def test_a_failed_system_raises_its_error_without_the_cancellation_that_brought_it() -> None:
    with pytest.raises(Downed) as caught:
        async with ActorSystem() as system:
            fail_system(system, Downed("by the others"))
            await trio.sleep_forever()
    assert caught.value.__suppress_context__


async def test_what_an_actor_sees_prints_as_what_it_is() -> None:
    printed: list[str] = []

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        printed.extend([repr(ctx), repr(ctx.log), repr(inbox)])
        async for _ in inbox:
            break

    behavior = Behaviors.supervise(Behaviors.task(main), Stop())
    async with ActorSystem("shop") as system, system.events(DeadLetter, capacity=2) as events:
        ref = system.spawn(behavior, "a")
        ref.tell(1)
        await system.wait_stopped(ref)
        tell_all(ref, *range(3))
        printed.extend([repr(events), repr(system.events(ActorStopped)), repr(behavior)])
    name = "test_what_an_actor_sees_prints_as_what_it_is.<locals>.main"
    assert printed == [
        "<ActorContext of /a>",
        "<ActorLog casty.actor of /a>",
        "<Inbox of /a queued=1>",
        "<Events DeadLetter open waiting=2 dropped=1>",
        "<Events ActorStopped not entered waiting=0 dropped=0>",
        f"Supervised(Task({name}), Stop(on=<class 'Exception'>))",
    ]


async def test_the_repr_tells_the_state() -> None:
    system = ActorSystem("shop")
    assert repr(system) == "<ActorSystem shop not entered actors=0>"
    async with system, system.events(DeadLetter):
        system.spawn(Behaviors.ignore(), "a")
        assert repr(system) == "<ActorSystem shop running actors=1>"
    assert repr(system) == "<ActorSystem shop stopped actors=0>"
