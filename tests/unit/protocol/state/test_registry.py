"""A slot is a log of changes that is taken in order, and a removed run's services never come back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.address import UniqueAddress
from casty.errors import DecodeError
from casty.protocol.state import registry as registry_module
from casty.protocol.state import slots as slots_module
from casty.protocol.state.registry import Registry, ServiceEntry, SlotPage
from casty.protocol.state.slots import REMOVED_SPARE
from casty.testing.samples import run_of, service_of

A, B, Z = run_of("a"), run_of("b"), run_of("z")
CART = service_of(A, "cart")
STOCK = service_of(A, "stock")
OTHER = service_of(B, "stock", uid=2)


def offering(*services: ServiceEntry, after: Registry | None = None, owner: UniqueAddress = A) -> Registry:
    return (after or Registry()).with_own(owner, frozenset(services))


def page_of(registry: Registry, *, after: int = 0) -> SlotPage:
    ((page,),) = registry.pages_after({A.incarnation: after})
    return page


def test_each_change_of_the_own_services_has_a_version() -> None:
    first = offering(STOCK, CART)
    assert (first.versions, first.slots[A].entries) == ({A.incarnation: 2}, {CART: 1, STOCK: 2})
    second = offering(CART, after=first)
    assert (second.slots[A].entries, second.slots[A].removed) == ({CART: 1}, {STOCK: 3})
    assert second.versions == {A.incarnation: 3}


def test_same_services_make_no_version() -> None:
    registry = offering(CART, STOCK)
    assert offering(STOCK, CART, after=registry) is registry
    assert offering() == Registry()


def test_deregistration_wins_over_an_older_copy() -> None:
    offered = offering(CART)
    withdrawn = offering(after=offered)
    assert withdrawn.taking([page_of(offered)], ()) is withdrawn
    assert offered.taking([page_of(withdrawn)], ()) == withdrawn


def test_slots_of_different_runs_add_up() -> None:
    both = offering(OTHER, after=offering(CART), owner=B)
    assert both.entries({A, B}) == {CART, OTHER}
    assert both.entries({B}) == {OTHER}


def test_slot_of_a_removed_run_is_not_taken() -> None:
    assert Registry().taking([page_of(offering(CART))], {A}) == Registry()


def test_slot_of_a_run_that_is_no_member_yet_is_taken_and_not_shown() -> None:
    registry = Registry().taking([page_of(offering(CART))], ())
    assert registry.entries({B}) == frozenset()
    assert registry.entries({A, B}) == {CART}


def test_only_slots_of_members_are_kept() -> None:
    registry = offering(OTHER, after=offering(CART), owner=B)
    assert registry.kept({A, B}) is registry
    assert registry.kept({B}).versions == {B.incarnation: 1}


def test_only_the_changes_that_a_peer_lacks_are_sent() -> None:
    first = offering(CART)
    second = offering(STOCK, after=first)
    page = page_of(second, after=1)
    assert [(version, key, offered) for version, key, *_, offered in page.changes] == [
        (2, "cart", False),
        (3, "stock", True),
    ]
    assert first.taking([page], ()) == second
    assert list(second.pages_after({A.incarnation: 3})) == []


def test_page_after_one_that_was_lost_is_not_taken() -> None:
    second = offering(CART, STOCK, after=offering(CART))
    assert Registry().taking([page_of(second, after=1)], ()) == Registry()


def test_page_that_overlaps_is_taken_from_where_it_is_new() -> None:
    second = offering(CART, STOCK, after=offering(CART))
    assert offering(CART).taking([page_of(second)], ()) == second


def test_what_a_peer_knows_more_is_told_by_versions_alone() -> None:
    registry = offering(OTHER, after=offering(CART, STOCK), owner=B)
    assert registry.newer_than({A.incarnation: 1, B.incarnation: 1}) == {A: registry.slots[A]}
    assert registry.newer_than(registry.versions) == {}
    assert registry.lacks({A.incarnation: 3}, {A, B})
    assert not registry.lacks({A.incarnation: 2, B.incarnation: 1}, {A, B})
    assert not registry.lacks({Z.incarnation: 9}, {A, B})


def test_removals_are_forgotten_in_time_also_by_who_missed_them() -> None:
    stale = registry = offering(CART, service_of(A, "gone"))
    for number in range(3 * REMOVED_SPARE):
        registry = offering(CART, service_of(A, "busy", uid=number + 1), after=registry)
    assert len(registry.slots[A].removed) <= len(registry.slots[A].entries) + REMOVED_SPARE
    assert registry.slots[A].floor > stale.slots[A].version
    caught_up = stale.taking([page_of(registry, after=stale.slots[A].version)], ())
    assert caught_up == registry


def test_last_of_all_services_is_forgotten_by_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots_module, "REMOVED_SPARE", 0)
    offered = offering(CART)
    withdrawn = offering(after=offered)
    assert withdrawn.slots[A].removed == {}
    assert offered.taking([page_of(withdrawn, after=1)], ()) == withdrawn


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"after": -1}, "versions"),
        ({"after": 2}, "versions"),
        ({"upto": 2**63}, "versions"),
        ({"floor": 3}, "floor"),
        ({"kinds": ()}, "table"),
        ({"changes": ((3, "k", "/k", 1, 0, True),)}, "order"),
        ({"changes": ((2, "k", "/k", 1, 0, True), (1, "k", "/l", 1, 0, True))}, "order"),
        ({"changes": ((1, "k", "/k", -1, 0, True),)}, "order"),
        ({"changes": ((1, "", "/k", 1, 0, True),)}, "empty"),
        ({"changes": ((1, "k" * 256, "/k", 1, 0, True),)}, "longer than 255"),
        ({"changes": ((1, "k", "/" * 1_025, 1, 0, True),)}, "or 1024"),
        ({"kinds": ((("t" * 16_385,), ()),)}, "16384"),
        ({"kinds": ((("",) * 16_385, ()),)}, "16384"),
        ({"kinds": (((), (("more", bytes(1_021)),)),)}, "1024 bytes"),
        ({"kinds": (((), (("", b""),) * 17),)}, "16 more"),
    ],
)
def test_page_that_contradicts_itself_is_a_decode_error(changed: dict[str, object], named: str) -> None:
    wrong = replace(page_of(offering(CART, STOCK)), **changed)  # type: ignore[arg-type]  # field names are checked by replace
    with pytest.raises(DecodeError, match=named):
        Registry().taking([wrong], ())


def test_slot_without_end_is_a_decode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry_module, "SLOT_CHANGES_MAX", 1)
    with pytest.raises(DecodeError, match="more than 1 changes"):
        Registry().taking([page_of(offering(CART, STOCK))], ())
