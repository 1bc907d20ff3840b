"""The journal in PostgreSQL: fences, batches, tails and damage over a real server, and all that can fail there."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import psycopg
import pytest
import trio
import trio.testing
from helpers.journals import append_begun, looks
from postgres_server import PostgresServer, folder_of_its_own

from casty.errors import (
    ConfigError,
    Fenced,
    JournalDamaged,
    JournalUnavailable,
    JournalUncertain,
    SequenceConflict,
)
from casty.journal import Claim, Journal, Record, SnapshotStore, StateStore, Stored
from casty.persistence.postgres import PostgresJournal, connections, frozen_holders, group_look, postgres_store
from casty.persistence.postgres.packed_rows import unpack_events
from casty.persistence.postgres.steps import STEPS, make_tables
from casty.persistence.postgres.trio_connection import TrioConnection
from casty.runtime.journaling.append_queue import append_queue_of
from casty.testing import HISTORY_PROMISES, JOURNAL_PROMISES, SNAPSHOT_PROMISES, STATE_PROMISES, check_journal

HANG = 30


class Begun(PostgresJournal):
    """Its appends are begun and told of, as those of entities."""

    async def append(self, claim: Claim, persistence_id: str, after: int, records: Sequence[Record]) -> None:
        await append_begun(self, claim, persistence_id, after, records)


BOTH = [PostgresJournal, Begun]
"""Two ways of an append."""


def event(text: object, command_id: str = "") -> Record:
    return Record("test.Happened", 1, str(text).encode(), command_id)


async def events(journal: Journal, persistence_id: str) -> list[str]:
    return [stored.record.payload.decode() async for stored in journal.read(persistence_id)]


async def claimed(journal: Journal, scope: str, holder: str = "") -> Claim:
    (claim,) = await journal.claim([scope], holder)
    return claim


async def whole_tail(journal: Journal) -> list[Stored]:
    found: list[Stored] = []
    while page := await journal.tail(found[-1].offset if found else 0, 1000):
        found += page
    return found


@pytest.fixture
async def journal(dsn: str, request: pytest.FixtureRequest) -> AsyncIterator[PostgresJournal]:
    made: PostgresJournal = getattr(request, "param", PostgresJournal)(dsn)
    async with made.open():
        yield made


@asynccontextmanager
async def session(dsn: str) -> AsyncIterator[TrioConnection[Any]]:
    """Return a block with a connection that sees the journal's tables."""
    async with await TrioConnection.connect(dsn, options="-c search_path=casty", autocommit=True) as connection:
        yield connection


async def one(connection: TrioConnection[Any], statement: str, *values: object) -> Any:
    cursor = await connection.execute(statement, values or None)
    (found,) = await cursor.fetchone()
    return found


def test_it_is_a_journal_and_a_store_of_snapshots_and_values() -> None:
    journal = PostgresJournal("postgresql://shop:secret@db.example/shop")
    assert isinstance(journal, Journal) and isinstance(journal, SnapshotStore) and isinstance(journal, StateStore)
    assert "secret" not in repr(journal) and "db.example" in repr(journal)
    assert append_queue_of(journal) is journal and append_queue_of(Begun("host=x")) is None


# What can be wrong before the first event


@pytest.mark.parametrize(
    ("dsn", "why"),
    [
        ("host=x nonsense=1", "nonsense"),
        ("postgresql://[::1/x", "cannot be read"),
        ("plain words", "postgresql://"),
    ],
)
def test_a_connection_string_that_cannot_be_read_is_refused_at_once(dsn: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        PostgresJournal(dsn)


@pytest.mark.parametrize("bad", [{"connections": 1}, {"schema": ""}, {"schema": "x" * 64}, {"schema": "a\0b"}])
def test_bad_settings_are_refused_at_once(bad: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(bad))):
        PostgresJournal("host=x", **bad)


async def unavailable(journal: PostgresJournal) -> str:
    with pytest.raises(JournalUnavailable) as caught, trio.fail_after(HANG):
        async with journal.open():
            raise AssertionError("it was opened")
    assert "secret" not in str(caught.value)
    return str(caught.value)


async def test_a_wrong_password_a_missing_database_and_a_closed_port_are_told(postgres: PostgresServer) -> None:
    postgres.sql("CREATE ROLE guest LOGIN PASSWORD 'right'")
    try:
        wrong = PostgresJournal(postgres.dsn(user="guest", password="secret"))
        assert "password authentication failed" in await unavailable(wrong)
        right = PostgresJournal(postgres.dsn(user="guest", password="right"))
        assert "permission denied for" in await unavailable(right)  # to make a schema, or to read one that is there
    finally:
        postgres.sql("DROP ROLE guest")
    assert 'database "nowhere" does not exist' in await unavailable(PostgresJournal(postgres.dsn("nowhere")))
    closed = f"host=127.0.0.1 port={postgres.port + 1} dbname=x user=y password=secret"
    text = await unavailable(PostgresJournal(closed))
    assert "host=127.0.0.1" in text and "refused" in text and "Look whether it runs" in text


