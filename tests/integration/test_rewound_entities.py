"""Entities on a PostgreSQL with a shorter history than they have seen: they recover from what there is."""

from __future__ import annotations

import time
from contextlib import AsyncExitStack, suppress
from functools import partial

import pytest
import trio
from helpers.carts import Add, Cart, CartCommand, apply, decide
from postgres_server import PostgresServer, folder_of_its_own, free_port

from casty import (
    AskFailed,
    AskTimeoutError,
    Behavior,
    Behaviors,
    ClusteredActorSystem,
    EntityKey,
    JournalRewound,
    SystemConfig,
)
from casty.persistence.postgres import PostgresJournal

CARTS = EntityKey[CartCommand]("rewound-carts")
HANG = 60
DATABASE = "rewound"


def cart(_: str) -> Behavior[CartCommand]:
    return Behaviors.event_sourced(empty=Cart(), decide=decide, apply=apply)


def wait_for_events(standby: PostgresServer, count: int) -> None:
    """Wait until a standby has so many events."""
    end = time.monotonic() + HANG
    while time.monotonic() < end:
        with suppress(AssertionError):
            if standby.sql("SELECT count(*) FROM casty.events", DATABASE) == str(count):
                return
        time.sleep(0.05)
    raise AssertionError("the standby does not follow")


async def add(node: ClusteredActorSystem, sku: str) -> int:
    return await node.ask(node.entity(CARTS, "1"), partial(Add, sku, 1), timeout=5.0)


async def add_until_answered(node: ClusteredActorSystem, sku: str) -> tuple[int, list[str]]:
    """Ask until there is an answer; return it with the failures before it."""
    failures: list[str] = []
    with trio.fail_after(HANG):
        while True:
            try:
                return await add(node, sku), failures
            except AskFailed as failed:
                failures.append(failed.failure)
            except AskTimeoutError:
                failures.append("late")
            await trio.sleep(0.1)


async def test_an_entity_ahead_of_a_promoted_standby_is_refused_and_recovers_from_its_history(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture
) -> None:
    in_thread = trio.to_thread.run_sync
    postgres.sql(f"CREATE DATABASE {DATABASE}")
    with folder_of_its_own() as folder:
        standby = await in_thread(postgres.standby, folder)
        await in_thread(standby.start)
        try:
            hosts = f"host={postgres.folder},{standby.folder} port={postgres.port},{standby.port}"
            journal = PostgresJournal(f"{hosts} user=postgres dbname={DATABASE}")
            port = free_port()
            stack = AsyncExitStack()
            async with ClusteredActorSystem(
                name="rewound",
                host="127.0.0.1",
                port=port,
                node_id="a",
                seed_nodes=[("127.0.0.1", port)],
                config=SystemConfig(journal=journal),
            ) as node:
                rewinds = await stack.enter_async_context(node.events(JournalRewound))
                node.spawn(Behaviors.sharded(cart, CARTS, num_shards=1), "carts")
                assert await add(node, "tea") == 1
                await in_thread(wait_for_events, standby, 1)
                await in_thread(standby.sql, "SELECT pg_wal_replay_pause()")
                await in_thread(standby.stop, "immediate")
                assert [await add(node, "tea") for _ in range(2)] == [2, 3]  # which the standby never hears of
                await in_thread(postgres.stop, "immediate")
                await in_thread(standby.start)
                await in_thread(standby.promote)
                total, failures = await add_until_answered(node, "tea")
                assert total == 2, "it goes on from the stored history, not from its memory"
                assert failures, "its first write on the other history is refused"
                assert await add(node, "tea") == 3
                with trio.fail_after(HANG):
                    rewound = await anext(aiter(rewinds))
                (before, _), (after, timeline) = rewound.expected.split("/"), rewound.found.split("/")
                assert before == after and int(timeline, 16) == 2
                assert f"dbname={DATABASE}" in rewound.store
                await stack.aclose()
            stored = standby.sql("SELECT count(*), max(seq) FROM casty.events", DATABASE)
            assert stored == "3|3"
            assert "has another history now" in caplog.text
        finally:
            if not postgres.is_running() or not postgres.answers():
                await in_thread(postgres.start)
            postgres.sql(f"DROP DATABASE {DATABASE} WITH (FORCE)")
