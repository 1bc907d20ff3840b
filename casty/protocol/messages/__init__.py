"""Control messages between the machines of two nodes."""
