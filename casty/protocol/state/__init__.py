"""The replicated state of a cluster: members, services and their versions, as values that merge."""
