"""Addresses that are found once a node runs."""

from __future__ import annotations

from casty.address import NodeAddress
from casty.protocol.membership.founding import FOUND_MAX, Founding
from casty.testing.samples import run_of

A, B, C = (run_of(name).address for name in "abc")


def test_what_is_new_is_kept_once_and_counts_for_nothing() -> None:
    founding = Founding(run_of("a"), (A, B))
    assert founding.find([B, C, C, A]) == [C]
    assert founding.find([C]) == []
    assert founding.contacts == [B, C]
    assert founding.others == [B]
    assert founding.counted == {A, B}
    founding.note(C, A)  # it leads back to this node
    assert founding.contacts == [B]
    assert founding.is_listed


def test_a_node_keeps_a_number_of_them() -> None:
    founding = Founding(run_of("a"))
    many = [NodeAddress("10.0.0.1", port) for port in range(1, 2 * FOUND_MAX)]
    assert founding.find(many) == many[:FOUND_MAX]
    assert founding.find(many) == []
    assert founding.is_alone  # a node without seeds begins at once, whatever it has found
