"""A whole cluster in virtual time: crashes, leaves, restarts, services, and long quiet hours."""

from __future__ import annotations

import pytest
from helpers.systems import check_all

from casty.address import UniqueAddress
from casty.protocol.state import membership_state as gossip
from casty.protocol.state.events import MemberLeft, MemberUp, ReachableMember, UnreachableMember
from casty.testing.samples import address
from casty.testing.simulation.invariants import invariants
from casty.testing.simulation.invariants.invariants import Watch
from casty.testing.simulation.model.model import ModelCluster
from casty.testing.simulation.model.run import Run

FIVE = "abcde"


def formed(names: str = FIVE, seed: int = 1) -> tuple[ModelCluster, Watch]:
    cluster = ModelCluster(seed=seed)
    cluster.form(names)
    assert cluster.all_up(len(names))
    watch = Watch(cluster)
    watch.check()
    return cluster, watch


def subjects(run: Run, kind: type[MemberUp | MemberLeft | UnreachableMember | ReachableMember]) -> list[UniqueAddress]:
    return [event.member.unique for _, event in run.events if isinstance(event, kind)]


def see_unreachable(cluster: ModelCluster, name: str) -> bool:
    """Return whether every other living node shows ``name`` as unreachable, or has removed it."""
    lost = cluster.runs[name].node
    states = [run.topology.state for run in cluster.living if run.name != name]
    return all(state is not None and (lost in state.unreachable or lost not in state.members) for state in states)


@pytest.mark.parametrize("name", FIVE)
def test_crash_is_seen_by_all_in_two_seconds_and_the_run_is_never_up_again(name: str) -> None:
    cluster, watch = formed()
    dead = cluster.runs[name].node
    cluster.crash(name)
    cluster.run_for(2.0, until=watch.check)
    assert see_unreachable(cluster, name)
    cluster.run_for(60.0, until=watch.check)
    assert cluster.all_up(4)
    for run in cluster.living:
        assert watch.path(run.name, dead)[-3:] == ["up", "down", "removed"]
        assert subjects(run, UnreachableMember) == subjects(run, MemberLeft) == [dead]
        assert subjects(run, ReachableMember) == []
    check_all(cluster)


def test_two_crashes_at_once_are_survived() -> None:
    cluster, watch = formed()
    cluster.crash("a")
    cluster.crash("d")
    cluster.run_for(20.0, until=watch.check)
    assert cluster.all_up(3)
    check_all(cluster)


@pytest.mark.parametrize("name", "ac")
def test_silent_node_is_seen_by_all_in_six_seconds(name: str) -> None:
    cluster, watch = formed()
    cluster.run_for(20.0, until=watch.check)
    cluster.cut(name, [other for other in FIVE if other != name])
    cluster.run_for(6.0, until=watch.check)
    assert see_unreachable(cluster, name)


def test_link_that_heals_in_time_brings_the_node_back() -> None:
    cluster, watch = formed()
    cluster.cut("c", "abde")
    cluster.run_for(8.0, until=watch.check)
    cluster.heal()
    cluster.run_for(10.0, until=watch.check)
    assert cluster.all_up(5)
    for run in cluster.living:
        assert cluster.runs["c"].node in [run.node, *subjects(run, UnreachableMember)]
        assert sorted(subjects(run, UnreachableMember)) == sorted(subjects(run, ReachableMember))
    check_all(cluster)


@pytest.mark.parametrize("names", ["ab", FIVE])
@pytest.mark.parametrize("place", [0, -1])
def test_graceful_leave_is_seen_step_by_step_and_by_no_failure_detector(names: str, place: int) -> None:
    cluster, watch = formed(names)
    name = names[place]
    gone = cluster.runs[name].node
    cluster.leave(name)
    cluster.run_for(2.0, until=watch.check)
    assert cluster.runs[name].outcome == "left"
    assert cluster.all_up(len(names) - 1)
    cluster.run_for(20.0, until=watch.check)
    for run in cluster.living:
        assert watch.path(run.name, gone)[-4:] == ["up", "leaving", "exiting", "removed"]
        assert subjects(run, MemberLeft) == [gone]
        assert subjects(run, UnreachableMember) == []
    check_all(cluster)


