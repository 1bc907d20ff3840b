"""Gossip: how versions of the replicated state spread, are received, and travel in pages."""
