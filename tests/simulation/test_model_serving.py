"""Exclusive work: at most one owner at any time, whatever falls apart, stands still and wakes."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from casty.address import UniqueAddress
from casty.protocol.effects import Send
from casty.protocol.failure_detector.monitor import MarkUnreachable
from casty.protocol.membership.inputs import TopologySettings
from casty.protocol.messages.membership import ServingGrant, ServingRequest
from casty.protocol.split_brain import serving_lease
from casty.protocol.split_brain.downing import stable_after
from casty.protocol.split_brain.serving_lease import SERVING_TIME, TAKEOVER_AFTER, ServingEffect, ServingLeaseMachine
from casty.protocol.split_brain.strategies import (
    DownAll,
    KeepMajority,
    KeepOldest,
    LeaseMajority,
    StaticQuorum,
    Strategy,
)
from casty.protocol.state.member import by_age
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation import InvariantBroken, ModelCluster, OneOwner, Run, Watch

STEP = 0.05
TROUBLE = ["cut", "cut", "cut", "one way", "pause", "pause", "wake", "crash", "leave", "heal", "start", "skew"]
MAJORITY = KeepMajority()
RATES = (0.955, 1.045)
"""A little less than a tenth apart."""
STRATEGIES: list[Strategy | None] = [
    KeepMajority(),
    StaticQuorum(3),
    KeepOldest(),
    KeepOldest(down_if_alone=False),
    LeaseMajority("lease"),
    DownAll(),
    None,
]


class Shop:
    """A simulated cluster with exclusive work, watched all the time."""

    def __init__(self, seed: int, names: Sequence[str], strategy: Strategy | None = MAJORITY) -> None:
        self.rng = random.Random(seed)
        self.names = names
        self.cluster = ModelCluster(seed, settings=TopologySettings(downing=strategy))
        self.owner = OneOwner(self.cluster)
        self.watch = Watch(self.cluster, one_cluster=False)
        self.cluster.clock_spread = 1000.0
        self.cluster.form(names)
        self.run(3.0)
        state = self.cluster.runs[names[0]].topology.state
        assert state is not None
        self.oldest, self.next, *_, self.last = (member.id for member in sorted(state.ordered, key=by_age))
        assert self.acting == self.oldest

    @property
    def acting(self) -> str:
        return "".join(run.name for run in self.owner.acting)

    def lease_left(self, run: Run) -> float:
        return run.serving_until - run.clock(self.cluster.now)

    def run(self, seconds: float) -> None:
        """Let time pass and look at every event, and in short steps between them: leases lapse without an event."""
        for _ in range(round(seconds / STEP)):
            self.cluster.run_for(STEP, until=lambda: self.owner.check() or self.watch.check())
            self.owner.check()

    def run_until_acting(self, name: str, within: float) -> float:
        """Return after how long the node ``name`` acts."""
        start = self.cluster.now
        while self.acting != name:
            assert self.cluster.now - start < within, (self.acting, name)
            self.run(STEP)
        return self.cluster.now - start

    def restart_what_ended(self) -> None:
        members = [run.name for run in self.cluster.living if run.topology.state is not None]
        for name in self.names:
            if not self.cluster.runs[name].alive:
                self.cluster.start(name, seeds=[*members[:1], *self.names[:3]])

    def trouble(self) -> None:
        """Do something bad, or end it."""
        rng, cluster, names = self.rng, self.cluster, self.names
        match rng.choice(TROUBLE):
            case "cut" | "one way" as kind:
                side = rng.sample(names, rng.randint(1, len(names) - 1))
                cluster.cut(side, set(names) - set(side), one_way=kind == "one way")
            case "bridge":
                cluster.cut(rng.choice(names), rng.choice(names))
            case "pause":
                cluster.pause(rng.choice(names))
            case "crash":
                cluster.crash(rng.choice(names))
            case "skew":
                cluster.skew(rng.choice(names), rng.choice(RATES))
            case "leave":
                cluster.leave(rng.choice(names))
            case "wake":
                for name in names:
                    cluster.resume(name)
            case "heal":
                cluster.heal()
            case _:
                self.restart_what_ended()

    def calm(self) -> None:
        """End all trouble."""
        self.cluster.heal()
        self.cluster.loss = 0.0
        for name in self.names:
            self.cluster.resume(name)


def troubled(seed: int, strategy: Strategy | None, names: Sequence[str] = "") -> Shop:
    shop = Shop(seed, names or "abcde"[: (3, 5)[seed % 2]], strategy)
    shop.cluster.loss = shop.rng.choice((0.0, 0.1))
    shop.cluster.jitter = shop.rng.choice((0.0, 0.2))
    for _ in range(12):
        shop.trouble()
        shop.run(shop.rng.choice((0.1, 1.0, 4.0, shop.rng.uniform(0.0, 20.0))))
    shop.calm()
    shop.run(30.0)
    return shop


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("strategy", STRATEGIES, ids=str)
def test_two_nodes_never_do_the_same_exclusive_work(strategy: Strategy | None, seed: int) -> None:
    troubled(seed, strategy)


@pytest.mark.parametrize("strategy", [KeepMajority(), StaticQuorum(3), KeepOldest(), LeaseMajority("lease")], ids=str)
def test_cut_off_owner_is_replaced_in_fifteen_seconds(strategy: Strategy) -> None:
    shop = Shop(1, "abcde", strategy)
    shop.cluster.cut(shop.oldest, set("abcde") - {shop.oldest})
    assert shop.run_until_acting("", within=4.1) <= SERVING_TIME
    assert shop.run_until_acting(shop.next, within=15.0 - SERVING_TIME)


def test_oldest_that_is_kept_however_alone_works_on_alone() -> None:
    shop = Shop(1, "abcde", KeepOldest(down_if_alone=False))
    shop.cluster.cut(shop.oldest, set("abcde") - {shop.oldest})
    for _ in range(200):
        shop.run(0.1)
        assert shop.acting == shop.oldest


def test_crashed_owner_is_replaced_in_ten_seconds() -> None:
    shop = Shop(2, "abcde")
    shop.cluster.crash(shop.oldest)
    assert shop.run_until_acting(shop.next, within=10.0)


@pytest.mark.parametrize("strategy", [None, DownAll()], ids=str)
def test_strategy_that_keeps_no_side_lets_nobody_work_while_somebody_is_missing(strategy: Strategy | None) -> None:
    shop = Shop(3, "abc", strategy)
    shop.cluster.cut("c", "ab")
    shop.run(5.0)
    assert shop.acting == ""
    shop.cluster.heal()
    if strategy is None:
        assert shop.run_until_acting("a", within=5.0)


def test_without_downing_the_operator_frees_the_work_of_a_node_that_is_gone() -> None:
    shop = Shop(4, "abc", None)
    shop.cluster.crash(shop.oldest)
    shop.run(30.0)
    assert shop.acting == ""
    shop.cluster.down(shop.next, shop.oldest)
    assert shop.run_until_acting(shop.next, within=TAKEOVER_AFTER + 2.0)


def test_the_larger_side_works_on_while_the_smaller_one_decides() -> None:
    shop = Shop(5, "abcde")
    shop.cluster.cut("de", "abc")
    for _ in range(200):
        shop.run(0.1)
        assert shop.acting == "a"


MANY = [f"n{number:02}" for number in range(12)]
"""So many that a node does not ask all others: with less to ask each second they are as 60 nodes."""


class Requests:
    """Counts the requests for grants."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self, run: Run, to: UniqueAddress, message: object) -> None:
        self.count += isinstance(message, ServingRequest)


