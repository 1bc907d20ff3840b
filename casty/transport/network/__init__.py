"""Networks of byte streams: the interface, TCP, and the one in memory."""
