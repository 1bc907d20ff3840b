"""Conservation: every message that was told is handled once, or is one dead letter, in any interleaving."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from casty.behaviors import Behaviors
from casty.config import Mailbox, MailboxOverflowStrategy, SystemConfig
from casty.errors import MailboxFull
from casty.runtime.behavior import Behavior
from casty.runtime.context import ActorContext
from casty.runtime.events import DeadLetter, EventStreamSubscribe
from casty.runtime.inbox import Inbox
from casty.runtime.ref import InlineRef, LocalRef
from casty.runtime.system import ActorSystem, kernel_of

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
        st.sampled_from(["tell", "tell", "send", "stop", "respawn", "pause", "fail", "signal"]),
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
                await ref.send(self.told)
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

    with silent_logs():
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    (world,) = worlds
    handled = [message for messages in world.handled.values() for message in messages]
    assert sorted([*handled, *world.dead, *world.rejected]) == list(range(1, world.told + 1))
    for messages in world.handled.values():
        assert messages == sorted(messages), "one sender's messages stay in order"
    assert world.system.statistics().actors == 0
