"""How two clusters that should be one find out, and which of them gives way."""

from __future__ import annotations

import random

import pytest

from casty.address import NodeAddress
from casty.protocol.effects import Note, Send, StartTimer
from casty.protocol.membership.cluster_merge import ASK_EVERY, REUNION, ClusterMerge, Dissolve
from casty.protocol.membership.founding import Founding
from casty.protocol.messages.membership import Join, JoinAnswer, JoinProbe, JoinSettings, JoinState
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import CLUSTER_ID, address, gossip_of, member, run_of

SETTINGS = JoinSettings(1, "keep_majority")
AGAIN = StartTimer(REUNION, ASK_EVERY)
ALONE = gossip_of(member("b"))
PAIR = gossip_of(member("b"), member("c"))


def reunion(name: str, *seeds: str) -> ClusterMerge:
    return ClusterMerge(
        member(name, "joining"), SETTINGS, Founding(run_of(name), tuple(map(address, seeds))), random.Random(1)
    )


def asked(machine: ClusterMerge, state: Gossip) -> list[NodeAddress]:
    """Return whom the machine asks in twenty rounds."""
    effects = [effect for _ in range(20) for effect in machine.ask(state)]
    assert effects.count(AGAIN) == 20
    return sorted({e.to.address for e in effects if isinstance(e, Send)})


def answer(
    machine: ClusterMerge,
    *,
    members: int,
    has_begun: bool = True,
    cluster_id: int = CLUSTER_ID + 1,
    state: Gossip = ALONE,
) -> JoinAnswer:
    """Return the answer of another cluster to the machine's question."""
    probe = [e.message for e in machine.ask(state) if isinstance(e, Send)][0]
    assert isinstance(probe, JoinProbe)
    return JoinAnswer(probe.token, JoinState.in_cluster, cluster_id=cluster_id, members=members, has_begun=has_begun)


def test_seeds_and_addresses_of_removed_runs_without_a_member_are_asked_in_turn() -> None:
    removed = PAIR.without_members(run_of("b"), frozenset({run_of("c")}), now=1.0)
    assert asked(reunion("b", "a", "b", "d"), PAIR) == [address("a"), address("d")]
    assert asked(reunion("b"), removed) == [address("c")]


def test_nobody_is_asked_again_before_all_have_been() -> None:
    machine = reunion("b", "a", "c", "d", "e")
    for _ in range(10):
        sends = [effect for _ in range(4) for effect in machine.ask(ALONE) if isinstance(effect, Send)]
        assert sorted(send.to.address for send in sends) == [address(name) for name in "acde"]


def test_who_has_just_become_the_only_member_asks_several_at_once() -> None:
    """It may have stood still while all the others started anew, and is not to do their work."""
    machine = reunion("b", "a", "d")
    alone = PAIR.without_members(run_of("b"), frozenset({run_of("c")}), now=1.0)
    effects = machine.observe(PAIR, alone)
    assert sorted(e.to.address for e in effects if isinstance(e, Send)) == [address(name) for name in "acd"]
    assert AGAIN in effects
    assert machine.observe(alone, alone.with_member(run_of("b"), member("e", "joining"))) == []
    assert machine.observe(ALONE, ALONE) == []


def test_only_the_leader_asks() -> None:
    assert asked(reunion("c", "a"), PAIR) == []


def test_a_joiner_goes_on_asking_members_that_it_hears_to_let_it_in() -> None:
    waiting = gossip_of(
        member("b"), member("c"), member("d", "leaving", up_number=4), member("e", "joining"), member("z", "joining")
    )
    machine = reunion("z", "a")
    assert asked(machine, waiting) == [address("b"), address("c"), address("d")]
    (request, _) = machine.ask(waiting)
    assert isinstance(request, Send)
    assert isinstance(request.message, Join)
    assert request.message.joiner == member("z", "joining")
    deaf = waiting.with_row(run_of("z"), ObserverRow(1, frozenset({run_of("b"), run_of("c")})))
    assert asked(machine, deaf) == [address("d")]


