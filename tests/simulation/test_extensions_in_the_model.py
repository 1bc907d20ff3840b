"""Death watch and the receptionist on the nodes of the model keep their rules, and faults planted in them are found."""

from __future__ import annotations

from collections import Counter

import pytest
from planting import SEEDS_MAX, Bug, plant

from casty.protocol.death_watch.machine import Attach, DeathWatch, Detach, TellEnd
from casty.protocol.receptionist.listings import Listings, Misfit, Notify
from casty.testing.simulation import InvariantBroken, Rule, Run, partition_scenario, play, random_scenario
from casty.testing.simulation.invariants.extensions.listings_agree import ListingsAgree
from casty.testing.simulation.invariants.extensions.watchers_told import WatchersTold
from casty.testing.simulation.model.listing import LISTINGS
from casty.testing.simulation.model.watching import DEATH_WATCH, use_watches
from casty.testing.simulation.search.extended import play_extensions


@pytest.mark.parametrize("seed", range(12))
def test_rules_hold_in_random_scenarios(seed: int) -> None:
    play_extensions(random_scenario(seed))


@pytest.mark.parametrize("seed", range(12))
def test_rules_hold_in_partitions(seed: int) -> None:
    play_extensions(partition_scenario(seed))


def test_much_happens_in_these_plays() -> None:
    counts: Counter[str] = Counter()

    class Counted(Rule):
        kinds = (Attach, Detach, TellEnd, Notify, Misfit)

        def performed(self, run: Run, effect: object) -> None:
            reason = f" {effect.reason}" if isinstance(effect, TellEnd) else ""
            counts[f"{type(effect).__name__}{reason}"] += 1

    for seed in range(6):
        play(
            random_scenario(seed),
            machines=[DEATH_WATCH, LISTINGS],
            invariants=[WatchersTold, ListingsAgree, Counted],
            workload=use_watches,
        )
    assert set(counts) == {
        "Attach",
        "Detach",
        "Notify",
        "Misfit",
        "TellEnd None",
        "TellEnd its node was removed from the cluster",
        "TellEnd its node is no member of the cluster",
    }
    assert min(counts.values()) > 2, counts


BUGS = (
    Bug("removal ends no watch", DeathWatch, "effects.extend(self._tell_all(serial, REMOVED))", "pass"),
    Bug("who was told is told again", DeathWatch, ".watchers)\n    self._drop(serial)", ".watchers)"),
    Bug("an end is said once", DeathWatch, "self._ended[peer, serial] = reason", "pass"),
    Bug("a watch is asked for once", DeathWatch, "self._unanswered[serial] = None", "pass"),
    Bug("an end of a watch is said once", DeathWatch, "self._closing[serial] = outgoing.run", "pass"),
    Bug("who is there ends", DeathWatch, "or not exists", "or exists"),
    Bug("watches of the removed stay", DeathWatch, "self._attached.pop(run, set())", "()"),
    Bug("unknown runs are not given up", DeathWatch, "effects.extend(self._tell_all(serial, UNKNOWN))", "pass"),
    Bug("silence is an end", DeathWatch, "self._is_member(target.node) or", ""),
    Bug("who does not watch is told", DeathWatch, "del outgoing.watchers[watcher]", "pass"),
    Bug("unreachable members are listed", Listings, "snapshot.unreachable.union(down)", "frozenset(down)"),
    Bug("down members are listed", Listings, "snapshot.unreachable.union(down)", "snapshot.unreachable"),
    Bug("a silence changes no listing", Listings, "if hidden != self._hidden:", "if False:"),
    Bug("what is gone is listed", Listings, "self._by_key[entry.key].discard(entry)", "pass"),
    Bug("every snapshot is told", Listings, "if found.entries != before.entries:", "if True:"),
    Bug(
        "what does not fit is listed",
        Listings,
        "there if wanted.issubset(entry.accepts))\n    misfits",
        "there)\n    misfits",
    ),
    Bug("an old listing is found", Listings, "self._found.pop(key, None)", "pass"),
    Bug(
        "who stopped is offered",
        Listings,
        "self._own.pop((path, uid), set())",
        "self._own.get((path, uid), set())",
    ),
)


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_planted_bug_is_found(bug: Bug, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch, bug.place, bug.line, bug.instead)
    for seed in range(SEEDS_MAX):
        try:
            play_extensions(bug.draw(seed))
        except (InvariantBroken, KeyError):
            return
    pytest.fail(f"not found in {SEEDS_MAX} seeds")
