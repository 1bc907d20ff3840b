"""Strategies of placement: nodes for free shards, and moves."""

from __future__ import annotations

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.sharding.allocation import LEAST_SHARDS, OLDEST

OLD, MIDDLE, YOUNG = (UniqueAddress(NodeAddress(name, 2551), 7) for name in ("z", "m", "a"))


def test_the_oldest_node_gets_every_shard() -> None:
    assert OLDEST.place([0, 1], {OLD: 5, MIDDLE: 0, YOUNG: 0}) == {0: OLD, 1: OLD}
    assert OLDEST.place([0], {YOUNG: 0}) == {0: YOUNG}
    assert OLDEST.place([0], {}) == {}


def test_a_shard_of_the_oldest_stays_where_it_is() -> None:
    loads = {OLD: 0, YOUNG: 1}
    assert OLDEST.moves({YOUNG: [0]}, loads, {}) == {}


def test_the_least_loaded_node_gets_the_next_shard_whatever_its_age() -> None:
    assert LEAST_SHARDS.place([0, 1, 2], {OLD: 1, YOUNG: 0}) == {0: YOUNG, 1: YOUNG, 2: OLD}
