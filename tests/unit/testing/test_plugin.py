"""The pytest plugin, in projects of its own: with pytest-trio, with anyio's plugin, and with neither."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from casty import ActorContext, ActorSystem, Behavior, Behaviors
from casty.testing import ProbeFactory, TestProbe, system_with_probes

ROOT = Path(__file__).parents[3]
RUN_SECONDS_MAX = 60

ECHO = """
import pytest
from casty import ActorContext, ActorRef, ActorSystem, Behavior, Behaviors, Escalate
from casty.testing import ProbeFactory, autojump_backend, system_with_probes

async def echo(ctx: ActorContext[ActorRef[str]], message: ActorRef[str]) -> Behavior[ActorRef[str]]:
    message.tell("here")
    return Behaviors.same()
"""
WITH_TRIO = """
@pytest.mark.trio
async def test_echo(actor_system: ActorSystem, probe_factory: ProbeFactory, autojump_clock) -> None:
    probe = probe_factory(str)
    actor_system.spawn(Behaviors.receive(echo), "echo").tell(probe.ref)
    await probe.expect("here")
    await probe.expect_no_message(3600)
"""
WITH_ANYIO = """
@pytest.fixture
def anyio_backend():
    return autojump_backend()

@pytest.mark.anyio
async def test_echo(actor_system: ActorSystem, probe_factory: ProbeFactory) -> None:
    probe = probe_factory(str)
    actor_system.spawn(Behaviors.receive(echo), "echo").tell(probe.ref)
    await probe.expect("here")
    await probe.expect_no_message(3600)

@pytest.mark.anyio
async def test_block() -> None:
    async with system_with_probes() as (system, probes):
        probe = probes(str)
        system.spawn(Behaviors.receive(echo), "echo").tell(probe.ref)
        await probe.expect("here")
        await probe.expect_no_message(3600)
"""
CRASHING = """
async def crash(ctx: ActorContext[str], message: str) -> Behavior[str]:
    raise KeyError(message)

@pytest.mark.anyio
async def test_own_error(actor_system: ActorSystem) -> None:
    raise KeyError("mine")

@pytest.mark.anyio
async def test_failing_system(actor_system: ActorSystem, probe_factory: ProbeFactory) -> None:
    probe = probe_factory(str)
    actor_system.spawn(Behaviors.supervise(Behaviors.receive(crash), Escalate()), "crash").tell("of the system")
    await probe.expect("nothing")
"""
LATER = """
@pytest.mark.anyio
async def test_later(actor_system: ActorSystem) -> None:
    assert actor_system.statistics().actors == 0
"""
ON_ASYNCIO = """
@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", ["asyncio"])
async def test_wrong(actor_system: ActorSystem) -> None: ...
"""
PLAIN = """
def test_nothing_async() -> None:
    assert True
"""


def run_project(folder: Path, source: str, *without: str) -> tuple[int, str]:
    """Run pytest on one test file, with warnings as errors and without some of the plugins.

    An entry point beside the tests stands for that of an installed casty.
    """
    metadata = folder / "site" / "casty_plugin-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: casty-plugin\nVersion: 1\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text("[pytest11]\ncasty = casty.testing.plugin\n", encoding="utf-8")
    (folder / "test_it.py").write_text(ECHO + source, encoding="utf-8")
    (folder / "pytest.ini").write_text("[pytest]\nfilterwarnings = error\n", encoding="utf-8")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder / "site"), str(ROOT)])}
    switches = [word for name in without for word in ("-p", f"no:{name}")]
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *switches, str(folder / "test_it.py")],
        capture_output=True, text=True, timeout=RUN_SECONDS_MAX, cwd=folder, env=environment, check=False,
    )  # fmt: skip
    return run.returncode, run.stdout + run.stderr


def test_fixtures_work_with_pytest_trio(tmp_path: Path) -> None:
    code, output = run_project(tmp_path, WITH_TRIO + PLAIN)
    assert (code, "2 passed" in output) == (0, True), output


def test_fixtures_work_with_the_plugin_of_anyio_also_when_something_fails(tmp_path: Path) -> None:
    """One run for six tests. Nothing hangs, causes are told, and each test has a system of its own."""
    code, output = run_project(tmp_path, WITH_ANYIO + CRASHING + ON_ASYNCIO + LATER, "trio")
    assert (code, "2 failed, 3 passed, 2 errors" in output) == (1, True), output
    assert "KeyError: 'mine'" in output
    assert "ERROR test_it.py::test_failing_system - " in output
    assert "KeyError: 'of the system'" in output
    assert "ERROR test_it.py::test_wrong" in output
    assert "write a fixture anyio_backend that returns 'trio'" in output


def test_the_plugin_is_harmless_without_any_plugin_for_async_tests(tmp_path: Path) -> None:
    code, output = run_project(tmp_path, PLAIN, "anyio", "trio")
    assert (code, "1 passed" in output) == (0, True), output


def test_the_test_kit_needs_no_pytest() -> None:
    program = "import sys; sys.modules['pytest'] = None; import casty.testing; print(casty.testing.TestProbe.__name__)"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (run.stdout, run.stderr) == ("TestProbe\n", "")


async def count_up(ctx: ActorContext[int], message: int) -> Behavior[int]:
    return Behaviors.stopped() if message == 0 else Behaviors.same()


async def test_a_block_with_probes_checks_for_leaks(autojump_clock: object) -> None:
    async with system_with_probes("shop") as (system, probes):
        assert (system.name, isinstance(probes, ProbeFactory)) == ("shop", True)
        probe: TestProbe[int] = probes(name="till")
        counter = system.spawn(Behaviors.receive(count_up), "counter")
        counter.tell(0)
        await probe.expect_terminated(counter)
    assert probe.ref.path == "/till"
    assert isinstance(system, ActorSystem)
