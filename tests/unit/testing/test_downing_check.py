"""A strategy of downing, tried on all small clusters."""

from __future__ import annotations

from dataclasses import dataclass, replace

import pytest

from casty import ClusterSettings, ConfigError, PartitionView
from casty.protocol.split_brain.strategies import KeepMajority, Partition, Votes, strategy_of
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
    check_downing_strategy(strategy, roles=["db"], pairs=2_000)


def test_a_good_strategy_passes():
    check_downing_strategy(Weighed("disk"), roles=["disk"], pairs=2_000)


@dataclass(frozen=True)
class WithAll:
    """A tie goes to the side with more members, those included whom it has let in since."""

    def against(self, partition: PartitionView) -> str:
        for votes in partition.votes():
            if len(votes.mine) < len(votes.theirs):
                return "has fewer votes"
            if len(votes.mine) == len(votes.theirs) and len(partition.reachable) <= len(partition.unreachable):
                return "has as many votes, and no more members"
        return ""


@pytest.mark.parametrize(
    ("strategy", "told"),
    [
        (
            Weighed("disk", at_a_tie=True),
            r"two sides go on: \[.*n2 up\] against \[n1 up\], and \[n1 up.*\] against \[n2 up\]",
        ),
        (Weighed("disk", ways=1), r"two sides go on: \["),
        (WithAll(), r"two sides go on: \[.*joining.*\], and \[.*joining"),
    ],
)
def test_two_sides_that_go_on_are_told_with_what_they_know(strategy, told):
    with pytest.raises(AssertionError, match=told):
        check_downing_strategy(strategy, roles=["disk"])


def test_voter_of_a_role_that_the_other_side_promoted_is_missed_by_a_strategy_that_forgets_it(monkeypatch):
    """As `downing_role` once did: a side without a voter of the role was thought to promote nobody."""
    counted = Partition.votes

    def forgetful(partition: Partition, role: str | None = None) -> tuple[Votes, Votes]:
        known, worst = counted(partition, role)
        return known, worst if known.theirs else replace(worst, theirs=())

    monkeypatch.setattr(Partition, "votes", forgetful)
    with pytest.raises(AssertionError, match="two sides go on"):
        check_downing_strategy(KeepMajority("db"), roles=["db"])


def test_same_seed_draws_the_same_pairs():
    told = set[str]()
    for _ in range(2):
        with pytest.raises(AssertionError) as caught:
            check_downing_strategy(WithAll(), seed=7)
        told.add(str(caught.value))
    assert len(told) == 1


class Silent:
    def against(self, partition: PartitionView) -> None:
        return None

    def __str__(self) -> str:
        return "silent"


def test_an_answer_that_is_no_text_is_refused():
    with pytest.raises(ConfigError, match=r"custom silent cannot judge.*against\(\) must return the reason.* got None"):
        check_downing_strategy(Silent())  # type: ignore[arg-type]  # what is tested


@pytest.mark.parametrize(
    ("options", "told"),
    [({"members": 1}, "from 2 to 12"), ({"members": 13}, "from 2 to 12"), ({"pairs": 0}, "at least 1")],
)
def test_what_cannot_be_drawn_is_refused(options, told):
    with pytest.raises(ValueError, match=told):
        check_downing_strategy(Weighed("disk"), **options)
