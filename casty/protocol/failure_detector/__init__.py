"""Failure detection: who is monitored, what counts as silence, and what counts as evidence."""
