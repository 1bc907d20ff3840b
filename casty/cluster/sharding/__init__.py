"""Entities on the nodes of a cluster: the drivers of their placement, their routing, and their hosting."""
