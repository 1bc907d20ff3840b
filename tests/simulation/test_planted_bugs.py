"""Known bugs, planted one at a time: each is found from a seed, so the rules have teeth.

Each is one line that a hand may slip on, and was in some cluster once. The seeds at which they are
found are printed by ``python tests/simulation/test_planted_bugs.py``.

Some lines are not here because nothing follows where one of them is wrong: others stand behind it. That a leader
waits until its whole side knows of an accusation, that nobody grants the serving lease to who is accused, that
an old grant is none for a later request, and the margin before work is taken over, each hold in these scenarios
without the rule; what the rule promises is in the unit tests of its machine.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from typing import Any
from zlib import crc32

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.errors import DecodeError
from casty.protocol.failure_detector import monitor as availability
from casty.protocol.failure_detector.monitor import Availability, MarkUnreachable
from casty.protocol.gossip import receive as exchange
from casty.protocol.membership import view
from casty.protocol.membership.view import View
from casty.protocol.split_brain import downing
from casty.protocol.split_brain.strategies import KeepMajority, Partition, Votes
from casty.protocol.state import membership_state as gossip
from casty.protocol.state.leader import LeaderActions, leader_without
from casty.protocol.state.member import VOTING, Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.slots import Slot, SlotPart
from casty.testing.simulation import (
    Crash,
    Cut,
    Delay,
    Fault,
    Heal,
    InvariantBroken,
    Restart,
    Scenario,
    partition_scenario,
    play,
    random_scenario,
)
from casty.testing.simulation.model import model
from casty.testing.simulation.search.searching import Draw

SEEDS_MAX = 200
"""All are found at one of the first forty."""

Plant = Callable[[pytest.MonkeyPatch], None]


def alive_beats_dead(patch: pytest.MonkeyPatch) -> None:
    """Of two copies of a member the one that is less far along wins."""

    def furthest(one: Member, other: Member) -> Member:
        return min(one, other, key=lambda member: member.status.rank)

    patch.setattr(gossip, "furthest", furthest)


def registry_is_a_union(patch: pytest.MonkeyPatch) -> None:
    """A deregistration does not travel: copies are only added up."""
    taking = Slot.taking

    def union(slot: Slot[object], page: SlotPart, changes: Iterable[tuple[int, object, bool]]) -> Slot[object]:
        return taking(slot, page, [change for change in changes if change[-1]])

    patch.setattr(Slot, "taking", union)


def up_number_is_reused(patch: pytest.MonkeyPatch) -> None:
    """The next number is that of those who are there, not of all who ever were."""
    moves = LeaderActions._moves

    def counting(
        actions: LeaderActions,
        state: Gossip,
        self_node: UniqueAddress,
        heard: Collection[UniqueAddress] | None,
        *,
        leads: bool,
        may_begin: bool,
    ) -> list[Member]:
        present = sum(member.status in VOTING for member in state.ordered)
        state = replace(state, up_numbers_given=present)
        return moves(actions, state, self_node, heard, leads=leads, may_begin=may_begin)

    patch.setattr(LeaderActions, "_moves", counting)


def outage_is_learned(patch: pytest.MonkeyPatch) -> None:
    """The time in which a node was cut off counts as one of its intervals."""
    patch.setattr(availability, "LEARNED_INTERVALS_MAX", 10_000)
    patch.setattr(availability, "CROSSING_AFTER_PAUSE_MAX", 10_000.0)


def restart_keeps_the_incarnation(patch: pytest.MonkeyPatch) -> None:
    """A node that starts again says that it is the run before."""

    def member(address: NodeAddress, *values: Any, incarnation: int, **further: Any) -> Member:
        return Member(address, *values, incarnation=crc32(address.host.encode()), **further)

    patch.setattr(model, "Member", member)


def tombstones_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """Whoever was removed comes back with the next state of somebody who did not hear of it."""
    merge = Gossip.merge

    def forgetful(mine: Gossip, other: Gossip) -> Gossip:
        return replace(merge(replace(mine, tombstones={}), replace(other, tombstones={})), tombstones={})

    patch.setattr(Gossip, "merge", forgetful)


def joining_counts_on_the_own_side(patch: pytest.MonkeyPatch) -> None:
    """A majority is sought with the help of those who are not up yet."""
    counted = Partition.votes

    def generous(partition: Partition, role: str | None = None) -> tuple[Votes, Votes]:
        joining = tuple(m for m in partition.reachable if m.status is MemberStatus.joining)
        known, worst = counted(partition, role)
        return replace(known, mine=known.mine + joining), replace(worst, mine=worst.mine + joining)

    patch.setattr(Partition, "votes", generous)


def majority_of_the_reachable(patch: pytest.MonkeyPatch) -> None:
    """More than half of those who can be reached: always so."""

    def against(_: KeepMajority, partition: Partition) -> str:
        return "" if partition.reachable else "nobody is here"

    patch.setattr(KeepMajority, "against", against)


def both_halves_go_on(patch: pytest.MonkeyPatch) -> None:
    """Half of the voters are taken for a majority."""

    def against(strategy: KeepMajority, partition: Partition) -> str:
        less = any(len(votes.mine) < len(votes.theirs) for votes in partition.votes(strategy.role))
        return "too few" if less else ""

    patch.setattr(KeepMajority, "against", against)


def receiving_makes_a_version(patch: pytest.MonkeyPatch) -> None:
    """A newer state that is taken is changed by that, and is newer once more."""
    take = exchange.GossipReceiver._take

    def counting(rules: exchange.GossipReceiver, *arguments: object) -> exchange.Outcome:
        outcome = take(rules, *arguments)
        if not outcome.taken or rules.self_node not in outcome.state.members:
            return outcome
        return replace(outcome, state=outcome.state.changed(rules.self_node))

    patch.setattr(exchange.GossipReceiver, "_take", counting)


def seen_is_kept_over_a_change(patch: pytest.MonkeyPatch) -> None:
    """Who has seen the last version is taken to have seen the new one."""
    changed = Gossip.changed

    def hasty(state: Gossip, by: UniqueAddress, **updates: object) -> Gossip:
        return replace(changed(state, by, **updates), seen=state.seen | {by})

    patch.setattr(Gossip, "changed", hasty)


def worst_case_is_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A side counts what it knows, and not that members of the other side may have come up meanwhile."""
    counted = Partition.votes
    patch.setattr(Partition, "votes", lambda partition, role=None: 2 * counted(partition, role)[:1])


