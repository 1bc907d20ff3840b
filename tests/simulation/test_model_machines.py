"""A machine from outside the model lives on its nodes: it is delayed, lost, paused, skewed and ended as they are."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pytest

from casty.address import UniqueAddress
from casty.errors import ConfigError
from casty.protocol.effects import Send, StartTimer, TimerFired
from casty.protocol.failure_detector.monitor import LinkLost
from casty.protocol.membership.view import SnapshotChanged
from casty.testing.simulation.model.engine import ModelEngine
from casty.testing.simulation.model.machine import ModelMachine
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import ModelTask, Run
from casty.testing.simulation.model.trace import Fact, Trace

TICK = 1.0


@dataclass(frozen=True)
class Count:
    """Between nodes: the number of ticks of the sender."""

    ticks: int


@dataclass(frozen=True)
class Large:
    """Between nodes, on a lane of its own."""

    ticks: int


@dataclass(frozen=True)
class Came:
    sender: UniqueAddress
    ticks: int
    at: float
    kind: type = Count


@dataclass(frozen=True)
class Ticked:
    """Effect of the machine alone."""

    ticks: int


@dataclass
class Counter:
    """Tells the other members its ticks, once a second."""

    node: UniqueAddress
    members: tuple[UniqueAddress, ...] = ()
    ticks: int = 0
    heard: list[Came | LinkLost] = field(default_factory=list)
    ticked: list[tuple[float, int]] = field(default_factory=list)
    """Filled by who performs the effects."""

    def handle(self, event: object, now: float) -> Sequence[object]:
        match event:
            case SnapshotChanged(snapshot):
                self.members = tuple(sorted(member.unique for member in snapshot.members))
            case TimerFired():
                self.ticks += 1
                others = [member for member in self.members if member != self.node]
                sent = [Send(other, kind(self.ticks)) for other in others for kind in (Large, Count)]
                return [*sent, Ticked(self.ticks), StartTimer("tick", TICK)]
            case Came() | LinkLost():
                self.heard.append(event)
        return ()


def same(event: object) -> object:
    return event


def came(sender: UniqueAddress, message: Count | Large, at: float) -> Came:
    return Came(sender, message.ticks, at, type(message))


def ticked(cluster: ModelEngine, task: ModelTask, effect: Ticked) -> None:
    task.run.machine("counter", Counter).ticked.append((cluster.now, effect.ticks))


def counter_of(cluster: ModelEngine, run: Run, rng: random.Random) -> Counter:
    return Counter(run.node)


COUNTER = ModelMachine[object](
    name="counter",
    make=counter_of,
    starts_with=(TimerFired("tick"),),
    receives={Count: came, Large: came},
    hears={SnapshotChanged: same, LinkLost: same},
    performs={Ticked: ticked},
    lanes={Large: "ordinary"},
)


def formed(names: str = "abc", seed: int = 1, machine: ModelMachine[object] = COUNTER) -> ModelCluster:
    cluster = ModelCluster(seed, machines=[machine])
    cluster.form(names)
    assert cluster.all_up(len(names))
    return cluster


def counter(cluster: ModelCluster, name: str) -> Counter:
    return cluster.runs[name].machine("counter", Counter)


def messages(cluster: ModelCluster, name: str, sender: str) -> list[Came]:
    node = cluster.runs[sender].node
    return [one for one in counter(cluster, name).heard if isinstance(one, Came) and one.sender == node]


def test_messages_timers_and_effects_of_a_further_machine_reach_it() -> None:
    cluster = formed()
    began = cluster.now
    cluster.run_for(5.0)
    assert {one.ticks for one in messages(cluster, "a", "b") if one.at > began} >= {3, 4, 5}
    ticks = counter(cluster, "b").ticked
    assert [number for _, number in ticks] == list(range(1, len(ticks) + 1))
    assert ticks[-1][0] == pytest.approx(TICK * (len(ticks) - 1))


def test_crash_ends_it_and_others_hear_of_the_broken_link_after_the_hand_over() -> None:
    cluster = formed()
    cluster.handover_max = {"counter": 0.5}
    gone = counter(cluster, "b")
    cluster.crash("b")
    ticks = gone.ticks
    assert LinkLost(gone.node) not in counter(cluster, "a").heard
    cluster.run_for(5.0)
    assert gone.ticks == ticks
    assert LinkLost(gone.node) in counter(cluster, "a").heard
    cluster.start("b", seeds="abc")
    assert counter(cluster, "b") is not gone
    assert counter(cluster, "b").ticks == 1


def test_paused_node_takes_what_came_meanwhile_when_it_wakes() -> None:
    cluster = formed()
    cluster.pause("b")
    cluster.hand(cluster.runs["b"], "counter", Came(cluster.runs["a"].node, 77, 0.0))
    known = len(counter(cluster, "b").heard)
    cluster.run_for(3.0)
    assert len(counter(cluster, "b").heard) == known
    cluster.resume("b")
    cluster.run_for(0.1)
    assert len(messages(cluster, "b", "a")) >= 6
    assert 77 in {one.ticks for one in messages(cluster, "b", "a")}


def test_skewed_clock_is_the_clock_of_the_machine() -> None:
    cluster = formed()
    before = {name: counter(cluster, name).ticks for name in "ab"}
    cluster.skew("a", 2.0)
    cluster.run_for(20.5)
    assert counter(cluster, "b").ticks - before["b"] in (20, 21)
    assert counter(cluster, "a").ticks - before["a"] in (40, 41, 42)


def test_late_answer_of_a_store_is_taken_by_the_run_that_asked() -> None:
    cluster = formed()
    for name in "ab":
        cluster.hand_later(2.0, cluster.runs[name], "counter", Came(cluster.runs["c"].node, 99, 0.0))
    cluster.crash("b")
    gone = counter(cluster, "b")
    cluster.run_for(3.0)
    assert 99 in {one.ticks for one in messages(cluster, "a", "c")}
    assert 99 not in {one.ticks for one in gone.heard if isinstance(one, Came)}


def test_order_holds_on_each_lane_between_two_runs_and_hand_over_keeps_it() -> None:
    cluster = formed()
    cluster.jitter, cluster.held_up, cluster.held_up_for = 0.5, 0.5, 5.0
    cluster.handover_max = {"counter": 1.5}
    cluster.run_for(60.0)
    sent = messages(cluster, "a", "b")
    for lane in (Count, Large):
        ticks = [one.ticks for one in sent if one.kind is lane]
        assert len(ticks) > 40
        assert ticks == sorted(ticks)
    assert [one.ticks for one in sent] != sorted(one.ticks for one in sent)  # one lane overtakes the other


def test_lost_and_doubled_letters_are_lost_and_doubled() -> None:
    cluster = formed()
    cluster.duplicated = 0.5
    cluster.run_for(20.0)
    assert len(messages(cluster, "a", "b")) > 2 * 20 + 5
    cluster.duplicated, cluster.loss = 0.0, 0.9
    before = len(messages(cluster, "a", "b"))
    cluster.run_for(5.0)
    assert len(messages(cluster, "a", "b")) - before < 6


def test_late_letters_come_once_more() -> None:
    cluster = formed(machine=replace(COUNTER, late=(Count,)))
    cluster.late_joins, cluster.late_joins_by = 0.9, 30.0
    cluster.run_for(60.0)
    sent = [one.ticks for one in messages(cluster, "a", "b")]
    assert sent != sorted(sent)


def test_node_without_the_machine_drops_its_messages_and_counts_them() -> None:
    cluster = ModelCluster(1, machines=[COUNTER])
    cluster.start("a", seeds="ab")
    cluster.start("b", seeds="ab", machines=())
    cluster.run_for(10.0)
    assert cluster.all_up(2)
    assert cluster.runs["b"].unknown[Count] >= 5
    assert cluster.runs["a"].unknown == {}


def test_message_of_no_member_is_refused_and_counted() -> None:
    cluster = formed("ab")
    stranger = cluster.start("s")  # asks nobody for entry
    cluster.hand(stranger, "counter", TimerFired("tick"))
    task = stranger.tasks["counter"]
    cluster.perform(task, [Send(cluster.runs["a"].node, Count(5))])
    cluster.run_for(1.0)
    assert messages(cluster, "a", "s") == []
    assert cluster.runs["a"].refused == {Count: 1}


@pytest.mark.parametrize("seed", range(3))
def test_history_of_the_membership_is_the_same_with_a_further_machine(seed: int) -> None:
    def history(machines: Sequence[ModelMachine[object]]) -> list[tuple[Fact, ...]]:
        facts: list[tuple[Fact, ...]] = []
        cluster = ModelCluster(seed, machines=machines)
        cluster.trace = Trace(facts.append)
        cluster.loss, cluster.jitter = 0.1, 0.2
        cluster.handover_max = dict.fromkeys(("topology", "gossip", "availability", "heartbeat", "counter"), 0.05)
        cluster.form("abcd")
        cluster.crash("b")
        cluster.pause("c")
        cluster.run_for(3.0)
        cluster.resume("c")
        cluster.run_for(30.0)
        return [fact for fact in facts if fact[3] not in ("Count", "Large")]

    with_it = history([COUNTER])
    assert with_it == history(())
    assert len(with_it) > 1000


def test_effect_that_nobody_performs_is_an_error_that_names_the_machine() -> None:
    cluster = ModelCluster(1, machines=[replace(COUNTER, performs={})])
    with pytest.raises(TypeError, match=r"nobody performs Ticked\(ticks=1\) of the machine 'counter'"):
        cluster.start("a")


def test_two_machines_with_one_name_or_one_message_are_refused() -> None:
    with pytest.raises(ConfigError, match="two machines of a node are called 'counter'"):
        ModelCluster(1, machines=[COUNTER, COUNTER])
    with pytest.raises(ConfigError, match="Count is taken by two machines, 'counter' and 'other'"):
        ModelCluster(1, machines=[COUNTER, replace(COUNTER, name="other")])
    with pytest.raises(ConfigError, match="two machines of a node are called 'gossip'"):
        ModelCluster(1).start("a", machines=[replace(COUNTER, name="gossip")])


def test_machine_of_another_class_is_not_handed_out_as_this_one() -> None:
    cluster = formed("a")
    with pytest.raises(TypeError, match="'counter' of a is a Counter, no Came"):
        cluster.runs["a"].machine("counter", Came)
