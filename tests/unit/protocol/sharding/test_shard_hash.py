"""Shards of entity ids: the numbers here may never change, since nodes of two releases share a cluster."""

from __future__ import annotations

import subprocess
import sys

import pytest

from casty.protocol.sharding.shard_hash import check_entity_id, check_num_shards, shard_of


@pytest.mark.parametrize(
    ("entity_id", "of_256", "of_16384"),
    [("cart-42", 104, 5_480), ("a", 47, 559), ("ü", 55, 12_087), ("x" * 255, 130, 3_458)],
)
def test_an_id_has_the_same_shard_for_ever(entity_id: str, of_256: int, of_16384: int) -> None:
    assert (shard_of(entity_id, 256), shard_of(entity_id, 16_384)) == (of_256, of_16384)


def test_ids_hash_alike_in_all_processes_whatever_their_hash_seeds() -> None:
    program = (
        "from casty.protocol.sharding.shard_hash import shard_of\n"
        "print([shard_of(f'cart-{n}', 256) for n in range(99)])"
    )
    told = {
        subprocess.run(
            [sys.executable, "-c", program],
            capture_output=True, text=True, check=True, timeout=60, env={"PYTHONHASHSEED": seed, "PATH": ""},
        ).stdout
        for seed in ("1", "2")
    }  # fmt: skip
    assert told == {f"{[shard_of(f'cart-{n}', 256) for n in range(99)]}\n"}


def test_ids_spread_evenly() -> None:
    loads = [0] * 16
    for number in range(16_000):
        loads[shard_of(f"cart-{number}", 16)] += 1
    assert 850 < min(loads) <= max(loads) < 1_150


@pytest.mark.parametrize(
    ("entity_id", "text"),
    [("", "got 0"), ("x" * 256, "got 256"), ("\ud800", "UTF-8"), (7, "must be a str, got int")],
)
def test_what_is_no_id_is_refused(entity_id: object, text: str) -> None:
    with pytest.raises(ValueError, match=text):
        check_entity_id(entity_id)
    assert check_entity_id("x" * 255) == "x" * 255


@pytest.mark.parametrize("num_shards", [0, -1, 16_385])
def test_a_number_of_shards_out_of_bounds_is_refused(num_shards: int) -> None:
    with pytest.raises(ValueError, match=f"got {num_shards}"):
        check_num_shards(num_shards)
    check_num_shards(16_384)
