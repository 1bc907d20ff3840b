"""Nodes that prove themselves by certificates: who becomes a member, who does not, and what each end says of it."""

from __future__ import annotations

from dataclasses import replace

import pytest
import trio
from helpers.certificates import TestCa

from casty import ConfigError, JoinRefused, TlsConfig, TlsNetwork, UnreachableMember
from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.protocol.failure_detector.monitor import REFUSAL_GAP
from casty.transport.links.hello import client_handshake
from casty.transport.network.tls_credentials import TlsCredentials
from casty.wire.frame import Lane
from casty.wire.handshake import CLIENT, MEMBER, PROTOCOL_MAX, PROTOCOL_MIN, Hello, HelloAck, Refused

PORT = 2551


async def test_nodes_with_certificates_of_one_ca_are_one_cluster(autojump_clock, nodes, ca, tmp_path):
    for name in "abc":
        await nodes.start(name, [] if name == "a" else ["a"], tls=ca.node(tmp_path, name))
    await nodes.all_up("a", "b", "c")


async def refused(nodes, caplog, message: str, **options: object) -> str:
    """Let b join a, which refuses; return what was logged, once nobody but a is a member."""
    with pytest.raises(JoinRefused, match=message):
        await nodes.start("b", ["a"], **options)
    await trio.sleep(30)
    assert [member.id for member in (await nodes.handles["a"].system.get_cluster_state()).members] == ["a"]
    assert nodes.network.connection_count == 0
    return caplog.text


NO_LINK = "no seed has a link with this node: a:2551: "


async def test_certificate_of_another_ca_is_refused(autojump_clock, nodes, ca, tmp_path, caplog):
    await nodes.start("a", tls=ca.node(tmp_path, "a"))
    message = NO_LINK + "its TLS certificate is not believed: it is not signed by a CA that this end believes"
    text = await refused(nodes, caplog, message, tls=TestCa.make().node(tmp_path, "b"))
    assert "a connection from there was refused: it ended the TLS handshake: its log says why" in text
    assert " a:2551: no link with it: its TLS certificate is not believed: it is not signed" in text


async def test_certificate_of_a_ca_believed_by_one_end_alone_is_refused(autojump_clock, nodes, ca, tmp_path, caplog):
    other = TestCa.make("other")
    await nodes.start("a", tls=ca.node(tmp_path, "a"))
    own = other.node(tmp_path, "b")
    (tmp_path / "b" / "ca.crt").write_bytes(other.pem + ca.pem)
    message = NO_LINK + "closed after the TLS handshake: see the log of the node there"
    text = await refused(nodes, caplog, message, tls=own)
    assert "was refused: its TLS certificate is not believed: it is not signed by a CA that this end believes" in text


async def test_node_without_tls_is_refused_by_one_with_it_and_both_say_so(autojump_clock, nodes, ca, tmp_path, caplog):
    await nodes.start("a", tls=ca.node(tmp_path, "a"))
    text = await refused(nodes, caplog, NO_LINK + "the other end speaks TLS, and this end does not: set tls on both")
    assert "a connection from there was refused: it does not speak TLS, and this end does: set tls on both" in text


async def test_node_with_tls_is_refused_by_one_without_it_and_both_say_so(autojump_clock, nodes, ca, tmp_path, caplog):
    await nodes.start("a")
    message = NO_LINK + "it does not speak TLS, and this end does: set tls on both, or on neither"
    text = await refused(nodes, caplog, message, tls=ca.node(tmp_path, "b"))
    assert "a connection from there was refused: the other end speaks TLS, and this end does not: set tls on" in text


async def test_certificate_of_another_node_proves_only_that_one(autojump_clock, nodes, ca, tmp_path):
    with pytest.raises(ConfigError, match=r"tls.crt is of another node, spiffe://shop/node/c, and this one is 'b'"):
        await nodes.start("b", tls=ca.node(tmp_path, "c"))
    with pytest.raises(
        ConfigError,
        match="the TLS certificate .*/shop/node/b, no node or client of 'till'; expected spiffe://till/node/b; ",
    ):
        await nodes.start("b", system="till", tls=ca.node(tmp_path, "b"))


async def test_one_seed_of_two_that_is_not_believed_ends_nothing(autojump_clock, nodes, ca, tmp_path):
    await nodes.start("stray", tls=TestCa.make("other").node(tmp_path, "stray"))
    await nodes.start("a", tls=ca.node(tmp_path, "a"))
    await nodes.start("b", ["stray", "a"], tls=ca.node(tmp_path, "b"))
    await nodes.all_up("a", "b")


async def test_member_whose_new_certificate_is_not_believed_accuses_nobody_at_once(autojump_clock, nodes, ca, tmp_path):
    for name in "abc":
        await nodes.start(name, [] if name == "a" else ["a"], tls=ca.node(tmp_path, name))
    await nodes.all_up("a", "b", "c")
    other = TestCa.make("other")
    other.node(tmp_path, "b")
    (tmp_path / "b" / "ca.crt").write_bytes(other.pem + ca.pem)
    await trio.sleep(10.5)
    for name in "ac":
        nodes.network.reset("b", name)
    await trio.sleep(4 * REFUSAL_GAP)  # twice refused at this distance is dead, as that of a process that has ended
    assert not any(handle.told(UnreachableMember) for handle in nodes.handles.values())
    await trio.sleep(60)
    told = {name: set(handle.told(UnreachableMember)) for name, handle in nodes.handles.items()}
    assert told["a"] == told["c"] == {"b"}, "its silence is what it is accused of"


