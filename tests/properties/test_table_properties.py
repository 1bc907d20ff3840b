"""Whatever tables of several nodes meet in whatever order, and whatever a peer sends, all know the same in the end."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from itertools import permutations

import pytest
from helpers.tables import CLUSTER, KINDS, ROWS_KIND, TableKind, merged, news_for, page_codec, source
from hypothesis import given, settings
from hypothesis import strategies as st

from casty.address import UniqueAddress
from casty.errors import DecodeError, ProtocolError
from casty.protocol.gossip.tables import ReplicatedTable
from casty.protocol.messages.membership import PageMessage
from casty.protocol.state import paging as paging_module
from casty.protocol.state import slots as slots_module
from casty.protocol.state.membership_state import MEMBERS_MAX
from casty.protocol.state.paging import FRAME_BYTES
from casty.protocol.state.registry import RegistrySlots
from casty.protocol.state.rows import (
    CHANGES_MAX,
    ROWS_MAX,
    TABLE_BYTES_MAX,
    VALUE_BYTES_MAX,
    WEIGHT_MAX,
    RowPage,
    RowTable,
    TableRows,
    row_bytes,
)
from casty.protocol.state.slots import PageSource
from casty.testing.samples import run_of
from casty.wire.frame import HEADER_BYTES

NAMES = "abcd"
RUNS = [run_of(name) for name in NAMES]
A, B = RUNS[:2]
kinds = st.sampled_from(KINDS)


CODEC = page_codec()

contents = st.sets(st.sampled_from([1, 2, 3, 101, 102, 203]), max_size=3)
histories = st.fixed_dictionaries({name: st.lists(contents, max_size=4) for name in NAMES})


def forms(kind: TableKind, owner: str, history: Iterable[set[int]]) -> list[ReplicatedTable]:
    """Return each form of the part of one node."""
    found = [kind.empty]
    for numbers in history:
        found.append(kind.written(*numbers, by=owner, after=found[-1]))
    return found


@st.composite
def known_tables(draw: st.DrawFn) -> tuple[TableKind, list[ReplicatedTable]]:
    """Draw what three nodes know of the same four: of each node some form of its part."""
    kind, told = draw(kinds), draw(histories)
    every = {name: forms(kind, name, told[name]) for name in NAMES}
    tables = []
    for _ in range(3):
        table = kind.empty
        for name in NAMES:
            table = merged(table, draw(st.sampled_from(every[name])), source(name))
        tables.append(table)
    return kind, tables


def known(kind: TableKind, table: ReplicatedTable) -> dict[UniqueAddress, tuple[object, int]]:
    return {run: (frozenset(kind.read(table, run)), table.versions.get(run.incarnation, 0)) for run in RUNS}


@given(known_tables())
def test_merging_is_commutative_associative_and_idempotent(drawn: tuple[TableKind, list[ReplicatedTable]]) -> None:
    kind, (a, b, c) = drawn
    assert known(kind, merged(a, b)) == known(kind, merged(b, a))
    assert known(kind, merged(merged(a, b), c)) == known(kind, merged(a, merged(b, c)))
    assert merged(a, a) is a
    both = merged(a, b)
    assert merged(both, b) is both


@dataclass
class Told:
    """Nodes that write and tell each other, in messages of which some are lost or late."""

    kind: TableKind
    tables: dict[str, ReplicatedTable] = field(default_factory=dict)
    wire: list[tuple[str, PageMessage]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.tables = dict.fromkeys(NAMES, self.kind.empty)

    def step(self, by: str, other: str, number: int) -> None:
        match number:
            case 0:
                self.tell(by, other)
            case 1 | 2 if self.wire:
                sender, message = self.wire.pop(0 if number == 1 else -1)  # the other way round, or lost for good
                self.tables[other] = self.tables[other].merged(source(sender, other), message)
            case _:
                numbers = {place + 100 * (number % 3) for place in range(6) if (number >> place) & 1}
                self.tables[by] = self.kind.written(*numbers, by=by, after=self.tables[by])

    def tell(self, by: str, other: str) -> None:
        self.wire += [(by, message) for message in news_for(self.tables[by], self.tables[other])]

    def settle(self) -> None:
        """Let each tell each all that it lacks."""
        for by, other in [*permutations(NAMES, 2)] * 2:
            self.tables[other] = merged(self.tables[other], self.tables[by], source(by, other))


@given(kinds, st.lists(st.tuples(st.sampled_from(NAMES), st.sampled_from(NAMES), st.integers(0, 70)), max_size=60))
def test_tables_are_known_alike_whatever_was_lost_or_forgotten_on_the_way(
    kind: TableKind, steps: list[tuple[str, str, int]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(slots_module, "REMOVED_SPARE", 1)
        patch.setattr(paging_module, "PAGE_ELEMENTS_MAX", FRAME_BYTES + 60)
        nodes = Told(kind)
        for step in steps:
            nodes.step(*step)
        nodes.settle()
    for name, run in zip(NAMES, RUNS, strict=True):
        own = nodes.tables[name]
        for table in nodes.tables.values():
            assert frozenset(kind.read(table, run)) == frozenset(kind.read(own, run))
            assert table.versions.get(run.incarnation, 0) == own.versions.get(run.incarnation, 0)


keys = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=255)


@settings(max_examples=50)
@given(st.dictionaries(keys, st.integers(0, 20_000), max_size=40), st.integers(0, 2**32 - 1))
def test_pages_of_rows_fit_into_their_frames_and_bring_all(sizes: dict[str, int], fill: int) -> None:
    rows, left = dict[str, bytes](), TABLE_BYTES_MAX
    for key, size in sizes.items():
        value = fill.to_bytes(4, "big") * (size // 4)
        if row_bytes(key, value) <= left:
            rows[key], left = value, left - row_bytes(key, value)
    told = RowTable(name="shop.stock").with_own(A, rows)
    known = RowTable(name="shop.stock")
    for message in told.messages(CLUSTER, {}):
        frame = CODEC.frame_control(message)  # which refuses what is larger than a page
        decoded = CODEC.decode_control(frame[HEADER_BYTES:])
        assert decoded == message
        known = known.merged(source(), decoded)
    assert known.rows_of(A) == rows


numbers = st.one_of(st.integers(-2, 12), st.integers(-(2**63), 2**64 - 1))
values = st.one_of(
    st.none(), st.binary(max_size=40), st.sampled_from([bytes(VALUE_BYTES_MAX), bytes(VALUE_BYTES_MAX + 1)])
)
page_keys = st.one_of(
    st.text(st.characters(exclude_categories=("Cs",)), max_size=6), st.just("k" * 255), st.just("k" * 256)
)
owners = st.one_of(st.sampled_from(RUNS), st.builds(UniqueAddress, st.just(A.address), numbers))
row_pages = st.builds(
    RowPage, owners, numbers, numbers, numbers, st.lists(st.tuples(numbers, page_keys, values), max_size=8).map(tuple)
)
sources = st.builds(
    PageSource,
    st.sampled_from(RUNS),
    st.just(RUNS[-1]),
    st.booleans(),
    st.sets(st.sampled_from(RUNS[:1])).map(frozenset),
)


def check_law(before: RowTable, after: RowTable, origin: PageSource) -> None:
    """Assert what must hold of a table after whatever a peer has said."""
    assert len(after.slots) <= len(before.slots) + MEMBERS_MAX
    for owner, slot in after.slots.items():
        old = before.slot_of(owner)
        if slot is old:
            continue
        assert owner == origin.receiver or origin.has_word or owner == origin.sender, (
            "it speaks of others without a word"
        )
        assert owner not in origin.gone
        assert old.version < slot.version < 2**63
        assert len(slot.entries) + len(slot.removed) <= CHANGES_MAX
        assert sum(row.weight for row in (*slot.entries, *slot.removed)) <= WEIGHT_MAX
        assert all(0 < len(row.key) <= 255 and len(row.value) <= VALUE_BYTES_MAX for row in slot.entries)
        in_order = [at for _, at, _ in sorted((at, at, 0) for at in slot.entries.values())]
        assert list(slot.entries.values()) == in_order
        assert all(slot.floor < at <= slot.version for at in (*slot.entries.values(), *slot.removed.values()))
    if origin.receiver in before.slots:
        assert after.rows_of(origin.receiver) == before.rows_of(origin.receiver), "its own rows are its own"


@settings(max_examples=300)
@given(st.lists(st.tuples(sources, st.lists(row_pages, max_size=4).map(tuple)), max_size=5))
def test_arbitrary_pages_are_a_decode_error_or_taken_within_bounds(
    said: list[tuple[PageSource, tuple[RowPage, ...]]],
) -> None:
    table = RowTable(name="shop.stock").with_own(RUNS[-1], {"own": b"1"})
    for origin, pages in said:
        before = table
        try:
            table = table.merged(origin, TableRows(CLUSTER, "shop.stock", pages))
        except DecodeError as error:
            assert "shop.stock" in str(error) or "gossip" in str(error) or "changes here" in str(error)
        check_law(before, table, origin)


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4))
def test_damaged_bytes_are_a_protocol_error_or_taken_within_bounds(seed: int, damage: list[tuple[int, int]]) -> None:
    told = ROWS_KIND.written(*(seed % number for number in range(1, 9)))
    (message,) = news_for(told, ROWS_KIND.empty)
    body = bytearray(CODEC.frame_control(message)[HEADER_BYTES:])
    for place, byte in damage:
        body[place % len(body)] = byte
    before = RowTable(name="shop.stock")
    try:
        decoded = CODEC.decode_control(bytes(body))
    except ProtocolError:
        return
    try:
        after = before.merged(source(), decoded)
    except DecodeError:
        return
    check_law(before, after, source())


def test_a_member_without_end_fills_its_own_slot_and_no_other() -> None:
    table = theirs = RowTable(name="shop.stock").with_own(B, {"mine": b"1"})
    version = 0
    while table.versions.get(A.incarnation, 0) == version:
        changes = tuple((version + place, f"{version + place}", bytes(60)) for place in range(1, 1_001))
        page = RowPage(A, version, version + 1_000, 0, changes)
        table = table.merged(source("a", "d", has_word=False), TableRows(CLUSTER, "shop.stock", (page,)))
        version += 1_000
    assert version <= CHANGES_MAX + 1_000
    assert table.rows_of(A) == {}
    large = RowPage(A, 0, 17, 0, tuple((place, f"{place}", bytes(VALUE_BYTES_MAX)) for place in range(1, 18)))
    with pytest.raises(DecodeError, match="more than"):
        table.merged(source("a", "d", has_word=False), TableRows(CLUSTER, "shop.stock", (large,)))
    more = theirs.with_own(B, {"mine": b"2", "more": bytes(60_000)})
    assert merged(table, more, source("b")).rows_of(B) == more.rows_of(B)


def test_who_has_missed_the_ends_of_many_rewrites_comes_to_the_rows() -> None:
    owner, reader = RowTable(name="shop.stock"), RowTable(name="shop.stock")
    for generation in range(12):
        owner = owner.with_own(A, {f"{generation}.{number}": bytes(16) for number in range(3_000)})
        for message in [*owner.messages(CLUSTER, reader.versions)][:-1]:
            reader = reader.merged(source(), message)
    for _ in range(3):
        for message in owner.messages(CLUSTER, reader.versions):
            reader = reader.merged(source(), message)
    assert reader.rows_of(A) == owner.rows_of(A)
    assert [*owner.messages(CLUSTER, reader.versions)] == []


def test_own_rows_have_bounds() -> None:
    table = RowTable(name="shop.stock", bytes_max=1_000)
    for rows, fault in (
        ({"k": bytes(936)}, "at most 1000 bytes"),
        ({"": b""}, "1 to 255 characters, got 0"),
        ({"k" * 256: b""}, "1 to 255 characters, got 256"),
        ({"k": bytes(VALUE_BYTES_MAX + 1)}, "at most 65536 bytes"),
        ({str(number): b"" for number in range(ROWS_MAX + 1)}, "at most 4096 rows"),
    ):
        with pytest.raises(ValueError, match=fault):
            table.with_own(A, rows)
    assert table.with_own(A, {"k": bytes(935)}).rows_of(A) == {"k": bytes(935)}


def test_removed_rows_are_compacted_by_their_owner_by_their_bytes_too() -> None:
    table = RowTable(name="shop.stock")
    for number in range(100):
        table = table.with_own(A, {f"{number}".ljust(255, "\U0001f600"): b""})
    slot = table.slot_of(A)
    assert sum(row.weight for row in slot.removed) < 20_000
    assert slot.floor > 0


def test_versions_alone_never_make_a_page() -> None:
    assert list(replace(RowTable(name="x.y")).messages(CLUSTER, {1: 5})) == []
    with pytest.raises(DecodeError, match="RegistrySlots"):
        RowTable(name="x.y").merged(source(), RegistrySlots(CLUSTER, ()))
