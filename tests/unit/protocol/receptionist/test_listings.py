"""Who is told which instances, and when."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from casty.address import UniqueAddress
from casty.protocol.receptionist import listings as listings_module
from casty.protocol.receptionist.listings import Listings, Misfit, Notify
from casty.protocol.state.cluster_state import TopologySnapshot
from casty.protocol.state.registry import ServiceEntry
from casty.testing.samples import address, member, run_of, service_of

A, B = run_of("a"), run_of("b")
CART, CART_ON_B, STOCK = service_of(A, "cart"), service_of(B, "cart"), service_of(A, "stock")
SENDS = ("cart.Do",)


def snapshot(*services: ServiceEntry, unreachable: Sequence[str] = (), down: Sequence[str] = ()) -> TopologySnapshot:
    members = frozenset(member(name, "down" if name in down else "up") for name in "ab")
    return TopologySnapshot(members, None, {}, 0, frozenset(map(address, unreachable)), frozenset(services))


@pytest.fixture
def listings() -> Listings[str]:
    return Listings()


def test_subscriber_is_told_at_once_also_that_nobody_is_there(listings: Listings[str]) -> None:
    assert listings.subscribe("cart", SENDS, "s") == [Notify("s", ())]
    listings.update(snapshot(CART))
    assert listings.subscribe("cart", SENDS, "t") == [Notify("t", (CART,))]


def test_questions_for_keys_that_nobody_offers_leave_nothing_behind(listings: Listings[str]) -> None:
    listings.update(snapshot(CART))
    for number in range(1_000):
        assert listings.find(f"session-{number}", SENDS).entries == ()
    untouched: Listings[str] = Listings()
    untouched.update(snapshot(CART))
    assert listings == untouched


def test_change_is_told_once_in_the_order_of_nodes(listings: Listings[str]) -> None:
    listings.subscribe("cart", SENDS, "s")
    assert listings.update(snapshot(CART_ON_B)) == [Notify("s", (CART_ON_B,))]
    assert listings.update(snapshot(CART, CART_ON_B)) == [Notify("s", (CART, CART_ON_B))]
    assert listings.update(snapshot(CART, CART_ON_B)) == []
    assert listings.update(snapshot()) == [Notify("s", ())]


def test_change_of_another_key_tells_nothing(listings: Listings[str]) -> None:
    listings.update(snapshot(CART))
    listings.subscribe("cart", SENDS, "s")
    assert listings.update(snapshot(CART, STOCK)) == []
    assert listings.update(snapshot(CART, unreachable="b")) == []


@pytest.mark.parametrize("how", ["unreachable", "down"])
def test_instance_on_a_node_that_is_not_there_is_hidden_and_shown_again(listings: Listings[str], how: str) -> None:
    listings.subscribe("cart", SENDS, "s")
    listings.update(snapshot(CART, CART_ON_B))
    hidden = snapshot(CART, CART_ON_B, **{how: "b"})
    assert listings.update(hidden) == [Notify("s", (CART,))]
    assert listings.update(snapshot(CART, CART_ON_B)) == [Notify("s", (CART, CART_ON_B))]


def test_unsubscribed_is_told_nothing(listings: Listings[str]) -> None:
    listings.subscribe("cart", SENDS, "s")
    listings.unsubscribe("cart", "s")
    listings.unsubscribe("cart", "s")
    assert listings.update(snapshot(CART)) == []


def test_instance_that_does_not_take_all_types_is_not_listed_and_told_once(listings: Listings[str]) -> None:
    names = ("cart.Add", "cart.Do")
    listings.subscribe("cart", names, "s")
    misfit = Misfit(CART, names)
    assert listings.update(snapshot(CART)) == [misfit]
    assert listings.update(snapshot(CART, CART_ON_B)) == []
    assert listings.find("cart", names).entries == ()
    assert listings.subscribe("cart", names, "t") == [misfit, Notify("t", ())]


def test_instance_that_takes_more_types_is_listed(listings: Listings[str]) -> None:
    wider = replace(CART, accepts=("cart.Add", "cart.Do"))
    listings.update(snapshot(wider))
    assert listings.find("cart", SENDS).entries == (wider,)
    assert listings.find("cart", SENDS).misfit is None


def test_own_services_are_those_registered_and_neither_deregistered_nor_stopped(listings: Listings[str]) -> None:
    twice = replace(CART, key="other")
    assert [listings.register(service) for service in (CART, twice, STOCK, CART)] == [True, True, True, False]
    assert listings.deregister(STOCK)
    assert not listings.deregister(STOCK)
    assert listings.own == {CART, twice}
    assert listings.stopped("/cart", 1)
    assert not listings.stopped("/cart", 1)
    assert listings.own == frozenset()


def test_node_takes_services_up_to_its_limit(listings: Listings[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listings_module, "SERVICES_PER_NODE_MAX", 1)
    assert listings.register(CART)
    assert listings.is_full
    assert not listings.register(STOCK)
    listings.deregister(CART)
    assert listings.register(STOCK)


def test_an_actor_is_known_as_long_as_it_would_be_listed(listings: Listings[str]) -> None:
    assert not listings.knows("cart", B, CART_ON_B.uid)
    listings.update(snapshot(CART, CART_ON_B))
    assert listings.knows("cart", B, CART_ON_B.uid)
    assert not listings.knows("stock", B, CART_ON_B.uid)
    assert not listings.knows("cart", B, CART_ON_B.uid + 1)
    assert not listings.knows("cart", UniqueAddress(B.address, B.incarnation + 1), CART_ON_B.uid)
    listings.update(snapshot(CART, CART_ON_B, unreachable="b"))
    assert not listings.knows("cart", B, CART_ON_B.uid)
