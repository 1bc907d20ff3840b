"""Schedules of placement that chance hits rarely, each letter by letter."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
from placement_by_hand import FREE_AFTER, ByHand, Letter, run_of

from casty.protocol.messages.shard_rows import Owned, Term
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    Opened,
    Retired,
    TableDigest,
    TableSlice,
    TermRefused,
    Yielded,
)
from casty.protocol.sharding.placement_events import (
    EnlistBlocked,
    HostsSeen,
    PlacementCame,
    RegionEnded,
    RegionStarted,
    ServesUntil,
)
from casty.protocol.sharding.shard_coordinator import ShardCoordinator
from casty.protocol.state.member import MemberStatus

UP, LEAVING, EXITING, DOWN, JOINING = (
    MemberStatus.up,
    MemberStatus.leaving,
    MemberStatus.exiting,
    MemberStatus.down,
    MemberStatus.joining,
)


KEY = "carts"


@contextmanager
def promising_to_all() -> Iterator[None]:
    """Let all nodes promise a term to whoever asks: a rule behind that one has to hold by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ShardCoordinator, "may_lead", lambda self, run: True)
        yield


def between(one: str, other: str) -> Callable[[Letter], bool]:
    """Return whether a letter goes between these nodes, in any direction."""
    pairs = {(a, b) for a in one for b in other} | {(b, a) for a in one for b in other}
    return lambda letter: (letter.sender, letter.to.address.host) in pairs


def show_all(world: ByHand, at: str, members: dict[str, MemberStatus] | None = None, **changes: Any) -> None:
    for name in at:
        if world.nodes[name].alive:
            world.show(name, members, **changes)


def join(world: ByHand, newcomer: str, number: int, others: str) -> None:
    """Let a node join and be up, in the eyes of all."""
    world.start(newcomer)
    state = world.nodes[others[0]].state
    statuses = {member.id: member.status for member in state.ordered} | {newcomer: JOINING}
    numbers = {member.id: member.up_number for member in state.ordered}
    show_all(world, newcomer + others, statuses, numbers=numbers)
    world.pass_time(0.1)
    show_all(world, newcomer + others, {newcomer: UP}, numbers={newcomer: number})


def host(world: ByHand, hosts: str, at: str) -> None:
    for name in at:
        world.tell(name, HostsSeen(KEY, world.num_shards, frozenset(map(run_of, hosts))))


def remove(world: ByHand, gone: str, at: str, **changes: Any) -> None:
    """Let dead nodes be accused, down and removed, in the eyes of those that stay."""
    show_all(world, at, unreachable=gone)
    world.pass_time(7.0)
    show_all(world, at, dict.fromkeys(gone, DOWN))
    world.pass_time(0.2)
    show_all(world, at, removed=gone, **changes)


def finish(world: ByHand) -> None:
    """Let everything come to rest, and hold the rules of a cluster at rest."""
    world.hold = world.lose = lambda letter: False
    world.release()
    world.pass_time(40.0)
    world.rules.settled({KEY: world.num_shards})
    world.rules.rows_are_true()


def test_a_new_coordinator_waits_for_the_word_of_every_member_and_not_of_a_majority() -> None:
    world = ByHand(num_shards=4)
    world.lose = lambda letter: letter.to == run_of("c") and isinstance(letter.message, TableSlice)
    world.form("abcd", hosts="abd")
    mine = world.nodes["d"].open
    assert mine
    join(world, "e", 5, "abcd")
    host(world, "abde", "abcde")
    world.crash("a")
    world.crash("b")
    world.hold = between("c", "d")
    remove(world, "ab", "cde")
    world.pass_time(20.0)
    assert world.nodes["c"].enlists
    assert [one for one in world.nodes["c"].events if isinstance(one, EnlistBlocked)] == [EnlistBlocked((run_of("d"),))]
    assert world.nodes["d"].open == mine
    assert not world.nodes["e"].open
    world.hold = lambda letter: False
    world.release()
    world.lose = lambda letter: False
    world.pass_time(1.0)
    assert world.nodes["c"].leads
    assert all(world.owned_row("e", shard) == "d" for shard in mine)
    finish(world)


