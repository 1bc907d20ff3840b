"""Scenarios with real nodes: actors, drivers and bytes, from one seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import trio

import casty
from casty import ActorContext, ActorRef, AskTimeoutError, Behavior, Behaviors, ClusteredActorSystem, ConfigError
from casty.protocol.split_brain.strategies import KeepMajority
from casty.testing.simulation import (
    ClockSkew,
    Crash,
    Cut,
    Heal,
    InvariantBroken,
    OnNode,
    Pause,
    Played,
    Restart,
    Scenario,
    Simulation,
    Wake,
    check,
    partition_scenario,
    random_scenario,
    simulate,
)

ABC = ("a", "b", "c")
QUIET = Scenario(1, ("a",))


async def idle(_: ClusteredActorSystem) -> None:
    await trio.lowlevel.checkpoint()


def play(scenario: Scenario) -> Played:
    return simulate(scenario, on_node=idle)


def test_all_faults_together_are_survived_in_the_same_way_each_time(everything: Scenario) -> None:
    faults = tuple((at, fault) for at, fault in everything.faults if not isinstance(fault, ClockSkew))
    scenario = replace(everything, faults=faults)
    first = play(scenario)
    assert first.seconds > 46.0
    assert play(scenario) == first
    assert play(replace(scenario, seed=6)).digest != first.digest


def test_there_is_one_cluster_after_partitions_of_real_nodes() -> None:
    check(map(partition_scenario, range(3)), play=play)  # five, nine and three nodes
    check((partition_scenario(seed, ABC) for seed in range(3, 10)), play=play)


def test_there_is_one_cluster_after_whatever_befalls_real_nodes() -> None:
    check((random_scenario(seed, ABC, clocks=False) for seed in range(10)), play=play)


def test_two_sides_of_real_nodes_that_both_go_on_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(KeepMajority, "against", lambda *_: "")
    with pytest.raises(InvariantBroken, match="at most one side goes on"):
        play(Scenario(1, ABC, ((1.0, Cut(("a",), ("b", "c"))), (30.0, Heal()))))


def test_the_program_of_a_node_runs_at_each_of_its_starts() -> None:
    started: list[str] = []
    ended: list[str] = []

    async def on_node(node: ClusteredActorSystem) -> None:
        started.append(node.cluster_config.node_id)
        try:
            await trio.sleep_forever()
        finally:
            ended.append(node.cluster_config.node_id)

    async def main(simulation: Simulation) -> None:
        assert sorted(simulation.systems) == ["a", "b", "c"]
        await trio.sleep(1.5)
        assert Counter(started) == Counter("abc")
        assert ended == ["b"]
        assert sorted(simulation.systems) == ["a", "c"]
        assert not simulation.is_recovered
        await simulation.wait_recovered()
        assert sorted(simulation.systems) == ["a", "b", "c"]

    simulate(Scenario(1, ABC, ((1.0, Crash("b")), (2.0, Restart("b")))), on_node=on_node, main=main)
    assert Counter(started) == Counter("abbc")
    assert Counter(ended) == Counter(started)


@pytest.mark.parametrize("hinder", [Pause("b"), Cut(("a",), ("b",))])
def test_nothing_reaches_a_node_that_is_paused_or_cut_off_until_that_ends(hinder: Pause | Cut) -> None:
    got: list[float] = []

    async def count(ctx: ActorContext[int], message: int) -> Behavior[int]:
        got.append(trio.current_time())
        return Behaviors.same()

    async def on_node(node: ClusteredActorSystem) -> None:
        node.spawn(Behaviors.receive(count), "counter")

    async def main(simulation: Simulation) -> None:
        await trio.sleep(1.5)
        counter: ActorRef[int] = simulation.systems["a"].remote("/counter", "b").of(int)
        counter.tell(1)
        await trio.sleep(1.0)
        assert got == []
        await trio.sleep(1.0)
        assert len(got) == 1

    end = Wake("b") if isinstance(hinder, Pause) else Heal()
    simulate(Scenario(1, ABC, ((1.0, hinder), (3.0, end))), on_node=on_node, main=main)


def test_an_ask_across_a_cut_times_out_and_does_not_hang_when_the_asking_node_is_downed() -> None:
    failures: list[str] = []

    async def on_node(node: ClusteredActorSystem) -> None:
        node.spawn(Behaviors.ignore(), "silent")

    async def main(simulation: Simulation) -> None:
        await trio.sleep(1.0)
        node = simulation.systems["c"]
        silent: ActorRef[int] = node.remote("/silent", "a").of(int)
        for timeout in (1.0, 600.0):
            with pytest.raises((AskTimeoutError, casty.AskFailed)) as failed:
                await node.ask(silent, lambda reply_to: 1, timeout=timeout)
            failures.append(type(failed.value).__name__)

    simulate(Scenario(1, ABC, ((0.5, Cut(("a", "b"), ("c",))), (40.0, Heal()))), on_node=on_node, main=main)
    assert failures == ["AskTimeoutError", "AskFailed"]


def test_what_the_program_raises_is_raised_alone() -> None:
    async def main(simulation: Simulation) -> None:
        await trio.sleep(1.0)
        raise KeyError("main")

    with pytest.raises(KeyError, match="main"):
        simulate(Scenario(1, ABC), on_node=idle, main=main)


def test_what_the_program_of_a_node_raises_is_raised_alone() -> None:
    async def on_node(node: ClusteredActorSystem) -> None:
        if node.cluster_config.node_id == "b":
            raise KeyError("on b")

    with pytest.raises(KeyError, match="on b"):
        simulate(Scenario(1, ABC), on_node=on_node)


def test_a_broken_rule_says_when() -> None:
    async def main(simulation: Simulation) -> None:
        await trio.sleep(1.0)
        simulation.fail("nothing happens", "something did")

    with pytest.raises(InvariantBroken, match=r"nothing happens: something did, at \d+\.\d{4}"):
        simulate(Scenario(1, ABC), on_node=idle, main=main)


def test_a_program_that_does_not_end_is_a_failure() -> None:
    async def main(simulation: Simulation) -> None:
        await trio.sleep_forever()

    with pytest.raises(InvariantBroken, match="the program ends"):
        simulate(Scenario(1, ABC), on_node=idle, main=main)


def test_notes_are_part_of_the_digest() -> None:
    def noting(what: str) -> str:
        async def main(simulation: Simulation) -> None:
            simulation.note("main", what)
            await simulation.wait_recovered()

        return simulate(Scenario(1, ABC), on_node=idle, main=main).digest

    assert noting("one") == noting("one") != noting("other")


def test_what_happens_is_shown() -> None:
    facts: list[tuple[object, ...]] = []
    simulate(Scenario(1, ABC, ((1.0, Crash("b")),)), on_node=idle, show=facts.append)
    assert any(fact[1:] == ('Crash("b")',) for fact in facts)
    assert any(fact[1:] == ("b", "ends", "crashed") for fact in facts)
    assert any(fact[1:] == ("a", "tells", "MemberLeft", "b") for fact in facts)


def test_skewed_clocks_are_refused() -> None:
    with pytest.raises(ConfigError, match="share one clock"):
        play(Scenario(1, ABC, ((1.0, ClockSkew("a", 1.05)),)))
    assert not any(
        isinstance(fault, ClockSkew) for seed in range(50) for _, fault in random_scenario(seed, clocks=False).faults
    )


def test_a_simulation_inside_of_trio_says_where_it_belongs() -> None:
    async def test_of_somebody() -> None:
        simulate(QUIET, on_node=idle)

    with pytest.raises(RuntimeError, match=r"^simulate starts Trio itself, .* call it in `def test_...`, not async$"):
        trio.run(test_of_somebody)


async def for_two(node: ClusteredActorSystem, more: object) -> None:
    """Take too much."""


@pytest.mark.parametrize(
    ("on_node", "fault"),
    [
        (for_two, "on_node(node) -> None`, and for_two takes node, more"),
        (lambda _: None, "returned None, which cannot be awaited"),
    ],
)
def test_a_program_of_a_node_that_cannot_be_one_is_named_with_the_mend(on_node: OnNode, fault: str) -> None:
    with pytest.raises(TypeError, match="simulate") as caught:
        simulate(QUIET, on_node=on_node)
    assert fault in str(caught.value)
