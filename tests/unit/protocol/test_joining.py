"""How a node finds or forms its cluster: exactly one node of the candidates forms."""

from __future__ import annotations

import random

import pytest

from casty.address import NodeAddress
from casty.protocol.effects import Note, Send, StartTimer
from casty.protocol.joining import FORM_AFTER, PROBE, PROBE_DELAY_MAX, Form, Joining, JoiningEffect, Refused
from casty.protocol.messages import Join, JoinAnswer, JoinProbe, JoinSettings, JoinState
from casty.testing.samples import address, member, run_of

SETTINGS = JoinSettings(1, "keep_majority")
ALONE = JoinAnswer(JoinState.not_in_cluster)
INSIDE = JoinAnswer(JoinState.in_cluster)


def joining(name: str, *seeds: str) -> Joining:
    return Joining(member(name, "joining"), SETTINGS, tuple(map(address, seeds)), random.Random(1))


def probed(effects: list[JoiningEffect]) -> list[NodeAddress]:
    return [e.to.address for e in effects if isinstance(e, Send) and isinstance(e.message, JoinProbe)]


def test_without_seeds_a_node_forms_at_once() -> None:
    assert joining("a").start(0.0) == [Form()]


def test_sole_seed_forms_at_once() -> None:
    assert joining("a", "a").start(0.0) == [Form()]


def test_sole_seed_under_another_name_forms_when_the_alias_is_known() -> None:
    machine = joining("a", "localhost")
    assert probed(machine.start(0.0)) == [address("localhost")]
    assert machine.alias(address("localhost"), 0.1) == [Form()]


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
    assert machine.answered(run_of("b"), ALONE, 0.1) == []
    assert Form() not in machine.tick(100.0)


def test_of_two_that_list_each_other_the_lower_forms() -> None:
    low, high = joining("a", "b"), joining("b", "a")
    assert low.probed(run_of("b"), 0.1) == []
    assert low.answered(run_of("b"), ALONE, 0.2) == [Form()]
    high.probed(run_of("a"), 0.1)
    assert high.answered(run_of("a"), ALONE, 0.2) == []


def test_lowest_forms_when_all_have_answered() -> None:
    machine = joining("a", "a", "b", "c")
    assert machine.answered(run_of("b"), ALONE, 0.1) == []
    assert machine.answered(run_of("c"), ALONE, 0.2) == [Form()]


def test_lowest_that_answers_forms_after_a_while_with_more_than_half() -> None:
    machine = joining("b", "a", "b", "c")
    machine.start(0.0)
    machine.answered(run_of("c"), ALONE, 3.0)
    assert Form() not in machine.tick(4.9)
    assert machine.tick(FORM_AFTER) == [Form()]


def test_half_of_the_candidates_is_not_enough() -> None:
    machine = joining("b", "a", "b", "c", "d")
    machine.start(0.0)
    machine.answered(run_of("c"), ALONE, 4.0)
    assert Form() not in machine.tick(6.0)


def test_first_listed_may_form_after_silence_alone_and_nobody_else() -> None:
    first, second = joining("b", "b", "a"), joining("a", "b", "a")
    first.start(0.0)
    second.start(0.0)
    assert first.tick(FORM_AFTER) == [Form()]
    assert Form() not in second.tick(100.0)


def test_first_listed_that_was_just_asked_does_not_call_that_silence() -> None:
    machine = joining("b", "b", "a")
    machine.start(0.0)
    machine.probed(run_of("a"), FORM_AFTER - 0.001)
    assert Form() not in machine.tick(FORM_AFTER)


def test_candidate_leaves_forming_to_a_lower_one_that_has_just_asked() -> None:
    machine = joining("b", "a", "b", "c")
    machine.start(0.0)
    machine.answered(run_of("c"), ALONE, 4.0)
    machine.probed(run_of("a"), FORM_AFTER - 0.001)
    assert Form() not in machine.tick(FORM_AFTER)


def test_candidate_that_answered_and_then_fell_silent_is_waited_for_no_longer() -> None:
    machine = joining("b", "a", "b", "c")
    machine.start(0.0)
    machine.answered(run_of("a"), ALONE, 1.0)
    for second in range(1, 7):
        machine.answered(run_of("c"), ALONE, float(second))
    assert Form() not in machine.tick(5.9)
    assert machine.tick(6.1) == [Form()]


def test_answer_long_ago_does_not_help_to_form() -> None:
    machine = joining("a", "a", "b", "c")
    machine.start(0.0)
    machine.answered(run_of("b"), ALONE, 1.0)
    assert machine.answered(run_of("c"), ALONE, 4.5) == []


def test_lower_joiner_that_is_no_candidate_does_not_hold_up_the_candidates() -> None:
    machine = joining("b", "b", "c")
    machine.start(0.0)
    machine.probed(run_of("a"), 0.1)
    assert machine.answered(run_of("c"), ALONE, 0.2) == [Form()]


@pytest.mark.parametrize("state", [JoinState.in_cluster, JoinState.retry])
def test_nobody_forms_beside_a_cluster(state: JoinState) -> None:
    machine = joining("a", "a", "b", "c")
    machine.start(0.0)
    machine.answered(run_of("c"), JoinAnswer(state), 4.9)
    assert Form() not in machine.answered(run_of("b"), ALONE, 5.0)
    assert Form() not in machine.tick(6.0)


def test_one_member_is_asked_to_let_this_node_in_until_the_next_round() -> None:
    machine = joining("c", "a", "b")
    machine.start(0.0)
    assert machine.answered(run_of("a"), INSIDE, 0.1) == [Send(run_of("a"), Join(machine.member, SETTINGS))]
    assert machine.answered(run_of("b"), INSIDE, 0.1) == []
    machine.tick(1.0)
    assert machine.answered(run_of("b"), INSIDE, 1.1) == [Send(run_of("b"), Join(machine.member, SETTINGS))]


def test_refusal_is_handed_on_with_its_reason() -> None:
    answer = JoinAnswer(JoinState.refused, "settings must agree")
    assert joining("c", "a").answered(run_of("a"), answer, 0.1) == [Refused(address("a"), "settings must agree")]


def test_reason_to_wait_is_noted_once() -> None:
    machine, wait = joining("c", "a"), JoinAnswer(JoinState.retry, "an earlier run is still up")
    (note,) = machine.answered(run_of("a"), wait, 0.1)
    assert isinstance(note, Note)
    assert machine.answered(run_of("a"), wait, 0.2) == []
