"""Registry of the services of all nodes, replicated to every one.

Owns one slot per run of a node, written only by that run. Slots of removed runs go and never come back. It does not
know who subscribes (`listings`) or how a slot is cut into pages (`paging`).

How it works: a slot is a log of changes, each with a version of its own, and only the last change of each service is
kept. A peer lacks the changes after its version; it takes them in order, so that every prefix is whole and its version
says exactly which ones it has. A deregistration stays in the log, so an older copy cannot undo it. When there are too
many of them, the owner gives its services new versions and raises the ``floor``: below it the log is empty. Source:
Scuttlebutt reconciliation, van Renesse 2008; deviation: the floor, in place of a time after which removals are
forgotten.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from itertools import takewhile

from casty.address import NodeAddress, UniqueAddress, by_place
from casty.config.validation import EXTRA_BYTES_MAX, EXTRA_MAX, NAME_LENGTH_MAX, is_extra
from casty.errors import DecodeError
from casty.schema.names import message

SERVICES_PER_NODE_MAX = 10_000
REMOVED_SPARE = 256
"""Removals remembered by a slot beyond the number of its services before it drops them all."""
SLOT_CHANGES_MAX = 4 * SERVICES_PER_NODE_MAX + 4 * REMOVED_SPARE
"""Two generations of services and removals: one on its way out, one on its way in."""
PATH_LENGTH_MAX = 1_024
TYPES_LENGTH_MAX = 16_384
"""Characters of the names of all types taken by one service; four times as many bytes fit into a page."""
COUNT_MAX = 2**62
"""Largest version or number taken from a peer: additions to it still fit the wire."""
JUMP_MAX = 2**32
"""Bound on how far a version or number told by a peer may be ahead of the known one: more changes than a node makes in
a year, and too few to come near to `COUNT_MAX` by telling.
"""


@message("casty.ServiceEntry")
@dataclass(frozen=True, slots=True)
class ServiceEntry:
    """One registered service: the name of its key, its node, and the path of its actor there."""

    key: str
    """Name of the service's key."""
    node: NodeAddress
    """Node of its actor."""
    path: str
    """Path of its actor."""
    incarnation: int = field(default=0, kw_only=True)
    """Run of the node."""
    uid: int = field(default=0, kw_only=True)
    """Number of the actor with that path."""
    accepts: tuple[str, ...] = field(default=(), kw_only=True)
    """Wire names of the types of message promised by its key; sorted."""
    extra: tuple[tuple[str, bytes], ...] = field(default=(), kw_only=True)
    """Fields added by nodes of later versions, by name: kept and passed on, not read."""

    def __hash__(self) -> int:
        # A third of the time of hashing all fields; registering a service hashes it a dozen times.
        return hash((self.key, self.path, self.uid, self.incarnation))


Change = tuple[int, str, str, int, int, bool]
"""Version, key, path, uid, the place of its kind in the page's table, and whether it is offered."""

Kind = tuple[tuple[str, ...], tuple[tuple[str, bytes], ...]]
"""The part of services common to many as a rule: accepted types, and fields of later versions."""


@dataclass(frozen=True, slots=True)
class SlotPage:
    """All changes of one slot with versions after ``after`` and up to ``upto``, as they travel.

    ``floor`` is 0 but in the last page of a slot: only a node with everything may forget the changes below.
    """

    owner: UniqueAddress
    after: int
    upto: int
    floor: int
    kinds: tuple[Kind, ...]
    changes: tuple[Change, ...]


