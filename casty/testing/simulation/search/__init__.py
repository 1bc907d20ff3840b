"""Plays of scenarios, the search over seeds, and the report of a failure."""
