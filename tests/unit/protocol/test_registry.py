"""One slot per run: the newer version wins, and a removed run's services never come back."""

from __future__ import annotations

from casty.protocol.registry import Registry, ServiceEntry, Slot
from casty.testing.samples import address, run_of

A, B = run_of("a"), run_of("b")
CART = ("cart", "/cart", 1)
STOCK = ("stock", "/stock", 2)


def test_each_change_of_the_own_services_makes_a_version() -> None:
    first = Registry().with_own(A, [STOCK, CART, CART])
    assert first.slots == {A: Slot(1, (CART, STOCK))}
    assert first.with_own(A, [CART]).slots == {A: Slot(2, (CART,))}


def test_same_services_make_no_version() -> None:
    registry = Registry().with_own(A, [CART, STOCK])
    assert registry.with_own(A, [STOCK, CART]) is registry
    assert Registry().with_own(A, []) == Registry()


def test_deregistration_wins_over_an_older_copy() -> None:
    offered = Registry().with_own(A, [CART])
    withdrawn = offered.with_own(A, [])
    assert withdrawn.merge(offered.slots, ()) is withdrawn
    assert offered.merge(withdrawn.slots, ()) == withdrawn


def test_slots_of_different_runs_add_up() -> None:
    both = Registry().with_own(A, [CART]).merge(Registry().with_own(B, [STOCK]).slots, ())
    assert both.entries({A, B}) == {
        ServiceEntry("cart", address("a"), "/cart", incarnation=A.incarnation, uid=1),
        ServiceEntry("stock", address("b"), "/stock", incarnation=B.incarnation, uid=2),
    }


def test_slot_of_a_removed_run_is_not_taken() -> None:
    assert Registry().merge(Registry().with_own(A, [CART]).slots, {A}) == Registry()


def test_slot_of_a_run_that_is_no_member_yet_is_taken_and_not_shown() -> None:
    registry = Registry().merge(Registry().with_own(A, [CART]).slots, ())
    assert registry.entries({B}) == frozenset()
    assert registry.entries({A, B}) != frozenset()


def test_only_slots_of_members_are_kept() -> None:
    registry = Registry().with_own(A, [CART]).with_own(B, [STOCK])
    assert registry.kept({A, B}) is registry
    assert registry.kept({B}).versions == {B: 1}


def test_difference_is_told_by_versions_alone() -> None:
    registry = Registry().with_own(A, [CART]).with_own(A, [CART, STOCK]).with_own(B, [STOCK])
    assert registry.newer_than({A: 1, B: 1}) == {A: registry.slots[A]}
    assert registry.newer_than(registry.versions) == {}
    assert registry.lacks({A: 3}, {A, B})
    assert not registry.lacks({A: 2, B: 1}, {A, B})
    assert not registry.lacks({run_of("z"): 9}, {A, B})