async def test_a_server_that_takes_no_writes_is_refused(postgres: PostgresServer, dsn: str) -> None:
    async with session(dsn) as connection:
        name = connection.info.dbname
        await connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    assert "read-only" in await unavailable(PostgresJournal(dsn))


async def test_a_database_without_utf8_is_refused(postgres: PostgresServer) -> None:
    postgres.sql("CREATE DATABASE latin ENCODING 'LATIN1' TEMPLATE template0")
    try:
        with pytest.raises(ConfigError, match="LATIN1, a journal needs UTF8: make another database"):
            async with PostgresJournal(postgres.dsn("latin")).open():
                raise AssertionError("it was opened")
    finally:
        postgres.sql("DROP DATABASE latin")


async def test_tables_of_a_newer_version_are_refused_and_left_alone(dsn: str, journal: PostgresJournal) -> None:
    async with session(dsn) as connection:
        await connection.execute("UPDATE journal SET version = 99")
        with pytest.raises(ConfigError, match="version 99, this casty knows versions up to 1"):
            async with PostgresJournal(dsn).open():
                raise AssertionError("it was opened")
        assert await one(connection, "SELECT version FROM journal") == 99


async def test_many_nodes_make_the_tables_once(dsn: str) -> None:
    found: set[str] = set()

    async def node() -> None:
        journal = PostgresJournal(dsn)
        async with journal.open():
            found.add(await journal.identify())

    async with trio.open_nursery() as nursery:
        for _ in range(8):
            nursery.start_soon(node)
    ((identity),) = found
    assert len(identity) == 16


async def test_journals_of_several_schemas_do_not_see_one_another(dsn: str, journal: PostgresJournal) -> None:
    other = PostgresJournal(dsn, schema='"; odd')
    async with other.open():
        claim = await claimed(other, "a")
        await other.append(claim, "a", 0, [event("x")])
        assert await events(journal, "a") == []
        assert await journal.identify() != await other.identify()


async def test_older_tables_are_led_to_this_version_once_and_keep_what_they_hold(dsn: str) -> None:
    newer = [*STEPS, "ALTER TABLE settled ADD note text NOT NULL DEFAULT 'kept'"]
    journal = PostgresJournal(dsn)
    async with journal.open():
        await journal.settle("shards", "64")

    async def node() -> None:
        async with session(dsn) as connection:
            await make_tables(connection, "casty", newer)

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(node)
    async with session(dsn) as connection:
        cursor = await connection.execute("SELECT name, value, note, version FROM settled, journal")
        assert await cursor.fetchall() == [("shards", "64", "kept", 2)]


async def test_a_step_that_fails_leaves_the_version_before(dsn: str) -> None:
    async with session(dsn) as connection:
        with pytest.raises(psycopg.errors.SyntaxError):
            await make_tables(connection, "casty", [*STEPS, "nonsense"])
        assert await one(connection, "SELECT to_regclass('casty.journal')::text") is None
        await make_tables(connection, "casty")
    async with PostgresJournal(dsn).open():
        pass


# The promises of every journal


@pytest.mark.parametrize("promise", [*JOURNAL_PROMISES, *SNAPSHOT_PROMISES, *HISTORY_PROMISES, *STATE_PROMISES])
async def test_it_keeps_the_promises_of_a_journal(postgres: PostgresServer, promise: str) -> None:
    await check_journal(lambda: PostgresJournal(postgres.dsn()), promise)


@pytest.mark.parametrize("promise", JOURNAL_PROMISES)
async def test_begun_appends_keep_them_too(postgres: PostgresServer, promise: str) -> None:
    await check_journal(lambda: Begun(postgres.dsn()), promise)


# Batches


async def together(dsn: str, *calls: Callable[[], Awaitable[None]]) -> list[type[Exception] | None]:
    """Run the first call until a lock stops it, and all others behind it; return the error of each."""
    outcomes: dict[int, type[Exception] | None] = {}

    async def run(number: int, call: Callable[[], Awaitable[None]]) -> None:
        try:
            await call()
        except Exception as error:
            outcomes[number] = type(error)
        else:
            outcomes[number] = None

    async with session(dsn) as blocker, trio.open_nursery() as nursery:
        async with blocker.transaction():
            await blocker.execute("LOCK TABLE position_order IN EXCLUSIVE MODE")
            for number, call in enumerate(calls):
                nursery.start_soon(run, number, call)
                await trio.testing.wait_all_tasks_blocked(0.01)
    return [outcomes[number] for number in range(len(calls))]


