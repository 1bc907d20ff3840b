"""The stash: what is set aside comes again in order, and has an outcome whatever happens to the actor."""

from __future__ import annotations

import pytest
import trio
import trio.testing
from helpers.behaviors import stop_and_wait, tell_all
from trio.testing import wait_all_tasks_blocked as settle

from casty.behaviors import Behaviors
from casty.errors import ActorStoppedError, AskFailed, StashOverflowError
from casty.protocol.actor.supervision import Restart, Resume
from casty.refs import ActorRef
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import ActorFailed, DeadLetter
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem
from casty.testing import BehaviorTestKit

Seen = list[str]


def door(seen: Seen, capacity: int = 10, fail_on: str = "fail") -> Behavior[str]:
    """Stash everything until "open", then note it; "close" closes again, "fail" fails."""

    async def make(stash: StashBuffer[str]) -> Behavior[str]:
        async def closed(ctx: ActorContext[str], message: str) -> Behavior[str]:
            if message == "open":
                return stash.unstash_all(Behaviors.receive(opened))
            if message == fail_on:
                raise ValueError(message)
            stash.stash(message)
            return Behaviors.same()

        async def opened(ctx: ActorContext[str], message: str) -> Behavior[str]:
            seen.append(message)
            return Behaviors.receive(closed) if message == "close" else Behaviors.same()

        return Behaviors.receive(closed)

    return Behaviors.with_stash(capacity, make)


async def test_what_was_stashed_comes_again_in_order_and_before_the_mailbox(system: ActorSystem) -> None:
    seen: Seen = []
    ref = system.spawn(door(seen), "door")
    tell_all(ref, "a", "b", "open", "c")
    await settle()
    assert seen == ["a", "b", "c"]


async def test_a_door_that_closes_again_keeps_the_rest_of_what_it_had_stashed_in_order(system: ActorSystem) -> None:
    seen: Seen = []
    ref = system.spawn(door(seen), "door")
    tell_all(ref, "a", "close", "b", "open", "c")
    await settle()
    assert seen == ["a", "close"]
    ref.tell("open")
    await settle()
    assert seen == ["a", "close", "b", "c"]


async def test_a_full_stash_fails_the_handler_and_says_what_to_do() -> None:
    async with ActorSystem() as system, system.events(ActorFailed) as failures:
        ref = system.spawn(Behaviors.supervise(door([], 2), Resume()), "door")
        tell_all(ref, "a", "b", "c")
        error = (await anext(failures)).exception
        assert isinstance(error, StashOverflowError)
        assert "the stash of /door is full (2 messages)" in str(error)
        assert "is_full" in str(error)


async def test_a_stash_without_room_for_anything_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        door([], 0)


async def test_what_is_stashed_when_the_actor_stops_is_one_dead_letter_each() -> None:
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = system.spawn(door([]), "door")
        tell_all(ref, "a", "b")
        await settle()
        await stop_and_wait(system, ref)
        assert [(await anext(letters)).message for _ in range(2)] == ["a", "b"]
        assert system.statistics().dead_letters == {"actor stopped": 2}


async def test_what_is_stashed_goes_back_in_front_of_the_mailbox_at_a_restart(system: ActorSystem) -> None:
    seen: Seen = []
    ref = system.spawn(Behaviors.supervise(door(seen), Restart(backoff_min=0.0)), "door")
    tell_all(ref, "a", "b", "fail", "c", "open", "d")
    await settle()
    assert seen == ["a", "b", "c", "d"]
    assert system.statistics().dead_letters == {}


async def test_what_is_stashed_stays_when_the_actor_resumes(system: ActorSystem) -> None:
    seen: Seen = []
    ref = system.spawn(Behaviors.supervise(door(seen), Resume()), "door")
    tell_all(ref, "a", "fail", "b", "open")
    await settle()
    assert seen == ["a", "b"]


