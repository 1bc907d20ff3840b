"""Stores in PostgreSQL: needs the extra ``postgres``."""

from __future__ import annotations

from casty.persistence.postgres.postgres_journal import PostgresJournal
from casty.persistence.postgres.postgres_lease import PostgresLease

__all__ = ["PostgresJournal", "PostgresLease"]