def appending(
    journal: PostgresJournal, claim: Claim, persistence_id: str, after: int, *texts: str
) -> Callable[[], Awaitable[None]]:
    return lambda: journal.append(claim, persistence_id, after, [event(text) for text in texts])


async def test_writes_that_wait_share_a_transaction(dsn: str, journal: PostgresJournal) -> None:
    claim = await claimed(journal, "s")

    async def writer(number: int) -> None:
        for seq in range(20):
            await journal.append(claim, f"w{number}", seq, [event(seq)])

    async with session(dsn) as connection:
        before = await one(connection, "SELECT pg_current_xact_id()::text::bigint")
        async with trio.open_nursery() as nursery:
            for number in range(64):
                nursery.start_soon(writer, number)
        after = await one(connection, "SELECT pg_current_xact_id()::text::bigint")
    assert len(await whole_tail(journal)) == 64 * 20
    assert after - before < 64 * 20 / 8, "no group was made"


@pytest.mark.parametrize("journal", BOTH, indirect=True)
async def test_writes_of_one_id_that_follow_one_another_share_an_append(dsn: str, journal: PostgresJournal) -> None:
    claim = await claimed(journal, "s")
    calls = [appending(journal, claim, "a", number, f"{number}") for number in range(30)]
    assert set(await together(dsn, *calls)) == {None}
    assert await events(journal, "a") == [f"{number}" for number in range(30)]


@pytest.mark.parametrize("journal", BOTH, indirect=True)
async def test_what_follows_a_refused_write_is_dropped_with_it(dsn: str, journal: PostgresJournal) -> None:
    claim = await claimed(journal, "s")
    await journal.append(claim, "a", 0, [event("first")])
    outcomes = await together(
        dsn,
        appending(journal, claim, "b", 0, "keeps the lane busy"),
        appending(journal, claim, "a", 0, "refused"),  # its second half would fit
        appending(journal, claim, "a", 1, "dropped"),
        appending(journal, claim, "c", 0, "fits"),
    )
    assert outcomes == [None, SequenceConflict, SequenceConflict, None]
    assert await events(journal, "a") == ["first"]
    assert await events(journal, "c") == ["fits"]


@pytest.mark.parametrize("journal", BOTH, indirect=True)
async def test_a_refused_write_and_a_bad_one_do_not_harm_the_others_of_their_batch(
    dsn: str, journal: PostgresJournal
) -> None:
    claim, stale = await claimed(journal, "s"), await claimed(journal, "t")
    await claimed(journal, "t", "other-cluster")
    outcomes = await together(
        dsn,
        appending(journal, claim, "busy", 0, "x"),
        appending(journal, claim, "a", 0, "fits"),
        appending(journal, stale, "t", 0, "stale"),
        appending(journal, claim, "b", 7, "gap"),
        appending(journal, claim, "c\0", 0, "no place"),
        appending(journal, claim, "d", 0, "fits"),
    )
    assert outcomes == [None, None, Fenced, SequenceConflict, ValueError, None]
    assert [stored.persistence_id for stored in await whole_tail(journal)] == ["busy", "a", "d"]


async def test_a_void_claim_says_who_has_it_and_a_foreign_scope_says_so(journal: PostgresJournal) -> None:
    old = await claimed(journal, "s")
    new = await claimed(journal, "s", "cluster-b")
    assert (old.number, new.number) == (1, 2) and old.token != new.token and len(new.token) == 16
    for call in (
        lambda: journal.append(old, "a", 0, [event("x")]),
        lambda: journal.save(old, "a", 1, event("x")),
        lambda: journal.store_state(old, "a", 1, event("x")),
        lambda: journal.delete_state(old, "a", 1),
        lambda: journal.forget(old, "a", 1),
        lambda: journal.prune(old, "a", 1),
        lambda: journal.erase(old, "a"),
        lambda: journal.append(Claim("s", 2, b"\0" * 16), "a", 0, [event("x")]),
    ):
        with pytest.raises(Fenced, match="cluster-b") as caught:
            await call()
        assert caught.value.holder == "cluster-b"
    await journal.append(new, "a", 0, [event("x")])
    other = await claimed(journal, "t")
    with pytest.raises(SequenceConflict, match="'a' does not belong to the scope 't'"):
        await journal.append(other, "a", 1, [event("y")])
    assert [name async for name in journal.ids()] == ["a"]


