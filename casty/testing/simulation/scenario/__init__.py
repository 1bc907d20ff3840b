"""Scenarios as values: nodes, faults and their times, and draws of them from a seed."""
