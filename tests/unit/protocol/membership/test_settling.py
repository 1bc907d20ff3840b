"""What follows from a step follows once, and at once, also when a step before it has failed."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from casty.protocol.effects import TimerFired
from casty.protocol.gossip.state_on_wire import seen_on_wire
from casty.protocol.membership.inputs import Received, Start, TopologyEffect, TopologySettings
from casty.protocol.membership.leaving import OwnLeave
from casty.protocol.membership.machine import UNHEARD, Topology
from casty.protocol.membership.view import MembersChanged
from casty.protocol.messages.membership import Join
from casty.protocol.state.member import MemberStatus
from casty.testing.samples import member, run_of

A, B, Z = (run_of(name) for name in "abz")


def begun() -> Topology:
    machine = Topology(member("a", "joining"), (), TopologySettings(), random.Random(1))
    machine.handle(Start(), 0.0)
    return machine


def members_told(effects: Sequence[TopologyEffect]) -> list[list[str]]:
    return [[one.id for one in effect.members] for effect in effects if isinstance(effect, MembersChanged)]


def test_a_step_that_failed_is_told_when_it_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    machine = begun()
    join = Received(B, Join(member("b", "joining"), TopologySettings().shared, 7))

    def fail(*_: object) -> list[TopologyEffect]:
        raise RuntimeError("a bug that this message touches, once")

    with monkeypatch.context() as patch:
        patch.setattr(OwnLeave, "settle", fail)
        with pytest.raises(RuntimeError):
            machine.handle(join, 1.0)
    assert machine.state is not None and B not in machine.state.members
    assert members_told(machine.handle(join, 1.1))[-1] == ["a", "b"]
    assert B in machine.state.members


def test_who_is_heard_for_the_first_time_comes_up_at_once() -> None:
    machine = begun()
    assert machine.state is not None
    machine.state = machine.state.with_member(A, member("z", "joining")).seen_by(A, Z)
    machine.handle(TimerFired(UNHEARD), 1.0)
    assert machine.state.members[Z].status is MemberStatus.joining
    machine.handle(Received(Z, seen_on_wire(machine.state)), 1.01)
    assert machine.state.members[Z].status is MemberStatus.up
