"""How a node finds or forms its cluster: exactly one node of the candidates forms."""

from __future__ import annotations

import copy
import random
from dataclasses import replace

import pytest

from casty.address import LastMembership, NodeAddress, UniqueAddress
from casty.protocol.effects import Note, Send, StartTimer
from casty.protocol.membership.founding import Founding
from casty.protocol.membership.inputs import JoinFailed
from casty.protocol.membership.joining import (
    FORM_AFTER,
    PROBE,
    PROBE_DELAY_MAX,
    FormCluster,
    Joining,
    JoiningEffect,
)
from casty.protocol.messages.membership import Join, JoinAnswer, JoinProbe, JoinSettings, JoinState
from casty.testing.samples import address, member, run_of

SETTINGS = JoinSettings(1, "keep_majority")
ALONE = JoinState.not_in_cluster
INSIDE = JoinState.in_cluster
TOKEN = 7


def joining(name: str, *seeds: str, is_free: bool = False, last: LastMembership | None = None) -> Joining:
    founding = Founding(run_of(name), tuple(map(address, seeds)), is_free)
    return Joining(member(name, "joining"), SETTINGS, founding, random.Random(1), last)


def token(machine: Joining, seed: str) -> int:
    """Return the token by which ``machine`` asks ``seed``; nothing changes for it."""
    effects = copy.deepcopy(machine).tick(0.0)
    probes = [(e.to.address, e.message) for e in effects if isinstance(e, Send)]
    return next(m.token for to, m in probes if isinstance(m, JoinProbe) and to == address(seed))


def answered(machine: Joining, seed: str, state: JoinState, now: float, *, reason: str = "") -> list[JoiningEffect]:
    return machine.answered(run_of(seed), JoinAnswer(token(machine, seed), state, reason), now)


def probed(effects: list[JoiningEffect]) -> list[NodeAddress]:
    return [e.to.address for e in effects if isinstance(e, Send) and isinstance(e.message, JoinProbe)]


def test_without_seeds_a_node_forms_at_once() -> None:
    assert joining("a").start(0.0) == [FormCluster()]


def test_sole_seed_forms_at_once() -> None:
    assert joining("a", "a").start(0.0) == [FormCluster()]


def test_sole_seed_under_another_name_forms_when_the_alias_is_known() -> None:
    machine = joining("a", "localhost")
    assert probed(machine.start(0.0)) == [address("localhost")]
    assert machine.alias(address("localhost"), 0.1) == [FormCluster()]


def test_every_other_seed_is_asked_once_per_round() -> None:
    assert probed(joining("a", "c", "a", "b", "c").start(0.0)) == [address("c"), address("b")]


def test_asking_slows_down_to_a_bound() -> None:
    machine = joining("z", "a")
    delays = [e.delay for _ in range(30) for e in machine.tick(0.0) if isinstance(e, StartTimer) and e.key == PROBE]
    assert delays[0] < 0.07
    assert 0.5 < delays[-1] <= PROBE_DELAY_MAX * 1.2


def test_node_that_is_no_candidate_never_forms() -> None:
    machine = joining("a", "b")
    machine.start(0.0)
    assert answered(machine, "b", ALONE, 0.1) == []
    assert FormCluster() not in machine.tick(100.0)


def test_of_two_that_list_each_other_the_lower_forms() -> None:
    low, high = joining("a", "b"), joining("b", "a")
    assert low.probed(run_of("b"), 0.1) == []
    assert answered(low, "b", ALONE, 0.2) == [FormCluster()]
    high.probed(run_of("a"), 0.1)
    assert answered(high, "a", ALONE, 0.2) == []


def test_lowest_forms_when_all_have_answered() -> None:
    machine = joining("a", "a", "b", "c")
    assert answered(machine, "b", ALONE, 0.1) == []
    assert answered(machine, "c", ALONE, 0.2) == [FormCluster()]


def test_lowest_that_answers_forms_after_a_while_with_more_than_half() -> None:
    machine = joining("b", "a", "b", "c")
    machine.start(0.0)
    answered(machine, "c", ALONE, 3.0)
    assert FormCluster() not in machine.tick(4.9)
    assert machine.tick(FORM_AFTER) == [FormCluster()]


