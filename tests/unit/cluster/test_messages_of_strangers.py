"""What who is no member sends to actors: it waits apart, and is charged for the whole node."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass, field

import msgpack
import pytest
import trio
from helpers.messages import Get, Sent

import casty
from casty import (
    ActorContext,
    ActorRef,
    Behavior,
    Behaviors,
    DeadLetter,
    Inbox,
    Mailbox,
    MailboxOverflowStrategy,
    MessageSummary,
    Routers,
)
from casty.address import UniqueAddress
from casty.config import TransportLimits
from casty.runtime.events import STRANGERS_FULL
from casty.runtime.messaging.mailbox import DIRECT_MAX
from casty.testing.samples import run_of
from casty.transport.limits.charges import STRANGER_VALUES_MAX, kept
from casty.transport.limits.shares import shares
from casty.wire.codec.codec import Codec
from casty.wire.envelope import Notice, encode_wait
from casty.wire.frame import FrameKind, Lane

SMALL, DROPS_OLDEST, REJECTS = (
    Mailbox(10),
    *(Mailbox(100, policy) for policy in (MailboxOverflowStrategy.drop_oldest, MailboxOverflowStrategy.reject)),
)


@casty.message("tests.Rows")
@dataclass(frozen=True)
class Rows:
    rows: list[list[int]]


@casty.message("tests.Sets")
@dataclass(frozen=True)
class Sets:
    rows: list[frozenset[int]]


@casty.message("tests.Text")
@dataclass(frozen=True)
class Text:
    text: str


@casty.message("tests.Sparse", tolerant=True)
@dataclass(frozen=True)
class Sparse:
    a: set[int] = field(default_factory=set)
    b: list[int] = field(default_factory=list)
    c: dict[str, int] = field(default_factory=dict)
    d: set[int] = field(default_factory=set)
    e: set[int] = field(default_factory=set)
    f: str = ""


@casty.message("tests.SparseRows")
@dataclass(frozen=True)
class SparseRows:
    rows: list[Sparse | None]


Command = Sent | Rows | Sets | Text | Get


class Slow:
    """What an actor does that takes so many seconds for a message that is no ask, once its gate is open."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.seen: list[object] = []
        self.gate = trio.Event()
        self._seconds = seconds

    async def take(self, message: Command) -> None:
        await self.gate.wait()
        if isinstance(message, Get):
            message.reply_to.tell(len(self.seen))
            return
        await trio.sleep(self._seconds)
        self.seen.append(message)

    def handler(self) -> Behavior[Command]:
        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            await self.take(message)
            return Behaviors.same()

        return Behaviors.receive(handle)

    def task(self) -> Behavior[Command]:
        async def main(ctx: ActorContext[Command], inbox: Inbox[Command]) -> None:
            async for message in inbox:
                await self.take(message)

        return Behaviors.task(main)


def body(path: str, name: str, fields: object) -> bytes:
    head = msgpack.packb([path, 0, f"tests.{name}"])
    return len(head).to_bytes(2, "big") + head + msgpack.packb(fields)


def item(number: int, sender: str, path: str = "/slow") -> bytes:
    return body(path, "Sent", {"number": number, "sender": sender})


def say(handle, run: UniqueAddress, *bodies: bytes) -> None:
    """Have a node hear messages of a run, as they come from the transport."""
    handle.inbound.envelopes(run, [(FrameKind.ENVELOPE, body) for body in bodies], 0)


def held(handle) -> int:
    return handle.node.receive_backpressure.strangers.bytes


def dead(handle) -> dict[str, int]:
    return handle.system.statistics().dead_letters


async def two(nodes):
    first, member = await nodes.join("a", "b")
    return first, member


async def answered_after(handle) -> float:
    began = trio.current_time()
    await handle.system.ask(handle.system.remote("/slow", "a").of(Command), Get, timeout=100.0)
    return trio.current_time() - began


