"""Death watch between nodes: watchers of actors of other nodes."""
