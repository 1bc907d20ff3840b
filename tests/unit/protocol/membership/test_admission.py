"""Whom a cluster lets in, whom it tells to wait, and whom it turns away."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.config.validation import EXTRA_BYTES_MAX
from casty.protocol.membership import admission
from casty.protocol.membership.admission import ADMITTED, Verdict, judge
from casty.protocol.messages.membership import JoinSettings, JoinState
from casty.protocol.state.member import Member
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import gossip_of, member, run_of

OWN = JoinSettings(1, "keep_majority", journal="a")
STATE = gossip_of(member("a"), member("b"))


def verdict(joiner: Member, state: Gossip = STATE, theirs: JoinSettings = OWN) -> Verdict:
    return judge(state, joiner, joiner.unique, OWN, theirs, run_of("a"))


def test_new_name_at_a_new_address_is_let_in() -> None:
    assert verdict(member("c", "joining")) is ADMITTED


def test_member_that_asks_again_is_let_in_again() -> None:
    assert verdict(member("c", "joining"), gossip_of(member("a"), member("c", "joining"))) is ADMITTED


@pytest.mark.parametrize(
    ("theirs", "named"),
    [
        (JoinSettings(3, "keep_majority"), "expected min_members 1, as the cluster has it, found 3 at c:2551"),
        (
            JoinSettings(1, "keep_majority", (("db", 2),)),
            "expected min_members_per_role {}, as the cluster has it, found {'db': 2}",
        ),
        (JoinSettings(1, "keep_majority", journal="b"), "expected journal 'a', as the cluster has it, found 'b'"),
        (JoinSettings(1, "none"), "expected downing 'keep_majority', as the cluster has it, found 'none'"),
    ],
)
def test_refusal_names_the_setting_on_both_sides(theirs: JoinSettings, named: str) -> None:
    answer = verdict(member("c", "joining"), theirs=theirs)
    assert answer.state is JoinState.refused
    assert named in answer.reason


def test_joiner_without_a_journal_is_let_in() -> None:
    assert verdict(member("c", "joining"), theirs=JoinSettings(1, "keep_majority")) is ADMITTED


def test_joiner_that_claims_to_be_another_run_is_refused() -> None:
    assert judge(STATE, member("c", "joining"), run_of("d"), OWN, OWN, run_of("a")).state is JoinState.refused


def test_joiner_whose_name_would_break_a_line_of_the_log_is_refused() -> None:
    answer = verdict(replace(member("c", "joining"), id="c\nFAKE LINE"))
    assert answer.state is JoinState.refused
    assert "a node_id without spaces" in answer.reason


@pytest.mark.parametrize("extra", [(("zone", b"x" * EXTRA_BYTES_MAX),), tuple((f"{n}", b"") for n in range(17))])
def test_joiner_that_says_too_much_of_itself_is_refused(extra: tuple[tuple[str, bytes], ...]) -> None:
    assert verdict(replace(member("c", "joining"), extra=(("zone", b"x" * 1_000),))) is ADMITTED
    answer = verdict(replace(member("c", "joining"), extra=extra))
    assert answer.state is JoinState.refused
    assert "at most 16 more things of itself" in answer.reason


def test_joiner_that_claims_to_be_up_is_refused() -> None:
    assert verdict(member("c", "up")).state is JoinState.refused


def test_removed_run_is_refused() -> None:
    state = STATE.without_members(run_of("a"), frozenset({run_of("b")}), now=1.0)
    answer = verdict(member("b", "joining"), state)
    assert answer.state is JoinState.refused
    assert "removed" in answer.reason


@pytest.mark.parametrize("status", ["joining", "up"])
def test_name_of_a_living_member_is_refused(status: str) -> None:
    answer = verdict(member("c", "joining", id="b"), gossip_of(member("a"), member("b", status)))
    assert answer.state is JoinState.refused
    assert "node_id 'b'" in answer.reason


@pytest.mark.parametrize("status", ["leaving", "exiting", "down"])
def test_name_of_a_member_on_its_way_out_means_wait(status: str) -> None:
    answer = verdict(member("c", "joining", id="b"), gossip_of(member("a"), member("b", status)))
    assert answer.state is JoinState.retry


def test_name_of_an_unreachable_member_means_wait() -> None:
    state = STATE.with_row(run_of("a"), ObserverRow().accusing(run_of("b")))
    assert verdict(member("c", "joining", id="b"), state).state is JoinState.retry


@pytest.mark.parametrize("status", ["joining", "up"])
def test_address_of_an_earlier_run_means_wait_and_dial_it(status: str) -> None:
    joiner = member("b", "joining", incarnation=99)
    found = verdict(joiner, gossip_of(member("a"), member("b", status)))
    assert found.state is JoinState.retry
    assert found.verify


@pytest.mark.parametrize("status", ["leaving", "exiting", "down"])
def test_address_of_a_run_that_is_going_means_only_wait(status: str) -> None:
    found = verdict(member("b", "joining", incarnation=99), gossip_of(member("a"), member("b", status)))
    assert (found.state, found.verify) == (JoinState.retry, False)


def test_full_cluster_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admission, "MEMBERS_MAX", 2)
    answer = verdict(member("c", "joining"))
    assert answer.state is JoinState.refused
    assert "2 members" in answer.reason


@pytest.mark.parametrize(
    ("roles", "named"),
    [
        ([f"role-{number}" for number in range(65)], "64 roles"),
        ([f"{number}" * 200 for number in range(6)], "1024 characters"),
        (["r" * 256], "255 characters"),
    ],
)
def test_roles_that_no_node_can_be_configured_with_are_refused(roles: list[str], named: str) -> None:
    answer = verdict(replace(member("c", "joining"), roles=frozenset(roles)))
    assert answer.state is JoinState.refused
    assert named in answer.reason


def test_who_joins_itself_lets_nobody_in_once_somebody_is_up() -> None:
    """Nobody would go by it, and what it says of itself would come with what is not believed."""
    state = gossip_of(member("a", up_number=1), member("b", "joining"))
    arguments = member("c", "joining"), run_of("c"), OWN, OWN
    assert judge(state, *arguments, run_of("a")) is ADMITTED
    told = judge(state, *arguments, run_of("b"))
    assert (told.state, told.reason) == (JoinState.retry, "b:2551 is joining itself")
    nobody_is_up = gossip_of(member("a", "joining"), member("b", "joining"))
    assert judge(nobody_is_up, *arguments, run_of("b")) is ADMITTED
