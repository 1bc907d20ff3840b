"""Schema of one run of ``casty demo-cart`` in PostgreSQL. It needs the extra ``postgres``."""

from __future__ import annotations

import psycopg
from psycopg import sql

from casty.cli.hosting import complain
from casty.persistence.postgres.connections import complete_dsn
from casty.persistence.postgres.trio_connection import TrioConnection


async def drop_schema(dsn: str, schema: str) -> None:
    """Drop a schema with all in it; one that stays is told on stderr."""
    is_dropped = False
    try:
        async with await TrioConnection.connect(complete_dsn(dsn), autocommit=True) as connection:
            await connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))
            is_dropped = True
    except psycopg.Error as error:
        complain(f"the schema {schema} could not be dropped: {str(error).strip()}")
    else:
        return
    finally:
        if not is_dropped:
            complain(f"drop it yourself:  DROP SCHEMA {schema} CASCADE")
