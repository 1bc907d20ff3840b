"""Messages between actors of two nodes: refs to others, waiting messages, incoming ones."""
