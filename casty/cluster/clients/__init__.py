"""Clients of a node: the door they come by, what is open to them, and how much."""
