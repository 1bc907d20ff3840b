"""Clients of a cluster, outside of it: they ask and tell what is open to them, and are no members."""
