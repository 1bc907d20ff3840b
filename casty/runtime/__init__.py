"""Actors on Trio: behaviours, mailboxes, refs, and the system that owns them."""
