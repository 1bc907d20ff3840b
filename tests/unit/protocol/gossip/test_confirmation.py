"""Whom a node asks before it believes that others go, or that it has to go itself."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace

import pytest

from casty.address import UniqueAddress
from casty.protocol.effects import Note, Send, StartTimer
from casty.protocol.gossip.confirmation import (
    ASK_EVERY,
    ASKED_ABOUT_MAX,
    CONFIRM,
    CONFIRM_WITHIN,
    PROVEN_AFTER,
    UNPROVEN_EVERY,
    Confirmation,
    ConfirmationEffect,
    GossipMessage,
    standing_of,
)
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.messages.membership import StandingAnswer, StandingQuestion
from casty.protocol.split_brain.strategies import (
    DownAll,
    KeepMajority,
    KeepOldest,
    LeaseMajority,
    StaticQuorum,
    Strategy,
)
from casty.protocol.state.member import MemberStatus, in_order
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

FIVE = gossip_of(*(member(name, up_number=place) for place, name in enumerate("abcde", 1)))
JOINED = FIVE.with_member(run_of("a"), member("z", "joining"))
DOWN, LEAVING = MemberStatus.down, MemberStatus.leaving


class Asked:
    """The machine of one node among five, and the question that it has asked."""

    def __init__(self, name: str = "a", strategy: Strategy | None = None, state: Gossip = FIVE) -> None:
        self.node = run_of(name)
        self.machine = Confirmation(self.node, strategy, random.Random(1))
        self.state = state
        self.question: StandingQuestion | None = None
        self.asked = ""

    def told(
        self, by: str, going: str, status: MemberStatus = DOWN, now: float = 1.0
    ) -> list[ConfirmationEffect] | None:
        told = self.state.with_moved(run_of(by), {run_of(name) for name in going}, status)
        effects = self.machine.judge(self.state, told, run_of(by), to_wire(told, now), now)
        sends = [effect for effect in effects or () if isinstance(effect, Send)]
        self.asked = "".join(send.to.address.host for send in sends)
        if sends:
            (self.question,) = {send.message for send in sends if isinstance(send.message, StandingQuestion)}
        return effects

    def comes(self, by: str, names: str, now: float = 1.0) -> list[ConfirmationEffect] | None:
        """Tell that these are up, of whom nothing was heard before; what is believed is the state from then on."""
        new = {run_of(name): member(name, up_number=9) for name in names}
        told = self.state.changed(run_of(by), members=in_order({**self.state.members, **new}))
        effects = self.machine.judge(self.state, told, run_of(by), to_wire(told, now), now)
        sends = [effect for effect in effects or () if isinstance(effect, Send)]
        self.asked = "".join(send.to.address.host for send in sends)
        if sends:
            (self.question,) = {send.message for send in sends if isinstance(send.message, StandingQuestion)}
        self.state = told if effects is None else self.state
        return effects

    def answered(self, by: str, staying: str = "", token: int | None = None) -> None:
        assert self.question is not None
        named = tuple(run_of(name) for name in staying)
        answer = StandingAnswer(1, self.question.token if token is None else token, named)
        self.machine.answered(self.state, run_of(by), answer)

    def end(self, now: float = 1.1, *, is_over: bool = False) -> str:
        """Return whether the state that was told is "believed", "denied" or still "open"."""
        believed, effects = self.machine.settle(self.state, now, is_over=is_over)
        if believed is not None:
            return "believed"
        return "denied" if any(isinstance(effect, Note) for effect in effects) else "open"


def test_a_voter_may_say_that_one_member_goes_and_in_a_while_another() -> None:
    asked = Asked()
    assert asked.told("b", "c") is None
    assert asked.told("b", "d", now=1.0 + UNPROVEN_EVERY / 2)
    assert asked.asked == "cde"
    assert Asked().told("b", "b") is None, "of itself everybody may"
    later = Asked()
    assert later.told("b", "c", now=1.0) is None
    assert later.told("b", "d", now=1.0 + UNPROVEN_EVERY) is None


def test_members_may_leave_one_after_the_other() -> None:
    asked = Asked()
    assert all(asked.told("b", name, LEAVING) is None for name in "cde")
    assert asked.told("b", "a", LEAVING) is None, "an operator may have asked for it"


def test_who_has_been_accused_may_go_whoever_says_so() -> None:
    state = JOINED.with_row(run_of("b"), ObserverRow().accusing(run_of("c"), run_of("d"), run_of("e")))
    asked = Asked(state=state)
    asked.machine.observe(state, 1.0)
    assert asked.told("z", "cde", now=1.0 + PROVEN_AFTER) is None
    assert asked.told("e", "cde", now=1.0 + PROVEN_AFTER) is None


def test_an_accusation_of_the_teller_or_of_this_moment_is_no_reason() -> None:
    state = JOINED.with_row(run_of("b"), ObserverRow().accusing(run_of("c"), run_of("d"), run_of("e")))
    asked = Asked(state=state)
    asked.machine.observe(state, 1.0)
    assert asked.told("b", "cde", now=1.0 + PROVEN_AFTER)
    fresh = Asked(state=state)
    fresh.machine.observe(state, 1.0)
    assert fresh.told("e", "cd", now=0.9 + PROVEN_AFTER) is None, "two of five, as an operator may say"
    assert fresh.told("z", "cde", now=0.9 + PROVEN_AFTER)


@pytest.mark.parametrize(("by", "going"), [("b", "cde"), ("b", "a"), ("z", "a")])
def test_voters_are_asked_about_who_goes_without_a_reason_that_is_known_here(by: str, going: str) -> None:
    asked = Asked(strategy=KeepMajority(), state=JOINED)
    effects = asked.told(by, going)
    assert effects is not None
    assert effects[-1] == StartTimer(CONFIRM, CONFIRM_WITHIN)
    assert asked.asked == "bcde".replace(by, "")
    assert asked.question is not None
    assert [node.address.host for node in asked.question.nodes] == list(going)
    assert asked.end() == "open"


def test_a_majority_that_acknowledges_a_member_denies_that_it_goes() -> None:
    asked = Asked(strategy=KeepMajority())
    asked.told("b", "a")
    asked.answered("c", "a")
    assert asked.end() == "open"
    asked.answered("d", "a")
    assert asked.end(now=1.1) == "denied"
    assert asked.told("b", "a", now=1.1) == []
    assert asked.told("c", "a", now=1.1 + ASK_EVERY)


def test_what_a_majority_has_heard_too_is_believed_and_stays_so() -> None:
    asked = Asked(strategy=KeepMajority())
    asked.told("b", "a")
    asked.answered("c")
    assert asked.end() == "open"
    asked.answered("d")
    assert asked.end() == "believed", "of five, two may still acknowledge it"
    assert asked.told("c", "a", now=1.2) is None


def test_who_is_down_and_not_yet_removed_is_no_reason_to_stay() -> None:
    state = FIVE.with_moved(run_of("a"), {run_of("b"), run_of("e")}, DOWN)
    asked = Asked(strategy=KeepMajority(), state=state)
    asked.told("d", "a")
    assert asked.asked == "c"
    assert asked.end() == "believed", "a and c are most of the three that are left, and two of five"


def test_silence_is_no_acknowledgement_once_the_time_is_over() -> None:
    asked = Asked(strategy=KeepMajority())
    asked.told("b", "a")
    asked.answered("c", "a")
    assert asked.end(now=1.0 + CONFIRM_WITHIN, is_over=True) == "believed"


def test_who_hears_no_majority_asks_nobody_for_long() -> None:
    state = FIVE.with_row(run_of("a"), ObserverRow().accusing(run_of("c"), run_of("d"), run_of("e")))
    asked = Asked(strategy=KeepMajority(), state=state)
    asked.told("c", "a")
    assert asked.asked == "b"
    assert asked.end() == "believed"


@pytest.mark.parametrize(
    ("strategy", "acknowledging", "end"),
    [
        (KeepMajority(), "cd", "denied"),
        (KeepOldest(), "cd", "believed"),
        (KeepOldest(), "acd", "denied"),
        (StaticQuorum(3), "cd", "denied"),
        (LeaseMajority("lease"), "acd", "believed"),
        (DownAll(), "acd", "believed"),
        (None, "acd", "believed"),
    ],
)
def test_who_is_told_that_it_goes_stays_only_with_a_side_that_rules_out_others(
    strategy: Strategy | None, acknowledging: str, end: str
) -> None:
    asked = Asked("e", strategy)
    asked.told("b", "e")
    for name in "acd":
        asked.answered(name, "e" if name in acknowledging else "")
    assert asked.end() == end


def test_only_who_was_asked_answers_and_only_the_question() -> None:
    asked = Asked(strategy=KeepMajority())
    asked.told("b", "a")
    assert asked.question is not None
    for name in "bz":
        asked.answered(name, "a")
    asked.answered("c", "a", token=asked.question.token + 1)
    for _ in range(3):
        asked.answered("d", "a")
    assert asked.end() == "open"


def test_of_many_some_are_asked_about_this_node_first() -> None:
    many = gossip_of(*(member(f"n{number:03}", up_number=number) for number in range(1, 201)))
    machine = Confirmation(run_of("n150"), KeepMajority(), random.Random(1))
    teller = run_of("n001")
    told = many.with_moved(teller, many.present - {teller}, DOWN)
    effects = machine.judge(many, told, teller, _message(told), 1.0)
    assert effects is not None
    questions: Sequence[StandingQuestion] = [
        effect.message
        for effect in effects
        if isinstance(effect, Send) and isinstance(effect.message, StandingQuestion)
    ]
    assert len(questions) == 198
    assert len(questions[0].nodes) == ASKED_ABOUT_MAX
    assert questions[0].nodes[0] == run_of("n150")


def test_the_answer_names_those_that_stay_here() -> None:
    state = replace(FIVE.with_moved(run_of("a"), {run_of("c")}, DOWN).with_moved(run_of("a"), {run_of("d")}, LEAVING))
    nodes: tuple[UniqueAddress, ...] = tuple(run_of(name) for name in "bcdez")
    answer = standing_of(state, run_of("a"), StandingQuestion(state.cluster_id, 7, nodes), ())
    assert answer == StandingAnswer(state.cluster_id, 7, (run_of("b"), run_of("e")))
    accusing = state.with_row(run_of("a"), ObserverRow().accusing(run_of("b")))
    assert standing_of(accusing, run_of("a"), StandingQuestion(1, 7, nodes), ()).staying == (run_of("e"),)


def test_the_answer_names_those_that_join_if_they_were_heard_here() -> None:
    question, z = StandingQuestion(JOINED.cluster_id, 7, (run_of("z"),)), run_of("z")
    assert standing_of(JOINED, run_of("a"), question, ()).staying == ()
    assert standing_of(JOINED, run_of("a"), question, (z,)).staying == (z,)


def test_few_who_are_up_are_believed_and_so_many_as_could_outvote_the_others_need_somebody_who_met_them() -> None:
    asked = Asked()
    assert asked.comes("b", "p") is None
    assert asked.comes("b", "q") is None, "two of seven"
    assert asked.comes("b", "r"), "three, of whom nobody was heard here"
    assert asked.end(is_over=True) == "denied"


@pytest.mark.parametrize("heard", ["", "pqr"])
def test_who_was_heard_here_may_be_up_whoever_says_so(heard: str) -> None:
    asked = Asked()
    for name in heard:
        asked.machine.hear(run_of(name), asked.state)
    assert bool(asked.comes("b", "pqr")) is not bool(heard)


@pytest.mark.parametrize(("answers", "end"), [("pq", "denied"), ("pqr", "believed"), ("", "denied")])
def test_each_who_is_up_needs_a_voter_beside_the_teller(answers: str, end: str) -> None:
    asked = Asked()
    asked.comes("b", "pqr")
    assert set(asked.asked) <= set("cde")
    assert asked.end() == "open"
    asked.answered("b", "pqr")
    first, *others = asked.asked
    asked.answered(first, answers)
    assert asked.end() == ("believed" if end == "believed" else "open")
    for name in others:
        asked.answered(name)
    if end == "denied":
        assert asked.end() == "denied"
    else:
        assert asked.comes("b", "pqr") is None, "it counts for what comes now"


def test_who_is_not_up_itself_believes_who_is() -> None:
    assert Asked("z", state=JOINED).comes("b", "pqrstuv") is None


def _message(state: Gossip) -> GossipMessage:
    return to_wire(state, 1.0)