@pytest.fixture
def many(monkeypatch: pytest.MonkeyPatch) -> Shop:
    monkeypatch.setattr(serving_lease, "ASKED_PER_SECOND_MAX", 3)
    shop = Shop(11, MANY)
    shop.run(10.0)
    return shop


def test_many_nodes_ask_no_more_others_each_second_than_they_may(many: Shop) -> None:
    many.cluster.taps.sent.append(requests := Requests())
    many.run(30.0)
    assert 0 < requests.count <= 30.0 * len(MANY) * serving_lease.ASKED_PER_SECOND_MAX * 1.1


@pytest.mark.parametrize("crashed", [2, 5])
def test_the_larger_part_of_many_serves_on_while_others_die_at_once(many: Shop, crashed: int) -> None:
    for name in [name for name in MANY if name != many.oldest][-crashed:]:
        many.cluster.crash(name)
    left = list(many.cluster.living)
    for _ in range(300):
        many.run(STEP)
        assert all(many.lease_left(run) > 0 for run in left)
    assert many.acting == many.oldest


def test_the_smaller_part_of_many_suspends_its_work_in_time(many: Shop) -> None:
    small = [many.oldest, *[name for name in MANY if name != many.oldest][:4]]
    many.cluster.cut(small, set(MANY) - set(small))
    assert many.run_until_acting("", within=SERVING_TIME + 0.1)
    many.run(30.0)
    assert many.acting not in ["", *small]


