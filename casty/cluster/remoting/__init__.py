"""Messages between actors of two nodes: refs to others, what waits for them, what comes in."""
