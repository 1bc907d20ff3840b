"""Nodes that must not, or cannot, come into a cluster: each is told why, and leaves nothing behind."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import trio
from helpers.tasks import in_background
from processes import Rig

from casty import BindError, ClusteredActorSystem, ClusterSettings, ClusterTimeoutError, ConfigError, TcpNetwork
from casty.transport.network.tcp import TcpListener

START_TIMEOUT = 10.0


class ObservedTcp(TcpNetwork):
    """TCP that remembers which port was bound."""

    port = 0

    async def listen(self, host: str, port: int) -> TcpListener:
        listener = await super().listen(host, port)
        self.port = listener.address.port
        return listener


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
            probe.listen()
        except OSError:
            return False
    return True


async def enter(**changes: Any) -> None:
    """Enter and leave a node's block with these settings."""
    keywords = {"name": "shop", "host": "127.0.0.1", "port": 0, "node_id": "web-1", **changes}
    with trio.fail_after(START_TIMEOUT):
        async with ClusteredActorSystem(**keywords):
            pass


async def refusal(rig: Rig, node_id: str, **spec: Any) -> str:
    """Start a node that is not let in, and return why."""
    joiner = await rig.launch(node_id, **spec)
    error = await joiner.wait_for("error")
    assert await joiner.wait_ended() == 1
    assert error["type"] == "JoinRefused"
    return str(error["message"])


async def test_strangers_and_doubles_are_refused_with_a_reason_on_both_sides(rig: Rig) -> None:
    a, b = await rig.cluster("a", "b")

    stranger = await refusal(rig, "c", name="other", seeds=[a])
    assert "'other'" in stranger
    assert "'integration'" in stranger
    assert "'other'" in await a.wait_log("was refused")

    assert "choose another node_id" in await refusal(rig, "b", seeds=[a])
    assert "'b'" in await a.wait_log("refused to let")

    for owner, witness in ((a, b), (b, a)):
        host, port = owner.address
        own = {"advertised_host": host, "advertised_port": port}
        assert f"{host}:{port}" in await refusal(rig, "c", seeds=[a, b], settings=own)
        await witness.wait_log(f"another node is alive at {host}:{port}")

    for node in (a, b):
        assert not node.seen("MemberLeft")
        assert not node.seen("UnreachableMember")
        await node.wait_members(a="up", b="up")

    impatient = await rig.launch("c", seeds=[a], quorum=4, join_timeout=4.0)
    error = await impatient.wait_for("error")
    assert await impatient.wait_ended() == 1
    assert error["is_timeout"]
    assert "3 of 4 required members" in error["message"]
    await a.wait_for("MemberLeft", member="c")
    assert not a.seen("UnreachableMember")


@pytest.mark.parametrize(
    ("changes", "error", "advice"),
    [
        ({"host": "203.0.113.7"}, ConfigError, "insecure=True"),
        ({"host": "0.0.0.0"}, ConfigError, "advertised_host"),
        ({"host": "203.0.113.7", "insecure": True}, BindError, "address of this machine"),
        ({"host": "no host"}, ConfigError, "host name or an IP address"),
        ({"port": 70_000}, ConfigError, "from 0 to 65535"),
        ({"node_id": ""}, ConfigError, "node_id must be a name of 1 to 128 printable"),
        ({"seed_nodes": ["127.0.0.1:2551"]}, ConfigError, "(host, port) pairs"),
        ({"seed_nodes": [("127.0.0.1", 0)]}, ConfigError, "from 1 to 65535"),
        ({"roles": "web"}, ConfigError, "set of names"),
        ({"required_quorum": 0}, ConfigError, "at least 1"),
        ({"join_timeout": -1.0}, ConfigError, "above 0"),
        ({"name": "two words"}, ValueError, "must be a word"),
    ],
)
async def test_settings_that_cannot_work_fail_at_once_and_say_what_to_change(
    changes: dict[str, Any], error: type[Exception], advice: str
) -> None:
    began = trio.current_time()
    with pytest.raises(error) as caught:
        await enter(**changes)
    assert advice in str(caught.value)
    assert trio.current_time() - began < START_TIMEOUT / 2


async def test_an_occupied_port_fails_at_once_and_says_so() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(BindError, match="in use.*0 for a free one"):
        await enter(port=other.getsockname()[1])


def test_a_nonsense_interval_names_the_setting() -> None:
    with pytest.raises(ConfigError, match="gossip_interval must be a finite number above 0, got -1"):
        ClusterSettings(gossip_interval=-1)


@pytest.mark.parametrize("has_seed", [False, True])
async def test_a_quorum_that_never_comes_leaves_nothing_running(has_seed: bool) -> None:
    network, tasks = ObservedTcp(), trio.lowlevel.current_statistics().tasks_living
    with socket.create_server(("127.0.0.1", 0)) as mute:  # accepts in the kernel and never says a word
        seeds = [mute.getsockname()] if has_seed else []
        with pytest.raises(ClusterTimeoutError, match="'web-1' gave up after 0.5 s"):
            await enter(required_quorum=3, join_timeout=0.5, seed_nodes=seeds, network=network)
    assert network.port
    assert is_free(network.port)
    assert trio.lowlevel.current_statistics().tasks_living == tasks


async def answer_as_another_program(stream: trio.SocketStream) -> None:
    async with stream:
        await stream.send_all(b"HTTP/1.1 400 Bad Request\r\n\r\n")


async def test_wrong_seeds_are_named_with_what_is_wrong_about_each() -> None:
    (other,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))  # taken, and nobody listens
        seeds = [closed.getsockname(), other.socket.getsockname()]
        async with other, in_background(trio.serve_listeners, answer_as_another_program, [other]):
            with pytest.raises(ClusterTimeoutError) as caught:
                await enter(seed_nodes=seeds, join_timeout=1)
    nobody, stranger = (f"127.0.0.1:{port}" for _, port in seeds)
    assert f"cannot connect to {nobody}: nobody listens there; " in str(caught.value)
    assert f"{stranger} does not answer like a casty node" in str(caught.value)
