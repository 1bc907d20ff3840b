"""Entities of pure functions: no task, no mailbox and no cell for one at rest."""