def test_a_coordinator_waits_for_a_removed_run_that_may_still_serve_though_the_one_before_has_retired() -> None:
    world = ByHand(num_shards=3)
    world.form("abx")
    [shard] = world.nodes["x"].open
    world.lose = between("x", "ab")  # cut off: nobody hears it, nothing reaches it
    show_all(world, "abx", {"x": EXITING})
    world.tell("x", ServesUntil(world.now + 4.0))  # the last grants that it has
    show_all(world, "ab", {"a": LEAVING})
    show_all(world, "ab", removed="x")
    world.pass_time(3.5)
    assert world.nodes["a"].has_retired
    assert world.nodes["x"].open == {shard}
    assert not world.nodes["b"].leads
    world.pass_time(10.0)
    show_all(world, "b", removed="a", is_free=True)
    world.crash("x")
    finish(world)
    assert world.nodes["b"].open == {0, 1, 2}


def test_the_shards_of_a_run_removed_at_once_wait_until_its_work_is_free() -> None:
    world = ByHand(num_shards=3)
    world.form("abx")
    [shard] = world.nodes["x"].open
    world.lose = between("x", "ab")
    show_all(world, "abx", {"x": EXITING})
    world.tell("x", ServesUntil(world.now + 4.0))
    show_all(world, "ab", removed="x")
    world.pass_time(FREE_AFTER - 0.1)
    assert shard not in world.nodes["a"].open | world.nodes["b"].open
    world.pass_time(0.3)
    assert shard in world.nodes["a"].open | world.nodes["b"].open
    world.crash("x")
    finish(world)


def begun_beside_another() -> ByHand:
    """Return a world in which c, unheard, names z after b has begun a higher term and asked all it knew.

    b comes up with the number of c, and is older by its address. z joins then; b, a voter, sees it before it is up.
    """
    world = ByHand(num_shards=3)
    for name in "bcd":
        world.start(name)
    for name in "bcd":
        seen = {"b": JOINING, "c": UP, "d": UP}
        world.show(name, seen, {"c": 4, "d": 5})
    host(world, "cd", "bcd")
    world.pass_time(3.0)
    assert world.nodes["c"].leads
    world.hold = between("bd", "c")
    world.show("b", {"b": UP}, {"b": 4})
    assert world.nodes["b"].enlists
    world.start("z")
    world.hold = lambda letter: between("bd", "c")(letter) or between("b", "z")(letter)
    world.show("b", {"z": JOINING})
    world.show("d", {"b": UP, "z": UP}, {"b": 4, "z": 6})
    world.show("z", {"b": JOINING, "c": UP, "d": UP, "z": UP}, {"c": 4, "d": 5, "z": 6})
    world.show("c", {"z": UP}, {"z": 6})
    host(world, "cdz", "bcdz")
    world.tell("c", RegionEnded(KEY))
    host(world, "z", "bcdz")
    world.pass_time(3.0)
    assert world.nodes["z"].open  # by the order of c
    world.show("b", {"z": UP}, {"z": 6})
    for name in "cz":
        world.show(name, {"b": UP}, {"b": 4})
    host(world, "bdz", "bcdz")
    return world


def test_of_two_coordinators_with_one_number_the_older_hears_of_whom_the_younger_has_named() -> None:
    world = begun_beside_another()
    world.hold = between("b", "z")
    world.release(between("b", "c"))
    world.pass_time(3.0)
    assert not world.nodes["b"].leads
    finish(world)
    assert world.nodes["b"].leads
    assert not world.nodes["c"].leads


def test_whom_a_coordinator_has_named_is_asked_though_it_ends_without_an_answer() -> None:
    world = begun_beside_another()
    world.crash("c")
    world.late.clear()
    world.hold = between("b", "z")
    remove(world, "c", "bdz")
    world.pass_time(8.0)
    assert not world.nodes["b"].leads
    finish(world)
    assert world.nodes["b"].leads


