"""Numbers by which members are old: two leaders of one moment may give the same, and none that was told falls."""

from __future__ import annotations

import pytest

from casty.protocol.membership.inputs import TopologySettings
from casty.protocol.split_brain.strategies import KeepOldest
from casty.protocol.state.events import MemberUp
from casty.protocol.state.member import Member
from casty.testing.simulation import ModelCluster, OneOwner, Watch


def members(cluster: ModelCluster, at: str) -> dict[str, Member]:
    state = cluster.runs[at].topology.state
    return {} if state is None else {member.id: member for member in state.ordered}


def numbers(cluster: ModelCluster, at: str) -> dict[str, int]:
    return {name: member.up_number for name, member in members(cluster, at).items()}


@pytest.mark.parametrize("seed", range(3))
def test_a_number_that_two_leaders_gave_is_that_of_one_order_everywhere_and_never_falls(seed: int) -> None:
    cluster = ModelCluster(seed, settings=TopologySettings(downing=KeepOldest()))
    watch, owner = Watch(cluster), OneOwner(cluster)

    def check() -> bool:
        return watch.check() or owner.check()

    for name in "abc":
        cluster.start(name, seeds="a")
    cluster.run_for(6.0, until=check)
    cluster.start("j", seeds="a")
    cluster.run_for(5.0, until=lambda: check() or all("j" in members(cluster, at) for at in "abcj"))
    # a lets j come up, tells it, and ends before anybody else has heard.
    cluster.cut("aj", "bc", one_way=True)
    cluster.run_for(5.0, until=lambda: check() or numbers(cluster, "j")["j"] > 0)
    assert numbers(cluster, "j")["j"] == 4
    assert numbers(cluster, "b")["j"] == 0
    cluster.crash("a")
    # b has let e in, and lets both come up, e first.
    cluster.start("e", seeds="b")
    cluster.cut("j", "e", one_way=True)
    cluster.run_for(0.3, until=check)
    cluster.down("b", "a")
    cluster.run_for(1.0, until=lambda: check() or numbers(cluster, "b")["e"] > 0)
    assert numbers(cluster, "b")["e"] == 4
    cluster.heal()
    cluster.run_for(5.0, until=check)
    assert cluster.all_up(4)
    seen = [numbers(cluster, at) for at in "bcej"]
    assert all(one == seen[0] for one in seen)
    told = [event.member for event in cluster.runs["j"].told(MemberUp) if isinstance(event, MemberUp)]
    assert {member.id: member.up_number for member in told}["j"] == 4


def test_what_a_member_that_is_down_says_of_others_changes_nothing() -> None:
    cluster = ModelCluster(1)
    cluster.form("abcd")
    cluster.run_for(3.0)
    cluster.cut("a", "bcd")
    cluster.down("a", "d")
    cluster.run_for(1.0)
    cluster.down("b", "a")
    cluster.heal()
    cluster.run_for(2.0, until=lambda: not cluster.runs["a"].alive)
    assert cluster.runs["a"].outcome == "downed"
    cluster.run_for(5.0)
    assert cluster.all_up(3)
    assert members(cluster, "b").keys() == set("bcd")
