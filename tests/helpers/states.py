"""States of a cluster in which somebody is not heard."""

from __future__ import annotations

from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import run_of


def split(state: Gossip, observer: str, lost: str) -> Gossip:
    """Return the state after one has said that it does not hear some."""
    row = ObserverRow()
    for name in lost:
        row = row.accusing(run_of(name))
    return state.with_row(run_of(observer), row)
