"""A request that will get no reply: whoever asked learns it at once, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import trio
import trio.testing
from helpers.behaviors import keeping_askers, recording
from helpers.systems import Boom

from casty.behaviors import Behaviors
from casty.cluster.remoting.local_transport import LocalTransport
from casty.config import Mailbox, SystemConfig
from casty.errors import ActorStoppedError, AskFailed, MailboxFull
from casty.protocol.actor.supervision import Restart, Resume
from casty.refs import ActorRef
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.events import DeadLetter
from casty.runtime.messaging.ask import REASON_LENGTH_MAX, AskRef, ErrorReply
from casty.runtime.messaging.inbox import Inbox
from casty.runtime.messaging.signals import PoisonPill
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem, kernel_of

QUIET = trio.testing.wait_all_tasks_blocked


@dataclass(frozen=True)
class Ask:
    what: str
    reply_to: ActorRef[str]


class Plain:
    """A message that is no dataclass."""

    def __init__(self, reply_to: ActorRef[str]) -> None:
        self.reply_to = reply_to


async def handle(ctx: ActorContext[object], message: object) -> Behavior[object]:
    match message:
        case Ask("wait"):
            await trio.sleep_forever()
        case Ask("reply and fail", reply_to):
            reply_to.tell("reply")
            raise Boom
        case Ask("refuse", reply_to):
            ctx.reply_error(reply_to, LookupError("no such page"))
        case Ask("refuse in words", reply_to):
            ctx.reply_error(reply_to, "not today")
        case Ask("task"):
            ctx.start_soon(fail)
            await trio.sleep_forever()
        case _:
            raise Boom("in the handler")
    return Behaviors.same()


async def fail() -> None:
    raise Boom("in a task")


async def main(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
    async for message in inbox:
        await handle(ctx, message)


def asking(what: str) -> Callable[[ActorRef[str]], object]:
    return lambda reply_to: Ask(what, reply_to)


both_styles = pytest.mark.parametrize(
    "behavior", [Behaviors.receive(handle), Behaviors.task(main)], ids=["handler", "task"]
)


@both_styles
@pytest.mark.parametrize("what", ["fail", "task"])
async def test_a_failure_with_the_request_in_hand_reaches_the_asker_at_once(
    behavior: Behavior[object], what: str
) -> None:
    async with ActorSystem() as system:
        ref = system.spawn(behavior, "a")
        with pytest.raises(AskFailed, match=r"^Boom: in (the handler|a task)$") as caught:
            await system.ask(ref, asking(what), timeout=1000.0)
        assert isinstance(caught.value.__cause__, Boom)
        assert system.statistics().asks_pending == 0
        assert len(kernel_of(system).timer_queue) <= 1


@pytest.mark.parametrize(
    "factory",
    [
        lambda reply_to: reply_to,
        lambda reply_to: ("get", reply_to),
        lambda reply_to: ["get", reply_to],
        Plain,
    ],
    ids=["bare", "tuple", "list", "plain object"],
)
async def test_the_asker_is_found_in_messages_of_any_usual_form(factory: Callable[[ActorRef[str]], object]) -> None:
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(handle), "a")
        with pytest.raises(AskFailed):
            await system.ask(ref, factory, timeout=1000.0)


async def test_a_restarted_and_a_resumed_actor_refuse_the_message_in_hand_too() -> None:
    async with ActorSystem() as system:
        for strategy, name in ((Restart(backoff_min=0.0), "restarted"), (Resume(), "resumed")):
            ref = system.spawn(Behaviors.supervise(Behaviors.receive(handle), strategy), name)
            with pytest.raises(AskFailed):
                await system.ask(ref, asking("fail"), timeout=1000.0)
            with pytest.raises(AskFailed, match="not today"):
                await system.ask(ref, asking("refuse in words"), timeout=1000.0)


async def test_requests_in_the_mailbox_of_a_restarting_actor_are_answered_later(autojump_clock: object) -> None:
    async def answer(ctx: ActorContext[object], message: object) -> Behavior[object]:
        if isinstance(message, Ask):
            message.reply_to.tell("answer")
            return Behaviors.same()
        raise Boom

    async with ActorSystem() as system:
        restart = Restart(backoff_min=3.0, backoff_jitter=0.0)
        ref = system.spawn(Behaviors.supervise(Behaviors.receive(answer), restart), "a")
        ref.tell("fail")
        reply: str = await system.ask(ref, asking("x"), timeout=10.0)
        assert reply == "answer"
        assert trio.current_time() >= 3.0


@both_styles
async def test_a_reply_that_was_given_before_the_failure_stands(behavior: Behavior[object]) -> None:
    async with ActorSystem() as system:
        ref = system.spawn(behavior, "a")
        reply: str = await system.ask(ref, asking("reply and fail"))
        assert reply == "reply"
        await system.wait_stopped(ref)
        assert system.statistics().dead_letters == {}


@both_styles
async def test_an_actor_refuses_with_an_error_or_in_words(behavior: Behavior[object]) -> None:
    async with ActorSystem() as system:
        ref = system.spawn(behavior, "a")
        with pytest.raises(AskFailed, match=r"^LookupError: no such page$") as caught:
            await system.ask(ref, asking("refuse"))
        assert isinstance(caught.value.__cause__, LookupError)
        with pytest.raises(AskFailed, match=r"^not today$"):
            await system.ask(ref, asking("refuse in words"))
        assert system.lookup("/a") is not None


async def test_refusing_what_is_no_ask_is_a_dead_letter() -> None:
    async with ActorSystem() as system, system.events(DeadLetter) as letters:
        other = system.spawn(Behaviors.ignore(), "other")
        system.spawn(Behaviors.receive(handle), "a").tell(Ask("refuse in words", other))
        letter = await anext(letters)
        assert (letter.message, letter.reason) == (ErrorReply("not today"), "error reply without an ask")
        assert letter.intended_ref == other


async def test_a_second_refusal_is_ignored() -> None:
    async def twice(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
        ctx.reply_error(message.reply_to, "first")
        ctx.reply_error(message.reply_to, "second")
        return Behaviors.same()

    async with ActorSystem() as system:
        with pytest.raises(AskFailed, match="first"):
            await system.ask(system.spawn(Behaviors.receive(twice), "a"), lambda reply_to: Ask("", reply_to))


async def test_asking_a_stopped_actor_fails_at_once() -> None:
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.ignore(), "a")
        system.stop(ref)
        await system.wait_stopped(ref)
        with pytest.raises(AskFailed, match="/a did not get the request: actor stopped") as caught:
            await system.ask(ref, asking("x"), timeout=1000.0)
        assert isinstance(caught.value.__cause__, ActorStoppedError)
        by_path = kernel_of(system).ref_for("/nobody", 0).of(object)
        with pytest.raises(AskFailed, match="/nobody did not get the request: no such actor"):
            await system.ask(by_path, asking("x"), timeout=1000.0)
        assert system.statistics().asks_pending == 0


async def test_requests_that_wait_when_the_actor_stops_fail_with_it() -> None:
    failed: list[str] = []

    async def ask(system: ActorSystem, ref: ActorRef[object]) -> None:
        try:
            await system.ask(ref, asking("wait"), timeout=1000.0)
        except AskFailed as error:
            failed.append(str(error))

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.receive(handle), "a")
        for _ in range(3):
            nursery.start_soon(ask, system, ref)
        await QUIET()
        ref.owner().kill()  # type: ignore[attr-defined]  # as the bound of a shutdown does
    in_hand = "ActorStoppedError: /a was stopped with the request in hand"
    waiting = "ActorStoppedError: /a did not get the request: actor stopped"
    assert sorted(failed) == [waiting, waiting, in_hand]


async def test_a_handler_that_is_cut_off_refuses_its_request(autojump_clock: object) -> None:
    async with ActorSystem(config=SystemConfig(stop_timeout=2.0)) as system, trio.open_nursery() as nursery:
        ref = system.spawn(Behaviors.receive(handle), "a")

        async def ask() -> None:
            with pytest.raises(AskFailed, match="stopped with the request in hand"):
                await system.ask(ref, asking("wait"), timeout=1000.0)

        nursery.start_soon(ask)
        await QUIET()
        system.stop(ref)
    assert trio.current_time() < 10


async def test_asking_an_actor_whose_mailbox_is_full_fails_at_once() -> None:
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.ignore(), "a", mailbox=Mailbox(capacity=1))
        ref.tell("fills it")
        with pytest.raises(AskFailed, match="mailbox full") as caught:
            await system.ask(ref, asking("x"), timeout=1000.0)
        assert isinstance(caught.value.__cause__, MailboxFull)


async def test_an_error_whose_text_is_long_or_cannot_be_made_is_still_told() -> None:
    class Rude(Exception):
        def __str__(self) -> str:
            raise RuntimeError

    async def refuse(ctx: ActorContext[Ask], message: Ask) -> Behavior[Ask]:
        ctx.reply_error(message.reply_to, Rude() if message.what == "rude" else ValueError("x" * 1_000_000))
        return Behaviors.same()

    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.receive(refuse), "a")
        with pytest.raises(AskFailed, match=r"^Rude$"):
            await system.ask(ref, lambda reply_to: Ask("rude", reply_to))
        with pytest.raises(AskFailed) as caught:
            await system.ask(ref, lambda reply_to: Ask("long", reply_to))
        assert len(str(caught.value)) == REASON_LENGTH_MAX


async def test_a_refusal_from_afar_ends_the_ask() -> None:
    slots: list[ActorRef[str]] = []

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(keeping_askers(slots), "a")

        async def ask() -> None:
            with pytest.raises(AskFailed, match=r"^from afar( and on){145}$"):  # cut to 1,024 characters
                await system.ask(ref, lambda reply_to: Ask("", reply_to))

        nursery.start_soon(ask)
        await QUIET()
        address = slots[0].address
        long = ErrorReply("from afar" + " and on" * 100_000)
        assert LocalTransport(system).deliver(address.path, address.uid, long) is None
        assert LocalTransport(system).deliver(address.path, address.uid, ErrorReply("again")) is None
        assert not system.statistics().dead_letters


@pytest.mark.parametrize("from_afar", [False, True])
async def test_an_asker_is_told_when_the_adapter_fails(autojump_clock: object, from_afar: bool) -> None:
    adapters: list[ActorRef[Ask]] = []

    def broken(message: Ask) -> Ask:
        raise LookupError("no such thing")

    async def make(ctx: ActorContext[Ask]) -> Behavior[Ask]:
        adapters.append(ctx.message_adapter(broken))
        return Behaviors.ignore()

    async with ActorSystem() as system:
        system.spawn(Behaviors.setup(make), "a")
        await QUIET()
        inner = system.spawn(Behaviors.ignore(), "b")

        def through(reply_to: ActorRef[str]) -> Ask:
            message = Ask("", reply_to)
            if from_afar:
                address = adapters[0].address
                assert LocalTransport(system).deliver(address.path, address.uid, message, "Ask", (5.0, 7)) is None
            return message

        with pytest.raises(AskFailed, match="LookupError: no such thing"):
            await system.ask(inner if from_afar else adapters[0], through)


async def test_a_reply_of_another_type_from_afar_ends_the_ask(autojump_clock: object) -> None:
    slots: list[ActorRef[str]] = []

    async with ActorSystem() as system, trio.open_nursery() as nursery:
        ref = system.spawn(keeping_askers(slots), "a")

        async def ask() -> None:
            with pytest.raises(AskFailed, match="the reply is of another type than was asked for: float"):
                await system.ask(ref, lambda reply_to: Ask("", reply_to))

        nursery.start_soon(ask)
        await QUIET()
        slot = kernel_of(system).target(slots[0].address.path, slots[0].address.uid)
        assert isinstance(slot, AskRef)
        slot.promised = (str,)
        assert LocalTransport(system).deliver(slot.path, slot.uid, 1.5, "float") == "ill_typed"


async def test_ten_thousand_refused_and_cancelled_asks_leave_nothing_behind() -> None:
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.supervise(Behaviors.receive(handle), Resume()), "a")
        waiting = system.spawn(Behaviors.task(wait), "waiting")
        for _ in range(5_000):
            with pytest.raises(AskFailed):
                await system.ask(ref, asking("refuse in words"))
            with trio.CancelScope() as scope:
                scope.cancel()
                await system.ask(waiting, asking("x"))
        assert system.statistics().asks_pending == 0
        wheel = kernel_of(system).wheel
        assert len(wheel) == 0 or (len(wheel) == 1 and wheel.newest is not None and not wheel.newest.slots)


async def wait(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
    async for _ in inbox:
        pass


# PoisonPill


@both_styles
async def test_a_poison_pill_stops_the_actor_after_what_was_told_before(behavior: Behavior[object]) -> None:
    seen: list[object] = []

    async def note_all(ctx: ActorContext[object], inbox: Inbox[object]) -> None:
        async for message in inbox:
            seen.append(message)
        seen.append("end of the inbox")

    is_task = behavior.message_type() is object and "Task" in type(behavior).__name__
    async with ActorSystem() as system:
        ref = system.spawn(Behaviors.task(note_all) if is_task else recording(seen), "a")
        for message in (1, 2, PoisonPill(), 3):
            ref.tell(message)
        await system.wait_stopped(ref)
        assert seen == [1, 2, *(["end of the inbox"] if is_task else [])]
        assert system.statistics().dead_letters == {"actor stopped": 1}


async def test_there_is_one_poison_pill() -> None:
    assert PoisonPill() is PoisonPill()
    assert repr(PoisonPill()) == "PoisonPill()"
