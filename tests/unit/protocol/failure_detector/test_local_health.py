"""A node that stood still does not blame others for it; nothing else excuses a silence."""

from __future__ import annotations

import math

from casty.protocol.effects import TimerFired
from casty.protocol.failure_detector.local_health import LATENESS_MIN, STALL_FORGIVEN_MAX, LocalHealth
from casty.protocol.failure_detector.monitor import CHECK, HEARTBEAT, Availability, Heard, MarkUnreachable, WatchMembers
from casty.protocol.messages.liveness import HeartbeatAck
from casty.testing.samples import run_of

A = run_of("a")
OTHERS = tuple(run_of(name) for name in "bcdefghi")


def healthy(until: float) -> LocalHealth:
    health, now = LocalHealth(), 0.0
    while now <= until:
        health.ticked(now, 0.5)
        now += 0.5
    return health


def test_ticks_on_time_excuse_nothing() -> None:
    health = healthy(10.0)
    health.ticked(10.5 + LATENESS_MIN, 0.5)
    assert (health.lost_since(0.0), health.withheld_until) == (0.0, -math.inf)


def test_time_that_was_lost_is_no_part_of_a_silence_that_began_before() -> None:
    health = healthy(10.0)
    health.ticked(12.5, 0.5)
    assert (health.lost_since(12.4), health.lost_since(12.5)) == (2.0, 0.0)
    assert health.withheld_until == 14.5


def test_at_most_three_seconds_are_forgiven_for_one_stall() -> None:
    health = healthy(10.0)
    health.ticked(1000.0, 0.5)
    assert health.lost_since(0.0) == STALL_FORGIVEN_MAX
    assert health.withheld_until == 1000.0 + STALL_FORGIVEN_MAX


def test_stall_that_is_seen_before_its_tick_comes_counts_once() -> None:
    health = healthy(10.0)
    health.look(12.0)
    health.look(12.25)
    health.ticked(12.5, 0.5)
    assert health.lost_since(0.0) == 2.0


def test_stalls_add_up_in_one_silence() -> None:
    health = healthy(10.0)
    health.ticked(12.5, 0.5)
    health.ticked(14.0, 0.5)
    assert health.lost_since(10.0) == 3.0


def test_nobody_is_accused_for_a_stall_of_each_of_two_nodes_after_the_other() -> None:
    machine = Availability(A)
    machine.handle(WatchMembers((A, *OTHERS)), 0.0)
    for beat in range(21):
        machine.handle(TimerFired(HEARTBEAT), beat * 0.5)
        for node in OTHERS:
            machine.handle(Heard(node, HeartbeatAck(beat)), beat * 0.5)
    found = list[object]()
    for time in (13.5, 14.0, 14.5, 15.0, 15.5, 16.0, 16.25):  # this node until 13.5, the others until 16.4
        found += [effect for key in (HEARTBEAT, CHECK) for effect in machine.handle(TimerFired(key), time)]
    assert not [effect for effect in found if isinstance(effect, MarkUnreachable)]


def test_however_many_are_silent_all_are_accused() -> None:
    machine = Availability(A)
    machine.handle(WatchMembers((A, *OTHERS)), 0.0)
    for beat in range(12):
        machine.handle(TimerFired(HEARTBEAT), beat * 0.5)
    effects = machine.handle(TimerFired(CHECK), 5.5)
    accused = [node for effect in effects if isinstance(effect, MarkUnreachable) for node in effect.subjects]
    assert sorted(accused) == sorted(OTHERS)
