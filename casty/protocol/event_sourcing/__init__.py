"""Event sourcing, without a journal: commands to events, and events to states."""
