"""Control messages: what the machines of two nodes say to each other."""
