"""Messages to many nodes: broadcasts, one actor of a service on each, and topics with their subscribers."""