async def said(nodes, hello: Hello, tls: TlsConfig) -> HelloAck | Refused:
    """Return what node a answers to a stranger with this certificate and this hello."""
    network = TlsNetwork(tls, system_name="shop", network=nodes.network.host("stranger"))
    connection = await network.connect(NodeAddress("a", PORT))
    try:
        answer, _ = await client_handshake(connection, hello, TransportLimits())
        return answer
    finally:
        await connection.aclose()


def hello_of(node_id: str, role: str = MEMBER, lane: Lane = Lane.control) -> Hello:
    node = UniqueAddress(NodeAddress("stranger", PORT), 7)
    return Hello(PROTOCOL_MIN, PROTOCOL_MAX, "shop", node, lane, 7, node_id=node_id, role=role)


THREATS = {
    "client as a member": (
        "client", "ops", hello_of("ops"), "the member 'ops', the connection proves the client 'ops'",
    ),
    "other node": ("node", "c", hello_of("b"), "the member 'b', the connection proves the member 'c'"),
    "other lane of it": (
        "node", "c", hello_of("b", lane=Lane.ordinary), "the member 'b', the connection proves the member 'c'",
    ),
    "node as a client": ("node", "c", hello_of("c", CLIENT), "the client 'c', the connection proves the member 'c'"),
}  # fmt: skip


@pytest.mark.parametrize("kind", THREATS)
async def test_hello_of_another_than_the_certificate_is_refused_and_named(
    autojump_clock, nodes, ca, tmp_path, caplog, kind
):
    make, name, hello, reason = THREATS[kind]
    await nodes.start("a", tls=ca.node(tmp_path, "a"))
    answer = await said(nodes, hello, getattr(ca, make)(tmp_path, name))
    assert answer == Refused(f"the hello is of {reason}", final=True)
    await trio.sleep(30)
    assert f"the hello is of {reason}" in caplog.text
    assert [member.id for member in (await nodes.handles["a"].system.get_cluster_state()).members] == ["a"]


async def test_client_that_proves_the_hello_of_a_client_gets_no_link(autojump_clock, nodes, ca, tmp_path):
    await nodes.start("a", tls=ca.node(tmp_path, "a"))
    answer = await said(nodes, hello_of("ops", CLIENT), ca.client(tmp_path, "ops"))
    assert isinstance(answer, Refused)
    await trio.sleep(30)
    assert [member.id for member in (await nodes.handles["a"].system.get_cluster_state()).members] == ["a"]


async def test_member_whose_serial_number_is_denied_is_cut_off_and_named(autojump_clock, nodes, ca, tmp_path, caplog):
    denied = tmp_path / "denied"
    denied.write_text("")
    for name in "abc":
        tls = replace(ca.node(tmp_path, name), denied=None if name == "b" else denied)
        await nodes.start(name, [] if name == "a" else ["a"], tls=tls)
    await nodes.all_up("a", "b", "c")
    serial = TlsCredentials(TlsConfig.folder(tmp_path / "b")).own.serial
    denied.write_text(f"{serial.lower()}  # its disk was stolen\n")
    await trio.sleep(12)
    reason = f"denied is certificate {serial} of spiffe://shop/node/b"
    assert f"the link with b is closed: {reason}" in caplog.text
    assert f"a connection from there was refused: {reason}" in caplog.text
    await nodes.sees("a", {"a": "up", "c": "up"})


async def test_secret_of_many_proves_membership_and_no_name(autojump_clock, nodes, ca, tmp_path):
    files = ca.issue(tmp_path, "spiffe://prod/sa/shop")
    tls = TlsConfig(files.certificate, files.private_key, files.ca, accept={"member": ["spiffe://prod/sa/shop"]})
    await nodes.start("a", tls=tls)
    await nodes.start("b", ["a"], tls=tls)
    await nodes.all_up("a", "b")


async def test_seconds_to_the_end_of_the_certificate_are_a_figure(autojump_clock, nodes, ca, tmp_path):
    class Figures(dict[str, float]):
        def counter(self, metric, value, *labels):
            pass

        def gauge(self, metric, value, *labels):
            self[metric.name] = value

    figures = Figures()
    (await nodes.start("a", tls=ca.node(tmp_path, "a"))).system.collect(figures)
    assert 29 * 86_400 < figures["tls_certificate_seconds_left"] < 30 * 86_400
    (await nodes.start("b")).system.collect(plain := Figures())
    assert "tls_certificate_seconds_left" not in plain


@pytest.mark.parametrize("pauses", [(0.1, 0.1), (3.0, 3.0), (5.0, 2.0), (2.0, 7.0), (9.0, 0.1), (0.1, 9.0)])
async def test_denied_member_goes_and_takes_nobody_with_it(autojump_clock, nodes, ca, tmp_path, pauses):
    denied = tmp_path / "denied"
    denied.write_text("")
    for name, pause in zip("abc", (0.0, *pauses), strict=True):
        await trio.sleep(pause)  # so far apart do they look at their files
        tls = replace(ca.node(tmp_path, name), denied=denied)
        await nodes.start(name, [] if name == "a" else ["a"], tls=tls)
    await nodes.all_up("a", "b", "c")
    denied.write_text("spiffe://shop/node/c\n")
    await trio.sleep(40)
    for name in "ab":
        members = (await nodes.handles[name].system.get_cluster_state()).members
        assert {member.id: member.status.name for member in members} == {"a": "up", "b": "up"}
