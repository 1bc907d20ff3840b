"""Bad links between two members while gossip finds a way round.

Owns the choice of enough of their ends to go. It does not know when an end counts as lost, or who goes on (`downing`).

How it works: without the chosen ends no bad link is left. The end with most of them goes first; of equals the youngest,
so that work on old members stays. It is the greedy vertex cover, and everybody seeing the same links chooses the same
ends.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import replace

from casty.address import UniqueAddress
from casty.protocol.state.member import Member, by_age
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow, Rows

Links = Mapping[UniqueAddress, frozenset[UniqueAddress]]
"""For each end, those accused by it and those accusing it."""


def bad_links(rows: Rows, among: Collection[UniqueAddress]) -> Links:
    """Return the links with both ends ``among`` the given."""
    return {
        node: frozenset(other for other in row.accused & rows.keys() if other in among and node in rows[other].accused)
        for node, row in rows.items()
        if node in among
    }


def ends_to_go(links: Links, members: Mapping[UniqueAddress, Member]) -> frozenset[UniqueAddress]:
    """Return ends to go, so that no link is bad."""
    left = {node: {*others} for node, others in links.items()}
    gone: list[UniqueAddress] = []
    while any(left.values()):
        node = max(left, key=lambda end: (len(left[end]), by_age(members[end])))
        del left[node]
        for others in left.values():
            others.discard(node)
        gone.append(node)
    return frozenset(gone)


def without_links(state: Gossip, links: Links) -> Gossip:
    """Return the state as if the bad links were good."""
    rows = {
        observer: ObserverRow(row.version, row.accused - links.get(observer, frozenset()))
        for observer, row in state.rows.items()
    }
    return replace(state, rows=rows)
