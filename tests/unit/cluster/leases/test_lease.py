"""The lease in a SQLite file: one side of a partition gets it, the other never does."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import trio
from helpers.leases import claim

from casty import (
    ClusterSettings,
    ConfigError,
    Lease,
    LeaseClaim,
    LeaseError,
    SqliteLease,
)
from casty.cluster.leases import lease as module
from casty.cluster.leases.lease import ask_lease, identify_lease


@pytest.fixture
def lease(tmp_path: Path) -> SqliteLease:
    return SqliteLease(tmp_path / "lease.db")


async def test_of_two_sides_the_first_that_asks_gets_the_lease(lease: SqliteLease) -> None:
    assert await lease.acquire(claim("abc", "de"))
    assert not await lease.acquire(claim("de", "abc"))


async def test_a_side_that_was_granted_is_granted_again_and_may_lose_more(lease: SqliteLease) -> None:
    assert await lease.acquire(claim("abc", "de"))
    assert await lease.acquire(claim("abc", "de"))
    assert await lease.acquire(claim("bc", "ade"))
    assert not await lease.acquire(claim("a", "bc"))


async def test_sides_that_overlap_do_not_both_get_it(lease: SqliteLease) -> None:
    assert await lease.acquire(claim("abc", "de"))
    assert not await lease.acquire(claim("cde", "ab"))


async def test_a_new_run_of_a_lost_node_may_get_it(lease: SqliteLease) -> None:
    assert await lease.acquire(claim("a", "b"))
    assert await lease.acquire(claim("B", "a"))


async def test_clusters_do_not_disturb_each_other(lease: SqliteLease) -> None:
    assert await lease.acquire(claim("abc", "de"))
    assert await lease.acquire(claim("de", "abc", cluster="bank"))


async def test_the_file_remembers_and_tells_itself_from_others(lease: SqliteLease, tmp_path: Path) -> None:
    identity = await lease.identify()
    assert await lease.acquire(claim("abc", "de"))
    again = SqliteLease(tmp_path / "lease.db")
    assert await again.identify() == identity
    assert not await again.acquire(claim("de", "abc"))
    assert await SqliteLease(tmp_path / "other.db").identify() != identity


async def test_of_many_claims_at_one_time_one_is_granted(tmp_path: Path) -> None:
    granted: list[str] = []

    async def ask(own: str) -> None:
        others = set("abcdefgh") - {own}
        if await SqliteLease(tmp_path / "lease.db").acquire(LeaseClaim("shop", frozenset(own), frozenset(others))):
            granted.append(own)

    async with trio.open_nursery() as nursery:
        for own in "abcdefgh":
            nursery.start_soon(ask, own)
    assert len(granted) == 1


async def test_a_claim_that_is_killed_before_its_commit_was_never_made(lease: SqliteLease, tmp_path: Path) -> None:
    await lease.identify()
    with closing(sqlite3.connect(tmp_path / "lease.db", isolation_level=None)) as killed:
        killed.execute("BEGIN IMMEDIATE")
        killed.execute("INSERT INTO lost (cluster, run) VALUES ('shop', 'a')")
    assert await lease.acquire(claim("a", "b"))


async def test_a_file_remembers_a_bounded_number_of_runs(lease: SqliteLease, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOST_MAX", 3)
    assert await lease.acquire(claim("a", "bcd"))
    assert await lease.acquire(claim("a", "e"))
    assert await lease.acquire(claim("b", ""))  # the oldest is forgotten
    assert not await lease.acquire(claim("e", ""))


async def test_a_file_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "lease.db").write_text("this is no database, but a text of more than a hundred bytes" * 3)
    lease = SqliteLease(tmp_path / "lease.db")
    with pytest.raises(LeaseError, match=r"lease\.db cannot be used: file is not a database"):
        await lease.identify()
    answer = await ask_lease(lease, claim("a", "b"), 5.0)
    assert (answer.held, "is not a database" in answer.why) == (False, True)


class Silent:
    """A lease that never answers."""

    async def identify(self) -> str:
        await trio.sleep_forever()
        return ""

    async def acquire(self, claim: LeaseClaim) -> bool:
        await trio.sleep_forever()
        return True


async def test_silence_is_a_refusal(autojump_clock) -> None:
    answer = await ask_lease(Silent(), claim("a", "b"), 5.0)
    assert (answer.held, answer.why) == (False, "no answer within 5 s")
    with pytest.raises(LeaseError, match="did not say within 5 s"):
        await identify_lease(Silent(), 5.0)


def test_leases_are_leases(lease: SqliteLease) -> None:
    assert isinstance(lease, Lease)
    assert isinstance(Silent(), Lease)


def test_the_lease_and_its_strategy_need_each_other(lease: SqliteLease) -> None:
    with pytest.raises(ConfigError, match="lease must be a Lease, such as SqliteLease"):
        ClusterSettings(downing="lease_majority")
    with pytest.raises(ConfigError, match="lease is for downing='lease_majority', got 'keep_majority'"):
        ClusterSettings(lease=lease)