def verdict_counts_at_once(patch: pytest.MonkeyPatch) -> None:
    """Who is down is out of the count before anybody else knows of it."""
    patch.setattr(downing, "still_counting", lambda *_: ())


def silent_ones_are_accused_one_by_one(patch: pytest.MonkeyPatch) -> None:
    """Of two that are lost at one time the second is reachable for an instant, as its accuser is lost first."""
    accuse = availability.Availability._accuse

    def singly(
        machine: Availability, nodes: Sequence[UniqueAddress], now: float
    ) -> list[availability.AvailabilityEffect]:
        effects = [effect for node in nodes for effect in accuse(machine, [node], now)]
        return [replace(effect, suspected=()) if isinstance(effect, MarkUnreachable) else effect for effect in effects]

    patch.setattr(Availability, "_accuse", singly)


def overdue_answers_do_not_matter(patch: pytest.MonkeyPatch) -> None:
    """A member is reachable again as soon as nobody whom this node hears accuses it."""
    patch.setattr(View, "doubt", lambda *_: None)


def unreachable_member_is_shown_as_leader(patch: pytest.MonkeyPatch) -> None:
    """A snapshot names the first member by address, reachable or not."""
    patch.setattr(view, "leader_without", lambda state, _: leader_without(state, ()))


def outages(seed: int) -> Scenario:
    """Return a cluster in which one node is cut off again and again, each time for too short to be downed."""
    rng = random.Random(seed)
    faults: list[tuple[float, Fault]] = []
    at = 0.0
    for _ in range(rng.randint(2, 5)):
        faults.append((at, Cut(("a",), ("b", "c"))))
        at = round(at + rng.uniform(8.0, 11.0), 3)
        faults.append((at, Heal()))
        at = round(at + rng.uniform(1.0, 5.0), 3)
    at = round(at + 30.0, 3)
    return Scenario(seed, ("a", "b", "c"), (*faults, (at - 30.0, Cut(("a",), ("b", "c"))), (at, Heal())))


