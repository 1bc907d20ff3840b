"""Phi grows with silence, and the time at which it crosses the threshold is known beforehand."""

from __future__ import annotations

import math

import pytest

from casty.config import FailureDetectorConfig
from casty.protocol.failure_detector.phi_accrual import PhiAccrualFailureDetector


def beating(interval: float, count: int = 20, **options: float) -> PhiAccrualFailureDetector[str]:
    detector = PhiAccrualFailureDetector[str](**options)
    for beat in range(count):
        detector.heartbeat("a", beat * interval)
    return detector


def test_unknown_node_is_not_suspected() -> None:
    detector = PhiAccrualFailureDetector[str]()
    assert detector.phi("a", 100.0) == 0.0
    assert detector.is_available("a", 100.0)


def test_regular_node_is_available_and_a_silent_one_is_not() -> None:
    detector = beating(0.5)
    assert detector.is_available("a", 9.5 + 3.5)
    assert not detector.is_available("a", 9.5 + 5.0)


def test_node_that_never_answers_is_judged_from_when_it_was_expected() -> None:
    detector = PhiAccrualFailureDetector[str]()
    detector.expect("a", 10.0)
    assert detector.is_available("a", 13.0)
    assert not detector.is_available("a", 30.0)


def test_expecting_a_known_node_changes_nothing() -> None:
    detector = beating(0.5)
    before = detector.crossing("a")
    detector.expect("a", 50.0)
    assert detector.crossing("a") == before


@pytest.mark.parametrize("interval", [0.01, 0.5, 1.9])
def test_crossing_is_where_phi_reaches_the_threshold(interval: float) -> None:
    detector = beating(interval)
    crossing = detector.crossing("a")
    assert detector.is_available("a", crossing - 1e-6)
    assert not detector.is_available("a", crossing + 1e-6)


def test_threshold_below_the_mean_is_crossed_before_it() -> None:
    detector = PhiAccrualFailureDetector[str](FailureDetectorConfig(threshold=0.001))
    detector.heartbeat("a", 0.0)
    crossing = detector.crossing("a")
    assert detector.is_available("a", crossing - 1e-6)
    assert not detector.is_available("a", crossing + 1e-6)


# -log10 of the upper tail of the normal distribution, from its continued fraction with 50 digits.
TAIL = {
    1.0: 0.79954554149197,
    3.0: 2.86969903592936,
    6.0: 9.00586432747670,
    8.0: 15.2061425510171,
    25.0: 137.514747650995,
    29.99: 197.178798162940,
    30.01: 197.439663741893,
    40.0: 349.437006459350,
    150.0: 4888.38812190465,
}


@pytest.mark.parametrize("deviations", TAIL)
def test_phi_is_the_tail_of_the_normal_distribution(deviations: float) -> None:
    detector = PhiAccrualFailureDetector[str](FailureDetectorConfig(acceptable_heartbeat_pause_ms=0.0))
    detector.expect("a", 0.0)  # in one second, give or take a quarter
    assert detector.phi("a", 1.0 + 0.25 * deviations) == pytest.approx(TAIL[deviations], rel=1e-9)
    assert detector.phi("a", 1.0 - 0.25 * deviations) == pytest.approx(-math.log10(1 - 10 ** -TAIL[deviations]))


@pytest.mark.parametrize("threshold", [0.5, 1.0, 8.0, 12.0, 16.0, 17.0, 20.0, 30.0, 40.0, 50.0, 300.0, 5000.0])
def test_each_threshold_is_crossed_at_a_time_of_its_own(threshold: float) -> None:
    crossing = {
        level: beating(0.5, config=FailureDetectorConfig(threshold=level)).crossing("a")
        for level in (threshold, threshold * 1.01)
    }
    assert crossing[threshold] < crossing[threshold * 1.01]
    detector = beating(0.5)
    assert detector.phi("a", crossing[threshold]) == pytest.approx(threshold, rel=1e-9)
    assert detector.crossing("a", threshold) == crossing[threshold]


def test_phi_tells_long_silences_apart_and_stays_finite() -> None:
    detector = beating(0.5)
    levels = [detector.phi("a", 9.5 + silence) for silence in (4.0, 5.0, 10.0, 100.0, 1e6)]
    assert levels == sorted(set(levels))
    assert all(math.isfinite(level) for level in levels)


def test_outage_is_not_learned() -> None:
    steady, recovered = beating(0.5, learned_interval_max=2.0), beating(0.5, learned_interval_max=2.0)
    recovered.heartbeat("a", 100.0)
    assert recovered.crossing("a") - 100.0 == pytest.approx(steady.crossing("a") - 9.5)


def test_irregular_node_is_given_more_time() -> None:
    regular, irregular = beating(0.5), PhiAccrualFailureDetector[str]()
    time = 0.0
    for beat in range(20):
        time += 0.1 if beat % 2 else 0.9
        irregular.heartbeat("a", time)
    assert irregular.crossing("a") - time > regular.crossing("a") - 9.5


def test_only_the_latest_intervals_count() -> None:
    detector = PhiAccrualFailureDetector[str](FailureDetectorConfig(max_sample_size=5))
    for beat in range(10):
        detector.heartbeat("a", beat * 3.0)
    for beat in range(1, 7):
        detector.heartbeat("a", 27.0 + beat * 0.5)
    fresh = beating(0.5, count=50)
    assert detector.crossing("a") - 30.0 == pytest.approx(fresh.crossing("a") - 24.5, abs=0.2)


def test_forgotten_node_is_unknown_again() -> None:
    detector = beating(0.5)
    assert detector.tracked_nodes == {"a"}
    detector.remove("a")
    detector.remove("a")
    assert detector.tracked_nodes == frozenset()
    assert detector.phi("a", 100.0) == 0.0


def test_last_heard_is_the_time_of_the_last_heartbeat() -> None:
    assert beating(0.5).last_heard("a") == 9.5
