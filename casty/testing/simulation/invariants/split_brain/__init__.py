"""Invariants of partitions and of exclusive work."""