async def test_all_that_strangers_have_waiting_at_all_actors_is_charged_as_one(autojump_clock, nodes):
    first, _ = await two(nodes)
    slow, strangers = Slow(), [run_of(f"stranger-{n}") for n in range(4)]
    mailboxes = [first.system.spawn(slow.handler(), f"slow-{n}").mailbox for n in range(10)]
    bodies = [body(f"/slow-{n}", "Rows", {"rows": [[]] * 2_000}) for n in range(10)]
    for number in range(200):
        say(first, strangers[number % 4], bodies[number % 10])
        await trio.lowlevel.checkpoint()
    share, cost = shares(TransportLimits()).mailboxes, kept(bodies[0])
    waiting = sum(map(len, mailboxes))
    assert waiting == share // cost
    assert held(first) == waiting * cost
    await trio.sleep(0.1)  # until who reads the dead letters has them all
    refused = dead(first)["too much of strangers"]
    assert refused + waiting + 10 == 200  # and one in the hand of each
    assert letters_of(first) == [("too much of strangers", MessageSummary("Rows", len(bodies[0])))] * refused
    slow.gate.set()
    await trio.sleep(1)
    assert (len(slow.seen), held(first)) == (200 - refused, 0)


@pytest.mark.parametrize("end", ["stop", "pill", "fail"])
async def test_what_waits_of_strangers_is_counted_off_however_their_actor_ends(autojump_clock, nodes, end):
    first, _ = await two(nodes)
    slow = Slow()
    ref = first.system.spawn(slow.handler(), "slow")
    for number in range(300):
        say(first, run_of("stranger"), item(number, "x"))
        await trio.lowlevel.checkpoint()
    assert held(first) > 0
    match end:
        case "stop":
            first.system.stop(ref)
        case "pill":
            ref.of(casty.PoisonPill).tell(casty.PoisonPill())
        case _:
            ref.owner().fail_from_outside(RuntimeError("once"))
    slow.gate.set()
    await trio.sleep(1)
    assert held(first) == 0
    if end == "fail":  # the next life takes what waits
        return
    assert dead(first)["actor stopped"] + len(slow.seen) == 300
    assert len(slow.seen) <= 2  # who is no member does not put the end off


@pytest.mark.parametrize("settings", [Mailbox(), SMALL, DROPS_OLDEST, REJECTS], ids=repr)
async def test_nothing_of_strangers_takes_the_place_of_other_messages(autojump_clock, nodes, settings):
    first, member = await two(nodes)
    slow = Slow()
    ref = first.system.spawn(slow.handler(), "slow", mailbox=settings)
    say(first, run_of("stranger"), *[item(number, "x") for number in range(1_000)])
    assert not ref.mailbox.messages
    for number in range(10):
        member.system.remote("/slow", "a").of(Sent).tell(Sent(number))
    await trio.sleep(1)
    say(first, run_of("stranger"), *[item(number, "x") for number in range(1_000, 2_000)])
    slow.gate.set()
    await trio.sleep(1)
    assert [seen.number for seen in slow.seen if seen.sender == "b"] == list(range(10))
    strange = [seen.number for seen in slow.seen if seen.sender == "x"]
    assert strange == sorted(strange)
    bound = 2_000 if ref.mailbox.lets_wait else settings.capacity + 1
    assert len(strange) == bound
    assert len(strange) + dead(first).get("mailbox full", 0) == 2_000
    assert held(first) == 0


@pytest.mark.parametrize("settings", [Mailbox(), SMALL, DROPS_OLDEST, REJECTS], ids=repr)
@pytest.mark.parametrize("form", ["handler", "task"])
async def test_an_ask_of_a_member_waits_for_one_message_of_strangers(autojump_clock, nodes, form, settings):
    first, member = await two(nodes)
    slow = Slow(0.003)
    slow.gate.set()
    first.system.spawn(getattr(slow, form)(), "slow", mailbox=settings)
    await answered_after(member)
    strangers = [run_of(f"stranger-{n}") for n in range(8)]
    for number in range(2_000):
        say(first, strangers[number % 8], item(number, "x"))
    for _ in range(20):
        assert await answered_after(member) < 3 * 0.0031


