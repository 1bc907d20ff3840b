"""Behaviours as values: their forms, interceptors, and the functions that users hand in."""
