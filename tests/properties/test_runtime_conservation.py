"""Conservation: every message that was told is handled once, or is one dead letter, in any interleaving."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from casty.behaviors import Behaviors
from casty.config import Mailbox, MailboxOverflowStrategy, SystemConfig
from casty.errors import MailboxFull
from casty.protocol.actor.supervision import Restart
from casty.runtime.actor.stash import StashBuffer
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import DeadLetter, EventStreamSubscribe
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.named_refs import InlineRef
from casty.runtime.messaging.ref import LocalRef
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, kernel_of

ACTORS = 3


@dataclass(frozen=True)
class Step:
    """One thing that somebody does to one actor."""

    verb: str
    target: int
    amount: int


steps = st.lists(
    st.builds(
        Step,
        st.sampled_from(
            ["tell", "tell", "send", "send briefly", "stop", "respawn", "pause", "fail", "signal", "restart"]
        ),
        st.integers(0, ACTORS - 1),
        st.integers(1, 80),
    ),
    max_size=25,
)


class World:
    """The actors, and a ledger of what was told and what became of it."""

    def __init__(self, system: ActorSystem, mailbox: Mailbox, *, task_style: bool, slow: bool) -> None:
        self.system = system
        self.mailbox = mailbox
        self.task_style = task_style
        self.slow = slow
        self.told = 0
        self.withdrawn: list[int] = []
        self.rejected: list[int] = []
        self.handled: dict[str, list[int]] = {}
        self.dead: list[int] = []
        kernel = kernel_of(system)
        auditor = InlineRef(kernel, "/_auditor", kernel.next_uid(), self.audit)
        system.event_stream.tell(EventStreamSubscribe(DeadLetter, auditor))
        self.refs = [self.spawn(number) for number in range(ACTORS)]

    def audit(self, letter: DeadLetter) -> None:
        assert isinstance(letter.message, int)
        self.dead.append(letter.message)

    async def handle(self, ctx: ActorContext[int], message: int) -> Behavior[int]:
        if message < 0:
            return Behaviors.restart()
        self.handled.setdefault(f"{ctx.self.path}#{ctx.self.address.uid}", []).append(message)
        if self.slow and message % 3 == 0:
            await trio.sleep(0.01)
        return Behaviors.same()

    async def main(self, ctx: ActorContext[int], inbox: Inbox[int]) -> None:
        async for message in inbox:
            await self.handle(ctx, message)

    def spawn(self, number: int) -> LocalRef[int]:
        behavior = Behaviors.task(self.main) if self.task_style else Behaviors.receive(self.handle)
        ref = self.system.spawn(behavior, f"a{number}", mailbox=self.mailbox)
        assert isinstance(ref, LocalRef)
        return ref

    def check_counters(self) -> None:
        """Every message that was sent is delivered, dropped, rejected or unread, by the system's own counters."""
        counted = self.system.statistics()
        delivered = counted.messages_delivered - counted.signals_delivered
        dropped = sum(counted.dead_letters.values())
        sent = self.told - len(self.withdrawn)
        assert sent == delivered + dropped + counted.messages_rejected + counted.mailbox_size

    async def do(self, step: Step) -> None:
        ref = self.refs[step.target]
        match step.verb:
            case "tell":
                for _ in range(step.amount):
                    self.told += 1
                    try:
                        ref.tell(self.told)
                    except MailboxFull:
                        self.rejected.append(self.told)
            case "send":
                self.told += 1
                try:
                    await ref.send(self.told)
                except MailboxFull:
                    self.rejected.append(self.told)
            case "send briefly":
                self.told += 1
                with trio.move_on_after(step.amount / 10_000) as scope:
                    try:
                        await ref.send(self.told)
                    except MailboxFull:
                        self.rejected.append(self.told)
                if scope.cancelled_caught:
                    self.withdrawn.append(self.told)
            case "restart":
                ref.cell.signal(-1)
            case "stop":
                self.system.stop(ref)
            case "fail":
                ref.cell.fail_from_outside(ValueError("drawn"))
            case "signal":
                ref.cell.mailbox.wake()
            case "respawn":
                self.system.stop(ref)
                await self.system.wait_stopped(ref)
                self.refs[step.target] = self.spawn(step.target)
            case _:
                await trio.sleep(step.amount / 1000)