def ping(place: object, *, ask: int = 0) -> bytes:
    """Return the bytes of a Get whose reply is to go to ``place``."""
    head = msgpack.packb(["/quick", 0, "tests.Get", *([1] if ask else [])])
    tail = encode_wait(100.0, ask) if ask else b""
    return len(head).to_bytes(2, "big") + head + tail + msgpack.packb({"reply_to": place})


def place_of(handle, path: str, uid: int = 0, *, incarnation: int | None = None) -> list[object]:
    run = handle.run
    found = run.incarnation if incarnation is None else incarnation
    return ["cluster", path, run.address.host, run.address.port, found, uid]


async def recording(handle, name: str) -> tuple[list[int], ActorRef[int]]:
    seen: list[int] = []

    async def take(ctx: ActorContext[int], number: int) -> Behavior[int]:
        seen.append(number)
        return Behaviors.same()

    return seen, handle.system.spawn(Behaviors.receive(take), name)


@pytest.mark.parametrize("whose", ["a", "of whichever run", "no node", "b", "a guess"])
@pytest.mark.parametrize("ask", [0, 7])
async def test_a_stranger_has_no_actor_here_tell_others_what_it_chooses(autojump_clock, nodes, caplog, whose, ask):
    caplog.set_level("INFO")
    first, second = await two(nodes)
    quick = Slow()
    quick.gate.set()
    first.system.spawn(quick.handler(), "quick")
    (here, _), (there, sink) = await recording(first, "sink"), await recording(second, "sink")
    place = {
        "a": place_of(first, "/sink"),
        "of whichever run": place_of(first, "/sink", incarnation=0),
        "no node": ["cluster", "/sink", None, None, 0, 0],
        "b": place_of(second, "/sink", sink.uid),
        "a guess": place_of(first, "/sink", 12_345),
    }[whose]
    say(first, run_of("stranger"), ping(place, ask=ask))
    await trio.sleep(1)
    assert (here, there) == ([], [])
    assert first.node.cluster_metrics.refused == {"tests.Get": 1}
    assert "names /sink of" in caplog.text
    say(first, second.run, ping(place, ask=ask))
    await trio.sleep(1)
    assert (here, there) == (([], [0]) if whose == "b" else ([0] * (whose != "a guess"), []))


async def test_a_stranger_may_name_who_it_was_given_the_ref_of(autojump_clock, nodes):
    first, _ = await two(nodes)
    slow = Slow()
    slow.gate.set()
    first.system.spawn(slow.handler(), "quick")
    seen, ref = await recording(first, "sink")
    say(first, run_of("stranger"), ping(place_of(first, "/sink", ref.uid)))
    await trio.sleep(1)
    assert seen == [0]


@pytest.mark.parametrize("incarnation", [0, run_of("stranger").incarnation])
async def test_a_stranger_may_name_an_actor_of_its_own(autojump_clock, nodes, incarnation):
    first, _ = await two(nodes)
    slow = Slow()
    slow.gate.set()
    first.system.spawn(slow.handler(), "quick")
    run = run_of("stranger")
    say(first, run, ping(["cluster", "/mine", run.address.host, run.address.port, incarnation, 0]))
    assert not first.node.cluster_metrics.refused


def router(slow: Slow, form: str):
    """Return what hands each message on to actors that are as slow as that."""

    async def start(ctx: ActorContext[Command]) -> Behavior[Command]:
        target = ctx.spawn(slow.handler(), "target")
        if form == "path":
            target = ctx.system.remote("/slow/target", "a").of(Command)

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            ctx.forward(target, message)
            return Behaviors.same()

        async def main(ctx: ActorContext[Command], inbox: Inbox[Command]) -> None:
            async for message in inbox:
                ctx.forward(target, message)

        return Behaviors.task(main) if form == "task" else Behaviors.receive(handle)

    return Routers.pool(2, slow.handler()) if form == "pool" else Behaviors.setup(start)


