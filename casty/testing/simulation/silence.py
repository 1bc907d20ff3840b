"""Whoever is silent is accused in time.

Owns the memory of who cannot hear whom, and since when. It looks a few times a second: a silence is
a matter of seconds. Give `SilenceNoticed.check` to `ModelCluster.run_for` as its ``until``, as that
of `Watch`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.testing.simulation.invariants import InvariantBroken
from casty.testing.simulation.rules import Rule
from casty.testing.simulation.run import Run

LOOK_EVERY = 0.5
NOTICED_WITHIN = 10.0
"""Beside the pause that is forgiven: two seconds after that phi has crossed, at worst; a late loop may forgive three
more, a probe of others may postpone it, messages are under way, and clocks run slower."""

Pair = tuple[UniqueAddress, UniqueAddress]


@dataclass(slots=True)
class SilenceNoticed(Rule):
    """The rule: a node that one of its observers cannot hear is accused by it within 13 seconds.

    So it is by default; settings that forgive longer pauses allow for as much more.
    """

    _since: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())

    def look(self) -> None:
        now = self.cluster.now
        self.look_at = now + LOOK_EVERY
        silent = {pair: self._since.get(pair, now) for run in self.cluster.living for pair in self._unheard(run)}
        for (observer, subject), since in silent.items():
            if now > since + NOTICED_WITHIN + pause_of(self.cluster.every[observer]):
                text = f"{observer.address.host} has not accused {subject.address.host}, silent since {since:.4f}"
                raise InvariantBroken("a silence is noticed", f"{text}, at {now:.4f}")
        self._since = silent

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