def an_order_of_a_lower_term_opens_nothing(*, starts_again: bool) -> None:
    """Let an order reach its host after the next term has opened the shards, be its region the same or the next one."""
    world = ByHand(num_shards=2)
    world.form("abcx", hosts="abc")
    world.hold = lambda letter: letter.to == run_of("x") and isinstance(letter.message, TableSlice)
    world.host_here("x")
    host(world, "x", "abcx")
    for name in "abc":
        world.tell(name, RegionEnded(KEY))
    world.pass_time(2.0)
    orders = [letter for letter in world.late if letter.sender == "a"]
    assert orders  # x is to open both
    world.crash("a")
    remove(world, "a", "bcx")
    for name in "bc":
        world.tell(name, RegionStarted(KEY))
    host(world, "bc", "bcx")
    world.pass_time(6.0)
    assert world.nodes["b"].open | world.nodes["c"].open == {0, 1}
    if starts_again:
        world.tell("x", RegionEnded(KEY))
        world.tell("x", RegionStarted(KEY))
    show_all(world, "x", {"a": UP}, numbers={"a": 1})  # as if x knew of no removal: its promise has to do
    world.release(lambda letter: letter.sender == "a")
    assert not world.nodes["x"].open
    show_all(world, "x", removed="a", is_free=True)
    host(world, "bcx", "bcx")
    finish(world)


def test_a_table_of_a_lower_term_that_comes_late_opens_nothing() -> None:
    an_order_of_a_lower_term_opens_nothing(starts_again=False)


def test_an_order_kept_while_the_lease_was_lost_is_void_once_another_term_is_promised() -> None:
    world = ByHand(num_shards=3)
    world.form("abx")
    [shard] = world.nodes["x"].open
    world.tell("x", RegionEnded(KEY))  # gives up what it has
    world.tell("x", ServesUntil(world.now))
    world.pass_time(0.01)
    world.tell("x", RegionStarted(KEY))
    world.tell("b", RegionEnded(KEY))
    host(world, "x", "abx")
    world.tell("a", RegionEnded(KEY))
    world.pass_time(1.0)
    orders = world.nodes["x"].machine.region.tables[KEY].rows
    assert orders and not world.nodes["x"].open
    world.lose = lambda letter: letter.to == run_of("x") and isinstance(letter.message, TableSlice)
    world.crash("a")
    remove(world, "a", "bx")
    world.tell("b", RegionStarted(KEY))
    host(world, "bx", "bx")
    world.pass_time(6.0)
    assert world.nodes["b"].leads and shard in world.nodes["b"].open
    world.tell("x", ServesUntil(math.inf))
    world.pass_time(0.01)
    assert not world.nodes["x"].open
    finish(world)


def test_a_join_a_leave_and_a_crash_inside_one_move_leave_every_shard_open_once() -> None:
    world = ByHand(num_shards=6)
    world.form("abc")
    world.closes_after = 1.0
    join(world, "d", 4, "abc")
    host(world, "abcd", "abcd")
    world.pass_time(4.0, until=lambda: any(n.machine.region.due(world.now) < math.inf for n in world.nodes.values()))
    moving = next(name for name, node in world.nodes.items() if node.machine.region.due(world.now) < math.inf)
    join(world, "e", 5, "abcd")
    show_all(world, "abcde", {"d": LEAVING})
    world.pass_time(0.1)
    world.crash(moving)
    others = "".join(name for name in "abcde" if name != moving)
    remove(world, moving, others)
    world.pass_time(10.0)
    assert world.nodes["d"].handed_over
    world.crash("d")
    host(world, others.replace("d", ""), others)
    show_all(world, others.replace("d", ""), removed="d", is_free=True)
    finish(world)


@pytest.mark.parametrize("times", [1, 5, 30])
def test_an_enlist_lost_several_times_and_its_answer_too_only_takes_longer(times: int) -> None:
    world = ByHand(num_shards=3)
    world.form("abc")
    left = {Enlist: times, Enlisted: times}

    def lose(letter: Letter) -> bool:
        kind = type(letter.message)
        if letter.to == run_of("b") or letter.sender == "b":
            left[kind] = left.get(kind, 0) - 1
            return left[kind] >= 0
        return False

    world.crash("a")
    world.lose = lose
    remove(world, "a", "bc")
    world.pass_time(FREE_AFTER + 2 * times - 1.1)
    assert not world.nodes["b"].leads
    world.pass_time(2.2)
    assert world.nodes["b"].leads
    finish(world)


def test_a_coordinator_begins_again_above_a_promise_that_it_had_not_heard_of() -> None:
    world = ByHand(num_shards=3)
    world.form("abc")
    world.lose = lambda letter: isinstance(letter.message, TableDigest)  # it would tell of the number, too
    world.nodes["c"].machine.region.enlist(Enlist(Term(4_000, 77)))  # of a run that has ended since
    world.crash("a")
    remove(world, "a", "bc")
    world.pass_time(6.0)
    assert world.nodes["b"].leads
    assert world.nodes["b"].machine.region.promise.number > 4_000
    finish(world)


