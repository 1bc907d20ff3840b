"""Clients with certificates: who is let in as what."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import trio
from helpers.certificates import TestCa
from helpers.entities import Add, Carts, Command

from casty import (
    AskFailed,
    Behaviors,
    ClusterClient,
    ClusteredActorSystem,
    ClusterUnreachable,
    ConfigError,
    EntityKey,
    TlsConfig,
    TlsNetwork,
    TransportLimits,
)
from casty.address import NodeAddress, UniqueAddress
from casty.transport.links.hello import client_handshake
from casty.wire.frame import Lane
from casty.wire.handshake import CLIENT, MEMBER, Hello, HelloAck, Refused

OPEN = EntityKey[Command]("carts", clients=True)
PORT = 2551


async def start(nodes: Any, ca: Any, folder: Any) -> None:
    a = await nodes.start("a", tls=ca.node(folder, "a"))
    a.system.spawn(Behaviors.sharded(Carts("a").make, OPEN, num_shards=4), "carts")


def client_of(nodes: Any, **options: Any) -> ClusterClient:
    network = nodes.network.host("outside")
    return ClusterClient(
        contact_points=[("a", PORT)], system_name="shop", network=network, connect_timeout=3.0, **options
    )


async def test_a_client_with_a_certificate_of_a_client_is_served(autojump_clock, nodes, ca, tmp_path):
    await start(nodes, ca, tmp_path)
    async with client_of(nodes, tls=ca.client(tmp_path, "web")) as client:
        assert await client.ask(client.entity(OPEN, "cart-1"), lambda to: Add(2, to)) == 2


async def test_a_certificate_of_a_node_makes_no_client(autojump_clock, nodes, ca, tmp_path):
    text = "of a node, spiffe://shop/node/b, and cannot be a client's; expected spiffe://shop/client/NAME; make it by  "
    with pytest.raises(ConfigError, match=text + "casty cert issue NAME --client  in the folder of the CA of 'shop'"):
        client_of(nodes, tls=ca.node(tmp_path, "b"))


async def test_a_certificate_of_another_system_makes_no_client(autojump_clock, nodes, ca, tmp_path):
    tls = ca.client(tmp_path, "ops", system="till")
    text = "is of spiffe://till/client/ops, no node or client of 'shop'; expected spiffe://shop/client/NAME; make it by"
    with pytest.raises(ConfigError, match=text):
        client_of(nodes, tls=tls)


async def test_a_client_without_tls_reaches_no_node_with_it(autojump_clock, nodes, ca, tmp_path):
    await start(nodes, ca, tmp_path)
    with pytest.raises(ClusterUnreachable, match="TLS"):
        async with client_of(nodes):
            pass


@pytest.mark.parametrize(
    ("role", "node_id", "lane", "is_let_in"),
    [
        (CLIENT, "web", Lane.ordinary, True),
        (CLIENT, "other", Lane.ordinary, False),
        (CLIENT, "", Lane.ordinary, False),
        (MEMBER, "web", Lane.ordinary, False),
        (MEMBER, "web", Lane.control, False),
        (MEMBER, "a", Lane.control, False),
        (CLIENT, "web", Lane.control, False),
    ],
)
async def test_a_certificate_of_a_client_proves_that_client_and_joins_nothing(
    autojump_clock, nodes, ca, tmp_path, role, node_id, lane, is_let_in
):
    await start(nodes, ca, tmp_path)
    network = TlsNetwork(ca.client(tmp_path, "web"), system_name="shop", network=nodes.network.host("outside"))
    connection = await network.connect(NodeAddress("a", PORT))
    run = UniqueAddress(NodeAddress("outside", 1), 9)
    answer, _ = await client_handshake(
        connection, Hello(2, 2, "shop", run, lane, node_id=node_id, role=role), TransportLimits()
    )
    assert isinstance(answer, HelloAck if is_let_in else Refused)
    await connection.aclose()
    members = (await nodes.handles["a"].system.get_cluster_state()).members
    assert [member.id for member in members] == ["a"]


async def test_a_client_of_another_ca_is_not_believed_and_is_told_why(autojump_clock, nodes, ca, tmp_path):
    await start(nodes, ca, tmp_path)
    foreign = TestCa.make("other")
    tls = foreign.client(tmp_path / "foreign", "web")
    with pytest.raises(ClusterUnreachable, match="not signed by a CA that this end believes"):
        async with client_of(nodes, tls=tls):
            pass
    pair = TlsConfig(tls.certificate, tls.private_key, ca.client(tmp_path, "web").ca)  # it believes the node
    with pytest.raises(ConfigError, match="is not signed by"):
        client_of(nodes, tls=pair)
    assert nodes.handles["a"].node.transport.clients.sessions == {}


async def test_a_client_named_as_a_node_is_a_client_and_the_node_goes_on(autojump_clock, nodes, ca, tmp_path):
    await start(nodes, ca, tmp_path)
    await nodes.start("b", ["a"], tls=ca.node(tmp_path, "b"))
    await nodes.all_up("a", "b")
    async with client_of(nodes, tls=ca.client(tmp_path, "b")) as client:
        assert await client.ask(client.entity(OPEN, "cart-1"), lambda to: Add(2, to)) == 2
        await trio.sleep(30)
        await nodes.all_up("a", "b")
        assert await client.ask(client.entity(OPEN, "cart-1"), lambda to: Add(1, to)) == 3


async def test_a_client_denied_while_connected_is_cut_off_and_stays_out(autojump_clock, nodes, ca, tmp_path):
    denied = tmp_path / "denied"
    denied.write_text("")
    a = await nodes.start("a", tls=replace(ca.node(tmp_path, "a"), denied=denied))
    a.system.spawn(Behaviors.sharded(Carts("a").make, OPEN, num_shards=4), "carts")
    async with client_of(nodes, tls=ca.client(tmp_path, "web")) as web:
        async with client_of(nodes, tls=ca.client(tmp_path, "ops")) as ops:
            for client in (web, ops):
                await client.ask(client.entity(OPEN, "cart-1"), lambda to: Add(1, to))
            denied.write_text("spiffe://shop/client/web\n")
            await trio.sleep(5)
            assert web.contact is None
            with pytest.raises(ClusterUnreachable):
                await web.ask(web.entity(OPEN, "cart-1"), lambda to: Add(1, to), timeout=60)
            assert await ops.ask(ops.entity(OPEN, "cart-1"), lambda to: Add(1, to)) == 3
            assert len(a.node.transport.clients.sessions) == 1


async def test_a_client_whose_certificate_ends_while_it_is_connected_is_cut_off(autojump_clock, nodes, ca, tmp_path):
    lasting = ca.issue(tmp_path / "a", "spiffe://shop/node/a", lasts=timedelta(days=300))
    tls = TlsNetwork(lasting, system_name="shop", node_id="a", network=nodes.network.host("a"))
    async with ClusteredActorSystem(name="shop", host="a", port=PORT, node_id="a", network=tls) as system:
        system.spawn(Behaviors.sharded(Carts("a").make, OPEN, num_shards=4), "carts")
        async with client_of(nodes, tls=ca.client(tmp_path, "web")) as client:
            assert await client.ask(client.entity(OPEN, "cart-1"), lambda to: Add(2, to)) == 2
            now = tls.wall_time()
            tls.wall_time = lambda: now + 31 * 86_400  # a certificate of a client lasts for a month here
            lost = None
            with trio.move_on_after(15):
                while lost is None:
                    try:
                        await client.ask(client.entity(OPEN, "cart-1"), lambda to: Add(1, to), timeout=2)
                    except AskFailed as error:
                        lost = error
                    await trio.sleep(0.5)
            assert lost is not None and "lost" in str(lost)
