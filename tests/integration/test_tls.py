"""TLS over real sockets: nodes, the commands that ask one of them, and those of the page about it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio
from helpers.certificates import TestCa

from casty import ClusteredActorSystem, JoinRefused

PATIENCE = 90.0
PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "secure-a-cluster.md"


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
                assert plain.returncode == 1 and "speaks TLS, and this end does not" in plain.stderr
            stranger = ClusteredActorSystem(name="shop", host="127.0.0.1", port=0, node_id="c", seed_nodes=[seed])
            with pytest.raises(JoinRefused, match="the other end speaks TLS"):
                async with stranger:
                    pass
            other = TestCa.make("other").node(tmp_path, "d")
            with pytest.raises(JoinRefused, match="it is not signed by a CA that this end believes"):
                async with ClusteredActorSystem(
                    name="shop", host="127.0.0.1", port=0, node_id="d", seed_nodes=[seed], tls=other
                ):
                    pass


GREETER = "from casty import Behaviors\n\n\ndef greeter():\n    return Behaviors.receive(greet)\n\n\n"
GREETER += "async def greet(ctx, message: str):\n    return Behaviors.same()\n"


def five_lines(ports: dict[str, int]) -> str:
    """Return the first lines of a console on the page, with free ports for those that it names."""
    (block, *_) = re.findall(r"^```console\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.M | re.S)
    lines = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    assert len(lines) == 5
    return re.sub("|".join(ports), lambda found: str(ports[found[0]]), "\n".join(lines))


async def test_five_lines_of_the_page_are_a_cluster_of_three_encrypted_nodes(tmp_path):
    (tmp_path / "shop.py").write_text(GREETER)
    with ExitStack() as sockets:
        free = [sockets.enter_context(socket.socket()) for _ in range(3)]
        for each in free:
            each.bind(("127.0.0.1", 0))
        ports = {port: each.getsockname()[1] for port, each in zip(("2551", "2552", "2553"), free, strict=True)}
    environ = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    shell = await trio.lowlevel.open_process(
        ["bash", "-e", "-c", five_lines(ports)], cwd=tmp_path, env=environ, stdout=subprocess.PIPE,
        start_new_session=True,
    )  # fmt: skip
    assert shell.stdout is not None
    try:
        with trio.fail_after(PATIENCE):
            told = b""
            while b"c is a member of casty" not in told or b"3 up" not in told:
                more = await shell.stdout.receive_some()
                assert more, f"ended, and told {told!r}"
                told += more
            plain = await trio.to_thread.run_sync(command, "status", f"127.0.0.1:{ports['2551']}")
            assert plain.returncode == 1 and "speaks TLS, and this end does not" in plain.stderr
    finally:
        os.killpg(shell.pid, signal.SIGKILL)
        await shell.wait()
        await shell.stdout.aclose()