async def test_who_asked_with_a_stashed_request_is_told_when_the_actor_stops() -> None:
    async def make(stash: StashBuffer[ActorRef[int]]) -> Behavior[ActorRef[int]]:
        async def later(ctx: ActorContext[ActorRef[int]], message: ActorRef[int]) -> Behavior[ActorRef[int]]:
            stash.stash(message)
            return Behaviors.same()

        return Behaviors.receive(later)

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.with_stash(5, make), "later")

        def request(reply_to: ActorRef[int]) -> ActorRef[int]:
            return reply_to

        async def expect_failure() -> None:
            with pytest.raises(AskFailed) as caught:
                await system.ask(ref, request)
            assert isinstance(caught.value.__cause__, ActorStoppedError)

        nursery.start_soon(expect_failure)
        await settle()
        system.stop(ref)


async def test_a_task_stashes_and_takes_again(system: ActorSystem) -> None:
    seen: Seen = []

    async def main(ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        stash = ctx.stash_buffer(5)
        ready = False
        async for message in inbox:
            if message == "ready":
                ready = True
                stash.unstash_all()
            elif ready:
                seen.append(message)
            else:
                stash.stash(message)

    ref = system.spawn(Behaviors.task(main), "task")
    tell_all(ref, "a", "b", "ready", "c")
    await settle()
    assert seen == ["a", "b", "c"]


async def test_a_task_beside_the_handlers_wakes_the_actor_when_it_unstashes(system: ActorSystem) -> None:
    seen: Seen = []
    gate = trio.Event()

    async def make(stash: StashBuffer[str]) -> Behavior[str]:
        async def release() -> None:
            await gate.wait()
            stash.unstash_all()

        async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
            if gate.is_set():
                seen.append(message)
            else:
                stash.stash(message)
                ctx.start_soon(release)
            return Behaviors.same()

        return Behaviors.receive(handle)

    system.spawn(Behaviors.with_stash(5, make), "a").tell("a")
    await settle()
    gate.set()
    await settle()
    assert seen == ["a"]


async def test_some_are_unstashed_and_the_rest_stays(system: ActorSystem, autojump_clock: object) -> None:
    seen: Seen = []
    sizes: list[tuple[int, bool, bool, list[str]]] = []

    async def make(stash: StashBuffer[str]) -> Behavior[str]:
        async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
            if message == "one":
                sizes.append((len(stash), bool(stash), stash.is_full, list(stash)))
                stash.unstash(1)
            elif ctx.is_timer_active("opened"):
                seen.append(message)
            else:
                stash.stash(message)
                if stash.is_full:
                    ctx.schedule_once("late", 1.0, key="opened")
            return Behaviors.same()

        return Behaviors.receive(handle)

    ref = system.spawn(Behaviors.with_stash(3, make), "a")
    tell_all(ref, "a", "b", "c", "one", "d")
    await settle()
    assert seen == ["a", "d"]
    assert sizes == [(3, True, True, ["a", "b", "c"])]


async def test_a_signal_that_unstashes_goes_before_the_message_that_was_taken_meanwhile(
    system: ActorSystem,
    autojump_clock: object,
) -> None:
    seen: Seen = []

    async def make(stash: StashBuffer[str]) -> Behavior[str]:
        async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
            if message == "work":
                ctx.schedule_once("open", 0.5)
                await trio.sleep(1.0)
            elif message == "open":
                stash.unstash_all()
                seen.append("open")
            elif "open" in seen:
                seen.append(message)
            else:
                stash.stash(message)
            return Behaviors.same()

        return Behaviors.receive(handle)

    ref = system.spawn(Behaviors.with_stash(3, make), "a")
    tell_all(ref, "a", "b", "work", "c")
    await trio.sleep(2)
    assert seen == ["open", "a", "b", "c"]


def test_the_kit_hands_what_was_unstashed_to_the_behaviour() -> None:
    seen: Seen = []
    kit = BehaviorTestKit(door(seen, 2))
    kit.run("a")
    kit.run("b")
    with pytest.raises(StashOverflowError):
        BehaviorTestKit(door(seen, 1)).run("a"), kit.run("c")
    kit = BehaviorTestKit(door(seen, 2))
    kit.run("a")
    kit.run("b")
    kit.run("open")
    assert kit.run_own() == 2
    assert seen == ["a", "b"]
