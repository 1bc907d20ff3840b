"""The account of ``casty demo-cart``: what was acknowledged is in its cart, or lost for a reason that is told."""

from __future__ import annotations

import pytest

from casty.cli.demo_cart.cart_ledger import CartLedger
from casty.cli.demo_cart.carts import CartState


@pytest.fixture
def ledger() -> CartLedger:
    return CartLedger(lambda node: node == "dead")


def test_items_in_their_carts_add_up(ledger: CartLedger) -> None:
    for items in (1, 2, 3):
        ledger.added("one", CartState(items, 7, "a"))
    ledger.found("one", CartState(3, 7, "a"))
    assert (ledger.acknowledged, ledger.kept, ledger.faults, ledger.adds_up) == (3, 3, [], True)


def test_items_of_a_killed_node_are_lost_by_number(ledger: CartLedger) -> None:
    ledger.added("one", CartState(1, 7, "dead"))
    ledger.added("one", CartState(2, 7, "dead"))
    ledger.added("two", CartState(1, 8, "dead"))
    ledger.added("one", CartState(1, 9, "a"))
    ledger.found("two", CartState(0, 10, "a"))
    ledger.found("one", CartState(1, 9, "a"))
    assert (ledger.lost_by_kill, ledger.carts_killed, ledger.kept) == ({"dead": 3}, 2, 1)
    assert (ledger.faults, ledger.adds_up) == ([], True)


def test_items_of_a_cart_that_moved_are_lost_by_number(ledger: CartLedger) -> None:
    ledger.added("one", CartState(1, 7, "a"))
    ledger.added("one", CartState(1, 8, "b"))
    assert (ledger.lost_by_move, ledger.carts_moved, ledger.faults, ledger.adds_up) == (1, 1, [], True)


def test_an_ask_of_unknown_outcome_may_have_added_one(ledger: CartLedger) -> None:
    ledger.outcome_unknown("one")
    ledger.added("one", CartState(2, 7, "a"))
    ledger.outcome_unknown("one")
    ledger.added("one", CartState(3, 7, "a"))
    assert ledger.faults == []
    ledger.added("one", CartState(5, 7, "a"))
    assert ledger.faults == ["one on a has 5 items, and 4 would be right"]


@pytest.mark.parametrize(
    ("state", "fault"),
    [
        (CartState(1, 7, "a"), "one on a has 1 items, and 2 would be right"),
        (CartState(3, 7, "a"), "one on a has 3 items, and 2 would be right"),
        (CartState(2, 8, "b"), "one on b has 2 items, and 1 would be right"),
        (CartState(1, 8, "a"), "one began again on a, with 1 items acknowledged before"),
    ],
)
def test_what_cannot_be_is_a_fault(ledger: CartLedger, state: CartState, fault: str) -> None:
    ledger.added("one", CartState(1, 7, "a"))
    ledger.added("one", state)
    assert ledger.faults == [fault]


def test_a_cart_that_has_lost_an_item_in_the_end_is_a_fault(ledger: CartLedger) -> None:
    ledger.added("one", CartState(1, 7, "a"))
    ledger.outcome_unknown("one")
    ledger.found("one", CartState(0, 7, "a"))
    assert ledger.faults == ["one on a has 0 items, and 1 to 2 would be right"]
