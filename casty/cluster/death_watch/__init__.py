"""Death watch between nodes: its driver."""
