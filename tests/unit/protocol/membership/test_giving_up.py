"""A cluster in which nobody is up yet: one node has it begin or gives it up, never two at one time."""

from __future__ import annotations

import random

import pytest

from casty.address import NodeAddress
from casty.errors import DecodeError
from casty.protocol.effects import Send, TimerFired
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.membership.cluster_merge import REUNION
from casty.protocol.membership.founding import cluster_id_of
from casty.protocol.membership.inputs import Received, TopologySettings
from casty.protocol.membership.machine import UNHEARD, Topology
from casty.protocol.messages.membership import JoinAnswer, JoinProbe, JoinState
from casty.protocol.state.leader import has_begun
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.testing.samples import address, member, run_of

SEEDS = tuple(map(address, "abcde"))


def cluster_of(founder: str, names: str) -> Gossip:
    state = Gossip(cluster_id_of(run_of(founder)))
    for name in names:
        state = state.with_member(run_of(founder), member(name, "joining"))
    return state.seen_by(*map(run_of, names))


def node(name: str, state: Gossip) -> Topology:
    machine = Topology(member(name, "joining"), SEEDS, TopologySettings(), random.Random(1))
    machine.state = state
    return machine


def meets_a_larger_one(machine: Topology) -> None:
    asks = machine.handle(TimerFired(REUNION), 0.0)
    [probe] = [one.message for one in asks if isinstance(one, Send) and one.to.address == address("c")]
    assert isinstance(probe, JoinProbe)
    foreign = cluster_id_of(run_of("c"))
    answer = JoinAnswer(probe.token, JoinState.in_cluster, cluster_id=foreign, members=9)
    machine.handle(Received(run_of("c"), answer), 0.01)


def test_the_leader_of_a_cluster_that_its_founder_may_have_begun_does_not_give_it_up() -> None:
    state = cluster_of("b", "abe")
    leader, founder = node("a", state), node("b", state)
    founder.handle(TimerFired(UNHEARD), 0.0)
    assert founder.state is not None and has_begun(founder.state)
    meets_a_larger_one(leader)
    assert not leader.gone
    assert leader.state is not None and leader.state.members[run_of("a")].status is MemberStatus.joining


def test_the_founder_gives_its_cluster_up_and_does_not_begin_it_then() -> None:
    founder = node("b", cluster_of("b", "be"))
    meets_a_larger_one(founder)
    assert founder.state is not None and not has_begun(founder.state)
    assert founder.gone


def test_a_run_whose_incarnation_has_more_than_64_bits_or_a_sign_is_refused() -> None:
    state = cluster_of("b", "abz")
    machine = node("a", state)
    for incarnation in (-5, 2**64):
        evil = Member(NodeAddress("A", 1), MemberStatus.joining, frozenset(), "q", incarnation=incarnation)
        told = to_wire(state.with_member(run_of("z"), evil), 1.0)
        with pytest.raises(DecodeError, match="must have incarnations from 0 to"):
            machine.handle(Received(run_of("z"), told), 1.0)
        assert machine.state is state
