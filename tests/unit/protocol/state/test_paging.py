"""What is too large for one frame travels in pages, none of which is too large."""

from __future__ import annotations

from dataclasses import replace

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.config import TransportLimits
from casty.protocol.state.paging import PAGE_BYTES_MAX, PAGE_ELEMENTS_MAX
from casty.protocol.state.registry import SERVICES_PER_NODE_MAX, Registry, RegistrySlots, ServiceEntry, SlotPage
from casty.testing.samples import control_registry, run_of, service_of
from casty.wire.codec.codec import Codec

A, B, C = (run_of(name) for name in "abc")


def control_codec(*types: type, limits: TransportLimits) -> Codec:
    def no_refs(*_: object) -> object:
        raise AssertionError("no control message holds a ref")

    codec = Codec(export_ref=no_refs, import_ref=no_refs, limits=limits)  # type: ignore[arg-type]  # never called
    for message_type in types:
        codec.register(message_type, name=control_registry().by_class[message_type].wire_name)
    return codec


PAGE = TransportLimits(frame_bytes_max=PAGE_BYTES_MAX, elements_max=PAGE_ELEMENTS_MAX)
CODEC = control_codec(RegistrySlots, limits=PAGE)


def over_the_wire(pages: tuple[SlotPage, ...]) -> tuple[SlotPage, ...]:
    message = RegistrySlots(7, pages)
    decoded = CODEC.decode_control(CODEC.frame_control(message)[5:])
    assert decoded == message
    return pages


def longest(node: UniqueAddress, number: int) -> ServiceEntry:
    """Return a service with the longest names that are allowed, in letters of four bytes."""
    key, path = f"{number:06}".ljust(255, "\U0001f600"), f"/{number:06}".ljust(1_024, "\U0001f600")
    accepts = tuple(f"{number:06}-{place:02}".ljust(1_024, "\U0001f600") for place in range(16))
    return ServiceEntry(key, node.address, path, incarnation=node.incarnation, uid=2**62, accepts=accepts)


def test_small_slots_share_a_page() -> None:
    registry = Registry()
    for node in (A, B, C):
        registry = registry.with_own(node, frozenset({service_of(node, "cart")}))
    ((a, b, c),) = registry.pages_after({})
    assert [page.owner for page in (a, b, c)] == [A, B, C]


def test_services_of_one_type_name_it_once_in_a_page() -> None:
    services = frozenset(service_of(A, "cart", uid=uid) for uid in range(1, 100))
    ((page,),) = Registry().with_own(A, services).pages_after({})
    assert page.kinds == ((("cart.Do",), ()),)


def test_what_a_later_version_says_of_a_service_is_kept_and_passed_on() -> None:
    said = tuple((f"more-{place}", b"x" * 50) for place in range(16))
    services = frozenset(replace(service_of(A, "cart", uid=uid), extra=said[: uid % 17]) for uid in range(1, 2_000))
    sent = Registry().with_own(A, services)
    received = Registry()
    for message in sent.pages_after({}):
        received = received.taking(over_the_wire(message), ())
    assert received == sent
    again = Registry()
    for message in received.pages_after({}):
        again = again.taking(message, ())
    assert again.entries({A}) == services


@pytest.mark.parametrize("count", [SERVICES_PER_NODE_MAX, 3])
def test_as_many_services_as_a_node_may_have_arrive_page_by_page(count: int) -> None:
    services = frozenset(service_of(A, f"cart-{number}") for number in range(count))
    sent = Registry().with_own(A, services)
    received = Registry()
    pages = list(sent.pages_after({}))
    for message in pages:
        assert received != sent
        received = received.taking(over_the_wire(message), ())
    assert received == sent
    assert (len(pages) > 1) is (count > 3)


def test_services_with_the_longest_names_travel_in_pages() -> None:
    hosts = [UniqueAddress(NodeAddress(letter * 255, 65_535), 2**62 + place) for place, letter in enumerate("abc")]
    sent = Registry()
    for node in hosts:
        sent = sent.with_own(node, frozenset(longest(node, number) for number in range(5)))
    received = Registry()
    for message in sent.pages_after({}):
        received = received.taking(over_the_wire(message), ())
    assert received == sent


def test_a_lost_page_is_made_up_for_by_asking_again() -> None:
    sent = Registry().with_own(A, frozenset(service_of(A, f"cart-{number}") for number in range(5_000)))
    first, _, *rest = sent.pages_after({})
    received = Registry()
    for message in (first, *rest):
        received = received.taking(message, ())
    assert received.versions == {A.incarnation: first[0].upto}
    for message in sent.pages_after(received.versions):
        received = received.taking(message, ())
    assert received == sent
