"""Failure detection: choice of monitored members, measure of silence, and evidence."""
