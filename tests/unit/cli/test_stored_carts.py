"""Stored carts of ``casty demo-cart``, and their account: each acknowledged item is in its cart, once."""

from __future__ import annotations

from pathlib import Path

import pytest

from casty import ConfigError, SqliteJournal, nothing, persist
from casty.cli.demo_cart.cart_journals import JournalKind, SqliteCarts, check_choice, environment, journal_of
from casty.cli.demo_cart.stored_cart_ledger import StoredCartLedger
from casty.cli.demo_cart.stored_carts import CartItems, ItemStored, ListItems, StoreItem, stored_cart
from casty.testing import EventSourcedTestKit, TestInbox


@pytest.fixture
def ledger() -> StoredCartLedger:
    """Two carts: items 1 and 2 of one are acknowledged, the outcome of 3 is unknown; 4 of two is acknowledged."""
    made = StoredCartLedger()
    for cart, item in (("one", 1), ("one", 2), ("one", 3), ("two", 4)):
        made.ask(cart, item)
        if item != 3:
            made.acknowledge(cart, item)
        made.in_flight -= 1
    return made


@pytest.mark.parametrize(("items", "stored"), [((1, 2), 0), ((2, 1, 3), 1)])
def test_items_that_are_there_once_are_right_whatever_became_of_unknown_ones(
    ledger: StoredCartLedger, items: tuple[int, ...], stored: int
) -> None:
    ledger.found("one", items)
    ledger.found("two", (4,))
    assert (ledger.acknowledged, ledger.once, ledger.unknown, ledger.unknown_stored) == (3, 3, 1, stored)
    assert ledger.wrongs() == []
    assert ledger.summary() == [
        "acknowledged: 3 items; in their carts once 3, lost 0, more than once 0, put there by nobody 0",
        f"unknown outcome: 1 items; in their carts once {stored}, not stored {1 - stored}",
    ]
    assert ledger.verdict() == "right: each of 3 acknowledged items is in its cart exactly once, as all 2 carts say"


@pytest.mark.parametrize(
    ("items", "wrong"),
    [
        ((1,), "one has lost item 2, which it had acknowledged"),
        ((1, 2, 2), "one has item 2 2 times, and it was put there once"),
        ((1, 2, 3, 3), "one has item 3 2 times, and it was put there once"),
        ((1, 2, 9), "one has item 9, which nobody has put there"),
        ((1, 2, 4), "one has item 4, which nobody has put there"),
    ],
)
def test_an_item_that_is_lost_or_doubled_or_strange_is_wrong(
    ledger: StoredCartLedger, items: tuple[int, ...], wrong: str
) -> None:
    ledger.found("one", items)
    ledger.found("two", (4,))
    assert ledger.wrongs()[0] == wrong


def test_a_cart_that_is_silent_in_the_end_is_wrong(ledger: StoredCartLedger) -> None:
    ledger.found("one", (1, 2))
    ledger.silent("two")
    assert ledger.wrongs() == [
        "two did not answer when it was asked in the end",
        "1 of 2 carts were compared",
        "3 items were acknowledged, and 2 of them are there once",
    ]


def test_an_item_on_its_way_is_not_unknown_yet() -> None:
    ledger = StoredCartLedger()
    ledger.ask("one", 1)
    assert (ledger.unknown, ledger.carts) == (0, ["one"])
    ledger.in_flight -= 1
    assert ledger.unknown == 1


def test_a_cart_answers_an_item_once_it_is_stored_and_lists_all() -> None:
    kit = EventSourcedTestKit(stored_cart("one"))
    kit.given(ItemStored(7))
    counts: TestInbox[int] = kit.inbox()
    lists: TestInbox[CartItems] = kit.inbox()
    assert kit.when(StoreItem(8, counts.ref)) == persist(ItemStored(8)).reply(counts.ref, 2)
    assert kit.when(ListItems(lists.ref)) == nothing().reply(lists.ref, CartItems((7, 8)))


def test_a_node_gets_its_journal_from_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "carts.db"
    made = journal_of(environment(SqliteCarts(str(path))))
    assert isinstance(made, SqliteJournal)
    assert repr(made) == f"<SqliteJournal {path}>"
    assert journal_of(environment(None)) is None


def test_a_connection_string_that_fits_no_journal_is_refused() -> None:
    with pytest.raises(ConfigError, match="--dsn is for --journal postgres, and this is --journal none"):
        check_choice(JournalKind.none, "dbname=shop")
