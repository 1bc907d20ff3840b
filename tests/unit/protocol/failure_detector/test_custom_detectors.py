"""Detectors of a user's: judged by their phi, and put aside once they are at fault."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pytest
from helpers.detectors import FAULTY, Answering, Factory, FixedTimeout, OwnPhi
from hypothesis import given
from hypothesis import strategies as st

from casty import ClusterSettings, ConfigError, FailureDetectorConfig
from casty.protocol.assembly import availability_of
from casty.protocol.effects import Send, TimerFired
from casty.protocol.failure_detector.custom_detectors import CROSSING_PRECISION, DetectorFailed
from casty.protocol.failure_detector.monitor import (
    CHECK,
    HEARTBEAT,
    Availability,
    AvailabilityEffect,
    Heard,
    MarkReachable,
    MarkUnreachable,
    WatchMembers,
)
from casty.protocol.messages.liveness import HeartbeatAck, ProbeRequest
from casty.testing.samples import run_of

HASTY = FailureDetectorConfig(threshold=3.0, acceptable_heartbeat_pause_ms=500.0)
A, B, C, D = (run_of(name) for name in "abcd")


def machine_with(factory: Factory | None, **settings: object) -> Availability:
    return availability_of(A, ClusterSettings(failure_detector_factory=factory, **settings))  # type: ignore[arg-type]  # built of what a test gives


def watching(factory: Factory | None, *members: str, **settings: object) -> Availability:
    machine = machine_with(factory, **settings)
    machine.handle(WatchMembers((A, *map(run_of, members))), 0.0)
    return machine


def lived(
    machine: Availability, answers: Sequence[float], until: float, members: str = "b"
) -> list[tuple[float, AvailabilityEffect]]:
    """Watch members, have B answer at these times, check each hundredth second; return the effects with their times."""
    effects = [(0.0, effect) for effect in machine.handle(WatchMembers((A, *map(run_of, members))), 0.0)]
    waiting = sorted(answers)
    for step in range(int(until * 100) + 1):
        now = step / 100
        while waiting and waiting[0] <= now:
            effects += [(now, effect) for effect in machine.handle(Heard(B, HeartbeatAck(1)), waiting.pop(0))]
        if step % 50 == 0:
            effects += [(now, effect) for effect in machine.handle(TimerFired(HEARTBEAT), now)]
        effects += [(now, effect) for effect in machine.handle(TimerFired(CHECK), now)]
    return effects


def of(kind: type, effects: Sequence[tuple[float, AvailabilityEffect]]) -> list[tuple[float, AvailabilityEffect]]:
    return [(at, effect) for at, effect in effects if isinstance(effect, kind)]


def test_a_member_is_unreachable_when_its_own_detector_says_so() -> None:
    effects = lived(machine_with(lambda node: FixedTimeout(1.0)), [0.5, 1.0], 5.0)
    ((at, effect),) = of(MarkUnreachable, effects)
    assert (at, effect) == (pytest.approx(2.0, abs=0.011), MarkUnreachable((B,)))


def test_others_are_asked_at_a_phi_of_one() -> None:
    answers = [0.5 * beat for beat in range(1, 9)]
    effects = lived(machine_with(lambda node: FixedTimeout(2.0)), answers, 6.0, "bcd")
    asked = {
        effect.message.subject: at
        for at, effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, ProbeRequest)
    }
    at_one = 2.0 * (1 / 8) ** 0.25
    assert asked == {C: pytest.approx(at_one, abs=0.011), D: pytest.approx(at_one, abs=0.011)}
    assert of(MarkUnreachable, effects)[0][0] == pytest.approx(2.0, abs=0.011)


def test_a_member_that_answers_again_is_reachable_with_its_own_detector_too() -> None:
    effects = lived(machine_with(lambda node: FixedTimeout(1.0)), [0.5, 1.0, 3.0], 3.5)
    assert [(at, effect) for at, effect in of(MarkReachable, effects)] == [(3.0, MarkReachable(B))]


@pytest.mark.parametrize("patient", [FixedTimeout(60.0), FixedTimeout(math.inf)])
def test_a_patient_detector_is_bounded_by_the_longest_silence(patient: FixedTimeout) -> None:
    ((at, _),) = of(MarkUnreachable, lived(machine_with(lambda node: patient), [0.5], 7.0))
    assert at == pytest.approx(5.5, abs=0.011)
    longer = FailureDetectorConfig(acceptable_heartbeat_pause_ms=4000.0)
    ((at, _),) = of(MarkUnreachable, lived(machine_with(lambda node: patient, failure_detector=longer), [0.5], 7.0))
    assert at == pytest.approx(6.5, abs=0.011)


@given(
    st.lists(st.integers(1, 120), max_size=20),
    st.sampled_from(
        [FailureDetectorConfig(), FailureDetectorConfig(threshold=3.0, acceptable_heartbeat_pause_ms=500.0)]
    ),
)
def test_the_library_s_detector_decides_the_same_through_the_contract_of_a_user_s(
    gaps: list[int], config: FailureDetectorConfig
) -> None:
    plain = watching(None, "b", "c", failure_detector=config)
    custom = watching(lambda node: OwnPhi(config), "b", "c", failure_detector=config)
    now = 0.0
    for gap in gaps:
        now += gap / 20
        for machine in (plain, custom):
            machine.handle(Heard(B, HeartbeatAck(1)), now)
        for node in (B, C):
            for threshold in (1.0, config.threshold):
                found, expected = custom.detector.crossing(node, threshold), plain.detector.crossing(node, threshold)
                longest = plain.detector.last_heard(node) + config.acceptable_heartbeat_pause_ms / 1000 + 2.0
                assert (
                    expected - 1e-6 <= found
                    if found == math.inf
                    else found == pytest.approx(min(expected, found), abs=CROSSING_PRECISION + 1e-6)
                )
                assert found < math.inf or expected > longest - 1e-6
            assert custom.suspicion(node, now) == plain.suspicion(node, now)


@pytest.mark.parametrize("fault", FAULTY)
def test_a_detector_at_fault_is_put_aside_and_the_library_s_judges_as_if_it_had_always(
    fault: str,
) -> None:
    factory, text = FAULTY[fault]
    answers = [0.5 * beat for beat in range(1, 20)]
    effects = lived(machine_with(factory), answers, 16.0)
    ((_, failed),) = of(DetectorFailed, effects)
    assert isinstance(failed, DetectorFailed)
    assert failed.node == B
    assert failed.text.startswith(text)
    assert of(MarkUnreachable, effects) == of(MarkUnreachable, lived(machine_with(None), answers, 16.0)) != []


def test_a_fault_with_one_member_leaves_the_detectors_of_the_others() -> None:
    machine = machine_with(lambda node: Answering(None) if node == B else FixedTimeout(1.0))
    effects = lived(machine, [0.1, 0.2, 0.3], 1.5, "bc")
    assert [effect.node for _, effect in effects if isinstance(effect, DetectorFailed)] == [B]
    assert [effect.subjects for _, effect in effects if isinstance(effect, MarkUnreachable)] == [(C,)]


def test_a_fault_found_by_a_query_is_told_with_the_next_event() -> None:
    detectors: list[Answering] = []

    def make(node: object) -> Answering:
        detectors.append(Answering(None))
        return detectors[-1]

    machine = watching(make, "b")
    machine.handle(Heard(B, HeartbeatAck(1)), 0.1)
    detectors[-1].answers = 3  # it breaks between two events
    assert 0 <= machine.suspicion(B, 0.3) < 1
    (failed,) = (one for one in machine.handle(Heard(B, HeartbeatAck(1)), 0.4) if isinstance(one, DetectorFailed))
    assert failed.text == "TypeError: phi must be a number, got None"


def test_a_member_monitored_anew_gets_a_new_detector() -> None:
    made: list[object] = []

    def make(node: object) -> FixedTimeout:
        made.append(node)
        return FixedTimeout(1.0)

    machine = watching(make, "b")
    for members in ((A,), (A, B), (A, B)):
        machine.handle(WatchMembers(members), 1.0)
    assert made == [A, B, B]
    assert machine.suspicion(B, 1.0) == 0.0


def test_a_gone_member_leaves_nothing_behind() -> None:
    machine = watching(lambda node: FixedTimeout(1.0), "b")
    machine.handle(WatchMembers((A,)), 1.0)
    assert repr(machine.detector) == "<CustomDetectors 0>"
    assert machine.suspicion(B, 100.0) == 0.0


@pytest.mark.parametrize(
    ("detector", "text"),
    [
        (OwnPhi, "TypeError: the factory must return an object with heartbeat(now) and phi(now), got <class"),
        (None, "TypeError: the factory must return an object with heartbeat(now) and phi(now), got None"),
        (Answering(math.nan, good=1), "ValueError: phi must be at least 0, got nan"),
        (Answering(ZeroDivisionError("by zero"), good=0), "ZeroDivisionError: by zero"),
    ],
)
def test_a_factory_whose_detector_cannot_judge_this_node_is_refused_at_the_start(detector: object, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        watching(lambda node: detector)  # type: ignore[arg-type, return-value]  # what is tested
    start = "ClusterSettings.failure_detector_factory makes no detector that can judge: "
    assert str(caught.value).startswith(start + text)


@pytest.mark.parametrize(
    ("factory", "text"),
    [
        (8.0, "needs a function of a node that returns its FailureDetector, got 8.0"),
        (FixedTimeout(1.0), "must be a function that makes a detector for each member, got a detector, <"),
    ],
)
def test_settings_refuse_what_makes_no_detectors(factory: object, text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        ClusterSettings(failure_detector_factory=factory)  # type: ignore[arg-type]  # what is tested
    assert str(caught.value).startswith(f"ClusterSettings.failure_detector_factory {text}")


def test_settings_refuse_an_async_factory() -> None:
    async def make(node: object) -> FixedTimeout:
        return FixedTimeout(1.0)

    with pytest.raises(ConfigError, match="got an async function"):
        ClusterSettings(failure_detector_factory=make)  # type: ignore[arg-type]  # what is tested
