"""Schedules with a member that says what is not so: another version, a bad disk, a bug. Nobody else is to suffer."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from placement_by_hand import ByHand, run_of
from test_placement_schedules import KEY, finish, host, join, remove

from casty.protocol.effects import Note
from casty.protocol.messages.shard_bounds import LEAD_MAX
from casty.protocol.messages.shard_rows import VERSION_MAX, Opening, Owned, Row, Term, stamp
from casty.protocol.messages.sharding import (
    Enlist,
    Enlisted,
    HeldShard,
    KnownTable,
    Marker,
    PlacementMessage,
    Retired,
    TableDigest,
    TablePlaces,
    TableSlice,
    TermRefused,
)
from casty.protocol.sharding import shard_region, shard_rows_writer
from casty.protocol.sharding.placement_events import EnlistBlocked, PlacementCame, TermBegun
from casty.protocol.sharding.shard_coordinator import STRANGERS_WAITED_FOR

SHARDS = 4
GHOST = run_of("nobody")


def formed() -> ByHand:
    """Return three nodes with all shards open: a places them, and c is the one that says what is not so."""
    world = ByHand(num_shards=SHARDS)
    world.form("abc")
    return world


def term_of(world: ByHand) -> Term:
    return world.nodes["a"].machine.region.promise


def say(world: ByHand, to: str, *said: PlacementMessage, sender: str = "c") -> None:
    for name in to:
        for message in said:
            world.tell(name, PlacementCame(run_of(sender), message))


def is_as_before(world: ByHand, term: Term) -> None:
    """Hold that all go by the term of a, and that the shards of the third node can be taken over."""
    world.pass_time(3.0)
    assert world.nodes["a"].leads
    for name in "ab":
        region = world.nodes[name].machine.region
        assert region.promise == term
        assert region.tables[KEY].num_shards == SHARDS
    world.crash("c")
    remove(world, "c", "ab")
    finish(world)
    assert world.nodes["a"].open | world.nodes["b"].open == set(range(SHARDS))


def rows_for(owner: str, epoch: int, *, kind: type[Opening | Owned] = Opening) -> tuple[tuple[int, Row | None], ...]:
    return tuple((shard, kind(run_of(owner), epoch)) for shard in range(SHARDS))


def terms_beyond(world: ByHand) -> Iterable[Term]:
    """Return terms of the one that lies, of the coordinator, and of a run that never was."""
    number = term_of(world).number
    for run in (run_of("c"), run_of("a"), GHOST):
        yield Term(number + 1, run.incarnation)
        yield Term(number + LEAD_MAX // 2, run.incarnation)


def test_a_table_with_another_number_of_shards_under_a_far_term_teaches_nothing() -> None:
    world = formed()
    term = term_of(world)
    for forged in terms_beyond(world):
        say(world, "ab", TableSlice(KEY, SHARDS + 5, forged, 0, 9, rows_for("c", stamp(forged, 9), kind=Owned)))
    is_as_before(world, term)


@pytest.mark.parametrize("kind", [Opening, Owned])
def test_orders_of_a_member_that_is_not_the_coordinator_are_obeyed_by_nobody(kind: type[Opening | Owned]) -> None:
    world = formed()
    term, version = term_of(world), world.nodes["a"].machine.region.tables[KEY].version
    before = {name: world.nodes[name].open for name in "abc"}
    for forged in (term, *terms_beyond(world)):
        for after, upto in ((version, version + 1), (0, version + 7), (0, VERSION_MAX)):
            say(world, "b", TableSlice(KEY, SHARDS, forged, after, upto, rows_for("b", stamp(forged, upto), kind=kind)))
    assert {name: world.nodes[name].open for name in "abc"} == before
    is_as_before(world, term)


def test_a_newcomer_takes_no_table_but_that_of_the_coordinator() -> None:
    world = formed()
    term = term_of(world)
    world.lose = lambda letter: letter.to == run_of("d") and letter.sender == "a"
    join(world, "d", 4, "abc")
    for forged in (term, *terms_beyond(world)):
        say(world, "d", TableSlice(KEY, SHARDS, forged, 0, 99, rows_for("d", stamp(forged, 99))))
    assert not world.nodes["d"].open
    assert not world.nodes["d"].machine.region.tables
    world.lose = lambda letter: False
    world.pass_time(4.0)
    assert world.nodes["d"].machine.region.tables[KEY].order == world.nodes["a"].machine.region.tables[KEY].order
    host(world, "abcd", "abcd")
    finish(world)
    assert term_of(world) == term


def test_nobody_promises_a_term_to_a_member_with_an_older_one_beside_it() -> None:
    world = formed()
    term = term_of(world)
    for forged in terms_beyond(world):
        say(world, "ab", Enlist(forged), Enlist(forged), Retired(forged))
    is_as_before(world, term)


def test_a_member_that_is_asked_before_it_knows_the_asker_as_the_oldest_answers_when_it_does() -> None:
    world = ByHand(num_shards=3)
    world.form("abc")
    term = term_of(world)
    world.lose = lambda letter: letter.to == run_of("c") and isinstance(letter.message, Retired)
    for name in "abc":
        world.show(name, {"a": world.nodes["a"].state.ordered[0].status.leaving})
    world.pass_time(1.5)
    assert world.nodes["a"].has_retired
    assert world.nodes["b"].enlists
    assert world.nodes["c"].machine.region.promise == term
    world.lose = lambda letter: isinstance(letter.message, Enlist)  # the one that has come is enough
    world.pass_time(1.5)
    assert world.nodes["b"].leads
    assert world.nodes["c"].machine.region.promise > term
    world.pass_time(3.0)
    assert world.nodes["a"].handed_over
    world.crash("a")
    remove(world, "a", "bc", is_free=True)
    finish(world)


def test_refusals_without_end_use_up_few_numbers_and_leave_time_to_place() -> None:
    world = formed()
    first = term_of(world)
    begun: list[int] = []

    def give(name: str, number: int) -> None:
        begun.append(number)
        for each in "abc":
            world.give(each, number)

    world.given = give
    for _ in range(600):
        most = max(first.number, *begun, 0) + LEAD_MAX
        say(world, "a", TermRefused(term_of(world), Term(most, 77)), TableDigest(most, b""))
        world.pass_time(0.1)
        world.rules.settled({KEY: SHARDS})
    assert 10 <= len(begun) <= 20
    assert term_of(world).number - first.number <= len(begun) * (LEAD_MAX + 1)
    world.pass_time(10.0)
    is_as_before(world, term_of(world))


def test_a_refusal_by_a_promise_that_would_admit_the_term_is_none() -> None:
    world = formed()
    term = term_of(world)
    say(world, "a", TermRefused(term, term), TermRefused(term, Term(term.number - 1, 7)))
    is_as_before(world, term)


def enlisting() -> ByHand:
    """Return b as it begins the term after that of a, which has ended; it has not heard of c."""
    world = formed()
    world.crash("a")
    world.hold = lambda letter: letter.sender == "c" and isinstance(letter.message, Enlisted)
    remove(world, "a", "bc")
    world.pass_time(6.0)
    assert world.nodes["b"].enlists
    return world


def true_answer(world: ByHand) -> Enlisted:
    return next(one.message for one in world.late if isinstance(one.message, Enlisted))


def test_a_run_that_never_was_is_not_waited_for_for_long() -> None:
    world = enlisting()
    answer = true_answer(world)
    world.late.clear()
    ghosts = tuple(run_of(f"ghost{number}") for number in range(20))
    say(world, "b", Enlisted(answer.term, answer.held, answer.tables, (*answer.named, *ghosts)))
    world.pass_time(STRANGERS_WAITED_FOR - 0.2)
    assert not world.nodes["b"].leads
    world.pass_time(1.0)
    assert world.nodes["b"].leads
    [blocked] = [event for event in world.nodes["b"].events if isinstance(event, EnlistBlocked)]
    assert set(ghosts) <= set(blocked.waiting)
    finish(world)


def test_a_report_of_a_table_with_another_number_of_shards_counts_for_nothing() -> None:
    world = enlisting()
    answer = true_answer(world)
    world.late.clear()
    far = KnownTable(KEY, SHARDS + 3, Term(answer.term.number - 1, 2**40), 9_999)
    say(world, "b", Enlisted(answer.term, answer.held, (far,), answer.named))
    world.pass_time(1.0)
    assert world.nodes["b"].leads
    assert world.nodes["b"].machine.region.tables[KEY].num_shards == SHARDS
    finish(world)


def test_a_report_of_many_invented_kinds_drives_out_no_true_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_rows_writer, "KEYS_MAX", 20)
    world = enlisting()
    answer = true_answer(world)
    world.late.clear()
    invented = tuple(KnownTable(f"A{number:05}", 1, Term(1, 1), 1) for number in range(30))
    held = tuple(HeldShard(known.key, 0, 9, None) for known in invented)
    say(world, "b", Enlisted(answer.term, answer.held + held, answer.tables + invented, answer.named))
    world.pass_time(1.0)
    assert world.nodes["b"].leads
    assert len(world.nodes["b"].machine.coordinator.writer.tables) == 20
    assert KEY in world.nodes["b"].machine.coordinator.writer.tables
    world.rules.settled({KEY: SHARDS})


def test_places_of_tables_that_nobody_has_are_asked_for_nowhere_else_than_at_their_coordinator() -> None:
    world = formed()
    term = term_of(world)
    for forged in terms_beyond(world):
        say(world, "ab", TablePlaces((KnownTable(KEY, SHARDS, forged, 77),)))
        say(world, "ab", TablePlaces((KnownTable(KEY, SHARDS + 2, forged, 77), KnownTable("x", 9, forged, 7))))
    is_as_before(world, term)


def test_a_refused_table_is_counted_and_told_of_once() -> None:
    world = formed()
    forged = TableSlice(KEY, SHARDS + 5, Term(term_of(world).number, run_of("a").incarnation), 0, 9_999, ())
    for _ in range(50):
        say(world, "b", forged, sender="a")
    region = world.nodes["b"].machine.region
    assert region.words_refused == 50
    [note] = [event for event in world.nodes["b"].events if isinstance(event, Note)]
    assert str(run_of("a").address) in note.text
    assert f"{SHARDS} shards" in note.text and str(SHARDS + 5) in note.text
    assert not [event for event in world.nodes["a"].events if isinstance(event, TermBegun)]


def test_markers_of_moves_to_come_that_one_member_invents_take_no_room_of_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shard_region, "EARLY_MARKERS_MAX", 50)
    world = formed()
    [shard, *_] = world.nodes["b"].open
    epoch = world.nodes["b"].machine.region.held[KEY, shard].epoch
    for number in range(200):
        say(world, "b", Marker(KEY, number % SHARDS, epoch + 10_000 + number))
    region = world.nodes["b"].machine.region
    assert region.early_markers == 50
    say(world, "b", Marker(KEY, shard, epoch + 2**20), sender="a")
    assert region.early_markers == 51
    world.pass_time(1.5)
    assert region.early_markers == 51
    is_as_before(world, term_of(world))
