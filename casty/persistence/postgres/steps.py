"""Tables and functions of a journal in PostgreSQL, and how they come into being.

Owns the text of the SQL that stays in the database. Each step leads from one version of the tables to the next, and is
never changed once it was released. All is made in one transaction under an advisory lock, so that nodes starting
together make it once.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import Any, Final

from psycopg import sql

from casty.errors import ConfigError
from casty.persistence.postgres.trio_connection import TrioConnection

LOCK_CLASS: Final = 0x63617374
"""First key of the advisory lock under which tables are made: "cast"."""

EVENTS: Final = """
-- All text is compared byte by byte: the order of ids is that of code points in every database.
CREATE TABLE journal (
    only_row integer PRIMARY KEY CHECK (only_row = 1), version integer NOT NULL, identity text NOT NULL
);
CREATE TABLE settled (name text COLLATE "C" PRIMARY KEY, value text NOT NULL);
CREATE TABLE scopes (
    scope text COLLATE "C" PRIMARY KEY, number bigint NOT NULL, token bytea NOT NULL, holder text NOT NULL,
    history text NOT NULL
);
CREATE TABLE ids (
    persistence_id text COLLATE "C" PRIMARY KEY, scope text COLLATE "C" NOT NULL, forgotten bigint NOT NULL
);
CREATE INDEX ids_of_scope ON ids (scope, persistence_id);
CREATE TABLE events (
    persistence_id text COLLATE "C", seq bigint, position bigint NOT NULL UNIQUE, slice integer NOT NULL,
    name text NOT NULL, version integer NOT NULL, payload bytea NOT NULL, crc bigint NOT NULL,
    command_id text NOT NULL, written_at double precision NOT NULL, PRIMARY KEY (persistence_id, seq)
);
CREATE TABLE snapshots (
    persistence_id text COLLATE "C", seq bigint, name text NOT NULL, version integer NOT NULL, payload bytea NOT NULL,
    crc bigint NOT NULL, command_id text NOT NULL, PRIMARY KEY (persistence_id, seq)
);
CREATE TABLE states (
    persistence_id text COLLATE "C" PRIMARY KEY, revision bigint NOT NULL, name text NOT NULL,
    version integer NOT NULL, payload bytea NOT NULL, crc bigint NOT NULL, command_id text NOT NULL
);
CREATE SEQUENCE positions MINVALUE 0 START 0;
-- Holds no row. Its lock is kept until COMMIT, so positions become visible in their order.
CREATE TABLE position_order ();

CREATE TYPE refusal AS (place bigint, reason integer, holder text, found bigint);

