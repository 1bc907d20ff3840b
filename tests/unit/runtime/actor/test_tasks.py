"""Task-style actors, tasks beside the handlers, and adapters."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import trio
import trio.testing
from helpers.behaviors import recording, stop_and_wait, tell_all

from casty.behaviors import Behaviors
from casty.cluster.remoting.local_transport import LocalTransport
from casty.config import SystemConfig
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.drive import drive
from casty.runtime.events import ActorFailed, DeadLetter, Terminated
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext, ActorLog
from casty.runtime.system.system import ActorSystem


async def test_a_task_takes_its_messages_in_order_and_ends_when_it_returns() -> None:
    seen: list[int] = []

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        async for message in inbox:
            if message == 300:
                break
            seen.append(message)
        seen.append(-1)

    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = system.spawn(Behaviors.task(main), "t")
        tell_all(ref, *range(302))
        await system.wait_stopped(ref)
        assert seen == [*range(300), -1]
        assert (await anext(letters)).message == 301


async def test_the_inbox_ends_when_the_actor_is_to_stop_and_main_finishes_its_work(
    system: ActorSystem, autojump_clock: object
) -> None:
    order: list[str] = []

    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        async for message in inbox:
            await trio.sleep(1)
            order.append(message)
        await trio.sleep(1)
        order.append("flushed")

    ref = system.spawn(Behaviors.task(main), "t")
    tell_all(ref, "first", "second")
    await trio.sleep(0.5)
    await stop_and_wait(system, ref)
    assert system.statistics().dead_letters == {"actor stopped": 1}
    assert order == ["first", "flushed"]


async def test_a_parked_inbox_ends_at_once(system: ActorSystem) -> None:
    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        async for _ in inbox:
            pass

    ref = system.spawn(Behaviors.task(main), "t")
    await trio.testing.wait_all_tasks_blocked()
    await stop_and_wait(system, ref)


async def test_a_main_that_never_looks_into_its_inbox_is_cancelled_at_once(autojump_clock: object) -> None:
    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        await trio.sleep_forever()

    began = trio.current_time()
    async with ActorSystem() as system:
        system.spawn(Behaviors.task(main), "t")
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() == began


async def test_a_main_that_does_not_come_back_is_cancelled_after_the_time_out(autojump_clock: object) -> None:
    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        async for _ in inbox:
            break
        await trio.sleep_forever()

    async with ActorSystem(config=SystemConfig(stop_timeout=2.0)) as system:
        ref = system.spawn(Behaviors.task(main), "t")
        ref.tell("go")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await stop_and_wait(system, ref)
        assert trio.current_time() - began == pytest.approx(2.0)


async def test_timers_reach_the_inbox_ahead_of_messages_and_ends_after_them(
    system: ActorSystem, autojump_clock: object
) -> None:
    seen: list[object] = []

    async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        child = ctx.spawn(Behaviors.ignore(), "child")
        ctx.watch(child)
        ctx.schedule_once("ring", 1.0)
        ctx.stop(child)
        await trio.sleep(2)
        async for message in inbox:
            seen.append(message)

    system.spawn(Behaviors.task(main), "t").tell("message")
    await trio.sleep(3)
    assert seen[:2] == ["ring", "message"]
    assert isinstance(seen[2], Terminated)


async def test_two_readers_of_one_inbox_are_refused() -> None:
    async def read(inbox: Inbox[int]) -> None:
        await anext(inbox)

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, inbox)
            nursery.start_soon(read, inbox)

    async with ActorSystem() as system, system.events(ActorFailed) as events:
        system.spawn(Behaviors.task(main), "t")
        error = (await anext(events)).exception
    assert isinstance(error, ExceptionGroup)
    assert "two tasks read the inbox" in str(error.exceptions[0])


async def test_a_handler_can_hand_over_to_a_task(system: ActorSystem) -> None:
    seen: list[object] = []

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        async for message in inbox:
            seen.append(("main", message))

    async def handle(ctx: ActorContext[int], message: int) -> Behavior[int]:
        seen.append(("handler", message))
        return Behaviors.task(main)

    ref = system.spawn(Behaviors.receive(handle), "t")
    tell_all(ref, 1, 2)
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [("handler", 1), ("main", 2)]


async def test_a_task_beside_the_handlers_is_cancelled_when_the_actor_stops(system: ActorSystem) -> None:
    ended: list[str] = []

    async def work(name: str) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(name)

    async def make(ctx: ActorContext[int]) -> Behavior[int]:
        ctx.start_soon(work, "a")
        ctx.start_soon(work, "b")
        return Behaviors.ignore()

    ref = system.spawn(Behaviors.setup(make), "t")
    await trio.testing.wait_all_tasks_blocked()
    await stop_and_wait(system, ref)
    assert sorted(ended) == ["a", "b"]


@pytest.mark.parametrize("style", ["handler", "task"])
async def test_the_failure_of_a_task_is_the_failure_of_its_actor(style: str) -> None:
    async def work() -> None:
        raise LookupError("in the task")

    async def make(ctx: ActorContext[int]) -> Behavior[int]:
        ctx.start_soon(work)
        return Behaviors.ignore()

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        ctx.start_soon(work)
        await trio.sleep_forever()

    async with ActorSystem() as system, system.events(ActorFailed) as events:
        ref = system.spawn(Behaviors.setup(make) if style == "handler" else Behaviors.task(main), "t")
        event = await anext(events)
        assert (event.ref, type(event.exception)) == (ref, LookupError)
        await system.wait_stopped(ref)


async def test_pipe_to_self_brings_the_result_or_the_failure_as_a_message(system: ActorSystem) -> None:
    seen: list[str] = []

    async def double(number: int) -> int:
        await trio.lowlevel.checkpoint()
        return 4 // number

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "go":
            for number in (2, 0):
                ctx.pipe_to_self(double, number, mapper=str, on_failure=lambda error: type(error).__name__)
        return Behaviors.same()

    system.spawn(Behaviors.receive(handle), "t").tell("go")
    await trio.testing.wait_all_tasks_blocked()
    assert seen[0] == "go"
    assert sorted(seen[1:]) == ["2", "ZeroDivisionError"]


async def test_pipe_to_self_without_a_mapper_brings_the_result_itself(system: ActorSystem) -> None:
    seen: list[str] = []

    async def fetch() -> str:
        return "fetched"

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        seen.append(message)
        if message == "go":
            ctx.pipe_to_self(fetch)
        elif message == "coroutine":
            with pytest.raises(TypeError, match="not a coroutine|async function"):
                ctx.pipe_to_self("fetch")  # type: ignore[call-overload]  # the mistake under test
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "t")
    tell_all(ref, "go", "coroutine")
    await trio.testing.wait_all_tasks_blocked()
    assert sorted(seen) == ["coroutine", "fetched", "go"]


async def test_a_failure_that_nobody_maps_is_the_actors_failure(system: ActorSystem) -> None:
    async def fetch() -> str:
        raise LookupError

    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        ctx.pipe_to_self(fetch)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(handle), "t")
    ref.tell("go")
    await system.wait_stopped(ref)


async def test_an_adapter_maps_for_its_actor_and_ends_with_it(system: ActorSystem) -> None:
    seen: list[str] = []

    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        numbers = ctx.message_adapter(str, int)
        numbers.tell(1)
        await numbers.send(2)
        assert LocalTransport(ctx.system).deliver(numbers.path, numbers.address.uid, 3) is None
        paths.append(numbers.path)
        return recording(seen)

    paths: list[str] = []
    ref = system.spawn(Behaviors.setup(make), "t")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == ["1", "2", "3"]
    assert system.lookup(paths[0]) is not None
    await stop_and_wait(system, ref)
    assert system.lookup(paths[0]) is None


async def test_an_adapter_that_raises_fails_its_actor_and_not_the_sender(system: ActorSystem) -> None:
    async def make(ctx: ActorContext[str]) -> Behavior[str]:
        adapters.append(ctx.message_adapter(lambda number: str(1 // number), int))
        return Behaviors.ignore()

    adapters: list[object] = []
    ref = system.spawn(Behaviors.setup(make), "t")
    await trio.testing.wait_all_tasks_blocked()
    adapters[0].tell(0)  # type: ignore[attr-defined]  # an adapter
    await system.wait_stopped(ref)


async def test_the_log_of_a_context_names_its_actor(caplog: pytest.LogCaptureFixture) -> None:
    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        ctx.log.warning("got %s", message)
        return Behaviors.same()

    async with ActorSystem() as system:
        system.spawn(Behaviors.receive(handle), "t").tell("it")
        await trio.testing.wait_all_tasks_blocked()
    (record,) = caplog.records
    assert record.getMessage() == "[/t] got it"
    assert record.__dict__["actor_path"] == "/t"


def test_a_path_with_percent_signs_is_no_format_of_a_log_line(caplog: pytest.LogCaptureFixture) -> None:
    log = ActorLog("/carts/a%20b%d")
    log.warning("got %s, %d", "it", 1)
    log.warning("100 %")
    log.warning({"a": 1})
    assert [record.getMessage() for record in caplog.records] == [
        "[/carts/a%20b%d] got it, 1",
        "[/carts/a%20b%d] 100 %",
        "[/carts/a%20b%d] {'a': 1}",
    ]


async def test_drive_performs_the_effects_of_each_event_in_order(system: ActorSystem) -> None:
    performed: list[str] = []

    class Doubling:
        def handle(self, event: int, now: float) -> Sequence[str]:
            return [f"{event}a", f"{event}b"]

    async def main(ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        await drive(Doubling(), inbox, performed.append)

    ref = system.spawn(Behaviors.task(main), "t")
    tell_all(ref, 1, 2)
    await trio.testing.wait_all_tasks_blocked()
    assert performed == ["1a", "1b", "2a", "2b"]
