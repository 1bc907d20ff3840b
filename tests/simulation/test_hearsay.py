"""What one node says of others, who are well: that they are down, removed, gone, or on their way."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import pytest

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.gossip.receive import GossipReceiver
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.membership.inputs import Received, TopologySettings
from casty.protocol.split_brain.strategies import (
    DownAll,
    KeepMajority,
    KeepOldest,
    LeaseMajority,
    StaticQuorum,
    Strategy,
)
from casty.protocol.state.member import MemberStatus, in_order
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.protocol.state.vector_clock import VectorClock
from casty.testing.samples import member
from casty.testing.simulation import ModelCluster, OneOwner, Run, Watch

Lie = Callable[[Gossip, UniqueAddress, frozenset[UniqueAddress]], Gossip]


def all_moved_to(status: MemberStatus) -> Lie:
    """Return the lie that members are in this status, whatever the way there is."""

    def lie(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
        moved = {node: replace(state.members[node], status=status) for node in victims}
        return state.changed(liar, members={**state.members, **moved})

    return lie


def removed(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
    return state.without_members(liar, victims, 0.0)


def just_not_there(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
    left = {node: member for node, member in state.members.items() if node not in victims}
    return state.changed(liar, members=left)


def accused_by_all(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
    """Return the lie that the victims accuse one another, and the liar all of them."""
    rows = {node: ObserverRow(50, victims - {node}) for node in (*victims, liar)}
    return state.changed(liar, rows={**state.rows, **rows})


LIES = {
    "down": all_moved_to(MemberStatus.down),
    "exiting": all_moved_to(MemberStatus.exiting),
    "leaving": all_moved_to(MemberStatus.leaving),
    "removed": removed,
    "not there": just_not_there,
}


class Told:
    """A cluster with a liar z in it."""

    def __init__(self, names: str, *, joining: bool, strategy: Strategy | None = None, seed: int = 1) -> None:
        self.cluster = ModelCluster(seed, settings=TopologySettings(downing=strategy))
        self.watch, self.owner = Watch(self.cluster), OneOwner(self.cluster)
        self.names = names
        self.cluster.form(names)
        self.run(3.0)
        self.liar = self.cluster.start("z", seeds=names)
        # It becomes up when all have seen it; a moment before that it is joining everywhere.
        self.run(5.0, until=lambda: all("z" in self.states(at) for at in names))
        if not joining:
            self.run(5.0, until=lambda: self.cluster.all_up(len(names) + 1))
        assert self.states(names[-1])["z"] == ("joining" if joining else "up")

    def run(self, seconds: float, until: Callable[[], bool] = lambda: False) -> None:
        self.cluster.run_for(seconds, until=lambda: self.watch.check() or self.owner.check() or until())

    def states(self, at: str) -> dict[str, str]:
        return {address.host: status for address, status in self.cluster.runs[at].statuses.items()}

    def tell(self, to: Run, lie: Lie, about: str) -> None:
        """Have z tell one node, in a state that is newer than the one it has."""
        state = to.topology.state
        assert state is not None
        victims = frozenset(self.cluster.runs[name].node for name in about)
        if lie is just_not_there:
            victims -= {to.node}  # of itself it is no state at all
        told = lie(state.seen_by(self.liar.node), self.liar.node, victims)
        with suppress(DecodeError):  # an impossible state, ignored
            self.cluster.tell(to, Received(self.liar.node, to_wire(told, to.clock(self.cluster.now))))

    def tell_all(self, lie: Lie, about: str) -> None:
        for name in self.names:
            self.tell(self.cluster.runs[name], lie, about)

    @property
    def standing(self) -> str:
        """Who runs, and counts as up by all that run."""
        runs = [run for run in self.cluster.living if run.name in self.names]
        return "".join(run.name for run in runs if all(self.states(one.name).get(run.name) == "up" for one in runs))


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
@pytest.mark.parametrize("names", ["abc", "abcde"])
@pytest.mark.parametrize("joining", [True, False])
def test_one_state_by_which_all_others_go_ends_nobody(lie: Lie, names: str, joining: bool) -> None:
    told = Told(names, joining=joining, strategy=KeepMajority())
    told.tell_all(lie, names)
    told.run(4.0)
    assert told.standing == names


@pytest.mark.parametrize(
    "strategy", [KeepMajority(), KeepOldest(), StaticQuorum(2), LeaseMajority("l"), DownAll(), None]
)
def test_who_has_just_joined_has_nobody_go_whatever_the_strategy(strategy: Strategy | None) -> None:
    told = Told("abc", joining=True, strategy=strategy)
    told.tell_all(LIES["down"], "abc")
    told.tell_all(LIES["down"], "b")
    told.run(4.0)
    assert told.standing == "abc"


@pytest.mark.parametrize("names", ["abc", "abcde"])
@pytest.mark.parametrize("joining", [True, False])
@pytest.mark.parametrize("later", [0.0, 2.0, 4.0])
def test_accusations_that_were_made_up_are_no_reason(names: str, joining: bool, later: float) -> None:
    told = Told(names, joining=joining, strategy=KeepMajority())
    told.tell_all(accused_by_all, names)
    told.run(later)
    told.tell_all(LIES["down"], names)
    told.run(4.0)
    assert told.standing == names


def all_lost(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
    """Return the lie that the liar hears nobody."""
    return state.with_row(liar, ObserverRow(1, victims - {liar}))


@pytest.mark.parametrize("names", ["abc", "abcde"])
def test_who_joins_and_says_that_it_hears_nobody_ends_nobody(names: str, monkeypatch: pytest.MonkeyPatch) -> None:
    correct = GossipReceiver._with_own_row
    told = Told(names, joining=True, strategy=KeepMajority())
    liar = told.liar.node
    monkeypatch.setattr(  # it sticks to that
        GossipReceiver, "_with_own_row", lambda self, *args: args[1] if self.self_node == liar else correct(self, *args)
    )
    told.tell_all(all_lost, names)
    told.run(1.0)
    assert told.states("b")["z"] == "joining", "who is up is believed, and so it has to take that back first"
    told.run(24.0)
    assert told.standing == names


def invented(count: int, status: MemberStatus) -> Lie:
    """Return the lie that there are members of which nobody ever heard."""

    def lie(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
        numbers = range(1, count + 1)
        given = state.up_numbers_given
        is_up = status is MemberStatus.up
        new = [member(f"x{n}", status.name, up_number=given + n if is_up else 0) for n in numbers]
        members = in_order({**state.members, **{one.unique: one for one in new}})
        return state.changed(liar, members=members, up_numbers_given=given + count if is_up else given)

    return lie


def renamed(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
    others = {n: replace(state.members[n], roles=frozenset({"x"}), id=f"x{n.address.host}") for n in victims}
    return state.changed(liar, members={**state.members, **others})


def rows_counted_to(count: int) -> Lie:
    def lie(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
        rows = {node: ObserverRow(count, frozenset({min(victims - {node})})) for node in victims}
        return state.changed(liar, rows={**state.rows, **rows})

    return lie


def numbers_counted_to(count: int) -> Lie:
    return lambda state, liar, victims: state.changed(liar, up_numbers_given=count)


def changes_counted_to(count: int) -> Lie:
    def lie(state: Gossip, liar: UniqueAddress, victims: frozenset[UniqueAddress]) -> Gossip:
        clock = {**state.version.versions, **{node.incarnation: count for node in victims}}
        return replace(state.changed(liar), version=VectorClock({**clock, liar.incarnation: 7}))

    return lie


def counts_of(count: int) -> list[Lie]:
    return [rows_counted_to(count), numbers_counted_to(count), changes_counted_to(count)]


@pytest.mark.parametrize("names", ["abc", "abcde"])
@pytest.mark.parametrize("joining", [True, False])
@pytest.mark.parametrize("count", [4, 8])
def test_members_of_whom_nobody_ever_heard_outvote_nobody(names: str, joining: bool, count: int) -> None:
    told = Told(names, joining=joining, strategy=KeepMajority())
    told.tell_all(invented(count, MemberStatus.up), names)
    told.run(25.0)
    assert told.standing == names
    assert not any(name.startswith("x") for at in names for name in told.states(at))


@pytest.mark.parametrize("names", ["abc", "abcde"])
def test_members_that_are_made_up_step_by_step_outvote_nobody(names: str) -> None:
    told = Told(names, joining=False, strategy=KeepMajority())
    told.tell_all(invented(8, MemberStatus.joining), names)
    told.run(1.0)
    assert [told.states("b")[f"x{n}"] for n in (1, 8)] == ["joining", "joining"], "nobody moves them up"
    told.tell_all(invented(8, MemberStatus.up), names)
    told.run(40.0)
    assert told.standing == names


def test_who_joins_brings_nobody_with_it() -> None:
    told = Told("abc", joining=True)
    told.tell_all(invented(3, MemberStatus.joining), "abc")
    told.tell_all(renamed, "abc")
    told.run(3.0)
    state = told.cluster.runs["b"].topology.state
    assert state is not None
    assert {one.id: one.roles for one in state.ordered} == {name: frozenset[str]() for name in "abcz"}


@pytest.mark.parametrize("joining", [True, False])
@pytest.mark.parametrize("count", [1_000, 2**31, 2**62 - 1, 2**62])
@pytest.mark.parametrize("kind", range(3), ids=["rows", "numbers", "changes"])
def test_counts_of_others_that_were_made_up_stop_nothing(joining: bool, count: int, kind: int) -> None:
    told = Told("abc", joining=joining, strategy=KeepMajority())
    told.tell_all(counts_of(count)[kind], "abc")
    told.run(1.0)
    told.cluster.crash("z")
    told.run(12.0)
    assert told.standing == "abc"
    told.cluster.start("d", seeds="abc")
    told.run(3.0, until=lambda: told.cluster.all_up(4))
    assert told.cluster.all_up(4)
    told.cluster.leave("c")
    told.run(3.0)
    assert told.states("a") == {"a": "up", "b": "up", "d": "up"}


def test_who_goes_on_lying_has_one_go_at_a_time() -> None:
    told = Told("abcde", joining=False, strategy=KeepMajority())
    for victim in "abcde":
        told.tell_all(LIES["down"], victim)
        told.run(0.1)
    told.run(5.0)
    assert told.standing == "bcde"


def test_the_liar_is_noted_and_asked_about_once_a_second() -> None:
    told = Told("abc", joining=False, strategy=KeepMajority())
    before = told.cluster.sent
    for _ in range(200):
        told.tell_all(LIES["down"], "abc")
        told.run(0.01)
    assert told.standing == "abc"
    notes = [note for note in told.cluster.runs["b"].notes if "not believed" in note]
    assert 1 <= len(notes) <= 3
    assert "z:2551 says that" in notes[0]
    assert told.cluster.sent - before < 300


@pytest.mark.parametrize(
    "strategy", [KeepMajority(), KeepOldest(), StaticQuorum(3), LeaseMajority("l"), DownAll(), None]
)
@pytest.mark.parametrize("at", "ae")
def test_an_operator_has_any_member_go(strategy: Strategy | None, at: str) -> None:
    cluster = ModelCluster(2, settings=TopologySettings(downing=strategy))
    watch = Watch(cluster)
    cluster.form("abcde")
    cluster.run_for(3.0, until=watch.check)
    cluster.down(at, "c")
    cluster.run_for(3.0, until=watch.check)
    assert cluster.runs["c"].outcome == "downed"
    assert cluster.all_up(4)


@pytest.mark.parametrize("seed", range(5))
def test_who_stood_still_and_wakes_stops_within_a_second(seed: int) -> None:
    cluster = ModelCluster(seed, settings=TopologySettings(downing=KeepMajority()))
    watch, owner = Watch(cluster), OneOwner(cluster)
    cluster.form("abcde")
    cluster.run_for(3.0, until=lambda: watch.check() or owner.check())
    cluster.pause("a")
    cluster.run_for(30.0, until=lambda: watch.check() or owner.check())
    cluster.resume("a")
    cluster.run_for(1.0, until=lambda: watch.check() or owner.check())
    assert cluster.runs["a"].outcome == "downed"


@pytest.mark.parametrize("cut_for", [11.6, 11.9, 12.2, 12.5])
def test_a_side_that_is_lost_stops_also_when_the_cut_ends_just_then(cut_for: float) -> None:
    cluster = ModelCluster(3, settings=TopologySettings(downing=KeepMajority()))
    watch, owner = Watch(cluster), OneOwner(cluster)
    cluster.form("abcde")
    cluster.run_for(3.0, until=lambda: watch.check() or owner.check())
    cluster.cut("ab", "cde")
    cluster.run_for(cut_for, until=lambda: watch.check() or owner.check())
    cluster.heal()
    cluster.run_for(5.0, until=lambda: watch.check() or owner.check())
    assert cluster.all_up(len(cluster.living))
    assert {run.name for run in cluster.living} >= set("cde")
