"""Replicated state of a cluster: members, services and their versions, as mergeable values."""
