"""A failure detector, tried on drawn histories: good ones pass, and each kind of bad one is found."""

from __future__ import annotations

import math
import random
import time
from collections.abc import Callable

import pytest
from helpers.detectors import FixedTimeout, OwnPhi

from casty import FailureDetector, FailureDetectorConfig
from casty.testing import check_failure_detector


@pytest.mark.parametrize(
    "make", [lambda node: OwnPhi(), lambda node: FixedTimeout(3.0), lambda node: FixedTimeout(5.0)]
)
def test_good_detectors_pass(make: Callable[[object], FailureDetector]) -> None:
    check_failure_detector(make, histories=300)


def test_the_tuning_and_the_interval_are_those_that_are_given() -> None:
    config = FailureDetectorConfig(threshold=3.0, acceptable_heartbeat_pause_ms=8000.0)
    check_failure_detector(
        lambda node: FixedTimeout(9.0, threshold=3.0), config=config, heartbeat_interval=2.0, histories=300
    )


class Noted(FixedTimeout):
    """Notes when it was asked last, and takes that for a sign of life."""

    def phi(self, now: float) -> float:
        found = super().phi(now)
        self.heard = max(self.heard, now - 1.0)
        return found


class Chance(FixedTimeout):
    """Adds some chance."""

    def phi(self, now: float) -> float:
        return super().phi(now) + random.random() / 1e6 * (now - self.heard)


class Clock(FixedTimeout):
    """Reads a clock of its own."""

    def heartbeat(self, now: float) -> None:
        self.began = time.perf_counter()
        super().heartbeat(now)

    def phi(self, now: float) -> float:
        return super().phi(now) + time.perf_counter() - self.began


class Forgetful(FixedTimeout):
    """Forgives those that were silent for long."""

    def phi(self, now: float) -> float:
        return 0.0 if now - self.heard > 4.0 else super().phi(now)


class Absolute(FixedTimeout):
    """Takes the clock of the node for one that began with the node."""

    def heartbeat(self, now: float) -> None:
        """Take no notice."""


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda node: FixedTimeout(0.4), r"a member that answers every 0\.5 s is unreachable: phi \d"),
        (lambda node: FixedTimeout(0.8), r"a member that answers every 0\.5 s is asked about, at a phi of 1: phi "),
        (
            lambda node: FixedTimeout(60.0),
            r"phi is 0\.0003858\d* after 5 s of silence, the longest there is, after answers",
        ),
        (lambda node: Noted(3.0), r"phi falls in silence|two detectors with one history say|the longest there is"),
        (lambda node: Chance(3.0), r"phi falls in silence|two detectors with one history say"),
        (lambda node: Clock(3.0), r"phi falls in silence|two detectors with one history say"),
        (lambda node: Forgetful(3.0), r"phi falls in silence, from .* to 0, 4\.\d* s long"),
        (
            lambda node: Absolute(3.0),
            r"phi is .* at an answer, at least the threshold of 8|is asked about, at a phi of 1",
        ),
    ],
)
def test_each_broken_rule_is_found(make: Callable[[object], FailureDetector], text: str) -> None:
    with pytest.raises(AssertionError, match=text):
        check_failure_detector(make)


@pytest.mark.parametrize(
    ("phi", "error"), [(None, TypeError), ("8", TypeError), (True, TypeError), (-1, ValueError), (math.nan, ValueError)]
)
def test_a_phi_that_is_no_number_of_at_least_0_is_an_error(phi: object, error: type[Exception]) -> None:
    class Answering(FixedTimeout):
        def phi(self, now: float) -> float:
            return phi  # type: ignore[return-value]  # what is tested

    with pytest.raises(error, match="phi must be"):
        check_failure_detector(lambda node: Answering(3.0))


def test_what_makes_no_detector_is_an_error() -> None:
    with pytest.raises(TypeError, match="needs a function of a node that returns its FailureDetector, got 8"):
        check_failure_detector(8)  # type: ignore[arg-type]  # what is tested
    with pytest.raises(TypeError, match=r"must return an object with heartbeat\(now\) and phi\(now\), got <class"):
        check_failure_detector(lambda node: FixedTimeout)  # type: ignore[arg-type, return-value]  # what is tested


@pytest.mark.parametrize(
    ("name", "value"), [("histories", 0), ("heartbeat_interval", 0.0), ("heartbeat_interval", math.nan)]
)
def test_arguments_without_sense_are_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} must be"):
        check_failure_detector(lambda node: FixedTimeout(3.0), **{name: value})  # type: ignore[arg-type]  # built of what a test gives


def test_one_detector_for_all_members_is_found_at_once() -> None:
    shared = OwnPhi()
    with pytest.raises(AssertionError, match="hands out one detector twice, .*make a new one in each call"):
        check_failure_detector(lambda node: shared)
    by_member: dict[object, FailureDetector] = {}
    with pytest.raises(AssertionError, match="hands out one detector twice"):
        check_failure_detector(lambda node: by_member.setdefault(node, OwnPhi()))


def test_detectors_that_share_what_they_know_are_found() -> None:
    last = [0.0]

    class Sharing:
        def heartbeat(self, now: float) -> None:
            last[0] = now

        def phi(self, now: float) -> float:
            return 8.0 * ((now - last[0]) / 3.0) ** 4

    with pytest.raises(
        AssertionError, match="detectors of two members share what they know: phi was .*, and is 0 once"
    ):
        check_failure_detector(lambda node: Sharing())
