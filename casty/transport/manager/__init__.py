"""Links of one node to all its peers: who dials, who is believed, which connection counts."""