@pytest.mark.parametrize("seed", range(6))
def test_two_of_many_never_do_the_same_exclusive_work(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(serving_lease, "ASKED_PER_SECOND_MAX", 1)
    monkeypatch.setattr(serving_lease, "SPARE", seed % 3)
    troubled(seed, MAJORITY, MANY[: 5 + seed % 3])


def test_owner_that_stood_still_for_ten_seconds_goes_on_as_the_same_run() -> None:
    shop = Shop(6, "abc")
    run = shop.cluster.runs[shop.oldest]
    shop.cluster.pause(run.name)
    shop.run(10.0)
    shop.cluster.resume(run.name)
    assert shop.acting == ""
    assert shop.run_until_acting(run.name, within=5.0)
    assert run.alive


def test_owner_that_stood_still_for_thirty_seconds_wakes_without_work() -> None:
    shop = Shop(7, "abc")
    shop.cluster.pause(shop.oldest)
    shop.run_until_acting(shop.next, within=20.0)
    shop.run(30.0)
    shop.cluster.resume(shop.oldest)
    shop.run(2.0)
    assert shop.acting == shop.next
    assert shop.cluster.runs[shop.oldest].outcome == "downed"


def downed_by_hand_while_cut_off() -> Shop:
    shop = Shop(8, "abc")
    owner = shop.cluster.runs[shop.oldest]
    while (
        owner.serving_until - owner.clock(shop.cluster.now) < serving_lease.SERVING_TIME - 2 * STEP
    ):  # it has just asked
        shop.run(STEP)
    shop.cluster.cut(shop.oldest, {shop.next, shop.last})
    shop.cluster.down(shop.next, shop.oldest)
    shop.run(10.0)
    return shop


def accused_by_one_and_then_cut_off_from_all() -> Shop:
    shop = Shop(9, "abcde")
    others = set("abcde") - {shop.oldest}
    shop.cluster.tell(shop.cluster.runs[shop.last], MarkUnreachable((shop.cluster.runs[shop.oldest].node,)))
    shop.run(stable_after(5) - 0.5)
    shop.cluster.cut(shop.oldest, others)
    shop.run(8.0)
    return shop


def woken_with_old_grants() -> Shop:
    shop = Shop(10, "abc")
    owner = shop.cluster.runs[shop.oldest]
    shop.cluster.delay = 0.2  # so that what it asked for is answered, but not yet there
    while shop.lease_left(owner) < SERVING_TIME - 0.6:
        shop.run(STEP)
    shop.run(0.8)
    shop.cluster.pause(shop.oldest)
    shop.run(0.3)
    shop.cluster.cut(shop.oldest, {shop.next, shop.last})
    shop.run(20.0)
    shop.cluster.resume(shop.oldest)
    shop.run(5.0)
    return shop


HARD = [downed_by_hand_while_cut_off, accused_by_one_and_then_cut_off_from_all, woken_with_old_grants]


@pytest.mark.parametrize("scenario", HARD)
def test_old_owner_has_stopped_before_a_new_one_begins(scenario: Callable[[], Shop]) -> None:
    shop = scenario()
    assert shop.acting == shop.next


def grants_to_anybody(
    self: ServingLeaseMachine, state: Gossip, sender: UniqueAddress, request: ServingRequest
) -> list[ServingEffect]:
    return [Send(sender, ServingGrant(request.sequence))] if sender in state.members else []


def test_taking_over_at_once_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_lease, "TAKEOVER_AFTER", 0.0)
    with pytest.raises(InvariantBroken, match="exclusive work has one owner"):
        downed_by_hand_while_cut_off()


def test_grants_that_hold_for_longer_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving_lease, "SERVING_TIME", 5.0)
    with pytest.raises(InvariantBroken, match="exclusive work has one owner"):
        downed_by_hand_while_cut_off()


def test_grants_to_accused_members_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ServingLeaseMachine, "asked", grants_to_anybody)
    with pytest.raises(InvariantBroken, match="exclusive work has one owner"):
        accused_by_one_and_then_cut_off_from_all()
