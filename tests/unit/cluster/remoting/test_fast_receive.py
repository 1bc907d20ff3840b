"""The quick way from a frame to an actor: what comes under a known head ends where the long way would end it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import msgpack
import pytest
import trio
from helpers.behaviors import keeping_askers, recording
from helpers.messages import GetNth, Item

import casty
from casty import ActorRef, AskFailed, Behaviors, DeadLetter, Mailbox
from casty.address import ASK_PREFIX
from casty.cluster.remoting import fast_receive as arrivals_module
from casty.cluster.remoting.fast_receive import CachedTarget
from casty.cluster.remoting.receive_backpressure import LARGE_BYTES_MIN, LOOKED_AT_EVERY, ReceiveBackpressure
from casty.runtime.messaging.mailbox import MessageQueue
from casty.testing.inspect import node_of
from casty.wire.codec.codec import Codec
from casty.wire.envelope import Envelope, encode_head, encode_slot, encode_wait
from casty.wire.frame import FrameKind, Lane, frame


@casty.message("tests.arrivals.Other")
@dataclass(frozen=True)
class Other:
    number: int


@casty.message("tests.arrivals.Positive")
@dataclass(frozen=True)
class Positive:
    number: int

    def __post_init__(self) -> None:
        if self.number < 0:
            raise ValueError("below 0")


@casty.message("tests.arrivals.Counted")
@dataclass(frozen=True)
class Counted:
    made: ClassVar[int] = 0
    number: int
    reply_to: ActorRef[Counted] | None = None
    padding: bytes = b""

    def __post_init__(self) -> None:
        Counted.made += 1
        if self.number < 0:
            raise ValueError("below 0")


Message = Item | Other | GetNth | Positive | Counted


def recorder(seen: list[Any], gate: trio.Event | None = None):
    async def handle(ctx, message: Message):
        if gate is not None:
            await gate.wait()
        seen.append(message)
        if isinstance(message, GetNth):
            message.reply_to.tell(message.number)
        if isinstance(message, Counted) and message.reply_to is not None:
            message.reply_to.tell(Counted(message.number))
        return Behaviors.same()

    return Behaviors.receive(handle)


class Pair:
    """An actor on one node, and a ref to it on another, after ``Item(0)`` has made its head known."""

    async def start(self, nodes, **options: Any) -> None:
        self.first = (await nodes.start("a")).system
        self.second = (await nodes.start("b", "a")).system
        await nodes.all_up("a", "b")
        self.seen: list[Any] = []
        self.local = self.first.spawn(recorder(self.seen, options.pop("gate", None)), "sink", **options)
        self.ref: Any = self.second.remote("/sink", "a").of(Message)
        self.node: Any = node_of(self.second)
        self.to = node_of(self.first).self_node
        self.ref.tell(Item(0))
        await trio.sleep(1)

    def throw(self, name: str, payload: object, *, path: str = "/sink", tail: bytes = b"") -> None:
        """Send a message that no codec would write."""
        head = encode_head(path, 0, name, has_tail=bool(tail), pack=msgpack.packb)
        data = frame(FrameKind.ENVELOPE, head + tail + msgpack.packb(payload))
        assert self.node.transport.send(self.to, Lane.ordinary, data)


@pytest.fixture
def pair() -> Pair:
    return Pair()


async def test_messages_of_several_classes_and_asks_keep_their_order(autojump_clock, nodes, pair):
    await pair.start(nodes)
    answers: list[int] = []

    async def ask(number: int) -> None:
        answers.append(await pair.second.ask(pair.ref, lambda reply_to: GetNth(number, reply_to)))

    async with trio.open_nursery() as nursery:
        for number in range(1, 400):
            pair.ref.tell((Item, Other, Positive)[number % 3](number))
            if not number % 50:
                nursery.start_soon(ask, number)
                await trio.testing.wait_all_tasks_blocked()
    await trio.sleep(1)
    assert [message.number for message in pair.seen if not isinstance(message, GetNth)] == list(range(400))
    assert sorted(answers) == list(range(50, 400, 50))
    places = [position for position, message in enumerate(pair.seen) if isinstance(message, GetNth)]
    assert all(pair.seen[place - 1].number == pair.seen[place].number for place in places)


@pytest.mark.parametrize(
    ("name", "payload", "reason"),
    [
        ("tests.Item", {"number": "1"}, "ill_typed"),
        ("tests.Item", {"number": 1, "more": 2}, "ill_typed"),
        ("tests.Item", [1], "ill_typed"),
        ("tests.arrivals.Positive", {"number": -1}, "ill_typed"),
        ("tests.arrivals.None", {"number": 1}, "unknown_type"),
    ],
)
async def test_what_cannot_be_made_is_answered_and_what_follows_arrives(
    autojump_clock, nodes, pair, caplog, name, payload, reason
):
    await pair.start(nodes)
    pair.ref.tell(Positive(0))
    async with pair.second.events(DeadLetter) as letters:
        pair.throw(name, payload)
        pair.ref.tell(Item(1))
        letter = await anext(aiter(letters))
    await trio.sleep(1)
    assert letter.reason == f"not delivered: {reason}"
    assert pair.seen == [Item(0), Positive(0), Item(1)]


AS_KIND = {"ask": {"tail": encode_wait(1.0, 7)}, "reply": {"path": ASK_PREFIX, "tail": encode_slot(1, 7)}}


@pytest.mark.parametrize("kind", ["message", "ask", "reply"])
async def test_what_cannot_be_made_is_made_no_second_time_to_say_so(autojump_clock, nodes, pair, caplog, kind):
    await pair.start(nodes)
    pair.ref.tell(Counted(0))
    reply: Counted = await pair.second.ask(pair.ref, lambda reply_to: Counted(0, reply_to))
    assert reply == Counted(0)
    pair.second.spawn(recorder([]), "back")
    there = pair.first.remote("/back", "b").of(Counted)
    reply = await pair.first.ask(there, lambda reply_to: Counted(1, reply_to))
    assert reply == Counted(1)
    Counted.made = 0
    payload = {"number": -1, "reply_to": None, "padding": b""}
    pair.throw("tests.arrivals.Counted", payload, **AS_KIND.get(kind, {}))
    await trio.sleep(1)
    assert Counted.made == 1
    assert node_of(pair.first).cluster_metrics.decode_errors == 1
    assert "tests.arrivals.Counted refuses the values: ValueError" in caplog.text
    expected = {"not delivered: ill_typed": 1}
    assert pair.second.statistics().dead_letters == expected


@pytest.mark.parametrize("kind", ["large", "ask", "reply"])
async def test_what_nobody_is_there_for_any_more_is_made_no_second_time_either(autojump_clock, nodes, pair, kind):
    await pair.start(nodes)
    pair.ref.tell(Counted(0))
    await pair.second.ask(pair.ref, lambda reply_to: Counted(0, reply_to))
    pair.second.spawn(recorder([]), "back")
    await pair.first.ask(pair.first.remote("/back", "b").of(Counted), lambda reply_to: Counted(1, reply_to))
    pair.first.stop(pair.local)
    await pair.first.wait_stopped(pair.local)
    before = pair.first.statistics().dead_letters, pair.second.statistics().dead_letters
    for number in range(1, 4):
        Counted.made = 0
        payload = {"number": 1, "reply_to": None, "padding": bytes(LARGE_BYTES_MIN if kind == "large" else 0)}
        pair.throw("tests.arrivals.Counted", payload, **AS_KIND.get(kind, {}))
        await trio.sleep(1)
        assert Counted.made == 1
        expected = ({"ask finished": number}, {}) if kind == "reply" else ({}, {"not delivered: no_actor": number})
        letters = pair.first.statistics().dead_letters, pair.second.statistics().dead_letters
        assert (before, letters) == (({}, {}), expected)


async def test_a_class_that_is_declared_anew_is_made_in_place_of_the_one_that_refuses(autojump_clock, nodes, pair):
    def declare(limit: int) -> type:
        @casty.message("tests.arrivals.Reloaded")
        @dataclass(frozen=True)
        class Reloaded:
            number: int

            def __post_init__(self) -> None:
                if self.number > limit:
                    raise ValueError("too much")

        return Reloaded

    await pair.start(nodes)
    seen: list[Any] = []

    pair.first.spawn(recording(seen), "open")
    codec = node_of(pair.first).codec
    codec.register(old := declare(1))
    pair.throw("tests.arrivals.Reloaded", {"number": 1}, path="/open")
    await trio.sleep(1)
    codec.register(new := declare(2))
    pair.throw("tests.arrivals.Reloaded", {"number": 2}, path="/open")
    await trio.sleep(1)
    assert [type(message) for message in seen] == [old, new]


async def test_a_new_actor_of_the_same_path_gets_what_is_for_whoever_has_it(autojump_clock, nodes, pair):
    await pair.start(nodes)
    pair.first.stop(pair.local)
    await pair.first.wait_stopped(pair.local)
    async with pair.second.events(DeadLetter) as letters:
        pair.ref.tell(Item(1))
        letter = await anext(aiter(letters))
    assert letter.reason == "not delivered: no_actor"
    later: list[Any] = []
    pair.first.spawn(recorder(later), "sink")
    for number in (2, 3):
        pair.ref.tell(Item(number))
        await trio.sleep(1)
    assert (pair.seen, later) == ([Item(0)], [Item(2), Item(3)])


async def test_the_messages_of_a_new_actor_of_the_same_path_go_the_quick_way_too(
    autojump_clock, nodes, pair, monkeypatch
):
    await pair.start(nodes)
    pair.first.stop(pair.local)
    await pair.first.wait_stopped(pair.local)
    later: list[Any] = []
    pair.first.spawn(recorder(later), "sink")
    codec = node_of(pair.first).codec
    long_ways: list[bytes] = []

    def decode(body: bytes) -> object:
        long_ways.append(body)
        return type(codec).decode_envelope(codec, body)

    monkeypatch.setattr(codec, "decode_envelope", decode)
    for number in range(5):
        pair.ref.tell(Item(number))
        await trio.sleep(1)
    assert later == [Item(number) for number in range(5)]
    assert len(long_ways) == 1


async def test_a_type_that_the_actor_does_not_take_is_refused_each_time(autojump_clock, nodes, pair):
    await pair.start(nodes)

    async def only_other(ctx, message: Other):
        pair.seen.append(message)
        return Behaviors.same()

    pair.first.spawn(Behaviors.receive(only_other), "strict")
    async with pair.second.events(DeadLetter) as letters:
        for _ in range(3):
            pair.throw("tests.arrivals.Other", {"number": 1}, path="/strict")
            pair.throw("tests.Item", {"number": 1}, path="/strict")
            letter = await anext(aiter(letters))
            assert letter.reason == "not delivered: ill_typed"
    await trio.sleep(1)
    assert pair.seen == [Item(0), Other(1), Other(1), Other(1)]


async def test_what_finds_no_room_waits_for_it_in_order(autojump_clock, nodes, pair):
    gate = trio.Event()
    await pair.start(nodes, mailbox=Mailbox(3), gate=gate)
    for number in range(1, 200):
        pair.ref.tell((Item, Other)[number % 2](number))
    await trio.sleep(1)
    gate.set()
    await trio.sleep(5)
    assert [message.number for message in pair.seen] == list(range(200))


async def test_a_reply_for_another_ask_reaches_nobody(autojump_clock, nodes, pair, caplog):
    await pair.start(nodes)
    got, gate = list[int](), trio.Event()

    async def late(ctx, message: GetNth):
        refs.append(message.reply_to)
        await gate.wait()
        message.reply_to.tell(message.number)
        return Behaviors.same()

    refs: list[Any] = []
    pair.second.spawn(Behaviors.receive(late), "late")
    ref: Any = pair.first.remote("/late", "b").of(GetNth)
    assert await pair.first.ask(pair.first.remote("/sink", "a").of(GetNth), lambda reply_to: GetNth(0, reply_to)) == 0

    async def ask() -> None:
        got.append(await pair.first.ask(ref, lambda reply_to: GetNth(7, reply_to)))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await trio.sleep(1)
        serial, uid = int(refs[0].path.rpartition("/")[2]), refs[0].address.uid
        for name, payload, slot in (
            ("int", 1, (serial, uid ^ 1)),
            ("int", 2, (serial + 1, uid)),
        ):
            for _ in range(2):
                pair.throw(name, payload, path="/_ask/", tail=encode_slot(*slot))
        await trio.sleep(1)
        assert got == []
        gate.set()
    assert got == [7]


async def test_a_reply_of_another_type_under_a_known_head_fails_the_ask(autojump_clock, nodes, pair):
    await pair.start(nodes)
    refs: list[Any] = []

    pair.second.spawn(keeping_askers(refs), "keep")
    ref: Any = pair.first.remote("/keep", "b").of(GetNth)
    for _ in range(2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails, pair.first, ref)
            await trio.sleep(1)
            slot = int(refs[-1].path.rpartition("/")[2]), refs[-1].address.uid
            pair.throw("str", "3", path="/_ask/", tail=encode_slot(*slot))


async def fails(system, ref) -> None:
    with pytest.raises(AskFailed, match="of another type than was asked for: str"):
        await system.ask(ref, lambda reply_to: GetNth(7, reply_to))


async def test_a_mailbox_is_looked_at_though_a_request_ends_each_batch(autojump_clock, nodes, pair, monkeypatch):
    await pair.start(nodes)
    await pair.second.ask(pair.ref, lambda reply_to: GetNth(0, reply_to))
    looked: list[str] = []
    monkeypatch.setattr(ReceiveBackpressure, "look", lambda _, ref: looked.append(ref.path))
    for _ in range(4):
        async with trio.open_nursery() as nursery:
            for number in range(LOOKED_AT_EVERY - 1):
                pair.ref.tell(Item(number))
            nursery.start_soon(pair.second.ask, pair.ref, lambda reply_to: GetNth(0, reply_to))
    assert looked == ["/sink"] * 4


async def test_only_so_many_heads_are_remembered(autojump_clock, nodes, pair, monkeypatch):
    monkeypatch.setattr(arrivals_module, "HEADS_MAX", 4)
    await pair.start(nodes)
    seen: list[Any] = []
    refs = []
    for number in range(20):
        pair.first.spawn(recorder(seen), f"sink-{number}")
        ref: Any = pair.second.remote(f"/sink-{number}", "a").of(Message)
        refs.append(ref)
    for turn in range(3):
        for ref in refs:
            ref.tell(Item(turn))
            assert await pair.second.ask(ref, lambda reply_to: GetNth(5, reply_to)) == 5
    assert len(seen) == 120


def way(*, is_closed: bool) -> CachedTarget:
    codec = Codec(export_ref=lambda ref, form: ref.address.place, import_ref=lambda place, form: None)
    codec.register(int)
    entry, mailbox = codec.entry_of("int"), MessageQueue(Mailbox())
    assert entry is not None
    if is_closed:
        mailbox.close()
    return CachedTarget(entry, mailbox, Envelope("/sink", 0, 1, "int"))


def test_the_table_of_heads_is_bounded(monkeypatch):
    monkeypatch.setattr(arrivals_module, "HEADS_MAX", 4)
    table: dict[bytes, Any] = {}
    for number in range(10):
        kept = way(is_closed=False)
        arrivals_module.remember(table, b"%d" % number, kept)
        assert len(table) <= 4
        assert table[b"%d" % number] is kept


def test_heads_of_actors_that_have_ended_make_room_first(monkeypatch):
    monkeypatch.setattr(arrivals_module, "HEADS_MAX", 4)
    table: dict[bytes, Any] = {}
    for number in range(4):
        arrivals_module.remember(table, b"%d" % number, way(is_closed=number % 2 == 0))
    arrivals_module.remember(table, b"4", way(is_closed=False))
    assert sorted(table) == [b"1", b"3", b"4"]
