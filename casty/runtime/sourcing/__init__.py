"""Event-sourced actors: their behaviours, and the task between mailbox and journal."""
