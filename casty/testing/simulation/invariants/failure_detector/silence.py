"""A silent run is accused in time, and not too early by one that stood still itself.

Owns the memory of the runs out of each one's hearing, and since when, and of standstills. It looks a few times a
second: a silence is a matter of seconds. Give `SilenceNoticed.check` to `ModelCluster.run_for` as its ``until``, as
with `Watch`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from casty.address import UniqueAddress
from casty.protocol.messages.liveness import HeartbeatAck
from casty.protocol.state.membership_state import Gossip
from casty.testing.simulation.invariants.invariants import InvariantBroken
from casty.testing.simulation.invariants.rules import Rule
from casty.testing.simulation.model.run import Run

LOOK_EVERY = 0.5
NOTICED_WITHIN = 4.5
"""Seconds beside the forgiven pause: phi has crossed two seconds after it, at worst; a probe of others may postpone it
by one, clocks run slower, and this looks now and then. Messages may be under way too.
"""
STALL_FORGIVEN, STALL_OVER = 3.5, 20.0
"""Further seconds forgiven by a run that stood still itself, in so many after its standstill."""

WITHHELD_MAX = 3.0
STALL_MIN = 0.6
CLOCK_SLOWEST = 0.94

Pair = tuple[UniqueAddress, UniqueAddress]


@dataclass(slots=True)
class StallWithheld(Rule):
    """The rule: a run that stood still accuses nobody of silence for as long again, at most for three seconds."""

    _began: dict[str, float] = field(init=False, default_factory=lambda: dict[str, float]())
    """Since when each node stands still."""
    _withheld: dict[str, tuple[float, float]] = field(
        init=False, default_factory=lambda: dict[str, tuple[float, float]]()
    )
    """From when on, and until when, each node that stood still accuses nobody."""

    def look(self) -> None:
        if not self.cluster.standing_still and not self._began:
            return
        now = self.cluster.now
        for name in self.cluster.standing_still - self._began.keys():
            self._began[name] = now
        for name in self._began.keys() - self.cluster.standing_still:
            run = self.cluster.runs[name]
            # Its loop was late since the next heartbeat was due; less than half a second is not counted.
            stood = (now - self._began.pop(name)) * CLOCK_SLOWEST - run.availability.heartbeat_interval
            if stood > STALL_MIN:
                self._withheld[name] = now, now + min(stood, WITHHELD_MAX) * CLOCK_SLOWEST

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        woke, until = self._withheld.get(run.name, (-math.inf, -math.inf))
        if before is None or after.rows is before.rows or run.node not in after.rows or self.cluster.now >= until:
            return
        old = before.rows[run.node].accused if run.node in before.rows else frozenset[UniqueAddress]()
        for subject in after.rows[run.node].accused - old:
            if self.cluster.accused_at.get((run.node, subject), woke) < woke:
                continue  # it was judged before, and its membership had yet to hear of that
            if self.cluster.runs[subject.address.host].node == subject and self.cluster.every[subject].alive:
                text = f"{run.name} accuses {subject.address.host} {until - self.cluster.now:.3f} s too early"
                raise InvariantBroken("who stood still accuses nobody at once", f"{text}, at {self.cluster.now:.4f}")


@dataclass(slots=True)
class SilenceNoticed(Rule):
    """The rule: a node out of an observer's hearing is accused by it within 7.5 seconds.

    So it is by default; settings that forgive longer pauses allow for as much more, and so do longer ways. An observer
    that stood still itself has 3.5 seconds more.
    """

    kinds = (HeartbeatAck,)
    _journey: float = field(init=False, default=0.0)
    """Longest travel of a message."""
    _stood: dict[str, float] = field(init=False, default_factory=lambda: dict[str, float]())
    """Time of each node's last standstill."""
    _since: dict[Pair, float] = field(init=False, default_factory=lambda: dict[Pair, float]())

    def received(self, run: Run, sender: UniqueAddress, message: object) -> None:
        self._since.pop((run.node, sender), None)  # also between two looks

    def step(self, run: Run, before: Gossip | None, after: Gossip) -> None:
        for pair in [pair for pair in self._since if pair[0] == run.node]:
            if pair[1] not in run.availability.monitored:  # for a moment: it is waited for anew from then on
                del self._since[pair]

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
        """Return the pairs of an observer with members it monitors, does not hear and does not accuse."""
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
