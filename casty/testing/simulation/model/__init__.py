"""A cluster of machines in virtual time: its network, its runs, and the trace of its events."""
