"""Drivers of membership and failure detection, and where a node's membership is shown."""