@pytest.mark.parametrize("form", ["pool", "handler", "task", "path"])
async def test_what_is_handed_on_of_strangers_waits_with_their_messages_and_is_charged(autojump_clock, nodes, form):
    first, member = await two(nodes)
    slow = Slow(0.01)
    first.system.spawn(router(slow, form), "slow")
    for number in range(1_000):
        say(first, run_of("stranger"), item(number, "x"))
    await trio.sleep(0.1)
    in_hand = 2 if form == "pool" else 1
    assert held(first) == sum(kept(item(number, "x")) for number in range(in_hand, 1_000))
    slow.gate.set()
    assert await answered_after(member) < 0.1
    first.node.receive_backpressure.strangers.bytes_max = held(first) + 10 * kept(item(1_000, "x"))
    for number in range(100):
        say(first, run_of("stranger"), item(number, "x"))
        await trio.sleep(0.001)
    assert dead(first)[STRANGERS_FULL] > 0
    await trio.sleep(20)
    assert held(first) == 0
    assert len(slow.seen) + dead(first)[STRANGERS_FULL] == 1_100


async def test_messages_by_way_of_an_adapter_wait_with_those_of_strangers(autojump_clock, nodes):
    first, _ = await two(nodes)
    slow, refs = Slow(), []

    async def adapting(ctx: ActorContext[Command]) -> Behavior[Command]:
        refs.append(ctx.message_adapter(lambda text: Sent(len(text.text), "x"), Text))
        return slow.handler()

    ref = first.system.spawn(Behaviors.setup(adapting), "slow")
    await trio.sleep(0.1)
    say(first, run_of("stranger"), *[body(refs[0].path, "Text", {"text": "x" * n}) for n in range(100)])
    assert not ref.mailbox.messages
    assert held(first) > 0
    slow.gate.set()
    await trio.sleep(1)
    assert [seen.number for seen in slow.seen] == list(range(100))
    assert held(first) == 0


@pytest.mark.parametrize("settings", [Mailbox(), SMALL, Mailbox(1_000, MailboxOverflowStrategy.drop_oldest)], ids=repr)
async def test_who_becomes_a_member_keeps_the_order_of_its_messages_and_leaves_the_others(
    autojump_clock, nodes, settings
):
    first, _ = await two(nodes)
    slow, run, node = Slow(0.001), run_of("newcomer"), first.node
    first.system.spawn(slow.handler(), "slow", mailbox=settings)
    await trio.sleep(0.1)
    say(first, run_of("stranger"), *[item(number, "s") for number in range(500)])
    say(first, run, *[item(number, "x") for number in range(300)])
    charged = held(first)
    node.board.runs |= {run}
    say(first, run, *[item(number, "x") for number in range(300, 600)])
    assert held(first) < charged
    slow.gate.set()
    await trio.sleep(5)
    theirs = [seen.number for seen in slow.seen if seen.sender == "x"]
    assert theirs == list(range(600))
    order = [seen.sender for seen in slow.seen]
    if settings.capacity > DIRECT_MAX and settings.overflow is MailboxOverflowStrategy.back_pressure:
        assert order.index("s", order.index("x")) < len(order)
        assert order[:650].count("x") > 500  # it does not wait behind the strangers' others
    assert held(first) == 0


async def test_a_request_of_a_stranger_that_is_withdrawn_is_counted_off_in_its_turn(autojump_clock, nodes):
    first, _ = await two(nodes)
    slow, run = Slow(), run_of("stranger")
    first.system.spawn(slow.handler(), "slow")
    head = msgpack.packb(["/slow", 0, "tests.Sent", 1])
    for number in range(1, 101):
        packed = msgpack.packb({"number": number, "sender": "x"})
        say(first, run, len(head).to_bytes(2, "big") + head + encode_wait(100.0, number) + packed)
        await trio.lowlevel.checkpoint()
    kernel = first.node.kernel
    assert held(first) > 0
    for number in range(1, 101):
        kernel.withdraw(run, number)
    assert dead(first)["request withdrawn"] == 99
    slow.gate.set()
    await trio.sleep(1)
    assert (len(slow.seen), held(first)) == (1, 0)


