"""Whoever comes and goes is held until it has stayed for a while; a network that does so holds nobody."""

from __future__ import annotations

from dataclasses import replace

from casty.protocol.effects import TimerFired
from casty.protocol.failure_detector.flapping import FLAPS_MAX, FLAPS_WITHIN, Flapping
from casty.protocol.failure_detector.monitor import (
    CHECK,
    HEARTBEAT,
    HELD_LONGER,
    Availability,
    Heard,
    MarkReachable,
    MarkUnreachable,
    RunSeen,
    WatchMembers,
)
from casty.protocol.messages.liveness import HeartbeatAck
from casty.testing.samples import run_of

A, B, C, D, E = (run_of(name) for name in "abcde")


def returned(flapping: Flapping, now: float, *, was_silent: bool = True) -> bool:
    flapping.accused({B}, 4)
    return flapping.answered(B, now, was_silent=was_silent, steady_for=7.0)


def held() -> Flapping:
    flapping = Flapping()
    assert [returned(flapping, at) for at in (10.0, 20.0, 30.0)] == [True, True, False]
    return flapping


def test_member_that_comes_back_for_the_third_time_is_held_until_it_was_steady() -> None:
    flapping = held()
    steady = [flapping.answered(B, at, was_silent=False, steady_for=7.0) for at in (30.5, 36.9, 37.0)]
    assert steady == [False, False, True]


def test_silence_in_between_starts_the_time_again() -> None:
    flapping = held()
    assert not flapping.answered(B, 36.0, was_silent=True, steady_for=7.0)
    assert not flapping.answered(B, 42.9, was_silent=False, steady_for=7.0)
    assert flapping.answered(B, 43.0, was_silent=False, steady_for=7.0)


def test_member_that_was_steady_begins_anew() -> None:
    flapping = held()
    assert flapping.answered(B, 40.0, was_silent=False, steady_for=7.0)
    assert [returned(flapping, at) for at in (50.0, 60.0, 70.0)] == [True, True, False]


def test_returns_far_apart_are_no_flapping() -> None:
    flapping = Flapping()
    assert all(returned(flapping, number * FLAPS_WITHIN) for number in range(10))


def test_members_that_go_together_are_not_to_blame() -> None:
    flapping = Flapping()
    for number in range(3 * FLAPS_MAX):
        for accused in ({B}, {B, C}):
            flapping.accused(accused, 4)
        assert flapping.answered(B, number, was_silent=True, steady_for=7.0)
        assert flapping.answered(C, number, was_silent=True, steady_for=7.0)


def test_member_that_is_gone_is_forgotten() -> None:
    flapping = held()
    flapping.forget(B)
    assert returned(flapping, 31.0)


def test_held_member_is_neither_taken_back_nor_accused_again() -> None:
    machine = Availability(A, stable_after=3.0)
    machine.handle(WatchMembers((A, B, C, D, E)), 0.0)
    said = list[object]()
    for beat in range(400):
        now = beat * 0.1
        for node in (B, C, D, E):
            if node != B or beat % 60 < 10 or beat > 180:
                said += [(round(now, 1), effect) for effect in machine.handle(Heard(node, HeartbeatAck(beat)), now)]
        for key in (HEARTBEAT, CHECK):
            said += [(round(now, 1), effect) for effect in machine.handle(TimerFired(key), now)]
    verdicts = [one for one in said if isinstance(one, tuple) and isinstance(one[1], MarkUnreachable | MarkReachable)]
    of_b = [
        (at, effect) for at, effect in verdicts if effect == MarkReachable(B) or isinstance(effect, MarkUnreachable)
    ]
    assert [replace(effect, suspected=()) if isinstance(effect, MarkUnreachable) else effect for _, effect in of_b] == [
        *([MarkUnreachable((B,)), MarkReachable(B)] * 2),
        MarkUnreachable((B,)),
        MarkUnreachable((B,), 3.0 + HELD_LONGER),  # it answers again, and is not lost as long as it may be taken back
        MarkReachable(B),
    ]
    assert [at for at, effect in of_b if isinstance(effect, MarkReachable)] == [6.0, 12.0, 21.0]
    others = [(at, effect) for at, effect in verdicts if isinstance(effect, MarkReachable) and effect.subject != B]
    assert all(any(at - 0.2 < accused_at <= at for accused_at, _ in of_b) for at, _ in others), "at their next answer"


def test_another_run_at_the_address_of_a_held_member_does_not_bring_it_back() -> None:
    machine = Availability(A)
    machine.handle(WatchMembers((A, B, C, D, E)), 0.0)
    for number in range(FLAPS_MAX):
        (accusation,) = machine.handle(RunSeen(run_of("b", 999)), float(number))
        assert isinstance(accusation, MarkUnreachable)
        assert accusation.subjects == (B,)
        taken_back = MarkReachable(B) in machine.handle(Heard(B, HeartbeatAck(number)), number + 0.5)
        assert taken_back == (number < FLAPS_MAX - 1)
    assert machine.handle(RunSeen(run_of("b", 999)), 9.0) == []
