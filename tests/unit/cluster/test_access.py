"""Who may send what: by one table, at the door of the node, refused messages counted by name."""

from __future__ import annotations

from dataclasses import dataclass

import msgpack
import pytest
import trio
from helpers.behaviors import recording

from casty import (
    LeaseClaim,
    NodeAddress,
    ResolveNode,
    SubscribeTopology,
    TopologySnapshot,
    UnsubscribeTopology,
)
from casty.cluster.access import ANYONE, OPEN_PATHS, RULES, Sender
from casty.cluster.observability.cluster_metrics import OTHER
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.messages.liveness import HeartbeatAck, ProbeAnswer, ProbeRequest
from casty.protocol.messages.membership import (
    ExitingConfirmed,
    RegistrySlots,
    ServingGrant,
    ServingRequest,
    StandingAnswer,
    StatePage,
)
from casty.protocol.messages.watching import (
    ActorTerminated,
    ActorUnwatched,
    ActorWatched,
    TerminatedNoted,
    UnwatchActor,
    WatchActor,
)
from casty.protocol.state.rows import TableRows
from casty.testing.inspect import inbound_of, node_of
from casty.testing.samples import control_registry, gossip_of, member, run_of
from casty.wire.frame import HEADER_BYTES, FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, encode_hello

CONTROL = (
    StatePage(1, 0, 2, to_wire(gossip_of(member("m")), 0.0)),
    HeartbeatAck(1),
    ProbeRequest(run_of("b"), 1),
    ProbeAnswer(1, 0.0),
    RegistrySlots(1, ()),
    TableRows(1, "shop.stock", ()),
    ServingRequest(1),
    ServingGrant(1),
    ExitingConfirmed(),
    StandingAnswer(1, 1, ()),
    WatchActor(1, "/x", 0),
    ActorWatched(1),
    UnwatchActor(1),
    ActorUnwatched(1),
    ActorTerminated(1, None),
    TerminatedNoted(1),
)

HANDSHAKE = {FrameKind.HELLO, FrameKind.HELLO_ACK, FrameKind.REFUSED}
OF_LINKS = {FrameKind.GOODBYE, FrameKind.IDLE, FrameKind.STAY, FrameKind.ACK, FrameKind.HANDOVER}
"""Frames that the transport takes itself, of whomever the link is with."""

STRANGER = run_of("stranger")


def waiting(system) -> int:
    death_watch, node = system.cluster._extensions.all[1], node_of(system)
    mails = (node.topology_mail, node.gossip_mail, node.availability_mail, death_watch.mail)
    return sum(mail.waiting for mail in mails)


def envelope(name: str, field: str, place: tuple[object, ...]) -> bytes:
    head = msgpack.packb(["/_cluster", 0, name])
    return frame(FrameKind.ENVELOPE, len(head).to_bytes(2, "big") + head + msgpack.packb({field: place}))


ANYONES = {
    "casty.heartbeat", "casty.join.probe", "casty.join.answer", "casty.join", "casty.join.withdrawn",
    "casty.gossip.state", "casty.gossip.delta", "casty.gossip.seen", "casty.gossip.digest", "casty.gossip.versions",
    "casty.standing.question",
}  # fmt: skip


def test_each_message_that_another_node_can_send_has_a_rule() -> None:
    assert set(RULES) == set(FrameKind) - HANDSHAKE - OF_LINKS
    assert {kind for kind, rule in RULES.items() if rule is not ANYONE} == {FrameKind.PAUSE, FrameKind.RESUME}
    assert {path: {kind: rule.sender for kind, rule in rules.items()} for path, rules in OPEN_PATHS.items()} == {
        "/_cluster": {ResolveNode: Sender.member, SubscribeTopology: Sender.host, UnsubscribeTopology: Sender.host}
    }


def test_each_control_message_is_for_members_but_those_that_are_judged_otherwise() -> None:
    senders = {entry.wire_name: entry.rule.sender for entry in control_registry()}
    assert {name for name, sender in senders.items() if sender is Sender.anyone} == ANYONES
    assert {name for name, sender in senders.items() if sender is Sender.inviter} == {"casty.gossip.page"}
    assert {type(message) for message in CONTROL} == {
        entry.cls for entry in control_registry() if entry.rule is not ANYONE
    }
    assert set(senders.values()) == {Sender.anyone, Sender.inviter, Sender.member}


