"""Invariants of failure detection."""