def test_a_leaving_coordinator_hands_over_before_it_goes_and_the_next_one_leads_at_once() -> None:
    world = ByHand(num_shards=6)
    world.form("abc")
    show_all(world, "abc", {"a": LEAVING})
    world.pass_time(1.0)
    assert world.nodes["a"].handed_over and not world.nodes["a"].open
    assert world.nodes["b"].leads
    world.rules.rows_are_true()
    world.crash("a")
    show_all(world, "bc", removed="a")
    finish(world)


def test_what_was_yielded_is_never_opened_under_the_same_epoch() -> None:
    world = ByHand(num_shards=1)
    world.form("ab", hosts="")
    world.hold = lambda letter: isinstance(letter.message, Yielded)
    host(world, "b", "ab")
    world.pass_time(0.6)  # b is to open, and has no region
    assert world.late
    world.host_here("b")
    world.pass_time(1.2)  # it is said again
    assert not world.nodes["b"].open
    world.host_here("a")
    host(world, "ab", "ab")
    world.hold = lambda letter: False
    world.release()
    finish(world)


def a_region_that_starts_again_opens_nothing(*, closes_after: float) -> None:
    world = ByHand(num_shards=1, closes_after=closes_after)
    world.form("ab", hosts="")
    world.host_here("b")
    world.lose = lambda letter: isinstance(letter.message, Opened | Yielded)
    host(world, "b", "ab")
    world.pass_time(0.6)
    assert world.nodes["b"].open  # and nobody knows
    world.tell("b", RegionEnded(KEY))
    if not closes_after:
        world.pass_time(0.1)
    world.host_here("b")
    world.pass_time(3.0)
    assert not world.nodes["b"].open
    finish(world)


def test_a_region_that_starts_again_remembers_its_last_epoch() -> None:
    a_region_that_starts_again_opens_nothing(closes_after=0.0)


def test_a_region_that_starts_again_while_its_shards_stop_remembers_its_last_epoch() -> None:
    a_region_that_starts_again_opens_nothing(closes_after=1.0)


def test_a_closing_shard_is_reported_to_the_next_coordinator() -> None:
    world = ByHand(num_shards=3)
    world.form("abc")
    [shard] = world.nodes["c"].open
    world.closes_after = 30.0
    world.tell("c", RegionEnded(KEY))
    host(world, "ab", "abc")
    world.crash("a")
    remove(world, "a", "bc")
    host(world, "b", "bc")
    world.pass_time(6.0)
    assert world.nodes["b"].leads
    assert world.nodes["c"].open == {shard}
    assert shard not in world.nodes["b"].open
    world.senders.send("b", shard)
    world.pass_time(1.0)
    assert world.senders.held("b", shard)  # nobody sends to who takes nothing any more
    world.pass_time(20.0)
    world.host_here("c")
    host(world, "bc", "bc")
    finish(world)


def test_a_leaving_member_that_holds_a_shard_is_asked() -> None:
    world = ByHand(num_shards=3)
    world.form("abx")
    [shard] = world.nodes["x"].open
    world.closes_after = 30.0
    show_all(world, "abx", {"x": LEAVING})
    world.pass_time(0.1)
    world.crash("a")
    remove(world, "a", "bx")
    world.pass_time(6.0)
    assert world.nodes["b"].leads
    assert world.nodes["x"].open == {shard}
    assert shard not in world.nodes["b"].open
    world.pass_time(20.0)
    assert world.nodes["x"].handed_over
    world.crash("x")
    show_all(world, "b", removed="x", is_free=True)
    finish(world)


def test_a_down_member_that_may_serve_is_waited_for() -> None:
    world = ByHand(num_shards=3)
    world.form("abx")
    [shard] = world.nodes["x"].open
    world.crash("a")
    world.lose = between("x", "ab")
    world.tell("x", ServesUntil(world.now + 9.0))  # others that it reaches granted until now
    show_all(world, "b", unreachable="ax")
    world.pass_time(0.5)
    show_all(world, "b", {"a": DOWN, "x": DOWN})
    show_all(world, "b", removed="a", is_free=True)
    world.pass_time(5.0)
    assert world.nodes["b"].enlists
    show_all(world, "b", removed="x")
    world.pass_time(FREE_AFTER + 0.1)
    assert world.nodes["b"].leads and shard in world.nodes["b"].open
    world.crash("x")
    finish(world)


