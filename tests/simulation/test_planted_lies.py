"""Each rule about what is believed is needed: without it, one lie of `test_hearsay` is."""

from __future__ import annotations

from contextlib import suppress

import pytest
from planting import plant
from test_hearsay import Lie, Told, invented, rows_counted_to

from casty.errors import DecodeError
from casty.protocol.gossip.confirmation import Confirmation
from casty.protocol.gossip.hearsay import _check_jumps
from casty.protocol.gossip.receive import GossipReceiver
from casty.protocol.split_brain.strategies import KeepMajority
from casty.protocol.state.leader import LeaderActions
from casty.protocol.state.member import MemberStatus
from casty.testing.simulation import InvariantBroken


@pytest.mark.parametrize(
    ("place", "line", "instead", "lie", "joining"),
    [
        (
            GossipReceiver,
            "speaks_for_itself(state, told, sender)",
            "True",
            invented(8, MemberStatus.joining),
            True,
        ),
        (Confirmation, "len(unmet) > 1 and", "False and", invented(8, MemberStatus.up), False),
        (
            LeaderActions,
            "(heard is None or member.unique in heard or member.unique == self_node)",
            "True",
            invented(8, MemberStatus.joining),
            False,
        ),
        (_check_jumps, "count > most", "False", rows_counted_to(2**62), False),
    ],
    ids=["who joins speaks for others", "nobody asks who is up", "a leader hears nobody", "counts jump"],
)
def test_each_rule_is_needed(
    place: object, line: str, instead: str, lie: Lie, joining: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, place, line, instead)
    told = Told("abc", joining=joining, strategy=KeepMajority())
    with suppress(DecodeError, InvariantBroken):
        told.tell_all(lie, "abc")
        told.run(1.0)
        brings = joining and any(name.startswith("x") for name in told.states("b"))
        told.run(39.0)
        assert brings or told.standing != "abc"
