"""A state of any size that the bounds allow reaches a peer, in frames of a bounded size."""

from __future__ import annotations

import pytest

from casty.address import NodeAddress, UniqueAddress
from casty.cluster.node import CONTROL_ELEMENTS_MAX
from casty.config import TransportLimits
from casty.config.validation import (
    EXTRA_BYTES_MAX,
    EXTRA_MAX,
    NAME_LENGTH_MAX,
    NODE_ID_LENGTH_MAX,
    ROLES_LENGTH_MAX,
    ROLES_MAX,
)
from casty.errors import DecodeError
from casty.protocol.gossip import state_pages
from casty.protocol.gossip.state_on_wire import to_wire
from casty.protocol.gossip.state_pages import ASSEMBLIES_MAX, PARTS_MAX, StateAssembler, StateCutter
from casty.protocol.messages.membership import (
    GossipSeen,
    GossipState,
    GossipVersions,
    StatePage,
)
from casty.protocol.state.member import Member, MemberStatus
from casty.protocol.state.membership_state import MEMBERS_MAX, TOMBSTONES_MAX
from casty.protocol.state.paging import PAGE_BYTES_MAX, PAGE_ELEMENTS_MAX
from casty.protocol.state.registry import REGISTRY
from casty.protocol.state.rows import TABLES_MAX
from casty.protocol.state.runs import COUNT_MAX
from casty.testing.samples import control_registry, gossip_of, member, run_of
from casty.wire.codec.codec import Codec

A, B = run_of("a"), run_of("b")
HEADER = 5


def no_refs(*_: object) -> object:
    raise AssertionError("no control message holds a ref")


def codec(limits: TransportLimits) -> Codec:
    made = Codec(export_ref=no_refs, import_ref=no_refs, limits=limits)  # type: ignore[arg-type]  # never called
    for entry in control_registry():
        made.register(entry.cls, name=entry.wire_name)
    return made


ONE_PAGE = codec(TransportLimits(frame_bytes_max=PAGE_BYTES_MAX, elements_max=PAGE_ELEMENTS_MAX))
CONTROL = codec(TransportLimits(elements_max=CONTROL_ELEMENTS_MAX))


TABLE_NAMES = [f"{place}x" for place in range(TABLES_MAX)]


def runs(count: int, first: int = 0) -> list[UniqueAddress]:
    return [
        UniqueAddress(NodeAddress(f"{number:06}".ljust(NAME_LENGTH_MAX, "h"), 65_535), COUNT_MAX - number)
        for number in range(first, first + count)
    ]