def test_half_of_the_candidates_is_not_enough() -> None:
    machine = joining("b", "a", "b", "c", "d")
    machine.start(0.0)
    answered(machine, "c", ALONE, 4.0)
    assert FormCluster() not in machine.tick(6.0)


@pytest.mark.parametrize("seeds", ["ba", "bac", "abc"])
def test_nobody_forms_in_silence(seeds: str) -> None:
    machine = joining("b", *seeds)
    machine.start(0.0)
    assert FormCluster() not in machine.tick(1000.0)


def test_the_first_of_two_seeds_waits_for_the_other() -> None:
    first = joining("a", "a", "b")
    first.start(0.0)
    assert FormCluster() not in first.tick(FORM_AFTER)
    assert answered(first, "b", ALONE, 60.0) == [FormCluster()]


@pytest.mark.parametrize("seeds", ["ba", "abc"])
def test_a_node_that_is_let_forms_after_silence_alone(seeds: str) -> None:
    machine = joining("b", *seeds, is_free=True)
    machine.start(0.0)
    assert FormCluster() not in machine.tick(FORM_AFTER - 0.1)
    assert machine.tick(FORM_AFTER) == [FormCluster()]


def test_a_node_that_is_let_forms_no_cluster_if_it_is_no_candidate() -> None:
    machine = joining("z", "a", "b", is_free=True)
    machine.start(0.0)
    assert FormCluster() not in machine.tick(1000.0)


def test_first_listed_that_was_just_asked_does_not_call_that_silence() -> None:
    machine = joining("b", "b", "a", is_free=True)
    machine.start(0.0)
    machine.probed(run_of("a"), FORM_AFTER - 0.001)
    assert FormCluster() not in machine.tick(FORM_AFTER)


def test_candidate_leaves_forming_to_a_lower_one_that_has_just_asked() -> None:
    machine = joining("b", "a", "b", "c")
    machine.start(0.0)
    answered(machine, "c", ALONE, 4.0)
    machine.probed(run_of("a"), FORM_AFTER - 0.001)
    assert FormCluster() not in machine.tick(FORM_AFTER)


def test_candidate_that_answered_and_then_fell_silent_is_waited_for_no_longer() -> None:
    machine = joining("b", "a", "b", "c")
    machine.start(0.0)
    answered(machine, "a", ALONE, 1.0)
    for second in range(1, 7):
        answered(machine, "c", ALONE, float(second))
    assert FormCluster() not in machine.tick(5.9)
    assert machine.tick(6.1) == [FormCluster()]


def test_answer_long_ago_does_not_help_to_form() -> None:
    machine = joining("a", "a", "b", "c")
    machine.start(0.0)
    answered(machine, "b", ALONE, 1.0)
    assert answered(machine, "c", ALONE, 4.5) == []


def test_lower_joiner_that_is_no_candidate_does_not_hold_up_the_candidates() -> None:
    machine = joining("b", "b", "c")
    machine.start(0.0)
    machine.probed(run_of("a"), 0.1)
    assert answered(machine, "c", ALONE, 0.2) == [FormCluster()]


@pytest.mark.parametrize("state", [JoinState.in_cluster, JoinState.retry])
def test_nobody_forms_beside_a_cluster(state: JoinState) -> None:
    machine = joining("a", "a", "b", "c")
    machine.start(0.0)
    answered(machine, "c", state, 4.9)
    assert FormCluster() not in answered(machine, "b", ALONE, 5.0)
    assert FormCluster() not in machine.tick(6.0)


def test_one_member_is_asked_to_let_this_node_in_until_the_next_round() -> None:
    machine = joining("c", "a", "b")
    machine.start(0.0)
    to_a, to_b = (Join(machine.member, SETTINGS, token(machine, seed)) for seed in "ab")
    assert answered(machine, "a", INSIDE, 0.1) == [Send(run_of("a"), to_a)]
    assert answered(machine, "b", INSIDE, 0.1) == []
    machine.tick(1.0)
    assert answered(machine, "b", INSIDE, 1.1) == [Send(run_of("b"), to_b)]


