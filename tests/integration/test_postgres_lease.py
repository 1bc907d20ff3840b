"""The lease in PostgreSQL: of two sides that rule each other out, one gets it."""

from __future__ import annotations

import pytest
import trio
from helpers.leases import claim
from postgres_server import PostgresServer

from casty import ConfigError, Lease, LeaseError
from casty.persistence.postgres import PostgresJournal, PostgresLease, postgres_lease
from casty.persistence.postgres.trio_connection import TrioConnection

RACES = 30


async def test_of_two_sides_that_race_one_gets_it_each_time(dsn: str) -> None:
    left, right = PostgresLease(dsn), PostgresLease(dsn)
    assert isinstance(left, Lease)
    granted: list[list[str]] = [[] for _ in range(RACES)]
    limit = trio.CapacityLimiter(8)

    async def ask(race: int, name: str, lease: PostgresLease, side: str, others: str) -> None:
        async with limit:
            if await lease.acquire(claim(side, others, f"race-{race}")):
                granted[race].append(name)

    async with trio.open_nursery() as nursery:
        for race in range(RACES):
            nursery.start_soon(ask, race, "left", left, "ab", "cd")
            nursery.start_soon(ask, race, "right", right, "cd", "ab")
    assert [len(names) for names in granted] == [1] * RACES
    assert {name for (name,) in granted} == {"left", "right"}


async def test_who_lost_never_gets_it_and_who_won_gets_it_again(dsn: str) -> None:
    lease = PostgresLease(dsn)
    assert await lease.acquire(claim("ab", "cd"))
    assert not await lease.acquire(claim("cd", "ab"))
    assert not await lease.acquire(claim("ce", ""))
    assert await lease.acquire(claim("ab", "cd"))
    assert await lease.acquire(claim("a", "b"))  # the winners part in turn
    assert not await lease.acquire(claim("b", "a"))
    assert await lease.acquire(claim("cd", "ab", "another cluster"))


async def test_it_has_one_identity_however_many_make_it(dsn: str) -> None:
    found: set[str] = set()

    async def ask() -> None:
        found.add(await PostgresLease(dsn).identify())

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(ask)
    ((identity),) = found
    assert len(identity) == 16
    assert await PostgresLease(dsn, schema="other").identify() != identity


async def test_it_stands_beside_a_journal_in_one_schema(dsn: str) -> None:
    lease, journal = PostgresLease(dsn), PostgresJournal(dsn)
    assert await lease.acquire(claim("ab", "cd"))
    async with journal.open():
        await journal.claim(["s"])
        assert not await lease.acquire(claim("cd", "ab"))


async def test_the_oldest_losses_are_forgotten_beyond_a_bound(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_lease, "LOST_MAX", 3)
    lease = PostgresLease(dsn)
    for lost in "bcdef":
        assert await lease.acquire(claim("a", lost))
    assert [await lease.acquire(claim(lost, "")) for lost in "bcdef"] == [True, True, False, False, False]


async def test_a_claim_that_is_cancelled_or_blocked_grants_nothing_later(dsn: str) -> None:
    lease = PostgresLease(dsn)
    await lease.identify()
    options = {"options": "-c search_path=casty"}
    async with await TrioConnection.connect(dsn, **options) as blocker:
        await blocker.execute("LOCK TABLE lease_lost IN ACCESS EXCLUSIVE MODE")
        with trio.move_on_after(0.3) as scope:
            await lease.acquire(claim("ab", "cd"))
        assert scope.cancelled_caught
    assert await lease.acquire(claim("cd", "ab"))


async def test_what_cannot_be_used_is_a_lease_error_without_the_password(postgres: PostgresServer) -> None:
    lease = PostgresLease(f"host=127.0.0.1 port={postgres.port + 1} dbname=x user=y password=secret")
    assert "secret" not in repr(lease)
    for call in (lease.identify, lambda: lease.acquire(claim("a", "b"))):
        with pytest.raises(LeaseError, match=r"the lease at host=127\.0\.0\.1 .*cannot be used: ") as caught:
            await call()
        assert "secret" not in str(caught.value)
    with pytest.raises(ConfigError, match="cannot be read"):
        PostgresLease("nonsense")
