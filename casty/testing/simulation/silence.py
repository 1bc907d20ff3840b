"""Whoever is silent is accused in time.

Owns the memory of who cannot hear whom, and since when. It looks a few times a second: a silence is
a matter of seconds. Give `SilenceNoticed.check` to `ModelCluster.run_for` as its ``until``, as that
of `Watch`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.testing.simulation.invariants import InvariantBroken
from casty.testing.simulation.rules import Rule
from casty.testing.simulation.run import Run

LOOK_EVERY = 0.5
NOTICED_WITHIN = 4.5
"""Beside the pause that is forgiven: phi has crossed two seconds after that, at worst; a probe of others may postpone
it by one, clocks run slower, and this looks now and then. Messages may be under way too."""
STALL_FORGIVEN, STALL_OVER = 3.5, 20.0
"""Seconds that one who stood still itself forgives more, in so many after that."""

Pair = tuple[UniqueAddress, UniqueAddress]


@dataclass(slots=True)
class SilenceNoticed(Rule):
    """The rule: a node that one of its observers cannot hear is accused by it within 7.5 seconds.

    So it is by default; settings that forgive longer pauses allow for as much more, and so do longer ways. An observer
    that stood still itself has 3.5 seconds more.
    """

    _journey: float = field(init=False, default=0.0)
    """The longest that a message was under way."""
    _stood: dict[str, float] = field(init=False, default_factory=lambda: dict[str, float]())
    """When each node stood still last."""
    _since: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())

    def look(self) -> None:
        now = self.cluster.now
        self.look_at = now + LOOK_EVERY
        cluster = self.cluster
        held_up = cluster.held_up_for if cluster.held_up else 0.0
        self._journey = max(self._journey, cluster.delay + cluster.jitter + held_up)
        self._stood.update(dict.fromkeys(cluster.standing_still, now))
        silent = {pair: self._since.get(pair, now) for run in self.cluster.living for pair in self._unheard(run)}
        for (observer, subject), since in silent.items():
            if now > since + self._within(self.cluster.every[observer]):
                text = f"{observer.address.host} has not accused {subject.address.host}, silent since {since:.4f}"
                raise InvariantBroken("a silence is noticed", f"{text}, at {now:.4f}")
        self._since = silent

    def _within(self, observer: Run) -> float:
        stood = self._stood.get(observer.name, -math.inf)
        own = STALL_FORGIVEN if self.cluster.now < stood + STALL_OVER else 0.0
        return NOTICED_WITHIN + pause_of(observer) + self._journey + own

    def _unheard(self, observer: Run) -> list[Pair]:
        """Return the pairs of an observer with those that it monitors, does not hear and does not accuse."""
        if observer.paused:
            return []
        monitoring = observer.availability
        return [
            (observer.node, subject)
            for subject in monitoring.monitored
            if subject not in monitoring.accused and self.cluster.is_unheard(subject, observer)
        ]


def pause_of(run: Run) -> float:
    """Return for how many seconds of silence the settings of a run forgive anybody."""
    return run.availability.detector_config.acceptable_heartbeat_pause_ms / 1000
