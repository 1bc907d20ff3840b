"""Lines of the protocol with a bug in each, one at a time: a rule is broken at one of the first seeds.

`test_planted_bugs` plants what once was in some cluster; here every part of the protocol has lines that a hand may slip
on. The seeds at which they are found are printed by ``python tests/simulation/test_planted_lines.py``. A line that is
not in its function any more fails its test: plant the bug in what stands there now.
"""

from __future__ import annotations

import random
import sys

import pytest
from planting import SEEDS_MAX, Bug, found_at, report

from casty.protocol.failure_detector.flapping import Flapping
from casty.protocol.failure_detector.local_health import LocalHealth
from casty.protocol.failure_detector.monitor import Availability
from casty.protocol.gossip import receive
from casty.protocol.gossip.anti_entropy import AntiEntropy
from casty.protocol.gossip.machine import Dissemination
from casty.protocol.gossip.receive import GossipReceiver
from casty.protocol.membership import admission, leaving
from casty.protocol.membership.machine import Topology
from casty.protocol.split_brain.downing import Downing
from casty.protocol.split_brain.resolver import SplitBrainResolver
from casty.protocol.split_brain.serving_lease import ServingLeaseMachine
from casty.protocol.split_brain.strategies import KeepOldest
from casty.protocol.state import reachability
from casty.protocol.state.leader import LeaderActions
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.vector_clock import VectorClock
from casty.testing.simulation import (
    Cut,
    Heal,
    Leave,
    Pause,
    Restart,
    Scenario,
    Wake,
    partition_scenario,
    play,
    random_scenario,
)
from casty.testing.simulation.scenario.faults import Fault
from casty.testing.simulation.scenario.generating import NEWCOMER, names_for
from casty.testing.simulation.scenario.recurring import recurring
from casty.testing.simulation.search.searching import Draw


def restart_behind_a_bridge(seed: int) -> Scenario:
    """Return a cluster in which a node that reaches one other only has that one start again."""
    at = round(random.Random(seed).uniform(5.0, 10.0), 3)
    faults = ((0.0, Restart("z")), (at, Cut(("z",), ("a", "b"))), (at + 0.5, Restart("c")), (at + 4.0, Heal()))
    return Scenario(seed, ("a", "b", "c"), faults)


def leaves_behind_a_cut(seed: int) -> Scenario:
    """Return a cluster in which one that reaches nobody leaves, and one that others reach who miss that one."""
    faults = ((0.0, Cut(("c",), ("a", "b"))), (1.0, Leave("c")), (1.0, Leave("b")), (20.0, Heal()))
    return Scenario(seed, ("a", "b", "c"), faults)


def stands_still_alone(seed: int) -> Scenario:
    """Return a cluster in which the only member left stands still while the others begin another one."""
    rng = random.Random(seed)
    stops, wakes = round(rng.uniform(0.005, 0.02), 3), round(rng.uniform(4.5, 12.0), 2)
    begin = ((0.0, Restart("b")), (0.0, Restart("a")))
    return Scenario(18512 + seed, ("a", "b", "c"), (*begin, (stops, Pause("c")), (wakes, Wake("c"))))


def leaves_in_calm(seed: int) -> Scenario:
    """Return a cluster in which nothing is wrong, and one leaves."""
    return Scenario(seed, ("a", "b", "c"), ((8.0, Leave("c")), (20.0, Heal())))


def recurring_with(kind: type[Fault]) -> Draw:
    """Return a draw of those scenarios of `random_scenario` in which something recurs, with faults of that kind."""
    drawn = {seed: recurring(seed, names_for(seed), NEWCOMER) for seed in range(SEEDS_MAX)}
    seeds = [seed for seed, faults in drawn.items() if any(isinstance(fault, kind) for _, fault in faults)]
    return lambda seed: random_scenario(seeds[seed % len(seeds)])


FLAPS, STALLS, VISITS = (recurring_with(kind) for kind in (Cut, Pause, Leave))