def test_refusal_is_handed_on_with_its_reason() -> None:
    effects = answered(joining("c", "a"), "a", JoinState.refused, 0.1, reason="settings must agree")
    assert effects == [JoinFailed("a:2551 refused this node: settings must agree")]


def test_refusal_for_another_journal_names_the_store_and_what_to_do() -> None:
    settings, founding = replace(SETTINGS, journal="mine"), Founding(run_of("c"), (address("a"),), False)
    machine = Joining(member("c", "joining"), settings, founding, random.Random(1), store="<SqliteJournal /data/c.db>")
    theirs = replace(SETTINGS, journal="ours").difference(settings)
    [failed] = answered(machine, "a", JoinState.refused, 0.1, reason=f"{theirs} at c:2551")
    assert isinstance(failed, JoinFailed)
    assert "expected journal 'ours', as the cluster has it, found 'mine' at c:2551. " in failed.reason
    assert "This node opened <SqliteJournal /data/c.db>, and the members share another store" in failed.reason
    assert "Give it their store: the same database and schema of PostgreSQL, or" in failed.reason
    other = answered(machine, "a", JoinState.refused, 0.1, reason="expected min_members 1, found 2")
    assert other == [JoinFailed("a:2551 refused this node: expected min_members 1, found 2")]


@pytest.mark.parametrize("state", list(JoinState))
def test_answer_of_a_node_that_was_not_asked_changes_nothing(state: JoinState) -> None:
    machine = joining("c", "a", "b")
    before = copy.deepcopy(machine)
    before.rng = machine.rng
    assert machine.answered(run_of("a"), JoinAnswer(token(machine, "a") ^ 1, state), 0.1) == []
    assert machine == before
    assert not machine.may_welcome(run_of("a"))


def test_only_members_that_were_asked_may_welcome() -> None:
    machine = joining("c", "a", "b")
    answered(machine, "a", INSIDE, 0.1)
    machine.tick(1.0)
    answered(machine, "b", INSIDE, 1.1)
    assert [machine.may_welcome(run_of(name)) for name in "abd"] == [True, True, False]


def test_seeds_under_other_names_than_their_own_form_like_any_other() -> None:
    low = Joining(
        member("a", "joining"), SETTINGS, Founding(run_of("a"), (address("x"), address("y"))), random.Random(1)
    )
    high = Joining(
        member("b", "joining"), SETTINGS, Founding(run_of("b"), (address("x"), address("y"))), random.Random(2)
    )
    low.alias(address("x"), 0.0)
    high.alias(address("y"), 0.0)
    to_low = JoinAnswer(token(low, "y"), ALONE)
    to_high = JoinAnswer(token(high, "x"), ALONE)
    assert high.answered(run_of("a"), to_high, 0.1) == []
    assert low.answered(run_of("b"), to_low, 0.1) == [FormCluster()]


def test_reason_to_wait_is_noted_once() -> None:
    machine, reason = joining("c", "a"), "an earlier run is still up"
    (note,) = answered(machine, "a", JoinState.retry, 0.1, reason=reason)
    assert isinstance(note, Note)
    assert answered(machine, "a", JoinState.retry, 0.2, reason=reason) == []


def former(name: str) -> UniqueAddress:
    """Return the run of a node before the one of today."""
    return run_of(name, 1000 + ord(name))


def last_of(name: str, *voters: str, joining: str = "") -> LastMembership:
    runs = frozenset(map(former, voters))
    return LastMembership(9, former(name), runs, runs | set(map(former, joining)))


def of_former(machine: Joining, seed: str, state: JoinState, now: float, *, cluster_id: int = 9) -> list[JoiningEffect]:
    answer = JoinAnswer(token(machine, seed), state, cluster_id=cluster_id, former=former(seed))
    return machine.answered(run_of(seed), answer, now)


def test_a_node_that_was_a_member_asks_all_whom_it_knew() -> None:
    machine = joining("b", "a", last=last_of("b", "a", "b", "d", joining="e"))
    assert sorted(probed(machine.start(0.0))) == [address(name) for name in "ade"]


