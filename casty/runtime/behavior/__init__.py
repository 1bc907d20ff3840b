"""Behaviours as values: their forms, interceptors, and the functions handed in by users."""
