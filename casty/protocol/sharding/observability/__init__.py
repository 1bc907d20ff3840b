"""Sight of the placement from one node: events, places for snapshots, and reports."""