def letters_of(handle) -> list[tuple[str, object]]:
    return [(event.reason, event.message) for _, event in handle.events if isinstance(event, DeadLetter)]


@pytest.mark.parametrize("settings", [SMALL, DROPS_OLDEST, REJECTS], ids=repr)
async def test_who_reads_dead_letters_keeps_no_message_of_strangers(autojump_clock, nodes, settings):
    first, _ = await two(nodes)
    slow, rows = Slow(), body("/slow", "Rows", {"rows": [[]] * 2_000})
    first.system.spawn(slow.handler(), "slow", mailbox=settings)
    first.system.spawn(slow.handler(), "other")
    full = [rows] * 250 if settings is SMALL else [item(1, "x")] * 1_500
    others = [body("/other", "Rows", {"rows": [[]] * 2_000})] * 20
    ill_typed = body("/_cluster", "Sent", {"number": 1, "sender": "x"})
    for one in (*full, *others, ill_typed):
        say(first, run_of("stranger"), one)
        await trio.lowlevel.checkpoint()
    await trio.sleep(0.1)
    letters = letters_of(first)
    assert len(letters) == sum(dead(first).values()) > 100
    assert {type(message) for _, message in letters} <= {MessageSummary, Notice}
    kinds = {(message.name, message.size_bytes) for _, message in letters if isinstance(message, MessageSummary)}
    known = ("Rows", len(rows)) if settings is SMALL else ("Sent", 0 if settings is DROPS_OLDEST else len(full[0]))
    assert known in kinds
    slow.gate.set()
    await trio.sleep(1)


async def test_a_message_that_can_never_wait_is_a_dead_letter_that_says_so(autojump_clock, nodes):
    first, _ = await two(nodes)
    first.system.spawn(Slow().handler(), "slow")
    allowance, cost = first.node.receive_backpressure.strangers, kept(item(1, "x"))
    allowance.bytes_max = cost + 10
    say(first, run_of("stranger"), item(1, "x"), item(2, "x"), item(3, "x" * 10))
    await trio.sleep(0.1)
    never = f"{STRANGERS_FULL}: this one counts as {cost + 36} bytes, and all together may be {cost + 10}"
    assert [reason for reason, _ in letters_of(first)] == [STRANGERS_FULL, never]


@pytest.mark.parametrize("end", ["expired", "withdrawn", "stopped"])
async def test_a_request_of_a_stranger_that_is_not_handled_is_not_kept_by_who_reads_dead_letters(
    autojump_clock, nodes, end
):
    first, _ = await two(nodes)
    slow, run = Slow(), run_of("stranger")
    ref = first.system.spawn(slow.handler(), "slow")
    head = msgpack.packb(["/slow", 0, "tests.Sent", 1])
    for number in range(1, 11):
        packed = msgpack.packb({"number": number, "sender": "x"})
        say(first, run, len(head).to_bytes(2, "big") + head + encode_wait(10.0, number) + packed)
    await trio.sleep(0.1)
    if end == "expired":
        await trio.sleep(11)
    for number in range(1, 11):
        if end == "withdrawn":
            first.node.kernel.withdraw(run, number)
    if end == "stopped":
        first.system.stop(ref)
    slow.gate.set()
    await trio.sleep(1)
    reason = {"expired": "request expired", "withdrawn": "request withdrawn", "stopped": "actor stopped"}[end]
    assert letters_of(first) == [(reason, MessageSummary("Sent", 0))] * 9


async def test_the_heads_of_strangers_are_not_remembered(autojump_clock, nodes):
    first, _ = await two(nodes)
    slow = Slow()
    first.system.spawn(slow.handler(), "slow")
    inbound = first.inbound
    before = len(inbound._fast_receive._ways)
    say(first, run_of("stranger"), item(1, "x"), item(2, "x"))
    inbound.frame(run_of("stranger"), Lane.ordinary, FrameKind.ENVELOPE, memoryview(item(3, "x")))
    assert len(inbound._fast_receive._ways) == before
    slow.gate.set()
    await trio.sleep(1)
    assert [seen.number for seen in slow.seen] == [1, 2, 3]