def two_come_up(seed: int) -> Scenario:
    """Return a cluster that is cut about when two that have joined come up, on the side of the leader."""
    at = round(random.Random(seed).uniform(0.0, 0.8), 3)
    joined = (0.0, Restart("y")), (0.0, Restart("z"))
    faults = ((0.0, Delay(0.0, jitter=0.1)), *joined, (at, Cut(("a", "y", "z"), ("b", "c"))), (40.0, Heal()))
    return Scenario(seed, ("a", "b", "c"), faults)


def met_again(seed: int) -> Scenario:
    """Return a cluster of which two are cut off, and met again by one of the rest shortly before they are downed."""
    rng = random.Random(seed)
    names = rng.sample("abcde", 5)
    lost, kept = tuple(names[:2]), tuple(names[2:])
    at = round(rng.uniform(7.0, 12.0), 3)
    moved = (at, Cut((*lost, kept[0]), kept[1:]))
    return Scenario(seed, tuple(sorted(names)), ((0.0, Cut(lost, kept)), (at, Heal()), moved, (at + 30.0, Heal())))


def mute_and_crash(seed: int) -> Scenario:
    """Return a cluster in which one node is heard by nobody, so that none answers it, and soon another one ends."""
    rng = random.Random(seed)
    names = rng.sample("abcde", 5)
    cut = Cut((names[0],), tuple(sorted(names[1:])), one_way=True)
    at = round(rng.uniform(0.0, 4.0), 3)
    return Scenario(seed, tuple(sorted(names)), ((0.0, cut), (at, Crash(names[1])), (30.0, Heal())))


def three_nodes(seed: int) -> Scenario:
    return random_scenario(seed, ("a", "b", "c"))


def four_nodes_cut(seed: int) -> Scenario:
    return partition_scenario(seed, ("a", "b", "c", "d"))


BUGS: list[tuple[Plant, Draw]] = [
    (alive_beats_dead, random_scenario),
    (registry_is_a_union, random_scenario),
    (up_number_is_reused, random_scenario),
    (outage_is_learned, outages),
    (restart_keeps_the_incarnation, random_scenario),
    (tombstones_are_ignored, three_nodes),
    (silent_ones_are_accused_one_by_one, random_scenario),
    (overdue_answers_do_not_matter, mute_and_crash),
    (unreachable_member_is_shown_as_leader, three_nodes),
    (joining_counts_on_the_own_side, partition_scenario),
    (majority_of_the_reachable, partition_scenario),
    (both_halves_go_on, four_nodes_cut),
    (receiving_makes_a_version, three_nodes),
    (seen_is_kept_over_a_change, partition_scenario),
    (verdict_counts_at_once, met_again),
    (worst_case_is_not_counted, two_come_up),
]


def found_at(plant: Plant, draw: Draw) -> tuple[int, str]:
    """Return the first seed whose scenario breaks a rule with the bug, and what it says; -1 for none."""
    with pytest.MonkeyPatch.context() as patch:
        plant(patch)
        for seed in range(SEEDS_MAX):
            try:
                play(draw(seed))
            except (InvariantBroken, DecodeError) as broken:  # the second: a node says what none can
                return seed, str(broken)
    return -1, ""


@pytest.mark.parametrize(("plant", "draw"), BUGS, ids=[plant.__name__ for plant, _ in BUGS])
def test_planted_bug_is_found(plant: Plant, draw: Draw) -> None:
    seed, text = found_at(plant, draw)
    assert seed >= 0, f"no rule was broken in {SEEDS_MAX} scenarios"
    assert text
    play(draw(seed))  # without the bug it holds


if __name__ == "__main__":
    for bug in BUGS:
        began = time.process_time()
        seed, text = found_at(*bug)
        print(f"{bug[0].__name__:34} seed {seed:3} {time.process_time() - began:6.1f} s  {text[:90]}", flush=True)  # noqa: T201  # a program, too
