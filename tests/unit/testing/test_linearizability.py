"""Histories of clients: those that one object could have answered pass, and each kind of lie is found and explained."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import trio

from casty import (
    ActorContext,
    ActorRef,
    ActorSystem,
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    NotSent,
)
from casty.testing import History, HistoryUndecided, NotLinearizable, Operation, check_linearizable

GOOD_HISTORIES = 10_000
MUTATED_HISTORIES = 300
KEYS = ("x", "y")


@dataclass(frozen=True)
class Add:
    amount: int
    reply_to: ActorRef[int] | None = None


@dataclass(frozen=True)
class Get:
    reply_to: ActorRef[int] | None = None


@dataclass(frozen=True)
class Put:
    value: int


@dataclass(frozen=True)
class Cart:
    """State with a dict in it, which cannot be hashed."""

    items: dict[int, int] = field(default_factory=dict[int, int])


def counter(count: int, command: Add | Get | Put) -> tuple[int, int]:
    match command:
        case Add(amount):
            return count + amount, count + amount
        case Get():
            return count, count
        case Put(value):
            return value, count


def cart(state: Cart, command: Add | Get | Put) -> tuple[Cart, dict[int, int]]:
    match command:
        case Add(amount):
            items = {**state.items, amount: state.items.get(amount, 0) + 1}
            return Cart(items), items
        case Get():
            return state, state.items
        case Put(value):
            return Cart({value: 1}), {value: 1}


def draw_command(rng: random.Random) -> Add | Get | Put:
    """Return a command; amounts are powers of two, so that most sums say what is in them."""
    return rng.choice((Add(2 ** rng.randrange(10)), Get(), Add(2 ** rng.randrange(10)), Put(-rng.randrange(1_000))))


def draw(
    rng: random.Random, model: Callable[[Any, Any], tuple[Any, Any]] = counter, initial: object = 0
) -> list[Operation]:
    """Return a history that one object of each key gave: moments are drawn first, calls and replies around them."""
    drawn = list[tuple[str, object, float, float | None, object]]()
    for key in KEYS:
        state = initial
        moments = sorted(rng.uniform(0, 100) for _ in range(rng.randrange(1, 12)))
        for moment in moments:
            command = draw_command(rng)
            called, returned = moment - rng.expovariate(0.3), moment + rng.expovariate(0.3)
            if rng.random() < 0.1:  # of unknown outcome: it happened in half of the cases
                if rng.random() < 0.5:
                    state, _ = model(state, command)
                drawn.append((key, command, called, None, None))
                continue
            state, reply = model(state, command)
            drawn.append((key, command, called, returned, reply))
    times = sorted({at for _, _, called, returned, _ in drawn for at in (called, returned) if at is not None})
    rank = {at: place for place, at in enumerate(times)}
    operations = [
        Operation(key, command, rank[called], None if returned is None else rank[returned], reply)
        for key, command, called, returned, reply in drawn
    ]
    rng.shuffle(operations)
    return operations


def test_ten_thousand_good_histories_pass() -> None:
    rng = random.Random(1)
    for _ in range(GOOD_HISTORIES):
        check_linearizable(draw(rng), counter, initial=0)


def test_states_may_hold_dicts() -> None:
    rng = random.Random(2)
    for _ in range(500):
        check_linearizable(draw(rng, cart, Cart()), cart, initial=Cart())


def sequential(rng: random.Random, length: int = 12) -> list[Operation]:
    """Return a history of one client, one operation after the other."""
    state, operations = 0, list[Operation]()
    for number in range(length):
        command = Add(2**number) if rng.random() < 0.6 else Get()
        state, reply = counter(state, command)
        operations.append(Operation("x", command, 2 * number, 2 * number + 1, reply))
    return operations


def replied(operations: list[Operation], place: int, reply: int) -> list[Operation]:
    operations[place].reply = reply
    return operations


def later(operations: list[Operation], place: int, change: int) -> list[Operation]:
    """Change all replies from one on, as an object would give them whose state had changed."""
    for operation in operations[place:]:
        assert isinstance(operation.reply, int)
        operation.reply += change
    return operations


def adds(operations: list[Operation]) -> list[int]:
    return [place for place, operation in enumerate(operations) if isinstance(operation.command, Add)]


def amount(operation: Operation) -> int:
    assert isinstance(operation.command, Add)
    return operation.command.amount


def lost_update(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Acknowledge a change, and go on without it."""
    place = rng.choice(adds(ops[:-1]))
    return later(ops, place + 1, -amount(ops[place]))


