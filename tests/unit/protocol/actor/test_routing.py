"""The choice of a routee: in turn, at random, by key; stable over processes and changes."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from casty.protocol.actor.routing import VIRTUAL_NODES, ConsistentHashing, RandomRouting, RoundRobin, stable_hash

NAMES = [f"node-{n}" for n in range(10)]
KEYS = [f"key-{n}" for n in range(2_000)]


def ring(*names: str) -> ConsistentHashing[str]:
    routing: ConsistentHashing[str] = ConsistentHashing(str, VIRTUAL_NODES)
    routing.update(names)
    return routing


def test_round_robin_takes_each_in_turn_also_after_one_has_gone() -> None:
    routing = RoundRobin()
    routing.update(["a", "b", "c"])
    assert [routing.choose(n) for n in range(4)] == ["a", "b", "c", "a"]
    routing.update(["a"])
    assert [routing.choose(n) for n in range(2)] == ["a", "a"]


def test_random_routing_takes_everyone_about_equally() -> None:
    routing = RandomRouting(random.Random(7))
    routing.update(["a", "b", "c"])
    counts = Counter(routing.choose(n) for n in range(3_000))
    assert set(counts) == {"a", "b", "c"}
    assert min(counts.values()) > 900


def test_the_hash_is_the_same_in_every_process() -> None:
    program = "from casty.protocol.actor.routing import stable_hash as h; print(h('a'), h(b'a'), h(1))"
    for seed in ("0", "1"):
        run = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        assert run.stdout.split() == [str(stable_hash(key)) for key in ("a", b"a", 1)]
    assert len({stable_hash("1"), stable_hash(b"1"), stable_hash(1)}) == 3
    assert stable_hash("a") == 11881906679622767379


@given(st.permutations(NAMES))
def test_the_order_of_the_names_does_not_matter(names: list[str]) -> None:
    one, other = ring(*NAMES), ring(*names)
    assert all(one.choose(key) == other.choose(key) for key in KEYS[:50])


@given(st.sampled_from(NAMES))
def test_a_routee_that_goes_moves_only_its_own_keys(gone: str) -> None:
    before, after = ring(*NAMES), ring(*(name for name in NAMES if name != gone))
    for key in KEYS[:200]:
        assert before.choose(key) == gone or before.choose(key) == after.choose(key)
        assert after.choose(key) != gone


def test_keys_are_spread_about_evenly() -> None:
    routing = ring(*NAMES)
    counts = Counter(routing.choose(key) for key in KEYS)
    assert set(counts) == set(NAMES)
    assert max(counts.values()) < 2 * len(KEYS) / len(NAMES)
