"""Scenarios drawn from a seed.

Owns the likely combinations of faults. A scenario drawn here keeps off faults for an operator to mend: while paths are
cut or somebody stands still, at most one node is started in a minute, because several on one side might form a second
cluster.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

from casty.config import ClusterSettings
from casty.testing.simulation.scenario.faults import (
    ClockSkew,
    Crash,
    Cut,
    Delay,
    Duplicate,
    Fault,
    Heal,
    JournalFault,
    Leave,
    Loss,
    Pause,
    Reorder,
    Restart,
    Wake,
)
from casty.testing.simulation.scenario.journal_weather import with_journal_faults
from casty.testing.simulation.scenario.recurring import recurring
from casty.testing.simulation.scenario.scenario import Scenario, Timed
from casty.testing.simulation.scenario.varying import settings_for

SIZES = (3, 5, 9, 4, 3, 5, 2, 7)
NAMES = "abcdefghi"
NEWCOMER = "z"
STEPS_MAX = 8
STARTED_WITHIN = 60.0
DECIDED = 13.0
"""Seconds after a cut at which most sides of it decide."""
QUIET_SHARE = 0.25
"""Share of partitions without any other fault, so that their outcome is known."""
LASTS = 40.0
"""Seconds of such a cut: everything is decided by then."""
RATES = (0.95, 1.04)
"""The serving lease is safe while clocks differ by less than a tenth."""


def names_for(seed: int) -> tuple[str, ...]:
    """Return two to nine names."""
    return tuple(NAMES[: SIZES[seed % len(SIZES)]])


def sides_of(rng: random.Random, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Return two sides, or sometimes three, none of them empty."""
    count = 3 if len(names) > 3 and rng.random() < 0.25 else 2
    shuffled = rng.sample(names, len(names))
    cuts = sorted(rng.sample(range(1, len(names)), count - 1))
    bounds = zip([0, *cuts], [*cuts, len(names)], strict=True)
    return [tuple(sorted(shuffled[start:end])) for start, end in bounds]


def cuts_between(sides: Sequence[tuple[str, ...]]) -> list[Fault]:
    """Return the cuts between each two sides."""
    return [Cut(one, other) for place, one in enumerate(sides) for other in sides[place + 1 :]]


def partition_scenario(
    seed: int, nodes: Sequence[str] = (), *, settings: ClusterSettings | None = None, journal_faults: bool = False
) -> Scenario:
    """Draw a cluster that falls apart at a bad moment, and heals at a random one.

    Some fall apart otherwise before that, about when it is decided who is lost. Others had been quiet, and are cut for
    so long that it is; or not in parts, but some links are bad.

    Parameters:
        seed: Number for all random choices.
        nodes: Names of the nodes; none draws three, five or nine.
        settings: Settings of all nodes; None draws them, and the roles of the nodes, by the seed too.
        journal_faults: Whether calls to the journal fail too, at some nodes; the other faults are the same. For
            `simulate` with a journal.

    Returns:
        The scenario, the same one for the same arguments.

    >>> scenario = partition_scenario(1)
    >>> len(scenario.nodes), scenario.faults[-1]
    (5, (24.496, Heal()))
    """
    names = tuple(nodes) or names_for(seed)
    faults = _partition(seed, names)
    return _completed(Scenario(seed, names, faults), settings, journal_faults=journal_faults)


def _partition(seed: int, names: tuple[str, ...]) -> tuple[Timed, ...]:
    rng, quiet = random.Random(seed), random.Random(f"quiet {seed}")
    if quiet.random() < QUIET_SHARE:
        return quiet_cut(quiet, names)
    faults: list[Timed] = []
    at = 0.0
    if rng.random() < 0.5:
        faults.append((at, Delay(0.0, jitter=0.1)))
    if rng.random() < 0.3:
        faults.append((at, Loss(0.05)))
    victim = rng.choice(names)
    trouble = rng.choice((None, Leave(victim), Crash(victim), Restart(victim), Restart(NEWCOMER)))
    everybody = names
    if trouble is not None:
        faults.append((at, trouble))
        everybody = tuple(dict.fromkeys((*names, NEWCOMER))) if trouble == Restart(NEWCOMER) else names
    at = _after(at, rng.choice((0.0, 0.002, rng.uniform(0.0, 4.0))))
    faults.extend((at, cut) for cut in cuts_between(sides_of(rng, everybody)))
    moving = random.Random(f"moving {seed}")
    if moving.random() < 0.25:
        at = _after(at, moving.choice((moving.uniform(0.5, 20.0), DECIDED + moving.uniform(-5.0, 1.5))))
        faults += [(at, fault) for fault in (Heal(), *cuts_between(sides_of(moving, everybody)))]
    at = _after(at, rng.uniform(0.5, rng.choice((20.0, 40.0))))
    faults.append((at, Heal()))
    return tuple(faults)


def quiet_cut(rng: random.Random, names: Sequence[str]) -> tuple[Timed, ...]:
    """Return cuts of a healthy cluster, long enough for all decisions."""
    kinds = (parts, bad_links, bad_links, bad_links, late_news)
    faults = [*rng.choice(kinds)(rng, names), (LASTS, Heal())]
    jitter: list[Timed] = [(0.0, Delay(0.0, jitter=0.1))] if rng.random() < 0.3 else []
    return (*jitter, *((round(at + 0.2, 3), fault) for at, fault in faults))


def parts(rng: random.Random, names: Sequence[str]) -> list[Timed]:
    return [(0.0, cut) for cut in cuts_between(sides_of(rng, names))]


