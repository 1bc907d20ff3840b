"""Stopping: the order, the bounds, and what happens to messages and names."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing
from helpers.behaviors import hanging, stop_and_wait, tell_all
from helpers.messages import GetText

from casty.behaviors import Behaviors
from casty.config import SystemConfig
from casty.errors import ActorStoppedError
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import ActorStopped, DeadLetter, EventStreamSubscribe
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, kernel_of, spawn_system_actor


def noting(order: list[str], *, children: dict[str, Behavior[object]] | None = None) -> Behavior[object]:
    """Spawn the children at the start and note the own stop."""

    async def make(ctx: ActorContext[object]) -> Behavior[object]:
        for name, child in (children or {}).items():
            ctx.spawn(child, name)
        return Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=stop)

    async def stop(ctx: ActorContext[object]) -> None:
        order.append(ctx.self.path)

    return Behaviors.setup(make)


async def test_children_end_before_their_parent_at_any_depth(system: ActorSystem) -> None:
    order: list[str] = []
    leaf = noting(order)
    ref = system.spawn(noting(order, children={"b": noting(order, children={"c": leaf})}), "a")
    await trio.testing.wait_all_tasks_blocked()
    await stop_and_wait(system, ref)
    assert order == ["/a/b/c", "/a/b", "/a"]


async def test_users_actors_end_before_system_actors_and_the_event_stream_sees_both() -> None:
    order: list[str] = []
    stopped: list[str] = []
    async with ActorSystem() as system, trio.open_nursery() as nursery:

        async def listen() -> None:
            async with system.events(ActorStopped) as events:
                async for event in events:
                    stopped.append(event.ref.path)

        nursery.start_soon(listen)
        spawn_system_actor(system, noting(order), "_first")
        system.spawn(noting(order, children={"child": noting(order)}), "user")
        await trio.testing.wait_all_tasks_blocked()
        await system.shutdown()
    assert order == ["/user/child", "/user", "/_first"]
    assert stopped == order


async def test_the_message_in_hand_finishes_and_the_rest_become_dead_letters(autojump_clock: object) -> None:
    handled: list[int] = []

    async def slow(ctx: ActorContext[int], message: int) -> Behavior[int]:
        await trio.sleep(1)
        handled.append(message)
        return Behaviors.same()

    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = system.spawn(Behaviors.receive(slow), "slow")
        tell_all(ref, *range(3))
        await trio.sleep(0.5)
        await stop_and_wait(system, ref)
        assert handled == [0]
        assert [(await anext(letters)).message for _ in range(2)] == [1, 2]


async def test_a_stuck_handler_is_cancelled_when_its_time_is_over(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    cleaned: list[str] = []

    async def stop(ctx: ActorContext[int]) -> None:
        await trio.sleep(1)
        cleaned.append("done")

    async with ActorSystem(config=SystemConfig(stop_timeout=2.0)) as system:
        ref = system.spawn(Behaviors.with_lifecycle(hanging(), post_stop=stop), "stuck")
        ref.tell(1)
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        await stop_and_wait(system, ref)
        assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
    assert cleaned == ["done"]
    assert "the message in hand of actor /stuck did not end within 2.0 s" in caplog.text


async def test_a_hanging_clean_up_is_cut_off(autojump_clock: object, caplog: pytest.LogCaptureFixture) -> None:
    async def stop(ctx: ActorContext[int]) -> None:
        await trio.sleep_forever()

    async with ActorSystem(config=SystemConfig(stop_timeout=2.0)) as system:
        ref = system.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=stop), "hanging")
        await trio.testing.wait_all_tasks_blocked()
        system.stop(ref)
        with trio.fail_after(2.5):
            await system.wait_stopped(ref)
    assert "the clean-up of actor /hanging did not end within 2.0 s" in caplog.text


async def test_shutdown_is_bounded_and_names_what_hangs(
    autojump_clock: object, caplog: pytest.LogCaptureFixture
) -> None:
    async def stop(ctx: ActorContext[int]) -> None:
        await trio.sleep_forever()

    config = SystemConfig(stop_timeout=60.0, shutdown_timeout=3.0)
    began = trio.current_time()
    async with ActorSystem(config=config) as system:
        system.spawn(hanging(), "stubborn").tell(1)
        system.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=stop), "hanging")
        system.spawn(Behaviors.ignore(), "tame")
        await trio.testing.wait_all_tasks_blocked()
    assert trio.current_time() - began == pytest.approx(3.0, abs=0.1)
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR and "3.0 s" in record.message]
    assert "/stubborn" in record.message
    assert "/hanging" in record.message
    assert "/tame" not in record.message


async def test_stopping_within_a_stop_is_refused_to_spawn() -> None:
    refused: list[str] = []

    async def stop(ctx: ActorContext[object]) -> None:
        try:
            ctx.spawn(Behaviors.ignore(), "late")
        except ActorStoppedError as error:
            refused.append(str(error))

    async with ActorSystem() as system:
        system.spawn(Behaviors.with_lifecycle(Behaviors.ignore(), post_stop=stop), "ending")
        await trio.testing.wait_all_tasks_blocked()
    assert refused == ["cannot spawn /ending/late: it is stopping"]


async def test_a_child_answers_while_the_handler_that_spawned_it_waits() -> None:
    async def answer(ctx: ActorContext[GetText], message: GetText) -> Behavior[GetText]:
        message.reply_to.tell(ctx.self.path)
        return Behaviors.same()

    async def delegate(ctx: ActorContext[GetText], message: GetText) -> Behavior[GetText]:
        child = ctx.spawn(Behaviors.receive(answer), "child")
        path: str = await ctx.ask(child, GetText)
        message.reply_to.tell(f"{path} of {ctx.children}")
        return Behaviors.same()

    async with ActorSystem("names") as system:
        ref = system.spawn(Behaviors.receive(delegate), "parent")
        reply: str = await system.ask(ref, GetText)
    assert reply.startswith("/parent/child of (<LocalRef casty://names/parent/child#0000000000000000.")


async def test_a_stopped_child_leaves_its_parent_and_its_name_is_free(system: ActorSystem) -> None:
    seen: list[object] = []

    async def manage(ctx: ActorContext[str], message: str) -> Behavior[str]:
        child = ctx.spawn(Behaviors.ignore(), "child")
        assert ctx.parent is None
        with pytest.raises(ValueError, match="there is an actor at /parent/child"):
            ctx.spawn(Behaviors.ignore(), "child")
        ctx.stop(child)
        await ctx.system.wait_stopped(child)
        seen.append(ctx.children)
        seen.append(ctx.spawn(Behaviors.ignore(), "child") != child)
        return Behaviors.same()

    system.spawn(Behaviors.receive(manage), "parent").tell("go")
    await trio.testing.wait_all_tasks_blocked()
    assert seen == [(), True]


async def test_an_actor_can_stop_itself_through_its_context(system: ActorSystem) -> None:
    handled: list[int] = []

    async def leave(ctx: ActorContext[int], message: int) -> Behavior[int]:
        handled.append(message)
        ctx.stop(ctx.self)
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(leave), "leaving")
    tell_all(ref, 1, 2)
    await system.wait_stopped(ref)
    assert system.statistics().dead_letters == {"actor stopped": 1}
    assert handled == [1]


async def test_subscribers_that_stopped_are_told_nothing_more(system: ActorSystem) -> None:
    ref = system.spawn(Behaviors.ignore(), "observer")
    system.event_stream.tell(EventStreamSubscribe(object, ref))
    await stop_and_wait(system, ref)
    await trio.testing.wait_all_tasks_blocked()
    before = system.statistics().dead_letters
    kernel_of(system).event_stream.publish("event")
    assert system.statistics().dead_letters == before


async def test_many_waiting_messages_of_a_stopping_actor_are_all_dead_letters(system: ActorSystem) -> None:
    ref = system.spawn(Behaviors.ignore(), "flooded")
    await trio.testing.wait_all_tasks_blocked()
    system.stop(ref)
    tell_all(ref, *range(5000))
    await system.wait_stopped(ref)
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {"actor stopped": 5000}
