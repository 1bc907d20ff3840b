"""Control frames between two nodes: acknowledgements, pauses, cancelled requests, deadlines."""
