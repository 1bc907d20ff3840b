"""What a report says of the members."""

from __future__ import annotations

from casty.address import NodeAddress, UniqueAddress
from casty.protocol.membership.status import ACCUSERS_TOLD_MAX, report_members
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import Gossip
from casty.protocol.state.reachability import ObserverRow


def run(number: int) -> UniqueAddress:
    return UniqueAddress(NodeAddress(f"10.0.0.{number}", 2551), number)


def member(number: int, status: MemberStatus = MemberStatus.up) -> Member:
    return Member(run(number).address, status, frozenset(), f"n{number}", incarnation=number, up_number=number)


def cluster(*members: Member, rows: dict[int, set[int]] | None = None, seen: set[int] = frozenset()) -> Gossip:
    return Gossip(
        7,
        {one.unique: one for one in members},
        rows={run(by): ObserverRow(1, frozenset(map(run, accused))) for by, accused in (rows or {}).items()},
        seen=frozenset(map(run, seen)),
    )


def test_a_report_names_who_accuses_whom() -> None:
    state = cluster(member(1), member(2), member(3), rows={1: {3}, 2: {3}}, seen={1, 2})
    reports = report_members(state, {run(3).address: 17.5}, {run(2): 99.0}, 100.0)
    assert [(r.id, r.has_seen, r.accusers, r.phi, r.gossip_age) for r in reports] == [
        ("n1", True, 0, None, None),
        ("n2", True, 0, None, 1.0),
        ("n3", False, 2, 17.5, None),
    ]
    assert reports[2].accused_by == (run(1).address, run(2).address)


def test_accusations_of_who_is_down_or_gone_do_not_count() -> None:
    state = cluster(member(1), member(2, MemberStatus.down), member(3), rows={2: {1, 3}, 4: {3}})
    assert [report.accusers for report in report_members(state, {}, {}, 0.0)] == [0, 0, 0]


def test_of_many_accusers_the_first_are_named_and_all_are_counted() -> None:
    many = range(1, 41)
    state = cluster(*map(member, many), rows={number: {40} for number in many if number < 40})
    last = next(report for report in report_members(state, {}, {}, 0.0) if report.id == "n40")
    assert last.accusers == 39
    assert len(last.accused_by) == ACCUSERS_TOLD_MAX
