"""The service of the documentation keeps its promise, and a mistake in it is found from a seed."""

from __future__ import annotations

import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pytest
import trio

from casty import ActorContext, Behavior, Behaviors, ClusteredActorSystem
from casty.testing.simulation import Played, Scenario, ScenarioFailed, check
from casty.testing.simulation.search.searching import function_at

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "docs" / "examples" / "simulated_service"

draw = cast(Callable[[int], Scenario], function_at(f"{EXAMPLE}/test_orders.py:draw"))
play: Any = function_at(f"{EXAMPLE}/test_orders.py:play")
Desk: Any = function_at(f"{EXAMPLE}/orders.py:Desk")


class HastyDesk(Desk):
    """The mistake: it accepts at once, and writes twice a second what it has accepted."""

    def __init__(self, database: set[int]) -> None:
        super().__init__(database)
        self.accepted: set[int] = set()

    async def receive(self, ctx: ActorContext[Any], message: Any) -> Behavior[Any]:
        self.accepted.add(message.number)
        message.reply_to.tell(message.number)
        return Behaviors.same()

    async def run(self, node: ClusteredActorSystem) -> None:
        await super().run(node)
        while True:
            await trio.sleep(0.5)
            self.database |= self.accepted


def play_hasty(scenario: Scenario) -> Played:
    return cast(Played, play(scenario, HastyDesk))


def test_no_accepted_order_is_lost_while_nodes_are_cut_off_and_crash() -> None:
    function_at(f"{EXAMPLE}/test_orders.py:test_no_accepted_order_is_lost")()


def test_an_order_that_is_accepted_before_it_is_written_is_lost_in_one_of_ten_scenarios() -> None:
    with pytest.raises(ScenarioFailed, match="no accepted order is lost") as raised:
        check(map(draw, range(10)), play=play_hasty)
    assert len(raised.value.smallest.faults) < len(raised.value.original.faults)
    python, *words = shlex.split(raised.value.command)
    assert python == "python"
    again = subprocess.run(
        [sys.executable, *words], capture_output=True, text=True, timeout=100, check=False, cwd=Path.cwd()
    )
    assert again.returncode == 1
    assert f"no accepted order is lost: {raised.value.rule.partition(': ')[2]}" in again.stderr.splitlines()[-1]
