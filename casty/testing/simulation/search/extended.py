"""Plays a scenario with casty's own extensions on each node, and their rules."""

from __future__ import annotations

from casty.testing.simulation.invariants.extensions.listings_agree import ListingsAgree
from casty.testing.simulation.invariants.extensions.watchers_told import WatchersTold
from casty.testing.simulation.model.listing import LISTINGS
from casty.testing.simulation.model.trace import Show
from casty.testing.simulation.model.watching import DEATH_WATCH, use_watches
from casty.testing.simulation.scenario.scenario import Scenario
from casty.testing.simulation.search.player import Played, play


def play_extensions(scenario: Scenario, *, show: Show | None = None) -> Played:
    """Play a scenario with a receptionist and death watch on each node.

    Parameters:
        scenario: Scenario to play.
        show: Function called with each event; None shows nothing.

    Returns:
        Record of the play.

    Raises:
        InvariantBroken: A rule does not hold.
    """
    return play(
        scenario,
        machines=[DEATH_WATCH, LISTINGS],
        invariants=[WatchersTold, ListingsAgree],
        workload=use_watches,
        show=show,
    )