def test_ends_of_actors_and_rows_of_extensions_alone_travel_behind_messages() -> None:
    assert [entry.cls for entry in control_registry() if entry.lane is not Lane.control] == [TableRows, ActorTerminated]


async def test_what_only_members_say_of_the_cluster_is_refused_to_others_and_named(autojump_clock, nodes, caplog):
    a, b, _ = await nodes.systems(*"abc")
    node = node_of(a)
    for message in CONTROL:
        entry = node.control.entry_of(message)
        name, lane = entry.wire_name, entry.lane
        body = node.control_codec.frame_control(message)[HEADER_BYTES:]
        before = waiting(a)
        inbound_of(a).frame(STRANGER, lane, FrameKind.CONTROL, body)
        assert node.cluster_metrics.refused[name] == 1, name
        assert waiting(a) == before, name
        inbound_of(a).frame(node_of(b).self_node, lane, FrameKind.CONTROL, body)
        assert node.cluster_metrics.refused[name] == 1, name
    for kind in (FrameKind.PAUSE, FrameKind.RESUME):
        inbound_of(a).frame(STRANGER, Lane.ordinary, kind, b"/x")
        assert node.cluster_metrics.refused[kind.name] == 1
    assert sum(node.cluster_metrics.refused.values()) == len(CONTROL) + 2
    await trio.sleep(1)
    await nodes.all_up("a", "b", "c")


made = list[int]()


@dataclass(frozen=True)
class Costly:
    """What a user's class does as it is made."""

    number: int

    def __post_init__(self) -> None:
        made.append(self.number)


async def test_who_may_not_send_a_control_message_has_none_of_its_code_run(autojump_clock, nodes):
    a, b, _ = await nodes.systems(*"abc")
    node, peer, got = node_of(a), node_of(b).self_node, list[Costly]()
    node.control.add(Costly, "test.costly", Lane.control, lambda peer, message, size: got.append(message))
    body = node.control_codec.frame_control(Costly(7))[HEADER_BYTES:]
    made.clear()
    inbound_of(a).frame(STRANGER, Lane.control, FrameKind.CONTROL, body)
    inbound_of(a).frame(peer, Lane.ordinary, FrameKind.CONTROL, body)
    assert (made, got) == ([], [])
    assert node.cluster_metrics.refused["test.costly"] == node.cluster_metrics.decode_errors == 1
    ill = msgpack.packb(["test.costly", {"number": "seven"}])
    inbound_of(a).frame(STRANGER, Lane.control, FrameKind.CONTROL, ill)
    assert (node.cluster_metrics.refused["test.costly"], node.cluster_metrics.decode_errors) == (2, 1)
    inbound_of(a).frame(peer, Lane.control, FrameKind.CONTROL, body)
    assert (made, len(got)) == ([7], 1)


@pytest.mark.parametrize("message", [3, "text", run_of("x"), LeaseClaim("c", frozenset(), frozenset())])
async def test_what_travels_and_is_no_control_message_is_ignored_as_one(autojump_clock, nodes, caplog, message):
    caplog.set_level("INFO")
    a, b, _ = await nodes.systems(*"abc")
    node = node_of(a)
    node.control_codec.register(type(message))
    body = node.control_codec.frame_control(message)[HEADER_BYTES:]
    for peer in (STRANGER, node_of(b).self_node):
        inbound_of(a).frame(peer, Lane.control, FrameKind.CONTROL, body)
    assert node.cluster_metrics.decode_errors == 0
    assert sorted(node.cluster_metrics.unknown.values()) == [1, 1]
    assert node.cluster_metrics.unknown[OTHER] == 1  # of the stranger, whose names are not counted apart
    assert caplog.text.count("which this node does not know") == 2


