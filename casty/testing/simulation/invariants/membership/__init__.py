"""Invariants of joining, gossip and leaving."""