@pytest.mark.parametrize("name", "ae")
def test_member_with_work_to_finish_is_a_member_until_it_has_and_others_lead_meanwhile(name: str) -> None:
    cluster, watch = formed()
    cluster.work = 20.0
    gone = cluster.runs[name].node
    cluster.send_away("c", name)
    cluster.run_for(19.0, until=watch.check)
    others = [run for run in cluster.living if run.name != name]
    assert len(others) == 4
    for run in cluster.living:
        assert run.statuses[gone.address] == "exiting"
        assert run.topology.view.snapshot is not None
        assert run.topology.view.snapshot.leader == address("b" if name == "a" else "a")
    cluster.run_for(1.5, until=watch.check)
    assert cluster.runs[name].outcome == "left"
    assert cluster.all_up(4)
    for run in others:
        assert watch.path(run.name, gone)[-4:] == ["up", "leaving", "exiting", "removed"]
        assert subjects(run, UnreachableMember) == []
    check_all(cluster)


def test_member_that_dies_at_its_last_work_is_removed_without_a_confirmation() -> None:
    cluster, watch = formed()
    cluster.work = 60.0
    cluster.send_away("a", "c")
    cluster.run_for(5.0, until=watch.check)
    cluster.crash("c")
    cluster.run_for(5.0, until=watch.check)
    assert cluster.all_up(4)
    check_all(cluster)


@pytest.mark.parametrize("name", "ae")
def test_leaving_member_whose_last_words_are_lost_is_removed_when_it_is_gone(name: str) -> None:
    cluster, watch = formed()
    cluster.work = 5.0
    cluster.send_away("c", name)
    cluster.run_for(4.9, until=watch.check)
    cluster.cut(name, [other for other in FIVE if other != name])
    cluster.run_for(0.2, until=watch.check)
    assert cluster.runs[name].outcome == "left"
    cluster.run_for(15.0, until=watch.check)
    assert cluster.all_up(4)
    check_all(cluster)


@pytest.mark.parametrize("names", ["a", "ab", FIVE])
def test_all_may_leave_at_once(names: str) -> None:
    cluster, watch = formed(names)
    for name in names:
        cluster.leave(name)
    cluster.run_for(6.0, until=watch.check)
    assert {run.outcome for run in cluster.runs.values()} == {"left"}
    assert all(subjects(run, UnreachableMember) == [] for run in cluster.runs.values())
    check_all(cluster)


def test_nodes_may_leave_one_after_the_other_until_nobody_is_left() -> None:
    cluster, watch = formed()
    for count, name in enumerate("abcde"):
        cluster.leave(name)
        cluster.run_for(2.0, until=watch.check)
        assert cluster.runs[name].outcome == "left"
        assert cluster.all_up(4 - count)


def test_member_that_still_joins_may_leave() -> None:
    cluster, watch = formed("abc")
    cluster.start("d", seeds=("a",))
    cluster.run_for(1.0, until=lambda: watch.check() or "joining" in cluster.runs["d"].statuses.values())
    cluster.leave("d")
    cluster.run_for(2.0, until=watch.check)
    assert cluster.runs["d"].outcome == "left"
    assert cluster.all_up(3)
    assert all(subjects(run, UnreachableMember) == [] for run in cluster.living)
    check_all(cluster)


def test_leave_that_nobody_confirms_ends_all_the_same() -> None:
    cluster, watch = formed()
    cluster.cut("c", "abde")
    cluster.leave("c")
    cluster.run_for(5.1, until=watch.check)
    assert cluster.runs["c"].outcome == "left"


@pytest.mark.parametrize("names", ["ab", "abc", FIVE])
@pytest.mark.parametrize("place", [0, 1, -1])
def test_restarted_node_comes_up_after_its_earlier_run_was_removed(names: str, place: int) -> None:
    cluster, watch = formed(names)
    name = names[place]
    old = cluster.runs[name].node
    cluster.crash(name)
    new = cluster.start(name, seeds=names)
    cluster.run_for(6.0, until=lambda: watch.check() or cluster.all_up(len(names)))
    assert cluster.all_up(len(names))
    cluster.run_for(30.0, until=watch.check)
    for run in cluster.living:
        if run is not new:
            assert watch.path(run.name, old)[-2:] == ["down", "removed"]
            assert subjects(run, MemberUp)[-1] == new.node
    check_all(cluster)


def test_node_may_crash_and_restart_again_and_again() -> None:
    cluster, watch = formed("abc")
    for _ in range(5):
        cluster.crash("b")
        cluster.start("b", seeds=("a", "b", "c"))
        cluster.run_for(0.7, until=watch.check)
    cluster.run_for(20.0, until=watch.check)
    assert cluster.all_up(3)
    check_all(cluster)


