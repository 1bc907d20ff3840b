"""The table of control messages: what it refuses, and what becomes of a message that is not in it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgpack
import pytest
import trio

from casty import ActorRef, ConfigError, message
from casty.cluster.access import Sender
from casty.cluster.control_registry import ENTRIES_MAX
from casty.cluster.observability.cluster_metrics import CONTROL_UNKNOWN, OTHER, UNKNOWN_NAMES_MAX, ClusterMetrics
from casty.protocol.messages.liveness import Heartbeat
from casty.testing.samples import control_registry, run_of
from casty.wire.frame import HEADER_BYTES, FrameKind, Lane, frame


@dataclass(frozen=True)
class Count:
    number: int


@dataclass(frozen=True)
class Other:
    number: int


@dataclass(frozen=True)
class WithRef:
    reply_to: ActorRef[int]


@dataclass(frozen=True)
class WithAny:
    number: Any


@dataclass
class Thawed:
    number: int


@message("test.control.Declared")
@dataclass(frozen=True)
class Declared:
    number: int


def ignore(peer: object, letter: object, size: int) -> None: ...


@pytest.mark.parametrize(
    ("cls", "name", "lane", "expected"),
    [
        (Count, "casty.heartbeat", Lane.control, "Heartbeat is 'casty.heartbeat'; give each class one name of its own"),
        (Heartbeat, "shop.heartbeat", Lane.control, "that is taken, since Heartbeat is 'casty.heartbeat'"),
        (Count, "casty.count", Lane.control, "names that begin with 'casty.' belong to the library"),
        (Count, "a count", Lane.control, "printable characters without spaces"),
        (Count, "shop.count", Lane.large, "'shop.count' must travel on Lane.control or Lane.ordinary, got <Lane.large"),
        (WithRef, "shop.count", Lane.control, "it holds an ActorRef, and control messages name no actors"),
        (WithAny, "shop.count", Lane.control, "WithAny.number: typing.Any cannot travel between nodes"),
        (Thawed, "shop.count", Lane.control, "Thawed"),
    ],
    ids=lambda value: getattr(value, "__name__", str(value))[:20],
)
def test_what_cannot_be_a_control_message_is_refused_with_the_reason(cls, name, lane, expected):
    registry = control_registry()
    known = len(registry)
    with pytest.raises(ConfigError, match=expected):
        registry.add(cls, name, lane, ignore)
    assert len(registry) == known


def test_a_control_message_is_a_class_and_names_no_actor_of_its_sender():
    registry = control_registry()
    with pytest.raises(TypeError, match="a control message is a class, got 'Count'"):
        registry.add("Count", "shop.count", Lane.control, ignore)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(ConfigError, match="anyone, inviter or member, got Sender.host"):
        registry.add(Count, "shop.count", Lane.control, ignore, sender=Sender.host)


def test_a_class_of_the_main_program_needs_no_other_name_than_the_one_that_it_is_added_with():
    registry = control_registry()
    cls = dataclass(frozen=True)(type("Main", (), {"__module__": "__main__", "__annotations__": {"number": "int"}}))
    registry.add(cls, "shop.main", Lane.control, ignore)
    assert registry.by_name["shop.main"].cls is cls


def test_a_registry_has_a_bound():
    registry = control_registry()
    for number in range(ENTRIES_MAX - len(registry)):
        cls = dataclass(frozen=True)(type(f"Count{number}", (), {"__annotations__": {"number": int}}))
        registry.add(cls, f"shop.count-{number}", Lane.control, ignore)
    with pytest.raises(ConfigError, match="a node has at most 256 control messages, 'shop.count' would be one more"):
        registry.add(Count, "shop.count", Lane.control, ignore)


async def two(nodes):
    await nodes.join("a", "b")
    return tuple(nodes.handles[name].node for name in "ab")


def unknown_of(node):
    return dict(node.cluster_metrics.unknown)


@pytest.mark.parametrize(
    "name", ["casty.newer", "int", "casty.report.node", "casty.NodeAddress", "test.control.Declared"]
)
async def test_a_control_message_that_a_node_does_not_know_is_ignored_and_counted(autojump_clock, nodes, caplog, name):
    a, b = await two(nodes)
    links = {id(link) for link in a.transport.link_manager.links.by_peer[Lane.control].values()}
    b.transport.send(a.self_node, Lane.control, frame(FrameKind.CONTROL, msgpack.packb([name, {"number": 1}])))
    b.transport.send(a.self_node, Lane.control, frame(FrameKind.CONTROL, msgpack.packb([name, {"number": 1}])))
    await trio.sleep(1)
    assert unknown_of(a) == {name: 2}
    assert a.cluster_metrics.decode_errors == 0
    assert caplog.text.count(f"sends {name}, which this node does not know and ignores") <= 1
    assert {id(link) for link in a.transport.link_manager.links.by_peer[Lane.control].values()} == links
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


async def test_names_of_who_is_no_member_are_not_kept(autojump_clock, nodes):
    a, _ = await two(nodes)
    inbound = a.transport.link_manager.handler
    inbound.frame(run_of("stranger"), Lane.control, FrameKind.CONTROL, msgpack.packb(["x" * 1_000, {}]))
    assert unknown_of(a) == {OTHER: 1}


def test_names_of_unknown_messages_are_a_fixed_number():
    metrics = ClusterMetrics()
    assert [metrics.note_unknown(f"name-{number}") for number in range(UNKNOWN_NAMES_MAX)] == [True] * UNKNOWN_NAMES_MAX
    assert not any(metrics.note_unknown(f"more-{number}") for number in range(1_000))
    assert not metrics.note_unknown("name-0")
    assert len(metrics.unknown) == UNKNOWN_NAMES_MAX + 1
    assert (metrics.unknown[OTHER], metrics.unknown["name-0"]) == (1_000, 2)

    class Seen:
        def __init__(self):
            self.rows = {}

        def counter(self, metric, value, *labels):
            self.rows[metric, labels] = value

        gauge = counter

    seen = Seen()
    metrics.collect(seen, None, run_of("a"))
    assert seen.rows[CONTROL_UNKNOWN, (OTHER,)] == 1_000


async def test_what_takes_a_control_message_and_raises_costs_that_message_alone(autojump_clock, nodes, caplog):
    a, b = await two(nodes)

    def broken(peer, letter, size):
        raise LookupError("as a bug would")

    taken = []
    for node in (a, b):
        node.control.add(Count, "shop.count", Lane.control, broken)
        node.control.add(
            Other, "shop.other", Lane.control, lambda peer, letter, size: taken.append((peer, letter, size))
        )
    assert b.send_control(a.self_node, Count(1))
    assert b.send_control(a.self_node, Other(2))
    await trio.sleep(1)
    assert "its Count made this node fail, and is ignored" in caplog.text
    size = len(b.control_codec.frame_control(Other(2))) - HEADER_BYTES
    assert taken == [(b.self_node, Other(2), size)]
    assert a.cluster_metrics.received["shop.count"] == b.cluster_metrics.sent["shop.count"] == 1
    await nodes.all_up("a", "b")


async def test_a_message_that_is_in_no_table_is_not_sent(autojump_clock, nodes):
    a, b = await two(nodes)
    with pytest.raises(TypeError, match="Count is no control message of this node: add it to its registry"):
        b.send_control(a.self_node, Count(1))
