"""Which side of a partition goes on, by each strategy."""

from __future__ import annotations

from dataclasses import replace

import pytest
from helpers.states import split

from casty import ClusterSettings, ConfigError, SqliteLease
from casty.protocol.split_brain.strategies import (
    DownAll,
    KeepMajority,
    KeepOldest,
    Partition,
    StaticQuorum,
    Strategy,
    strategy_of,
)
from casty.protocol.state.member import Member
from casty.testing.samples import gossip_of, member, run_of

A, B = run_of("a"), run_of("b")


def members(names: str, status: str = "up") -> tuple[Member, ...]:
    return tuple(
        member(name, status, up_number=0 if status == "joining" else ord(name) - ord("a") + 1) for name in names
    )


FIVE = gossip_of(*members("abcde"))


def keeps(strategy: Strategy, partition: Partition) -> bool:
    return not strategy.against(partition)


def keeps_majority(partition: Partition) -> bool:
    return keeps(KeepMajority(), partition)


@pytest.mark.parametrize(
    ("mine", "theirs", "kept"),
    [
        ("abc", "de", True),
        ("de", "abc", False),
        ("ab", "cd", True),
        ("cd", "ab", False),
        ("a", "b", True),
        ("b", "a", False),
    ],
)
def test_larger_side_goes_on_and_a_tie_keeps_the_lowest_address(mine: str, theirs: str, kept: bool) -> None:
    assert keeps_majority(Partition(members(mine), members(theirs))) is kept


def test_joining_members_have_no_vote() -> None:
    assert not keeps_majority(Partition(members("de") + members("fgh", "joining"), members("abc")))


def test_side_goes_down_when_the_other_may_have_promoted_its_joiners() -> None:
    assert not keeps_majority(Partition(members("abc"), members("de") + members("fg", "joining")))
    assert keeps_majority(Partition(members("abc"), members("d") + members("e", "joining")))


def test_joining_member_that_is_lost_alone_takes_nobody_with_it() -> None:
    assert keeps_majority(Partition(members("b"), members("a", "joining")))
    assert not keeps_majority(Partition(members("a", "joining"), members("b")))
    assert keeps(KeepOldest(), Partition(members("b"), members("ac", "joining")))


def test_side_goes_down_when_its_own_leaving_members_may_be_gone() -> None:
    assert not keeps_majority(Partition(members("a") + members("bc", "leaving"), members("de")))


def test_members_on_their_way_out_are_on_no_side() -> None:
    state = split(gossip_of(*members("ab"), member("c", "down"), member("d", "exiting")), "a", "bcd")
    sides = Partition.of(state, A)
    assert ([m.id for m in sides.reachable], [m.id for m in sides.unreachable]) == (["a"], ["b"])


def test_a_node_is_on_its_own_side_even_when_accused() -> None:
    sides = Partition.of(split(FIVE, "a", "b"), B)
    assert "b" in [m.id for m in sides.reachable]
    assert not sides.unreachable


@pytest.mark.parametrize(("mine", "theirs", "kept"), [("abc", "de", True), ("de", "abc", False), ("ab", "cd", False)])
def test_side_with_a_quorum_goes_on(mine: str, theirs: str, kept: bool) -> None:
    assert keeps(StaticQuorum(3), Partition(members(mine), members(theirs))) is kept


def test_a_cluster_of_two_quorums_keeps_neither() -> None:
    for mine, theirs in (("abc", "def"), ("abcd", "ef")):
        assert "two quorums of 3" in StaticQuorum(3).against(Partition(members(mine), members(theirs)))


def test_joining_members_of_the_other_side_may_be_a_second_quorum() -> None:
    assert not keeps(StaticQuorum(3), Partition(members("abc"), members("de") + members("f", "joining")))