@contextmanager
def silent_logs() -> Iterator[None]:
    """Keep the tracebacks of the drawn failures out of the report."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


@given(
    plan=steps,
    capacity=st.sampled_from([1, 2, 7, 1000]),
    overflow=st.sampled_from(MailboxOverflowStrategy),
    task_style=st.booleans(),
    slow=st.booleans(),
)
def test_every_message_is_handled_once_or_is_one_dead_letter(
    plan: list[Step], capacity: int, overflow: MailboxOverflowStrategy, task_style: bool, slow: bool
) -> None:
    worlds: list[World] = []

    async def main() -> None:
        async with ActorSystem(config=SystemConfig(stop_timeout=3.0)) as system:
            world = World(system, Mailbox(capacity, overflow), task_style=task_style, slow=slow)
            worlds.append(world)
            for step in plan:
                await world.do(step)
                if not slow:  # then nobody is in the midst of a batch once all tasks are blocked
                    await trio.testing.wait_all_tasks_blocked()
                    world.check_counters()

    with silent_logs():
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    (world,) = worlds
    handled = [message for messages in world.handled.values() for message in messages]
    outcomes = [*handled, *world.dead, *world.rejected, *world.withdrawn]
    assert sorted(outcomes) == list(range(1, world.told + 1))
    world.check_counters()
    for messages in world.handled.values():
        assert messages == sorted(messages), "one sender's messages stay in order"
    assert world.system.statistics().actors == 0


@given(
    plan=st.lists(st.sampled_from(["message", "message", "unstash", "some", "fail", "restart"]), max_size=30),
    capacity=st.integers(1, 5),
    task_style=st.booleans(),
)
def test_what_is_stashed_is_unread_until_it_is_handled_or_a_dead_letter(
    plan: list[str], capacity: int, task_style: bool
) -> None:
    stashes: list[StashBuffer[str]] = []
    handled: list[str] = []
    again: set[str] = set()

    def take(message: str) -> Behavior[str]:
        """Stash messages while there is room, and handle them when they come again."""
        stash = stashes[-1]
        match message.split():
            case ["message", _] if not stash.is_full and message not in again:
                again.add(message)
                stash.stash(message)
            case ["message", _]:
                handled.append(message)
            case ["unstash", _]:
                return stash.unstash_all(Behaviors.same())
            case ["some", _]:
                stash.unstash(2)
            case ["restart", _]:
                return Behaviors.restart()
            case _:
                raise ValueError("drawn")
        return Behaviors.same()

    async def main() -> None:
        async with ActorSystem() as system:
            behavior = (
                Behaviors.task(StashingTask(stashes, take, capacity).main)
                if task_style
                else stashing(stashes, take, capacity)
            )
            strategy = Restart(None, backoff_min=0.0)
            ref = system.spawn(Behaviors.supervise(behavior, strategy), "a")
            for number, verb in enumerate(plan):
                ref.tell(f"{verb} {number}")
                await trio.testing.wait_all_tasks_blocked()
                assert_balanced(system, number + 1)
        assert_balanced(system, len(plan))

    with silent_logs():
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(handled) == len(set(handled)), "nothing is handled twice"


def assert_balanced(system: ActorSystem, sent: int) -> None:
    counted = system.statistics()
    assert sent == counted.messages_delivered + sum(counted.dead_letters.values()) + counted.mailbox_size


def stashing(stashes: list[StashBuffer[str]], take: Callable[[str], Behavior[str]], capacity: int) -> Behavior[str]:
    async def handle(ctx: ActorContext[str], message: str) -> Behavior[str]:
        return take(message)

    async def make(stash: StashBuffer[str]) -> Behavior[str]:
        stashes.append(stash)
        return Behaviors.receive(handle)

    return Behaviors.with_stash(capacity, make)


class StashingTask:
    """The same as a task, which ends where a handler would restart."""

    def __init__(self, stashes: list[StashBuffer[str]], take: Callable[[str], Behavior[str]], capacity: int) -> None:
        self._capacity = capacity
        self._stashes = stashes
        self._take = take

    async def main(self, ctx: ActorContext[str], inbox: Inbox[str]) -> None:
        self._stashes.append(ctx.stash_buffer(self._capacity))
        async for message in inbox:
            if "restart" in message:
                raise ValueError(message)
            self._take(message)
