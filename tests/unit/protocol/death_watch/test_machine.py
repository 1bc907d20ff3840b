"""Watches between nodes: repeated until answered, told once, over when a node is removed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from casty.address import UniqueAddress
from casty.protocol.death_watch import machine as death_watch
from casty.protocol.death_watch.machine import (
    REMOVED,
    UNKNOWN,
    UNKNOWN_AFTER,
    Attach,
    DeathWatch,
    Detach,
    Target,
    TellEnd,
    WatchEffect,
)
from casty.protocol.effects import Send, SendIfUp, StartTimer
from casty.protocol.messages.watching import (
    ActorTerminated,
    ActorUnwatched,
    ActorWatched,
    TerminatedNoted,
    UnwatchActor,
    WatchActor,
    WatchMessage,
)
from casty.testing.samples import address, run_of

A, B, C = (run_of(name) for name in "abc")
ALL = frozenset({A, B, C})
THERE = Target(B, "/there", 7)


def machine(members: frozenset[UniqueAddress] = ALL) -> DeathWatch[str]:
    one: DeathWatch[str] = DeathWatch()
    one.members_changed(members)
    return one


def sent(effects: Sequence[WatchEffect[str]]) -> list[tuple[UniqueAddress, object]]:
    return [(effect.to, effect.message) for effect in effects if isinstance(effect, Send | SendIfUp)]


def told(effects: Sequence[WatchEffect[str]]) -> list[tuple[str, str | None]]:
    return [(effect.watcher, effect.reason) for effect in effects if isinstance(effect, TellEnd)]


def test_a_watch_is_sent_at_once_and_again_until_it_is_answered() -> None:
    one = machine()
    first = one.watch("w", THERE, 0.0)
    assert sent(first) == [(B, WatchActor(1, "/there", 7))]
    assert StartTimer("resend", 1.0) in first
    assert sent(one.resend(1.0)) == [(B, WatchActor(1, "/there", 7))]
    assert one.hear(B, ActorWatched(1), exists=False) == ()
    assert one.resend(2.0) == []
    assert (one.pending, one.watches) == (0, (1, 0))


def test_watchers_of_one_actor_share_a_watch_and_are_each_told() -> None:
    one = machine()
    one.watch("w1", THERE, 0.0)
    assert one.watch("w2", THERE, 0.0) == ()
    assert one.watch("w2", THERE, 0.0) == ()
    effects = one.hear(B, ActorTerminated(1, "Boom"), exists=False)
    assert sent(effects) == [(B, TerminatedNoted(1))]
    assert told(effects) == [("w1", "Boom"), ("w2", "Boom")]
    assert (one.pending, one.watches) == (0, (0, 0))


def test_an_end_that_comes_twice_is_acknowledged_twice_and_told_once() -> None:
    one = machine()
    one.watch("w", THERE, 0.0)
    one.hear(B, ActorTerminated(1, None), exists=False)
    again = one.hear(B, ActorTerminated(1, None), exists=False)
    assert (sent(again), told(again)) == ([(B, TerminatedNoted(1))], [])


def test_only_the_last_watcher_ends_the_watch_and_repeats_that_until_it_is_answered() -> None:
    one = machine()
    one.watch("w1", THERE, 0.0)
    one.watch("w2", THERE, 0.0)
    assert one.unwatch("w1") == ()
    assert one.unwatch("nobody") == ()
    assert sent(one.unwatch("w2")) == [(B, UnwatchActor(1))]
    assert sent(one.resend(1.0)) == [(B, UnwatchActor(1))]
    assert told(one.hear(B, ActorTerminated(1, None), exists=False)) == []
    one.hear(B, ActorUnwatched(1), exists=False)
    assert (one.pending, one.watches) == (0, (0, 0))


def test_an_answer_for_the_watch_does_not_end_an_unwatch() -> None:
    one = machine()
    one.watch("w", THERE, 0.0)
    one.unwatch("w")
    one.hear(B, ActorWatched(1), exists=False)
    assert one.pending == 1


def test_an_actor_that_is_there_is_attached_once() -> None:
    one = machine()
    assert one.hear(A, WatchActor(4, "/x", 2), exists=True) == [
        Attach(A, 4, "/x", 2),
        SendIfUp(A, ActorWatched(4)),
    ]
    assert one.hear(A, WatchActor(4, "/x", 2), exists=True) == [SendIfUp(A, ActorWatched(4))]


def test_an_actor_that_is_not_there_has_ended() -> None:
    one = machine()
    assert one.hear(A, WatchActor(4, "/x", 2), exists=False) == [SendIfUp(A, ActorTerminated(4, None))]
    assert (one.pending, one.watches) == (0, (0, 0))


def test_the_end_is_repeated_with_its_reason_until_it_is_noted() -> None:
    one = machine()
    one.hear(A, WatchActor(4, "/x", 2), exists=True)
    assert sent(one.ended(A, 4, "Boom")) == [(A, ActorTerminated(4, "Boom"))]
    assert one.ended(A, 4, "Boom") == ()
    assert sent(one.hear(A, WatchActor(4, "/x", 2), exists=True)) == [(A, ActorTerminated(4, "Boom"))]
    assert sent(one.resend(1.0)) == [(A, ActorTerminated(4, "Boom"))]
    one.hear(A, TerminatedNoted(4), exists=False)
    assert one.pending == 0


def test_a_peer_can_take_its_watch_back_at_any_time() -> None:
    one = machine()
    one.hear(A, WatchActor(4, "/x", 2), exists=True)
    assert one.hear(A, UnwatchActor(4), exists=False) == [Detach(A, 4), SendIfUp(A, ActorUnwatched(4))]
    assert one.hear(A, UnwatchActor(4), exists=False) == [SendIfUp(A, ActorUnwatched(4))]
    one.hear(A, WatchActor(5, "/x", 2), exists=True)
    one.ended(A, 5, None)
    one.hear(A, UnwatchActor(5), exists=False)
    assert (one.pending, one.watches) == (0, (0, 0))


def test_the_removal_of_a_node_ends_every_watch_in_both_directions() -> None:
    one = machine()
    for serial in range(1, 4):
        one.watch(f"w{serial}", Target(B, f"/{serial}", serial), 0.0)
    one.watch("other", Target(C, "/1", 1), 0.0)
    one.hear(B, ActorWatched(1), exists=False)
    one.unwatch("w3")
    one.hear(B, WatchActor(9, "/x", 2), exists=True)
    one.hear(B, WatchActor(8, "/x", 2), exists=True)
    one.ended(B, 8, None)
    effects = one.members_changed(frozenset({A, C}))
    assert told(effects) == [("w1", REMOVED), ("w2", REMOVED)]
    assert Detach(B, 9) in effects
    assert (one.pending, one.watches) == (1, (1, 0))


def test_a_restarted_node_is_another_one() -> None:
    newer = run_of("b", 12345)
    one = machine()
    one.watch("w", THERE, 0.0)
    assert told(one.members_changed(frozenset({A, newer}))) == [("w", REMOVED)]


def test_a_node_that_is_no_member_has_time_to_become_one() -> None:
    one = machine(frozenset({A}))
    one.watch("w", THERE, 0.0)
    assert sent(one.resend(UNKNOWN_AFTER - 0.1)) == [(B, WatchActor(1, "/there", 7))]
    one.members_changed(frozenset({A, B}))
    assert told(one.resend(UNKNOWN_AFTER + 1)) == []
    assert told(one.members_changed(frozenset({A}))) == [("w", REMOVED)]


def test_a_node_that_never_becomes_a_member_counts_as_gone() -> None:
    one = machine(frozenset({A}))
    one.watch("w", THERE, 0.0)
    one.hear(B, ActorWatched(1), exists=False)
    assert told(one.resend(UNKNOWN_AFTER)) == [("w", UNKNOWN)]
    assert one.pending == 0


def test_a_watch_by_address_is_bound_to_the_run_that_answers() -> None:
    one = machine()
    one.watch("w", Target(UniqueAddress(address("b"), 0), "/there", 0), 0.0)
    one.hear(B, ActorWatched(1), exists=False)
    assert told(one.hear(run_of("b", 999), ActorTerminated(1, None), exists=False)) == []
    assert told(one.members_changed(frozenset({A, C}))) == [("w", REMOVED)]


@pytest.mark.parametrize("message", [ActorTerminated(1, None), ActorWatched(1), ActorUnwatched(1)])
def test_an_answer_from_whoever_was_not_asked_changes_nothing(message: WatchMessage) -> None:
    one = machine()
    one.watch("w", THERE, 0.0)
    assert told(one.hear(C, message, exists=False)) == []
    assert (one.pending, one.watches) == (1, (1, 0))
    one.unwatch("w")
    one.hear(C, message, exists=False)
    assert one.pending == 1


def test_a_stranger_watches_nothing() -> None:
    one = machine(frozenset({A, B}))
    assert one.hear(C, WatchActor(1, "/x", 2), exists=True) == ()


def test_a_peer_has_a_bounded_number_of_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(death_watch, "WATCHES_PER_PEER_MAX", 2)
    one = machine()
    answers = [one.hear(A, WatchActor(serial, "/x", 2), exists=True) for serial in range(3)]
    assert [bool(answer) for answer in answers] == [True, True, False]
    assert one.hear(C, WatchActor(1, "/x", 2), exists=True)
    one.hear(A, UnwatchActor(0), exists=True)
    assert one.hear(A, WatchActor(2, "/x", 2), exists=True)


def test_what_is_repeated_takes_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(death_watch, "RESENDS_MAX", 2)
    one = machine()
    for number in range(5):
        one.watch(f"w{number}", Target(B, "/x", number), 0.0)
    rounds = [[message for _, message in sent(one.resend(float(at)))] for at in range(1, 4)]
    serials = [message.serial for turn in rounds for message in turn if isinstance(message, WatchActor)]
    assert serials == [1, 2, 3, 4, 5, 1]


@dataclass
class Net:
    """Two machines, a, whose watchers watch, and b, whose actors end, over a network that loses and repeats."""

    seed: int
    loss: float
    a: DeathWatch[str] = field(default_factory=machine)
    b: DeathWatch[str] = field(default_factory=machine)
    alive: set[int] = field(default_factory=set[int])
    flying: list[tuple[UniqueAddress, WatchMessage]] = field(default_factory=list[tuple[UniqueAddress, WatchMessage]])
    attached: dict[int, int] = field(default_factory=dict[int, int])
    told: list[str] = field(default_factory=list[str])

    def perform(self, effects: Sequence[WatchEffect[str]]) -> None:
        for effect in effects:
            match effect:
                case Send(to, message) | SendIfUp(to, message):
                    self.flying.append((to, message))  # type: ignore[arg-type]  # only messages of watches
                case Attach(_, serial, _, uid):
                    self.attached[serial] = uid
                case Detach(_, serial):
                    del self.attached[serial]
                case TellEnd(watcher, _):
                    self.told.append(watcher)
                case StartTimer():
                    pass

    def deliver(self, rng: Random) -> None:
        flying, self.flying = self.flying, []
        for to, message in flying:
            for _ in range(0 if rng.random() < self.loss else 2 if rng.random() < self.loss else 1):
                if to == B:
                    exists = isinstance(message, WatchActor) and message.uid in self.alive
                    self.perform(self.b.hear(A, message, exists=exists))
                else:
                    self.perform(self.a.hear(B, message, exists=False))

    def end(self, uid: int) -> None:
        self.alive.discard(uid)
        for serial in [serial for serial, attached in self.attached.items() if attached == uid]:
            del self.attached[serial]
            self.perform(self.b.ended(A, serial, None))


@given(
    st.integers(0, 2**32),
    st.floats(0.0, 0.6),
    st.lists(st.tuples(st.sampled_from(["watch", "unwatch", "end", "wait"]), st.integers(1, 4)), max_size=30),
)
def test_each_watcher_is_told_once_over_a_network_that_loses_and_repeats(
    seed: int, loss: float, steps: list[tuple[str, int]]
) -> None:
    rng, net, now = Random(seed), Net(seed, loss), 0.0
    net.alive = {1, 2, 3, 4}
    watching: set[int] = set()
    for step, uid in steps:
        match step:
            case "watch":
                net.perform(net.a.watch(f"w{uid}", Target(B, "/x", uid), now))
                watching.add(uid)
            case "unwatch":
                net.perform(net.a.unwatch(f"w{uid}"))
                watching.discard(uid)
            case "end":
                net.end(uid)
            case _:
                now += 1.0
                net.deliver(rng)
                net.perform(net.a.resend(now))
                net.perform(net.b.resend(now))
        assert len(set(net.told)) == len(net.told)
        watching -= {int(name[1:]) for name in net.told}
        net.told.clear()
    for uid in range(1, 5):
        net.end(uid)
    net.loss = 0.0 if loss < 0.3 else loss
    for _ in range(400):
        now += 1.0
        net.deliver(rng)
        net.perform(net.a.resend(now))
        net.perform(net.b.resend(now))
        if not net.flying and not net.a.pending and not net.b.pending:
            break
    assert sorted(net.told) == sorted(f"w{uid}" for uid in watching)
    assert (net.a.pending, net.b.pending, net.a.watches, net.b.watches) == (0, 0, (0, 0), (0, 0))


def test_only_the_node_that_watches_ends_its_watch() -> None:
    one = machine()
    one.hear(B, WatchActor(1, "/here", 7), exists=True)
    for stranger in (C, run_of("b", incarnation=99), run_of("z")):
        assert sent(one.hear(stranger, UnwatchActor(1), exists=False)) == [(stranger, ActorUnwatched(1))]
        one.hear(stranger, TerminatedNoted(1), exists=False)
    assert sent(one.ended(B, 1, None)) == [(B, ActorTerminated(1, None))]
    one.hear(C, TerminatedNoted(1), exists=False)
    assert one.pending == 1
    one.hear(B, TerminatedNoted(1), exists=False)
    assert one.pending == 0
