"""Asking a node for its status from outside of its cluster."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
import trio
from helpers.tasks import in_background

from casty import MemoryNetwork
from casty.address import NodeAddress, UniqueAddress
from casty.cluster.observability.status_report import NoStatus, ask_status
from casty.protocol.membership.status import REPORT_TYPES, ClusterReport, NodeReport, report_alone
from casty.protocol.state.member import Member, MemberStatus
from casty.transport.network.interface import ConnectionLost
from casty.wire.codec.codec import Codec
from casty.wire.frame import FrameKind, Lane, frame
from casty.wire.handshake import PROTOCOL_MAX, PROTOCOL_MIN, Hello, HelloAck, encode_hello, encode_hello_ack

PORT = 2551


async def ask(nodes, name: str, **options) -> ClusterReport:
    return await ask_status(nodes.network.host("console"), NodeAddress(name, PORT), **options)


async def test_a_node_tells_its_cluster(autojump_clock, nodes) -> None:
    for name in "abc":
        await nodes.start(name, seeds=["a"], roles={"web"} if name == "b" else set())
    await nodes.all_up("a", "b", "c")
    await trio.sleep(5)
    report = await ask(nodes, "b")
    assert (report.node.id, report.node.system, report.node.phase, report.node.members) == ("b", "shop", "member", 3)
    assert report.node.address == nodes.handles["b"].system.self_node
    assert report.node.leader == NodeAddress("a", PORT)
    assert report.node.converged
    assert report.node.cluster_id == (await ask(nodes, "c")).node.cluster_id != 0
    assert [(r.id, r.status.name, r.has_seen, r.accusers) for r in report.members] == [
        ("a", "up", True, 0), ("b", "up", True, 0), ("c", "up", True, 0),
    ]  # fmt: skip
    assert report.members[1].roles == {"web"}
    a, b, _ = report.members
    assert (b.phi, b.gossip_age) == (None, None)
    assert a.phi is not None
    assert a.gossip_age is not None
    assert 0 <= a.gossip_age < 5


async def test_who_asks_is_no_member_is_not_linked_and_not_dialled(autojump_clock, nodes) -> None:
    await nodes.start("a")
    await ask(nodes, "a")
    await trio.sleep(60)
    [member] = (await ask(nodes, "a")).members
    assert member.id == "a"
    events = nodes.handles["a"].events
    assert {type(event).__name__ for _, event in events} <= {"MemberUp", "ActorStarted", "ActorStopped"}


async def test_no_run_is_told_to_who_asks(autojump_clock, nodes) -> None:
    await nodes.join(*"ab")
    runs = [nodes.handles[name].run.incarnation for name in "ab"]
    connection = await nodes.network.host("console").connect(NodeAddress("a", PORT))
    await connection.send(
        encode_hello(Hello(PROTOCOL_MIN, PROTOCOL_MAX, "", UniqueAddress(NodeAddress("status", 1), 9), Lane.status))
    )
    told = b""
    with suppress(ConnectionLost):
        while data := await connection.receive(65_536):
            told += data
    assert b"casty.report.member" in told
    assert not [run for run in runs if run.to_bytes(8, "big") in told]


async def test_a_report_says_for_whom_a_node_is_unreachable(autojump_clock, nodes) -> None:
    await nodes.join(*"abc")
    nodes.crash("c")
    await trio.sleep(3)
    report = await ask(nodes, "a")
    lost = next(one for one in report.members if one.id == "c")
    assert lost.accused_by == (NodeAddress("a", PORT), NodeAddress("b", PORT))
    assert not lost.has_seen
    assert not report.node.converged
    assert lost.gossip_age is not None
    assert lost.gossip_age > 2.5
    await trio.sleep(20)
    assert [one.id for one in (await ask(nodes, "a")).members] == ["a", "b"]


async def test_a_node_that_waits_to_be_let_in_says_what_its_seeds_did(autojump_clock, nodes) -> None:
    async with in_background(nodes.start, "a", ["nowhere"]):
        await trio.sleep(1)
        report = await ask(nodes, "a")
    assert (report.node.phase, report.node.leader, report.node.converged) == ("joining", None, False)
    assert "nowhere:2551" in report.node.seeds
    assert [(one.id, one.status.name) for one in report.members] == [("a", "joining")]


async def test_a_node_in_a_cluster_says_nothing_of_its_seeds(autojump_clock, nodes) -> None:
    await nodes.start_all("a", "b")
    await nodes.all_up("a", "b")
    assert [(await ask(nodes, name)).node.seeds for name in "ab"] == ["", ""]


async def test_a_node_of_another_name_does_not_tell(autojump_clock, nodes, caplog) -> None:
    caplog.set_level(logging.INFO, logger="casty.transport")
    await nodes.start("a")
    assert (await ask(nodes, "a", system_name="shop")).node.id == "a"
    with pytest.raises(NoStatus, match="a:2551 does not tell its status: system name 'till' does not match 'shop'"):
        await ask(nodes, "a", system_name="till")
    (said,) = [one for one in caplog.records if "refused" in one.getMessage()]
    assert said.levelname == "INFO"
    assert said.getMessage().endswith("does not match 'shop' of a:2551 (casty status of system till)")


async def test_nobody_there(autojump_clock, nodes) -> None:
    with pytest.raises(NoStatus, match="cannot connect to a:2551"):
        await ask(nodes, "a")


ACK = encode_hello_ack(HelloAck(PROTOCOL_MAX, UniqueAddress(NodeAddress("a", PORT), 1)))


def told(*parts: object) -> bytes:
    """Return the answer of a node that tells these parts."""
    codec = Codec(export_ref=None, import_ref=None)
    for report_type, name in REPORT_TYPES.items():
        codec.register(report_type, name=name)
    return ACK + b"".join(codec.frame_control(part) for part in parts)


def head(members: int) -> NodeReport:
    return NodeReport(NodeAddress("a", PORT), "a", "shop", "0", "member", "", 1, None, True, members)


MEMBER = report_alone(Member(NodeAddress("a", PORT), MemberStatus.up, frozenset(), "a"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "a:2551 closed the connection without an answer"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "a:2551 does not answer like a casty node: frame length 1213486160"),
        (frame(FrameKind.CONTROL, b"?"), "a:2551 does not answer like a casty node: expected an answer to the hello"),
        (None, "a:2551 did not answer within 5 s"),
        (told(), "a:2551 closed the connection without an answer"),
        (told(head(2), MEMBER), "a:2551 closed the connection without an answer"),
        (told(MEMBER), "a CONTROL frame that belongs to no report"),
        (told(head(1), head(1)), "a CONTROL frame that belongs to no report"),
        (told(head(0)), "a CONTROL frame that belongs to no report"),
        (told(head(10**6)), "a CONTROL frame that belongs to no report"),
        (ACK + frame(FrameKind.GOODBYE, b""), "a GOODBYE frame that belongs to no report"),
        (ACK + frame(FrameKind.CONTROL, b"?"), "does not answer like a casty node"),
    ],
)
async def test_what_is_no_node(autojump_clock, answer, reason) -> None:
    network = MemoryNetwork()
    listener = await network.host("a").listen("a", PORT)

    async def serve(connection) -> None:
        await connection.receive(4096)
        if answer is None:
            await trio.sleep_forever()
        elif answer:
            await connection.send(answer)
        await connection.aclose()

    async with in_background(listener.serve, serve):
        with pytest.raises(NoStatus, match=reason):
            await ask_status(network.host("console"), NodeAddress("a", PORT))
