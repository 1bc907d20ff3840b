"""Bounds of what peers may cost: time, connections, log lines, descriptors."""
