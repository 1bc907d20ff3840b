"""Lines that decide who goes on, who founds a cluster and when work is free, with a bug in each: a rule is broken.

As in `test_planted_lines`; the scenarios here are quiet but for what is decided. The seeds at which the bugs are found
are printed by ``python tests/simulation/test_planted_decisions.py``.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from planting import Bug, found_at, report

from casty import ClusterSettings
from casty.config import FailureDetectorConfig
from casty.protocol.membership.founding import Founding
from casty.protocol.membership.joining import Joining
from casty.protocol.split_brain import bad_links, seen_tracker
from casty.protocol.split_brain.downing import Downing
from casty.protocol.split_brain.resolver import SplitBrainResolver
from casty.protocol.split_brain.seen_tracker import SeenTracker
from casty.protocol.split_brain.strategies import KeepMajority, KeepOldest, Partition, StaticQuorum
from casty.testing.simulation import Cut, Fault, Heal, Pause, Scenario, SimulatedLease, Wake, play
from casty.testing.simulation.scenario import generating as drawing
from casty.testing.simulation.scenario.scenario import Timed
from casty.testing.simulation.scenario.varying import settings_for
from casty.testing.simulation.search.searching import Draw

LASTS = 40.0

Kind = Callable[[random.Random, Sequence[str]], list[Timed]]


def quiet(kind: Kind, settings: ClusterSettings | None = None) -> Draw:
    """Return a draw of clusters that are well but for one thing, with these settings or drawn ones."""

    def draw(seed: int) -> Scenario:
        names = drawing.names_for(seed)
        faults = [*kind(random.Random(seed), names), (LASTS, Heal())]
        drawn, roles = (settings, {}) if settings is not None else settings_for(seed, names)
        return Scenario(seed, names, tuple((round(at + 0.2, 3), fault) for at, fault in faults), drawn, roles)

    return draw


def restless(rng: random.Random, names: Sequence[str]) -> list[Timed]:
    """Keep one cut off, and each of the others for a while, so that what they see never settles."""
    one, *others = rng.sample(names, len(names))
    always = Cut((one,), tuple(others))
    faults: list[Timed] = [(0.0, always)]
    at = 1.0
    for other in others[:4]:
        faults.append((at, Cut((other,), tuple(name for name in others if name != other))))
        at += rng.uniform(5.2, 6.2)
        faults += [(at, Heal()), (at, always)]
        at += rng.uniform(0.7, 1.2)
    return faults


def two_losses(rng: random.Random, names: Sequence[str]) -> list[Timed]:
    """Cut one off, and another one when the first is almost decided."""
    one, other, *rest = rng.sample(names, len(names))
    return [(0.0, Cut((one,), (other, *rest))), (rng.uniform(5.6, 6.6), Cut((other,), tuple(rest)))]


SLOW = FailureDetectorConfig(acceptable_heartbeat_pause_ms=5000.0)
LEASE = ClusterSettings(downing="lease_majority", lease=SimulatedLease())


def asleep_when_decided(settings: ClusterSettings) -> Draw:
    """Return a draw of four of which one is cut off, and another stands still from before that is known until after."""

    def draw(seed: int) -> Scenario:
        rng = random.Random(seed)
        at = round(rng.uniform(4.5, 6.3), 3)
        pause = (at, Pause("c")), (round(at + rng.uniform(5.5, 6.3), 3), Wake("c"))
        cut: tuple[float, Fault] = 0.2, Cut(("d",), ("a", "b", "c"))
        patient = replace(settings, stable_after=5.0, failure_detector=SLOW)
        return Scenario(seed, ("a", "b", "c", "d"), (cut, *pause, (LASTS, Heal())), patient)

    return draw


def heard_one_way(seed: int) -> Scenario:
    """Draw five with three bad links, each noticed at one end as each monitors three others."""
    links: list[tuple[float, Fault]] = [(0.0, Cut((one,), (other,))) for one, other in ("bd", "ac", "ae")]
    settings = ClusterSettings(monitored_max=3, downing="static_quorum", quorum_size=3, failure_detector=SLOW)
    return Scenario(seed, ("a", "b", "c", "d", "e"), (*links, (LASTS, Heal())), settings)


PARTS, LINKS, LATE = quiet(drawing.parts), quiet(drawing.bad_links), quiet(drawing.late_news)
LEASES = quiet(drawing.parts, LEASE)
OLDEST = quiet(drawing.parts, ClusterSettings(downing="keep_oldest"))
OLDEST_ALONE = quiet(drawing.parts, ClusterSettings(downing="keep_oldest", down_if_alone=False))
RESTLESS = quiet(restless, ClusterSettings())
TWO_LOSSES = quiet(two_losses, ClusterSettings())

BUGS = [
    # the lease of a strategy
    Bug(
        "a minority claims at once",
        SplitBrainResolver,
        "if strategy.against(partition) and claimed != waited:",
        "if False:",
        LEASES,
    ),
    Bug(
        "the lease is asked twice",
        SplitBrainResolver,
        "self._claimed is not None or not leads or not",
        "not leads or not",
        LEASES,
    ),
    Bug("everybody claims", SplitBrainResolver, "or not leads or", "or", LEASES),
    Bug(
        "who does not get the lease stays",
        SplitBrainResolver.answered,
        "claimed.side & state.members.keys()",
        "frozenset()",
        LEASES,
    ),
    Bug(
        "who gets the lease downs nobody",
        SplitBrainResolver.answered,
        "claimed.others & state.members.keys()",
        "frozenset()",
        LEASES,
    ),
    # who knows before it is decided
    Bug(
        "a leader downs before all know",
        SplitBrainResolver.timer,
        "== self.self_node and self._is_known(state, lost)",
        "== self.self_node",
        asleep_when_decided(ClusterSettings()),
    ),
    Bug("a leader in doubt downs others", SplitBrainResolver.timer, "not is_doubted and ", "", heard_one_way),
    Bug(
        "a leader claims before all know",
        SplitBrainResolver,
        "not self._is_known(state, others)",
        "False",
        asleep_when_decided(LEASE),
    ),
    Bug(
        "who knows first counts for all",
        SeenTracker.known_since,
        "max(latest, min(times))",
        "min(latest, min(times))",
        LATE,
    ),
    Bug(
        "all know what one has seen",
        seen_tracker,
        "state.seen - known.keys()",
        "state.members.keys() - known.keys()",
        LATE,
    ),
    # bad links
    Bug("who has fewest bad links goes", bad_links.ends_to_go, "max(left", "min(left", LINKS),
    Bug(
        "the youngest end goes",
        bad_links.ends_to_go,
        "(len(left[end]), by_age(members[end]))",
        "by_age(members[end])",
        LINKS,
    ),
    Bug("who is at odds is on a side", Downing.partition, "state.at_odds & self._aware", "frozenset()", LINKS),
    Bug("no end goes", Downing.decide, "if self_node in ends:", "if False:", LINKS),
    Bug("all give up where one end should go", Downing, "if not links or", "if True or", LINKS),
    Bug("nobody waits for the end that goes", Downing.decide, "if waited else ()", "if True else ()", LINKS),
    Bug(
        "who is at odds stays where nobody does",
        Downing.decide,
        "    else:\n        losers = partition.reachable + partition.indirect",
        "    else:\n        losers = partition.reachable",
        LINKS,
    ),
    # when it is decided
    Bug("a view that never settles stays", Downing, "if self._changes < UNSTABLE_CHANGES:", "if True:", RESTLESS),
    Bug("it stays for long", Downing, "patience * (1 + UNSTABLE_SHARE)", "patience * 10", RESTLESS),
    Bug(
        "two losses are taken for many",
        Downing,
        "if self._changes < UNSTABLE_CHANGES:",
        "if self._changes < 2:",
        TWO_LOSSES,
    ),
    # which side goes on
    Bug(
        "the oldest is kept however alone",
        KeepOldest.against,
        "self.down_if_alone and len(side) == 1 < len(other)",
        "False",
        OLDEST,
    ),
    Bug("the oldest of two is left", KeepOldest.against, "len(side) == 1 < len(other)", "len(side) == 1", OLDEST),
    Bug("the oldest alone is never kept", KeepOldest.against, "self.down_if_alone and len", "len", OLDEST_ALONE),
    Bug("of two halves the higher goes on", KeepMajority.against, "min(theirs) < min(mine)", "min(theirs) > min(mine)"),
    Bug("a quorum may be one of two", StaticQuorum.against, "if voters >= 2 * self.size:", "if False:"),
    Bug("one less is a quorum", StaticQuorum.against, "len(votes.mine) < self.size", "len(votes.mine) < self.size - 1"),
    Bug("who is going counts", Partition, "if member.status not in GOING]", "]"),
    # founding
    Bug("one seed is enough", Founding.is_majority, "2 * len(counted.intersection(present)) > len(counted)", "True"),
    Bug("half of the seeds are enough", Founding.is_majority, ") > len(counted)", ") >= len(counted)"),
    Bug(
        "everybody has the cluster begin",
        Founding.decides,
        "if cluster_id_of(self.self_node) == state.cluster_id:",
        "if True:",
    ),
    Bug("who has not heard of it counts", Founding.may_begin, "for node in state.seen)", "for node in state.members)"),
    Bug("a seed founds at once", Joining, "now - self._started_at < FORM_AFTER", "False"),
    Bug("any seed founds", Joining, "at < self.member.address and", "False and"),
    Bug("an answer counts for ever", Joining, "now - seed.answered_at < ANSWER_COUNTS", "True"),
]


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_bug_in_a_decision_is_found(bug: Bug) -> None:
    seed, text = found_at(bug)
    assert seed >= 0, "no rule was broken"
    assert text
    play(bug.draw(seed))  # without the bug it holds


@pytest.mark.parametrize(
    "draw", [LINKS, LATE, LEASES, RESTLESS, TWO_LOSSES], ids=["links", "late", "leases", "restless", "two"]
)
def test_without_a_bug_everything_holds(draw: Draw) -> None:
    for seed in range(12):
        play(draw(seed))


if __name__ == "__main__":
    report(BUGS, sys.argv[1:])
