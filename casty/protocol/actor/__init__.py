"""Decisions about single actors: what follows from a failure, and which routee gets a message."""
