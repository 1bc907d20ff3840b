"""Plays of scenarios, the search over seeds, and the report of one that fails."""