def test_whole_cluster_that_crashes_and_starts_again_is_one_cluster() -> None:
    cluster, _ = formed()
    for name in FIVE:
        cluster.crash(name)
    watch = Watch(cluster)
    for name in reversed(FIVE):
        cluster.start(name, seeds=("a", "b", "c"))
        cluster.run_for(0.3, until=watch.check)
    cluster.run_for(10.0, until=watch.check)
    assert cluster.all_up(5)


def test_rolling_restart_keeps_one_cluster() -> None:
    cluster, watch = formed()
    for name in FIVE:
        cluster.leave(name)
        cluster.run_for(1.0, until=watch.check)
        cluster.start(name, seeds=("a", "b", "c"))
        cluster.run_for(3.0, until=watch.check)
        assert cluster.all_up(5)
    assert all(subjects(run, UnreachableMember) == [] for run in cluster.runs.values())
    check_all(cluster)


def test_operator_downs_a_member_which_then_stops() -> None:
    cluster, watch = formed()
    cluster.down("d", "a")
    cluster.run_for(2.0, until=watch.check)
    assert cluster.runs["a"].outcome == "downed"
    assert cluster.all_up(4)
    check_all(cluster)


def shown(run: Run) -> object:
    """Return the version of a node's state, and how much it has told."""
    assert run.topology.state is not None
    return run.topology.state.version, len(run.snapshots), len(run.events)


@pytest.mark.parametrize("names", ["a", "ab", FIVE])
def test_idle_cluster_changes_nothing(names: str) -> None:
    cluster, watch = formed(names)
    cluster.run_for(5.0, until=watch.check)
    before = [
        (run.topology.state.version, run.snapshots, len(run.events)) for run in cluster.living if run.topology.state
    ]
    cluster.run_for(60.0, until=watch.check)
    after = [
        (run.topology.state.version, run.snapshots, len(run.events)) for run in cluster.living if run.topology.state
    ]
    assert before == after


@pytest.mark.parametrize("name", "ae")
def test_pause_of_two_seconds_accuses_nobody(name: str) -> None:
    cluster, watch = formed()
    for _ in range(10):
        cluster.run_for(3.3, until=watch.check)
        cluster.pause(name)
        cluster.run_for(2.0, until=watch.check)
        cluster.resume(name)
    cluster.run_for(5.0, until=watch.check)
    assert all(subjects(run, UnreachableMember) == [] for run in cluster.living)


def test_all_may_pause_in_turn_without_an_accusation() -> None:
    cluster, watch = formed()
    for name in FIVE * 2:
        cluster.pause(name)
        cluster.run_for(2.0, until=watch.check)
        cluster.resume(name)
        cluster.run_for(0.2, until=watch.check)
    assert all(subjects(run, UnreachableMember) == [] for run in cluster.living)


def test_long_pause_is_removed_and_the_woken_node_learns_that_it_is_down() -> None:
    cluster, watch = formed()
    cluster.pause("b")
    cluster.run_for(30.0, until=watch.check)
    assert all(len(run.statuses) == 4 for run in cluster.living if run.name != "b")
    cluster.resume("b")
    cluster.run_for(10.0, until=watch.check)
    assert cluster.runs["b"].outcome == "downed"
    assert cluster.all_up(4)
    check_all(cluster)


@pytest.mark.parametrize("seed", range(5))
def test_loss_and_jitter_accuse_nobody_and_a_crash_among_them_is_seen(seed: int) -> None:
    cluster, watch = formed(seed=seed)
    cluster.loss, cluster.jitter = 0.1, 0.2
    cluster.run_for(60.0, until=watch.check)
    assert all(subjects(run, UnreachableMember) == [] for run in cluster.living)
    cluster.crash("c")
    cluster.run_for(6.0, until=watch.check)
    assert see_unreachable(cluster, "c")
    check_all(cluster)


def services(run: Run) -> set[tuple[str, str]]:
    snapshot = run.topology.view.snapshot
    return set() if snapshot is None else {(entry.node.host, entry.key) for entry in snapshot.registry}


def test_services_are_seen_everywhere_and_deregistration_wins() -> None:
    cluster, watch = formed()
    cluster.offer("b", "cart", "stock")
    cluster.offer("d", "cart")
    cluster.run_for(0.1, until=watch.check)
    everything = {("b", "cart"), ("b", "stock"), ("d", "cart")}
    assert all(services(run) == everything for run in cluster.living)
    cluster.offer("b", "stock")
    cluster.run_for(30.0, until=watch.check)
    assert all(services(run) == {("b", "stock"), ("d", "cart")} for run in cluster.living)


