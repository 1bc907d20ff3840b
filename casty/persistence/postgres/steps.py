"""Tables and functions of a journal in PostgreSQL, and how they come into being.

Owns the SQL kept in the database. Each step leads from one version of the tables to the next, and is
never changed after its release. All is made in one transaction under an advisory lock, so nodes starting
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
"""First key of the advisory lock for making tables: "cast"."""

SCHEMA_LENGTH_MAX: Final = 63
"""Longest name in PostgreSQL."""

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

CREATE TYPE refusal AS (place bigint, reason integer, holder text, found bigint, id text);

-- Lock the claims of a batch until COMMIT, for which the next claim waits, and bind its new ids where they may be.
CREATE FUNCTION lock_and_bind(
    its_history text, its_ids text[], its_scopes text[], its_numbers bigint[], its_tokens bytea[], its_firsts boolean[]
) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM FROM scopes s WHERE s.scope = ANY (its_scopes) ORDER BY s.scope FOR SHARE;
    -- Each statement from here on sees what was committed while those locks were waited for.
    IF true = ANY (its_firsts) THEN
        INSERT INTO ids (persistence_id, scope, forgotten)
            SELECT w.id, w.scope, 0
            FROM unnest(its_ids, its_scopes, its_numbers, its_tokens, its_firsts)
                AS w (id, scope, number, token, is_first)
            JOIN scopes s
                ON s.scope = w.scope AND s.number = w.number AND s.token = w.token AND s.history = its_history
            WHERE w.is_first AND NOT EXISTS (SELECT FROM ids i WHERE i.persistence_id = w.id)
            ORDER BY w.id
            ON CONFLICT DO NOTHING;
    END IF;
END $$;

-- Writes of a batch that are refused whatever they write: reason 1, the claim is void; 2, the id is of another scope.
CREATE FUNCTION admit(
    its_history text, its_ids text[], its_scopes text[], its_numbers bigint[], its_tokens bytea[], its_firsts boolean[]
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    PERFORM lock_and_bind(its_history, its_ids, its_scopes, its_numbers, its_tokens, its_firsts);
    RETURN QUERY
        SELECT w.place, CASE WHEN v.is_valid THEN 2 ELSE 1 END, coalesce(s.holder, ''), 0::bigint, w.id
        FROM unnest(its_ids, its_scopes, its_numbers, its_tokens)
            WITH ORDINALITY AS w (id, scope, number, token, place)
        LEFT JOIN scopes s ON s.scope = w.scope
        LEFT JOIN ids i ON i.persistence_id = w.id
        CROSS JOIN LATERAL (
            SELECT coalesce(s.number = w.number AND s.token = w.token AND s.history = its_history, false)
        ) AS v (is_valid)
        WHERE NOT v.is_valid OR i.scope <> w.scope;
END $$;

-- Reason 3: the number is not the next one, and found is the last. The rows of a batch are unnested once and joined to
-- nothing but tables with an index: joins of arrays would take the square of their lengths.
CREATE FUNCTION write_events(
    its_history text, its_ids text[], its_scopes text[], its_numbers bigint[], its_tokens bytea[],
    its_firsts boolean[], its_afters bigint[],
    row_ids text[], row_slices integer[], row_seqs bigint[], row_names text[], row_versions integer[],
    row_payloads bytea[], row_crcs bigint[], row_commands text[], its_time double precision
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    refused refusal[];
    refused_ids text[] := '{}';
    base bigint;
BEGIN
    PERFORM lock_and_bind(its_history, its_ids, its_scopes, its_numbers, its_tokens, its_firsts);
    refused := ARRAY(
        SELECT (w.place, v.reason, coalesce(s.holder, ''), l.found, w.id)::refusal
        FROM unnest(its_ids, its_scopes, its_numbers, its_tokens, its_afters)
            WITH ORDINALITY AS w (id, scope, number, token, after, place)
        LEFT JOIN scopes s ON s.scope = w.scope
        LEFT JOIN ids i ON i.persistence_id = w.id
        CROSS JOIN LATERAL (
            SELECT greatest(i.forgotten, (SELECT max(e.seq) FROM events e WHERE e.persistence_id = w.id), 0) OFFSET 0
        ) AS l (found)
        CROSS JOIN LATERAL (
            SELECT CASE
                WHEN NOT coalesce(s.number = w.number AND s.token = w.token AND s.history = its_history, false) THEN 1
                WHEN i.scope <> w.scope THEN 2
                WHEN l.found <> w.after THEN 3
                ELSE 0
            END
        ) AS v (reason)
        WHERE v.reason <> 0
    );
    IF cardinality(refused) > 0 THEN
        refused_ids := ARRAY(SELECT r.id FROM unnest(refused) r);
        RETURN QUERY SELECT r.* FROM unnest(refused) r;
    END IF;
    LOCK TABLE position_order IN EXCLUSIVE MODE;
    SELECT p.last_value INTO base FROM positions p;
    PERFORM setval('positions', base + cardinality(row_ids));
    INSERT INTO events (persistence_id, seq, position, slice, name, version, payload, crc, command_id, written_at)
        SELECT e.id, e.seq, base + e.place, e.slice, e.name, e.version, e.payload, e.crc, e.command, its_time
        FROM unnest(row_ids, row_slices, row_seqs, row_names, row_versions, row_payloads, row_crcs, row_commands)
            WITH ORDINALITY AS e (id, slice, seq, name, version, payload, crc, command, place)
        WHERE e.id <> ALL (refused_ids);
END $$;

CREATE FUNCTION write_snapshots(
    its_history text, its_ids text[], its_scopes text[], its_numbers bigint[], its_tokens bytea[],
    its_firsts boolean[], its_afters bigint[],
    row_ids text[], row_slices integer[], row_seqs bigint[], row_names text[], row_versions integer[],
    row_payloads bytea[], row_crcs bigint[], row_commands text[], its_time double precision
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    refused refusal[] := ARRAY(
        SELECT r FROM admit(its_history, its_ids, its_scopes, its_numbers, its_tokens, its_firsts) r
    );
    refused_ids text[] := ARRAY(SELECT r.id FROM unnest(refused) r);
BEGIN
    INSERT INTO snapshots (persistence_id, seq, name, version, payload, crc, command_id)
        SELECT e.id, e.seq, e.name, e.version, e.payload, e.crc, e.command
        FROM unnest(row_ids, row_seqs, row_names, row_versions, row_payloads, row_crcs, row_commands)
            AS e (id, seq, name, version, payload, crc, command)
        WHERE e.id <> ALL (refused_ids)
        ON CONFLICT (persistence_id, seq) DO UPDATE SET name = excluded.name, version = excluded.version,
            payload = excluded.payload, crc = excluded.crc, command_id = excluded.command_id;
    RETURN QUERY SELECT r.* FROM unnest(refused) r;
END $$;

CREATE FUNCTION write_states(
    its_history text, its_ids text[], its_scopes text[], its_numbers bigint[], its_tokens bytea[],
    its_firsts boolean[], its_afters bigint[],
    row_ids text[], row_slices integer[], row_seqs bigint[], row_names text[], row_versions integer[],
    row_payloads bytea[], row_crcs bigint[], row_commands text[], its_time double precision
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    refused refusal[] := ARRAY(
        SELECT r FROM admit(its_history, its_ids, its_scopes, its_numbers, its_tokens, its_firsts) r
    );
    refused_ids text[];
BEGIN
    refused := refused || ARRAY(
        SELECT (w.place, 3, '', coalesce(s.revision, 0), w.id)::refusal
        FROM unnest(its_ids, its_afters) WITH ORDINALITY AS w (id, after, place)
        LEFT JOIN states s ON s.persistence_id = w.id
        WHERE coalesce(s.revision, 0) <> w.after
    );
    refused_ids := ARRAY(SELECT r.id FROM unnest(refused) r);
    INSERT INTO states (persistence_id, revision, name, version, payload, crc, command_id)
        SELECT e.id, e.seq, e.name, e.version, e.payload, e.crc, e.command
        FROM unnest(row_ids, row_seqs, row_names, row_versions, row_payloads, row_crcs, row_commands)
            AS e (id, seq, name, version, payload, crc, command)
        WHERE e.id <> ALL (refused_ids)
        ON CONFLICT (persistence_id) DO UPDATE SET revision = excluded.revision, name = excluded.name,
            version = excluded.version, payload = excluded.payload, crc = excluded.crc,
            command_id = excluded.command_id;
    RETURN QUERY SELECT r.* FROM unnest(refused) r;
END $$;

CREATE FUNCTION delete_state(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_revision bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
DECLARE
    found_revision bigint;
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_id], ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[false]);
    IF FOUND THEN RETURN; END IF;
    SELECT s.revision INTO found_revision FROM states s WHERE s.persistence_id = its_id FOR UPDATE;
    IF found_revision IS DISTINCT FROM its_revision THEN
        RETURN QUERY SELECT 1::bigint, 3, '', coalesce(found_revision, 0), its_id;
        RETURN;
    END IF;
    DELETE FROM states s WHERE s.persistence_id = its_id;
END $$;

CREATE FUNCTION forget(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_last bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_id], ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[false]);
    IF FOUND THEN RETURN; END IF;
    UPDATE ids SET forgotten = greatest(forgotten, least(its_last,
        coalesce((SELECT max(e.seq) FROM events e WHERE e.persistence_id = its_id), 0)))
    WHERE persistence_id = its_id;
    DELETE FROM events e WHERE e.persistence_id = its_id AND e.seq <= its_last;
END $$;

CREATE FUNCTION prune(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_kept bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_id], ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[false]);
    IF FOUND THEN RETURN; END IF;
    DELETE FROM snapshots WHERE persistence_id = its_id AND seq <= (
        SELECT s.seq FROM snapshots s WHERE s.persistence_id = its_id ORDER BY s.seq DESC OFFSET its_kept LIMIT 1);
END $$;

CREATE FUNCTION erase(its_history text, its_scope text, its_number bigint, its_token bytea, its_id text,
    its_unused bigint
) RETURNS SETOF refusal LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY SELECT * FROM admit(
        its_history, ARRAY[its_id], ARRAY[its_scope], ARRAY[its_number], ARRAY[its_token], ARRAY[false]);
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


async def check_made_tables(connection: TrioConnection[Any], schema: str, steps: Sequence[str] = STEPS) -> None:
    """Raise ConfigError unless a journal of this version is there; nothing is made."""
    version = await _version(connection, schema, steps)
    if version == 0:
        raise ConfigError(f"there is no journal in schema {schema!r} of this database: name its schema and database")
    if version < len(steps):
        raise ConfigError(
            f"the tables in schema {schema!r} are of version {version}, and this casty reads version {len(steps)}: "
            "open the journal once with a system of this casty, which brings them there"
        )


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
