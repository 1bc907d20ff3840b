"""Lines of placement with a bug in each: a rule is broken at one of the first seeds, or in a directed schedule.

The seeds at which they are found are printed by ``python tests/simulation/test_planted_placement.py``. A line that is
not in its function any more fails its test: plant the bug in what stands there now.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import pytest
import test_placement_drains as drains
import test_placement_forged as forged
import test_placement_schedules as schedules
from placement_senders import Senders
from placement_stub import play_calm, play_fate
from planting import plant

from casty.protocol.messages.shard_rows import Opening, Term
from casty.protocol.sharding.entities.entity_table import EntityTable
from casty.protocol.sharding.machine import ShardPlacement
from casty.protocol.sharding.members import PlacementView
from casty.protocol.sharding.shard_coordinator import ShardCoordinator
from casty.protocol.sharding.shard_region import ShardRegion
from casty.protocol.sharding.shard_routes import ShardRoutes
from casty.protocol.sharding.shard_rows_writer import ShardRowsWriter
from casty.protocol.sharding.shard_table import ShardTable
from casty.testing.simulation import InvariantBroken

SEEDS_MAX = 60


@dataclass(frozen=True)
class Planted:
    """Lines that others take the place of; a ``schedule`` finds them, or else the runs of `placement_stub`."""

    name: str
    place: object
    line: str
    instead: str
    schedule: Callable[[], None] | None = None
    more: tuple[tuple[object, str, str], ...] = ()
    is_calm: bool = False
    """Whether it shows without faults too."""

    def __str__(self) -> str:
        return self.name.replace(" ", "_")


C, R, V, W, T, M, E, Q, S = (
    ShardCoordinator,
    ShardRegion,
    PlacementView,
    ShardRowsWriter,
    ShardTable,
    ShardPlacement,
    EntityTable,
    ShardRoutes,
    schedules,
)

BUGS = [
    Planted(
        "removed runs that may serve are not waited for",
        C,
        "not serves_still",
        "True",
        S.test_a_coordinator_waits_for_a_removed_run_that_may_still_serve_though_the_one_before_has_retired,
        more=((vars(C)["_enlist_more"], "more.update(answer.named)", "pass"),),
    ),
    Planted(
        "removed counts as free",
        V,
        "self._removed.get(run, math.inf) <= now",
        "run in self._removed",
        S.test_a_coordinator_waits_for_a_removed_run_that_may_still_serve_though_the_one_before_has_retired,
        more=((V, "if at > now}", "if False}"),),
    ),
    Planted(
        "rows are freed at removal",
        W,
        "if self.view.is_gone(run, now)]:",
        "if run not in self.view.members]:",
        S.test_the_shards_of_a_run_removed_at_once_wait_until_its_work_is_free,
    ),
    Planted(
        "down counts as free",
        V,
        "return run not in self.members and self._removed.get(run, math.inf) <= now",
        "return not self.is_heard(run)",
    ),
    Planted(
        "a down run is not waited for",
        C,
        "not self.view.is_gone(run, now)}",
        "self.view.is_heard(run)}",
        S.test_a_down_member_that_may_serve_is_waited_for,
    ),
    Planted(
        "joining and leaving members are not asked",
        vars(C)["_begin"],
        "set(self.view.all_placing)",
        "{run for run in self.view.all_placing if self.view.members[run].status.name == 'up'}",
        S.test_a_leaving_member_that_holds_a_shard_is_asked,
        more=((vars(C)["_enlist_more"], "more -= phase.asked", "more.clear()"),),
    ),
    Planted(
        "a majority is enough",
        C,
        "not self._waiting(phase, now) and",
        "2 * len(phase.answers) > len(self.view.members) and",
        S.test_a_new_coordinator_waits_for_the_word_of_every_member_and_not_of_a_majority,
    ),
    Planted(
        "tables of lower terms are taken",
        R,
        "if not self.promise.admits(news.term):",
        "if False:",
        S.test_a_table_of_a_lower_term_that_comes_late_opens_nothing,
        more=((vars(R)["settle"], "if table is None or table.term != self.promise:", "if table is None:"),),
    ),
    Planted(
        "rows below the promise are obeyed",
        R,
        "if table is None or table.term != self.promise:",
        "if table is None:",
        S.test_an_order_kept_while_the_lease_was_lost_is_void_once_another_term_is_promised,
    ),
    Planted(
        "an owner is chosen without a word of the last one",
        W,
        "table.put(shard, Moving(row.owner, row.epoch, mark, target))",
        "table.put(shard, Opening(target, mark))",
    ),
    Planted(
        "an epoch is opened again",
        R,
        "epoch <= self.last.get(slot, -1) or ",
        "",
        S.test_a_region_that_starts_again_while_its_shards_stop_remembers_its_last_epoch,
    ),
    Planted(
        "closing shards are not reported",
        R,
        "in sorted(self.held.items()))\n    self._answer",
        "in sorted(self.held.items()) if one.move is None)\n    self._answer",
        S.test_a_closing_shard_is_reported_to_the_next_coordinator,
    ),
    Planted(
        "a shard is opened without the lease",
        R,
        "if now >= self.serves_until:",
        "if False:",
        S.test_an_order_kept_while_the_lease_was_lost_is_void_once_another_term_is_promised,
    ),
    Planted(
        "a region that is not there is silent",
        R,
        "return (), Yielded\n    if now",
        "return (), None\n    if now",
    ),
    Planted("a leaving node opens", R, " or not self.view.is_up:", ":"),
    Planted(
        "a yielded epoch is opened later",
        R,
        "self.last[slot] = max(epoch, self.last.get(slot, -1))\n        return (), Yielded\n    if now",
        "return (), Yielded\n    if now",
        S.test_what_was_yielded_is_never_opened_under_the_same_epoch,
    ),
    Planted(
        "members are ordered by number alone",
        V,
        "by_age(member) < age)",
        "member.up_number < own.up_number)",
        S.test_of_two_coordinators_with_one_number_the_older_hears_of_whom_the_younger_has_named,
    ),
    Planted(
        "who comes during the enlisting is not asked",
        C,
        "more = set(self.view.all_placing)",
        "more = set[UniqueAddress]()",
        S.test_whom_a_coordinator_has_named_is_asked_though_it_ends_without_an_answer,
    ),
    Planted(
        "only members known at the begin are asked",
        C,
        "more -= phase.asked",
        "more.clear()",
        S.test_of_two_coordinators_with_one_number_the_older_hears_of_whom_the_younger_has_named,
    ),
    Planted(
        "a late Retired counts",
        C,
        "if word.term >= self._enlists.get(sender, NO_TERM):",
        "if True:",
        S.test_a_retired_that_comes_late_does_not_undo_a_later_term,
    ),
    Planted("shards move while somebody is missing", W, "if rebalances and self.view.is_calm:", "if rebalances:"),
    Planted("a slice with a gap is taken", T, "if news.after > (0 if is_whole else self.version):", "if False:"),
    Planted(
        "markers are not awaited", R, "if not awaited or now >= one.flushed_at else ()", "if True else ()", is_calm=True
    ),
    Planted(
        "markers do not travel behind messages",
        vars(Senders)["mark"],
        "self._travel(sender, to, partial(self.world.tell, to, came))",
        "self.world.later(0.001, partial(self.world.tell, to, came))",
        is_calm=True,
    ),
    Planted(
        "an owner is sent to when it is to open",
        Q,
        "if isinstance(row, Owned):",
        "if row is not None and not hasattr(row, 'move'):",
        is_calm=True,
    ),
    Planted(
        "messages are not held back in a move",
        Q,
        "if isinstance(row, Owned):",
        "if row is not None and (isinstance(row, Owned) or hasattr(row, 'move')):",
        is_calm=True,
    ),
    Planted(
        "a change of the way names the newest rows",
        R,
        "ShardTableChanged(table, changed)",
        "ShardTableChanged(table)",
        is_calm=True,
    ),
    Planted(
        "held messages leave in another order",
        Q,
        "one = self.held[shard][0]",
        "one = self.held[shard][-1]",
        is_calm=True,
    ),
    Planted(
        "a route is opened before all that is held has gone",
        Q,
        "elif shard not in self.held:",
        "elif self.releasing.pop(shard, None) or True:",
        is_calm=True,
        more=((vars(Senders)["_keeps_bounds"], "if routes.held:", "if False:"),),
    ),
    Planted(
        "a route is opened when the first of those held has gone",
        Q,
        "self.releasing[shard].has_begun = True",
        "self.routes[shard] = self.releasing[shard].to, self.releasing[shard].epoch",
        is_calm=True,
        more=((vars(Senders)["_keeps_bounds"], "if routes.held:", "if False:"),),
    ),
    Planted("held messages outlive their deadline", Q, "while self.deadlines and (", "while False and ("),
    Planted("what came during a passivation is forgotten", E, "elif cell.waiting:", "elif False:", is_calm=True),
    Planted(
        "what an entity has left comes behind what came later",
        E,
        "deque([*event.left, *(cell.waiting or ())])",
        "deque([*(cell.waiting or ()), *event.left])",
        is_calm=True,
    ),
    Planted(
        "an entity starts again before it has ended",
        vars(E)["_stop"],
        "cell.phase = EntityPhase.stopping",
        "cell.phase, self._queue[cell.entity_id] = EntityPhase.queued, None",
        is_calm=True,
    ),
    Planted(
        "a failed entity does not start again",
        E,
        "or self._is_kept(cell):\n        self._enqueue(cell)",
        "or self._is_kept(cell):\n        pass",
        is_calm=True,
    ),
    Planted(
        "a shard is closed before its entities have ended",
        E,
        'heapq.heappush(self._agenda, (shard.closes_by, "", number))',
        "yield ShardClosed(self.key, number, epoch)",
    ),
    Planted(
        "messages are handled without the lease",
        vars(Senders)["_done"],
        "if not self.world.nodes[activation.node].serves:",
        "if False:",
        S.test_a_message_in_hand_is_not_acknowledged_by_a_run_that_wakes_without_its_lease,
    ),
    Planted(
        "suspension loses the message in hand",
        vars(Senders)["_done"],
        "self.world.later(LOOK_AGAIN, partial(self._later, activation.node, partial(self._done, activation)))",
        "activation.mailbox.popleft(); activation.is_busy = False",
        S.test_a_message_in_hand_waits_for_the_lease,
    ),
    Planted(
        "the last epoch dies with the region",
        R,
        "self.regions.discard(key)",
        "self.regions.discard(key); self.last = {s: e for s, e in self.last.items() if s[0] != key}",
        S.test_a_region_that_starts_again_while_its_shards_stop_remembers_its_last_epoch,
    ),
    Planted(
        "a coordinator writes without the lease",
        vars(C)["_may_write"],
        "return isinstance(self.phase, Leading) and now < self.region.serves_until",
        "return isinstance(self.phase, Leading)",
        S.test_a_coordinator_without_the_lease_writes_nothing,
    ),
    Planted(
        "rows name addresses",
        R,
        "row.owner == own):",
        "row.owner.address == own.address):",
        S.test_rows_name_runs_and_not_addresses,
        more=(
            (
                vars(R)["_look"],
                "row.owner != self.view.self_node or (one",
                "row.owner.address != self.view.self_node.address or (one",
            ),
        ),
    ),
    Planted(
        "refusals are silent",
        R,
        "return TermRefused(request.term, self.promise)",
        "return TermRefused(request.term, request.term)",
        S.test_a_coordinator_begins_again_above_a_promise_that_it_had_not_heard_of,
    ),
    Planted(
        "an equal number of another run is accepted",
        Term,
        "return other == self or other.number > self.number",
        "return other.number >= self.number",
        S.test_no_two_coordinators_lead_under_one_number,
    ),
    Planted(
        "a coordinator writes after its Retired",
        vars(C)["_may_write"],
        "isinstance(self.phase, Leading)",
        "isinstance(self.phase, Leading | HasRetired)",
    ),
    Planted(
        "the promise dies with the region",
        R,
        "self.regions.discard(key)",
        "self.regions.discard(key); self.promise = NO_TERM",
        S.test_a_promise_outlives_the_region_after_it,
    ),
    Planted(
        "a number is that of the age and the own promise alone",
        C,
        "max(self.region.highest + 1, number_of_age(own.up_number))",
        "max(self.region.promise.number + 1, number_of_age(own.up_number))",
        S.test_a_coordinator_begins_again_above_a_promise_that_it_had_not_heard_of,
    ),
    Planted(
        "a newcomer knows no number but those of letters",
        M,
        "self.region.heard(state.terms_given)",
        "pass",
        S.test_a_newcomer_knows_every_number_of_a_term_though_all_who_gave_or_promised_it_are_gone,
    ),
    Planted(
        "a coordinator leads before its number is known",
        C,
        "return is_complete and is_given and",
        "return is_complete and",
        S.test_a_coordinator_leads_only_when_the_membership_has_its_number,
    ),
    Planted(
        "who has promised another term goes on writing",
        C,
        "if self.region.promise != phase.term or not self._is_member:",
        "if not self._is_member:",
        S.test_who_has_promised_another_term_writes_no_more,
    ),
    Planted(
        "older members are not waited for",
        C,
        "if not all(member.unique in self._retired for member in self.view.older):",
        "if False:",
        S.test_younger_members_leave_a_living_coordinator_alone,
    ),
    Planted(
        "a Retired counts for ever",
        C,
        "if sender in self._retired and self._retired[sender] < request.term:",
        "if False:",
        S.test_a_run_that_begins_again_after_its_retired_is_left_alone,
    ),
    Planted(
        "messages of removed runs count",
        M,
        "if self.view.is_heard(sender) else ()",
        "if True else ()",
        S.test_a_removed_run_that_wakes_takes_no_term_from_its_successor,
    ),
    Planted(
        "a moving shard is reported as open",
        R,
        "HeldShard(key, shard, one.epoch, one.move)",
        "HeldShard(key, shard, one.epoch, None)",
        S.test_a_closing_shard_is_reported_to_the_next_coordinator,
    ),
    Planted(
        "a table is taken from anybody",
        M,
        "if news.term.incarnation != sender.incarnation:",
        "if False:",
        partial(forged.test_orders_of_a_member_that_is_not_the_coordinator_are_obeyed_by_nobody, Opening),
    ),
    Planted(
        "a term is promised to anybody",
        C,
        "return all(isinstance(self.phase, HasRetired) if one == own else one in self._retired for one in elders)",
        "return True",
        forged.test_nobody_promises_a_term_to_a_member_with_an_older_one_beside_it,
    ),
    Planted(
        "who was asked too early never answers",
        vars(C)["retired"],
        "return self.answer()",
        "return ()",
        forged.test_a_member_that_is_asked_before_it_knows_the_asker_as_the_oldest_answers_when_it_does,
        more=(
            (
                M,
                "[*self.coordinator.answer(), *self.coordinator.welcome(newcomers)]",
                "self.coordinator.welcome(newcomers)",
            ),
        ),
    ),
    Planted(
        "runs that never were are waited for",
        C,
        "asked = phase.asked - strangers",
        "asked = phase.asked",
        forged.test_a_run_that_never_was_is_not_waited_for_for_long,
    ),
    Planted(
        "a run that never was holds shards",
        R,
        "if not all(map(self.view.knows, _runs_in(news))):",
        "if False:",
        S.test_a_table_with_a_run_that_never_was_is_not_taken_though_the_coordinator_says_so,
    ),
    Planted(
        "every refusal makes a new term at once",
        C,
        "self._pause = min(2 * self._pause, AGAIN_AFTER_MAX) if is_again else AGAIN_AFTER",
        "pass",
        forged.test_refusals_without_end_use_up_few_numbers_and_leave_time_to_place,
    ),
    Planted(
        "the newest report says how many shards there are",
        W,
        "_newest_of(told[key], own.get(key))",
        "_newest_of({n: t for n, t in told[key].items() if n == max(told[key])}, None)",
        forged.test_a_report_of_a_table_with_another_number_of_shards_counts_for_nothing,
    ),
    Planted(
        "a table with another number of shards is passed over in silence",
        R,
        "if known is not None and known.num_shards != news.num_shards:",
        "if False:",
        forged.test_a_refused_table_is_counted_and_told_of_once,
    ),
    Planted("messages are sent to owners out of reach", Q, "way[0] not in self._in_reach", "False"),
    Planted(
        "what is held stays held when its owner is back", Q, "for shard in self._owned:", "for shard in [*self.routes]:"
    ),
    Planted("messages given back go behind later ones", vars(Q)["_hold_before"], "insert(place, ", "append("),
    Planted("a drained node is given shards", V, "if run not in self.drained]", "]"),
    Planted(
        "a drained node keeps its shards", W, "if self._hands_over(table.key, run)]", "if self.view.is_leaving(run)]"
    ),
    Planted("an undrained node stays empty", V, "if run not in self.drained]", "if not self.drained]"),
    Planted(
        "nobody has the shards when all are drained",
        V,
        " or able",
        "",
        drains.test_a_drained_node_takes_what_nobody_else_can_and_gives_it_up_to_the_next_one,
    ),
]


def found_at(bug: Planted) -> tuple[int, str]:
    """Return the first seed that finds the bug, 0 for a schedule, and what it says; -1 for none."""
    with pytest.MonkeyPatch.context() as patch:
        for place, line, instead in ((bug.place, bug.line, bug.instead), *bug.more):
            plant(patch, place, line, instead)
        for seed in range(SEEDS_MAX if bug.schedule is None else 1):
            try:
                (play_calm if bug.is_calm else play_fate)(seed) if bug.schedule is None else bug.schedule()
            except (InvariantBroken, AssertionError) as broken:
                return seed, str(broken)
    return -1, ""


@pytest.mark.parametrize("bug", BUGS, ids=str)
def test_a_planted_bug_is_found(bug: Planted) -> None:
    assert found_at(bug)[0] >= 0


def report(names: Sequence[str]) -> None:
    """Print at which seed each bug is found, or each whose name has one of ``names`` in it."""
    for bug in [bug for bug in BUGS if not names or any(name in bug.name for name in names)]:
        began = time.process_time()
        seed, text = found_at(bug)
        print(f"{bug.name:52} seed {seed:3} {time.process_time() - began:6.1f} s  {text[:90]}", flush=True)  # noqa: T201  # a program, too


if __name__ == "__main__":
    report(sys.argv[1:])
