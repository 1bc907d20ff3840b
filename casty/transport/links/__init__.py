"""One link: the queue of a peer and lane, and the connection to empty it."""
