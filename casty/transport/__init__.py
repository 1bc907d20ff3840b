"""Links between nodes: byte streams, the frames waiting for them, and their limits."""
