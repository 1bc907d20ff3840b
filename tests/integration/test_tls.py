"""TLS over real sockets: two nodes, and the commands that ask one of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
import trio
from helpers.certificates import TestCa

from casty import ClusteredActorSystem, JoinRefused

PATIENCE = 90.0


def command(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "casty", *arguments], capture_output=True, text=True, timeout=PATIENCE)


async def test_two_nodes_over_tcp_and_the_status_of_them(tmp_path):
    ca = TestCa.make()

    def node(name: str, **options: object) -> ClusteredActorSystem:
        files = ca.node(tmp_path, name)
        return ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id=name, tls=files, **options)

    ca.client(tmp_path, "ops")
    with trio.fail_after(PATIENCE):
        async with node("a") as first:
            seed = (first.self_node.host, first.self_node.port)
            async with node("b", seed_nodes=[seed], required_quorum=2):
                for folder in ("client-ops", "b"):
                    told = await trio.to_thread.run_sync(
                        command, "status", str(first.self_node), "--tls-dir", str(tmp_path / folder)
                    )
                    assert told.returncode == 0, told.stderr
                    assert "b" in told.stdout and "up" in told.stdout
                plain = await trio.to_thread.run_sync(command, "status", str(first.self_node))
                assert plain.returncode == 1 and "speaks TLS, and this node does not" in plain.stderr
            stranger = ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="c", seed_nodes=[seed])
            with pytest.raises(JoinRefused, match="the other end speaks TLS"):
                async with stranger:
                    pass
            other = TestCa.make("other").node(tmp_path, "d")
            with pytest.raises(JoinRefused, match="it is not signed by a CA of this node"):
                async with ClusteredActorSystem(
                    name="shop", host="127.0.0.1", port=0, node_id="d", seed_nodes=[seed], tls=other
                ):
                    pass
