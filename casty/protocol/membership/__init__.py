"""Membership of one node: how it joins, is let in, leaves, merges clusters, and its public view of them."""
