"""Message types: the fields of their classes, the types that can travel, and their names on the wire."""