def test_a_retired_that_comes_late_does_not_undo_a_later_term() -> None:
    world = ByHand(num_shards=2)
    world.form("ab")
    term = world.nodes["a"].machine.region.promise
    asked = world.nodes["b"].machine.coordinator
    asked.asked(run_of("a"), Enlist(Term(term.number + 1, term.incarnation)))
    asked.retired(run_of("a"), Retired(term))
    assert not asked.settle(world.now)
    assert not world.nodes["b"].enlists


def test_rows_name_runs_and_not_addresses() -> None:
    world = ByHand(num_shards=1)
    world.form(["a", "b", "x1"], hosts="")
    world.host_here("x1")
    world.lose = lambda letter: letter.sender == "x1" and isinstance(letter.message, Opened)
    world.tell("a", HostsSeen(KEY, 1, frozenset([run_of("x1")])))
    world.pass_time(0.6)
    assert world.nodes["x1"].open  # and nobody knows: the row stays opening
    world.crash("x1")
    for name in "ab":
        world.show(name, {"x1": DOWN})
        world.show(name, removed=["x1"])
    world.lose = lambda letter: False
    world.start("x2")
    members = {"a": UP, "b": UP, "x2": UP}
    for name in ("a", "b", "x2"):
        world.show(name, members, {"a": 1, "b": 2, "x2": 4}, removed=["x1"] if name == "x2" else "")  # as welcomes tell
    world.pass_time(3.0)
    assert world.nodes["x2"].machine.region.tables  # it has the order, which was one to the run before
    assert not world.nodes["x2"].open
    for name in ("a", "b", "x2"):
        world.tell(name, HostsSeen(KEY, 1, frozenset([run_of("x2")])))
    finish(world)


def test_no_two_coordinators_lead_under_one_number() -> None:
    world = ByHand(num_shards=2)
    for name in "bcde":
        world.start(name, hosts=name in "de")
    for name in "cde":
        world.show(name, {"c": UP, "d": UP, "e": UP}, {"c": 4, "d": 5, "e": 6})
    world.hold = lambda letter: letter.to == run_of("d") and isinstance(letter.message, TableSlice)
    host(world, "de", "cde")
    world.pass_time(1.0)
    assert world.nodes["c"].leads
    number = world.nodes["c"].machine.region.promise.number
    assert [letter for letter in world.late if letter.sender == "c"]  # d is to open one
    world.lose = lambda letter: letter.to == run_of("b") and isinstance(letter.message, TableSlice | TableDigest)
    world.nodes["c"].state = replace(world.nodes["c"].state, terms_given=0)  # as if the membership had lost it
    show_all(world, "bcde", {"b": JOINING, "c": UP, "d": UP, "e": UP}, numbers={"c": 4, "d": 5, "e": 6})
    host(world, "e", "b")
    show_all(world, "bdec", {"b": UP}, numbers={"b": 4})  # a younger coordinator of which b has not heard
    world.pass_time(2.0)
    assert world.nodes["b"].leads
    world.release(lambda letter: letter.sender == "c")
    world.lose = lambda letter: False
    host(world, "de", "bcde")
    finish(world)
    assert world.nodes["b"].machine.region.promise.number > number


def test_a_promise_outlives_the_region_after_it() -> None:
    an_order_of_a_lower_term_opens_nothing(starts_again=True)