async def test_an_ill_typed_message_is_told_with_its_place_to_members_and_strangers(autojump_clock, nodes, caplog):
    first, member = await two(nodes)
    ill_typed = body("/slow", "Rows", {"rows": [[]] * 100 + [1]})
    said = []
    for run in (run_of("stranger"), member.run):
        caplog.clear()
        say(first, run, ill_typed)
        said.append(caplog.text)
    assert all("tests.Rows.rows[100]: expected list[int], got int" in line for line in said)


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("Sent", {"number": 1, "sender": "x"}),
        ("Text", {"text": "x" * 4_000}),
        ("Text", {"text": "x" * 4_000 + "\N{GRINNING FACE}"}),
        ("Rows", {"rows": [[]] * (STRANGER_VALUES_MAX - 10)}),
        ("Rows", {"rows": [[number] for number in range(500)]}),
        ("Sets", {"rows": [[]] * (STRANGER_VALUES_MAX - 10)}),
        ("Sets", {"rows": [[1, 2, 3, 4, 5]] * 150}),
        ("SparseRows", {"rows": [{}] * (STRANGER_VALUES_MAX - 10)}),
        ("Sparse", {}),
    ],
)
def test_a_message_takes_up_no_more_than_is_counted(name: str, fields: object) -> None:
    codec = Codec(export_ref=lambda ref, _: ref.address.place, import_ref=lambda *_: None, limits=TransportLimits())  # type: ignore[arg-type,return-value]  # no refs here
    for kind in (Sent, Rows, Sets, Text, Sparse, SparseRows):
        codec.register(kind)
    packed = body("/slow", name, fields)
    codec.decode_envelope(packed)
    gc.collect()
    tracemalloc.start()
    waiting = [codec.decode_envelope(packed).message for _ in range(20)]
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(waiting) == 20
    entry = codec.entry_of(f"tests.{name}")
    assert entry is not None
    assert taken <= 20 * kept(packed, entry.defaults_max)


@casty.message("tests.Noted")
@dataclass(frozen=True)
class Noted:
    number: int

    def __post_init__(self) -> None:
        for told in AUDITS:
            told(self.number)


AUDITS: list[Callable[[int], None]] = []
"""What each note that is made is told to."""


async def test_a_class_may_make_refs_of_its_own_while_a_message_of_a_stranger_is_decoded(
    autojump_clock, nodes, monkeypatch
):
    first, member = await two(nodes)
    seen: list[object] = []
    audited: list[int] = []

    async def note(ctx: ActorContext[Noted], message: Noted) -> Behavior[Noted]:
        seen.append(message)
        return Behaviors.same()

    async def audit(ctx: ActorContext[int], number: int) -> Behavior[int]:
        audited.append(number)
        return Behaviors.same()

    first.system.spawn(Behaviors.receive(note), "note")
    member.system.spawn(Behaviors.receive(audit), "audit")
    monkeypatch.setattr(__name__ + ".AUDITS", [lambda number: first.system.remote("/audit", "b").of(int).tell(number)])
    say(first, run_of("stranger"), body("/note", "Noted", {"number": 7}))
    await trio.sleep(1)
    assert (len(seen), audited) == (1, [7])
    assert not first.node.cluster_metrics.refused


async def test_what_a_removed_run_says_does_not_overtake_what_it_said_as_a_member(autojump_clock, nodes):
    first, gone = await two(nodes)
    slow, run = Slow(), gone.run
    first.system.spawn(slow.handler(), "slow")
    say(first, run, *[item(number, "b") for number in range(500)])
    await nodes.stop("b")
    await nodes.sees("a", {"a": "up"})
    assert not first.node.is_member(run)
    say(first, run, *[item(number, "b") for number in range(500, 520)])
    assert held(first) == sum(kept(item(number, "b")) for number in range(500, 520))
    slow.gate.set()
    await trio.sleep(1)
    assert [seen.number for seen in slow.seen] == list(range(520))
    assert held(first) == 0
