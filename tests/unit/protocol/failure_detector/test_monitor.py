"""Who is monitored, what counts as silence, and what counts as evidence."""

from __future__ import annotations

from casty.protocol.effects import Dial, StartTimer, TimerFired
from casty.protocol.failure_detector.heartbeat import SendHeartbeats
from casty.protocol.failure_detector.local_health import STALL_FORGIVEN_MAX
from casty.protocol.failure_detector.monitor import (
    CHECK,
    HEARTBEAT,
    REFUSAL_GAP,
    REPEAT,
    Availability,
    DialFailed,
    Heard,
    LinkLost,
    MarkReachable,
    MarkUnreachable,
    RunSeen,
    WatchMembers,
)
from casty.protocol.failure_detector.ring import successors
from casty.protocol.messages.liveness import HeartbeatAck
from casty.testing.samples import address, run_of

A, B, C, D = (run_of(name) for name in "abcd")


def watching(*names: str, **options: int) -> Availability:
    machine = Availability(A, **options)
    machine.handle(WatchMembers((A, *(run_of(name) for name in names))), 0.0)
    return machine


def ticked(machine: Availability, start: float, end: float) -> None:
    """Let the heartbeat timer run on time from ``start`` to ``end``."""
    for tick in range(int(start / 0.5), int(end / 0.5) + 1):
        machine.handle(TimerFired(HEARTBEAT), tick * 0.5)


def accusations(machine: Availability, now: float) -> list[object]:
    return [effect for effect in machine.handle(TimerFired(CHECK), now) if isinstance(effect, MarkUnreachable)]


def test_all_who_are_silent_at_one_time_are_accused_together() -> None:
    machine = watching("b", "c", "d")
    ticked(machine, 0.0, 6.0)
    (accusation,) = accusations(machine, 6.0)
    assert isinstance(accusation, MarkUnreachable)
    assert sorted(accusation.subjects) == [B, C, D]


def test_accusation_says_whose_next_answer_is_waited_for_and_that_one_is_told_once() -> None:
    machine = watching("b", "c", "d")
    machine.handle(Heard(C, HeartbeatAck(1)), 1.0)
    machine.handle(Heard(D, HeartbeatAck(1)), 1.8)
    (accusation,) = machine.handle(RunSeen(run_of("b", 999)), 2.0)
    assert accusation == MarkUnreachable((B,), suspected=(C, D))  # D has just answered, and may have been cut off since
    assert MarkReachable(C) in machine.handle(Heard(C, HeartbeatAck(2)), 2.1)
    assert MarkReachable(C) not in machine.handle(Heard(C, HeartbeatAck(3)), 2.6)


def test_member_whose_answer_was_waited_for_is_let_go_when_others_watch_it() -> None:
    machine = Availability(A, monitored_max=2)
    machine.handle(WatchMembers((A, B, C)), 0.0)
    lost, late = machine.monitored
    (accusation,) = machine.handle(RunSeen(run_of(lost.address.host, 999)), 2.0)
    assert accusation == MarkUnreachable((lost,), suspected=(late,))
    runs = [run_of(name) for name in "defghijklm"]
    newcomers = [run for run in runs if late not in successors(A, (A, late, run), 1)][:2]
    assert MarkReachable(late) in machine.handle(WatchMembers((A, B, C, *newcomers)), 2.1)
    assert late not in machine.monitored
    assert machine.handle(Heard(late, HeartbeatAck(1)), 2.2) == []


def test_next_on_the_ring_is_watched_too_while_another_is_accused() -> None:
    others = [run_of(name) for name in "bcdef"]
    around = successors(A, others, 5)
    machine = Availability(A, monitored_max=2)
    machine.handle(WatchMembers((A, *others)), 0.0)
    assert machine.monitored == around[:2]
    effects = machine.handle(RunSeen(run_of(around[0].address.host, 999)), 1.0)
    assert machine.monitored == [around[1], around[2], around[0]]
    assert SendHeartbeats((around[2],), 2) in effects
    machine.handle(Heard(around[0], HeartbeatAck(1)), 2.0)
    assert machine.monitored == around[:2]


def test_many_more_are_watched_once_all_that_should_be_are_accused() -> None:
    others = [run_of(f"n{number}") for number in range(20)]
    around = successors(A, others, 20)
    machine = Availability(A, monitored_max=2)
    machine.handle(WatchMembers((A, *others)), 0.0)
    machine.handle(RunSeen(run_of(around[0].address.host, 999)), 1.0)
    assert set(machine.monitored) == set(around[:3])
    (accusation, *_) = machine.handle(RunSeen(run_of(around[1].address.host, 999)), 1.1)
    assert set(machine.monitored) == set(around[:10])
    assert accusation == MarkUnreachable((around[1],), suspected=tuple(sorted(around[2:10])))
    machine.handle(Heard(around[0], HeartbeatAck(1)), 2.0)
    assert machine.monitored == [around[0], around[2], around[1]]


