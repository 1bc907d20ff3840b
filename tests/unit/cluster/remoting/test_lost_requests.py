"""An ask whose request certainly never leaves this node fails at once, and the dead letter says why it did not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import pytest
import trio
from helpers.messages import Get, GetNth, Who

from casty import ActorRef, AskFailed, Behaviors, DeadLetter, EncodeError, Resume, Routers, ServiceKey
from casty.config import ClusterSettings, TransportLimits

T = TypeVar("T")


async def introduce(ctx, message: Who | Get):
    if isinstance(message, Who):
        message.reply_to.tell(ctx.self)
    return Behaviors.same()


async def silent(ctx, message: Get):
    return Behaviors.same()


async def reasons(system, count, send):
    """Return why the first dead letters were none, once ``send`` has been called."""
    async with system.events(DeadLetter) as letters:
        await send()
        return [(await anext(letters)).reason for _ in range(count)]


async def test_a_request_to_an_earlier_run_fails_at_once_and_the_reason_names_the_run(autojump_clock, nodes):
    asker = (await nodes.start("a")).system
    old = await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    old.system.spawn(Behaviors.receive(introduce), "x")
    stale = await asker.ask(asker.remote("/x", "b").of(Who | Get), Who)
    await nodes.stop("b")
    await nodes.start("b", "a")
    await nodes.all_up("a", "b")
    started = trio.current_time()

    async def ask() -> None:
        stale.tell(Get(stale))
        with pytest.raises(AskFailed, match="/x on b:2551 did not get the request: not sent: another run of the node"):
            await asker.ask(stale, Get, timeout=60.0)
        await stale.send(Get(stale))

    found = await reasons(asker, 3, ask)
    assert all(reason.startswith("not sent: another run of the node") for reason in found), found
    assert trio.current_time() - started < 5


async def double(ctx, message: GetNth):
    message.reply_to.tell(2 * message.number)
    return Behaviors.same()


async def test_a_reply_that_cannot_be_encoded_fails_its_ask_and_a_supervised_actor_goes_on(autojump_clock, nodes):
    asker, other = await nodes.systems("a", "b")
    plain = Behaviors.receive(double)
    for name, behavior in (("kept", Behaviors.supervise(plain, Resume(on=EncodeError))), ("plain", plain)):
        other.spawn(behavior, name)
        ref = asker.remote(f"/{name}", "b").of(GetNth)
        with pytest.raises(AskFailed, match="EncodeError: .*64 bits"):
            await asker.ask(ref, lambda reply_to: GetNth(1 << 63, reply_to))
    kept, ended = (asker.remote(path, "b").of(GetNth) for path in ("/kept", "/plain"))
    assert await asker.ask(kept, lambda reply_to: GetNth(4, reply_to)) == 8
    with pytest.raises(AskFailed):
        await asker.ask(ended, lambda reply_to: GetNth(4, reply_to))


@dataclass(frozen=True)
class Text:
    """Ask for a text of so many characters."""

    size: int
    reply_to: ActorRef[str]


async def write(ctx, message: Text):
    message.reply_to.tell("x" * message.size)
    return Behaviors.same()


async def write_in_turn(ctx, message: Text):
    await message.reply_to.send("x" * message.size)
    return Behaviors.same()


@pytest.mark.parametrize("size", [400_000, 1_500_000], ids=["whole", "in slices"])
async def test_replies_beyond_the_queue_fail_their_asks_and_sent_ones_wait_for_room(autojump_clock, nodes, size):
    settings = ClusterSettings(limits=TransportLimits(outbound_bytes_max=5_000_000))
    asker, asked = await nodes.systems("a", "b", settings=settings)
    answers: dict[str, list[int]] = {}
    failed: list[str] = []

    async def ask(path: str) -> None:
        ref = asker.remote(path, "b").of(Text)
        try:
            text = await asker.ask(ref, lambda reply_to: Text(size, reply_to), timeout=60.0)
            answers.setdefault(path, []).append(len(text))
        except AskFailed as error:
            failed.append(str(error))

    for name, handler in (("told", write), ("sent", write_in_turn)):
        asked.spawn(Behaviors.receive(handler), name)
        async with trio.open_nursery() as nursery:
            for _ in range(30):
                nursery.start_soon(ask, f"/{name}")
    assert answers["/sent"] == 30 * [size]
    assert failed
    assert answers["/told"] == (30 - len(failed)) * [size]
    assert all(text.startswith("MailboxFull: the reply was not sent, outbound queue full") for text in failed)
    assert asked.statistics().dead_letters == {"outbound queue full": len(failed)}


@dataclass(frozen=True)
class Boxed(Generic[T]):
    """Ask with a value of some type; each node knows the types that are named on it."""

    value: T
    reply_to: ActorRef[int]


@dataclass(frozen=True)
class Even:
    """Ask with an even number, as the node sees it that gets it."""

    value: int
    reply_to: ActorRef[int]
    is_here = False

    def __post_init__(self):
        if self.is_here and self.value % 2:
            raise ValueError(f"{self.value} is odd")


NUMBERS = ServiceKey[Boxed[int] | Even]("numbers")


async def number(ctx, message: Boxed[int] | Even):
    message.reply_to.tell(message.value)
    return Behaviors.same()


@pytest.mark.parametrize("by_router", [False, True])
async def test_a_request_that_the_other_node_cannot_read_fails_at_once_and_no_other(
    autojump_clock, nodes, monkeypatch, by_router
):
    asker, asked = await nodes.systems("a", "b")
    asked.spawn(Behaviors.discoverable(Behaviors.receive(number), key=NUMBERS), "number")
    asked.spawn(Behaviors.receive(silent), "silent")
    (direct,) = (await asker.find(NUMBERS, at_least=1)).refs
    router = asker.spawn(Routers.group(NUMBERS), "router")
    await trio.sleep(1)
    unread: Any = asker.remote("/number", "b").of(Boxed[str])
    ref: Any = router if by_router else direct
    started, failed = trio.current_time(), []

    async def wait_for_nobody() -> None:
        with pytest.raises(AskFailed, match="has ended"):
            await asker.ask(asker.remote("/silent", "b").of(Get), Get, timeout=3600.0)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait_for_nobody)
        with pytest.raises(AskFailed, match=r"/number on b:2551 did not .*that node does not know .*Boxed\[str\]"):
            await asker.ask(unread, lambda reply_to: Boxed("x", reply_to))
        for value in (1, 2):  # the second under a head that is known
            assert await asker.ask(ref, lambda reply_to, value=value: Boxed(value, reply_to)) == value
        assert await asker.ask(ref, lambda reply_to: Even(3, reply_to)) == 3
        for name in ("once", "again"):
            monkeypatch.setattr(Even, "is_here", False)
            with pytest.raises(AskFailed, match="/number on b:2551 did not .*that node could not read .*Even"):
                await asker.ask(ref, lambda reply_to: made_here(monkeypatch, reply_to))
            failed.append(name)
        assert trio.current_time() - started < 1
        await asker.shutdown()
    assert failed == ["once", "again"]


def made_here(monkeypatch, reply_to):
    """Return a message that cannot be made a second time."""
    message = Even(5, reply_to)
    monkeypatch.setattr(Even, "is_here", True)
    return message


async def test_a_reply_that_cannot_be_read_fails_its_ask_at_once(autojump_clock, nodes):
    asker, asked = await nodes.systems("a", "b")

    async def answer(ctx, message: Get):
        message.reply_to.of(Boxed[str]).tell(Boxed("x", ctx.self))
        return Behaviors.same()

    asked.spawn(Behaviors.receive(answer), "answering")
    started = trio.current_time()
    with pytest.raises(AskFailed, match=r"the reply of b:2551 cannot be read: unknown message type .*Boxed\[str\]"):
        await asker.ask(asker.remote("/answering", "b").of(Get), Get)
    assert trio.current_time() - started < 1
