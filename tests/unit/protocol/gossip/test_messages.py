"""What travels on the control lane is checked before it becomes state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.errors import DecodeError
from casty.protocol.gossip import state_on_wire
from casty.protocol.gossip.state_on_wire import clock_from, from_wire, to_wire
from casty.protocol.messages import membership as messages
from casty.protocol.messages.membership import ControlMessage, JoinSettings
from casty.protocol.state.member import MemberStatus
from casty.protocol.state.reachability import ObserverRow
from casty.testing.samples import control_registry, gossip_of, member, run_of

A, B, C = (run_of(name) for name in "abc")
STATE = (
    gossip_of(member("a", up_number=1), member("b", up_number=2), member("c", "down"))
    .without_members(A, frozenset({C}), now=10.0)
    .with_row(B, ObserverRow().accusing(A))
    .with_term(A, 300)
)
WIRE = to_wire(STATE, now=15.0)


def test_state_survives_the_way_to_another_node() -> None:
    assert from_wire(WIRE, now=15.0) == STATE


def test_tombstone_travels_with_its_age() -> None:
    assert WIRE.tombstones == ((C, 5.0),)
    assert dict(from_wire(WIRE, now=1_000.0).tombstones) == {C: 995.0}


def test_tombstone_of_the_future_has_no_negative_age() -> None:
    assert to_wire(STATE, now=9.0).tombstones == ((C, 0.0),)


def test_welcome_is_marked() -> None:
    assert (WIRE.welcome, to_wire(STATE, 15.0, welcome=True).welcome) == (False, True)


def test_what_is_equal_travels_equal() -> None:
    shuffled = replace(WIRE, members=WIRE.members[::-1])
    assert to_wire(from_wire(shuffled, 15.0), 15.0) == WIRE


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        (replace(WIRE, members=(*WIRE.members, member("a"))), "distinct"),
        (replace(WIRE, tombstones=((C, -1.0),)), "negative"),
        (replace(WIRE, tombstones=((C, float("nan")),)), "negative"),
        (replace(WIRE, tombstones=((A, 1.0),)), "removed and present"),
        (replace(WIRE, rows=((run_of("z"), 1, (A,)),)), "observer"),
        (replace(WIRE, version=((1, 0),)), "below 1"),
        (replace(WIRE, version=((1, 2**64 - 1),)), "above"),
        (replace(WIRE, tombstones=((C, float("inf")),)), "negative"),
        (replace(WIRE, rows=((A, 2**64 - 1, ()),)), "version of a row"),
        (replace(WIRE, up_numbers_given=2**64 - 1), "up numbers"),
        (replace(WIRE, terms_given=2**31), "terms must be numbered"),
        (replace(WIRE, terms_given=-1), "terms must be numbered"),
        (replace(WIRE, members=(replace(member("a"), status=MemberStatus.removed),), rows=()), "removed run"),
        (replace(WIRE, seen=b"\x04"), "a bit for each of 2 members"),
        (replace(WIRE, seen=b""), "a bit for each of 2 members"),
    ],
)
def test_state_that_contradicts_itself_is_a_decode_error(wrong: messages.GossipState, named: str) -> None:
    with pytest.raises(DecodeError, match=named):
        from_wire(wrong, now=15.0)


def test_bounds_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_on_wire, "MEMBERS_MAX", 1)
    with pytest.raises(DecodeError, match="at most 1"):
        from_wire(WIRE, now=15.0)
    monkeypatch.undo()
    monkeypatch.setattr(state_on_wire, "TOMBSTONES_MAX", 0)
    with pytest.raises(DecodeError, match="at most 0"):
        from_wire(WIRE, now=15.0)


def test_clock_below_one_is_a_decode_error() -> None:
    assert dict(clock_from(((5, 2),)).versions) == {5: 2}
    with pytest.raises(DecodeError):
        clock_from(((5, -1),))


def test_first_difference_of_settings_is_named_with_both_values() -> None:
    own = JoinSettings(1, "keep_majority")
    assert own.difference(own) is None
    assert own.difference(JoinSettings(2, "none")) == ("expected min_members 1, as the cluster has it, found 2")
    assert own.difference(JoinSettings(1, "none")) == (
        "expected downing 'keep_majority', as the cluster has it, found 'none'"
    )
    assert JoinSettings(1, "none", (("web", 2),)).difference(JoinSettings(1, "none")) == (
        "expected min_members_per_role {'web': 2}, as the cluster has it, found {}"
    )


def test_every_control_message_is_in_the_registry() -> None:
    assert set(control_registry().by_class) == set(ControlMessage.__args__)
