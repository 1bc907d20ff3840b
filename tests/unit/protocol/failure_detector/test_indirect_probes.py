"""Whoever is silent for one member may be heard by others, and that puts an accusation off."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from casty.address import UniqueAddress
from casty.protocol.effects import Send, TimerFired
from casty.protocol.failure_detector.indirect_probes import QUESTIONS_MAX
from casty.protocol.failure_detector.monitor import (
    CHECK,
    HEARTBEAT,
    PROBE_PHI,
    Availability,
    Heard,
    MarkUnreachable,
    WatchMembers,
)
from casty.protocol.messages.liveness import Heartbeat, HeartbeatAck, ProbeAnswer, ProbeRequest
from casty.testing.samples import run_of

A, B, C, D, E, Z = (run_of(name) for name in "abcdez")
STEP = 0.01


@dataclass
class Doubt:
    """A node that all but B answer, from the time at which it asks others about B."""

    machine: Availability
    heard_at: float
    now: float
    requests: list[Send]

    @property
    def unasked(self) -> float:
        """How long the silence may last when nobody has heard B later."""
        return self.machine.detector.crossing(B) - self.heard_at

    def accused_after(self, until: float) -> float | None:
        """Return how long the silence has lasted when B is accused, None if it is not until then."""
        while self.now < until:
            effects = self.step()
            if any(isinstance(effect, MarkUnreachable) and effect.subjects == (B,) for effect in effects):
                return self.now - self.heard_at
        return None

    def step(self) -> list[object]:
        """Let a moment pass, in which all but B answer."""
        self.now += STEP
        self.machine.handle(TimerFired(HEARTBEAT), self.now)
        for node in (C, D, E):
            self.machine.handle(Heard(node, HeartbeatAck(0)), self.now)
        return list(self.machine.handle(TimerFired(CHECK), self.now))

    def answer(self, sender: UniqueAddress, heard_ago: float) -> None:
        """Let a member say how long ago it heard B."""
        (request,) = {effect.message.sequence for effect in self.requests if isinstance(effect.message, ProbeRequest)}
        self.machine.handle(Heard(sender, ProbeAnswer(request, heard_ago)), self.now)


@pytest.fixture
def doubt() -> Doubt:
    machine = Availability(A)
    machine.handle(WatchMembers((A, B, C, D, E)), 0.0)
    for beat in range(21):
        for node in (B, C, D, E):
            machine.handle(Heard(node, HeartbeatAck(beat)), beat * 0.5)
    found = Doubt(machine, 10.0, 10.0, [])
    while not found.requests:
        found.requests = [effect for effect in found.step() if isinstance(effect, Send)]
    return found


def test_two_others_are_asked_when_phi_reaches_one(doubt: Doubt) -> None:
    assert doubt.machine.suspicion(B, doubt.now - STEP) < PROBE_PHI <= doubt.machine.suspicion(B, doubt.now)
    assert len({effect.to for effect in doubt.requests} - {A, B}) == 2
    assert {type(effect.message) for effect in doubt.requests} == {ProbeRequest}


@pytest.mark.parametrize("gap", [0.5, 1.99])
def test_others_are_asked_before_the_accusation_whatever_was_learned(gap: float) -> None:
    machine = Availability(A)
    machine.handle(WatchMembers((A, B, C, D, E)), 0.0)
    for beat in range(21):
        for node in (B, C, D, E):
            machine.handle(Heard(node, HeartbeatAck(beat)), beat * gap)
    silence, asked_at = Doubt(machine, 20 * gap, 20 * gap, []), None
    while silence.now < silence.heard_at + 6.0:
        effects = silence.step()
        if asked_at is None and any(isinstance(effect, Send) for effect in effects):
            asked_at = silence.now
        if any(isinstance(effect, MarkUnreachable) for effect in effects):
            break
    assert asked_at is not None
    assert silence.now - asked_at >= 0.5


def test_others_are_asked_once_in_each_silence(doubt: Doubt) -> None:
    assert not [effect for _ in range(20) for effect in doubt.step() if isinstance(effect, Send)]
    doubt.machine.handle(Heard(B, HeartbeatAck(1)), doubt.now)
    again = list[object]()
    while not again:
        again = [effect for effect in doubt.step() if isinstance(effect, Send)]
    assert len(again) == 2


def test_member_that_nobody_hears_is_accused_on_time(doubt: Doubt) -> None:
    assert doubt.accused_after(20.0) == pytest.approx(doubt.unasked, abs=2 * STEP)


@pytest.mark.parametrize(("advance", "later"), [(0.3, 0.3), (1.0, 1.0), (3.0, 1.0), (0.0, 0.0), (-90.0, 0.0)])
def test_accusation_is_put_off_by_what_another_heard_later_and_by_a_second_at_most(
    doubt: Doubt, advance: float, later: float
) -> None:
    heard_ago = doubt.now - doubt.heard_at - advance
    for helper in (doubt.requests[0].to, doubt.requests[1].to, doubt.requests[0].to):
        doubt.answer(helper, heard_ago)
    assert doubt.accused_after(20.0) == pytest.approx(doubt.unasked + later, abs=2 * STEP)


@pytest.mark.parametrize("heard_ago", [-1.0, float("nan"), float("inf"), float("-inf")])
def test_answer_with_a_time_that_cannot_be_means_nothing(doubt: Doubt, heard_ago: float) -> None:
    doubt.answer(doubt.requests[0].to, heard_ago)
    assert doubt.accused_after(20.0) == pytest.approx(doubt.unasked, abs=2 * STEP)


def test_answer_of_whom_nobody_asked_or_to_another_question_means_nothing(doubt: Doubt) -> None:
    (bystander,) = {C, D, E} - {effect.to for effect in doubt.requests}
    doubt.answer(bystander, 0.0)
    for number in (0, 99):
        doubt.machine.handle(Heard(doubt.requests[0].to, ProbeAnswer(number, 0.0)), doubt.now)
    assert doubt.accused_after(20.0) == pytest.approx(doubt.unasked, abs=2 * STEP)


def test_answer_that_comes_after_the_member_answered_itself_changes_nothing(doubt: Doubt) -> None:
    doubt.machine.handle(Heard(B, HeartbeatAck(1)), doubt.now)
    doubt.heard_at = doubt.now
    doubt.answer(doubt.requests[0].to, 0.0)
    assert doubt.accused_after(30.0) == pytest.approx(doubt.unasked, abs=2 * STEP)


def watching(*others: UniqueAddress) -> Availability:
    machine = Availability(A)
    machine.handle(WatchMembers((A, *others)), 0.0)
    return machine


def test_member_that_is_asked_sends_a_heartbeat_and_tells_of_the_answer() -> None:
    machine = watching(B, C)
    (beat,) = machine.handle(Heard(C, ProbeRequest(B, 7)), 5.0)
    assert isinstance(beat, Send)
    assert isinstance(beat.message, Heartbeat)
    assert beat.to == B
    assert machine.handle(Heard(B, HeartbeatAck(beat.message.sequence)), 5.1)[0] == Send(C, ProbeAnswer(7, 0.0))
    assert machine.handle(Heard(B, HeartbeatAck(beat.message.sequence)), 5.2) == []


def test_member_that_heard_the_other_lately_says_so_at_once() -> None:
    machine = watching(B, C)
    machine.handle(Heard(B, HeartbeatAck(1)), 3.0)
    assert machine.handle(Heard(C, ProbeRequest(B, 7)), 5.0)[0] == Send(C, ProbeAnswer(7, 2.0))


def test_nobody_is_probed_for_a_stranger_and_no_stranger_is_probed() -> None:
    machine = watching(B, C)
    for sender, subject in ((Z, B), (C, Z), (C, A)):
        assert machine.handle(Heard(sender, ProbeRequest(subject, 1)), 1.0) == []


def test_questions_that_are_never_answered_take_bounded_room() -> None:
    machine = watching(B, C)
    asked = [machine.handle(Heard(C, ProbeRequest(B, number)), 1.0)[-1] for number in range(QUESTIONS_MAX + 1)]
    numbers = [
        effect.message.sequence
        for effect in asked
        if isinstance(effect, Send) and isinstance(effect.message, Heartbeat)
    ]
    acked = [machine.handle(Heard(B, HeartbeatAck(number)), 2.0) for number in numbers]
    assert [len(effects) for effects in acked] == [0] + [1] * QUESTIONS_MAX


def test_a_node_that_has_nobody_to_ask_accuses_all_the_same() -> None:
    machine = watching(B)
    for beat in range(13):
        machine.handle(TimerFired(HEARTBEAT), beat * 0.5)
    [accusation] = [one for one in machine.handle(TimerFired(CHECK), 6.0) if isinstance(one, MarkUnreachable)]
    assert accusation.subjects == (B,)