-- The writes of a batch that are refused whatever they write, and why: 1 the claim is void, 2 the id is of another
-- scope. Ids that are new are bound where they may be. A claim waits for the locks that are taken here, until COMMIT.
CREATE FUNCTION admit(
    its_history text, its_scopes text[], its_numbers bigint[], its_tokens bytea[],
    its_ids text[], its_claims integer[], its_firsts boolean[]
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM scopes s WHERE s.scope = ANY (its_scopes) ORDER BY s.scope FOR SHARE;
    -- Each statement from here on sees what was committed while those locks were waited for.
    INSERT INTO ids (persistence_id, scope, forgotten)
        SELECT w.id, c.scope, 0
        FROM unnest(its_ids, its_claims, its_firsts) AS w (id, claim, is_first)
        JOIN unnest(its_scopes, its_numbers, its_tokens) WITH ORDINALITY AS c (scope, number, token, claim)
            ON c.claim = w.claim
        JOIN scopes s
            ON s.scope = c.scope AND s.number = c.number AND s.token = c.token AND s.history = its_history
        WHERE w.is_first AND NOT EXISTS (SELECT FROM ids i WHERE i.persistence_id = w.id)
        ORDER BY w.id
        ON CONFLICT DO NOTHING;
    RETURN QUERY
        SELECT w.place, CASE WHEN v.is_valid THEN 2 ELSE 1 END, coalesce(s.holder, ''), 0::bigint
        FROM unnest(its_ids, its_claims) WITH ORDINALITY AS w (id, claim, place)
        JOIN unnest(its_scopes, its_numbers, its_tokens) WITH ORDINALITY AS c (scope, number, token, claim)
            ON c.claim = w.claim
        LEFT JOIN scopes s ON s.scope = c.scope
        CROSS JOIN LATERAL (
            SELECT coalesce(s.number = c.number AND s.token = c.token AND s.history = its_history, false)
        ) AS v (is_valid)
        LEFT JOIN ids i ON i.persistence_id = w.id
        WHERE NOT v.is_valid OR i.scope <> c.scope;
END $$;

CREATE FUNCTION last_event(its_id text) RETURNS bigint LANGUAGE sql STABLE AS $$
    SELECT greatest(
        (SELECT i.forgotten FROM ids i WHERE i.persistence_id = its_id),
        (SELECT max(e.seq) FROM events e WHERE e.persistence_id = its_id),
        0
    )
$$;

-- Reason 3: the number is not the next one; found is the last.
CREATE FUNCTION write_events(
    its_history text, its_scopes text[], its_numbers bigint[], its_tokens bytea[],
    its_ids text[], its_claims integer[], its_firsts boolean[], its_afters bigint[], its_slices integer[],
    its_writes integer[], its_seqs bigint[], its_names text[], its_versions integer[], its_payloads bytea[],
    its_crcs bigint[], its_commands text[], its_time double precision
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    refused refusal[] := ARRAY(
        SELECT r FROM admit(its_history, its_scopes, its_numbers, its_tokens, its_ids, its_claims, its_firsts) r
    );
    base bigint;
BEGIN
    LOCK TABLE position_order IN EXCLUSIVE MODE;
    SELECT p.last_value INTO base FROM positions p;
    PERFORM setval('positions', base + cardinality(its_seqs));
    RETURN QUERY
        WITH verdicts AS MATERIALIZED (
            SELECT w.id, w.slice, w.place, coalesce(r.reason, CASE WHEN l.found = w.after THEN 0 ELSE 3 END) AS reason,
                r.holder, l.found
            FROM unnest(its_ids, its_afters, its_slices) WITH ORDINALITY AS w (id, after, slice, place)
            LEFT JOIN unnest(refused) r ON r.place = w.place
            CROSS JOIN LATERAL last_event(w.id) AS l (found)
        ), written AS (
            INSERT INTO events (
                persistence_id, seq, position, slice, name, version, payload, crc, command_id, written_at
            )
            SELECT v.id, e.seq, base + e.place, v.slice, e.name, e.version, e.payload, e.crc, e.command, its_time
            FROM unnest(its_writes, its_seqs, its_names, its_versions, its_payloads, its_crcs, its_commands)
                WITH ORDINALITY AS e (write, seq, name, version, payload, crc, command, place)
            JOIN verdicts v ON v.place = e.write AND v.reason = 0
        )
        SELECT v.place, v.reason, coalesce(v.holder, ''), v.found FROM verdicts v WHERE v.reason <> 0;
END $$;

CREATE FUNCTION write_snapshots(
    its_history text, its_scopes text[], its_numbers bigint[], its_tokens bytea[],
    its_ids text[], its_claims integer[], its_firsts boolean[], its_afters bigint[], its_slices integer[],
    its_writes integer[], its_seqs bigint[], its_names text[], its_versions integer[], its_payloads bytea[],
    its_crcs bigint[], its_commands text[], its_time double precision
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    refused refusal[] := ARRAY(
        SELECT r FROM admit(its_history, its_scopes, its_numbers, its_tokens, its_ids, its_claims, its_firsts) r
    );
BEGIN
    INSERT INTO snapshots (persistence_id, seq, name, version, payload, crc, command_id)
        SELECT w.id, e.seq, e.name, e.version, e.payload, e.crc, e.command
        FROM unnest(its_writes, its_seqs, its_names, its_versions, its_payloads, its_crcs, its_commands)
            AS e (write, seq, name, version, payload, crc, command)
        JOIN unnest(its_ids) WITH ORDINALITY AS w (id, place) ON w.place = e.write
        WHERE NOT EXISTS (SELECT FROM unnest(refused) r WHERE r.place = w.place)
        ON CONFLICT (persistence_id, seq) DO UPDATE SET name = excluded.name, version = excluded.version,
            payload = excluded.payload, crc = excluded.crc, command_id = excluded.command_id;
    RETURN QUERY SELECT r.* FROM unnest(refused) r;
END $$;

CREATE FUNCTION write_states(
    its_history text, its_scopes text[], its_numbers bigint[], its_tokens bytea[],
    its_ids text[], its_claims integer[], its_firsts boolean[], its_afters bigint[], its_slices integer[],
    its_writes integer[], its_seqs bigint[], its_names text[], its_versions integer[], its_payloads bytea[],
    its_crcs bigint[], its_commands text[], its_time double precision
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    refused refusal[] := ARRAY(
        SELECT r FROM admit(its_history, its_scopes, its_numbers, its_tokens, its_ids, its_claims, its_firsts) r
    );
BEGIN
    RETURN QUERY
        WITH verdicts AS MATERIALIZED (
            SELECT w.id, w.place, coalesce(r.reason, CASE WHEN l.found = w.after THEN 0 ELSE 3 END) AS reason,
                r.holder, l.found
            FROM unnest(its_ids, its_afters) WITH ORDINALITY AS w (id, after, place)
            LEFT JOIN unnest(refused) r ON r.place = w.place
            CROSS JOIN LATERAL (
                SELECT coalesce((SELECT s.revision FROM states s WHERE s.persistence_id = w.id), 0)
            ) AS l (found)
        ), written AS (
            INSERT INTO states AS s (persistence_id, revision, name, version, payload, crc, command_id)
            SELECT v.id, e.seq, e.name, e.version, e.payload, e.crc, e.command
            FROM unnest(its_writes, its_seqs, its_names, its_versions, its_payloads, its_crcs, its_commands)
                AS e (write, seq, name, version, payload, crc, command)
            JOIN verdicts v ON v.place = e.write AND v.reason = 0
            ON CONFLICT (persistence_id) DO UPDATE SET revision = excluded.revision, name = excluded.name,
                version = excluded.version, payload = excluded.payload, crc = excluded.crc,
                command_id = excluded.command_id
        )
        SELECT v.place, v.reason, coalesce(v.holder, ''), v.found FROM verdicts v WHERE v.reason <> 0;
END $$;

CREATE FUNCTION delete_state(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_revision bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    found_revision bigint;
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[its_id], ARRAY[1], ARRAY[false]);
    IF FOUND THEN RETURN; END IF;
    SELECT s.revision INTO found_revision FROM states s WHERE s.persistence_id = its_id FOR UPDATE;
    IF found_revision IS DISTINCT FROM its_revision THEN
        RETURN QUERY SELECT 1::bigint, 3, '', coalesce(found_revision, 0);
        RETURN;
    END IF;
    DELETE FROM states s WHERE s.persistence_id = its_id;
END $$;

CREATE FUNCTION forget(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_last bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[its_id], ARRAY[1], ARRAY[false]);
    IF FOUND THEN RETURN; END IF;
    UPDATE ids SET forgotten = greatest(forgotten, least(its_last, last_event(its_id))) WHERE persistence_id = its_id;
    DELETE FROM events e WHERE e.persistence_id = its_id AND e.seq <= its_last;
END $$;

CREATE FUNCTION prune(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_kept bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[its_id], ARRAY[1], ARRAY[false]);
    IF FOUND THEN RETURN; END IF;
    DELETE FROM snapshots WHERE persistence_id = its_id AND seq <= (
        SELECT s.seq FROM snapshots s WHERE s.persistence_id = its_id ORDER BY s.seq DESC OFFSET its_kept LIMIT 1);
END $$;

CREATE FUNCTION erase(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_unused bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[its_id], ARRAY[1], ARRAY[false]);
    IF FOUND THEN RETURN; END IF;
    DELETE FROM events WHERE persistence_id = its_id;
    DELETE FROM snapshots WHERE persistence_id = its_id;
    DELETE FROM states WHERE persistence_id = its_id;
    UPDATE ids SET forgotten = 0 WHERE persistence_id = its_id; -- it keeps its scope
END $$;
"""

STEPS: Final = (EVENTS,)
"""Steps of the tables of a journal; their number is its version."""


async def make_tables(connection: TrioConnection[Any], schema: str, steps: Sequence[str] = STEPS) -> None:
    """Make the tables of a journal, or lead older ones to this version.

    Parameters:
        connection: In autocommit mode.
        schema: PostgreSQL's schema of the tables.
        steps: All steps from nothing to this version.

    Raises:
        ConfigError: The tables are of a newer version, or the database does not store UTF-8.
    """
    if await _version(connection, schema, steps) == len(steps):
        return
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s, hashtext(%s))", (LOCK_CLASS, schema))
        version = await _version(connection, schema, steps)
        if version == 0:
            await connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        await connection.execute("SELECT set_config('search_path', %s, true)", (sql.Identifier(schema).as_string(),))
        for step in steps[version:]:
            await connection.execute(step.encode(), prepare=False)
        if version == 0:
            await connection.execute("INSERT INTO journal VALUES (1, %s, %s)", (len(steps), secrets.token_hex(8)))
        else:
            await connection.execute("UPDATE journal SET version = %s", (len(steps),))


async def _version(connection: TrioConnection[Any], schema: str, steps: Sequence[str]) -> int:
    """Return how many steps were made. ConfigError where nothing can be."""
    # read from the catalogue: to_regclass() would answer from a cache that the wait for the lock has made stale
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace "
        "WHERE n.nspname = %s AND c.relname = 'journal'), current_setting('server_encoding'), current_database()",
        (schema,),
    )
    is_there, encoding, database = await cursor.fetchone() or (False, "", "")
    if encoding != "UTF8":
        raise ConfigError(
            f"the database {database!r} stores its text as {encoding}, a journal needs UTF8: make another database "
            "with CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE template0"
        )
    if not is_there:
        return 0
    cursor = await connection.execute(sql.SQL("SELECT version FROM {}").format(sql.Identifier(schema, "journal")))
    row = await cursor.fetchone()
    version: int = row[0] if row else 0
    if version > len(steps):
        raise ConfigError(
            f"the tables in schema {schema!r} of database {database!r} are of version {version}, this casty knows "
            f"versions up to {len(steps)}: run the casty that made them, or a newer one"
        )
    return version