def _no_changes() -> dict[ServiceEntry, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Slot:
    """Services registered by one run, in its ``version``-th form: each with the version of its change.

    Both are in the order of versions, and never changed in place.
    """

    version: int = 0
    floor: int = 0
    services: dict[ServiceEntry, int] = field(default_factory=_no_changes)
    removed: dict[ServiceEntry, int] = field(default_factory=_no_changes)

    def offering(self, wanted: AbstractSet[ServiceEntry]) -> Slot:
        """Return the slot with exactly the services ``wanted``, or this one when it has them."""
        # Set operations on sets and dicts use the stored hashes: no entry is hashed again.
        gone = frozenset(self.services).difference(wanted)
        new = frozenset(wanted).difference(self.services)
        if not gone and not new:
            return self
        changes = [(entry, False) for entry in sorted(gone, key=_place)]
        changes += [(entry, True) for entry in sorted(new, key=_place)]
        numbered = ((self.version + step, entry, offered) for step, (entry, offered) in enumerate(changes, 1))
        return self._after(numbered)._without_old_removals()

    def taking(self, page: SlotPage) -> Slot:
        """Return the slot with the changes of a page, or this one when it lacks some before or has all."""
        if not page.after <= self.version < page.upto:
            return self
        if page.upto > self.version + JUMP_MAX:
            raise DecodeError(f"registry: {page.owner} has made {self.version} changes here, and {page.upto} in a page")
        place, run = page.owner.address, page.owner.incarnation
        changes = (
            (version, ServiceEntry(key, place, path, incarnation=run, uid=uid, accepts=accepts, extra=extra), offered)
            for version, key, path, uid, kind, offered in page.changes
            if version > self.version
            for accepts, extra in (page.kinds[kind],)
        )
        slot = replace(self._after(changes), version=page.upto)
        if page.floor > self.floor:
            services, removed = _above(slot.services, page.floor), _above(slot.removed, page.floor)
            slot = Slot(slot.version, page.floor, services, removed)
        if len(slot.services) + len(slot.removed) > SLOT_CHANGES_MAX:
            raise DecodeError(f"registry: {page.owner} has more than {SLOT_CHANGES_MAX} changes in its slot")
        return slot

    def changes_after(self, version: int) -> list[tuple[int, ServiceEntry, bool]]:
        """Return the changes missing at a node with ``version``, in the order of versions."""
        changes = [(at, entry, True) for entry, at in _newest(self.services, version)]
        changes += [(at, entry, False) for entry, at in _newest(self.removed, version)]
        return sorted(changes, key=lambda change: change[0])

    def beyond(self, version: int) -> Slot:
        """Return the slot in versions after one ascribed to it by others: they take it in place of theirs."""
        services = {entry: version + step for step, entry in enumerate(self.services, 1)}
        return Slot(version + len(services), version, services)

    def _after(self, changes: Iterable[tuple[int, ServiceEntry, bool]]) -> Slot:
        services, removed, version = dict(self.services), dict(self.removed), self.version
        for version, entry, offered in changes:
            services.pop(entry, None)
            removed.pop(entry, None)
            (services if offered else removed)[entry] = version
        return Slot(version, self.floor, services, removed)

    def _without_old_removals(self) -> Slot:
        if len(self.removed) <= len(self.services) + REMOVED_SPARE:
            return self
        return self.beyond(self.version)


@dataclass(frozen=True, slots=True)
class Registry:
    """All slots of one cluster, as far as this node knows them."""

    slots: Mapping[UniqueAddress, Slot] = field(default_factory=lambda: dict[UniqueAddress, Slot]())

    def with_own(self, owner: UniqueAddress, services: AbstractSet[ServiceEntry]) -> Registry:
        """Return the registry with exactly ``services`` offered by ``owner``."""
        slot = self.slots.get(owner, Slot())
        after = slot.offering(services)
        return self if after is slot else Registry({**self.slots, owner: after})

    def with_own_beyond(self, owner: UniqueAddress, version: int) -> Registry:
        """Return the registry with the slot of ``owner`` newer than ``version``, ascribed to it by others."""
        slot = self.slots.get(owner, Slot())
        if not slot.version < version <= slot.version + JUMP_MAX:
            return self
        return Registry({**self.slots, owner: slot.beyond(version)})

    def taking(self, pages: Iterable[SlotPage], refused: Collection[UniqueAddress]) -> Registry:
        """Return the registry with the news in ``pages``, except of ``refused`` runs.

        Slots of runs still to become members are taken: their membership may be on its way. DecodeError for a page in
        contradiction with itself.
        """
        changed: dict[UniqueAddress, Slot] = {}
        for page in pages:
            _check(page)
            slot = changed.get(page.owner) or self.slots.get(page.owner, Slot())
            after = slot if page.owner in refused else slot.taking(page)
            if after is not slot:
                changed[page.owner] = after
        return Registry({**self.slots, **changed}) if changed else self

    def kept(self, members: Collection[UniqueAddress]) -> Registry:
        """Return the registry with the slots of ``members`` only."""
        if all(owner in members for owner in self.slots):
            return self
        return Registry({owner: slot for owner, slot in self.slots.items() if owner in members})

    @property
    def versions(self) -> dict[UniqueAddress, int]:
        """The version of each slot."""
        return {owner: self.slots[owner].version for owner in sorted(self.slots, key=by_place)}

    def newer_than(self, versions: Mapping[UniqueAddress, int]) -> dict[UniqueAddress, Slot]:
        """Return the slots with changes missing at a node with ``versions``."""
        return {
            owner: self.slots[owner]
            for owner in sorted(self.slots)
            if self.slots[owner].version > versions.get(owner, 0)
        }

    def lacks(self, versions: Mapping[UniqueAddress, int], members: Collection[UniqueAddress]) -> bool:
        """Return whether a node with ``versions`` knows more about a member than this one."""
        mine = self.versions
        return any(owner in members and version > mine.get(owner, 0) for owner, version in versions.items())

    def entries(self, members: Collection[UniqueAddress]) -> frozenset[ServiceEntry]:
        """Return the services of ``members``."""
        known = (frozenset(slot.services) for owner, slot in self.slots.items() if owner in members)
        return frozenset[ServiceEntry]().union(*known)


def _check(page: SlotPage) -> None:
    if not 0 <= page.after < page.upto <= COUNT_MAX or not 0 <= page.floor <= page.upto:
        raise DecodeError(f"registry: a page holds the versions up to {COUNT_MAX}, and a floor below its end")
    if any(sum(map(len, names)) > TYPES_LENGTH_MAX or len(names) > TYPES_LENGTH_MAX for names, _ in page.kinds):
        raise DecodeError(f"registry: the names of a service's types have at most {TYPES_LENGTH_MAX} characters")
    if any(not is_extra(extra) for _, extra in page.kinds):
        raise DecodeError(
            f"registry: a service says at most {EXTRA_MAX} more things, of at most {EXTRA_BYTES_MAX} bytes"
        )
    before = page.after
    for version, key, path, uid, kind, _ in page.changes:
        if not 0 < len(key) <= NAME_LENGTH_MAX or not 0 < len(path) <= PATH_LENGTH_MAX:
            raise DecodeError(
                f"registry: a key or a path is empty, or longer than {NAME_LENGTH_MAX} or {PATH_LENGTH_MAX}"
            )
        if not before < version <= page.upto or not 0 <= kind < len(page.kinds) or uid < 0:
            raise DecodeError("registry: the changes of a page must be in order, of kinds in its table")
        before = version


def _above(changes: dict[ServiceEntry, int], floor: int) -> dict[ServiceEntry, int]:
    return {entry: version for entry, version in changes.items() if version > floor}


def _newest(changes: dict[ServiceEntry, int], after: int) -> Iterator[tuple[ServiceEntry, int]]:
    return takewhile(lambda change: change[1] > after, reversed(changes.items()))


def _place(entry: ServiceEntry) -> tuple[str, str, int, Kind]:
    return entry.key, entry.path, entry.uid, (entry.accepts, entry.extra)
