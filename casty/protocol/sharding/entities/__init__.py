"""Entities of one kind at one node: which are active, what waits for them, and when they end."""