def test_deregistration_during_a_cut_wins_after_the_heal() -> None:
    cluster, watch = formed()
    cluster.offer("b", "cart")
    cluster.run_for(1.0, until=watch.check)
    cluster.cut("b", "acde")
    cluster.offer("b")
    cluster.run_for(3.0, until=watch.check)
    assert services(cluster.runs["a"]) == {("b", "cart")}
    cluster.heal()
    cluster.run_for(3.0, until=watch.check)
    assert all(services(run) == set() for run in cluster.living)


def test_services_of_a_dead_node_go_and_a_late_joiner_learns_the_rest() -> None:
    cluster, watch = formed()
    cluster.offer("b", "cart")
    cluster.offer("c", "stock")
    cluster.run_for(1.0, until=watch.check)
    cluster.crash("b")
    cluster.run_for(15.0, until=watch.check)
    cluster.start("f", seeds=("a",))
    cluster.run_for(1.0, until=watch.check)
    assert all(services(run) == {("c", "stock")} for run in cluster.living)


def test_services_that_were_offered_before_joining_are_seen_after_it() -> None:
    cluster, watch = formed("abc")
    cluster.start("d", seeds=("a",))
    cluster.offer("d", "cart")
    cluster.run_for(1.0, until=watch.check)
    assert all(services(run) == {("d", "cart")} for run in cluster.living)


@pytest.mark.parametrize("loss", [0.0, 0.3])
def test_services_reach_everybody_in_spite_of_loss(loss: float) -> None:
    cluster, watch = formed()
    cluster.loss = loss
    for round_number in range(5):
        cluster.offer("abcde"[round_number], f"service-{round_number}")
    cluster.run_for(5.0, until=watch.check)
    cluster.loss = 0.0
    cluster.run_for(5.0, until=watch.check)
    assert all(len(services(run)) == 5 for run in cluster.living)


def test_old_tombstones_are_pruned_once_and_the_cluster_is_quiet_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip, "TOMBSTONE_AGE_MAX", 30.0)
    monkeypatch.setattr(invariants, "REMEMBERED_FOR", 30.0)
    cluster, watch = formed()
    cluster.cut("c", "e")
    cluster.run_for(6.5, until=watch.check)  # c has a clock entry of its own: it accuses e
    cluster.heal()
    cluster.run_for(5.0, until=watch.check)
    cluster.crash("c")
    cluster.run_for(25.0, until=watch.check)
    assert cluster.all_up(4)
    cluster.leave("e")
    cluster.run_for(60.0, until=watch.check)
    states = [run.topology.state for run in cluster.living]
    assert all(state is not None and not state.tombstones for state in states)
    assert len({state.digest for state in states if state is not None}) == 1
    before = [shown(run) for run in cluster.living]
    cluster.run_for(30.0, until=watch.check)
    assert [shown(run) for run in cluster.living] == before


def test_nine_views_agree_down_to_the_digest() -> None:
    cluster, watch = formed("abcdefghi")
    cluster.crash("e")
    cluster.run_for(20.0, until=watch.check)
    cluster.leave("a")
    cluster.run_for(10.0, until=watch.check)
    states = [run.topology.state for run in cluster.living]
    assert len({state.digest for state in states if state is not None}) == 1
    assert {run.topology.view.snapshot.leader for run in cluster.living if run.topology.view.snapshot} == {address("b")}


def test_two_changes_far_apart_are_no_instability() -> None:
    cluster, watch = formed("abcdefghi")
    cluster.crash("e")
    cluster.leave("a")  # cannot be agreed on while e is missing; a stops after its time, as the leader
    cluster.run_for(40.0, until=watch.check)
    assert cluster.all_up(7)


def history(seed: int) -> list[object]:
    cluster = ModelCluster(seed=seed)
    cluster.loss, cluster.jitter = 0.1, 0.2
    cluster.form(FIVE)
    cluster.crash("b")
    cluster.run_for(5.0)
    cluster.leave("d")
    cluster.start("b", seeds=("a", "c"))
    cluster.run_for(20.0)
    told = [(run.name, run.events, run.notes, run.snapshots, run.outcome) for run in cluster.runs.values()]
    return [cluster.sent, *told]


def test_same_seed_gives_the_same_history_and_another_seed_another() -> None:
    assert history(1) == history(1)
    assert history(1) != history(2)


def test_two_hundred_nodes_form_one_cluster_and_see_a_crash() -> None:
    cluster = ModelCluster(seed=1)
    names = [f"n{number:03}" for number in range(200)]
    cluster.form(names)
    assert cluster.all_up(200)
    cluster.crash("n100")
    cluster.run_for(8.0, until=lambda: see_unreachable(cluster, "n100"))
    assert see_unreachable(cluster, "n100")
