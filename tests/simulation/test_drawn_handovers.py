"""Links of whole nodes, handed over while messages cross them at times drawn from a seed."""

from __future__ import annotations

import logging
from collections.abc import Generator

import pytest
from drawn_handovers import HANDOVERS, play
from helpers.certificates import TestCa

from casty.transport.links.session import Session

SEEDS = (10, 3)
"""With TLS and nothing broken; without TLS, and connections that break."""


async def read_at_once(self: Session, count: int) -> None:
    """Read a new connection before the old one is read to its end."""


def keep(*_: object) -> None:
    """Leave all links on the connections that they have."""


PLANTED: dict[str, tuple[type, str, object, int]] = {
    "the old connection is not drained": (Session, "_wait_turn", read_at_once, 3),
    "links keep the certificate of before": (HANDOVERS.Handovers, "schedule", keep, 10),
}


@pytest.fixture(scope="module")
def ca() -> TestCa:
    return TestCa.make()


@pytest.fixture(autouse=True)
def quiet() -> Generator[None]:
    """Log nothing: each refused dial and each end of a link would say so."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("seed", SEEDS)
def test_no_message_is_lost_doubled_or_overtaken_and_the_newest_connection_is_the_only_one(seed, ca):
    assert play(seed, ca) == []


@pytest.mark.parametrize("bug", PLANTED)
def test_a_planted_bug_is_found(bug, ca, monkeypatch):
    where, name, planted, seed = PLANTED[bug]
    monkeypatch.setattr(where, name, planted)
    assert play(seed, ca)