def test_those_who_are_watched_once_others_are_lost_are_waited_for_too() -> None:
    """What the others had said of them counts no more, and says nothing."""
    others = [run_of(name) for name in "bcdef"]
    around = successors(A, others, 5)
    machine = Availability(A, monitored_max=2)
    machine.handle(WatchMembers((A, *others)), 0.0)
    (accusation, *_) = machine.handle(RunSeen(run_of(around[0].address.host, 999)), 1.0)
    assert accusation == MarkUnreachable((around[0],), suspected=tuple(sorted(around[1:3])))
    assert MarkReachable(around[2]) in machine.handle(Heard(around[2], HeartbeatAck(1)), 1.2)


def test_voters_watch_one_another_however_many_join() -> None:
    joining = [run_of(f"j{place}") for place in range(40)]
    machine = Availability(A)
    machine.handle(WatchMembers((A, B, C, *joining), (A, B, C)), 0.0)
    assert {B, C} <= set(machine.monitored)
    assert machine.monitored[:9] == successors(A, [B, C, *joining], 9)
    assert len(machine.monitored) <= 11
    machine.handle(WatchMembers((A, B, C, *joining)), 1.0)
    assert machine.monitored == successors(A, [B, C, *joining], 9)
    machine.handle(WatchMembers((A, B, C, *joining), (B, C)), 2.0)
    assert machine.monitored == successors(A, [B, C, *joining], 9), "who joins itself need not"


def test_successors_go_round_the_ring_and_leave_oneself_out() -> None:
    nodes = [run_of(name) for name in "abcdefgh"]
    around = successors(nodes[0], nodes, 9)
    assert sorted(around) == nodes[1:]
    assert successors(around[0], nodes, 6) == around[1:7]


def test_watched_members_get_a_heartbeat_at_once_and_then_on_each_tick() -> None:
    machine = Availability(A)
    first = machine.handle(WatchMembers((A, B)), 0.0)
    assert SendHeartbeats((B,), 1) in first
    assert StartTimer(HEARTBEAT, 0.0) in first
    assert SendHeartbeats((B,), 2) in machine.handle(TimerFired(HEARTBEAT), 0.0)


def test_silent_node_is_accused_once() -> None:
    machine = watching("b")
    ticked(machine, 0.0, 6.0)
    assert accusations(machine, 6.0) == [MarkUnreachable((B,))]
    assert accusations(machine, 6.1) == []


def test_answering_node_is_not_accused() -> None:
    machine = watching("b")
    ticked(machine, 0.0, 6.0)
    machine.handle(Heard(B, HeartbeatAck(1)), 4.0)
    assert accusations(machine, 6.0) == []


def test_timer_is_set_for_the_crossing_or_the_longest_gap() -> None:
    machine = watching("b")
    ticked(machine, 0.0, 3.5)
    (planned,) = [e for e in machine.handle(TimerFired(CHECK), 0.5) if isinstance(e, StartTimer)]
    assert planned.delay == machine.availability_interval
    (planned,) = [e for e in machine.handle(TimerFired(CHECK), 3.5) if isinstance(e, StartTimer)]
    assert 3.5 + planned.delay <= 5.0


def test_crossing_is_never_later_than_two_seconds_after_the_pause() -> None:
    machine = watching("b")
    for beat in range(20):
        machine.handle(Heard(B, HeartbeatAck(beat)), beat * 1.99)
    last = 19 * 1.99
    ticked(machine, 0.0, last + 5.0)
    assert accusations(machine, last + 5.0) == [MarkUnreachable((B,))]


def test_accused_node_that_answers_is_absolved_and_judged_again() -> None:
    machine = watching("b")
    ticked(machine, 0.0, 6.0)
    accusations(machine, 6.0)
    assert machine.handle(Heard(B, HeartbeatAck(1)), 6.5)[0] == MarkReachable(B)
    ticked(machine, 6.5, 13.0)
    assert accusations(machine, 13.0) == [MarkUnreachable((B,))]


def test_own_lateness_withholds_accusations_for_a_bounded_time() -> None:
    machine = watching("b")
    machine.handle(TimerFired(HEARTBEAT), 0.0)
    assert accusations(machine, 60.0) == []
    ticked(machine, 60.0, 60.0 + STALL_FORGIVEN_MAX + 0.5)
    assert accusations(machine, 60.5) == []
    assert accusations(machine, 60.5 + STALL_FORGIVEN_MAX) == [MarkUnreachable((B,))]


def test_lost_link_is_dialled_at_once_if_the_node_is_monitored() -> None:
    assert watching("b").handle(LinkLost(B), 1.0) == [Dial(B.address)]
    assert watching("b").handle(LinkLost(C), 1.0) == []


def test_two_refused_dials_apart_are_evidence() -> None:
    machine = watching("b")
    (again,) = machine.handle(DialFailed(B.address, refused=True), 1.0)
    assert isinstance(again, StartTimer)
    assert machine.handle(TimerFired(again.key), 1.0 + REFUSAL_GAP) == [Dial(B.address)]
    assert machine.handle(DialFailed(B.address, refused=True), 1.0 + REFUSAL_GAP + 0.001) == [MarkUnreachable((B,))]


