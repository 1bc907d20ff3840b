"""A strategy of downing, tried on all small clusters."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from casty import ClusterSettings, PartitionView
from casty.protocol.split_brain.strategies import strategy_of
from casty.testing import check_downing_strategy


@dataclass(frozen=True)
class Weighed:
    """Members of the role count three times."""

    role: str
    ways: int = 2
    """In how many of the ways to count the voters it judges."""
    at_a_tie: bool = False

    def against(self, partition: PartitionView) -> str:
        for votes in partition.votes()[: self.ways]:
            mine, theirs = (
                sum(3 if self.role in one.roles else 1 for one in side) for side in (votes.mine, votes.theirs)
            )
            if mine < theirs or (mine == theirs and not self.at_a_tie):
                return f"has {mine} of {mine + theirs} votes"
        return ""


@pytest.mark.parametrize("role", [None, "db"])
@pytest.mark.parametrize(
    "settings",
    [
        {"downing": "keep_majority"},
        {"downing": "static_quorum", "quorum_size": 1},
        {"downing": "static_quorum", "quorum_size": 2},
        {"downing": "keep_oldest"},
        {"downing": "keep_oldest", "down_if_alone": False},
    ],
    ids=lambda settings: " ".join(map(str, settings.values())),
)
def test_strategies_of_the_library_let_one_side_go_on_at_most(settings, role):
    strategy = strategy_of(ClusterSettings(**settings, downing_role=role))
    assert strategy is not None
    check_downing_strategy(strategy, roles=["db"] if role else [], members=3 if role else 4)


def test_a_good_strategy_passes():
    check_downing_strategy(Weighed("disk"), roles=["disk"], members=3)


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (Weighed("disk", at_a_tie=True), r"two sides go on: \[n\d up\] and \[n\d up\]"),
        # one does not know that the other has gone on without its leaving members
        (Weighed("disk", ways=1), r"two sides go on: \[n1 leaving disk\] and \[n0 up\]"),
    ],
)
def test_two_sides_that_go_on_are_named(strategy, told):
    with pytest.raises(AssertionError, match=told):
        check_downing_strategy(strategy, roles=["disk"])


class Silent:
    def against(self, partition: PartitionView) -> None:
        return None


def test_an_answer_that_is_no_text_is_refused():
    with pytest.raises(TypeError, match=r"Silent.*against\(\) must return the reason.* got None"):
        check_downing_strategy(Silent())  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize("members", [1, 7])
def test_clusters_of_another_size_are_not_tried(members):
    with pytest.raises(ValueError, match="members must be from 2 to 6"):
        check_downing_strategy(Weighed("disk"), members=members)