def bad_links(rng: random.Random, names: Sequence[str]) -> list[Timed]:
    """Cut some links, often several of one node, and nobody off where there are enough nodes."""
    pairs = [(one, other) for place, one in enumerate(names) for other in names[place + 1 :]]
    if rng.random() < 0.5:
        hub = rng.choice(names)
        pairs = [pair for pair in pairs if hub in pair]
    count = rng.randint(1, max(min(4, len(pairs) - 1), 1))
    return [(0.0, Cut((one,), (other,))) for one, other in rng.sample(pairs, count)]


def late_news(rng: random.Random, names: Sequence[str]) -> list[Timed]:
    """Cut one off, and let another stand still when all others hear of the loss."""
    one, other = rng.sample(names, 2)
    cut = Cut((one,), tuple(name for name in names if name != one))
    at = rng.uniform(3.5, 5.0)
    return [(0.0, cut), (round(at, 3), Pause(other)), (round(at + rng.uniform(2.5, 4.0), 3), Wake(other))]


def random_scenario(
    seed: int,
    nodes: Sequence[str] = (),
    *,
    clocks: bool = True,
    settings: ClusterSettings | None = None,
    journal_faults: bool = False,
) -> Scenario:
    """Draw a cluster with up to eight faults, one after the other, or with one repeated several times.

    Parameters:
        seed: Number for all random choices.
        nodes: Names of the nodes; none draws three, five or nine.
        clocks: Whether clocks go wrong too; `simulate` knows no skewed ones.
        settings: Settings of all nodes; None draws them, and the roles of the nodes, by the seed too.
        journal_faults: Whether calls to the journal fail too, at some nodes; the other faults are the same. For
            `simulate` with a journal.

    Returns:
        The scenario, the same one for the same arguments.

    >>> random_scenario(1) == random_scenario(1)
    True
    """
    names = tuple(nodes) or names_for(seed)
    faults = recurring(seed, names, NEWCOMER) or _one_after_another(seed, names, clocks=clocks)
    return _completed(Scenario(seed, names, faults), settings, journal_faults=journal_faults)


def _one_after_another(seed: int, names: tuple[str, ...], *, clocks: bool) -> tuple[Timed, ...]:
    rng = random.Random(seed)
    draw = _Draw(rng, names, clocks=clocks)
    faults: list[Timed] = []
    at = 0.0
    for _ in range(rng.randint(1, STEPS_MAX)):
        faults.extend((at, fault) for fault in draw.next(at))
        at = _after(at, rng.choice((0.0, 0.005, rng.uniform(0.0, 2.0), rng.uniform(0.0, 10.0), rng.uniform(0.0, 30.0))))
    if draw.is_cut:
        faults.append((at, Heal()))
    return tuple(faults)


def _completed(scenario: Scenario, settings: ClusterSettings | None, *, journal_faults: bool) -> Scenario:
    if journal_faults:
        scenario = with_journal_faults(scenario)
    if settings is not None:
        return replace(scenario, settings=settings)
    drawn, roles = settings_for(scenario.seed, scenario.nodes)
    return replace(scenario, settings=drawn, roles=roles)


class _Draw:
    """Draws faults that make sense after those drawn before."""

    def __init__(self, rng: random.Random, names: tuple[str, ...], *, clocks: bool) -> None:
        self.is_cut = False
        self._rng = rng
        self._clocks = clocks
        self._names = names
        self._running = dict.fromkeys(names, True)
        self._paused: str | None = None
        self._started_at = -STARTED_WITHIN

    def next(self, at: float) -> Sequence[Fault]:
        """Return the next fault, or the cuts of one partition."""
        rng = self._rng
        running = [name for name, runs in self._running.items() if runs]
        ended = [name for name, runs in self._running.items() if not runs]
        choices: list[Sequence[Fault]] = [
            [Delay(0.0, jitter=rng.choice((0.0, 0.1, 0.3)))],
            [rng.choice((Loss(0.1), Loss(0.3), Reorder(0.1), Duplicate(0.2), Loss(0.0)))],
        ]
        if self._clocks:
            choices.append([ClockSkew(rng.choice(running), rng.choice(RATES))])
        if len(running) > 1:
            choices += [[Crash(rng.choice(running))], [Leave(rng.choice(running))]]
        if self._paused is not None:
            choices += [[Wake(self._paused)]] * 3
        elif running:
            choices.append([Pause(rng.choice(running))])
        if self.is_cut:
            choices += [[Heal()]] * 3
            if len(running) > 1:
                choices += [[Heal(), *cuts_between(sides_of(rng, running))]] * 2
        elif len(running) > 1:
            sides = sides_of(rng, running)
            choices += [cuts_between(sides), [Cut(sides[0], sides[1], one_way=True)]]
        if not self.is_cut and self._paused is None:
            choices += [[Restart(rng.choice((*ended, *running, NEWCOMER)))]] * 3
        elif at - self._started_at >= STARTED_WITHIN:
            choices.append([Restart(rng.choice((*ended, *running)))])
        drawn = rng.choice(choices)
        for fault in drawn:
            self._note(fault)
            if isinstance(fault, Restart):
                self._started_at = at
        return drawn

    def _note(self, fault: Fault) -> None:
        match fault:
            case Crash(node) | Leave(node):
                self._running[node] = False
                self._paused = None if self._paused == node else self._paused
            case Restart(node):
                self._running[node] = True
            case Pause(node):
                self._paused = node
            case Wake():
                self._paused = None
            case Cut():
                self.is_cut = True
            case Heal():
                self.is_cut = False
            case Loss() | Delay() | Reorder() | Duplicate() | ClockSkew() | JournalFault():
                pass


def _after(at: float, seconds: float) -> float:
    return round(at + seconds, 3)
