"""Connections of clients: no links."""
