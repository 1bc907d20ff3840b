"""Leases: one in a SQLite file, and where a node's serving lease is shown."""
