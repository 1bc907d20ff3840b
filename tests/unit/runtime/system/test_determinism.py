"""The same program makes the same trace, where Trio's scheduler does."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest
import trio

from casty.behaviors import Behaviors
from casty.config import SystemConfig
from casty.errors import ConfigError
from casty.protocol.actor.supervision import Restart
from casty.runtime.behavior.behavior import Behavior
from casty.runtime.system.context import ActorContext
from casty.runtime.system.system import ActorSystem

PROGRAM = textwrap.dedent(
    """
    import sys
    import trio
    import trio.testing
    from trio._core import _run

    from casty.behaviors import Behaviors
    from casty.runtime.system.system import ActorSystem

    _run._ALLOW_DETERMINISTIC_SCHEDULING = True
    _run._r.seed(int(sys.argv[1]))
    trace = []

    async def handle(ctx, message):
        trace.append((ctx.self.path, str(message)[:12], round(trio.current_time() - began, 6)))
        kind, rest = message
        if kind == "go" and rest:
            for name in ("x", "y", "z"):
                child = ctx.spawn(Behaviors.receive(handle), f"{name}{rest}")
                child.tell(("go", rest - 1))
                ctx.schedule_once(("ring", 0), 0.5)
        if kind == "ring":
            for child in ctx.children:
                child.tell(("hello", 0))
        return Behaviors.same()

    async def main():
        global began
        began = trio.current_time()
        async with ActorSystem() as system:
            for name in "abc":
                system.spawn(Behaviors.receive(handle), name).tell(("go", 2))
            await trio.sleep(3)

    trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))
    print(len(trace), trace)
    """
)


def trace(seed: int, hash_seed: int) -> str:
    """Run the program in a process of its own, with another seed for hashes of text."""
    environment = {"PYTHONHASHSEED": str(hash_seed), "PATH": ""}
    command = [sys.executable, "-W", "error", "-c", PROGRAM, str(seed)]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=60, env=environment).stdout


@pytest.mark.parametrize("seed", [1])
def test_two_processes_with_the_same_seed_make_the_same_trace(seed: int) -> None:
    first = trace(seed, hash_seed=1)
    assert int(first.split()[0]) > 60
    assert trace(seed, hash_seed=2) == first


async def restarts(seed: int | None) -> list[float]:
    """Return when an actor that fails again and again was started, by the virtual clock."""
    started: list[float] = []

    async def make(ctx: ActorContext[int]) -> Behavior[int]:
        started.append(trio.current_time() - began)
        raise LookupError

    began = trio.current_time()
    async with ActorSystem(config=SystemConfig(seed=seed)) as system:
        strategy = Restart(restarts_max=6, backoff_min=0.1, backoff_jitter=0.5)
        ref = system.spawn(Behaviors.supervise(Behaviors.setup(make), strategy), "failing")
        await system.wait_stopped(ref)
    return [round(time, 6) for time in started]


async def test_a_seed_makes_the_pauses_before_restarts_repeatable(autojump_clock: object) -> None:
    first = await restarts(seed=1)
    assert len(first) == 7
    assert await restarts(seed=1) == first
    assert await restarts(seed=2) != first
    assert await restarts(seed=None) != first


@pytest.mark.parametrize("seed", [-1, 1.5, True, "x"])
def test_a_seed_is_a_number(seed: int) -> None:
    with pytest.raises(ConfigError, match="seed must be"):
        SystemConfig(seed=seed)
