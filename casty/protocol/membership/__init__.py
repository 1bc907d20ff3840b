"""Membership of one node: how it joins, is let in, leaves, merges clusters, and what it shows of them."""
