"""Death watch between nodes: who watches an actor of another node."""