def test_who_has_promised_another_term_writes_no_more() -> None:
    with promising_to_all():
        world = ByHand(num_shards=2)
        for name in "bcd":
            world.start(name, hosts=name == "d")
        for name in "bcd":
            world.show(name, {"b": JOINING, "c": UP, "d": UP}, {"c": 4, "d": 5})
        world.pass_time(1.0)
        assert world.nodes["c"].leads
        world.hold = lambda letter: letter.sender == "c" and isinstance(letter.message, Enlist)
        world.show("b", {"b": UP}, {"b": 4})  # older by its address; c, unaware, begins again when it has answered
        world.pass_time(1.0)
        assert world.nodes["b"].leads
        world.start("z")
        begins_again = world.hold
        world.hold = lambda letter: begins_again(letter) or between("b", "z")(letter)
        for name in "bcdz":
            world.show(
                name, {"b": UP, "c": UP, "d": UP, "z": JOINING}, {"c": 4, "d": 5} | ({} if name == "c" else {"b": 4})
            )
        world.show("c", {"b": JOINING, "z": UP}, {"b": 0, "z": 6})
        world.show("z", {"z": UP}, {"z": 6})
        host(world, "z", "c")
        host(world, "d", "bd")
        world.pass_time(2.0)
        assert world.nodes["d"].open == {0, 1}
        assert not world.nodes["z"].open
        show_all(world, "bcdz", {"b": UP, "z": UP}, numbers={"b": 4, "z": 6})
        host(world, "dz", "bcdz")
        finish(world)


def test_a_message_in_hand_is_not_acknowledged_by_a_run_that_wakes_without_its_lease() -> None:
    world = ByHand(num_shards=3)
    world.senders.handles_for = lambda: 1.0
    world.form("abx")
    [shard] = world.nodes["x"].open
    world.senders.send("x", shard)
    world.tell("x", ServesUntil(world.now + 4.0))
    world.pass_time(0.5)
    world.nodes["x"].paused = True
    remove(world, "x", "ab")
    world.pass_time(FREE_AFTER + 1.0)
    assert shard in world.nodes["a"].open | world.nodes["b"].open
    for _ in range(20):  # some to each of its entities
        world.senders.send("a", shard)
    world.pass_time(20.0)
    world.nodes["x"].paused = False
    world.pass_time(2.0)
    assert world.senders.counts == {"handled": 20}
    world.crash("x")
    finish(world)


def test_a_message_in_hand_waits_for_the_lease() -> None:
    world = ByHand(num_shards=3)
    world.senders.handles_for = lambda: 1.0
    world.form("abx")
    [shard] = world.nodes["x"].open
    world.senders.send("a", shard)
    world.pass_time(0.5)
    world.tell("x", ServesUntil(world.now))
    world.pass_time(5.0)
    assert not world.senders.fates
    world.tell("x", ServesUntil(math.inf))
    world.pass_time(0.1)
    assert world.senders.counts == {"handled": 1}
    finish(world)


def test_a_table_of_many_pages_of_which_some_get_lost_arrives_whole() -> None:
    chance = random.Random(1)
    world = ByHand(num_shards=2_000)
    world.form("abc")
    world.lose = lambda letter: isinstance(letter.message, TableSlice) and chance.random() < 0.5
    world.crash("a")
    remove(world, "a", "bc")
    host(world, "bc", "bc")
    world.pass_time(15.0)
    parts = world.nodes["b"].machine.region.tables[KEY].slices_after(None)
    assert len(parts) > 2
    finish(world)


def test_answers_of_many_pages_of_which_some_get_lost_are_taken_whole_or_not_at_all() -> None:
    chance = random.Random(1)
    world = ByHand(num_shards=16_000)
    world.form("abc")
    before = {name: world.nodes[name].open for name in "bc"}
    came: list[Enlisted] = []

    def lose(letter: Letter) -> bool:
        if isinstance(letter.message, Enlisted):
            came.append(letter.message)
        return isinstance(letter.message, Enlisted) and chance.random() < 0.5

    world.lose = lose
    world.crash("a")
    remove(world, "a", "bc")
    host(world, "bc", "bc")
    world.pass_time(15.0)
    assert came[0].parts > 2 and sum(len(one.held) for one in came[: came[0].parts]) == len(before["c"])
    assert world.nodes["b"].leads and before["c"] <= world.nodes["c"].open
    finish(world)


def test_a_coordinator_without_the_lease_writes_nothing() -> None:
    world = ByHand(num_shards=3)
    world.form("abc")
    version = world.nodes["a"].machine.region.tables[KEY].version
    world.tell("a", ServesUntil(world.now))
    world.tell("b", RegionEnded(KEY))  # says Yielded, and goes on saying so
    host(world, "ac", "abc")
    world.pass_time(5.0)
    assert world.nodes["a"].leads
    assert world.nodes["a"].machine.region.tables[KEY].version == version
    world.tell("a", ServesUntil(math.inf))
    world.pass_time(2.0)
    assert world.nodes["a"].open | world.nodes["c"].open == {0, 1, 2}
    world.host_here("b")
    host(world, "abc", "abc")
    finish(world)


