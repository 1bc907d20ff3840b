"""Failure detectors of a user's: good ones, and one for each way to be at fault."""

from __future__ import annotations

import math
from collections.abc import Callable

from casty import FailureDetector, FailureDetectorConfig, PhiAccrualFailureDetector, UniqueAddress
from helpers.systems import Boom

Factory = Callable[[UniqueAddress], FailureDetector]


class FixedTimeout:
    """Suspects whoever has been silent for some seconds."""

    def __init__(self, seconds: float, threshold: float = 8.0) -> None:
        self.seconds = seconds
        self.threshold = threshold
        self.heard = 0.0

    def heartbeat(self, now: float) -> None:
        self.heard = now

    def phi(self, now: float) -> float:
        return self.threshold * ((now - self.heard) / self.seconds) ** 4


class OwnPhi:
    """Casty's own detector, through the contract of a user's."""

    def __init__(self, config: FailureDetectorConfig | None = None, learned_max: float = 2.0) -> None:
        self.inner = PhiAccrualFailureDetector[str](config, learned_interval_max=learned_max)

    def heartbeat(self, now: float) -> None:
        self.inner.heartbeat("it", now)

    def phi(self, now: float) -> float:
        return self.inner.phi("it", now)


class Answering(FixedTimeout):
    """Answers something else than its phi, after two good answers."""

    def __init__(self, answer: object, good: int = 2) -> None:
        super().__init__(3.0)
        self.answer = answer
        self.good = good
        self.answers = 0

    def heartbeat(self, now: float) -> None:
        super().heartbeat(now)
        self.answers += 1

    def phi(self, now: float) -> float:
        if self.answers <= self.good:
            return super().phi(now)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer  # type: ignore[return-value]  # what is tested


class Deaf(Answering):
    """Raises at its third answer."""

    def __init__(self) -> None:
        super().__init__(0.0)

    def heartbeat(self, now: float) -> None:
        super().heartbeat(now)
        if self.answers == 3:
            raise Boom("deaf")


class Wordless(Exception):
    """Has no text: asked for it, it raises."""

    def __str__(self) -> str:
        raise Boom("no words")


def raising_for(name: str) -> Factory:
    """Return a factory with no detector for the nodes on one host."""

    def make(node: UniqueAddress) -> FailureDetector:
        if node.address.host == name:
            raise Boom(f"no detector for {name}")
        return FixedTimeout(3.0)

    return make


def classes_for(name: str) -> Factory:
    """Return a factory that forgets the brackets for the nodes on one host."""

    def make(node: UniqueAddress) -> FailureDetector:
        return FixedTimeout if node.address.host == name else FixedTimeout(3.0)  # type: ignore[return-value]  # tested

    return make


FAULTY: dict[str, tuple[Factory, str]] = {
    "raises": (lambda node: Answering(Boom("broken")), "Boom: broken"),
    "raises without words": (
        lambda node: Answering(Wordless()),
        "Wordless: its text cannot be had: Boom",
    ),
    "beyond a float": (lambda node: Answering(10**400), "ValueError: phi must be a number of the size of a float"),
    "nan": (lambda node: Answering(math.nan), "ValueError: phi must be at least 0, got nan"),
    "negative": (lambda node: Answering(-1.0), "ValueError: phi must be at least 0, got -1.0"),
    "text": (lambda node: Answering("8"), "TypeError: phi must be a number, got '8'"),
    "nothing": (lambda node: Answering(None), "TypeError: phi must be a number, got None"),
    "truth": (lambda node: Answering(True), "TypeError: phi must be a number, got True"),
    "always dead": (
        lambda node: Answering(math.inf),
        "ValueError: phi must be below the threshold of 8 at an answer, got inf",
    ),
    "deaf": (lambda node: Deaf(), "Boom: deaf"),
    "no detector": (raising_for("b"), "Boom: no detector for b"),
    "a class": (classes_for("b"), "TypeError: the factory must return an object with heartbeat(now) and phi(now), got"),
}
"""Factories by their fault, each with the beginning of its text. They judge the node on host ``a`` well enough."""
