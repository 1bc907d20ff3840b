"""``casty demo`` and ``casty node`` as a user runs them: real processes, sockets and signals."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.integration.running_command import RunningCommand

PATIENCE = 40.0
"""Seconds for what a busy machine does slowly; nothing here waits that long unless it fails."""
TREE = Path(__file__).parents[2] / "casty"

Start = Callable[..., "Command"]


class Command(RunningCommand):
    """A running ``casty``."""

    def __init__(self, arguments: tuple[str, ...], folder: Path, patch: str = "") -> None:
        program = f"{patch}\nfrom casty.cli import main\nmain()"
        super().__init__([sys.executable, "-W", "error", "-c", program, *arguments], PATIENCE, cwd=folder)

    @property
    def ports(self) -> list[int]:
        """The ports of the nodes that were named so far."""
        return [int(port) for port in re.findall(r" up at 127\.0\.0\.1:(\d+)", self.text)]

    def children(self) -> list[int]:
        """Return the processes that this one has started."""
        listing = subprocess.run(
            ["ps", "-o", "pid=", "--ppid", str(self.process.pid)], capture_output=True, check=False
        )
        return [int(pid) for pid in listing.stdout.split()]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start commands; whatever still runs at the end of the test is killed."""
    started: list[Command] = []

    def begin(*arguments: str, patch: str = "") -> Command:
        started.append(Command(arguments, tmp_path, patch))
        return started[-1]

    yield begin
    for command in started:
        for pid in command.children() if command.process.poll() is None else ():
            os.kill(pid, signal.SIGKILL)
        command.process.kill()
        command.process.communicate()


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    state = Path(f"/proc/{pid}/stat")
    return not state.exists() or ") Z " not in state.read_text()


def ended_within(seconds: float, pids: list[int]) -> bool:
    limit = time.monotonic() + seconds
    while any(is_running(pid) for pid in pids):
        if time.monotonic() > limit:
            return False
        time.sleep(0.02)
    return True


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.parametrize("options", [(), ("--tls",)])
def test_the_demo_survives_the_kill_of_a_node_and_counts_right(start: Start, options: tuple[str, ...]) -> None:
    demo = start("demo", str(TREE), *options)
    code, errors = demo.end()
    assert (code, errors) == (0, ""), demo.text
    assert ("all they say is encrypted" in demo.text) is bool(options)
    assert "is killed with SIGKILL" in demo.text
    detected = re.search(r"is unreachable, ([\d.]+) s after it was killed", demo.text)
    assert detected is not None and float(detected[1]) < 2.0
    assert re.search(r"what it owed, \d+ chunks, goes to the others", demo.text)
    assert "right: one process alone" in demo.text
    assert len(demo.ports) == 3
    assert not any(is_open(port) for port in demo.ports)


@pytest.mark.parametrize("content", [None, ""])
def test_a_folder_without_anything_to_count_is_refused_in_one_line(
    start: Start, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "empty.py").write_text(content)
    code, errors = start("demo", str(tmp_path), "--nodes", "2").end()
    assert code == 2
    assert errors == f"casty: no Python file with anything in it below {tmp_path}: name a folder that has some\n"


def test_one_tiny_file_is_enough_for_the_whole_demo(start: Start, tmp_path: Path) -> None:
    (tmp_path / "tiny.py").write_text("x = 1\n")
    demo = start("demo", str(tmp_path), "--nodes", "2")
    assert demo.end() == (0, ""), demo.text
    assert "2 words, 2 different ones" in demo.text
    assert "right: one process alone" in demo.text


def test_a_wrong_result_is_said_and_exits_with_1(start: Start) -> None:
    lose_a_word = (
        "import casty.cli.demo.demo as d; alone = d.count_alone; d.count_alone = lambda t: alone([*t, 'lostword'])"
    )
    demo = start("demo", str(TREE / "cli"), "--no-kill", "--nodes", "2", patch=lose_a_word)
    code, errors = demo.end()
    assert (code, errors) == (1, ""), demo.text
    assert "counts otherwise: 'lostword' 0 instead of 1" in demo.text
    assert "SIGKILL" not in demo.text


@pytest.mark.parametrize("moment", ["starting", "found"])
def test_ctrl_c_ends_every_process_and_frees_every_port(start: Start, moment: str) -> None:
    demo = start("demo", "--no-kill")
    demo.until(moment)
    nodes = demo.children()
    pressed = time.monotonic()
    demo.process.send_signal(signal.SIGINT)
    code, errors = demo.end()
    took = time.monotonic() - pressed
    assert (code, errors) == (130, "casty: interrupted; the processes that it had started have ended\n")
    assert took < 10.0  # a second on an idle machine; what hangs takes longer than any load makes it
    assert not any(is_running(pid) for pid in nodes)
    assert not any(is_open(port) for port in demo.ports)


def test_nodes_end_when_their_driver_is_killed(start: Start) -> None:
    demo = start("demo", "--no-kill", "--nodes", "2")
    demo.until("found 2 workers")
    nodes = demo.children()
    assert len(nodes) == 2
    demo.process.kill()
    assert ended_within(5.0, nodes)


def test_a_node_that_ends_before_the_counting_is_reported_with_its_last_words(start: Start) -> None:
    demo = start("demo", str(TREE), patch="import casty.cli.demo.fleet as f; f.PROGRAM = 'casty.cli.no_such_program'")
    code, errors = demo.end()
    assert code == 1
    assert "ended before the counting began" in errors
    assert "No module named casty.cli.no_such_program" in errors