def test_before_anybody_is_up_each_member_asks_where_nobody_is() -> None:
    nobody_up = gossip_of(member("e", "joining"), member("z", "joining"))
    assert asked(reunion("z", "a", "e"), nobody_up) == [address("a")]
    assert asked(reunion("e", "a", "z"), nobody_up) == [address("a")]
    deaf = nobody_up.with_row(run_of("z"), ObserverRow(1, frozenset({run_of("e")})))
    assert asked(reunion("z", "a", "e"), deaf) == [address("a"), address("e")]


def test_a_member_leaves_for_a_cluster_that_has_begun_while_its_own_has_not() -> None:
    nobody_up = gossip_of(member("e", "joining"), member("f", "joining"), member("z", "joining"))
    machine = reunion("z", "a")
    found = answer(machine, members=1, state=nobody_up)
    (effect,) = machine.answered(nobody_up, run_of("a"), found)
    assert effect == Dissolve("its cluster, in which nobody was up yet, met the cluster of a:2551, which has 1 member")


def test_a_cluster_that_has_begun_stays_where_another_has_not() -> None:
    machine = reunion("b", "a")
    assert machine.answered(ALONE, run_of("a"), answer(machine, members=9, has_begun=False)) == []


@pytest.mark.parametrize(("members", "gives_way"), [(1, False), (2, True), (3, True)])
def test_of_two_clusters_that_have_not_begun_the_smaller_gives_way_as_a_whole(members: int, gives_way: bool) -> None:
    nobody_up = gossip_of(member("e", "joining"), member("z", "joining"))
    for name, leads in (("e", True), ("z", False)):
        machine = reunion(name, "a")
        found = answer(machine, members=members, has_begun=False, state=nobody_up)
        effects = machine.answered(nobody_up, run_of("a"), found)
        assert [isinstance(effect, Dissolve) and effect.with_all for effect in effects] == [True] * (
            leads and gives_way
        )


def test_a_seed_under_another_name_is_known_by_its_address_once_it_has_answered() -> None:
    machine = reunion("b", "seed-c")
    assert asked(machine, PAIR) == [address("seed-c")]
    machine.answered(PAIR, run_of("c"), answer(machine, members=2, cluster_id=CLUSTER_ID))
    assert asked(machine, PAIR) == []


def test_another_name_of_this_node_is_not_asked_again() -> None:
    machine = reunion("b", "localhost", "a")
    machine.alias(address("localhost"))
    assert asked(machine, ALONE) == [address("a")]


def test_a_cluster_of_one_gives_way_to_a_larger_one() -> None:
    machine = reunion("b", "c")
    (effect,) = machine.answered(ALONE, run_of("c"), answer(machine, members=2))
    assert effect == Dissolve("its cluster of one met the cluster of c:2551, which has 2 members")


def test_of_two_clusters_of_one_that_of_the_higher_address_gives_way() -> None:
    machine = reunion("b", "a", "c")
    (effect,) = machine.answered(ALONE, run_of("a"), answer(machine, members=1))
    assert isinstance(effect, Dissolve)
    assert machine.answered(ALONE, run_of("c"), answer(machine, members=1)) == []


def test_two_larger_clusters_are_an_error_that_is_said_once() -> None:
    machine = reunion("b", "a")
    (note,) = machine.answered(PAIR, run_of("a"), answer(machine, members=2))
    assert isinstance(note, Note)
    assert "another cluster, of 2" in note.text
    assert machine.answered(PAIR, run_of("a"), answer(machine, members=2)) == []


def test_the_own_cluster_under_another_name_is_nothing_new() -> None:
    machine = reunion("b", "a")
    assert machine.answered(ALONE, run_of("a"), answer(machine, members=9, cluster_id=CLUSTER_ID)) == []


@pytest.mark.parametrize("state", [state for state in JoinState if state is not JoinState.in_cluster])
def test_whoever_is_in_no_cluster_changes_nothing(state: JoinState) -> None:
    machine = reunion("b", "a")
    found = answer(machine, members=9)
    assert machine.answered(ALONE, run_of("a"), JoinAnswer(found.token, state)) == []


def test_nobody_can_talk_a_node_into_giving_up_without_having_been_asked() -> None:
    machine = reunion("b", "a")
    unasked = JoinAnswer(answer(machine, members=9).token ^ 1, JoinState.in_cluster, cluster_id=1, members=9)
    assert machine.answered(ALONE, run_of("a"), unasked) == []
