"""Slots: entries of one run of a node in a replicated table, and the table of all of them.

Owns one slot per run, written only by that run. Slots of removed runs go and never come back. It does not know what an
entry means (`registry`, `rows`), or who is sent a page and when (`gossip`).

How it works: a slot is a log of changes, each with a version of its own, and only the last change of each entry is
kept. A peer lacks the changes after its version; it takes them in order, so that every prefix is whole and its version
says exactly which ones it has. A removal stays in the log, so an older copy cannot undo it. When there are too many of
them, the owner gives its entries new versions and raises the ``floor``: below it the log is empty. Source: Scuttlebutt
reconciliation, van Renesse 2008; deviation: the floor, in place of a time after which removals are forgotten.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise, takewhile
from typing import Generic, Protocol, Self, TypeVar

from casty.address import UniqueAddress, by_place
from casty.errors import DecodeError
from casty.protocol.state.membership_state import MEMBERS_MAX
from casty.protocol.state.paging import NUMBER_BYTES, Room, Weight, room_after, run_weight
from casty.protocol.state.runs import COUNT_MAX, JUMP_MAX, check_runs

REMOVED_SPARE = 256
"""Removals remembered by a slot beyond the number of its entries before it drops them all."""

E = TypeVar("E", bound=Hashable)
P = TypeVar("P", bound="SlotPart")


class SlotPart(Protocol):
    """Page of a slot: all its changes with versions after ``after`` and up to ``upto``.

    ``floor`` is 0 but in the last page of a slot: only a node with everything may forget the changes below.
    """

    @property
    def owner(self) -> UniqueAddress:
        """Run of the slot."""
        ...

    @property
    def after(self) -> int:
        """Version before its first change."""
        ...

    @property
    def upto(self) -> int:
        """Version of its last change."""
        ...

    @property
    def floor(self) -> int:
        """Version below which the log is empty; 0 but in a last page."""
        ...


@dataclass(frozen=True, slots=True)
class PageSource:
    """Origin and receiver of a page message."""

    sender: UniqueAddress
    receiver: UniqueAddress
    has_word: bool
    """Whether others go by its word on others."""
    gone: Collection[UniqueAddress] = ()
    """Removed runs."""


@dataclass(frozen=True, slots=True)
class Slot(Generic[E]):
    """Entries of one run, in their ``version``-th form: each with the version of its change.

    Both are in the order of versions, and never changed in place.
    """

    version: int = 0
    floor: int = 0
    entries: dict[E, int] = field(default_factory=dict[E, int])
    removed: dict[E, int] = field(default_factory=dict[E, int])

    def changed(self, changes: Sequence[tuple[E, bool]]) -> Slot[E]:
        """Return the slot after changes of its owner, in this order: entries, and whether each is there from now on."""
        if not changes:
            return self
        numbered = ((self.version + step, entry, there) for step, (entry, there) in enumerate(changes, 1))
        return self._after(numbered)

    def taking(self, page: SlotPart, changes: Iterable[tuple[int, E, bool]]) -> Slot[E]:
        """Return the slot with the changes of a page, or this one when it lacks some before or has all."""
        if not page.after <= self.version < page.upto:
            return self
        slot = replace(self._after(change for change in changes if change[0] > self.version), version=page.upto)
        if page.floor <= self.floor:
            return slot
        return Slot(slot.version, page.floor, _above(slot.entries, page.floor), _above(slot.removed, page.floor))

    def changes_after(self, version: int) -> list[tuple[int, E, bool]]:
        """Return the changes missing at a node with ``version``, in the order of versions."""
        changes = [(at, entry, True) for entry, at in _newest(self.entries, version)]
        changes += [(at, entry, False) for entry, at in _newest(self.removed, version)]
        return sorted(changes, key=lambda change: change[0])

    def without_old_removals(self) -> Slot[E]:
        """Return the slot without the memory of its removals, if there are too many of them: its owner compacts it."""
        return self if len(self.removed) <= len(self.entries) + REMOVED_SPARE else self.beyond(self.version)

    def beyond(self, version: int) -> Slot[E]:
        """Return the slot in versions after one ascribed to it by others: they take it in place of theirs."""
        entries = {entry: version + step for step, entry in enumerate(self.entries, 1)}
        return Slot(version + len(entries), version, entries)

    def _after(self, changes: Iterable[tuple[int, E, bool]]) -> Slot[E]:
        entries, removed, version = dict(self.entries), dict(self.removed), self.version
        for version, entry, there in changes:
            entries.pop(entry, None)
            removed.pop(entry, None)
            (entries if there else removed)[entry] = version
        return Slot(version, self.floor, entries, removed)


@dataclass(slots=True)
class Cut(ABC, Generic[E, P]):
    """One slot on its way into pages: its part in the current page."""

    owner: UniqueAddress
    after: int
    upto: int = field(init=False)

    def __post_init__(self) -> None:
        self.upto = self.after

    @abstractmethod
    def weight_of(self, entry: E) -> Weight:
        """Return the weight of one more change in this page."""

    @abstractmethod
    def put(self, version: int, entry: E, there: bool) -> None:
        """Put one more change into the page."""

    @abstractmethod
    def page(self, upto: int, floor: int) -> P:
        """Return a page of the changes put into it."""

    def add(self, version: int, entry: E, there: bool) -> None:
        """Take one more change."""
        self.put(version, entry, there)
        self.upto = version


@dataclass(frozen=True)
class SlotTable(ABC, Generic[E, P]):
    """All slots of one table in one cluster, as far as this node knows them."""

    slots: Mapping[UniqueAddress, Slot[E]] = field(default_factory=dict[UniqueAddress, Slot[E]])

    @abstractmethod
    def changes_in(self, page: P) -> Iterable[tuple[int, E, bool]]:
        """Return the changes of a page, each with its version, its entry, and whether that is there from now on."""

    @abstractmethod
    def check_page(self, page: P) -> None:
        """Raise DecodeError for a page in contradiction with itself, or beyond the bounds of one."""

    @abstractmethod
    def check_slot(self, owner: UniqueAddress, slot: Slot[E]) -> None:
        """Raise DecodeError for a slot beyond the bounds of one."""

    @abstractmethod
    def cut_of(self, owner: UniqueAddress, after: int) -> Cut[E, P]:
        """Return the begin of a page of a slot, for a node with the version ``after``."""

    def slot_of(self, owner: UniqueAddress) -> Slot[E]:
        """Return the slot of a run; an empty one where nothing is known of it."""
        known = self.slots.get(owner)
        return Slot() if known is None else known

    def with_slot(self, owner: UniqueAddress, slot: Slot[E]) -> Self:
        """Return the table with another slot of ``owner``; this one where that is the present one."""
        if slot is self.slots.get(owner) or (slot.version == 0 and owner not in self.slots):
            return self
        return replace(self, slots={**self.slots, owner: slot})

    def beyond(self, owner: UniqueAddress, version: int) -> Self:
        """Return the table with the slot of ``owner`` newer than ``version``, ascribed to it by others."""
        slot = self.slot_of(owner)
        if version <= slot.version:
            return self
        # In steps, since no single word of another may use up the versions there are; the next one follows.
        return self.with_slot(owner, slot.beyond(min(version, slot.version + JUMP_MAX)))

    def taking(
        self, pages: Iterable[P], refused: Collection[UniqueAddress], teller: UniqueAddress | None = None
    ) -> Self:
        """Return the table with the news in the pages of ``teller``, except of ``refused`` runs.

        A page of another owner with a version more than `JUMP_MAX` ahead is left out: the owner itself tells of it.

        Slots of runs still to become members are taken: their membership may be on its way. A slot known before is
        forgotten where a page makes it larger than it may be, and comes anew as a whole: its reader may have missed the
        ends of several rewrites, and with them the removals. DecodeError for a page in contradiction with itself, or
        with too much for a slot by itself.
        """
        changed: dict[UniqueAddress, Slot[E]] = {}
        for page in pages:
            self.check_page(page)
            slot = changed.get(page.owner) or self.slot_of(page.owner)
            is_far = page.owner != teller and page.upto > slot.version + JUMP_MAX
            after = slot if is_far or page.owner in refused else slot.taking(page, self.changes_in(page))
            if after is not slot:
                changed[page.owner] = self._within_bounds(page.owner, slot, after)
        if not changed:
            return self
        return replace(self, slots={owner: slot for owner, slot in {**self.slots, **changed}.items() if slot.version})

    def _within_bounds(self, owner: UniqueAddress, before: Slot[E], after: Slot[E]) -> Slot[E]:
        try:
            self.check_slot(owner, after)
        except DecodeError:
            if before.version == 0:
                raise
            return Slot()
        return after

    def taking_from(self, source: PageSource, pages: Sequence[P]) -> Self:
        """Return the table with the news in a peer's pages: of its own slot, and of others where it has the word.

        The slot of the receiver is never taken, but made newer than the one ascribed to it.
        """
        check_runs([page.owner for page in pages], MEMBERS_MAX, "owners")
        heeded = [page for page in pages if source.has_word or page.owner == source.sender]
        table = self.taking(heeded, {source.receiver, *source.gone}, source.sender)
        for page in heeded:
            if page.owner == source.receiver:
                table = table.beyond(page.owner, page.upto)
        return table

    def kept(self, members: Collection[UniqueAddress]) -> Self:
        """Return the table with the slots of ``members`` only."""
        if all(owner in members for owner in self.slots):
            return self
        return replace(self, slots={owner: slot for owner, slot in self.slots.items() if owner in members})

    @property
    def versions(self) -> dict[int, int]:
        """The version of each slot, by the incarnation of its owner."""
        return {owner.incarnation: self.slots[owner].version for owner in sorted(self.slots, key=by_place)}

    def newer_than(self, versions: Mapping[int, int]) -> dict[UniqueAddress, Slot[E]]:
        """Return the slots with changes missing at a node with ``versions``."""
        return {
            owner: self.slots[owner]
            for owner in sorted(self.slots)
            if self.slots[owner].version > versions.get(owner.incarnation, 0)
        }

    def lacks(self, versions: Mapping[int, int], members: Collection[UniqueAddress]) -> bool:
        """Return whether a node with ``versions`` knows more about a member than this one."""
        return bool(versions) and any(
            versions.get(owner.incarnation, 0) > self.slot_of(owner).version for owner in members
        )

    def pages_after(self, versions: Mapping[int, int]) -> Iterator[tuple[P, ...]]:
        """Yield the news for a node with ``versions``, each tuple small enough for one frame."""
        pages: list[P] = []
        room = Room()
        for owner, slot in self.newer_than(versions).items():
            head = run_weight(owner) + _HEAD
            cut = self.cut_of(owner, versions.get(owner.incarnation, 0))
            is_empty = True
            if not room.takes(head):
                yield tuple(pages)
                pages, room = [], room_after(head)
            for version, entry, there in slot.changes_after(cut.after):
                if not room.takes(cut.weight_of(entry)):
                    yield tuple(pages) if is_empty else (*pages, cut.page(cut.upto, 0))
                    cut = self.cut_of(owner, cut.upto)
                    pages, room = [], room_after(head + cut.weight_of(entry))
                cut.add(version, entry, there)
                is_empty = False
            pages.append(cut.page(slot.version, slot.floor))
        if pages:
            yield tuple(pages)


_HEAD = Weight(64 + 4 * NUMBER_BYTES, 13)
"""Of the fields of a page beside its owner and its changes."""


def check_part(what: str, page: SlotPart, versions: Sequence[int]) -> None:
    """Raise DecodeError unless the versions of the changes of a page rise, and lie within its own."""
    if not 0 <= page.after < page.upto <= COUNT_MAX or not 0 <= page.floor <= page.upto:
        raise DecodeError(f"{what}: a page holds the versions up to {COUNT_MAX}, and a floor below its end")
    if any(not before < version <= page.upto for before, version in pairwise((page.after, *versions))):
        raise DecodeError(f"{what}: the changes of a page must be in order")


def _above(changes: dict[E, int], floor: int) -> dict[E, int]:
    return {entry: version for entry, version in changes.items() if version > floor}


def _newest(changes: dict[E, int], after: int) -> Iterator[tuple[E, int]]:
    return takewhile(lambda change: change[1] > after, reversed(changes.items()))
