"""Scenarios as values: who takes part, what goes wrong when, and what follows from a seed."""