def longest(node: UniqueAddress) -> Member:
    """Return a member with the longest names that are let in."""
    roles = [f"{number:02}".ljust(ROLES_LENGTH_MAX // ROLES_MAX, "r") for number in range(ROLES_MAX)]
    return Member(
        node.address,
        MemberStatus.joining,
        frozenset(roles),
        node.address.host[:6].ljust(NODE_ID_LENGTH_MAX, "\U0001f600"),
        incarnation=node.incarnation,
        up_number=COUNT_MAX,
        version="v" * NAME_LENGTH_MAX,
        extra=tuple((f"{number:02}", b"e" * (EXTRA_BYTES_MAX // EXTRA_MAX - 2)) for number in range(EXTRA_MAX)),
    )


MEMBERS, GONE = runs(MEMBERS_MAX), runs(TOMBSTONES_MAX, MEMBERS_MAX)
SEEN = b"\xff" * (MEMBERS_MAX // 8)
CLOCK = tuple((node.incarnation, COUNT_MAX) for node in (*MEMBERS, *GONE))
SLOTS = CLOCK[:MEMBERS_MAX]


@pytest.fixture(scope="module")
def largest() -> GossipState:
    """Return a state with all members, tombstones and accusations that there can be, with the longest names."""
    return GossipState(
        COUNT_MAX,
        tuple(map(longest, MEMBERS)),
        tuple((node, 86_400.5) for node in GONE),
        tuple((node, COUNT_MAX, tuple(MEMBERS if node is MEMBERS[7] else MEMBERS[:9])) for node in MEMBERS),
        COUNT_MAX,
        CLOCK,
        SEEN,
        welcome=True,
    )


def test_small_state_stays_as_it_is() -> None:
    state = to_wire(gossip_of(member("a"), member("b")), 1.0)
    assert list(StateCutter().messages(state)) == [state]


def test_largest_state_arrives_whole_in_pages_that_each_fit(largest: GossipState) -> None:
    arriving, size, arrived = StateAssembler(), 0, None
    for message in StateCutter().messages(largest):
        assert arrived is None
        body = ONE_PAGE.frame_control(message)[HEADER:]
        size += len(body)
        page = ONE_PAGE.decode_control(body)
        assert isinstance(page, StatePage)
        arrived = arriving.take(A, page, len(body))
    assert arrived == largest
    assert size < TransportLimits().outbound_bytes_max


def test_largest_acknowledgement_fits_into_one_frame() -> None:
    for message in (
        GossipSeen(COUNT_MAX, b"d" * 16, SEEN),
        GossipVersions(COUNT_MAX, CLOCK, SEEN, ((REGISTRY, SLOTS), *((name * 64, SLOTS) for name in TABLE_NAMES))),
    ):
        assert CONTROL.decode_control(CONTROL.frame_control(message)[HEADER:]) == message


def pages(count: int = 3, serial: int = 1) -> list[StatePage]:
    part = to_wire(gossip_of(member("a")), 1.0)
    return [StatePage(serial, index, count, part) for index in range(count)]


def test_state_with_a_lost_page_is_not_taken_and_the_next_one_is() -> None:
    arriving = StateAssembler()
    first, _, last = pages()
    assert [arriving.take(A, page, 1) for page in (first, last)] == [None, None]
    assert [arriving.take(A, page, 1) is not None for page in pages(serial=2)] == [False, False, True]


def test_pages_of_two_states_do_not_mix() -> None:
    arriving = StateAssembler()
    first, second, _ = pages()
    *_, last = pages(serial=2)
    assert [arriving.take(A, page, 1) for page in (first, second, last)] == [None, None, None]


def test_pages_of_two_senders_do_not_disturb_each_other() -> None:
    arriving = StateAssembler()
    taken = [arriving.take(node, page, 1) is not None for page in pages() for node in (A, B)]
    assert taken == [False] * 4 + [True] * 2


def test_state_of_a_lost_link_is_given_up() -> None:
    arriving = StateAssembler()
    first, second, last = pages()
    arriving.take(A, first, 1)
    arriving.forget(A)
    assert [arriving.take(A, page, 1) for page in (second, last)] == [None, None]


def test_oldest_of_too_many_states_is_given_up() -> None:
    arriving = StateAssembler()
    first, second, last = pages()
    for name in "abcdefghijkl"[: ASSEMBLIES_MAX + 1]:
        arriving.take(run_of(name), first, 1)
    assert arriving.take(B, second, 1) is None
    assert arriving.take(B, last, 1) is not None
    assert [arriving.take(A, page, 1) for page in (second, last)] == [None, None]


@pytest.mark.parametrize(("index", "count"), [(-1, 2), (2, 2), (0, 0), (0, PARTS_MAX + 1)])
def test_page_of_an_impossible_number_is_a_decode_error(index: int, count: int) -> None:
    with pytest.raises(DecodeError, match="a state has at most"):
        StateAssembler().take(A, StatePage(1, index, count, pages()[0].part), 1)


def test_state_without_end_is_a_decode_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(state_pages, "STATE_BYTES_MAX", 10)
    arriving = StateAssembler()
    first, second, last = pages()
    assert arriving.take(A, first, 10) is None
    with pytest.raises(DecodeError, match="more than 10 bytes"):
        arriving.take(A, second, 1)
    assert arriving.take(A, last, 1) is None