def doubled_update(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    place = rng.choice(adds(ops[:-1]))
    return later(ops, place + 1, amount(ops[place]))


def stale_read(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    place = rng.choice(adds(ops))
    last = ops[-1].returned
    assert last is not None
    return [*ops, Operation("x", Get(), last + 1, last + 2, ops[place].reply - amount(ops[place]))]


def phantom(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Show a change that nobody asked for."""
    return later(ops, rng.randrange(len(ops)), 2**20)


def rolled_back(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Begin again from nothing in the middle."""
    place = rng.choice(adds(ops[:-1]))
    return later(ops, place + 1, -ops[place].reply)


def swapped(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Give two clients each the other's reply."""
    one, two = rng.sample(adds(ops), 2)
    ops[one].reply, ops[two].reply = ops[two].reply, ops[one].reply
    return ops


def reply_before_change(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    place = rng.choice(adds(ops))
    return replied(ops, place, ops[place].reply - amount(ops[place]))


def reply_of_another_key(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    return replied(ops, rng.randrange(len(ops)), 2**30 + rng.randrange(100))


def two_owners(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Answer the second half from another copy of the state as it was a change ago."""
    place = rng.choice(adds(ops[:-1]))
    return later(ops, place + 1, -amount(ops[place]))


def failed_but_happened(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Tell a client that its command was certainly not handled, while it was."""
    place = rng.choice(adds(ops[:-1]))
    return ops[:place] + ops[place + 1 :]


def unknown_twice(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Let a command of unknown outcome happen two times."""
    place = rng.choice(adds(ops[:-1]))
    ops[place].returned = None
    return later(ops, place + 1, amount(ops[place]))


def unknown_undone(rng: random.Random, ops: list[Operation]) -> list[Operation]:
    """Show what a command of unknown outcome did, and then no more."""
    place = rng.choice(adds(ops[:-2]))
    ops[place].returned = None
    return later(ops, place + 2, -amount(ops[place]))


MUTATIONS = (
    lost_update,
    doubled_update,
    stale_read,
    phantom,
    rolled_back,
    swapped,
    reply_before_change,
    reply_of_another_key,
    two_owners,
    failed_but_happened,
    unknown_twice,
    unknown_undone,
)


@pytest.mark.parametrize("mutate", MUTATIONS, ids=lambda mutation: mutation.__name__)
def test_each_kind_of_lie_is_found(mutate: Callable[[random.Random, list[Operation]], list[Operation]]) -> None:
    rng = random.Random(3)
    for _ in range(MUTATED_HISTORIES):
        operations = sequential(rng)
        while len(adds(operations[:-2])) < 2:
            operations = sequential(rng)
        check_linearizable([replace(operation) for operation in operations], counter, initial=0)
        with pytest.raises(NotLinearizable):
            check_linearizable(mutate(rng, operations), counter, initial=0)


def brute(operations: list[Operation], state: int = 0) -> bool:
    """Whether there is an order, by trying them all."""
    completed = [operation for operation in operations if operation.returned is not None]
    if not completed:
        return True
    first = min(operation.returned for operation in completed if operation.returned is not None)
    for operation in operations:
        if operation.called < first:
            then, reply = counter(state, operation.command)
            rest = [other for other in operations if other is not operation]
            if (operation.returned is None or reply == operation.reply) and brute(rest, then):
                return True
    return False


def test_the_judgement_is_that_of_trying_all_orders() -> None:
    rng = random.Random(4)
    found = dict[bool, int]()
    for _ in range(2_000):
        operations = [operation for operation in draw(rng) if operation.key == "x"][:6]
        for operation in operations:
            if rng.random() < 0.15 and operation.returned is not None:
                operation.reply = rng.choice([other.reply for other in operations])
        expected = brute(operations)
        found[expected] = found.get(expected, 0) + 1
        if expected:
            check_linearizable(operations, counter, initial=0)
        else:
            with pytest.raises(NotLinearizable) as caught:
                check_linearizable(operations, counter, initial=0)
            assert not brute(list(caught.value.operations))  # what it shows is enough
    assert min(found.values()) > 200


def test_a_failure_shows_no_more_than_it_needs() -> None:
    operations = [Operation("x", Add(1), 0, 1, 1), *(Operation("x", Get(), 2 + 2 * n, 3 + 2 * n, 1) for n in range(50))]
    operations += [Operation("x", Get(), 200, 201, 0), Operation("x", Add(7), 202, 203, 99)]
    with pytest.raises(NotLinearizable) as caught:
        check_linearizable(operations, counter, initial=0)
    assert caught.value.key == "x"
    assert [operation.reply for operation in caught.value.operations] == [1, 0]
    assert str(caught.value).splitlines()[-1] == "state 1 would have replied 1"


def test_a_stale_read_is_shown_with_the_read_before_it() -> None:
    """A write that is still open explains either read alone."""
    operations = [
        Operation("x", Put(5), 0),
        Operation("x", Get(), 1, 2, 5),
        Operation("x", Get(), 3, 4, 0),
    ]
    with pytest.raises(NotLinearizable) as caught:
        check_linearizable(operations, counter, initial=0)
    assert len(caught.value.operations) == 3


def test_two_owners_that_both_add_from_nothing_are_found() -> None:
    with pytest.raises(NotLinearizable):
        check_linearizable([Operation("x", Add(1), 0, 3, 1), Operation("x", Add(1), 1, 2, 1)], counter, initial=0)


def test_a_search_that_would_not_end_is_given_up() -> None:
    """Sums of twenty additions at one time that come to no reply: each subset is a state of its own."""
    operations = [Operation("x", Add(2**n), n) for n in range(40)]
    operations.append(Operation("x", Get(), 50, 51, -1))
    began = time.process_time()
    with pytest.raises(HistoryUndecided, match="10000 steps were not enough for 41 operations"):
        check_linearizable(operations, counter, initial=0, steps_max=10_000)
    assert time.process_time() - began < 10


def test_a_model_that_returns_no_pair_is_refused() -> None:
    with pytest.raises(TypeError, match="must return a pair of the next state and the reply, got 1"):
        check_linearizable([Operation("x", Get(), 0, 1, 1)], lambda state, command: 1, initial=0)
    with pytest.raises(ValueError, match="steps_max must be at least 1, got 0"):
        check_linearizable([], counter, initial=0, steps_max=0)


def honest(count: int = 0) -> Behavior[Add | Get]:
    async def receive(ctx: ActorContext[Add | Get], message: Add | Get) -> Behavior[Add | Get]:
        nonlocal count
        await trio.lowlevel.checkpoint()
        count, reply = counter(count, message)
        assert message.reply_to is not None
        message.reply_to.tell(reply)
        return Behaviors.same()

    return Behaviors.receive(receive)


def racing() -> Behavior[Add | Get]:
    """Read, wait, and write in tasks of their own: additions at one time are lost."""
    counts = [0]

    async def receive(ctx: ActorContext[Add | Get], message: Add | Get) -> Behavior[Add | Get]:
        ctx.start_soon(handle, message)
        return Behaviors.same()

    async def handle(message: Add | Get) -> None:
        count, reply = counter(counts[0], message)
        await trio.sleep(0.01)
        counts[0] = count
        assert message.reply_to is not None
        message.reply_to.tell(reply)

    return Behaviors.receive(receive)


async def record(behavior: Behavior[Add | Get]) -> History:
    """Return what eight clients saw of one actor."""
    history = History()
    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(behavior, "counter")

        async def client(number: int) -> None:
            for turn in range(5):
                await history.ask(system, ref, partial(Add, 8**number * (turn + 1)))
                await history.ask(system, ref, Get)

        for number in range(4):
            nursery.start_soon(client, number)
    return history


async def test_asks_of_an_actor_are_recorded_and_judged(autojump_clock: object) -> None:
    history = await record(honest())
    assert len(history) == 40
    (key,) = {operation.key for operation in history}
    assert key.startswith("casty://casty-system/counter")
    check_linearizable(history, counter, initial=0)


async def test_an_actor_that_loses_updates_is_found(autojump_clock: object) -> None:
    history = await record(racing())
    with pytest.raises(NotLinearizable, match="no order of these operations explains the last reply"):
        check_linearizable(history, counter, initial=0)


async def test_what_became_of_a_call_is_written_down(autojump_clock: object) -> None:
    history = History()

    async def fail(error: BaseException) -> int:
        raise error

    for error in (AskFailed("lost on the way", "lost"), AskTimeoutError("no reply"), OSError("gone")):
        with pytest.raises(type(error)):
            await history.call("x", str(error), lambda error=error: fail(error))
    for error in (AskFailed("never left", "not_sent"), NotSent("never left")):
        with pytest.raises(type(error)):
            await history.call("x", str(error), lambda error=error: fail(error))
    with trio.move_on_after(1):
        await history.call("x", "cancelled", trio.sleep_forever)
    assert [operation.command for operation in history] == ["lost on the way", "no reply", "gone", "cancelled"]
    assert all(operation.returned is None for operation in history)
    assert repr(history) == "<History operations=4 unknown=4>"


async def test_an_ask_with_a_mistake_in_it_is_no_operation() -> None:
    history = History()
    async with ActorSystem() as system:
        ref = system.spawn(honest(), "counter")
        with pytest.raises(TypeError):
            await history.ask(system, ref, Get())
        with pytest.raises(TypeError):
            await history.ask(system, "counter", Get)
    assert not list(history)
