"""Acknowledged writes have two nets, the serving lease and the fence of the store: each alone loses none of them."""

from __future__ import annotations

import pytest
from net_campaign import RULE, compiled_once, draw, play

from casty.testing.simulation import InvariantBroken

STANDING_STILL = (10, 13, 14, 15)
"""Seeds of nodes standing still for so long that others take over: without both nets they lose something."""


def test_without_the_lease_the_fence_keeps_every_acknowledged_write() -> None:
    with compiled_once():
        for seed in STANDING_STILL:
            play(draw(seed, "lease"), "lease")


def test_without_the_fence_the_lease_keeps_every_acknowledged_write() -> None:
    with compiled_once():
        for seed in STANDING_STILL:
            play(draw(seed, "fence"), "fence")


def test_without_both_nets_acknowledged_writes_are_lost() -> None:
    with compiled_once(), pytest.raises(InvariantBroken, match=RULE):
        play(draw(10, "lease", "fence"), "lease", "fence")
