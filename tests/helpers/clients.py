"""A client of the clusters that tests make in memory."""

from __future__ import annotations

from typing import Any

from casty import ClusterClient

PORT = 2551


def client_of(nodes: Any, *contacts: str, **options: Any) -> ClusterClient:
    points = [(contact, PORT) for contact in contacts]
    return ClusterClient(contact_points=points, system_name="shop", network=nodes.network.host("outside"), **options)
