"""Links between nodes: byte streams, the frames that wait for them, and their limits."""
