"""Stores in PostgreSQL: needs the extra ``postgres``."""