@pytest.mark.parametrize("is_member", [False, True])
async def test_only_members_subscribe_to_the_topology(autojump_clock, nodes, is_member):
    a, b, _ = await nodes.systems(*"abc")
    node = node_of(a)
    peer = node_of(b).self_node if is_member else STRANGER
    seen = list[TopologySnapshot]()
    subscriber = b.spawn(recording(seen), "subscriber")
    at = peer.address
    for incarnation, is_taken in ((peer.incarnation + 1, False), (peer.incarnation, is_member)):
        place = ("shop", "/subscriber", at.host, at.port, incarnation, subscriber.uid)
        body = envelope("casty.SubscribeTopology", "reply_to", place)[HEADER_BYTES:]
        inbound_of(a).frame(peer, Lane.ordinary, FrameKind.ENVELOPE, body)
        await trio.sleep(1)
        assert len(seen) == is_taken
    assert {link.peer.address.host for link in node.transport.statistics().links} == {"b", "c"}
    assert node.cluster_metrics.refused["casty.SubscribeTopology"] == 2 - is_member


async def test_a_stranger_on_a_link_gets_no_snapshot_and_is_told_so(autojump_clock, nodes, nursery, vouch):
    a, *_ = await nodes.systems(*"abc")
    await vouch(nursery, nodes.network.host("stranger"), STRANGER)
    link = await nodes.network.host("stranger").connect(NodeAddress("a", 2551))
    await link.send(encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", STRANGER, Lane.ordinary, nonce=7)))
    place = ("shop", "/x", "stranger", STRANGER.address.port, STRANGER.incarnation, 7)
    await link.send(envelope("casty.SubscribeTopology", "reply_to", place))
    await link.send(envelope("casty.UnsubscribeTopology", "subscriber", place))
    heard = b""
    with trio.move_on_after(5):
        while data := await link.receive(65_536):
            heard += data
    assert heard.count(b"refused") == 2
    assert b"TopologySnapshot" not in heard
    assert node_of(a).cluster_metrics.refused == {"casty.SubscribeTopology": 1, "casty.UnsubscribeTopology": 1}
    await link.aclose()


async def test_nobody_ends_a_subscription_but_the_node_of_the_subscriber(autojump_clock, nodes):
    a, b, c = await nodes.systems(*"abc")
    here, there = list[TopologySnapshot](), list[TopologySnapshot]()
    local, remote = a.spawn(recording(here), "subscriber"), b.spawn(recording(there), "subscriber")
    a.cluster.ref.tell(SubscribeTopology(local))
    b.remote("/_cluster", "a").of(SubscribeTopology).tell(SubscribeTopology(remote))
    await trio.sleep(1)
    for system, uid in ((a, local.uid), (b, remote.uid)):
        at = node_of(system).self_node
        for sender in (STRANGER, node_of(c).self_node, node_of(a).self_node):
            for incarnation in (0, at.incarnation):
                place = ("shop", "/subscriber", at.address.host, at.address.port, incarnation, uid)
                body = envelope("casty.UnsubscribeTopology", "subscriber", place)[HEADER_BYTES:]
                inbound_of(a).frame(sender, Lane.ordinary, FrameKind.ENVELOPE, body)
    assert node_of(a).cluster_metrics.refused["casty.UnsubscribeTopology"] == 12
    await nodes.start("d", "a")
    await nodes.all_up("a", "b", "c", "d")
    await trio.sleep(1)
    for seen in (here, there):
        assert {m.id for m in seen[-1].members} == set("abcd")


async def test_a_member_asks_where_a_node_is_and_a_stranger_has_nobody_dialled_for_it(autojump_clock, nodes):
    a, b, _ = await nodes.systems(*"abc")
    reply: NodeAddress | None = await b.ask(b.remote("/_cluster", "a").of(ResolveNode), lambda to: ResolveNode("c", to))
    assert reply == NodeAddress("c", 2551)
    head = msgpack.packb(["/_cluster", 0, "casty.ResolveNode"])
    payload = msgpack.packb({"node_id": "c", "reply_to": ("shop", "/_ask/1", "victim", 80, 0, 5)})
    inbound_of(a).frame(STRANGER, Lane.ordinary, FrameKind.ENVELOPE, len(head).to_bytes(2, "big") + head + payload)
    await trio.sleep(1)
    assert node_of(a).cluster_metrics.refused["casty.ResolveNode"] == 1
    assert not any(address.host == "victim" for address, _ in node_of(a).transport.link_manager.dials)
