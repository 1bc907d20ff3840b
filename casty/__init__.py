"""A typed, clustered actor library on Trio."""