APP = """
import trio
from casty import (
    Behaviors, Escalate, EventStreamSubscribe, MemberLeft, MemberUp, ShutdownPhase, UnreachableMember
)

def watcher():
    async def setup(ctx):
        for kind in (MemberUp, MemberLeft, UnreachableMember):
            ctx.system.event_stream.tell(EventStreamSubscribe(kind, ctx.self))
        return Behaviors.receive(show)
    return Behaviors.setup(setup)

async def show(ctx, event: object):
    print(type(event).__name__, event.member.id, flush=True)
    if isinstance(event, MemberUp) and event.member.id == "unwanted":
        await ctx.system.cluster.down(event.member.address)
    return Behaviors.same()

def failing():
    async def setup(ctx):
        raise RuntimeError("no luck")
    return Behaviors.setup(setup)

def hanging():
    async def say(ctx):
        print("post_stop", flush=True)
        await trio.sleep_forever()

    async def count():
        print("the guest is gone", flush=True)

    async def setup(ctx):
        ctx.system.on_shutdown(ShutdownPhase.stop_actors, trio.sleep_forever, name="drain")
        ctx.system.on_shutdown(ShutdownPhase.leave_cluster, count)
        return Behaviors.ignore()

    return Behaviors.with_lifecycle(Behaviors.setup(setup), post_stop=say)

def escalating():
    return Behaviors.supervise(failing(), Escalate())
"""


@pytest.fixture
def app(tmp_path: Path) -> None:
    (tmp_path / "watching.py").write_text(APP)


@pytest.mark.usefixtures("app")
def test_nodes_find_each_other_by_seeds_and_leave_when_asked(start: Start, tmp_path: Path) -> None:
    first = start("node", "watching:watcher", "--node-id", "first")
    port = first.until(r"first is a member of casty at 127\.0\.0\.1:(\d+) \(1 up\)")[1]
    (tmp_path / "casty.toml").write_text(f'[node]\nnode_id = "second"\nseeds = ["127.0.0.1:{port}"]\n')
    second = start("node", "watching:watcher", "--config", "casty.toml", "--quorum", "2")
    second.until(r"second is a member .*\(2 up\)")
    first.until("MemberUp second")

    second.process.terminate()
    assert second.end()[0] == 0
    first.until("MemberLeft second")
    assert "UnreachableMember" not in first.text

    (tmp_path / "once.toml").write_text('[cluster]\non_downed = "stop"\n')
    seed = "--seed", f"127.0.0.1:{port}"
    unwanted = start("node", "watching:watcher", "--config", "once.toml", "--node-id", "unwanted", *seed)
    code, errors = unwanted.end()
    assert code == 3
    assert "was declared down by its cluster" in errors.splitlines()[-1]

    first.process.send_signal(signal.SIGINT)
    code, errors = first.end()
    assert code == 130, errors
    assert not is_open(int(port))


@pytest.mark.usefixtures("app")
def test_a_node_that_stood_still_for_too_long_joins_again_by_itself(start: Start, tmp_path: Path) -> None:
    (tmp_path / "soon.toml").write_text("[cluster]\nstable_after = 1.0\n")
    node = "node", "watching:watcher", "--config", "soon.toml"
    first = start(*node, "--node-id", "first")
    seed = "--seed", "127.0.0.1:" + first.until(r"first is a member of casty at 127\.0\.0\.1:(\d+)")[1]
    start(*node, "--node-id", "second", *seed).until("second is a member")
    third = start(*node, "--node-id", "third", *seed)
    third.until("third is a member")
    first.until("MemberUp third")

    third.process.send_signal(signal.SIGSTOP)
    first.until("UnreachableMember third")
    first.until("MemberLeft third")
    third.process.send_signal(signal.SIGCONT)
    first.until("MemberUp third")
    third.until("third is a member")
    third.process.terminate()
    code, errors = third.end()
    assert code == 0
    assert "was declared down by its cluster" in errors
    assert "casty: joining again in 1 s\n" in errors
    first.until("MemberLeft third")


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize("guest", ["failing", "escalating"])
def test_a_node_whose_actor_fails_leaves_and_exits_with_1(start: Start, guest: str) -> None:
    code, errors = start("node", f"watching:{guest}", "--node-id", "a").end()
    assert code == 1
    assert errors.splitlines()[-1] == f"casty: /{guest} failed, so the node has left: RuntimeError: no luck"


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(("signal_number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_signal_runs_the_shutdown_once_and_names_what_hangs(
    start: Start, tmp_path: Path, signal_number: signal.Signals, code: int
) -> None:
    (tmp_path / "short.toml").write_text("[actors]\nstop_timeout = 0.3\n")
    node = start("node", "watching:hanging", "--node-id", "a", "--config", "short.toml")
    node.until("a is a member")
    node.process.send_signal(signal_number)
    ended, errors = node.end()
    assert ended == code
    assert [node.text.count(line) for line in ("post_stop", "the guest is gone")] == [1, 1]
    assert "shutdown hooks of stop_actors did not end within 0.3 s and are cancelled: drain" in errors
    assert "the clean-up of actor /hanging did not end within 0.3 s and was cancelled" in errors
    assert "has left the cluster" in errors


@pytest.mark.usefixtures("app")
def test_a_port_in_use_is_one_line_and_exit_code_2(start: Start) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, errors = start("node", "watching:watcher", "--node-id", "a", "--port", str(port)).end()
    assert code == 2
    assert errors.startswith(f"casty: cannot listen on 127.0.0.1:{port}: the port is in use")
    assert errors.count("\n") == 1
