"""Bounds of a peer's cost: time, connections, log lines, descriptors."""
