"""Ask: one reply, in time, or an error that says so; nothing stays behind."""

from __future__ import annotations

import math
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing
from helpers.behaviors import keeping_askers

from casty.address import ActorAddress
from casty.behaviors import Behaviors
from casty.cluster.remoting.local_transport import LocalTransport
from casty.config import SystemConfig
from casty.errors import AskFailed, AskTimeoutError, NotSent
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import DeadLetter
from casty.runtime.messaging.mailbox import Request
from casty.runtime.messaging.ref import AskableRef, UnsentRequest
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, kernel_of


@dataclass(frozen=True)
class Ask:
    delay: float
    reply_to: ActorRef[str]


async def answer(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
    await trio.sleep(message.delay)
    message.reply_to.tell("answer")
    return Behaviors.same()


async def test_the_reply_comes_back(system: ActorSystem, autojump_clock: object) -> None:
    ref = system.spawn(Behaviors.receive(answer), "a")
    reply: str = await system.ask(ref, lambda reply_to: Ask(1.0, reply_to))
    assert reply == "answer"
    assert system.statistics().asks_pending == 0


async def test_a_late_reply_is_a_dead_letter_and_the_time_out_at_most_a_slice_late(autojump_clock: object) -> None:
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        ref = system.spawn(Behaviors.receive(answer), "a")
        began = trio.current_time()
        with pytest.raises(AskTimeoutError, match=r"no reply from /a within 2\.0 s"):
            await system.ask(ref, lambda reply_to: Ask(3.0, reply_to), timeout=2.0)
        assert 2.0 <= trio.current_time() - began <= 2.03
        letter = await anext(letters)
        assert (letter.message, letter.reason) == ("answer", "ask finished")
        assert system.statistics().asks_pending == 0


async def test_ask_or_none_returns_none_in_place_of_the_error(system: ActorSystem, autojump_clock: object) -> None:
    ref = system.spawn(Behaviors.receive(answer), "a")
    assert await system.ask_or_none(ref, lambda reply_to: Ask(9.0, reply_to), timeout=1.0) is None
    assert await system.ask_or_none(ref, lambda reply_to: Ask(0.0, reply_to), timeout=20.0) == "answer"


async def test_a_cancelled_ask_closes_its_slot_at_once(system: ActorSystem, autojump_clock: object) -> None:
    ref = system.spawn(Behaviors.receive(answer), "a")
    with trio.move_on_after(0.5):
        await system.ask(ref, lambda reply_to: Ask(1.0, reply_to))
    assert system.statistics().asks_pending == 0
    await trio.sleep(2)
    assert system.statistics().dead_letters == {"ask finished": 1}


async def test_only_the_first_reply_counts(system: ActorSystem) -> None:
    async def twice(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
        message.reply_to.tell("first")
        await message.reply_to.send("second")
        return Behaviors.same()

    ref = system.spawn(Behaviors.receive(twice), "a")
    assert await system.ask(ref, lambda reply_to: Ask(0.0, reply_to)) == "first"
    await trio.testing.wait_all_tasks_blocked()
    assert system.statistics().dead_letters == {"ask finished": 1}


async def test_a_factory_that_raises_leaves_no_slot(system: ActorSystem) -> None:
    def broken(reply_to: ActorRef[str]) -> Ask:
        raise LookupError("no such thing")

    ref = system.spawn(Behaviors.receive(answer), "a")
    with pytest.raises(LookupError):
        await system.ask(ref, broken)
    assert system.statistics().asks_pending == 0


@pytest.mark.parametrize("timeout", [math.nan, None, "5"])
async def test_a_time_out_must_be_a_number(system: ActorSystem, timeout: Any) -> None:
    ref = system.spawn(Behaviors.receive(answer), "a")
    with pytest.raises(ValueError, match="timeout must be a number of seconds, math.inf for no limit, got"):
        await system.ask(ref, lambda reply_to: Ask(0.0, reply_to), timeout=timeout)


@pytest.mark.parametrize(
    ("timeout", "was"),
    [(0, "0 s"), (0.0, "0 s"), (-1.5, "over 1.5 s before"), (-math.inf, "over inf s before")],
)
async def test_an_ask_whose_time_is_over_before_is_not_sent(system: ActorSystem, timeout: float, was: str) -> None:
    ref = system.spawn(Behaviors.receive(answer), "a")
    with pytest.raises(AskTimeoutError, match=f"/a was not asked: the time for its reply was {was}$"):
        await system.ask(ref, lambda reply_to: Ask(0.0, reply_to), timeout=timeout)
    assert await system.ask_or_none(ref, lambda reply_to: Ask(0.0, reply_to), timeout=timeout) is None
    await trio.testing.wait_all_tasks_blocked()
    statistics = system.statistics()
    assert (statistics.asks_timed_out, statistics.asks_pending, statistics.messages_delivered) == (2, 0, 0)


async def test_what_is_left_of_a_deadline_can_be_given_as_a_time_out(
    system: ActorSystem, autojump_clock: object
) -> None:
    async def relay(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
        await trio.sleep(message.delay)
        with suppress(AskTimeoutError):
            left = ctx.deadline - trio.current_time()
            message.reply_to.tell(await ctx.ask(back, lambda reply_to: Ask(0.0, reply_to), timeout=left))
        return Behaviors.same()

    back = system.spawn(Behaviors.receive(answer), "back")
    front = system.spawn(Behaviors.receive(relay), "front")
    for delay, found in ((0.1, "answer"), (0.4, None), (0.1, "answer")):
        assert await system.ask_or_none(front, partial(Ask, delay), timeout=0.3) == found
        await trio.sleep(1)


async def test_an_endless_time_out_waits(system: ActorSystem, autojump_clock: object) -> None:
    ref = system.spawn(Behaviors.receive(answer), "a")
    assert await system.ask(ref, lambda reply_to: Ask(9999.0, reply_to), timeout=math.inf) == "answer"


async def test_an_actor_asks_inside_its_handler(system: ActorSystem) -> None:
    async def forward(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
        target = ctx.system.lookup("/a")
        assert target is not None
        reply: str = await ctx.ask(target.of(Ask), lambda reply_to: Ask(0.0, reply_to))
        message.reply_to.tell(f"forwarded {reply}")
        return Behaviors.same()

    system.spawn(Behaviors.receive(answer), "a")
    ref = system.spawn(Behaviors.receive(forward), "b")
    assert await system.ask(ref, lambda reply_to: Ask(0.0, reply_to)) == "forwarded answer"


async def test_the_slot_is_reached_by_its_path_once() -> None:
    slots: list[ActorRef[str]] = []

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(keeping_askers(slots), "a")

        async def ask() -> None:
            assert await system.ask(ref, lambda reply_to: Ask(0.0, reply_to)) == "from afar"

        nursery.start_soon(ask)
        await trio.testing.wait_all_tasks_blocked()
        address = slots[0].address
        assert address.path.startswith("/_ask/")
        assert LocalTransport(system).deliver(address.path, address.uid ^ 1, "wrong number") is None
        assert LocalTransport(system).deliver(address.path, 0, "no number") is None
        assert system.lookup(address.path) is None
        assert LocalTransport(system).deliver(address.path, address.uid, "from afar") is None
        assert LocalTransport(system).deliver(address.path, address.uid, "again") is None
        assert system.statistics().dead_letters == {"ask finished": 3}
        assert kernel_of(system).ref_for(address.path, address.uid) == slots[0]


@pytest.mark.parametrize("path", ["/_ask/", "/_ask/x", "/_ask/-1", "/_ask/²", "/_ask/" + "9" * 10_000, "/nobody"])
async def test_a_path_from_the_network_that_means_nobody_is_refused(system: ActorSystem, path: str) -> None:
    assert LocalTransport(system).deliver(path, 0, "x") is not None
    assert system.statistics().dead_letters == {}


async def test_ten_thousand_asks_leave_nothing_behind(system: ActorSystem) -> None:
    ref = system.spawn(Behaviors.receive(answer_now), "a")
    for _ in range(10_000):
        await system.ask(ref, lambda reply_to: Ask(0.0, reply_to))
    assert system.statistics().asks_pending == 0
    wheel = kernel_of(system).wheel
    assert len(wheel) == 0 or (len(wheel) == 1 and wheel.newest is not None and not wheel.newest.slots)


async def test_quick_asks_with_a_long_time_out_keep_no_timers(system: ActorSystem, autojump_clock: object) -> None:
    ref = system.spawn(Behaviors.receive(answer), "a")
    for number in range(1_000):
        await system.ask(ref, lambda reply_to: Ask(0.05, reply_to), timeout=60.0 if number % 2 else 90.0)
        assert len(kernel_of(system).wheel) <= 1
        assert system.statistics().timers <= 1
    with pytest.raises(AskTimeoutError):
        await system.ask(ref, lambda reply_to: Ask(61.0, reply_to), timeout=60.0)
    await trio.sleep(100)
    assert (len(kernel_of(system).wheel), system.statistics().timers) == (0, 0)


async def test_the_table_of_many_asks_gives_its_memory_back(system: ActorSystem, autojump_clock: object) -> None:
    async def one(system: ActorSystem, ref: ActorRef[Ask]) -> None:
        await system.ask(ref, lambda reply_to: Ask(0.0, reply_to), timeout=1.0)

    ref = system.spawn(Behaviors.receive(answer), "a")
    async with trio.open_nursery() as nursery:
        for _ in range(10_000):
            nursery.start_soon(one, system, ref)
    await trio.sleep(2)
    assert sys.getsizeof(kernel_of(system).asks) == sys.getsizeof({})


async def test_asks_that_time_out_together_and_those_that_are_answered_leave_the_wheel(autojump_clock: object) -> None:
    late: list[int] = []

    async def one(system: ActorSystem, ref: ActorRef[Ask], number: int) -> None:
        reply = await system.ask_or_none(ref, lambda reply_to: Ask(number / 10, reply_to), timeout=20.0)
        if reply is None:
            late.append(number)

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        for number in range(20):
            ref = system.spawn(Behaviors.receive(answer), f"a{number}")
            nursery.start_soon(one, system, ref, number * 20)
        await trio.sleep(1)
        assert len(kernel_of(system).wheel) == 1
        await trio.sleep(60)
        assert sorted(late) == list(range(220, 400, 20))
        assert (len(kernel_of(system).wheel), system.statistics().timers) == (0, 0)


async def addresses_of_asks(config: SystemConfig) -> list[int]:
    """Return the numbers that tell the slots of a thousand asks apart."""
    numbers: list[int] = []

    async def note(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
        numbers.append(message.reply_to.address.uid)
        message.reply_to.tell("noted")
        return Behaviors.same()

    async with ActorSystem(config=config) as system:
        ref = system.spawn(Behaviors.receive(note), "a")
        for _ in range(1_000):
            await system.ask(ref, lambda reply_to: Ask(0.0, reply_to))
    return numbers


async def test_the_address_of_an_ask_is_random_and_with_a_seed_repeatable() -> None:
    first, second = await addresses_of_asks(SystemConfig()), await addresses_of_asks(SystemConfig())
    assert len({*first, *second}) == 2_000
    assert max(first).bit_length() > 60
    seeded = await addresses_of_asks(SystemConfig(seed=7))
    assert seeded == await addresses_of_asks(SystemConfig(seed=7))
    assert seeded != await addresses_of_asks(SystemConfig(seed=8))


async def answer_now(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
    message.reply_to.tell("answer")
    return Behaviors.same()


async def test_an_ask_does_not_outlive_its_system(autojump_clock: object) -> None:
    failures: list[str] = []

    async def ask(system: ActorSystem, ref: ActorRef[Ask]) -> None:
        with pytest.raises(AskFailed) as failed:
            await system.ask(ref, lambda reply_to: Ask(0.0, reply_to), timeout=60.0)
        failures.append(str(failed.value))

    async with ActorSystem("other") as other, trio.open_nursery() as nursery:
        silent = other.spawn(Behaviors.ignore(), "silent")
        async with ActorSystem("mine") as mine:
            nursery.start_soon(ask, mine, silent)
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()
        assert failures == ["no reply in time: the system 'mine' has ended"]
        await ask(mine, silent)
        assert failures[1:] == ["no reply from /silent: the system 'mine' has ended"]
        assert mine.statistics().asks_pending == 0


@dataclass
class Far(AskableRef[Ask], UnsentRequest):
    """A ref to an actor of another node, to which there is room after so many seconds."""

    room_after: float
    sent: list[float]

    @property
    def address(self) -> ActorAddress:
        return ActorAddress("elsewhere", "/far", "host", 1)

    def request(self, request: Request) -> UnsentRequest:
        return self

    def tell(self, message: object = None) -> None:
        raise AssertionError("an ask waits")

    async def send(self, message: object = None) -> None:
        await trio.sleep(self.room_after)
        self.sent.append(trio.current_time())

    def give_up(self, timeout: float) -> NotSent:
        return NotSent(f"not sent within {timeout} s")


async def test_an_ask_waits_for_room_and_for_the_reply_in_one_time_out(
    system: ActorSystem, autojump_clock: object
) -> None:
    began = trio.current_time()
    for room_after, told in ((0.5, "no reply from /far within 1.0 s"), (2.0, "not sent within 1.0 s")):
        far = Far(room_after, [])
        with pytest.raises(AskTimeoutError, match=f"^{told}$") as failed:
            await system.ask(far, partial(Ask, 0.0), timeout=1.0)
        assert failed.value.certainly_not_handled is (room_after > 1)
        assert len(far.sent) == (room_after < 1)
    assert 2.0 <= trio.current_time() - began <= 2.05
    assert (system.statistics().asks_timed_out, system.statistics().asks_pending) == (2, 0)


async def test_an_ask_that_is_cancelled_before_there_was_room_leaves_nothing(
    system: ActorSystem, autojump_clock: object
) -> None:
    far = Far(2.0, [])
    with trio.move_on_after(0.5) as scope:
        await system.ask(far, partial(Ask, 0.0), timeout=math.inf)
    assert scope.cancelled_caught
    assert (far.sent, system.statistics().asks_pending) == ([], 0)
    assert (len(kernel_of(system).wheel), system.statistics().timers) == (0, 0)


async def test_an_ask_that_is_refused_while_it_waits_for_room_is_not_late(
    system: ActorSystem, autojump_clock: object
) -> None:

    async def later() -> None:
        await trio.sleep(0.5)
        for slot in list(kernel_of(system).asks.values()):
            slot.refuse(AskFailed("for another cause"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(later)
        with pytest.raises(AskFailed, match="for another cause"):
            await system.ask(Far(9.0, []), partial(Ask, 0.0), timeout=1.0)
    assert system.statistics().asks_pending == 0
