"""Scenarios with real nodes: actors, drivers and bytes, on a network in memory."""