async def test_several_writers_have_one_tail_without_gaps_that_fill_later(dsn: str) -> None:
    writers, rounds = 3, 60
    seen: list[Stored] = []
    left = writers * 4

    async def write(journal: PostgresJournal, name: str) -> None:
        nonlocal left
        claim = await claimed(journal, name)
        for seq in range(rounds):
            await journal.append(claim, name, seq, [event(seq)])
        left -= 1

    async def follow(journal: PostgresJournal) -> None:
        while left or len(seen) < writers * 4 * rounds:
            seen.extend(await journal.tail(seen[-1].offset if seen else 0, 50))

    async with AsyncExitStack() as stack:
        journals = [PostgresJournal(dsn) for _ in range(writers)]
        for journal in journals:
            await stack.enter_async_context(journal.open())
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(follow, journals[0])
                for number, journal in enumerate(journals):
                    for place in range(4):
                        nursery.start_soon(write, journal, f"w{number}/{place}")
    assert Counter(stored.persistence_id for stored in seen) == {
        f"w{number}/{place}": rounds for number in range(writers) for place in range(4)
    }
    for name in {stored.persistence_id for stored in seen}:
        assert [each.seq for each in seen if each.persistence_id == name] == list(range(1, rounds + 1))


async def test_a_page_is_bounded_by_its_bytes_and_the_next_one_goes_on(
    journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages: list[int] = []

    def unpack(persistence_id: str, after: int, packed: bytes) -> Sequence[Stored]:
        found = list(unpack_events(persistence_id, after, packed))
        pages.append(len(found))
        return found

    claim = await claimed(journal, "s")
    records = [Record("test.Größe", 1, bytes([number]) * 3 * 1024 * 1024, "befehl-ä") for number in range(5)]
    for after, record in enumerate(records):
        await journal.append(claim, "groß", after, [record])
    monkeypatch.setattr(postgres_store, "unpack_events", unpack)
    assert [stored.record async for stored in journal.read("groß")] == records
    assert pages == [2, 2, 1]
    assert [stored.seq async for stored in journal.read("groß", 3)] == [4, 5]


async def test_a_long_transaction_of_others_in_the_database_holds_up_no_tail(
    dsn: str, journal: PostgresJournal
) -> None:
    claim = await claimed(journal, "s")
    async with session(dsn) as other, other.transaction():
        await other.execute("CREATE TABLE theirs AS SELECT pg_current_xact_id()")  # older than all that follows
        for number in range(3):
            await journal.append(claim, "a", number, [event(number)])
            assert len(await whole_tail(journal)) == number + 1


# Damage


@pytest.mark.parametrize(
    ("damage", "seq"),
    [
        ("UPDATE events SET payload = 'torn' WHERE persistence_id = 'a' AND seq = 2", 2),
        ("UPDATE events SET name = 'other' WHERE persistence_id = 'a' AND seq = 2", 2),
        ("UPDATE events SET command_id = 'other' WHERE persistence_id = 'a' AND seq = 2", 2),
        ("UPDATE events SET version = 2 WHERE persistence_id = 'a' AND seq = 2", 2),
        ("DELETE FROM events WHERE persistence_id = 'a' AND seq = 2", 2),
        ("DELETE FROM events WHERE persistence_id = 'a' AND seq = 1", 1),
        ("UPDATE events SET seq = 9 WHERE persistence_id = 'a' AND seq = 3", 3),
    ],
)
async def test_damage_is_named_after_what_came_before_it(
    dsn: str, journal: PostgresJournal, damage: str, seq: int
) -> None:
    claim = await claimed(journal, "s")
    for name in ("a", "b"):
        await journal.append(claim, name, 0, [event(number) for number in range(1, 4)])
    async with session(dsn) as connection:
        await connection.execute(damage)
    given: list[int] = []
    with pytest.raises(JournalDamaged, match="'a'") as caught:
        async for stored in journal.read("a"):
            given.append(stored.seq)
    assert (caught.value.persistence_id, caught.value.seq) == ("a", seq)
    assert given == list(range(1, seq))
    assert await events(journal, "b") == ["1", "2", "3"]
    assert await looks(journal, "b", "a", "b") == [3, None, 3]
    await journal.append(claim, "b", 3, [event(4)])


async def test_a_damaged_snapshot_is_left_out_and_a_damaged_value_is_named(
    dsn: str, journal: PostgresJournal, caplog: pytest.LogCaptureFixture
) -> None:
    claim = await claimed(journal, "s")
    for seq in (1, 2):
        await journal.save(claim, "a", seq, event(seq))
    await journal.store_state(claim, "a", 1, event("x"))
    async with session(dsn) as connection:
        await connection.execute("UPDATE snapshots SET payload = 'torn' WHERE seq = 2")
        await connection.execute("UPDATE states SET revision = 2")
    assert [snapshot.seq for snapshot in await journal.load("a")] == [1]
    assert await journal.history("a") is None
    assert "a snapshot is left out: the row 2 of 'a'" in caplog.text
    async with session(dsn) as connection:
        await connection.execute("UPDATE snapshots SET payload = 'torn'")
    with pytest.raises(JournalDamaged) as unreadable:
        await journal.load("a")
    assert unreadable.value.seq == 2
    with pytest.raises(JournalDamaged) as caught:
        await journal.load_state("a")
    assert (caught.value.persistence_id, caught.value.seq) == ("a", 2)


# Connections that are lost


async def end_sessions(dsn: str, signal: str = "pg_terminate_backend") -> int:
    async with session(dsn) as connection:
        return await one(
            connection,
            f"SELECT count({signal}(pid)) FROM pg_stat_activity "
            "WHERE datname = current_database() AND application_name = 'casty'",
        )


async def test_sessions_that_ended_while_idle_are_replaced_without_an_error(dsn: str, journal: PostgresJournal) -> None:
    claim = await claimed(journal, "s")
    for number in range(5):
        await journal.append(claim, "a", number, [event(number)])
        assert await end_sessions(dsn) >= 1
        with trio.fail_after(HANG):
            while await sessions(dsn) > 1:  # noqa: ASYNC110  # they end in the server
                await trio.sleep(0.01)
        assert len(await events(journal, "a")) == number + 1


async def test_looks_at_a_server_that_is_gone_fail_all_of_them_and_the_next_one_succeeds(
    dsn: str, journal: PostgresJournal, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = await claimed(journal, "s")
    for name in "abc":
        await journal.append(claim, name, 0, [event(name)])
    failures: list[JournalUnavailable] = []

    async def fail(name: str) -> None:
        with pytest.raises(JournalUnavailable) as caught:
            await journal.history(name)
        failures.append(caught.value)

    with monkeypatch.context() as patch:
        patch.setattr(group_look, "HISTORIES", "SELECT pg_terminate_backend(pg_backend_pid()), $1")
        async with trio.open_nursery() as nursery:
            for name in "abc":
                nursery.start_soon(fail, name)
    assert len({id(failure) for failure in failures}) == 3
    for name in "abc":
        history = await journal.history(name)
        assert history is not None and history.payloads == [name.encode()]


@pytest.mark.parametrize("journal", BOTH, indirect=True)
async def test_every_acknowledged_event_is_there_after_sessions_were_ended_again_and_again(
    dsn: str, journal: PostgresJournal
) -> None:
    names = [f"w{number}" for number in range(16)]
    acknowledged: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    ended = 0
    is_over = False

    async def write(name: str, claim: Claim) -> None:
        seq = 0
        while not is_over:
            try:
                await journal.append(claim, name, seq, [event(seq)])
                seq += 1
                acknowledged[name] = seq
            except JournalUnavailable:
                errors["unavailable"] += 1
                await trio.sleep(0.05)
            except (JournalUncertain, Fenced, SequenceConflict):  # the last two after a claim that was uncertain itself
                errors["uncertain"] += 1
                with suppress(JournalUnavailable, JournalUncertain):
                    claim = await claimed(journal, name)
                    seq = len(await events(journal, name))

    claims = await journal.claim(names)
    with trio.fail_after(HANG):
        async with trio.open_nursery() as nursery:
            for name, claim in zip(names, claims, strict=True):
                nursery.start_soon(write, name, claim)
            while ended < 20 or len(acknowledged) < len(names) or not errors["uncertain"]:
                await trio.sleep(0.1)
                ended += await end_sessions(dsn)
            is_over = True
    reader = PostgresJournal(dsn)  # the writers' one may still wait before it connects again
    async with reader.open():
        for name, last in acknowledged.items():
            texts = await events(reader, name)
            assert texts == [str(number) for number in range(len(texts))]
            assert last <= len(texts) <= last + 1


@asynccontextmanager
async def proxy(server: PostgresServer) -> AsyncIterator[Proxy]:
    async with trio.open_nursery() as nursery:
        made = Proxy(server)
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
        made.port = listener.socket.getsockname()[1]
        nursery.start_soon(trio.serve_listeners, made.serve, [listener])
        yield made
        nursery.cancel_scope.cancel()


class Proxy:
    """A way to the server that can swallow its answers, hide the end of a session, and be cut."""

    def __init__(self, server: PostgresServer) -> None:
        self._server = server
        self.port = 0
        self.is_mute = False
        self.keeps_open = False
        self._scopes: list[trio.CancelScope] = []

    async def serve(self, client: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._scopes.append(scope)
            server = await trio.open_tcp_stream("127.0.0.1", self._server.port)
            async with client, server, trio.open_nursery() as nursery:
                nursery.start_soon(self._pass, client, server, False)
                nursery.start_soon(self._pass, server, client, True)

    async def _pass(self, source: trio.SocketStream, target: trio.SocketStream, is_answer: bool) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                if not (is_answer and self.is_mute):
                    await target.send_all(data)
        if self.keeps_open:
            await trio.sleep_forever()
        self.cut()

    def cut(self) -> None:
        """End all connections."""
        for scope in self._scopes:
            scope.cancel()
        self._scopes.clear()


@pytest.mark.parametrize("kind", BOTH)
async def test_a_connection_lost_after_the_statement_left_is_uncertain_and_the_event_is_found(
    dsn: str, postgres: PostgresServer, kind: type[PostgresJournal]
) -> None:
    async with proxy(postgres) as way:
        database = dsn.partition("dbname='")[2].partition("'")[0]
        journal = kind(f"host=127.0.0.1 port={way.port} user=postgres dbname={database}")
        async with journal.open():
            claim = await claimed(journal, "s")
            await journal.append(claim, "a", 0, [event("first")])
            way.is_mute = True
            async with trio.open_nursery() as nursery:

                @nursery.start_soon
                async def cut_when_it_is_written() -> None:
                    async with session(dsn) as connection:
                        while await one(connection, "SELECT count(*) FROM events") < 2:  # noqa: ASYNC110  # a server
                            await trio.sleep(0.01)
                    way.cut()

                with pytest.raises(JournalUncertain, match="lost while it wrote"):
                    await journal.append(claim, "a", 1, [event("second")])
            way.is_mute = False
            new = await claimed(journal, "s")
            assert await events(journal, "a") == ["first", "second"]
            with pytest.raises(Fenced):
                await journal.append(claim, "a", 2, [event("third")])
            await journal.append(new, "a", 2, [event("third")])


async def test_a_session_with_last_words_is_replaced_before_its_connection_ends(
    dsn: str, postgres: PostgresServer
) -> None:
    async with proxy(postgres) as way:
        way.keeps_open = True
        database = dsn.partition("dbname='")[2].partition("'")[0]
        journal = PostgresJournal(f"host=127.0.0.1 port={way.port} user=postgres dbname={database}")
        async with journal.open():
            claim = await claimed(journal, "s")
            await journal.append(claim, "a", 0, [event("first")])
            assert await end_sessions(dsn) >= 1
            with trio.fail_after(HANG):
                while await sessions(dsn) > 1:  # noqa: ASYNC110  # they end in the server
                    await trio.sleep(0.01)
            await trio.testing.wait_all_tasks_blocked(0.1)  # the last words are passed on
            with trio.fail_after(5):
                await journal.append(claim, "a", 1, [event("second")])


@pytest.mark.parametrize("kind", BOTH)
async def test_a_server_that_restarts_is_found_again(
    dsn: str, postgres: PostgresServer, kind: type[PostgresJournal]
) -> None:
    journal = kind(dsn)
    async with journal.open():
        claim = await claimed(journal, "s")
        await journal.append(claim, "a", 0, [event("before")])
        await trio.to_thread.run_sync(postgres.stop, "immediate")
        try:
            for _ in range(50):
                with pytest.raises(JournalUnavailable, match="cannot be used"):
                    await journal.append(claim, "a", 1, [event("lost")])
        finally:
            await trio.to_thread.run_sync(postgres.start)
        with trio.fail_after(HANG):
            while True:
                with suppress(JournalUnavailable):
                    await journal.append(claim, "a", 1, [event("after")])
                    break
                await trio.sleep(0.05)
        assert await events(journal, "a") == ["before", "after"]


@pytest.mark.parametrize("kind", BOTH)
async def test_after_a_fail_over_every_scope_is_claimed_anew(
    postgres: PostgresServer, caplog: pytest.LogCaptureFixture, kind: type[PostgresJournal]
) -> None:
    database = "failover"
    postgres.sql(f"CREATE DATABASE {database}")
    with folder_of_its_own() as folder:
        standby = await trio.to_thread.run_sync(postgres.standby, folder)
        await trio.to_thread.run_sync(standby.start)
        try:
            dsn = (
                f"host={postgres.folder},{standby.folder} port={postgres.port},{standby.port} "
                f"user=postgres dbname={database}"
            )
            journal = kind(dsn)
            async with journal.open():
                old = await claimed(journal, "s")
                await journal.append(old, "a", 0, [event("replicated")])
                await trio.to_thread.run_sync(wait_for, standby, database)
                await trio.to_thread.run_sync(standby.sql, "SELECT pg_wal_replay_pause()")
                await trio.to_thread.run_sync(standby.stop, "immediate")
                await journal.append(old, "a", 1, [event("lost in the fail-over")])
                await trio.to_thread.run_sync(postgres.stop, "immediate")
                await trio.to_thread.run_sync(standby.start)
                await trio.to_thread.run_sync(standby.promote)
                with trio.fail_after(HANG):
                    found = await until_reached(lambda: events(journal, "a"))
                assert found == ["replicated"]
                with pytest.raises(Fenced, match="failed over"):
                    await journal.append(old, "a", 1, [event("as if nothing had happened")])
                new = await claimed(journal, "s")
                await journal.append(new, "a", 1, [event("anew")])
                assert await events(journal, "a") == ["replicated", "anew"]
            assert "has another history now" in caplog.text
        finally:
            if not postgres.is_running() or not postgres.answers():
                await trio.to_thread.run_sync(postgres.start)
            postgres.sql(f"DROP DATABASE {database} WITH (FORCE)")


def wait_for(standby: PostgresServer, database: str) -> None:
    """Wait until a standby has the first event."""
    for _ in range(200):
        with suppress(AssertionError):
            if standby.sql("SELECT count(*) FROM casty.events", database) == "1":
                return
        time.sleep(0.05)
    raise AssertionError("the standby does not follow")


async def until_reached(call: Callable[[], Awaitable[list[str]]]) -> list[str]:
    while True:
        with suppress(JournalUnavailable):
            return await call()
        await trio.sleep(0.05)


# Writers that freeze


@pytest.fixture
def patience(monkeypatch: pytest.MonkeyPatch) -> float:
    """Seconds after which a frozen holder is ended here."""
    monkeypatch.setattr(frozen_holders, "PATIENCE", 0.5)
    return 0.5


def test_frozen_holders_are_ended_long_before_a_wait_for_their_lock_fails() -> None:
    # seen each half of the patience, so at most 1.5 of it after the wait has begun
    assert frozen_holders.PATIENCE * 1.5 * 2 < connections.LOCK_TIMEOUT


@pytest.mark.parametrize("held", ["SELECT 1 FROM scopes FOR SHARE", "LOCK TABLE position_order IN EXCLUSIVE MODE"])
async def test_a_session_that_holds_a_lock_and_waits_for_its_client_is_ended(
    dsn: str, journal: PostgresJournal, held: str, patience: float, caplog: pytest.LogCaptureFixture
) -> None:
    claim = await claimed(journal, "s")
    caplog.set_level(logging.WARNING)
    frozen = await TrioConnection.connect(dsn, options="-c search_path=casty", application_name="frozen")
    await frozen.execute(held)  # and nothing more comes
    begun = time.monotonic()
    with trio.fail_after(HANG):
        if "scopes" in held:
            claim = await claimed(journal, "s")
        await journal.append(claim, "a", 0, [event("x")])
    assert patience / 2 < time.monotonic() - begun
    await told(caplog, "(frozen from local, idle in transaction) was ended: it held a lock")
    await frozen.close()


@pytest.mark.usefixtures("patience")
async def test_a_pipeline_frozen_before_its_end_does_not_hold_up_the_next_claim(
    dsn: str, journal: PostgresJournal, caplog: pytest.LogCaptureFixture
) -> None:
    await claimed(journal, "s")
    options = {"options": "-c search_path=casty", "application_name": "frozen"}
    frozen = await TrioConnection.connect(dsn, autocommit=True, **options)
    with suppress(psycopg.OperationalError):
        async with frozen.pipeline():
            await frozen.execute("SELECT number FROM scopes FOR SHARE")  # and its Sync never comes
            await in_the_server(dsn, "FOR SHARE", "Client")
            with trio.fail_after(HANG):
                assert (await claimed(journal, "s")).number == 2
            await told(caplog, "(frozen from local, active) was ended: it held a lock")
    await frozen.close()


async def told(caplog: pytest.LogCaptureFixture, text: str) -> None:
    with trio.fail_after(HANG):
        while text not in caplog.text:  # noqa: ASYNC110  # a log has no event
            await trio.sleep(0.01)


async def in_the_server(dsn: str, text: str, waiting_for: str) -> None:
    """Wait until a session with a statement waits for something."""
    with trio.fail_after(HANG):
        while text not in await queries(dsn, waiting_for):  # noqa: ASYNC110  # in the server
            await trio.sleep(0.02)


async def queries(dsn: str, waiting_for: str) -> str:
    async with session(dsn) as connection:
        return (
            await one(
                connection,
                "SELECT string_agg(query, ';') FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid() AND wait_event_type = %s",
                waiting_for,
            )
            or ""
        )


@pytest.mark.usefixtures("patience")
async def test_who_works_is_not_ended_and_the_claim_says_what_it_waited_for(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connections, "SESSION", f"{connections.SESSION} SET lock_timeout = '1500ms';")
    journal = PostgresJournal(dsn)
    async with journal.open(), session(dsn) as worker:
        await claimed(journal, "s")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                worker.execute, "WITH held AS (SELECT 1 FROM scopes FOR SHARE) SELECT pg_sleep(60), * FROM held"
            )
            await in_the_server(dsn, "pg_sleep", "Timeout")
            with pytest.raises(JournalUnavailable, match="lock timeout"):
                await claimed(journal, "s")
            assert "pg_sleep" in await queries(dsn, "Timeout")
            nursery.cancel_scope.cancel()
        await claimed(journal, "s")


# The block


async def test_it_is_open_once_and_not_used_outside(dsn: str, journal: PostgresJournal) -> None:
    with pytest.raises(RuntimeError, match="open already"):
        async with journal.open():
            raise AssertionError("it was opened")
    closed = PostgresJournal(dsn)
    for _ in range(2):
        with pytest.raises(RuntimeError, match="not open"):
            await closed.claim(["s"])
        with pytest.raises(RuntimeError, match="not open"):
            closed.read("a")
        async with closed.open():
            await closed.claim(["s"])


async def test_errors_of_the_block_leave_as_they_are(dsn: str) -> None:
    journal = PostgresJournal(dsn)
    with pytest.raises(ZeroDivisionError):
        async with journal.open():
            raise ZeroDivisionError
    group = ExceptionGroup("of the user", [ValueError(1), ValueError(2)])
    with pytest.raises(ExceptionGroup) as caught:
        async with journal.open():
            raise group
    assert caught.value.exceptions == group.exceptions


@pytest.mark.parametrize("kind", BOTH)
async def test_leaving_waits_for_what_was_begun_and_leaves_no_session(dsn: str, kind: type[PostgresJournal]) -> None:
    journal = kind(dsn)
    outcomes: Counter[str] = Counter()

    async def write(claim: Claim, number: int) -> None:
        try:
            await journal.append(claim, f"w{number}", 0, [event(number)])
            outcomes["written"] += 1
        except JournalUnavailable:
            outcomes["unavailable"] += 1

    async with trio.open_nursery() as nursery:
        with trio.CancelScope() as scope:
            async with journal.open():
                claim = await claimed(journal, "s")
                for number in range(200):
                    nursery.start_soon(write, claim, number)
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
                await trio.lowlevel.checkpoint()
    async with journal.open():
        assert len(await whole_tail(journal)) == outcomes["written"]
    assert outcomes["written"] + outcomes["unavailable"] == 200 and outcomes["written"]
    with trio.fail_after(HANG):
        while await sessions(dsn) > 1:  # noqa: ASYNC110  # in the server
            await trio.sleep(0.02)


async def sessions(dsn: str) -> int:
    """Return how many sessions there are, with the one that asks."""
    async with session(dsn) as connection:
        return await one(connection, "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")


@pytest.mark.parametrize("journal", BOTH, indirect=True)
async def test_cancelled_callers_leave_a_journal_that_works(journal: PostgresJournal) -> None:
    claim = await claimed(journal, "s")
    calls: Sequence[Callable[[], Awaitable[object]]] = (
        lambda: journal.append(claim, "a", 0, [event("x")]),
        lambda: journal.tail(0, 10),
        lambda: journal.claim(["s"]),
        lambda: journal.load("a"),
        lambda: journal.erase(claim, "a"),
    )
    for call in calls:
        for delay in (0, 0.0005, 0.001, 0.002, 0.005):
            with trio.move_on_after(delay), suppress(SequenceConflict, Fenced):
                await call()
    claim = await claimed(journal, "s")
    await journal.erase(claim, "a")
    await journal.append(claim, "a", 0, [event("x")])
    assert await events(journal, "a") == ["x"]


async def test_a_reader_left_over_from_a_closed_journal_is_told(dsn: str) -> None:
    journal = PostgresJournal(dsn)
    async with journal.open():
        events, ids = journal.read("cart-1"), journal.ids()
    for reader in (events, ids):
        with trio.fail_after(5), pytest.raises(RuntimeError, match="the journal has been closed"):
            await anext(aiter(reader))
    with pytest.raises(RuntimeError, match="is not open"):
        journal.read("cart-1")
