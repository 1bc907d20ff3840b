"""A probe is an actor whose messages a test awaits."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import trio

from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors
from casty.testing import TestProbe
from casty.testing.inspect import kernel_of


@dataclass(frozen=True)
class Order:
    item: str


@dataclass(frozen=True)
class Bill:
    total: int


async def test_a_probe_receives_in_order_by_type_and_by_value(system: ActorSystem, autojump_clock: object) -> None:
    probe: TestProbe[Order | Bill] = TestProbe(system)
    for message in (Order("tea"), Bill(3), Order("milk")):
        probe.ref.tell(message)
    assert (await probe.expect(Order)).item == "tea"
    assert await probe.expect(Bill(3)) == Bill(3)
    assert probe.messages == (Order("milk"),)
    assert await probe.receive() == Order("milk")


async def test_expect_fails_for_another_message_and_after_the_timeout(
    system: ActorSystem, autojump_clock: object
) -> None:
    probe: TestProbe[Order | Bill] = TestProbe(system, name="till")
    probe.ref.tell(Order("tea"))
    with pytest.raises(AssertionError, match=r"/till expected a message of type Bill, got Order\(item='tea'\)"):
        await probe.expect(Bill)
    probe.ref.tell(Order("tea"))
    with pytest.raises(AssertionError, match=r"/till expected Order\(item='milk'\), got Order\(item='tea'\)"):
        await probe.expect(Order("milk"))
    began = trio.current_time()
    with pytest.raises(AssertionError, match=r"/till expected Bill\(total=1\), got nothing for 2 s"):
        await probe.expect(Bill(1), timeout=2.0)
    assert trio.current_time() - began == pytest.approx(2.0)
    with pytest.raises(AssertionError, match="/till expected a message, got nothing for 3 s"):
        await probe.receive()


async def test_a_message_that_comes_while_the_probe_waits_is_taken_at_once(autojump_clock: object) -> None:
    async with ActorSystem() as system, trio.open_nursery() as nursery:
        probe = TestProbe(system, int)

        async def tell_later() -> None:
            for number in range(3):
                await trio.sleep(1)
                probe.ref.tell(number)

        nursery.start_soon(tell_later)
        began = trio.current_time()
        assert [await probe.expect(int) for _ in range(3)] == [0, 1, 2]
        assert trio.current_time() - began == pytest.approx(3.0)


async def test_silence_is_waited_for_and_a_message_breaks_it(autojump_clock: object) -> None:
    async with ActorSystem() as system, trio.open_nursery() as nursery:
        probe = TestProbe(system, int)
        began = trio.current_time()
        await probe.expect_no_message(5.0)
        assert trio.current_time() - began == pytest.approx(5.0)

        async def tell_later() -> None:
            await trio.sleep(1)
            probe.ref.tell(1)

        nursery.start_soon(tell_later)
        with pytest.raises(AssertionError, match="expected no message for 5 s, got 1"):
            await probe.expect_no_message(5.0)
        with pytest.raises(AssertionError, match=r"expected no message for 0\.1 s, got 1"):
            await probe.expect_no_message()
        assert trio.current_time() - began == pytest.approx(6.0)


async def test_fishing_drops_what_comes_before(system: ActorSystem, autojump_clock: object) -> None:
    probe = TestProbe(system, int)
    for number in range(5):
        probe.ref.tell(number)
    assert await probe.fish_for(lambda number: number > 2) == 3
    assert await probe.receive() == 4
    probe.ref.tell(5)
    with pytest.raises(AssertionError, match=r"fished for 1 s and caught nothing but \[5\]"):
        await probe.fish_for(lambda number: number > 9, timeout=1.0)


async def fail(ctx: ActorContext[str], message: str) -> Behavior[str]:
    raise KeyError(message)


async def test_the_end_of_a_watched_actor_comes_with_its_cause(system: ActorSystem, autojump_clock: object) -> None:
    probe: TestProbe[object] = TestProbe(system)
    failing, idle = system.spawn(Behaviors.receive(fail), "failing"), system.spawn(Behaviors.ignore(), "idle")
    probe.watch(failing)
    failing.tell("broken")
    end = await probe.expect_terminated(failing)
    assert isinstance(end.cause, KeyError)
    with pytest.raises(AssertionError, match="expected the end of /idle, which lives after 1 s"):
        await probe.expect_terminated(idle, timeout=1.0)
    system.stop(idle)
    assert (await probe.expect_terminated(idle)).cause is None
    assert (await probe.expect_terminated(idle)).ref == idle
    assert probe.messages == ()


async def test_the_end_of_an_actor_can_be_awaited_by_its_path(system: ActorSystem, autojump_clock: object) -> None:
    probe: TestProbe[object] = TestProbe(system)
    idle = system.spawn(Behaviors.ignore(), "idle")
    by_path: ActorRef[object] = kernel_of(system).ref_for("/idle", 0)
    probe.watch(by_path)
    system.stop(idle)
    assert (await probe.expect_terminated(by_path)).ref == by_path


async def test_a_probe_can_ask_through_its_ref(system: ActorSystem, autojump_clock: object) -> None:
    async def echo(ctx: ActorContext[ActorRef[str]], message: ActorRef[str]) -> Behavior[ActorRef[str]]:
        message.tell("here")
        return Behaviors.same()

    probe = TestProbe(system, str)
    system.spawn(Behaviors.receive(echo), "echo").tell(probe.ref)
    assert await probe.expect("here") == "here"
    assert repr(probe) == f"<TestProbe {probe.ref.path} messages=0>"


async def test_the_message_type_of_a_probe_is_known_where_messages_come_from_other_nodes(system: ActorSystem) -> None:
    spawned: list[object] = []
    kernel_of(system).hooks.on_spawn = spawned.append
    TestProbe(system, Order)
    TestProbe(system)
    assert spawned == [Order]