BUGS = [
    Bug(
        "a grant holds for 16 s",
        ServingLeaseMachine,
        "asked_at + SERVING_TIME",
        "asked_at + 4 * SERVING_TIME",
    ),
    Bug(
        "down members are removed without agreement",
        LeaderActions.apply,
        "not state.is_converged(self_node):",
        "not (state.is_converged(self_node) or any(m.status is MemberStatus.down for m in state.ordered)):",
    ),
    Bug(
        "the time to decide is not begun anew",
        Downing.observe,
        "self._changed_at = now",
        "self._changed_at = self._changed_at if self._changes else now",
    ),
    Bug(
        "an answer lifts no accusation",
        Availability,
        "return [MarkReachable(sender), *self._plan_check(now)]",
        "return self._plan_check(now)",
    ),
    Bug(
        "an exiting member is not waited for",
        LeaderActions.apply,
        "and (member.unique in confirmed or member.unique in state.lost_to(self_node))",
        "",
    ),
    Bug(
        "a leaver does not wait for the leader",
        leaving.own_end,
        "return OwnEnd.leaving if any(_lets_go(member, lost) for member in others) else OwnEnd.finished",
        "return OwnEnd.finished",
    ),
    Bug("a removed run is let in again", admission.judge, "if joiner.unique in state.tombstones:", "if False:"),
    Bug(
        "another run of an address is no evidence",
        Availability,
        "if n.address == node.address and n != node",
        "if False",
        restart_behind_a_bridge,
    ),
    Bug("work is free at once", ServingLeaseMachine.observe, "+ TAKEOVER_AFTER", ""),
    Bug(
        "who stood still serves alone at once",
        ServingLeaseMachine,
        "(granters or asked_at >= self._alone_from)",
        "True",
        stands_still_alone,
    ),
    Bug(
        "who stood still alone asks nobody before its time",
        Topology,
        "if key == SERVING and self._split_brain.is_waiting(now) else []",
        "if False else []",
        stands_still_alone,
    ),
    # merging and receiving
    Bug(
        "the older row of an observer wins",
        reachability.merge_rows,
        "_order(row) > _order",
        "_order(row) < _order",
        partition_scenario,
    ),
    Bug(
        "numbers are given twice after a merge", Gossip.merge, "max(self.up_numbers_given", "min(self.up_numbers_given"
    ),
    Bug(
        "an older state is not answered",
        GossipReceiver,
        "return replace(outcome, effects=(SendLacking",
        "return outcome or replace(outcome, effects=(SendLacking",
    ),
    Bug("a clock keeps what it knew first", VectorClock.merge, "version > merged.get(node, 0)", "node not in merged"),
    Bug(
        "changes are not pushed",
        AntiEntropy.push,
        "state, tables, self._some(targets, len(state.members))",
        "state, tables, []",
    ),
    # who has seen what
    Bug("who has seen one of two versions has seen both", Gossip.merge, " if state.version == version)", ")"),
    Bug(
        "agreement is possible without the missing", Gossip.is_converged, "not in GOING for unique", "in () for unique"
    ),
    Bug("agreement needs nobody's word", Gossip.is_converged, "<= self.seen", "is not None"),
    # tombstones
    Bug("the removed are forgotten in ten seconds", Gossip.without_old_tombstones, "> TOMBSTONE_AGE_MAX", "> 10.0"),
    # joining, and moves of a leader
    Bug("no minimum is asked for", LeaderActions, "len(members) >= self.min_members and", ""),
    # downing
    Bug(
        "half of the time is enough",
        Downing,
        "if self.stable_after is None else",
        "/ 2 if self.stable_after is None else",
        partition_scenario,
    ),
    Bug(
        "everybody downs the others",
        SplitBrainResolver.timer,
        "leader_of(state, self.self_node) == self.self_node and self._is",
        "self._is",
        partition_scenario,
    ),
    Bug("the youngest is kept", KeepOldest.against, "min(settled", "max(settled"),
    # indirect probes
    Bug("nobody is asked about a silence", Availability, "now >= self._probed_at(node)", "False"),
    Bug("who is asked does not look", Availability, "if not {sender,", "if True or not {sender,"),
    Bug("a probe puts nothing off", Availability, " + self._probes.postponed(node)", ""),
    # the lease
    Bug("the accused get grants", ServingLeaseMachine.asked, "[] if sender in state.unreachable | accused else ", ""),
    Bug(
        "an old grant counts for a new request",
        ServingLeaseMachine,
        "answered >= sequence",
        "answered >= sequence - 3",
    ),
    Bug("the lease is asked for once", ServingLeaseMachine.ask, "StartTimer(SERVING, again), ", ""),
    # receiving
    Bug("who has seen a version is forgotten", GossipReceiver, "outcome.state.seen_by_all(seen)", "outcome.state"),
    Bug("a newer version counts as another", Gossip.relation_of, "if other_covers:", "if False:", partition_scenario),
    Bug(
        "a leader is not told who has seen it",
        receive.acknowledgements,
        "[sender, leader]",
        "[sender]",
        partition_scenario,
    ),
    # what was published, and what gossip makes of it
    Bug(
        "a version is acknowledged before it is published",
        Topology,
        "[*self._publish(is_spread=outcome.taken), *outcome.effects]",
        "[*outcome.effects, *self._publish(is_spread=outcome.taken)]",
    ),
    Bug(
        "gossip acknowledges what only its peer has",
        Dissemination,
        "effects: list[GossipEffect] = []",
        "effects = [Send(sender, GossipSeen(0, Gossip(0, version=theirs).version_digest, message.seen))]",
    ),
    Bug("who is welcomed has not seen it", Topology, "[*self._publish(), Send(", "[Send(", VISITS),
    Bug("gossip keeps to itself who has seen what", Dissemination, "[*told, *(", "[*("),
    Bug(
        "who gives itself up says nothing",
        leaving.own_sentence,
        "for node in told",
        "for node in ()",
        partition_scenario,
    ),
    # letting in
    Bug("nobody is dialled", admission.judge, "verify=member.status in _SETTLED)", "verify=False)"),
    Bug("who was replaced stays", admission.answered_at, "if found == joiner:", "if False:"),
    Bug(
        "who withdraws stays",
        Topology,
        "self.state = state.with_moved(self._node, {sender}, MemberStatus.down)",
        "pass",
        VISITS,
    ),
    # evidence and silences
    Bug("one refused dial accuses", Availability, "+ REFUSAL_GAP", "", partition_scenario),
    Bug("who is late is asked no more often", Availability, "if self._late(now) else []", "if False else []"),
    Bug("a silence is asked about once", Availability, "self._probes.ended(sender)", "pass", FLAPS),
    Bug(
        "stalls are forgiven for ever",
        LocalHealth.lost_since,
        "if stall.ended > heard",
        "if True",
        STALLS,
    ),
    Bug(
        "who stood still accuses at once",
        Availability,
        "max(at, self._health.withheld_until)",
        "at",
        STALLS,
    ),
    Bug("nobody is held", Flapping.answered, "len(returns) < FLAPS_MAX or", "True or", FLAPS),
    # leaving
    Bug("a leaver does not finish its work", leaving.OwnLeave.settle, "if not self.is_finished:", "if False:"),
    Bug(
        "a leaver waits for ever",
        leaving.OwnLeave.settle,
        "return end, [StartTimer(LEAVE, self.timeout)]",
        "return end, []",
        leaves_behind_a_cut,
    ),
    Bug("a leaver waits for the lost", leaving, " and member.unique not in lost", "", leaves_behind_a_cut),
    Bug("a leaver says nothing", leaving.last_words, "leaders[:CONFIRMED_LEADERS]", "leaders[:0]", leaves_in_calm),
    # the registry
    Bug(
        "services are not pushed",
        AntiEntropy.push_table,
        "for message in messages for node in chosen",
        "for message in messages for node in ()",
    ),
]


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_bug_in_a_line_is_found(bug: Bug) -> None:
    seed, text = found_at(bug)
    assert seed >= 0, f"no rule was broken in {SEEDS_MAX} scenarios"
    assert text
    play(bug.draw(seed))  # without the bug it holds


if __name__ == "__main__":
    report(BUGS, sys.argv[1:])