def test_the_second_refusal_counts_at_the_very_time_of_the_timer() -> None:
    # In virtual time nothing passes between the timer, the dial and its refusal.
    for start in [20.0 + 0.013 * step for step in range(1_000)]:
        machine, now = watching("b"), start
        for _ in range(3):
            (effect,) = machine.handle(DialFailed(B.address, refused=True), now)
            if not isinstance(effect, StartTimer):
                break
            now += effect.delay
        assert effect == MarkUnreachable((B,)), start


def test_two_refused_dials_at_one_time_are_not() -> None:
    machine = watching("b")
    machine.handle(DialFailed(B.address, refused=True), 1.0)
    assert not any(isinstance(e, MarkUnreachable) for e in machine.handle(DialFailed(B.address, refused=True), 1.1))


def test_dial_that_found_silence_or_the_node_starts_the_count_again() -> None:
    for between in (DialFailed(B.address, refused=False), RunSeen(B), Heard(B, HeartbeatAck(1))):
        machine = watching("b")
        machine.handle(DialFailed(B.address, refused=True), 1.0)
        machine.handle(between, 2.0)
        assert not any(isinstance(e, MarkUnreachable) for e in machine.handle(DialFailed(B.address, refused=True), 3.0))


def test_refused_dial_of_an_unmonitored_address_means_nothing() -> None:
    assert watching("b").handle(DialFailed(address("z"), refused=True), 1.0) == []


def test_another_run_at_the_address_is_evidence_at_once() -> None:
    machine = watching("b")
    assert machine.handle(RunSeen(run_of("b", 999)), 1.0) == [MarkUnreachable((B,))]
    assert machine.handle(RunSeen(run_of("b", 999)), 1.1) == []


def test_accused_node_stays_monitored_when_the_ring_moves_on() -> None:
    machine = watching(*"bcdefgh", monitored_max=2)
    lost = machine.monitored[0]
    machine.handle(RunSeen(run_of(lost.address.host, 999)), 1.0)
    others = [run_of(name) for name in "abcdefgh"] + [run_of(f"n{number}") for number in range(20)]
    machine.handle(WatchMembers(tuple(others)), 2.0)
    assert lost in machine.monitored


def test_node_that_is_gone_is_forgotten() -> None:
    machine = watching("b")
    machine.handle(RunSeen(run_of("b", 999)), 1.0)
    machine.handle(WatchMembers((A,)), 2.0)
    assert (machine.monitored, machine.accused, machine.suspicion(B, 99.0)) == ([], set(), 0.0)


def test_late_answers_are_asked_for_twice_as_often_until_they_come() -> None:
    machine = watching("b")
    machine.handle(Heard(B, HeartbeatAck(1)), 0.0)
    assert StartTimer(REPEAT, 0.25) not in machine.handle(TimerFired(HEARTBEAT), 0.5)
    assert StartTimer(REPEAT, 0.25) in machine.handle(TimerFired(HEARTBEAT), 1.0)
    (beat,) = machine.handle(TimerFired(REPEAT), 1.25)
    assert beat == SendHeartbeats((B,), 4)
    machine.handle(Heard(B, HeartbeatAck(4)), 1.3)
    assert machine.handle(TimerFired(REPEAT), 1.75) == []


def answering(machine: Availability, until: float, *, heard: bool = True) -> None:
    """Let every monitored member answer twice a second, and the machine know of it at once, or not."""
    for beat in range(int(until / 0.5) + 1):
        machine.handle(TimerFired(HEARTBEAT), beat * 0.5)
        if heard:
            for node in list(machine.monitored):
                machine.handle(Heard(node, HeartbeatAck(beat)), beat * 0.5)


def test_answer_that_has_waited_counts_from_the_time_at_which_it_came() -> None:
    prompt, late = watching("b"), watching("b")
    answering(prompt, 10.0)
    answering(late, 10.0, heard=False)
    for beat in range(21):
        late.handle(Heard(B, HeartbeatAck(beat), beat * 0.5), 10.0)
    assert late.detector.last_heard(B) == prompt.detector.last_heard(B) == 10.0
    for seconds in (10.5, 13.0):
        assert late.suspicion(B, seconds) == prompt.suspicion(B, seconds)


def test_answer_that_came_before_a_member_was_watched_takes_no_time_from_it() -> None:
    machine = Availability(A)
    machine.handle(WatchMembers((A, B)), 5.0)
    machine.handle(Heard(B, HeartbeatAck(1), 4.0), 5.1)
    assert machine.detector.last_heard(B) == 5.0


def test_answer_says_nothing_of_a_time_that_has_not_come() -> None:
    machine = watching("b")
    machine.handle(Heard(B, HeartbeatAck(1), 9.0), 2.0)
    assert machine.detector.last_heard(B) == 2.0
