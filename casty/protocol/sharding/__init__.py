"""Sharding: where each shard of a key lives, exactly once."""