def test_a_node_that_was_a_member_neither_forms_nor_lets_others_count_it() -> None:
    machine = joining("a", "a", "b", "c", last=last_of("a", "a", "b", "c"))
    machine.start(0.0)
    assert answered(machine, "b", ALONE, 4.0) == []
    assert FormCluster() not in machine.tick(FORM_AFTER)
    assert machine.answer(TOKEN, 1.0) == JoinAnswer(TOKEN, JoinState.waiting, cluster_id=9, former=former("a"))


def test_former_members_form_once_more_than_half_of_them_have_ended() -> None:
    machine = joining("a", "a", "b", "c", last=last_of("a", "a", "b", "c"))
    machine.start(0.0)
    of_former(machine, "b", JoinState.waiting, 5.0)
    assert FormCluster() not in machine.tick(5.1)  # b does not count as an answer yet
    assert machine.answer(TOKEN, 5.1).state is ALONE
    assert of_former(machine, "b", ALONE, 5.2) == [FormCluster()]


@pytest.mark.parametrize(
    ("last", "why"),
    [
        (last_of("b", "a", "b"), "b is one of two, and a may go on"),
        (last_of("b", "a", "b", "c", "d", "e"), "two of five"),
        (last_of("b", "b", "c", joining="de"), "those who were joining may have come up"),
    ],
)
def test_former_members_do_not_form_while_others_may_go_on(last: LastMembership, why: str) -> None:
    machine = joining("b", "a", "b", "c", last=last)
    machine.start(0.0)
    assert of_former(machine, "c", ALONE, 5.0) == [], why
    assert FormCluster() not in machine.tick(6.0), why


def test_a_node_that_is_asked_as_a_former_member_is_no_candidate_for_that() -> None:
    asking = joining("c", "a", "b", last=last_of("c", "a", "c", "x"))
    probes = {e.to.address: e.message for e in asking.start(0.0) if isinstance(e, Send)}
    as_seeds = {to: message.is_to_seed for to, message in probes.items() if isinstance(message, JoinProbe)}
    assert as_seeds == {address("a"): True, address("b"): True, address("x"): False}
    machine = joining("x", "a", "b")
    machine.start(0.0)
    machine.probed(run_of("c"), 0.1, is_to_seed=False)
    assert not machine.founding.is_candidate
    machine.probed(run_of("c"), 0.1)
    assert machine.founding.is_candidate


def test_only_runs_of_the_same_cluster_have_ended() -> None:
    machine = joining("b", "a", "b", "c", last=last_of("b", "a", "b", "c"))
    machine.start(0.0)
    assert of_former(machine, "c", ALONE, 5.0, cluster_id=8) == []
    assert FormCluster() not in machine.tick(5.1)


def test_a_former_member_that_waits_holds_nobody_back_and_helps_nobody() -> None:
    machine = joining("b", "a", "b", "c", "d")
    machine.start(0.0)
    of_former(machine, "a", JoinState.waiting, 4.0)
    answered(machine, "c", ALONE, 4.0)
    assert FormCluster() not in machine.tick(5.0)
    assert answered(machine, "d", ALONE, 5.1) == [FormCluster()]


def test_sole_seed_that_was_a_member_waits_for_those_it_knew() -> None:
    machine = joining("a", "a", last=last_of("a", "a", "b", "c"))
    assert probed(machine.start(0.0)) == [address("b"), address("c")]
    assert FormCluster() not in machine.tick(60.0)


def test_refusal_of_a_former_member_that_is_no_seed_is_not_final() -> None:
    machine = joining("b", "a", last=last_of("b", "a", "b", "d"))
    assert answered(machine, "d", JoinState.refused, 0.1, reason="another cluster lives here now") == []


def test_former_members_that_have_forgotten_count_once_all_are_accounted_for() -> None:
    machine = joining("a", "a", "b", "c", last=last_of("a", "a", "b", "c", "d"))
    machine.start(0.0)
    of_former(machine, "b", ALONE, 5.0)
    answered(machine, "c", ALONE, 5.0)
    assert FormCluster() not in machine.tick(5.1)  # d may go on, with a c that went on after this node was downed
    assert answered(machine, "d", ALONE, 5.2) == [FormCluster()]