@pytest.mark.parametrize(
    ("mine", "theirs", "kept"),
    [
        ("ab", "cde", True),
        ("cde", "ab", False),
        ("a", "bcde", False),
        ("bcde", "a", True),
        ("a", "b", True),
        ("b", "a", False),
    ],
)
def test_side_of_the_oldest_goes_on_unless_that_one_is_alone_against_several(
    mine: str, theirs: str, kept: bool
) -> None:
    assert keeps(KeepOldest(), Partition(members(mine), members(theirs))) is kept


def test_the_oldest_may_be_kept_alone() -> None:
    assert keeps(KeepOldest(down_if_alone=False), Partition(members("a"), members("bcde")))
    assert not keeps(KeepOldest(down_if_alone=False), Partition(members("bcde"), members("a")))


def test_an_oldest_that_is_leaving_is_not_relied_on() -> None:
    leaving = members("a", "leaving")
    assert not keeps(KeepOldest(), Partition(leaving + members("b"), members("cde")))


def test_the_oldest_is_the_one_that_came_up_first_whatever_its_address() -> None:
    oldest = member("z", up_number=1)
    assert keeps(KeepOldest(), Partition((oldest, member("y", up_number=4)), members("bc")))


def test_of_two_with_one_up_number_one_is_the_oldest_on_both_sides() -> None:
    a, b = member("a", up_number=1), member("b", up_number=1)
    here, there = (a, member("c", up_number=3)), (b, member("d", up_number=4))
    assert keeps(KeepOldest(), Partition(here, there))
    assert not keeps(KeepOldest(), Partition(there, here))


def test_down_all_keeps_nobody() -> None:
    assert not keeps(DownAll(), Partition(members("abcd"), members("e")))


@pytest.mark.parametrize("strategy", [KeepMajority("web"), KeepOldest(role="web"), StaticQuorum(1, "web")])
def test_only_members_of_the_role_vote(strategy: Strategy) -> None:
    web = (replace(member("z", up_number=9), roles=frozenset({"web"})),)
    assert keeps(strategy, Partition(web, members("abcd")))
    assert not keeps(strategy, Partition(members("abcd"), web))


def test_nodes_that_ask_for_the_same_have_the_same_words_for_it() -> None:
    settings = [
        ClusterSettings(),
        ClusterSettings(downing="static_quorum", quorum_size=3),
        ClusterSettings(downing="static_quorum", quorum_size=4),
        ClusterSettings(downing="keep_oldest"),
        ClusterSettings(downing="keep_oldest", down_if_alone=False),
        ClusterSettings(downing="keep_oldest", downing_role="web"),
        ClusterSettings(downing="lease_majority", lease=SqliteLease("lease.db")),
        ClusterSettings(downing="lease_majority", lease=SqliteLease("lease.db"), downing_role="web"),
        ClusterSettings(downing="down_all"),
    ]
    assert [str(strategy_of(one, "7f")) for one in settings] == [
        "keep_majority",
        "static_quorum of 3",
        "static_quorum of 4",
        "keep_oldest, down_if_alone",
        "keep_oldest",
        "keep_oldest, down_if_alone by role web",
        "lease_majority of 7f",
        "lease_majority of 7f by role web",
        "down_all",
    ]
    assert strategy_of(ClusterSettings(downing="none")) is None


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"downing": "static_quorum"}, "needs quorum_size"),
        ({"downing": "static_quorum", "quorum_size": 0}, "quorum_size must be an integer of at least 1"),
        ({"quorum_size": 3}, "quorum_size is for downing='static_quorum', got 'keep_majority'"),
        ({"downing": "down_all", "downing_role": "web"}, "downing_role has no meaning"),
        ({"downing": "lease_majority"}, "ClusterSettings.lease must be a Lease"),
        ({"lease_timeout": 0}, "lease_timeout must be a finite number above 0"),
        ({"downing_role": " "}, "downing_role must be the name of a role"),
        ({"downing": "keep_newest"}, "must be one of"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(settings: dict[str, object], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        ClusterSettings(**settings)
