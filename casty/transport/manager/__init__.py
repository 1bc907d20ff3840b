"""Links of one node to all its peers: dialling, trust, and the choice among connections."""
