"""Clients with certificates: who is let in as what."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.entities import Add, Carts, Command

from casty import Behaviors, ClusterClient, ClusterUnreachable, ConfigError, EntityKey, TlsNetwork, TransportLimits
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
