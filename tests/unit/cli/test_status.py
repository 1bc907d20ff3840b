"""What ``casty status`` writes."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from casty.address import NodeAddress
from casty.cli.app import app
from casty.cli.status import json_of, lines_of
from casty.protocol.membership.status import ClusterReport, MemberReport, NodeReport, report_alone
from casty.protocol.state.member import Member, MemberStatus

A, B = NodeAddress("10.0.0.1", 2551), NodeAddress("10.0.0.2", 2551)


def head(**changes: object) -> NodeReport:
    fields: dict[str, object] = {
        "address": A, "id": "a", "system": "shop", "version": "0.1.0", "phase": "member",
        "seeds": "", "cluster_id": 7, "leader": A, "converged": True, "members": 2,
    }  # fmt: skip
    return NodeReport(**{**fields, **changes})


def member(name: str, address: NodeAddress, *, roles: tuple[str, ...] = (), **changes: object) -> MemberReport:
    status = MemberStatus.up if "phi" in changes or name == "a" else MemberStatus.joining
    described = Member(address, status, frozenset(roles), name, incarnation=0xB2, up_number=1 if name == "a" else 0)
    return replace(report_alone(described), **changes)


def test_a_status_is_a_head_and_a_line_for_each_member() -> None:
    lines = lines_of(ClusterReport(head(), (member("a", A), member("b", B, roles=("web", "api")))))
    assert lines == [
        "a at 10.0.0.1:2551 is a member of shop (casty 0.1.0)",
        "1 up, 1 joining; nobody unreachable; leader 10.0.0.1:2551; converged",
        "",
        "member        status   address        up no.  phi  gossip age  seen  unreachable for",
        "a             up       10.0.0.1:2551  1       -    -           yes   -",
        "b (api, web)  joining  10.0.0.2:2551  -       -    -           yes   -",
    ]


def test_a_status_says_who_does_not_answer_whom() -> None:
    lost = member("b", B, has_seen=False, accusers=3, accused_by=(A,), phi=12.345, gossip_age=6.21)
    lines = lines_of(ClusterReport(head(converged=False), (member("a", A), lost)))
    assert lines[1] == "2 up; 1 unreachable; leader 10.0.0.1:2551; not converged: 1 of 2 have seen this version"
    row = "b up 10.0.0.2:2551 - 12.35 6.2 s no 10.0.0.1:2551 and 2 more"
    assert lines[-1].split() == row.split()


def test_a_node_that_waits_says_for_what() -> None:
    seeds = "10.0.0.2:2551 has not answered yet"
    lines = lines_of(ClusterReport(head(phase="joining", seeds=seeds), (member("a", A),)))
    assert lines[:2] == ["a at 10.0.0.1:2551 waits to be let into a cluster of shop (casty 0.1.0)", seeds]


def test_nothing_that_a_node_tells_moves_the_cursor() -> None:
    evil = "x\x1b[2J\n"
    report = ClusterReport(head(id=evil, system=evil, version=evil, seeds=evil), (member(evil, A, roles=(evil,)),))
    for text in (*lines_of(report), json_of(report), *lines_of(ClusterReport(head(phase="joining", seeds=evil), ()))):
        assert text.isprintable()


def test_json_has_all_that_the_lines_have() -> None:
    lost = member("b", B, has_seen=False, accusers=1, accused_by=(A,), phi=12.5, gossip_age=6.25)
    told = json.loads(json_of(ClusterReport(head(converged=False), (lost,))))
    assert told == {
        "node": {
            "id": "a", "address": "10.0.0.1:2551", "system": "shop",
            "version": "0.1.0", "phase": "member", "seeds": "",
        },
        "cluster_id": "0000000000000007",
        "leader": "10.0.0.1:2551",
        "converged": False,
        "members": [{
            "id": "b", "address": "10.0.0.2:2551", "status": "up", "roles": [],
            "up_number": 0, "version": "", "seen": False, "phi": 12.5, "gossip_age": 6.25, "unreachable": True,
            "accusers": 1, "accused_by": ["10.0.0.1:2551"],
        }],
        "keys": [],
        "keys_left_out": 0,
    }  # fmt: skip


@pytest.mark.parametrize("address", ["nowhere", "10.0.0.1", "10.0.0.1:x", ":2551"])
def test_an_address_without_sense_is_bad_input(address: str) -> None:
    result = CliRunner().invoke(app, ["status", address])
    assert result.exit_code == 2
    assert result.stderr.startswith("casty: the address of a node is HOST:PORT, such as 127.0.0.1:2551")


@pytest.mark.parametrize("address", ["127.0.0.1:99999", "[::1]:65536", "10.0.0.1:0", "10.0.0.1:" + "9" * 5000])
def test_a_port_out_of_range_is_told_as_such(address: str) -> None:
    result = CliRunner().invoke(app, ["status", address])
    assert result.exit_code == 2
    assert result.stderr.startswith("casty: the port of the address of a node must be an integer from 1 to 65535, got ")
