"""What a connection proves of its other end, against what that says of itself."""

from __future__ import annotations

import pytest
import trio

from casty import JoinRefused
from casty.transport.network.interface import PeerIdentity


@pytest.fixture
def proven(nodes):
    def prove(**identities: str) -> None:
        for host, node_id in identities.items():
            role, _, name = node_id.rpartition(":")
            nodes.network.host(host).identity = PeerIdentity(name, role or "member")

    return prove


async def test_nodes_that_are_who_they_say_are_one_cluster(autojump_clock, nodes, proven):
    proven(a="a", b="b", c="c")
    await nodes.start_all("a", "b", "c")
    await nodes.all_up("a", "b", "c")


@pytest.mark.parametrize(
    ("proof", "told"), [("mallory", "the member 'mallory'"), ("client:b", "the client 'b'"), ("B", "the member 'B'")]
)
async def test_node_whose_connection_proves_another_one_is_refused(autojump_clock, nodes, proven, proof, told):
    await nodes.start("a")
    proven(b=proof)
    with pytest.raises(JoinRefused, match=f"the hello is of the member 'b', the connection proves {told}"):
        await nodes.start("b", ["a"])
    assert [member.id for member in (await nodes.handles["a"].system.get_cluster_state()).members] == ["a"]


async def test_node_joins_nobody_whose_connection_proves_another_one(autojump_clock, nodes, proven):
    await nodes.start("a")
    proven(a="mallory")
    with pytest.raises(
        JoinRefused, match="the node at b:2551 refuses this one: the hello is of the member .a., the connection proves"
    ):
        await nodes.start("b", ["a"])
    await trio.sleep(30)
    assert [member.id for member in (await nodes.handles["a"].system.get_cluster_state()).members] == ["a"]
