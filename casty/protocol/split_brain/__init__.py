"""Partitions: which side goes on, when that is decided, and who may do exclusive work meanwhile."""
