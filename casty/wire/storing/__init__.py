"""Records of events and states, and back: bytes of a journal."""
