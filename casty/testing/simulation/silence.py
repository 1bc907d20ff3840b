"""Whoever is silent is accused in time.

Owns the memory of who cannot hear whom, and since when. It looks a few times a second: a silence is
a matter of seconds. Give `SilenceNoticed.check` to `ModelCluster.run_for` as its ``until``, as that
of `Watch`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.testing.simulation.invariants import InvariantBroken
from casty.testing.simulation.model import ModelCluster
from casty.testing.simulation.run import Run

LOOK_EVERY = 0.5
NOTICED_WITHIN = 13.0
"""Five seconds after the last sign of life phi has crossed, at worst; a late loop may forgive three more,
a probe of others may postpone it, messages are under way, and clocks run slower."""

Pair = tuple[UniqueAddress, UniqueAddress]


@dataclass(slots=True)
class SilenceNoticed:
    """The rule: a node that one of its observers cannot hear is accused by it within 13 seconds."""

    cluster: ModelCluster
    """The nodes to look at."""
    _look_at: float = field(init=False, default=0.0)
    _since: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())

    def check(self) -> bool:
        """Look at every observer. Give it to `ModelCluster.run_for` as its ``until``.

        Returns:
            Always False, so that time goes on.

        Raises:
            InvariantBroken: A silence was not noticed in time.
        """
        now = self.cluster.now
        if now < self._look_at:
            return False
        self._look_at = now + LOOK_EVERY
        silent = {pair: self._since.get(pair, now) for run in self.cluster.living for pair in self._unheard(run)}
        for (observer, subject), since in silent.items():
            if now > since + NOTICED_WITHIN:
                text = f"{observer.address.host} has not accused {subject.address.host}, silent since {since:.4f}"
                raise InvariantBroken("a silence is noticed", f"{text}, at {now:.4f}")
        self._since = silent
        return False

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