def test_younger_members_leave_a_living_coordinator_alone() -> None:
    world = ByHand(num_shards=3)
    world.form("abc")
    term = world.nodes["a"].machine.region.promise
    world.pass_time(10.0)
    assert world.nodes["a"].leads
    assert all(node.machine.region.promise == term for node in world.nodes.values())


def test_a_run_that_begins_again_after_its_retired_is_left_alone() -> None:
    world = ByHand(num_shards=3)
    for name in "bcd":
        world.start(name)
    for name in "bcd":
        world.show(name, {"b": JOINING, "c": UP, "d": UP}, {"c": 4, "d": 5})
    host(world, "bcd", "bcd")
    world.pass_time(2.0)
    assert world.nodes["c"].leads
    show_all(world, "bcd", {"b": UP}, numbers={"b": 4})  # older by its address: c retires
    world.pass_time(2.0)
    assert world.nodes["b"].leads
    world.crash("b")
    remove(world, "b", "cd")
    world.pass_time(6.0)
    assert world.nodes["c"].leads
    term = world.nodes["c"].machine.region.promise
    world.pass_time(10.0)
    assert world.nodes["c"].leads and world.nodes["c"].machine.region.promise == term
    finish(world)


def test_a_removed_run_that_wakes_takes_no_term_from_its_successor() -> None:
    with promising_to_all():
        world = ByHand(num_shards=3)
        world.form("abc")
        world.tell("a", ServesUntil(world.now + 4.0))
        world.nodes["a"].paused = True
        remove(world, "a", "bc")
        world.pass_time(6.0)
        assert world.nodes["b"].leads
        term = world.nodes["b"].machine.region.promise
        world.nodes["a"].paused = False
        world.pass_time(5.0)
        assert world.nodes["b"].leads and world.nodes["b"].machine.region.promise == term
        world.crash("a")
        finish(world)


def test_a_newcomer_knows_every_number_of_a_term_though_all_who_gave_or_promised_it_are_gone() -> None:
    world = ByHand(num_shards=2)
    world.form("a")
    world.nodes["a"].machine.region.heard(700)  # as many terms were begun at one age
    term = world.nodes["a"].machine.region.promise
    world.tell("a", PlacementCame(world.nodes["a"].run, TermRefused(term, Term(700, 1))))
    world.pass_time(1.0)
    world.rules.settled({KEY: 2})
    number = world.nodes["a"].machine.region.promise.number
    assert world.nodes["a"].leads and number > 700
    world.lose = between("a", "b")
    join(world, "b", 2, "a")
    host(world, "ab", "ab")
    world.crash("a")
    remove(world, "a", "b")
    world.lose = lambda letter: False
    world.pass_time(6.0)
    assert world.nodes["b"].leads
    assert world.nodes["b"].machine.region.promise.number > number
    finish(world)


def test_a_coordinator_leads_only_when_the_membership_has_its_number() -> None:
    world = ByHand(num_shards=2)
    world.form("ab")
    given: list[tuple[str, int]] = []
    world.given = lambda name, number: given.append((name, number))
    world.crash("a")
    remove(world, "a", "b")
    world.pass_time(6.0)
    [(name, number)] = given
    assert name == "b" and world.nodes["b"].enlists
    world.give(name, number)
    assert world.nodes["b"].leads
    finish(world)


def test_a_table_with_a_run_that_never_was_is_not_taken_though_the_coordinator_says_so() -> None:
    world = ByHand(num_shards=4)
    world.form("abc")
    table = world.nodes["a"].machine.region.tables[KEY]
    rows = tuple((shard, Owned(run_of("nobody"), table.epoch)) for shard in range(4))
    for name in "bc":
        forged = TableSlice(KEY, 4, table.term, 0, table.version + 5, rows)
        world.tell(name, PlacementCame(run_of("a"), forged))
        assert world.nodes[name].machine.region.tables[KEY].order == table.order
    world.pass_time(2.0)
    world.crash("a")
    remove(world, "a", "bc")
    world.pass_time(6.0)
    assert world.nodes["b"].leads
    finish(world)
