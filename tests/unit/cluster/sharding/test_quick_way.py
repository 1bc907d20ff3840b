"""The quick way of messages to an entity that runs: no path is read, and nothing is lost or overtaken by it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
import trio

import casty
from casty import ActorContext, ActorRef, Behavior, Behaviors, ClusteredActorSystem, EntityKey, Mailbox, SystemConfig
from casty.cluster.remoting import receive_backpressure
from casty.protocol.sharding.placement_events import ServesUntil
from casty.testing.inspect import node_of
from casty.wire.codec.codec import Codec
from casty.wire.envelope import encode_entity, encode_head
from casty.wire.frame import FrameKind, Lane, frame


@casty.message("tests.quick.Note")
@dataclass(frozen=True)
class Note:
    number: int


@casty.message("tests.quick.Notes")
@dataclass(frozen=True)
class Notes:
    reply_to: ActorRef[list[int]]


@casty.message("tests.quick.Stop")
@dataclass(frozen=True)
class Stop:
    pass


@casty.message("tests.quick.Wait")
@dataclass(frozen=True)
class Wait:
    pass


Command = Note | Notes | Stop | Wait
BOXES = EntityKey[Command]("boxes")


class Boxes:
    """The boxes of one node: a `Wait` keeps one busy until ``gate`` is set."""

    def __init__(self) -> None:
        self.gate = trio.Event()

    def make(self, entity_id: str) -> Behavior[Command]:
        notes: list[int] = []

        async def handle(ctx: ActorContext[Command], message: Command) -> Behavior[Command]:
            match message:
                case Note(number):
                    notes.append(number)
                case Notes(reply_to):
                    reply_to.tell(list(notes))
                case Stop():
                    return Behaviors.stopped()
                case Wait():
                    await self.gate.wait()
            return Behaviors.same()

        return Behaviors.receive(handle)


def host(system: ClusteredActorSystem, **options: Any) -> Boxes:
    boxes = Boxes()
    system.spawn(Behaviors.sharded(boxes.make, BOXES, **{"num_shards": 16} | options), "boxes")
    return boxes


async def notes(system: ClusteredActorSystem, entity_id: str) -> list[int]:
    found: list[int] = await system.ask(system.entity(BOXES, entity_id), Notes)
    return found


def throw(to: ClusteredActorSystem, sender: ClusteredActorSystem, epoch: int, number: object) -> None:
    """Send a note to a box, past all that a sender knows."""
    head = encode_head("/_entity/boxes", 0, "tests.quick.Note", has_tail=False, pack=msgpack.packb)
    body = head + encode_entity(epoch, "box") + msgpack.packb({"number": number})
    transport = node_of(sender).transport
    assert transport is not None
    assert transport.send(node_of(to).self_node, Lane.ordinary, frame(FrameKind.ENVELOPE, body))


@pytest.fixture
def decoded(monkeypatch) -> list[tuple[str, int]]:
    """Return paths and epochs of the messages that went the long way, as they come."""
    paths: list[tuple[str, int]] = []
    decode = Codec.decode_envelope

    def noted(self: Codec, body: bytes | memoryview) -> Any:
        envelope = decode(self, body)
        paths.append((envelope.path, envelope.uid))
        return envelope

    monkeypatch.setattr(Codec, "decode_envelope", noted)
    return paths


async def test_entities_of_a_kind_share_what_is_remembered_of_a_head(autojump_clock, nodes, decoded):
    a, b = await nodes.systems("a", "b")
    host(a)
    for number in range(30):
        b.entity(BOXES, f"box-{number}").tell(Note(0))
        assert await notes(b, f"box-{number}") == [0]
    decoded.clear()
    for number in range(30):
        b.entity(BOXES, f"box-{number}").tell(Note(1))
        assert await notes(b, f"box-{number}") == [0, 1]
    assert decoded == []


async def test_the_quick_way_and_the_long_one_keep_the_order_of_a_sender(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    assert await notes(b, "known") == []
    refs = [b.entity(BOXES, f"box-{number}") for number in range(20)]
    for number in range(300):
        for ref in refs:
            ref.tell(Note(number))
        if not number % 50:
            await trio.sleep(0.001)
    for number in range(20):
        assert await notes(b, f"box-{number}") == list(range(300))


async def test_messages_of_another_epoch_are_refused_on_the_quick_way_too(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    b.entity(BOXES, "box").tell(Note(1))
    assert await notes(b, "box") == [1]
    for epoch in (0, 1, 2**64 - 1):
        throw(a, b, epoch, 2)
    await trio.sleep(1)
    assert await notes(b, "box") == [1]
    assert [letter.reason for letter in nodes.handles["a"].letters] == ["shard moved"] * 3


async def test_a_message_that_cannot_be_made_is_refused_on_the_quick_way(autojump_clock, nodes, decoded):
    a, b = await nodes.systems("a", "b")
    host(a)
    ref = b.entity(BOXES, "box")
    ref.tell(Note(1))
    assert await notes(b, "box") == [1]
    [epoch] = {uid for path, uid in decoded if path == "/_entity/5/boxes/box"}
    ref.tell(Note(2))
    throw(a, b, epoch, "three")
    ref.tell(Note(4))
    assert await notes(b, "box") == [1, 2, 4]
    await trio.sleep(1)
    assert [letter.reason for letter in nodes.handles["b"].letters] == ["not delivered: ill_typed"]


async def test_what_comes_while_an_entity_stops_starts_it_again_by_the_quick_way_too(autojump_clock, nodes):
    a, b = await nodes.systems("a", "b")
    host(a)
    assert await notes(b, "box") == []
    for system in (a, b):
        ref = system.entity(BOXES, "box")
        for number in range(6):
            ref.tell(Note(number))
            if number == 2:
                ref.tell(Stop())
        assert await notes(system, "box") == [3, 4, 5]
        ref.tell(Stop())
    assert nodes.handles["a"].letters == nodes.handles["b"].letters == []


@pytest.mark.parametrize("asker", ["a", "b"])
async def test_an_entity_in_use_is_not_idle(autojump_clock, nodes, asker):
    a, _ = await nodes.systems("a", "b")
    host(a, passivate_after=2.0)
    system = nodes.handles[asker].system
    ref = system.entity(BOXES, "box")
    for number in range(10):
        ref.tell(Note(number))
        await trio.sleep(1)
    assert await notes(system, "box") == list(range(10))


async def test_send_waits_for_an_entity_of_another_node_that_cannot_keep_up(autojump_clock, nodes, monkeypatch):
    monkeypatch.setattr(receive_backpressure, "LONG", 200)
    monkeypatch.setattr(receive_backpressure, "SHORT", 100)
    a, b = await nodes.systems("a", "b")
    boxes = host(a)
    assert await notes(b, "box") == []
    ref, sent = b.entity(BOXES, "box"), 0
    ref.tell(Wait())

    async def send() -> None:
        nonlocal sent
        for number in range(8_000):
            await ref.send(Note(number))
            sent += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await trio.sleep(5)
        assert 200 < sent < 8_000
        other = b.entity(BOXES, "other")
        other.tell(Note(1))
        assert await notes(b, "other") == [1]
        boxes.gate.set()
    assert await notes(b, "box") == list(range(8_000))
    assert nodes.handles["a"].letters == nodes.handles["b"].letters == []


async def test_send_waits_for_room_in_the_mailbox_of_an_entity_here(autojump_clock, nodes):
    a = (await nodes.start("a", config=SystemConfig(mailboxes={"/boxes/*": Mailbox(10)}))).system
    host(a)
    ref = a.entity(BOXES, "box")
    assert await notes(a, "box") == []
    with trio.fail_after(5):
        for number in range(50):
            await ref.send(Note(number))
    assert await notes(a, "box") == list(range(50))
    assert nodes.handles["a"].letters == []


async def test_thousands_of_entities_that_waited_for_the_lease_start_one_after_the_other(autojump_clock, nodes):
    (a,) = await nodes.systems("a")
    host(a)
    assert await notes(a, "first") == []
    sharding: Any = node_of(a).kernel.hooks.entity_host
    sharding.routers["boxes"].hosting.place(ServesUntil(-math.inf))
    for number in range(3_000):
        a.entity(BOXES, f"box-{number}").tell(Note(number))
    await trio.sleep(3)
    assert [await notes(a, f"box-{number}") for number in (0, 1_499, 2_999)] == [[0], [1_499], [2_999]]
    assert nodes.handles["a"].letters == []
