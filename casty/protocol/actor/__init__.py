"""Decisions about single actors: consequences of a failure, and the routee for a message."""
