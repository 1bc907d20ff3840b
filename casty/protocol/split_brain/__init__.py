"""Partitions: the surviving side, the time of the decision, and exclusive work meanwhile."""
