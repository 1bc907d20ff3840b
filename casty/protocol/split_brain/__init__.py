"""Partitions: the side that goes on, the time of the decision, and exclusive work meanwhile."""
