"""``casty status`` against real nodes, real sockets, and what is no node."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from functools import partial
from subprocess import PIPE

import trio
from processes import HANG, Rig

CASTY = [sys.executable, "-W", "error", "-m", "casty"]


async def status(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    """Run ``casty status`` to its end."""
    command = [*CASTY, "status", *arguments]
    with trio.fail_after(2 * HANG):
        return await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)


def at(node) -> str:
    host, port = node.address
    return f"{host}:{port}"


async def test_a_status_shows_the_members_and_who_stands_still(rig: Rig) -> None:
    a, b, c = await rig.cluster("a", "b", "c", settings={"stable_after": 60.0})
    said = await status(at(b))
    lines = said.stdout.decode().splitlines()
    assert (said.returncode, said.stderr) == (0, b"")
    assert lines[0].startswith(f"b at {at(b)} is a member of integration (casty ")
    assert lines[1] == f"3 up; nobody unreachable; leader {min(at(n) for n in (a, b, c))}; converged"
    assert [line.split()[:3] for line in lines[4:]] == sorted(
        ([name, "up", at(node)] for name, node in zip("abc", (a, b, c), strict=True)), key=lambda row: row[2]
    )

    await c.send_signal(signal.SIGSTOP)
    await a.wait_for("UnreachableMember", member="c")
    await b.wait_for("UnreachableMember", member="c")
    told = json.loads((await status(at(a), "--json", "--system-name", "integration")).stdout)
    lost = next(member for member in told["members"] if member["id"] == "c")
    assert lost["unreachable"]
    assert set(lost["accused_by"]) <= {at(a), at(b)}
    assert lost["gossip_age"] > 1
    await c.send_signal(signal.SIGCONT)
    for node in (a, b):
        members = node.seen("snapshot")[-1]["members"]
        assert set(members) == {"a", "b", "c"}, "who asks must not become a member"


async def test_watching_goes_on_while_the_node_restarts_and_ends_with_ctrl_c(rig: Rig) -> None:
    a = await rig.start("a")
    await a.wait_members(a="up")
    command = [*CASTY, "status", at(a), "--watch", "--json", "--interval", "0.1"]
    watching = await trio.lowlevel.open_process(command, stdout=PIPE, stderr=PIPE, start_new_session=True)
    try:
        with trio.fail_after(HANG):
            told = Told(watching.stdout)
            assert [await told.next(), await told.next()] == ["a", "a"]
            await a.kill()
            assert b"nobody listens there" in await watching.stderr.receive_some()
            again = await rig.start("again", port=a.address[1])
            while await told.next() != "again":
                pass
            watching.send_signal(signal.SIGINT)
            assert await watching.wait() == 130
        assert again.seen("snapshot")[-1]["members"] == {"again": "up"}
    finally:
        watching.kill()
        with trio.CancelScope(shield=True):
            await watching.wait()
            await watching.stdout.aclose()
            await watching.stderr.aclose()


async def test_who_has_read_enough_ends_the_watching_in_silence(rig: Rig) -> None:
    a = await rig.start("a")
    await a.wait_members(a="up")
    command = [*CASTY, "status", at(a), "--watch", "--json", "--interval", "0.1"]
    watching = await trio.lowlevel.open_process(command, stdout=PIPE, stderr=PIPE, start_new_session=True)
    try:
        with trio.fail_after(HANG):
            assert await Told(watching.stdout).next() == "a"
            await watching.stdout.aclose()
            assert await watching.stderr.receive_some() == b""
            assert await watching.wait() == 0
    finally:
        watching.kill()
        with trio.CancelScope(shield=True):
            await watching.wait()
            await watching.stderr.aclose()


class Told:
    """The names of the nodes in lines of JSON, one after the other."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._rest = b""

    async def next(self) -> str:
        while b"\n" not in self._rest:
            self._rest += await self._stream.receive_some()
        line, _, self._rest = self._rest.partition(b"\n")
        return json.loads(line)["node"]["id"]


async def test_there_is_one_clear_line_for_whatever_is_no_node(rig: Rig) -> None:
    a = await rig.start("a")
    silent = trio.socket.socket()
    await silent.bind(("127.0.0.1", 0))
    silent.listen()  # the kernel accepts, and nobody ever answers: as with a process that stands still
    free = trio.socket.socket()
    await free.bind(("127.0.0.1", 0))  # and does not listen
    async with trio.open_nursery() as nursery:
        [other] = await nursery.start(partial(trio.serve_tcp, greet_like_ssh, 0, host="127.0.0.1"))
        places = {
            name: f"127.0.0.1:{one.getsockname()[1]}"
            for name, one in {"silent": silent, "free": free, "other": other.socket}.items()
        }
        said: dict[str, tuple[int, str]] = {}

        async def ask(name: str, *arguments: str) -> None:
            answer = await status(*arguments)
            assert answer.stdout == b""
            said[name] = answer.returncode, answer.stderr.decode()

        async with trio.open_nursery() as askers:
            askers.start_soon(ask, "till", at(a), "--system-name", "till")
            for name, place in places.items():
                askers.start_soon(ask, name, place, "--timeout", "3")
        nursery.cancel_scope.cancel()
    silent.close()
    free.close()
    refusal = f"system name 'till' does not match 'integration' of {at(a)}"
    assert said["till"] == (1, f"casty: {at(a)} does not tell its status: {refusal}\n")
    assert said["free"] == (1, f"casty: cannot connect to {places['free']}: nobody listens there\n")
    hint = "is it a casty node, and does it run?"
    assert said["silent"] == (1, f"casty: {places['silent']} did not answer within 3 s: {hint}\n")
    assert said["other"][0] == 1
    assert said["other"][1].startswith(f"casty: {places['other']} does not answer like a casty node: ")


async def greet_like_ssh(stream: trio.SocketStream) -> None:
    """Be another kind of server."""
    await stream.send_all(b"SSH-2.0-OpenSSH_9.6\r\n")
    await stream.receive_some()
